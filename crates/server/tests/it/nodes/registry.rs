//! The registry: rows become nodes of the fleet while the service runs.

use std::{path::Path, sync::Arc, time::Duration};

use casemate_server::{
    app::{
        Ctx, ctx,
        fleet::{Fleet, Instance},
    },
    config::{Config, NodeChoice},
    nodes::{heartbeat, open::Opener, registry::Registry},
    work::driver,
};
use casemate_store::nodes;
use casemate_testing::wait::poll;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::common::{World, provision_body};

/// A process of a world, with a registry.
pub struct Process {
    pub ctx: Ctx,
    pub registry: Registry,
}

impl Process {
    /// The process `id` on the world's database, with a data directory of its own.
    pub fn of(world: &World, id: &str, data_dir: &Path) -> Self {
        Self::with(world, id, data_dir, |_| {})
    }

    /// The same with another configuration.
    pub fn with(world: &World, id: &str, data_dir: &Path, change: impl Fn(&mut Config)) -> Self {
        let mut config = (*world.ctx.config).clone();
        config.data_dir = data_dir.to_owned();
        config.node = vec![NodeChoice::None];
        config.work.watch_nodes_s = 1;
        config.admin.credentials_dir = std::env::temp_dir();
        change(&mut config);
        let config = Arc::new(config);
        let fleet = Fleet::new([].into(), world.ctx.fleet.kms.clone());
        Self::with_fleet(world, id, config, fleet)
    }

    /// The process `id` with this configuration and these KMS.
    pub fn with_fleet(world: &World, id: &str, config: Arc<Config>, fleet: Fleet) -> Self {
        let parts = ctx::World {
            fleet: Arc::new(fleet),
            instance: Arc::new(Instance::new(id, None)),
            config: config.clone(),
            cache: Arc::default(),
            directory_length: Arc::default(),
            ..(*world.ctx).clone()
        };
        let ctx = Ctx::from(parts);
        let opener = Arc::new(Opener {
            config,
            kms: world.kms.clone(),
            clock: ctx.clock.clone(),
            entropy: ctx.entropy.clone(),
        });
        Self { ctx: ctx.clone(), registry: Registry::new(ctx, opener, Vec::new()) }
    }

    /// Waits until the node of this name answers, or does not.
    pub async fn until(&self, name: &str, answers: bool) {
        let node = || self.ctx.fleet.all().into_iter().find(|node| node.name == name);
        let looked = || node().is_some_and(|node| node.look_count() > 1 || node.observed().1);
        let held = poll(Duration::from_secs(30), async || {
            (looked() && node().unwrap().observed().1 == answers).then_some(())
        });
        assert!(held.await.is_some(), "{name}: {:?}", node().map(|node| node.outage()));
    }
}

async fn add(world: &World, process: &mut Process, body: Value) -> Value {
    let reply = over(world, &process.ctx, "POST", "/admin/nodes", body).await;
    process.registry.sync().await.unwrap();
    reply
}

/// A request to another process than the world's own.
pub async fn over(world: &World, ctx: &Ctx, method: &str, path: &str, body: Value) -> Value {
    let (status, body) = asked(world, ctx, method, path, body).await;
    assert!(status < 300, "{status}: {body}");
    body
}

pub async fn asked(
    world: &World,
    ctx: &Ctx,
    method: &str,
    path: &str,
    body: Value,
) -> (u16, Value) {
    let there = world.at(ctx.clone());
    let reply = there.call(method, path, "", (!body.is_null()).then_some(body)).await;
    let body = if reply.text.is_empty() { Value::Null } else { reply.json() };
    (reply.status.as_u16(), body)
}

