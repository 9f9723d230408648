//! Drift of a dstack host: what somebody did behind our back is listed, told, and repaired where a policy says so.

use std::time::Duration;

use casemate_core::{
    drift::DriftPolicy,
    id::{DeviceId, EngineVmId, VmUuid},
    time::Entropy as _,
};
use casemate_dstack_double::Fault;
use casemate_engine::node::{Mark, Node as _, VmConfig};
use casemate_server::{config::Config, system::SystemEntropy, work::driver};
use casemate_testing::wait::poll;
use serde_json::{Value, json};

use super::{
    fleet::{Rack, add},
    registry::{Process, asked, over},
};
use crate::common::World;

struct Stage {
    world: World,
    process: Process,
    rack: Rack,
    /// The world as the process with the node sees it.
    there: World,
    _dir: tempfile::TempDir,
}

impl Stage {
    /// A running CVM on a dstack host whose guests tell its device, as those on SEV-SNP do.
    async fn new(change: impl Fn(&mut Config)) -> Self {
        let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
        let mut process = Process::with(&world, "here", dir.path(), change);
        let rack = Rack::new(&world, true, "apps.example").await;
        rack.host.set_device_id(DeviceId::from_bytes([8; 32]));
        add(&world, &mut process, rack.body("rack")).await;
        let there = world.at(process.ctx.clone());
        there.deploy("my-app").await;
        let stage = Self { world, process, rack, there, _dir: dir };
        stage.settle().await;
        assert_eq!(stage.there.get("/cvms/my-app").await.ok()["status"], "running");
        stage
    }

    async fn settle(&self) {
        let ctx = &self.process.ctx;
        for _ in 0..1000 {
            driver::settle_now(ctx, "here").await;
            if casemate_store::lease::busy(&ctx.db).await.unwrap() == 0 {
                return;
            }
            self.world.clock.advance_ms(200);
        }
        panic!("no rest");
    }

    fn vm(&self) -> (EngineVmId, VmConfig) {
        let vm = self.rack.host.vms().unwrap().remove(0);
        (vm.observed.id, (*vm.config).clone())
    }

    async fn report(&self) -> Value {
        over(&self.world, &self.process.ctx, "GET", "/admin/drift?node=rack", Value::Null).await
    }

    /// Waits until exactly these kinds are open.
    async fn until(&self, kinds: &[&str]) -> Value {
        let mut seen = Value::Null;
        let found = poll(Duration::from_secs(30), async || {
            seen = self.report().await;
            let list = seen["drift"].as_array().unwrap();
            let mut open: Vec<&str> =
                list.iter().map(|drift| drift["kind"].as_str().unwrap()).collect();
            open.sort_unstable();
            (open == kinds).then(|| seen.clone())
        });
        found.await.unwrap_or_else(|| panic!("not {kinds:?}: {seen:#}"))
    }

    /// Looks at the configurations again.
    fn pass_time(&self) {
        self.world.clock.advance_ms(700_000);
    }

