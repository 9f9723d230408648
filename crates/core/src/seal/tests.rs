use proptest::prelude::*;

use super::*;

/// Env key of app 0123…4567 under the test root (`casemate-engine`, `kms/builtin`), and what `encryptEnvVars`
/// of npm `@phala/dstack-sdk` 0.5.8 sealed to it.
const SECRET: &str = "73ae2be9f7c5e463e1c4a6463fb0d4102cc685d7d9ca69ad71fa89dacf4fed0b";
const PUBLIC: &str = "73857e9b1de857a8758ae037259692db48a15c9d6fc7b44b525bf98431155369";
const SEALED_BY_SDK: &str = "5ed4bf5ef5c7935e79358b4a5db216da9bd843f41720d8a057bb4426af9f7a1e3d28b03b5ecb3a225416761aec3543595cdb92e834a0ee35a21328775a7b2c352f06333f0a6efa70919b165bddec9cd7816100532e96d64f977b619098c250d630fdc0f4aeff27daebca7234ecf6efd859351c1a3bcc088574e8916f82f9d1d1f3c863ffa94833ebebc4786aef8c95c6b1ae4d545694073b6b65617abea541df1e41b48155ffacfa85f5e572670e8c3fe10c2b8aa10f075815f3631ed63a006021fa5300df0b4473ce183386676b54";
const SEALED_EMPTY_BY_SDK: &str = "521f8cf8ffb6e69758c19251107de447dd209dacb45c9bfeed6b56270df0b0070f5915220d6ad764ee24f8112a19b3415e85caa8e04f15b8e36b4dd0462046eae1177e947db7";
const SEALED_BY_US: &str = "13be4feaeaf204c7fd3358fc9c00721881d174278128227ec674f37f7fe97b6d0909090909090909090909096fef59a6a99f9da231c1a2f9bfa9ecaec1fd70fd7b0f6d008b66574e22fce57f7f4da82f70164a87d4807b9a5470b8423c26e2fef244a53c6694dbc9802bf08bfa9fe5a7db8278e8db6b2b";

fn secret() -> EnvSecretKey {
    let mut bytes = [0; 32];
    hex::decode_to_slice(SECRET, &mut bytes).unwrap();
    EnvSecretKey::from_bytes(bytes)
}

fn var(key: &str, value: &str) -> EnvVar {
    EnvVar { key: key.to_owned(), value: value.into() }
}

fn pairs(vars: &[EnvVar]) -> Vec<(&str, &str)> {
    vars.iter().map(|var| (var.key.as_str(), var.value.expose_secret())).collect()
}

fn seal_for_test(vars: &[EnvVar]) -> SealedEnv {
    seal(vars, &secret().public(), [7; 32], [9; 12]).unwrap()
}

#[test]
fn what_the_sdk_seals_opens() {
    assert_eq!(secret().public().to_string(), PUBLIC);
    let vars = unseal(&SEALED_BY_SDK.parse().unwrap(), &secret()).unwrap();
    let token = "a \"quoted\" \\ line\nend\u{1}\u{7f} ü € \u{2028} </x> 😀";
    assert_eq!(pairs(&vars), [("TOKEN", token), ("EMPTY", ""), ("TOKEN", "last")]);
    let sealed: SealedEnv = SEALED_EMPTY_BY_SDK.parse().unwrap();
    assert!(unseal(&sealed, &secret()).unwrap().is_empty());
}

/// Our text equals the SDK's to the byte; `dh_decrypt` and `parse_env` of dstack-util 0.6.0 opened this
/// example as A=1, B=two.
#[test]
fn what_we_seal_is_what_the_sdk_would() {
    let sdk: SealedEnv = SEALED_BY_SDK.parse().unwrap();
    let parts = sdk.parts().unwrap();
    let mut text = parts.ciphertext.to_vec();
    let cipher = cipher(secret().secret(), parts.ephemeral).unwrap();
    cipher.decrypt_in_place_detached(parts.iv.into(), b"", &mut text, parts.tag.into()).unwrap();
    let vars = unseal(&sdk, &secret()).unwrap();
    assert_eq!(*plaintext(&vars).unwrap(), text);

    let ours = seal_for_test(&[var("A", "1"), var("B", "two")]);
    assert_eq!(ours.to_string(), SEALED_BY_US);
}