#[tokio::test]
async fn a_node_is_added_used_cordoned_and_removed_while_the_service_runs() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    let mut process = Process::of(&world, "here", dir.path());
    let body = json!({ "name": "spare", "kind": "sim", "limits": { "slots": 2 } });
    let added = add(&world, &mut process, body.clone()).await;
    assert_eq!((&added["reachable"], &added["capacity"]["slots"]), (&json!(false), &json!(0)));
    process.until("spare", true).await;
    let ctx = process.ctx.clone();
    let shown = over(&world, &ctx, "GET", "/admin/nodes/spare", Value::Null).await;
    assert_eq!((&shown["tee"], &shown["capacity"]["slots"]), (&json!("simulated"), &json!(2)));
    let (status, again) = asked(&world, &ctx, "POST", "/admin/nodes", body).await;
    assert_eq!((status, &again["error_code"]), (409, &json!("ERR-20-015")), "{again}");

    let there = world.at(ctx.clone());
    let cvm = there.deploy("my-app").await;
    assert_eq!(cvm["teepod_id"], shown["id"], "{cvm}");
    let settle = async || {
        for _ in 0..1000 {
            driver::settle_now(&ctx, "here").await;
            if casemate_store::lease::busy(&ctx.db).await.unwrap() == 0 {
                return;
            }
            world.clock.advance_ms(200);
        }
        panic!("no rest");
    };
    settle().await;
    assert_eq!(there.get("/cvms/my-app").await.ok()["status"], "running");

    over(&world, &ctx, "POST", "/admin/nodes/spare/cordon", Value::Null).await;
    process.registry.sync().await.unwrap();
    let mut named = provision_body("other-app");
    named["node_id"] = shown["id"].clone();
    for body in [named, provision_body("other-app")] {
        let refused = there.post("/cvms/provision", body).await.refused(400, "ERR-02-012");
        assert!(refused.to_string().contains("spare is cordoned"), "{refused}");
    }
    over(&world, &ctx, "POST", "/admin/nodes/spare/uncordon", Value::Null).await;
    process.registry.sync().await.unwrap();
    there.provision("other-app").await;

    let (status, refused) = asked(&world, &ctx, "DELETE", "/admin/nodes/spare", Value::Null).await;
    assert_eq!((status, &refused["error_code"]), (409, &json!("ERR-20-015")), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("1 CVMs"), "{refused}");
    there.call("DELETE", "/cvms/my-app", "", None).await.ok();
    settle().await;
    over(&world, &ctx, "DELETE", "/admin/nodes/spare", Value::Null).await;
    process.registry.sync().await.unwrap();
    assert_eq!(ctx.fleet.all().len(), 0);
    let (status, _) = asked(&world, &ctx, "GET", "/admin/nodes/spare", Value::Null).await;
    assert_eq!(status, 404);
}

/// Only its operator knows that a host does not come back; then nothing waits for it any more.
#[tokio::test]
async fn what_is_on_a_node_that_was_given_up_ends_and_comes_back_with_it() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    let mut process = Process::of(&world, "here", dir.path());
    add(&world, &mut process, json!({ "name": "old", "kind": "sim" })).await;
    process.until("old", true).await;
    let ctx = process.ctx.clone();
    let there = world.at(ctx.clone());
    for name in ["rests", "is-deleted", "is-stopped"] {
        there.deploy(name).await;
    }
    there.settle().await;

    let silence = "the rack burnt down".to_owned();
    ctx.fleet.all()[0].record_answer(Err(silence), ctx.now());
    there.call("DELETE", "/cvms/is-deleted", "", None).await.ok();
    there.post("/cvms/is-stopped/stop", Value::Null).await.ok();
    driver::settle_now(&ctx, "here").await;
    let waits = there.get("/cvms/is-deleted").await.ok();
    assert_eq!(waits["waiting_for"]["code"], "node_unreachable", "{waits}");
    let status = there.get("/cvms/is-stopped/operations").await.ok();
    assert_eq!(status["items"][0]["waiting_for"]["code"], "node_unreachable", "{status}");

    over(&world, &ctx, "DELETE", "/admin/nodes/old?give_up=true", Value::Null).await;
    process.registry.sync().await.unwrap();
    heartbeat::beat(&ctx, "here").await.unwrap();
    there.get("/cvms/is-deleted").await.refused(404, "ERR-03-001");
    for name in ["rests", "is-stopped"] {
        let cvm = there.get(&format!("/cvms/{name}")).await.ok();
        assert_eq!(cvm["failure"]["code"], "node_given_up", "{cvm}");
        assert_eq!((&cvm["status"], &cvm["in_progress"]), (&json!("error"), &json!(false)));
    }
    there.call("DELETE", "/cvms/rests", "", None).await.ok();
    heartbeat::beat(&ctx, "here").await.unwrap();
    there.get("/cvms/rests").await.refused(404, "ERR-03-001");

    // It was not the rack after all.
    add(&world, &mut process, json!({ "name": "old", "kind": "sim" })).await;
    process.until("old", true).await;
    let stopped = poll(Duration::from_secs(30), async || {
        driver::settle_now(&ctx, "here").await;
        world.clock.advance_ms(50);
        let cvm = there.get("/cvms/is-stopped").await.ok();
        (cvm["status"] == "stopped" && cvm["failure"].is_null()).then_some(())
    });
    assert!(stopped.await.is_some(), "{}", there.get("/cvms/is-stopped").await.text);
}

/// How a dstack-vmm is reached, with these fields on top.
fn dstack(mut more: Value) -> Value {
    let mut access = json!({ "url": "http://127.0.0.1:1", "tee": "tdx" });
    access.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
    access
}

fn with_disk(more: Value) -> Value {
    json!({ "name": "rack", "kind": "dstack", "dstack": dstack(more), "limits": { "disk_gb": 9 } })
}