    async fn drift_events(&self) -> Vec<Value> {
        let events = casemate_store::events::of_all(
            &self.process.ctx.db,
            casemate_core::id::EventSeq(0),
            10_000,
        );
        let events = events.await.unwrap().into_iter().filter(|event| event.kind == "cvm.drift");
        events.map(|event| serde_json::from_str(&event.body).unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_did_on_the_host_is_listed_until_it_is_gone() {
    let stage = Stage::new(|_| {}).await;
    let sim = &stage.rack.host.sim;
    let (vm, config) = stage.vm();
    stage.until(&[]).await;

    sim.stop(&vm).await.unwrap();
    let report = stage.until(&["changed"]).await;
    let drift = &report["drift"][0];
    assert_eq!((&drift["node"], &drift["policy"]), (&json!("rack"), &json!("alert")), "{drift}");
    assert_eq!(drift["what"], "the node shows the vm stopped");
    let events = stage.drift_events().await;
    assert_eq!(events[0], json!({"what": "the node shows the vm stopped", "drift": "changed"}));
    sim.start(&vm).await.unwrap();
    stage.until(&[]).await;

    // Another size and another image, of which only the configuration tells.
    let other_image = sim.inventory().await.unwrap().images;
    let other_image =
        other_image.into_iter().find(|image| image.name != config.image).unwrap().name;
    let changed = VmConfig { vcpu: config.vcpu + 1, image: other_image, ..config.clone() };
    sim.stop(&vm).await.unwrap();
    sim.push(&vm, &changed).await.unwrap();
    sim.start(&vm).await.unwrap();
    stage.pass_time();
    let report = stage.until(&["changed", "wrong_image"]).await;
    assert!(report.to_string().contains("the node has another vcpu for the VM"), "{report}");
    sim.stop(&vm).await.unwrap();
    sim.push(&vm, &config).await.unwrap();
    sim.start(&vm).await.unwrap();
    stage.pass_time();
    stage.until(&[]).await;

    // A VM with our mark that nobody here made; it is never removed.
    let mut id = [0; 16];
    SystemEntropy.fill(&mut id);
    let uuid = VmUuid::from_uuid(uuid::Uuid::from_bytes(id));
    let stranger = VmConfig { mark: Mark::new("stranger", uuid), ..config.clone() };
    let stranger = sim.create(&stranger).await.unwrap();
    let report = stage.until(&["unknown_vm"]).await;
    assert_eq!(report["drift"][0]["subject"], format!("vm:{stranger}"));
    stage.pass_time();
    stage.until(&["unknown_vm"]).await;
    assert_eq!(stage.rack.host.vms().unwrap().len(), 2);
    sim.remove(&stranger).await.unwrap();
    stage.world.clock.advance_ms(1000);
    stage.until(&[]).await;

    sim.remove(&vm).await.unwrap();
    stage.world.clock.advance_ms(1000);
    let report = stage.until(&["lost"]).await;
    let ours = over(&stage.world, &stage.process.ctx, "GET", "/admin/nodes/rack/cvms", Value::Null);
    assert_eq!(report["drift"][0]["cvm_id"], ours.await["cvms"][0]["id"]);
    assert_eq!(stage.drift_events().await.last().unwrap()["drift"], "lost");
    stage.there.call("DELETE", "/cvms/my-app", "", None).await.ok();
    stage.settle().await;
    stage.until(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_answer_has_no_drift() {
    let stage = Stage::new(|_| {}).await;
    let (vm, _) = stage.vm();
    stage.rack.host.set_faults(vec![Fault::Away]);
    stage.process.until("rack", false).await;
    stage.rack.host.sim.stop(&vm).await.unwrap();
    let looks = || stage.process.ctx.fleet.all()[0].look_count();
    let before = looks();
    let looked = poll(Duration::from_secs(30), async || (looks() > before + 2).then_some(())).await;
    assert!(looked.is_some());
    let report = stage.report().await;
    assert_eq!((&report["drift"], &report["unreachable"]), (&json!([]), &json!(["rack"])));
    assert!(stage.drift_events().await.is_empty());
    let (status, _) =
        asked(&stage.world, &stage.process.ctx, "GET", "/admin/drift?node=nobody", Value::Null)
            .await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_host_is_open_until_its_operator_accepts_it() {
    let stage = Stage::new(|_| {}).await;
    let ctx = &stage.process.ctx;
    let path = "/admin/nodes/rack/accept-host";
    let (status, refused) = asked(&stage.world, ctx, "POST", path, Value::Null).await;
    assert_eq!(status, 409, "{refused}");
    let known = poll(Duration::from_secs(30), async || {
        let node = ctx.fleet.all().into_iter().next()?;
        (node.observed().0.device_id != DeviceId::from_bytes([0; 32])).then_some(())
    });
    assert!(known.await.is_some());
    // A guest is asked once a boot: the watch must see it down.
    stage.there.post("/cvms/my-app/stop", Value::Null).await.ok();
    stage.settle().await;
    let looks = || ctx.fleet.all()[0].look_count();
    let before = looks();
    let looked = poll(Duration::from_secs(30), async || (looks() > before + 1).then_some(())).await;
    assert!(looked.is_some());
    stage.rack.host.set_device_id(DeviceId::from_bytes([9; 32]));
    stage.there.post("/cvms/my-app/start", Value::Null).await.ok();
    stage.settle().await;
    let report = stage.until(&["host_replaced"]).await;
    assert!(report["drift"][0]["what"].as_str().unwrap().contains(&"09".repeat(32)), "{report}");
    let (status, _) = asked(&stage.world, ctx, "POST", path, Value::Null).await;
    assert_eq!(status, 204);
    stage.until(&[]).await;
}

/// dstack-vmm starts a VM again whose QEMU ended. Nobody here asked for that boot, and its end is seen all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boot_that_the_host_began_is_followed_to_its_end() {
    let stage = Stage::new(|_| {}).await;
    let sim = &stage.rack.host.sim;
    let (vm, _) = stage.vm();
    let shows = async |progress: &str| {
        poll(Duration::from_secs(30), async || {
            let state = stage.there.get("/cvms/my-app/state").await.ok();
            (state["boot_progress"] == progress).then_some(())
        })
        .await
    };
    sim.stop(&vm).await.unwrap();
    stage.until(&["changed"]).await;
    sim.start(&vm).await.unwrap();
    stage.until(&[]).await;
    assert!(shows("booting").await.is_some(), "not booting");
    stage.world.clock.advance_ms(60_000);
    assert!(shows("done").await.is_some(), "not done");
}

/// With the policy `repair` the CVM is made as desired; with `ignore` nothing is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_repairs_or_ignores() {
    let stage = Stage::new(|config| {
        config.drift.changed = DriftPolicy::Repair;
        config.drift.unknown_vm = DriftPolicy::Ignore;
    })
    .await;
    let sim = &stage.rack.host.sim;
    let (vm, config) = stage.vm();
    let mut id = [0; 16];
    SystemEntropy.fill(&mut id);
    let uuid = VmUuid::from_uuid(uuid::Uuid::from_bytes(id));
    sim.create(&VmConfig { mark: Mark::new("stranger", uuid), ..config.clone() }).await.unwrap();
    sim.stop(&vm).await.unwrap();
    let is_up = async || {
        stage.settle().await;
        let (_, has) = stage.vm();
        let up = stage.rack.host.vms().unwrap().remove(0).serves;
        (up && has.vcpu == config.vcpu).then_some(())
    };
    assert!(poll(Duration::from_secs(30), is_up).await.is_some(), "started again");
    stage.until(&[]).await;

    let changed = VmConfig { vcpu: config.vcpu + 1, ..config.clone() };
    sim.stop(&vm).await.unwrap();
    sim.push(&vm, &changed).await.unwrap();
    sim.start(&vm).await.unwrap();
    stage.pass_time();
    assert!(poll(Duration::from_secs(30), is_up).await.is_some(), "pushed again");
    stage.pass_time();
    stage.until(&[]).await;
    assert_eq!(stage.there.get("/cvms/my-app").await.ok()["status"], "running");
}