#[test]
fn lengths_are_limited() {
    assert_eq!(SealedEnv::from_bytes(vec![0; 59]).unwrap_err(), InvalidSealedEnv::TooShort);
    assert!(SealedEnv::from_bytes(vec![0; 60]).is_ok());
    assert!(SealedEnv::from_bytes(vec![0; SealedEnv::MAX]).is_ok());
    let too_long = SealedEnv::from_bytes(vec![0; SealedEnv::MAX + 1]);
    assert_eq!(too_long.unwrap_err(), InvalidSealedEnv::TooLong);
    let too_long = "00".repeat(SealedEnv::MAX + 1).parse::<SealedEnv>();
    assert_eq!(too_long.unwrap_err(), InvalidSealedEnv::TooLong);
    assert_eq!("0x0".parse::<SealedEnv>().unwrap_err(), InvalidSealedEnv::NotHex);
    assert_eq!("zz".repeat(60).parse::<SealedEnv>().unwrap_err(), InvalidSealedEnv::NotHex);

    let overhead = seal_for_test(&[var("A", "")]).as_bytes().len();
    let fits = "x".repeat(SealedEnv::MAX - overhead);
    assert_eq!(seal_for_test(&[var("A", &fits)]).as_bytes().len(), SealedEnv::MAX);
    for value in [format!("{fits}x"), "\u{1}".repeat(SealedEnv::MAX / 2)] {
        let sealed = seal(&[var("A", &value)], &secret().public(), [7; 32], [9; 12]);
        assert_eq!(sealed.unwrap_err(), SealError::TooLarge);
    }
}

#[test]
fn text_forms_are_lower_hex_and_tolerate_0x() {
    let sealed = seal_for_test(&[]);
    let text = sealed.to_string();
    assert_eq!(text.len(), 140);
    for form in [text.clone(), format!("0x{}", text.to_uppercase())] {
        assert_eq!(form.parse::<SealedEnv>().unwrap().as_bytes(), sealed.as_bytes());
    }
    assert_eq!(serde_json::to_string(&sealed).unwrap(), format!("\"{text}\""));
    let key: EnvPublicKey = format!("0x{}", PUBLIC.to_uppercase()).parse().unwrap();
    assert_eq!(serde_json::to_string(&key).unwrap(), format!("\"{PUBLIC}\""));
    assert!("00".repeat(31).parse::<EnvPublicKey>().is_err());
}

#[test]
fn weak_keys_are_refused() {
    let weak = EnvPublicKey::from_bytes([0; 32]);
    let sealed = seal(&[], &weak, [7; 32], [9; 12]);
    assert_eq!(sealed.unwrap_err(), SealError::WeakKey);
    let weak = SealedEnv::from_bytes(vec![0; 70]).unwrap();
    assert_eq!(unseal(&weak, &secret()).unwrap_err(), UnsealError::WeakKey);
}

/// Seals a text that [`seal`] would never write.
fn seal_text(text: &str) -> SealedEnv {
    let ephemeral = StaticSecret::from([7; 32]);
    let cipher = cipher(&ephemeral, secret().public().as_bytes()).unwrap();
    let mut bytes = text.as_bytes().to_vec();
    let iv = [9; 12];
    let tag = cipher.encrypt_in_place_detached(&iv.into(), b"", &mut bytes).unwrap();
    let public = PublicKey::from(&ephemeral);
    SealedEnv::from_bytes([public.as_bytes().as_slice(), &iv, &bytes, &tag].concat()).unwrap()
}

