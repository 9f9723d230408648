//! Several processes on one PostgreSQL.

use std::time::{Duration, Instant};

use casemate_testing::database;

use crate::process::{Process, ROOT_KEY};

fn on(database: &str) -> [(&str, &str); 2] {
    [("CASEMATE_DATABASE_URL", database), ("CASEMATE_KMS_ROOT_KEY", ROOT_KEY)]
}

#[tokio::test]
async fn an_api_and_a_worker_on_one_database_are_one_service() {
    let database = database::empty_postgres().await;
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let worker =
        Process::start(dirs[0].path(), &["--role", "worker", "--node", "sim"], &on(&database))
            .await;
    assert_eq!(worker.file("api.url"), None, "no API, no address of one");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(worker.page(path).await.0, 200, "{path}");
    }
    for path in ["/", "/docs", "/openapi.json", "/api/v1/auth/me"] {
        assert_eq!(worker.page(path).await.0, 404, "{path}");
    }

    let mut api = Process::start(dirs[1].path(), &["--role", "api,console"], &on(&database)).await;
    assert_eq!(api.file("admin.key"), None, "the first start was the worker's");
    api.key.clone_from(&worker.key);
    let (status, page) = api.page("/").await;
    assert!(status == 200 && page.contains("simulated"), "{page}");

    let cvm = api.deploy("my-app").await;
    let before = Instant::now();
    let stream = api.request("GET", "/api/v1/cvms/my-app/state?target=running&timeout=30");
    let text = stream.send().await.unwrap().text().await.unwrap();
    assert!(text.contains("event: complete"), "{text}");
    // Without notification of the worker's events the stream polls only every 5 s.
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
    let events = text.matches("event: state").count();
    assert!(events >= 2, "the stream saw the way, not just the end: {text}");

    // The api process has no node; its gateway forwards to the worker's.
    let host = format!("{}-8080.localhost", cvm["app_id"].as_str().unwrap());
    let page = reqwest::Client::builder().no_proxy().build().unwrap();
    let page = page.get(api.file("gateway.url").unwrap()).header("host", host);
    let page = page.send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("simulated"));

    assert_eq!(api.send("POST", "/cvms/my-app/stop", serde_json::Value::Null).await.0, 200);
    api.until_status("my-app", "stopped").await;
    assert!(!api.log().contains("step not done"), "{}", api.log());
    api.stop().await;
    worker.stop().await;
}

#[tokio::test]
async fn replicas_that_start_at_once_make_one_admin_and_a_node_each() {
    let database = database::empty_postgres().await;
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let spawn =
        |dir: &tempfile::TempDir| Process::spawn(dir.path(), &["--node", "sim"], &on(&database));
    let mut replicas: Vec<_> = dirs.iter().map(spawn).collect();
    for replica in &mut replicas {
        replica.ready().await;
    }
    let keys: Vec<_> = replicas.iter().filter_map(|replica| replica.file("admin.key")).collect();
    assert_eq!(keys.len(), 1, "one first start");
    for replica in &mut replicas {
        replica.key.clone_from(&keys[0]);
        assert_eq!(replica.get("/auth/me").await["user"]["username"], "admin");
    }
    let deadline = Instant::now() + crate::process::PATIENCE;
    loop {
        let all = replicas[0].get("/teepods/available").await;
        let names: Vec<_> =
            all["nodes"].as_array().unwrap().iter().map(|node| node["name"].clone()).collect();
        if names == ["sim-1", "sim-2", "sim-3"] {
            break;
        }
        assert!(Instant::now() < deadline, "{all}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Each CVM is created by the process that serves its node, whichever process got the request.
    for number in 0..6 {
        replicas[number % 3].deploy(&format!("app-{number}")).await;
    }
    for number in 0..6 {
        replicas[(number + 1) % 3].until_status(&format!("app-{number}"), "running").await;
    }
    for replica in replicas {
        replica.stop().await;
    }
}

#[tokio::test]
async fn a_process_with_other_root_keys_is_refused() {
    let database = database::empty_postgres().await;
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let first = Process::start(dirs[0].path(), &["--role", "api"], &on(&database)).await;
    let url = [("CASEMATE_DATABASE_URL", &*database)];
    let mut second = Process::spawn(dirs[1].path(), &["--role", "api"], &url);
    assert_eq!(second.ended().await.code(), Some(1));
    assert!(second.log().contains("CASEMATE_KMS_ROOT_KEY"), "{}", second.log());
    first.stop().await;
}
