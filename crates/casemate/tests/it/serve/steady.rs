//! Three instances of an app on a real container engine, under steady requests through the gateway, while one
//! is stopped, one killed and one updated.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use casemate_testing::wait::poll;
use reqwest::Client;
use serde_json::{Value, json};

use crate::process::{PATIENCE, Process};

/// Every container returns its own name, which is its id on the container engine.
fn compose(word: &str) -> String {
    format!(
        "services:
  web:
    image: busybox:1.36
    command: [\"sh\", \"-c\", \"mkdir -p /www && hostname >/www/index.html && echo {word} >/www/word && exec httpd -f -p 80 -h /www\"]
    ports: [\"8080:80\"]
    stop_grace_period: 1s
    labels:
      casemate.ready.http: 8080/word
      casemate.ready.interval: 1
"
    )
}

/// The gateway.
#[derive(Clone)]
struct Way {
    http: Client,
    url: String,
}

impl Way {
    async fn ask(&self, host: &str, path: &str) -> Result<String, String> {
        let request = self.http.get(format!("{}{path}", self.url)).header("host", host);
        let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| format!("{error:?}"))?;
        if status == 200 { Ok(text.trim().to_owned()) } else { Err(format!("{status}: {text}")) }
    }

    /// Polls until a condition holds.
    async fn until(&self, host: &str, path: &str, holds: impl Fn(&str) -> bool) -> String {
        let mut said = Ok(String::new());
        let held = poll(PATIENCE, async || {
            said = self.ask(host, path).await;
            said.clone().ok().filter(|text| holds(text))
        });
        held.await.unwrap_or_else(|| panic!("never: {said:?}"))
    }
}

type Tally = (BTreeMap<String, usize>, Vec<String>);

/// Sends requests until stopped; counts answers per instance, and failures.
async fn steady(way: Way, host: String, stop: Arc<AtomicBool>) -> Tally {
    let (mut served, mut failed) = (BTreeMap::new(), Vec::new());
    while !stop.load(Ordering::SeqCst) {
        match way.ask(&host, "/").await {
            Ok(name) => *served.entry(name).or_default() += 1,
            Err(why) => failed.push(why),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (served, failed)
}

async fn replicas(casemate: &Process) -> String {
    let compose = json!({ "docker_compose_file": compose("one") });
    let body = json!({ "name": "web-1", "compose_file": compose });
    let (status, made) = casemate.send("POST", "/cvms/provision", body).await;
    assert_eq!(status, 200, "{made}");
    let body = json!({ "app_id": made["app_id"], "compose_hash": made["compose_hash"] });
    let (status, first) = casemate.send("POST", "/cvms", body).await;
    assert_eq!(status, 200, "{first}");
    casemate.until_status("web-1", "running").await;
    for name in ["web-2", "web-3"] {
        let path = "/cvms/web-1/replicas";
        let (status, reply) = casemate.send("POST", path, json!({ "name": name })).await;
        assert_eq!(status, 200, "{reply}");
    }
    for name in ["web-2", "web-3"] {
        casemate.until_status(name, "running").await;
    }
    made["app_id"].as_str().unwrap().to_owned()
}

async fn verb(casemate: &Process, name: &str, verb: &str, status: &str) {
    let path = format!("/cvms/{name}/{verb}");
    assert_eq!(casemate.send("POST", &path, Value::Null).await.0, 200, "{path}");
    casemate.until_status(name, status).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_one_request_fails_while_instances_stop_die_and_change() {
    let dir = tempfile::tempdir().unwrap();
    let casemate = Process::start(dir.path(), &["--node", "docker"], &[]).await;
    let app = replicas(&casemate).await;
    let http = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    let way = Way { http, url: casemate.file("gateway.url").unwrap() };
    let host = format!("{}-8080.localhost", app.trim_start_matches("app_"));
    let of = async |name: &str| {
        let seen = casemate.get(&format!("/cvms/{name}")).await;
        let instance = seen["instance_id"].as_str().unwrap().to_owned();
        let instance = instance.trim_start_matches("instance_").to_owned();
        way.ask(&format!("{instance}-8080.localhost"), "/").await.unwrap()
    };
    // Each is ready once it has answered through the app's name.
    let mut first = Vec::new();
    for name in ["web-1", "web-2", "web-3"] {
        let container = of(name).await;
        way.until(&host, "/", |text| text == container).await;
        first.push(container);
    }

    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> =
        (0..8).map(|_| tokio::spawn(steady(way.clone(), host.clone(), stop.clone()))).collect();

    verb(&casemate, "web-1", "stop", "stopped").await;
    verb(&casemate, "web-1", "start", "running").await;
    let again = of("web-1").await;
    way.until(&host, "/", |text| text == again).await;

    let killed = Command::new("docker").args(["kill", &first[1]]).output().unwrap();
    assert!(killed.status.success(), "{killed:?}");
    casemate.until_status("web-2", "error").await;
    verb(&casemate, "web-2", "start", "running").await;
    let again = of("web-2").await;
    way.until(&host, "/", |text| text == again).await;

    let changed = json!({ "docker_compose_file": compose("two") });
    let (status, reply) = casemate.send("PATCH", "/cvms/web-3", changed).await;
    assert_eq!(status, 202, "{reply}");
    casemate.until_status("web-3", "running").await;
    way.until(&host, "/word", |text| text == "two").await;

    stop.store(true, Ordering::SeqCst);
    let (mut served, mut failed) = (BTreeMap::<String, usize>::new(), Vec::new());
    for client in clients {
        let (some, bad) = client.await.unwrap();
        failed.extend(bad);
        for (name, count) in some {
            *served.entry(name).or_default() += count;
        }
    }
    for name in ["web-1", "web-2", "web-3"] {
        assert_eq!(casemate.send("DELETE", &format!("/cvms/{name}"), Value::Null).await.0, 204);
    }
    for name in ["web-1", "web-2", "web-3"] {
        casemate.until(name, "gone", |seen| seen["error_code"] == "ERR-03-001").await;
    }
    assert!(failed.is_empty(), "{} failed, the first: {}\n{served:?}", failed.len(), failed[0]);
    for container in &first {
        assert!(served.get(container).is_some_and(|count| *count > 0), "{container}: {served:?}");
    }
    assert!(served.values().sum::<usize>() > 200, "{served:?}");
    println!("{served:?}");
    casemate.stop().await;
}
