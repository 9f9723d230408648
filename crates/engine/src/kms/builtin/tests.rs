use casemate_core::seal::EnvPublicKey;
use k256::ecdsa::RecoveryId;
use secrecy::ExposeSecret;

use super::*;

// Figures made by dstack's own code, commit 312dc605 (0.6.0), with its Cargo.lock: a program that
// depends on its crate `ra-tls` and includes its `kms/src/crypto.rs` and the body of `get_key` of
// `guest-agent/src/rpc_service.rs` unchanged, for the root keys SHA-256("casemate test root ca") and
// SHA-256("casemate test root k256"). Never change a figure: deployed secrets hang on them.

struct Golden {
    app: &'static str,
    instance: &'static str,
    env_secret: &'static str,
    env_public: &'static str,
    /// At second 1 700 000 000.
    signature: &'static str,
    signature_v1: &'static str,
    disk: &'static str,
    disk_without_instance: &'static str,
    k256: &'static str,
    k256_signature: &'static str,
    /// Path, purpose, key, first link of the chain; the second is `k256_signature`.
    keys: [(&'static str, &'static str, &'static str, &'static str); 2],
}

const CA_SPKI: &str = "3059301306072a8648ce3d020106082a8648ce3d03010703420004a1f124ffc61da8685e0a626fbb5fb54dbcba1e68291ab572b5b4357884465c3988aef92ab8edff11e2243187aee4d120b415ba84ac8a3f6e1796c1c2ab54cbcb";
const K256_PUBLIC: &str = "033cb4f1e1a6f42f929658e838e766de28cc90907b7b39f4143b34c0b07135d58b";
/// SHA-256 over env secret, app key and its signature of the 200 apps SHA-256(n as u32 big endian)[..20].
const DIGEST_OF_200: &str = "520cb4ba4f7bbe014201cc42002a297b2aef381ce11d005c1a3d1ebd2c7f5e62";

