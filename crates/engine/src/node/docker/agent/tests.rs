use std::time::Duration;

use casemate_core::{
    id::{AppId, ComposeHash, InstanceId},
    seal::EnvSecretKey,
};
use secrecy::SecretBox;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::{connections::Waits, *};
use crate::{error::CallError, kms::GuestKey};

#[derive(Debug)]
struct Keys;

impl Keys {
    const SEED: [u8; 32] = [6; 32];
}

impl GuestKeys for Keys {
    fn env_secret(&self, _: &KeyOwner) -> Result<EnvSecretKey, CallError> {
        Ok(EnvSecretKey::from_bytes([1; 32]))
    }
    fn get_key(&self, _: &KeyOwner, path: &str, purpose: &str) -> Result<GuestKey, CallError> {
        assert_eq!((path, purpose), ("a/b", "signing"));
        Ok(GuestKey { key: SecretBox::new(Box::new([7; 32])), signature_chain: [[8; 65], [9; 65]] })
    }
    fn development_root(&self) -> Result<DevelopmentRoot, CallError> {
        DevelopmentRoot::from_seed(&Self::SEED)
            .map_err(|error| CallError::Rejected(error.to_string()))
    }
}

fn identity() -> Identity {
    Identity {
        guest: DevelopmentGuest {
            app_id: AppId::from_bytes([1; 20]),
            instance_id: Some(InstanceId::from_bytes([2; 20])),
            compose_hash: ComposeHash::from_bytes([4; 32]),
            app_compose: "{\"name\":\"web\"}".to_owned(),
            key_provider: "kms",
            image: "dstack-dev-0.5.4".to_owned(),
            os_image_hash: "05".repeat(32),
            vcpu: 2,
            memory_mb: 1024,
            ppid: [3; 16],
        },
        kms: None,
        app_name: "web".to_owned(),
        has_kms: true,
        root: Arc::new(Keys.development_root().unwrap()),
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
    let _agent =
        serve(run, &run.join("private"), identity(), Arc::new(Keys), &Limits::default(), &tracker)
            .unwrap();

    let (status, info) = call(run, "dstack.sock", "/Info", "{}").await;
    assert_eq!(status, 200);
    assert_eq!(info["app_id"], "01".repeat(20));
    assert_eq!(info["instance_id"], "02".repeat(20));
    let tcb: Value = serde_json::from_str(info["tcb_info"].as_str().unwrap()).unwrap();
    for field in ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_aggregated", "device_id"] {
        assert!(tcb[field].is_string(), "{field}");
    }
    assert_eq!(tcb["app_compose"], identity().guest.app_compose);
    assert_eq!(tcb["compose_hash"], "04".repeat(32));

    let asked = r#"{"path":"a/b","purpose":"signing","algorithm":"secp256k1"}"#;
    let (status, key) = call(run, "dstack.sock", "/GetKey", asked).await;
    assert_eq!((status, &key["key"]), (200, &Value::from("07".repeat(32))));
    assert_eq!(key["signature_chain"][1], "09".repeat(65));
    let (_, key) = call(run, "tappd.sock", "/prpc/Tappd.DeriveK256Key?json", asked).await;
    assert_eq!(key["k256_key"], "07".repeat(32));

    // Data of the caller, padded, and the register that its event log replays to.
    let asked = r#"{"report_data":"0xabcd"}"#;
    for (socket, path) in
        [("dstack.sock", "/GetQuote"), ("tappd.sock", "/prpc/Tappd.RawQuote?json")]
    {
        let (status, answer) = call(run, socket, path, asked).await;
        assert_eq!(status, 200, "{answer}");
        let data = format!("abcd{}", "00".repeat(62));
        assert_eq!(answer["report_data"], data);
        let quote = answer["quote"].as_str().unwrap();
        assert!(quote.contains(&data) && quote.contains(tcb["rtmr3"].as_str().unwrap()));
        let log: Value = serde_json::from_str(answer["event_log"].as_str().unwrap()).unwrap();
        assert_eq!(log, tcb["event_log"]);
    }
    for wrong in ["xy".to_owned(), "00".repeat(65)] {
        let asked = format!(r#"{{"report_data":"{wrong}"}}"#);
        let (status, answer) = call(run, "dstack.sock", "/GetQuote", &asked).await;
        assert_eq!(status, 400, "{answer}");
    }

    let (status, version) = call(run, "dstack.sock", "/prpc/DstackGuest.Version", "").await;
    assert_eq!((status, &version["version"]), (200, &Value::from("0.5.4")));
}

#[tokio::test]
async fn what_needs_a_tee_is_named_and_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path();
    let tracker = TaskTracker::new();
    let _agent =
        serve(run, &run.join("private"), identity(), Arc::new(Keys), &Limits::default(), &tracker)
            .unwrap();
    for (socket, path, name) in [
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
        let _agent = serve(
            &run,
            &dir.path().join("private"),
            identity(),
            Arc::new(Keys),
            &Limits::default(),
            &tracker,
        )
        .unwrap();
        let short = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(&run, short.path().join("run")).unwrap();
        let (status, _) =
            call(&short.path().join("run"), "tappd.sock", "/prpc/Tappd.Info", "{}").await;
        assert_eq!(status, 200);
    }
}