/// dstack-vmm that nobody started: the node is part of the fleet, and says why it does not answer.
#[tokio::test]
async fn a_dstack_node_that_nobody_answers_for_is_part_of_the_fleet() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    let mut process = Process::of(&world, "here", dir.path());
    let added = add(&world, &mut process, with_disk(json!({}))).await;
    assert_eq!(added["dstack"]["tee"], "tdx");
    process.until("rack", false).await;
    let ctx = process.ctx.clone();
    let shown = over(&world, &ctx, "GET", "/admin/nodes/rack", Value::Null).await;
    assert!(shown["cause"].as_str().unwrap().contains("refused"), "{shown}");
}

#[tokio::test]
async fn a_node_that_cannot_be_opened_is_part_of_the_fleet_and_says_why() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    let mut process = Process::of(&world, "here", dir.path());
    let body = json!({ "name": "far", "kind": "docker", "host": "tcp://127.0.0.1:1" });
    add(&world, &mut process, body).await;
    process.until("far", false).await;
    let ctx = process.ctx.clone();
    let shown = over(&world, &ctx, "GET", "/admin/nodes/far", Value::Null).await;
    assert!(shown["cause"].as_str().unwrap().contains("127.0.0.1:1"), "{shown}");
    assert!(shown["silent_since"].is_string(), "{shown}");
    let refused = [
        json!({ "name": "Rack 1", "kind": "sim" }),
        json!({ "name": "rack", "kind": "sim", "host": "tcp://127.0.0.1:1" }),
        json!({ "name": "rack", "kind": "sim", "dir": "here" }),
        json!({ "name": "rack", "kind": "docker", "dir": "/tmp" }),
        json!({ "name": "rack", "kind": "moon" }),
        json!({ "name": "rack", "kind": "sim", "colour": "red" }),
        json!({ "name": "rack", "kind": "sim", "dstack": dstack(json!({})) }),
        json!({ "name": "rack", "kind": "dstack", "limits": { "disk_gb": 9 } }),
        json!({ "name": "rack", "kind": "dstack", "dstack": dstack(json!({})) }),
        with_disk(json!({ "url": "rack-1" })),
        with_disk(json!({ "url": "http://user:secret@rack-1" })),
        with_disk(json!({ "tee": "sgx" })),
        with_disk(json!({ "token_file": "token" })),
        with_disk(json!({ "token_file": "/etc/passwd" })),
        with_disk(json!({ "ca_file": std::env::temp_dir().join("../etc/passwd") })),
        with_disk(json!({ "guest_token_file": "/etc/casemate/admin.key" })),
        with_disk(json!({ "user": "casemate" })),
        with_disk(json!({ "device_id": "07" })),
    ];
    for body in refused {
        let (status, reply) = asked(&world, &ctx, "POST", "/admin/nodes", body.clone()).await;
        assert_eq!(status, 422, "{body}: {reply}");
    }
}

/// A node whose files several processes can reach is leased: when its server is gone another one takes
/// it, and what was under way goes on there.
#[tokio::test]
async fn a_leased_node_goes_to_another_process_when_its_own_is_gone() {
    let world = World::new().await;
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let shared = dirs[2].path().join("host");
    let mut first = Process::of(&world, "first", dirs[0].path());
    let mut second = Process::of(&world, "second", dirs[1].path());
    add(&world, &mut first, json!({ "name": "shared", "kind": "sim", "dir": shared })).await;
    add(&world, &mut first, json!({ "name": "pinned", "kind": "sim" })).await;
    first.until("shared", true).await;
    heartbeat::beat(&first.ctx, "first").await.unwrap();
    second.registry.sync().await.unwrap();
    assert_eq!(second.ctx.fleet.own().len(), 0, "the first serves both");
    let there = world.at(first.ctx.clone());
    let mut body = provision_body("my-app");
    let row = nodes::all(&world.ctx.db).await.unwrap();
    let row = row.iter().find(|row| row.name == "shared").unwrap();
    body["node_id"] = json!(row.id);
    let made = there.post("/cvms/provision", body).await.ok();
    let commit = json!({ "app_id": made["app_id"], "compose_hash": made["compose_hash"] });
    there.post("/cvms", commit).await.ok();

    // The first is not heard of any more.
    world.clock.advance(world.ctx.config.work.node_missing() + Duration::from_secs(1));
    second.registry.sync().await.unwrap();
    let own: Vec<String> = second.ctx.fleet.own().values().map(|node| node.name.clone()).collect();
    assert_eq!(own, ["shared"], "the other's files are with the first");
    second.until("shared", true).await;
    first.registry.sync().await.unwrap();
    let own: Vec<String> = first.ctx.fleet.own().values().map(|node| node.name.clone()).collect();
    assert_eq!(own, ["pinned"]);
    world.at(second.ctx.clone()).settle().await;
    assert_eq!(there.get("/cvms/my-app").await.ok()["status"], "running");

    // At its end a process gives what is leased back at once.
    let stop = CancellationToken::new();
    stop.cancel();
    second.registry.run(stop).await;
    first.registry.sync().await.unwrap();
    assert_eq!(first.ctx.fleet.own().len(), 2);
}