#[test]
fn nothing_tells_plaintext() {
    let malformed = seal_text(r#"{"env":"hunter2"}"#);
    let error = unseal(&malformed, &secret()).unwrap_err();
    assert_eq!(error, UnsealError::Malformed);
    let vars = vec![var("PASSWORD", "hunter2")];
    let shown = format!("{error} {error:?} {malformed:?} {vars:?} {:?}", secret());
    assert!(!shown.contains("hunter2") && !shown.contains("73ae"), "{shown}");
    let shown = format!("{:?}", admit(vars, &["PASSWORD".to_owned()]).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn extra_fields_of_the_plaintext_are_passed_over() {
    let sealed = seal_text(r#"{"v":2,"env":[{"key":"A","value":"1","note":null}]}"#);
    assert_eq!(pairs(&unseal(&sealed, &secret()).unwrap()), [("A", "1")]);
}

#[test]
fn guests_take_what_is_allowed_and_the_last_of_each() {
    let vars = vec![var("B", "1"), var("NOT ALLOWED", "x"), var("A", "2"), var("B", "3")];
    let admitted = admit(vars, &["A".to_owned(), "B".to_owned(), "C".to_owned()]).unwrap();
    assert_eq!(pairs(&admitted.vars), [("A", "2"), ("B", "3")]);
    assert_eq!(admitted.skipped, ["NOT ALLOWED"]);
}

#[test]
fn guests_stop_over_a_broken_rule() {
    let long_key = "k".repeat(MAX_KEY + 1);
    let long_value = "v".repeat(MAX_VALUE + 1);
    let most = "v".repeat(MAX_VALUE);
    let cases = [
        (vec![var(&long_key, "")], Inadmissible::LongKey(long_key.clone())),
        (vec![var("A", &long_value)], Inadmissible::LongValue("A".to_owned())),
        (vec![var("1A", "")], Inadmissible::Name("1A".to_owned())),
        (vec![var("Z", ""); MAX_ITEMS + 1], Inadmissible::TooMany(MAX_ITEMS + 1)),
        (vec![var("A", &most); 8], Inadmissible::TooLarge),
    ];
    let allowed = [long_key, "A".to_owned(), "1A".to_owned()];
    for (vars, why) in cases {
        assert_eq!(admit(vars, &allowed).unwrap_err(), why);
    }
    let at_the_edge = vec![var("A", &most), var(&"k".repeat(MAX_KEY), "")];
    let allowed = ["A".to_owned(), "k".repeat(MAX_KEY)];
    assert_eq!(admit(at_the_edge, &allowed).unwrap().vars.len(), 2);
    // A variable that is not allowed is not checked.
    assert_eq!(admit(vec![var("1A", &long_value)], &[]).unwrap().skipped, ["1A"]);
}

#[test]
fn names_follow_the_guests_pattern() {
    for good in ["A", "_", "a1", "_9", "DSTACK_AUTHORIZED_KEYS"] {
        assert!(valid_env_name(good), "{good}");
    }
    for bad in ["", "1", "A-B", "A B", "A.B", "Ä", "Aé", "A\n", "A="] {
        assert!(!valid_env_name(bad), "{bad}");
    }
}

proptest! {
    #[test]
    fn sealed_opens_again(
        env in prop::collection::vec((any::<String>(), any::<String>()), 0..12),
        key: [u8; 32], ephemeral: [u8; 32], iv: [u8; 12],
    ) {
        let vars: Vec<EnvVar> = env.iter().map(|(key, value)| var(key, value)).collect();
        let key = EnvSecretKey::from_bytes(key);
        let sealed = seal(&vars, &key.public(), ephemeral, iv).unwrap();
        let again = sealed.to_string().parse::<SealedEnv>().unwrap();
        let opened = unseal(&again, &key).unwrap();
        prop_assert_eq!(pairs(&opened), pairs(&vars));
    }

    /// X25519 ignores the top bit of the ephemeral key (RFC 7748 §5), so the test leaves it out.
    #[test]
    fn any_flipped_bit_is_noticed(
        value: String, at: prop::sample::Index, bit in 0..8_u8, ephemeral: [u8; 32],
    ) {
        let sealed = seal(&[var("A", &value)], &secret().public(), ephemeral, [9; 12]).unwrap();
        let mut bytes = sealed.into_bytes();
        let at = at.index(bytes.len());
        prop_assume!((at, bit) != (31, 7));
        bytes[at] ^= 1 << bit;
        prop_assert!(unseal(&SealedEnv::from_bytes(bytes).unwrap(), &secret()).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300), text: String) {
        if let Ok(sealed) = SealedEnv::from_bytes(bytes) {
            prop_assert!(unseal(&sealed, &secret()).is_err());
        }
        let _ = unseal(&seal_text(&text), &secret());
        let _ = text.parse::<SealedEnv>();
    }
}