const APPS: [Golden; 2] = [
    Golden {
        app: "1111111111111111111111111111111111111111",
        instance: "2222222222222222222222222222222222222222",
        env_secret: "e085269344bd64b071154d32c42d69220fe887717929990ab9cfb73ae603bf2e",
        env_public: "bfcff0cf45b9da03a253d78dc13fbfb9f13f9b1075b29237bfede588d53c5220",
        signature: "a869a6caea3afb0605a8548a6be9adb6ad4bec91dda9f8ab139408be552d2d2063e166409a565da76a8dae4f841249bf2c4cfcb043fcf7d3febfb94c1c9019aa01",
        signature_v1: "e5ab3c3aa201d83566c93e89d3af28c842e7f60e4654877548261356e5d06be67261c49f60a7938b5124cb2df65ce5ae753c05849da5f86948d5d578e113549f01",
        disk: "e828e027959093d1aabfbca2139765955c54e284763bab576a9f89cd0d5db706",
        disk_without_instance: "d2282b24f4e6736d73bd9a2a5ed6cd3174a88f86c307b321f944a32115ecdea6",
        k256: "d52a3cb2a254b9593799503b84b6f8427d9676dc57c84dcd5c6d4ebe0bb29e35",
        k256_signature: "4ac8aadb20116d7cec7e22ad4cb1d1cf66e513f074b92829b4fc88f13cb203d507c251a5305383486307cc0e08e9381d5a32ded2f435d0e3cb31fe6e52860a9001",
        keys: [
            (
                "",
                "",
                "f6008ebe51ac2400721584670fc7115bc003f13b675d0ff0dec0528f75b858f2",
                "7b762bf63f2e56de878aefcd28d88ffcb2b2d2df0b8a1435682317faa4ea8daf4a89468f5be8344d8856687b4ebc43868ea1707521c2b8f7879b4d36429e651600",
            ),
            (
                "wallet/ethereum",
                "mainnet",
                "e576ca5c513e331bca41975843010eeec2da6dbfe1760f6fe35da404d7e1e08a",
                "0f7c4651235414ac29a8d675dec1f281934d361c39ac5d8b7fad16846a1e72186968f0341b0b98255f710fdc3f6b502a6af918d4021bbfc813f256805965c32c00",
            ),
        ],
    },
    Golden {
        app: "0123456789abcdef0123456789abcdef01234567",
        instance: "89abcdef0123456789abcdef0123456789abcdef",
        env_secret: "73ae2be9f7c5e463e1c4a6463fb0d4102cc685d7d9ca69ad71fa89dacf4fed0b",
        env_public: "73857e9b1de857a8758ae037259692db48a15c9d6fc7b44b525bf98431155369",
        signature: "25872b4862e87889724fca7f48b2d76444ae123ae6f1cd5c9cf8fef8e562b0f816a2838da35b4ff284a33d0c8d14d3dbda583ef642a3be54ef2dd07f9964b20500",
        signature_v1: "3c2bcee5e7ef98df6a1e7fe6c2aa156e1764d6ff16454a83dfab015250922fe4792b84134054551eb7911ef6fd7b7e1160be4fa5536cb28f0d16baf15ed1659b00",
        disk: "c8d89635cb2c56609b35f214407538d01beb5fd9895d0c7bb0ba9accc40a7ccf",
        disk_without_instance: "f3559f852930609a6484e2fb95bdf40d18e0d9e83819f1d5d79534fb3b813e5d",
        k256: "2755f620410be5b9ef105ff2fb7f0b4c16b2ab5e1f35f1319d8eef0f1b776469",
        k256_signature: "346f8f2588f49ddb54ef91e896b0e9347df2bbe2a58b550976caf84e474d51e8609d5c46a04a7fb73ff28edc3a3c966abee1449344048a3aa25e7eda202ffb9e01",
        keys: [
            (
                "",
                "",
                "6be3393557f09382a0a067a19a63ed13c3be4b3146df1e00d13a4ed91f9b464d",
                "27311cbd92ec7320b276ba0b98978b266c07ac63ecbaa02dea72d06a2d145b7e189ac9b6cfb959925a60a94e62f6e3cf34cdc66569aef5fbf99d22d297dc172e01",
            ),
            (
                "wallet/ethereum",
                "mainnet",
                "38a353a997c811c80c359edfd21a8a9f4c70d05e4e0351bb1aa0cf825b0e2e2c",
                "3ef4403a80b76f0632524df61c33d286935e8225eb2805a588ccbeb3d056be0458e8b7f5ebaf2caeaa1c881e8aa34df5fd2c5b37c4845acbb16819edb3aa2e1a01",
            ),
        ],
    },
];

fn kms() -> BuiltinKms {
    let mut scalars = [0; 64];
    scalars[..32].copy_from_slice(&Sha256::digest("casemate test root ca"));
    scalars[32..].copy_from_slice(&Sha256::digest("casemate test root k256"));
    BuiltinKms::new(RootKeys::from_bytes(&scalars).unwrap())
}

#[test]
fn root_public_keys_are_dstacks() {
    assert_eq!(hex::encode(kms().ca_public_spki().unwrap()), CA_SPKI);
    assert_eq!(hex::encode(kms().k256_public().unwrap()), K256_PUBLIC);
}

#[tokio::test]
async fn env_keys_are_dstacks() {
    for golden in &APPS {
        let app = golden.app.parse().unwrap();
        let secret = kms().env_secret_key(&app).unwrap();
        assert_eq!(hex::encode(secret.expose_bytes()), golden.env_secret);
        let signed = kms().env_public_key(&app, 1_700_000_000).await.unwrap();
        assert_eq!(signed.public_key.to_string(), golden.env_public);
        assert_eq!(hex::encode(signed.signature), golden.signature);
        assert_eq!(signed.timestamp, 1_700_000_000);
        assert_eq!(hex::encode(signed.signature_v1), golden.signature_v1);
    }
}

#[test]
fn disk_keys_are_dstacks() {
    for golden in &APPS {
        let (app, instance) = (golden.app.parse().unwrap(), golden.instance.parse().unwrap());
        let key = kms().disk_key(&app, Some(&instance)).unwrap();
        assert_eq!(hex::encode(key.expose_secret()), golden.disk);
        let key = kms().disk_key(&app, None).unwrap();
        assert_eq!(hex::encode(key.expose_secret()), golden.disk_without_instance);
    }
}

