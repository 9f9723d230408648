//! One workspace at its quota, its rate limit and its connection limit: what another one notices.

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpSocket, task::JoinSet};
use tokio_util::sync::CancellationToken;
use xtask::{server::Server, stage::say};

use crate::{
    casemate::Api,
    http::{Connection, Sample},
};

/// Options of a run.
#[derive(Debug, Args)]
pub struct Options {
    /// The `casemate` to measure.
    binary: PathBuf,
    /// Seconds of each half.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// The limits that the noisy workspace meets.
const LIMITS: [(&str, &str); 6] = [
    ("CASEMATE_LIMITS__REQUESTS_PER_S_PER_KEY", "200"),
    ("CASEMATE_LIMITS__REQUESTS_BURST_PER_KEY", "400"),
    ("CASEMATE_LIMITS__CONNECTIONS_PER_PEER", "512"),
    ("CASEMATE_LIMITS__REQUESTS_PER_S_PER_ADDRESS", "0"),
    ("CASEMATE_SIM__SLOTS", "1000000"),
    ("CASEMATE_SIM__BOOT_MS", "50"),
];
/// From where the noise comes.
const NOISY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Connections of the noisy client that ask, and those that only begin a request.
const ASKING: usize = 16;
const SILENT: usize = 1_100;
/// The quiet client asks so often.
const EVERY: Duration = Duration::from_millis(20);
/// A client that was refused waits so long: what is measured is the server, not a client that burns the processor.
const PAUSE: Duration = Duration::from_millis(5);

/// Measures the quiet workspace alone, then beside the noisy one.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let dir = env::current_dir()?.join("target/bench-neighbours");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let server = Server::start_with(&options.binary, &dir.join("data"), "sim", &LIMITS)?;
    let api = Api::of(&server)?;
    let noisy = noisy_key(&api).await?;
    let time = Duration::from_secs(options.seconds);
    let before = quiet(&api, time, "before").await?;
    let stop = CancellationToken::new();
    let noise = tokio::spawn(noise(api.with_key(noisy), stop.clone()));
    // The burst of its key is used up first.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let during = quiet(&api, time, "during").await?;
    stop.cancel();
    let counts = noise.await??;
    say(&format!("noise: {counts}"));
    for (what, before, after) in [("GET", &before.0, &during.0), ("POST", &before.1, &during.1)] {
        for (name, part) in [("p50", (50, 100)), ("p99", (99, 100))] {
            let (one, other) = (before.within_ms(part), after.within_ms(part));
            say(&format!("{what} {name}: {one:.2} ms before, {other:.2} ms during"));
        }
    }
    server.stop()
}

/// Makes a workspace that may have two CVMs, has them, and returns its key.
async fn noisy_key(api: &Api) -> anyhow::Result<String> {
    let mut connection = Connection::open(api.address).await?;
    let mut ask = async |method: &str, path: &str, body: Value| -> anyhow::Result<Value> {
        let request = api.request(method, path, &body.to_string());
        let body = connection.send(&request).await?.ok()?;
        Ok(serde_json::from_slice(&body)?)
    };
    ask("POST", "/admin/users", json!({"username": "noisy", "email": "n@example.org"})).await?;
    ask("POST", "/admin/workspaces", json!({"slug": "noisy", "name": "", "owner": "noisy"}))
        .await?;
    let key = json!({"username": "noisy", "workspace": "noisy", "name": "noise"});
    let key = ask("POST", "/admin/keys", key).await?;
    ask("PUT", "/admin/workspaces/noisy/quota", json!({"cvms": 2})).await?;
    let key = key["token"].as_str().context("a key without a token")?.to_owned();
    let names = ["noisy-one".to_owned(), "noisy-two".to_owned()];
    api.with_key(key.clone()).deploy(1, &names).await?;
    Ok(key)
}

/// GET of a CVM and POST of a provision, in turns at a fixed pace.
async fn quiet(api: &Api, time: Duration, label: &str) -> anyhow::Result<(Sample, Sample)> {
    let (_, uuids) = api.deploy(1, &[format!("quiet-{label}")]).await?;
    let get = api.request("GET", &format!("/cvms/{}", uuids.first().context("no CVM")?), "");
    let mut connection = Connection::open(api.address).await?;
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    let (began, mut tick) = (Instant::now(), tokio::time::interval(EVERY));
    let mut number = 0;
    while began.elapsed() < time {
        tick.tick().await;
        number += 1;
        let is_write = number % 4 == 0;
        let post;
        let request = if is_write {
            post = api.provision_request(&format!("quiet-{label}-{number}"));
            &post
        } else {
            &get
        };
        let sent = Instant::now();
        connection.send(request).await?.ok()?;
        if is_write { &mut writes } else { &mut reads }.push(sent.elapsed());
    }
    Ok((Sample::new(began, reads), Sample::new(began, writes)))
}

/// Asks more than the key may, for more than the quota allows, over more connections than an address may have.
async fn noise(api: Api, stop: CancellationToken) -> anyhow::Result<String> {
    let mut tasks = JoinSet::new();
    for number in 0..ASKING {
        let (api, stop) = (api.clone(), stop.clone());
        tasks.spawn(async move {
            let mut statuses = Vec::new();
            let mut connection = open_from_noisy(api.address).await?;
            while !stop.is_cancelled() {
                let request = if number % 2 == 0 {
                    api.request("GET", "/cvms/paginated", "")
                } else {
                    api.provision_request("noisy-more")
                };
                match connection.send(&request).await {
                    Ok(reply) => statuses.push(reply.status),
                    // Closed in favour of another connection of this address.
                    Err(_) => connection = open_from_noisy(api.address).await?,
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(statuses)
        });
    }
    let silent = tokio::spawn(silent(api.address, stop));
    let statuses = crate::http::gather(tasks).await?;
    let opened = silent.await??;
    let of = |status: u16| statuses.iter().filter(|one| **one == status).count();
    Ok(format!(
        "{} requests answered, of them {} over the rate limit (429) and {} over the quota (400); {opened} \
         half-sent requests",
        statuses.len(),
        of(429),
        of(400)
    ))
}

/// Keeps connections that never end their head.
async fn silent(address: SocketAddr, stop: CancellationToken) -> anyhow::Result<usize> {
    let (mut open, mut opened) = (std::collections::VecDeque::new(), 0);
    while !stop.is_cancelled() {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(NOISY, 0))?;
        let mut stream = socket.connect(address).await?;
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: noise\r\n").await;
        open.push_back(stream);
        opened += 1;
        if open.len() > SILENT {
            open.pop_front();
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(opened)
}

async fn open_from_noisy(address: SocketAddr) -> anyhow::Result<Connection> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(NOISY, 0))?;
    Connection::over(socket.connect(address).await?)
}