#[tokio::test]
async fn links_at_the_places_of_sockets_are_replaced_and_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (run, canary) = (dir.path().join("run"), dir.path().join("canary"));
    fs::create_dir(&run).unwrap();
    fs::write(&canary, "mine").unwrap();
    fs::set_permissions(&canary, Permissions::from_mode(0o600)).unwrap();
    for name in ["dstack.sock", ".dstack.sock.new", "tappd.sock", ".tappd.sock.new"] {
        std::os::unix::fs::symlink(&canary, run.join(name)).unwrap();
    }
    assert!(!sockets_are_sockets(&run).unwrap());
    let private = dir.path().join("private");
    let _agent =
        serve(&run, &private, identity(), Arc::new(Keys), &Limits::default(), &TaskTracker::new())
            .unwrap();
    assert!(sockets_are_sockets(&run).unwrap());
    let (status, _) = call(&run, "dstack.sock", "/Info", "{}").await;
    assert_eq!(status, 200);
    assert_eq!(fs::read_to_string(&canary).unwrap(), "mine");
    assert_eq!(fs::metadata(&canary).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o700);
    fs::remove_file(run.join("tappd.sock")).unwrap();
    std::os::unix::fs::symlink("/", run.join("tappd.sock")).unwrap();
    assert!(!sockets_are_sockets(&run).unwrap());
}

#[tokio::test]
async fn an_app_without_kms_gets_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path();
    let without = Identity { has_kms: false, ..identity() };
    let (private, tracker) = (run.join("private"), TaskTracker::new());
    let _agent =
        serve(run, &private, without, Arc::new(Keys), &Limits::default(), &tracker).unwrap();
    let asked = r#"{"path":"a/b","purpose":"signing"}"#;
    for (socket, path) in [
        ("dstack.sock", "/GetKey"),
        ("dstack.sock", "/prpc/DstackGuest.GetKey?json"),
        ("tappd.sock", "/prpc/Tappd.DeriveK256Key?json"),
    ] {
        let (status, body) = call(run, socket, path, asked).await;
        assert_eq!(status, 400, "{path}");
        assert!(body["error"].as_str().unwrap().contains("no KMS"), "{body}");
    }
    assert_eq!(call(run, "dstack.sock", "/Info", "{}").await.0, 200);
}

/// Connections that send half a request hold no place of another CVM's, and their own ones not for
/// long.
#[tokio::test]
async fn half_sent_requests_keep_nobody_else_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let (quiet, flooded) = (dir.path().join("quiet"), dir.path().join("flooded"));
    let (private, tracker) = (dir.path().join("private"), TaskTracker::new());
    let hour = Duration::from_hours(1);
    let waits = Waits { head: hour, body: hour, life: hour };
    let patient = Limits::new(16, 4, waits);
    let hasty = Limits::new(16, 4, Waits { head: Duration::from_millis(20), ..waits });
    let mut agents = Vec::new();
    for (run, limits) in [(&quiet, &patient), (&flooded, &patient)] {
        fs::create_dir(run).unwrap();
        agents.push(serve(run, &private, identity(), Arc::new(Keys), limits, &tracker).unwrap());
    }
    let open = async |run: &Path| {
        let mut stream = UnixStream::connect(run.join("dstack.sock")).await.unwrap();
        stream.write_all(b"POST /Info HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        stream
    };
    let mut half = Vec::new();
    for _ in 0..100 {
        half.push(open(&flooded).await);
    }
    assert_eq!(call(&quiet, "dstack.sock", "/Info", "{}").await.0, 200);
    assert!(patient.free() >= 12, "one CVM took more than its places");
    let (status, _) = call(&flooded, "tappd.sock", "/prpc/Tappd.Info", "{}").await;
    assert_eq!(status, 200, "the other socket of the same CVM has a place");

    agents.push(serve(&flooded, &private, identity(), Arc::new(Keys), &hasty, &tracker).unwrap());
    let mut half = Vec::new();
    for _ in 0..100 {
        half.push(open(&flooded).await);
    }
    assert_eq!(
        call(&flooded, "dstack.sock", "/Info", "{}").await.0,
        200,
        "they are closed in time"
    );
    let mut rest = Vec::new();
    let mut one = half.remove(0);
    let ended = tokio::time::timeout(Duration::from_secs(30), one.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "a connection with half a request is still open");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_ends_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let (run, tracker) = (dir.path(), TaskTracker::new());
    let hour = Duration::from_hours(1);
    let limits =
        Limits::new(16, 16, Waits { head: hour, body: Duration::from_millis(50), life: hour });
    assert_eq!(limits.places().available_permits(), 4, "a quarter of the node's");
    let _agent =
        serve(run, &run.join("private"), identity(), Arc::new(Keys), &limits, &tracker).unwrap();
    for body in ["Content-Length: 9\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n5\r\n{"] {
        let mut stream = UnixStream::connect(run.join("dstack.sock")).await.unwrap();
        let request = format!("POST /Info HTTP/1.1\r\nHost: x\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let ended =
            tokio::time::timeout(Duration::from_secs(30), stream.read_to_string(&mut answer));
        ended.await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("did not arrive in time"), "{answer}");
    }
    assert_eq!(call(run, "dstack.sock", "/Info", "{}").await.0, 200);
}