#[test]
fn app_and_guest_keys_are_dstacks() {
    for golden in &APPS {
        let app = golden.app.parse().unwrap();
        let (key, signature) = kms().app_k256(&app).unwrap();
        assert_eq!(hex::encode(key.to_bytes()), golden.k256);
        assert_eq!(hex::encode(signature), golden.k256_signature);
        for (path, purpose, key, link) in golden.keys {
            let answer = kms().get_key(&app, path, purpose).unwrap();
            assert_eq!(hex::encode(answer.key.expose_secret()), key);
            let chain = answer.signature_chain.map(hex::encode);
            assert_eq!(chain, [link, golden.k256_signature]);
        }
    }
}

#[test]
fn many_apps_agree_with_dstack() {
    let mut all = Sha256::new();
    for number in 0_u32..200 {
        let hash = Sha256::digest(number.to_be_bytes());
        let app = AppId::from_bytes(hash[..20].try_into().unwrap());
        all.update(kms().env_secret_key(&app).unwrap().expose_bytes());
        let (key, signature) = kms().app_k256(&app).unwrap();
        all.update(key.to_bytes());
        all.update(signature);
    }
    assert_eq!(hex::encode(all.finalize()), DIGEST_OF_200);
}

/// dstack's own frozen vector, `test_derive_dh_secret_stable_output` in `ra-tls/src/kdf.rs`.
#[test]
fn dh_secrets_are_those_dstack_froze() {
    let ca = "f57527cea4ab7ffb49af99b158cdc0e3ec06398f528349ea236b7d2afe19cec1";
    let text = format!("p256 {ca} k256 {}", "01".repeat(32));
    let kms = BuiltinKms::new(RootKeys::from_hex(&text.into()).unwrap());
    let secret = kms.dh_secret(&[b"context one", b"context two"]).unwrap();
    let frozen = "663afd58820be8ad645f9c035e93199d114ab16f738db62393bc1d7d623e8813";
    assert_eq!(hex::encode(*secret), frozen);
}

/// `GetAppEnvEncryptPubKey` and `k256_pubkey` of a running dstack-kms 0.6.0.
#[test]
fn signatures_of_a_real_kms_recover_its_key() {
    let app = "1122334455667788990011223344556677889900".parse().unwrap();
    let key: EnvPublicKey =
        "d92581fce83e2d484a248315426841c26fe9158768ad0f33b3f798b58dd71231".parse().unwrap();
    let signed = [
        (
            None,
            "f241149dcd748c88fa9d8e312f1b161651d5cdcae14174f7235210f0ea5b96bf12cb0f3d28847e89c1ccaa8cc4f4faa9e64e663d0f4e622c4367ea2ae6e08aa801",
        ),
        (
            Some(1_795_229_871),
            "a61d45cc2c6a7498c40a53f20103d30a774e539236bdfd1c6a94a18bb335f2fa051cf9401ef4ddedaaea572545817aebc6dc1697fe5126dd476b14c3b2c9f75100",
        ),
    ];
    for (timestamp, signature) in signed {
        let signature = hex::decode(signature).unwrap();
        let signer = VerifyingKey::recover_from_prehash(
            &pubkey::env_pubkey_digest(&app, &key, timestamp),
            &k256::ecdsa::Signature::from_slice(&signature[..64]).unwrap(),
            RecoveryId::from_byte(signature[64]).unwrap(),
        );
        let expected = "02157eb504b033963ac4835f59ef822a68a259f556e67600f0face202712803024";
        assert_eq!(hex::encode(compressed(&signer.unwrap()).unwrap()), expected);
    }
}

#[test]
fn nothing_shows_keys() {
    let app = APPS[0].app.parse().unwrap();
    let shown = format!("{:?} {:?}", kms(), kms().get_key(&app, "", "").unwrap().key);
    assert_eq!(shown, "BuiltinKms { root: RootKeys(..) } SecretBox<[u8; 32]>([REDACTED])");
}

/// Scalars that no curve has, as a derivation yields one in 2³² times.
#[test]
fn scalars_out_of_range_are_rejected() {
    for scalar in [[0; 32], [0xff; 32]] {
        assert_eq!(k256_key(&scalar).unwrap_err(), rejected(NO_KEY));
    }
}
