//! A CVM that has every kind of evidence, under a development root.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use casemate_verify::{
    Bundle, ClaimId, Expected, Policy, Roots, Verdict,
    bundle::{
        AppKey, Contracts, Cvm, EnvKey, Gpu, Image, Kms, Login, ReportData, ReportDataForm, Tdx,
    },
    compose_hash,
    event_log::{DSTACK_EVENT, Event, extend, register_of},
    hexes::{Hex, HexBytes},
    policy::{AcceptedImage, ExpectedMeasurements, KmsRoot},
    simulate::{DevelopmentRoot, TdReport},
    verify,
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use sha3::Keccak256;

use crate::gpu_tokens;

pub const COMPOSE: &str = r#"{"docker_compose_file":"services: {}\n","manifest_version":2,"name":"hello","runner":"docker-compose"}"#;
pub const APP_ID: [u8; 20] = [0xaa; 20];
pub const INSTANCE_ID: [u8; 20] = [0xbb; 20];
pub const IMAGE: [u8; 32] = [0xcc; 32];
pub const NONCE: [u8; 32] = [0xdd; 32];
pub const PPID: [u8; 16] = [0x11; 16];
pub const CA_KEY: &[u8] = b"the KMS's CA public key in DER";
pub const MRTD: [u8; 48] = [0x21; 48];

/// A case: evidence and everything that it is judged with.
#[derive(Clone)]
pub struct Case {
    pub bundle: Bundle,
    pub policy: Policy,
    pub roots: Roots,
    pub expected: Expected,
    pub now: Timestamp,
}

impl Case {
    pub fn verify(&self) -> Verdict {
        verify(&self.bundle, &self.policy, &self.roots, &self.expected, self.now)
    }

    pub fn tdx(&mut self) -> &mut Tdx {
        self.bundle.tdx.as_mut().unwrap()
    }

    pub fn kms(&mut self) -> &mut Kms {
        self.bundle.kms.as_mut().unwrap()
    }

    /// The event of this name.
    pub fn event(&mut self, name: &str) -> &mut Event {
        self.tdx().event_log.iter_mut().find(|event| event.event == name).unwrap()
    }

    /// Quotes the event log as it is now.
    pub fn quote_again(&mut self, change: impl FnOnce(&mut TdReport)) {
        let mut report = report(&self.bundle.tdx.as_ref().unwrap().event_log);
        change(&mut report);
        self.tdx().quote = HexBytes(root().quote(&report).unwrap());
    }
}

pub fn now() -> Timestamp {
    "2026-11-30T12:00:00Z".parse().unwrap()
}

/// The root of every good bundle.
pub fn root() -> &'static DevelopmentRoot {
    static ROOT: LazyLock<DevelopmentRoot> =
        LazyLock::new(|| DevelopmentRoot::from_seed(&[1; 32]).unwrap());
    &ROOT
}

/// A good case. Every claim is proven but the two that no evidence can prove.
pub fn good() -> Case {
    static GOOD: LazyLock<Case> = LazyLock::new(make);
    GOOD.clone()
}

