//! The calls of the benchmark, made to a running server.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use xtask::server::Server;

use crate::http::{self, Connection, Sample};

const COMPOSE: &str = "\
services:
  web:
    image: nginx:1.29
    ports: [\"8080:80\"]
    environment: [\"GREETING=${GREETING}\"]
    volumes: [\"data:/usr/share/nginx/html\"]
    restart: always
volumes:
  data: {}
";

/// As many as `POST /status/batch` takes.
const BATCH: usize = 500;
const SETTLES: Duration = Duration::from_mins(10);

/// The API of a server.
#[derive(Debug, Clone)]
pub struct Api {
    /// Where it listens.
    pub address: SocketAddr,
    base: String,
    key: String,
}

impl Api {
    /// The API of this server.
    pub fn of(server: &Server) -> anyhow::Result<Self> {
        let url = server.file("api.url")?;
        let (address, path) = url
            .strip_prefix("http://")
            .and_then(|rest| rest.split_once('/'))
            .with_context(|| format!("api.url holds {url:?}"))?;
        Ok(Self {
            address: address.parse()?,
            base: format!("/{path}"),
            key: server.file("admin.key")?,
        })
    }

    /// The bytes of a request to it.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        http::request(method, &format!("{}{path}", self.base), &self.key, body)
    }

    /// The same with another key.
    pub fn with_key(&self, key: String) -> Self {
        Self { key, ..self.clone() }
    }

    /// The bytes of a request that prepares a deployment.
    pub fn provision_request(&self, name: &str) -> Vec<u8> {
        let body =
            json!({ "name": name, "compose_file": { "docker_compose_file": COMPOSE, "name": "" } });
        self.request("POST", "/cvms/provision", &body.to_string())
    }

    fn commit_request(&self, provisioned: &[u8]) -> anyhow::Result<Vec<u8>> {
        let provisioned: Value = serde_json::from_slice(provisioned)?;
        let body = json!({
            "app_id": provisioned["app_id"], "compose_hash": provisioned["compose_hash"],
        });
        Ok(self.request("POST", "/cvms", &body.to_string()))
    }

    /// Prepares a deployment per name; returns the requests that commit them.
    pub async fn provision(
        &self,
        connections: usize,
        names: &[String],
    ) -> anyhow::Result<(Sample, Vec<Vec<u8>>)> {
        let requests = names.iter().map(|name| self.provision_request(name)).collect();
        let (sample, bodies) = http::each(self.address, connections, requests).await?;
        let commits: anyhow::Result<_> =
            bodies.iter().map(|body| self.commit_request(body)).collect();
        Ok((sample, commits?))
    }

    /// Commits; returns the new CVMs' uuids.
    pub async fn commit(
        &self,
        connections: usize,
        requests: Vec<Vec<u8>>,
    ) -> anyhow::Result<(Sample, Vec<String>)> {
        let (sample, bodies) = http::each(self.address, connections, requests).await?;
        let uuids: anyhow::Result<_> = bodies.iter().map(|body| uuid(body)).collect();
        Ok((sample, uuids?))
    }

    /// Provision and commit, one after the other for each name.
    pub async fn deploy(
        &self,
        connections: usize,
        names: &[String],
    ) -> anyhow::Result<(Sample, Vec<String>)> {
        let (names, next): (Arc<[String]>, _) = (names.into(), Arc::new(AtomicUsize::new(0)));
        let began = Instant::now();
        let mut tasks: JoinSet<anyhow::Result<Vec<(Duration, String)>>> = JoinSet::new();
        for _ in 0..connections {
            let (api, names, next) = (self.clone(), names.clone(), next.clone());
            tasks.spawn(async move {
                let mut connection = Connection::open(api.address).await?;
                let mut done = Vec::new();
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let sent = Instant::now();
                    let provisioned = connection.send(&api.provision_request(name)).await?.ok()?;
                    let committed =
                        connection.send(&api.commit_request(&provisioned)?).await?.ok()?;
                    done.push((sent.elapsed(), uuid(&committed)?));
                }
                Ok(done)
            });
        }
        let done = http::gather(tasks).await?;
        let (each, uuids) = done.into_iter().unzip();
        Ok((Sample::new(began, each), uuids))
    }

    /// Waits until nothing is under way with these CVMs; says how long that took.
    pub async fn settle(&self, uuids: &[String]) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let mut connection = Connection::open(self.address).await?;
        for batch in uuids.chunks(BATCH) {
            let request =
                self.request("POST", "/status/batch", &json!({ "vm_uuids": batch }).to_string());
            loop {
                let states: Value =
                    serde_json::from_slice(&connection.send(&request).await?.ok()?)?;
                let states = states.as_object().context("no states")?;
                if states.len() != batch.len() {
                    bail!("{} of {} CVMs are there", states.len(), batch.len());
                }
                if states.values().all(|state| state["in_progress"] == false) {
                    break;
                }
                if began.elapsed() > SETTLES {
                    bail!("CVMs are under way after {} s", SETTLES.as_secs());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(began.elapsed())
    }

    /// A page of 100 CVMs, asked for so many times in a row.
    pub async fn page(&self, page: usize, times: usize) -> anyhow::Result<Sample> {
        let path = format!("/cvms/paginated?page={page}&page_size=100");
        let requests = vec![self.request("GET", &path, ""); times];
        Ok(http::each(self.address, 1, requests).await?.0)
    }
}

fn uuid(body: &[u8]) -> anyhow::Result<String> {
    let committed: Value = serde_json::from_slice(body)?;
    Ok(committed["vm_uuid"].as_str().context("a CVM without vm_uuid")?.to_owned())
}
