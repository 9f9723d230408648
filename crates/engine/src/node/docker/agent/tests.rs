use casemate_core::seal::EnvSecretKey;
use secrecy::SecretBox;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::*;
use crate::{error::CallError, kms::GuestKey};

#[derive(Debug)]
struct Keys;

impl GuestKeys for Keys {
    fn env_secret(&self, _: &AppId) -> Result<EnvSecretKey, CallError> {
        Ok(EnvSecretKey::from_bytes([1; 32]))
    }
    fn get_key(&self, _: &AppId, path: &str, purpose: &str) -> Result<GuestKey, CallError> {
        assert_eq!((path, purpose), ("a/b", "signing"));
        Ok(GuestKey { key: SecretBox::new(Box::new([7; 32])), signature_chain: [[8; 65], [9; 65]] })
    }
}

fn identity() -> Identity {
    Identity {
        app_id: AppId::from_bytes([1; 20]),
        app_name: "web".to_owned(),
        instance_id: Some(InstanceId::from_bytes([2; 20])),
        device_id: DeviceId::from_bytes([3; 32]),
        compose_hash: ComposeHash::from_bytes([4; 32]),
        app_compose: "{\"name\":\"web\"}".to_owned(),
        image: "dstack-dev-0.5.4".to_owned(),
        os_image_hash: "05".repeat(32),
        has_kms: true,
        vcpu: 2,
        memory_mb: 1024,
    }
}

/// Sends what `@phala/dstack-sdk` sends and reads until the agent closes.
async fn call(run: &Path, socket: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(run.join(socket)).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.to_lowercase().contains("content-length:"),
        "the JavaScript client needs one: {head}"
    );
    (status, serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn the_agent_speaks_as_clients_expect() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path();
    let tracker = TaskTracker::new();
    let _agent = serve(run, identity(), Arc::new(Keys), &tracker).unwrap();

    let (status, info) = call(run, "dstack.sock", "/Info", "{}").await;
    assert_eq!(status, 200);
    assert_eq!(info["app_id"], "01".repeat(20));
    assert_eq!(info["instance_id"], "02".repeat(20));
    let tcb: Value = serde_json::from_str(info["tcb_info"].as_str().unwrap()).unwrap();
    for field in ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_aggregated", "device_id"] {
        assert!(tcb[field].is_string(), "{field}");
    }
    assert_eq!(tcb["app_compose"], identity().app_compose);
    assert_eq!(tcb["compose_hash"], "04".repeat(32));

    let asked = r#"{"path":"a/b","purpose":"signing","algorithm":"secp256k1"}"#;
    let (status, key) = call(run, "dstack.sock", "/GetKey", asked).await;
    assert_eq!((status, &key["key"]), (200, &Value::from("07".repeat(32))));
    assert_eq!(key["signature_chain"][1], "09".repeat(65));
    let (_, key) = call(run, "tappd.sock", "/prpc/Tappd.DeriveK256Key?json", asked).await;
    assert_eq!(key["k256_key"], "07".repeat(32));

    let (status, version) = call(run, "dstack.sock", "/prpc/DstackGuest.Version", "").await;
    assert_eq!((status, &version["version"]), (200, &Value::from("0.5.4")));
}

#[tokio::test]
async fn what_needs_a_tee_is_named_and_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path();
    let tracker = TaskTracker::new();
    let _agent = serve(run, identity(), Arc::new(Keys), &tracker).unwrap();
    for (socket, path, name) in [
        ("dstack.sock", "/GetQuote", "GetQuote"),
        ("dstack.sock", "/Attest", "Attest"),
        ("tappd.sock", "/prpc/Tappd.TdxQuote", "TdxQuote"),
        ("tappd.sock", "/prpc/Tappd.DeriveKey", "DeriveKey"),
    ] {
        let (status, body) = call(run, socket, path, r#"{"report_data":"00"}"#).await;
        assert_eq!(status, 501, "{path}");
        assert!(body["error"].as_str().unwrap().starts_with(name), "{body}");
    }
    let (status, body) = call(run, "dstack.sock", "/GetKey", r#"{"algorithm":"rsa"}"#).await;
    assert_eq!((status, &body["error"]), (400, &Value::from("Unsupported algorithm")));
}

#[tokio::test]
async fn a_new_agent_takes_the_place_of_a_dead_one_also_in_a_long_path() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("d".repeat(120));
    fs::create_dir(&run).unwrap();
    let tracker = TaskTracker::new();
    for _ in 0..2 {
        let _agent = serve(&run, identity(), Arc::new(Keys), &tracker).unwrap();
        let short = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(&run, short.path().join("run")).unwrap();
        let (status, _) =
            call(&short.path().join("run"), "tappd.sock", "/prpc/Tappd.Info", "{}").await;
        assert_eq!(status, 200);
    }
}