fn make() -> Case {
    let event_log = events();
    let quote = root().quote(&report(&event_log)).unwrap();
    let policy = Policy {
        simulated: true,
        required: ClaimId::ALL.into_iter().filter(|id| *id != ClaimId::Contracts).collect(),
        kms_roots: vec![KmsRoot {
            name: "test-kms".to_owned(),
            root_public_key: Hex(kms_public_key()),
            ca_public_key: Some(HexBytes(CA_KEY.to_vec())),
        }],
        images: vec![AcceptedImage {
            name: "dstack-0.6.6".to_owned(),
            os_image_hash: Hex(IMAGE),
            dev: false,
        }],
        measurements: vec![measurements()],
        ..Policy::default()
    };
    let roots = Roots::vendors()
        .with_development("laptop", root().certificate_pem().unwrap().as_bytes())
        .unwrap()
        .with_gpu_keys(&gpu_tokens::key_set())
        .unwrap();
    let bundle = Bundle {
        format: casemate_verify::bundle::FORMAT.to_owned(),
        collected_at: now(),
        cvm: Cvm {
            id: Some("cvm_1".to_owned()),
            name: Some("hello".to_owned()),
            app_id: Some(Hex(APP_ID)),
            instance_id: Some(HexBytes(INSTANCE_ID.to_vec())),
            device_id: Some(Hex(Sha256::digest(PPID).into())),
            node: Some("node-1".to_owned()),
            node_revision: Some("qemu-10.1".to_owned()),
        },
        tdx: Some(Tdx {
            quote: HexBytes(quote),
            collateral: Some(root().collateral(now()).unwrap()),
            event_log,
        }),
        snp: None,
        report_data: Some(ReportData {
            nonce: HexBytes(NONCE.to_vec()),
            form: ReportDataForm::Raw,
        }),
        app_compose: Some(COMPOSE.to_owned()),
        vm_config: Some(r#"{"cpu_count":2,"memory_size":4294967296}"#.to_owned()),
        image: Some(Image {
            name: "dstack-0.6.6".to_owned(),
            os_image_hash: Hex(IMAGE),
            dev: false,
        }),
        kms: Some(kms()),
        contracts: Some(Contracts {
            chain_id: 1,
            block_number: 1000,
            block_hash: Hex([1; 32]),
            kms_contract: Hex([2; 20]),
            compose_hash: Hex(compose_hash(COMPOSE)),
            compose_hash_allowed: true,
            device_id: None,
            device_allowed: None,
            os_image_allowed: Some(true),
        }),
        login: Some(Login { ssh_keys: vec!["ssh-ed25519 AAAA".to_owned()] }),
        gpu: Some(Gpu {
            token: gpu_tokens::detached(&gpu_tokens::Says::good()),
            nonce: Some(HexBytes(NONCE.to_vec())),
        }),
    };
    let expected = Expected { nonce: Some(NONCE.to_vec()), ..Expected::default() };
    Case { bundle, policy, roots, expected, now: now() }
}

/// A boot as dstack records it, with events of both versions.
pub fn events() -> Vec<Event> {
    let mut events: Vec<Event> = (0..3).map(firmware_event).collect();
    let provider = format!(r#"{{"name":"kms","id":"{}"}}"#, hex::encode(CA_KEY));
    events.extend([
        Event::dstack("system-preparing", &[], 1),
        Event::dstack("app-id", &APP_ID, 1),
        Event::dstack("compose-hash", &compose_hash(COMPOSE), 2),
        Event::dstack("instance-id", &INSTANCE_ID, 1),
        Event::dstack("boot-mr-done", &[], 1),
        Event::dstack("os-image-hash", &IMAGE, 1),
        Event::dstack("key-provider", provider.as_bytes(), 1),
        Event::dstack("storage-fs", b"zfs", 1),
        Event::dstack("system-ready", &[], 1),
    ]);
    let hash = hex::encode(compose_hash(COMPOSE));
    let preimage = format!(r#"{{"name":"compose-hash","payload":"{hash}","type":134217729}}"#);
    events[5].preimage = Some(HexBytes(preimage.into_bytes()));
    events
}

fn firmware_event(register: u8) -> Event {
    Event {
        imr: register.into(),
        event_type: 0x8000_0001,
        digest: HexBytes(vec![0x30 + register; 48]),
        event: String::new(),
        event_payload: HexBytes::default(),
        version: 1,
        preimage: None,
    }
}

/// RTMR0 to RTMR2 after their one event.
pub fn firmware_register(register: u8) -> [u8; 48] {
    extend(&[0; 48], &[0x30 + register; 48])
}

pub fn report(events: &[Event]) -> TdReport {
    let app: Vec<Event> =
        events.iter().filter(|event| event.event_type == DSTACK_EVENT).cloned().collect();
    let mut report_data = [0; 64];
    report_data[..32].copy_from_slice(&NONCE);
    TdReport {
        mrtd: MRTD,
        rtmr: [firmware_register(0), firmware_register(1), firmware_register(2), register_of(&app)],
        report_data,
        ppid: PPID,
        ..TdReport::default()
    }
}

pub fn measurements() -> ExpectedMeasurements {
    ExpectedMeasurements {
        os_image_hash: Hex(IMAGE),
        image: "dstack-0.6.6".to_owned(),
        node_revision: Some("qemu-10.1".to_owned()),
        vm_config: serde_json::from_str(r#"{"cpu_count":2}"#).unwrap(),
        mrtd: Some(Hex(MRTD)),
        rtmr0: Some(Hex(firmware_register(0))),
        rtmr1: Some(Hex(firmware_register(1))),
        rtmr2: Some(Hex(firmware_register(2))),
        snp_measurement: None,
    }
}

fn kms_key() -> k256::ecdsa::SigningKey {
    k256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap()
}

fn kms_public_key() -> [u8; 33] {
    kms_key().verifying_key().to_encoded_point(true).as_bytes().try_into().unwrap()
}

fn kms_sign(message: &[u8]) -> Hex<65> {
    let digest = Keccak256::new_with_prefix(message);
    let (signature, recovery) = kms_key().sign_digest_recoverable(digest).unwrap();
    let mut bytes = [0; 65];
    bytes[..64].copy_from_slice(&signature.to_bytes());
    bytes[64] = recovery.to_byte();
    Hex(bytes)
}

fn kms() -> Kms {
    let app_key = [2; 33];
    let env_key = [3; 32];
    let timestamp: u64 = 1_790_000_000;
    let env_message =
        [b"dstack-env-encrypt-pubkey:", &APP_ID[..], &timestamp.to_be_bytes(), &env_key].concat();
    Kms {
        url: Some("https://kms.example".to_owned()),
        root_public_key: Hex(kms_public_key()),
        ca_public_key: Some(HexBytes(CA_KEY.to_vec())),
        app_key: Some(AppKey {
            public_key: Hex(app_key),
            signature: kms_sign(&[b"dstack-kms-issued:", &APP_ID[..], &app_key].concat()),
        }),
        env_key: Some(EnvKey {
            public_key: Hex(env_key),
            signature: kms_sign(&env_message),
            timestamp: Some(timestamp),
        }),
    }
}

/// PEM of one certificate.
pub fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// The first certificates of a PEM chain, as DER.
pub fn certificates(chain: &str, count: usize) -> Option<Vec<Vec<u8>>> {
    let body = |block: &str| Some(block.split("-----END").next()?.replace(['\n', '\r'], ""));
    let blocks = chain.split("-----BEGIN CERTIFICATE-----").skip(1).take(count);
    blocks.map(|block| STANDARD.decode(body(block)?).ok()).collect()
}

/// The chain with the last bit of one certificate's signature flipped.
pub fn alter(chain: &str, which: usize) -> String {
    let mut found = certificates(chain, usize::MAX).unwrap();
    *found[which].last_mut().unwrap() ^= 1;
    found.iter().map(|der| pem(der)).collect()
}
