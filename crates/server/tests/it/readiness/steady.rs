//! Three instances under steady requests while one is stopped, one killed and one updated.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use serde_json::{Value, json};

use crate::readiness::stage::{HEALTHZ, Said, Stage, compose, read};

/// Who answered how often, and what failed.
type Tally = (BTreeMap<String, usize>, Vec<Said>);

/// Clients that ask without a pause until they are told to stop.
struct Steady {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<Tally>>,
}

impl Steady {
    fn begin(stage: &Stage, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |number: usize| {
            let (gateway, app, stop) = (stage.gateway.clone(), stage.app, stop.clone());
            tokio::spawn(async move {
                let (mut served, mut failed) = (BTreeMap::new(), Vec::new());
                while !stop.load(Ordering::SeqCst) {
                    let request = http::Request::builder()
                        .method(if number.is_multiple_of(4) { "PUT" } else { "GET" })
                        .uri("/who")
                        .header("host", format!("{app}-8080.localhost"))
                        .body(Body::from(if number.is_multiple_of(4) { "body" } else { "" }));
                    let said = read(gateway.answer(request.unwrap()).await.unwrap()).await;
                    if said.status == 200 {
                        *served.entry(said.text).or_default() += 1;
                    } else {
                        failed.push(said);
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                (served, failed)
            })
        };
        Self { clients: (0..clients).map(client).collect(), stop }
    }

    /// How many requests each instance answered; not one failed.
    async fn end(self) -> BTreeMap<String, usize> {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = BTreeMap::new();
        for client in self.clients {
            let (served, failed) = client.await.unwrap();
            assert!(failed.is_empty(), "{} failed, the first: {:?}", failed.len(), failed[0]);
            for (name, count) in served {
                *all.entry(name).or_default() += count;
            }
        }
        all
    }
}

async fn run(labels: &str) {
    let stage = Stage::with(3, labels).await;
    let steady = Steady::begin(&stage, 8);
    stage.until("begun", |said| said.status == 200).await;

    stage.send("POST", "/cvms/web-1/stop", Value::Null).await;
    stage.settle_slowly().await;
    stage.send("POST", "/cvms/web-1/start", Value::Null).await;
    stage.settle_slowly().await;

    // The node has not noticed when it is there again.
    let second = stage.guest("web-2").await;
    second.kill();
    tokio::time::sleep(Duration::from_millis(50)).await;
    second.boot().await;
    stage.world.clock.advance_ms(3000);

    let changed = json!({ "docker_compose_file": format!("{}# changed\n", compose(labels)) });
    stage.send("PATCH", "/cvms/web-3", changed).await;
    stage.settle_slowly().await;
    for name in ["web-1", "web-2", "web-3"] {
        assert_eq!(stage.status(name).await, "running", "{name}");
        let guest = stage.guest(name).await;
        stage.until(name, |said| said.text == guest.name).await;
    }
    let served = steady.end().await;
    assert_eq!(served.len(), 3, "{served:?}");
    let all: usize = served.values().sum();
    assert!(all > 100, "{served:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_one_request_fails() {
    Box::pin(run("{}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_one_request_fails_with_a_check() {
    Box::pin(run(HEALTHZ)).await;
}
