//! `DstackKms` over a socket: what it believes, and what each failure is.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use casemate_core::{
    id::AppId,
    seal::{EnvVar, seal},
    time::Clock as _,
};
use casemate_dstack_double::{KmsDouble, KmsFault, KmsProfile, kms_router};
use casemate_engine::kms::{
    KmsError,
    dstack::{DstackKms, DstackKmsConfig, PinnedKeys, RootEpoch},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
    server::TlsStream,
};

use crate::stage::Real;

struct Stage {
    kms: Arc<KmsDouble>,
    url: String,
    server: JoinHandle<()>,
}

impl Stage {
    async fn new(profile: KmsProfile) -> Self {
        let kms = Arc::new(KmsDouble::new(profile, &[7; 64], Arc::new(Real)).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = kms_router(kms.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { kms, url, server }
    }

    fn client_with(&self, keys: &[String]) -> DstackKms {
        let config = DstackKmsConfig {
            url: self.url.clone(),
            keys: PinnedKeys::from_hex(keys).unwrap(),
            ca_file: None,
            timeout: Duration::from_secs(1),
        };
        DstackKms::open(&config).unwrap()
    }

    fn client(&self) -> DstackKms {
        self.client_with(&[self.kms.k256_public_key()])
    }
}

/// Whether an error is the one that is expected.
type Fits = fn(&KmsError) -> bool;

fn app() -> AppId {
    AppId::from_bytes([9; 20])
}

fn now() -> u64 {
    Real.now().unix_seconds()
}

#[tokio::test]
async fn every_version_gives_a_key_that_its_guests_open() {
    for profile in KmsProfile::ALL {
        let stage = Stage::new(profile).await;
        let (key, epoch) = stage.client().signed_env_key(&app(), now()).await.unwrap();
        assert_eq!(epoch, RootEpoch(0));
        let vars = [EnvVar { key: "A".to_owned(), value: "b".to_owned().into() }];
        let sealed = seal(&vars, &key.public_key, [1; 32], [2; 12]).unwrap();
        assert_eq!(stage.kms.open(&app(), &sealed).unwrap()[0].key, "A");
        assert!(stage.kms.open(&AppId::from_bytes([8; 20]), &sealed).is_none());
        let meta = stage.client().meta().await.unwrap();
        assert_eq!((meta.epoch, meta.is_dev), (RootEpoch(0), false));
        assert_eq!((meta.gateway_app_id.as_deref(), meta.contract), (Some("any"), None));
    }
}

#[tokio::test]
async fn each_failure_has_a_type_of_its_own() {
    let stage = Stage::new(KmsProfile::newest()).await;
    let other = stage.kms.other_public_key();
    let cases: Vec<(KmsFault, Fits)> = vec![
        (KmsFault::Hangs, |error| matches!(error, KmsError::Silent(1))),
        (KmsFault::Status(503), |error| matches!(error, KmsError::Unreachable(_))),
        (KmsFault::Status(500), |error| matches!(error, KmsError::Failed { status: 500, .. })),
        (KmsFault::Status(302), |error| matches!(error, KmsError::Failed { status: 302, .. })),
        (KmsFault::Status(401), |error| matches!(error, KmsError::Unauthorized(401))),
        (
            KmsFault::Refuses("no".to_owned()),
            |error| matches!(error, KmsError::Rejected(why) if why == "no"),
        ),
        (KmsFault::OtherApp, |error| matches!(error, KmsError::UnknownKey { .. })),
        (KmsFault::NoSignature, |error| matches!(error, KmsError::InvalidSignature("signature"))),
        (KmsFault::ClockOff(-301), |error| matches!(error, KmsError::Stale(-302..=-301))),
        (KmsFault::ClockOff(302), |error| matches!(error, KmsError::Stale(301..=302))),
        (KmsFault::TooLong, |error| matches!(error, KmsError::TooLong(_))),
        (KmsFault::Garbage, |error| matches!(error, KmsError::Unreadable(_))),
    ];
    for (fault, fits) in cases {
        stage.kms.set_faults(vec![fault.clone()]);
        let error = stage.client().signed_env_key(&app(), now()).await.unwrap_err();
        assert!(fits(&error), "{fault:?}: {error:?}");
        assert!(!error.way_out().is_empty());
    }
    for field in ["public_key", "signature", "timestamp", "signature_v1"] {
        stage.kms.set_faults(vec![KmsFault::Without(field.to_owned())]);
        let error = stage.client().signed_env_key(&app(), now()).await.unwrap_err();
        assert_eq!(error, KmsError::MissingField(field));
    }
    stage.kms.set_faults(vec![KmsFault::OtherKey]);
    let error = stage.client().signed_env_key(&app(), now()).await.unwrap_err();
    assert_eq!(error, KmsError::UnknownKey { field: "signature", key: other.clone() });
    stage.kms.set_faults(vec![KmsFault::MixedKeys]);
    let error = stage.client().signed_env_key(&app(), now()).await.unwrap_err();
    assert_eq!(error, KmsError::UnknownKey { field: "signature_v1", key: other.clone() });
    let both = stage.client_with(&[stage.kms.k256_public_key(), other]);
    let error = both.signed_env_key(&app(), now()).await.unwrap_err();
    assert_eq!(error, KmsError::MixedKeys, "both keys are pinned, and still they are two");
    // Healed, the next call works.
    stage.kms.set_faults(Vec::new());
    both.signed_env_key(&app(), now()).await.unwrap();
    stage.server.abort();
    let _ = stage.server.await;
    let gone = both.signed_env_key(&app(), now()).await.unwrap_err();
    assert!(gone.is_transient(), "{gone:?}");
}

#[tokio::test]
async fn a_rotated_key_is_believed_once_it_is_pinned() {
    let stage = Stage::new(KmsProfile::newest()).await;
    let before = stage.kms.k256_public_key();
    let pinned = stage.client();
    assert!(stage.kms.rotate(&[8; 64]));
    let after = stage.kms.k256_public_key();
    let error = pinned.signed_env_key(&app(), now()).await.unwrap_err();
    let unknown = |field| KmsError::UnknownKey { field, key: after.clone() };
    assert_eq!(error, unknown("signature"));
    assert_eq!(pinned.meta().await.unwrap_err(), unknown("k256_pubkey"));
    let both = stage.client_with(&[before, after.clone()]);
    let (_, epoch) = both.signed_env_key(&app(), now()).await.unwrap();
    assert_eq!((epoch, hex::encode(both.k256_public())), (RootEpoch(1), after));
}

#[tokio::test]
async fn a_webhook_that_is_down_leaves_the_keys() {
    let stage = Stage::new(KmsProfile::newest()).await;
    stage.kms.set_faults(vec![KmsFault::NoWebhook]);
    assert!(matches!(stage.client().meta().await, Err(KmsError::Rejected(_))));
    stage.client().signed_env_key(&app(), now()).await.unwrap();
}

#[tokio::test]
async fn an_answer_is_stale_for_ever_after() {
    let stage = Stage::new(KmsProfile::newest()).await;
    let late = now() + 10_000;
    let error = stage.client().signed_env_key(&app(), late).await.unwrap_err();
    assert!(matches!(error, KmsError::Stale(-10_001..=-9_999)), "{error}");
    assert!(error.to_string().contains("s before our time"), "{error}");
    let early = stage.client().signed_env_key(&app(), 0).await.unwrap_err();
    assert!(matches!(early, KmsError::Stale(seconds) if seconds > 0));
}

/// A certificate under `tests/it/tls`: made by openssl, valid from 2020 to 2120, for 127.0.0.1.
fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/it/tls", name].iter().collect()
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            // A client that does not trust the certificate ends the handshake.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A KMS behind TLS with this certificate.
async fn behind_tls(kms: &Arc<KmsDouble>, name: &str) -> String {
    let certificate = CertificateDer::from_pem_file(file(&format!("{name}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(file(&format!("{name}.key"))).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", tcp.local_addr().unwrap());
    let tls = Tls { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
    let app = kms_router(kms.clone());
    tokio::spawn(async move { axum::serve(tls, app).await.unwrap() });
    url
}

#[tokio::test]
async fn only_the_certificates_of_ca_file_are_trusted() {
    let kms = Arc::new(KmsDouble::new(KmsProfile::newest(), &[7; 64], Arc::new(Real)).unwrap());
    let urls = [behind_tls(&kms, "kms").await, behind_tls(&kms, "self").await];
    let ask = async |url: &str, ca_file: Option<&str>| {
        let config = DstackKmsConfig {
            url: url.to_owned(),
            keys: PinnedKeys::from_hex(&[kms.k256_public_key()]).unwrap(),
            ca_file: ca_file.map(file),
            timeout: Duration::from_secs(10),
        };
        DstackKms::open(&config).unwrap().signed_env_key(&app(), now()).await.map(drop)
    };
    // Of its own CA, and its own where it signs itself.
    ask(&urls[0], Some("ca.pem")).await.unwrap();
    ask(&urls[1], Some("self.pem")).await.unwrap();
    for (url, ca_file) in [(0, Some("self.pem")), (1, Some("ca.pem")), (0, None), (1, None)] {
        let error = ask(&urls[url], ca_file).await.unwrap_err();
        let KmsError::Unreachable(why) = &error else { panic!("{error:?}") };
        assert!(why.contains("certificate"), "{why}");
    }
    // The name counts too.
    let other_name = urls[0].replace("127.0.0.1", "localhost");
    let error = ask(&other_name, Some("ca.pem")).await.unwrap_err();
    assert!(matches!(&error, KmsError::Unreachable(why) if why.contains("certificate")), "{error}");
}
