//! What a round of observation costs: time, CPU and memory of this process, with so many emulated dstack hosts and
//! so many CVMs at rest on each. The hosts are in one other process, so that their cost does not count.
//!
//! `cargo xtask bench fleet` runs it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement: it prints or panics")]

use std::{
    io::BufRead as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use casemate_core::{
    compose::app_compose::hash,
    cvm::{EngineState, ObservedVm, Phase, Resources, Spec, Status, StopMode},
    drift::ReportedConfig,
    id::{AppId, CvmRef, KmsId, NodeId, UserId, VmUuid, WorkspaceId},
    node::NodeKind,
    time::Entropy,
};
use casemate_dstack_double::{Host, Profile, router};
use casemate_engine::node::{
    Inventory, Mark, Node, Tee, VmConfig,
    dstack::{AccessFiles, DstackConfig, DstackNode},
    sim::{Journal, SimConfig, SimNode},
};
use casemate_server::{
    app::{Ctx, fleet::FleetNode},
    nodes::watch::Watch,
    system::{SystemClock, SystemEntropy},
};
use casemate_store::{Db, cvms::NewCvm, db::Durability, lease::Record, nodes::NewNode};
use casemate_testing::world::{Parts, TestNode, World};
use serde_json::json;
use tokio::task::JoinSet;

/// Rounds at rest, of which the mean is told.
const ROUNDS: u32 = 5;

struct Args {
    hosts: Vec<usize>,
    cvms: usize,
    /// Be the emulated hosts.
    serves: bool,
}

impl Args {
    fn read() -> Self {
        let mut args = Self { hosts: vec![10, 100], cvms: 100, serves: false };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--serve" => args.serves = true,
                "--hosts" => {
                    let list = words.next().unwrap();
                    args.hosts = list.split(',').map(|number| number.parse().unwrap()).collect();
                }
                "--cvms" => args.cvms = words.next().unwrap().parse().unwrap(),
                // `cargo bench` says so.
                "--bench" => {}
                other => panic!("unknown argument {other}"),
            }
        }
        args
    }
}

/// The emulated hosts; they end with this value.
struct Doubles {
    child: Child,
    urls: Vec<String>,
}

impl Doubles {
    fn start(hosts: usize, cvms: usize) -> Self {
        let (hosts, cvms) = (hosts.to_string(), cvms.to_string());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--serve", "--hosts", &hosts, "--cvms", &cvms])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let urls = line.split_whitespace().map(str::to_owned).collect();
        Self { child, urls }
    }
}

/// Serves emulated hosts with running VMs; prints their addresses.
async fn serve(hosts: usize, cvms: usize) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (mut app, mut urls) = (axum::Router::new(), Vec::new());
    for number in 0..hosts {
        let config = SimConfig { boot_ms: 1, journal: Journal::Off, ..SimConfig::default() };
        let images = config.images.clone();
        let image = images[0].name.clone();
        let sim = SimNode::in_memory(config, Arc::new(SystemClock), Arc::new(SystemEntropy));
        for _ in 0..cvms {
            let vm = sim.create(&vm_config(&image)).await.unwrap();
            sim.start(&vm).await.unwrap();
        }
        let host = Arc::new(Host::new(Profile::newest(), sim, images, None));
        app = app.nest(&format!("/hosts/{number}"), router(host));
        urls.push(format!("{base}/hosts/{number}"));
    }
    println!("{}", urls.join(" "));
    axum::serve(listener, app).await.unwrap();
}

fn vm_config(image: &str) -> VmConfig {
    let mut id = [0; 16];
    SystemEntropy.fill(&mut id);
    let compose = r#"{"manifest_version":2,"name":"bench","runner":"docker-compose"}"#;
    VmConfig {
        mark: Mark::new("bench", VmUuid::from_uuid(uuid::Uuid::from_bytes(id))),
        app_id: AppId::from_bytes([1; 20]),
        kms: None,
        compose_hash: hash(compose),
        compose: compose.to_owned(),
        image: image.to_owned(),
        vcpu: 1,
        memory_mb: 1024,
        disk_gb: 10,
        ports: Vec::new(),
        sealed_env: None,
        user_config: None,
        hugepages: false,
        pin_numa: false,
        gpus: None,
        kms_urls: Vec::new(),
        gateway_urls: Vec::new(),
        gateway_domain: None,
        instance_seed: None,
    }
}

impl Drop for Doubles {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time of this process, in ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Resident memory in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

async fn driver(url: &str) -> Arc<DstackNode> {
    let config = DstackConfig {
        address: url.parse().unwrap(),
        files: AccessFiles::default(),
        guest_token_file: None,
        tee: Tee::Tdx,
        device_id: None,
        timeout: Duration::from_mins(2),
        sealed_env: false,
    };
    Arc::new(DstackNode::open(config).await.unwrap())
}

fn spec(name: &str, config: &ReportedConfig) -> Spec {
    Spec {
        revision: 1,
        name: name.to_owned(),
        app_id: AppId::from_bytes([1; 20]),
        compose_hash: config.compose_hash,
        facts: serde_json::from_value(json!({
            "public_logs": true, "public_sysinfo": true, "public_tcbinfo": true,
            "gateway_enabled": true, "secure_time": false, "storage_fs": null, "features": [],
            "manifest_version": 2, "runner": "docker-compose", "ports": [80],
            "docker_compose_hash": null, "pre_launch_script_hash": null,
        }))
        .unwrap(),
        env_public_key: None,
        resources: Resources {
            instance_type: None,
            vcpu: config.vcpu,
            memory_mb: config.memory_mb,
            disk_gb: config.disk_gb,
            hugepages: false,
            pin_numa: false,
            gpus: None,
        },
        image: config.image.clone(),
        ports: Vec::new(),
        user_config: None,
        kms_urls: Vec::new(),
        gateway_urls: Vec::new(),
        vpc_server_app_id: None,
        listed: true,
        env_keys: Vec::new(),
        shutdown_timeout_s: 60,
        allow_force_stop: true,
        vm: 1,
        instance_seed: None,
        deployer: None,
    }
}

/// Writes the CVMs that a host has, as they are at rest.
async fn write_cvms(ctx: &Ctx, node: NodeId, vms: &[(Mark, ObservedVm)], config: &ReportedConfig) {
    let mut tx = ctx.db.begin().await.unwrap();
    for (mark, vm) in vms {
        let uuid: VmUuid = mark.uuid();
        let name = format!("cvm-{}", &uuid.to_string()[..13]);
        let new = NewCvm {
            reference: CvmRef::from_random(SystemEntropy.u64()),
            uuid,
            workspace: WorkspaceId(1),
            created_by: UserId(1),
            node,
            kms: KmsId("kms_test".to_owned()),
            spec: spec(&name, config),
            sealed_env: None,
            stop: StopMode::Hard,
        };
        let cvm = tx.insert_cvm(new, ctx.now()).await.unwrap().cvm;
        let status = Status {
            engine: EngineState::Present { vm: vm.id.clone() },
            pushed: 1,
            offered: 1,
            run: 1,
            observed: Some(vm.clone()),
            ..Status::new()
        };
        let record = Record {
            status: &status,
            phase: Phase::Running,
            lease_until: None,
            calling: false,
            due_at: None,
            deleted: false,
        };
        tx.record(&cvm, &record, ctx.now()).await.unwrap();
    }
    tx.commit().await.unwrap();
}

struct Member {
    node: Arc<FleetNode>,
    driver: Arc<DstackNode>,
    watch: Watch,
}

async fn member(ctx: &Ctx, number: usize, url: &str) -> Member {
    let name = format!("rack-{number}");
    let new = NewNode {
        name: &name,
        kind: NodeKind::Dstack,
        owner: "bench",
        lease_expires_at: ctx.now(),
        gateway: "",
        region: "local",
        inventory: "{}",
        pinned: false,
        settings: None,
    };
    let mut tx = ctx.db.begin().await.unwrap();
    let id = tx.add_node(&new, ctx.now()).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    let driver = driver(url).await;
    let (_, _, config) = driver.configs().await.unwrap().swap_remove(0);
    let mut tx = ctx.db.begin().await.unwrap();
    tx.keep_document(&config.compose_hash, "{}", ctx.now()).await.unwrap();
    let (app, kms) = (AppId::from_bytes([1; 20]), KmsId("kms_test".to_owned()));
    tx.bind_app_id(&app, WorkspaceId(1), None, "bench", &kms, ctx.now()).await.unwrap();
    tx.commit().await.unwrap();
    write_cvms(ctx, id, &driver.list().await.unwrap(), &config).await;
    let reach: Arc<dyn Node> = driver.clone();
    let unknown = Inventory::unknown();
    let node = FleetNode::new(id, &name, NodeKind::Dstack, "local", reach, unknown);
    Member { node: Arc::new(node), driver, watch: Watch::default() }
}

/// One round of every watch, all at once.
async fn round(ctx: &Ctx, members: Vec<Member>) -> Vec<Member> {
    let mut tasks = JoinSet::new();
    for mut member in members {
        let ctx = ctx.clone();
        tasks.spawn(async move {
            member.watch.look(&ctx, &member.node).await.unwrap();
            assert!(member.node.outage().is_none(), "{:?}", member.node.outage());
            member
        });
    }
    tasks.join_all().await
}

async fn measured(what: &str, ctx: &Ctx, mut members: Vec<Member>, rounds: u32) -> Vec<Member> {
    let (began, before) = (Instant::now(), cpu());
    for _ in 0..rounds {
        members = round(ctx, members).await;
    }
    let (time, used) = (began.elapsed() / rounds, cpu().saturating_sub(before) / rounds);
    println!(
        "  {what:34} {:8.0} ms  CPU {:8.0} ms  memory {:6} MiB",
        time.as_secs_f64() * 1000.0,
        used.as_secs_f64() * 1000.0,
        memory()
    );
    members
}

async fn measure(dir: &Path, hosts: usize, cvms: usize) {
    let doubles = Doubles::start(hosts, cvms);
    let db = Db::open_sqlite(&dir.join("bench.db"), Durability::Off).await.unwrap();
    let parts = Parts::first(db, Arc::new(SystemEntropy)).await;
    let reach = |sim| Arc::new(sim) as Arc<dyn Node>;
    let world = Box::pin(World::of(parts, vec![TestNode::sim()], reach, |_| {})).await;
    let ctx = &world.ctx;
    let mut members = Vec::new();
    for (number, url) in doubles.urls.iter().enumerate() {
        members.push(member(ctx, number, url).await);
    }
    println!("{hosts} hosts with {cvms} CVMs each; memory before the first round {} MiB", memory());
    members = measured("first round, compares everything", ctx, members, 1).await;
    members = measured("second round, asks guests", ctx, members, 1).await;
    members = measured("round at rest", ctx, members, ROUNDS).await;
    // One VM of every tenth host is stopped behind our back.
    for member in members.iter().step_by(10) {
        let (_, vm) = member.driver.list().await.unwrap().swap_remove(0);
        member.driver.stop(&vm.id).await.unwrap();
    }
    members = measured("round with a change on 1 of 10 hosts", ctx, members, 1).await;
    let events = casemate_store::events::of_all(&ctx.db, casemate_core::id::EventSeq(0), 10_000);
    let drifts = events.await.unwrap().iter().filter(|event| event.kind == "cvm.drift").count();
    assert_eq!(drifts, hosts.div_ceil(10), "every change is seen once");
    measured("round at rest after it", ctx, members, ROUNDS).await;
    world.ctx.db.close().await;
}

#[tokio::main]
async fn main() {
    let args = Args::read();
    if args.serves {
        return serve(args.hosts[0], args.cvms).await;
    }
    for hosts in &args.hosts {
        let dir = tempfile::tempdir().unwrap();
        measure(dir.path(), *hosts, args.cvms).await;
    }
}
