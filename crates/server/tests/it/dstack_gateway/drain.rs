//! A guest leaves the clusters before it goes down, and comes back when it is up. A cluster that is away holds nothing
//! up.

use std::time::Duration;

use casemate_core::{
    cvm::{Rotation, VmPower},
    id::NodeId,
};
use casemate_dstack_double::{GatewayFault, GatewayProfile};
use casemate_engine::node::{Mark, Node as _};
use serde_json::{Value, json};

use super::stage::Stage;
use crate::common::{TestNode, World};

const DOWN: [VmPower; 3] = [VmPower::Stopping, VmPower::Stopped, VmPower::Exited];

async fn is_going_down(stage: &Stage, name: &str) -> bool {
    let cvm = stage.cvm(name).await;
    let seen = stage.world.sim.find(&Mark::new(name, cvm.uuid)).await.unwrap();
    seen.first().is_none_or(|vm| DOWN.contains(&vm.power))
}

fn ready(value: bool) -> impl Fn(&Value) -> bool {
    move |arguments| arguments["ready"] == value
}

#[tokio::test]
async fn an_instance_leaves_every_cluster_and_comes_back() {
    let newest = GatewayProfile::newest();
    let mut stage = Stage::new(&[newest.clone(), newest], |_| {}).await;
    stage.deploy("web-1").await;
    let instance = stage.instance("web-1").await;
    for cluster in &stage.clusters {
        assert!(cluster.calls("SetInstanceReady").is_empty(), "a new instance is in by itself");
    }
    stage.post("/cvms/web-1/shutdown").await;
    stage.world.settle().await;
    let steps = stage.steps("web-1").await;
    let names: Vec<&str> = steps.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["leave_gateway", "drain", "shutdown"]);
    assert!(steps.iter().all(|(_, step)| step["outcome"] == "done"), "{steps:?}");
    assert_eq!(stage.cvm("web-1").await.status.rotation, Rotation::Out);
    for cluster in &stage.clusters {
        assert!(!cluster.in_rotation(&instance));
    }
    stage.post("/cvms/web-1/start").await;
    stage.world.settle().await;
    for cluster in &stage.clusters {
        assert!(cluster.in_rotation(&instance));
        let calls = cluster.calls("SetInstanceReady");
        assert_eq!(calls.iter().filter(|call| ready(false)(call)).count(), 1, "{calls:?}");
        assert_eq!(calls.iter().filter(|call| ready(true)(call)).count(), 1, "{calls:?}");
    }
    assert_eq!(stage.cvm("web-1").await.status.rotation, Rotation::In);
    let last = stage.steps("web-1").await.pop().unwrap();
    assert_eq!((last.0.as_str(), &last.1["outcome"]), ("rejoin_gateway", &json!("done")));
}

#[tokio::test]
async fn connections_are_waited_for_and_not_for_ever() {
    for (verb, patience) in [("shutdown", 10_000), ("stop", 2000), ("restart", 10_000)] {
        let mut stage = Stage::new(&[GatewayProfile::newest()], |_| {}).await;
        stage.deploy("web-1").await;
        let instance = stage.instance("web-1").await;
        let busy = stage.record(2);
        stage.clusters[0].register(&instance, busy.clone());
        let down = async |stage: &Stage| is_going_down(stage, "web-1").await;
        stage.post(&format!("/cvms/web-1/{verb}")).await;
        assert!(!stage.within(patience - 500, down).await, "{verb}: connections are open");
        assert!(!stage.clusters[0].in_rotation(&instance), "{verb}");
        stage.clusters[0].register(&instance, stage.record(0));
        assert!(stage.within(500, down).await, "{verb}: none is open");
        stage.world.settle().await;

        if verb != "restart" {
            stage.post("/cvms/web-1/start").await;
            stage.world.settle().await;
        }
        stage.clusters[0].register(&instance, busy);
        stage.post(&format!("/cvms/web-1/{verb}")).await;
        assert!(stage.within(patience + 500, down).await, "{verb}: it is late");
        stage.world.settle().await;
        assert_eq!(stage.cvm("web-1").await.status.drains_until, None, "{verb}");
    }
}

#[tokio::test]
async fn a_cluster_that_is_away_holds_nothing_up_and_is_asked_again() {
    for fault in [
        GatewayFault::Away,
        GatewayFault::Refuses("SetInstanceReady".to_owned()),
        GatewayFault::Loses("SetInstanceReady".to_owned()),
    ] {
        let newest = GatewayProfile::newest();
        let mut stage = Stage::new(&[newest.clone(), newest], |_| {}).await;
        stage.deploy("web-1").await;
        let instance = stage.instance("web-1").await;
        stage.clusters[0].set_faults(vec![fault.clone()]);
        stage.post("/cvms/web-1/shutdown").await;
        let down = async |stage: &Stage| is_going_down(stage, "web-1").await;
        assert!(stage.within(1000, down).await, "{fault:?}");
        stage.world.settle().await;
        let steps = stage.steps("web-1").await;
        let failed = json!({ "outcome": "failed", "cause": "gateway_failed" });
        assert_eq!(steps[0], ("leave_gateway".to_owned(), failed.clone()), "{fault:?}");
        assert_eq!(steps.last().unwrap().1["outcome"], "done", "{fault:?}: {steps:?}");
        assert!(!stage.clusters[1].in_rotation(&instance), "the other cluster was asked");

        // It is up, and the cluster is still away.
        stage.clusters[0].set_faults(vec![GatewayFault::Away]);
        stage.post("/cvms/web-1/start").await;
        let runs = async |stage: &Stage| stage.cvm("web-1").await.operation.is_none();
        assert!(stage.within(20_000, runs).await, "{fault:?}");
        let cvm = stage.cvm("web-1").await;
        assert_eq!(cvm.phase, casemate_core::cvm::Phase::Running);
        assert_eq!(cvm.status.rotation, Rotation::Out, "{fault:?}");
        let last = stage.steps("web-1").await.pop().unwrap();
        assert_eq!(last, ("rejoin_gateway".to_owned(), failed), "{fault:?}");
        assert!(stage.clusters[1].in_rotation(&instance), "the other cluster took it in");

        stage.clusters[0].set_faults(Vec::new());
        let joined = async |stage: &Stage| stage.cvm("web-1").await.status.rotation == Rotation::In;
        assert!(stage.within(20_000, joined).await, "{fault:?}: asked again");
        assert!(stage.clusters[0].in_rotation(&instance), "{fault:?}");
        stage.world.settle().await;
    }
}

/// A worker that dies during the call leaves the intent; the next one repeats it.
#[tokio::test]
async fn a_call_that_a_dead_worker_made_is_made_again() {
    let mut stage = Stage::new(&[GatewayProfile::newest()], |_| {}).await;
    stage.deploy("web-1").await;
    let instance = stage.instance("web-1").await;
    stage.set_faults(&[GatewayFault::Hangs]);
    stage.post("/cvms/web-1/shutdown").await;
    let turn = tokio::time::timeout(Duration::from_millis(200), stage.step());
    assert!(turn.await.is_err(), "the call hangs");
    let left = stage.cvm("web-1").await.status;
    assert_eq!(left.rotation, Rotation::Leaving);
    assert!(left.drains_until.is_some());
    assert!(stage.clusters[0].in_rotation(&instance));

    stage.set_faults(&[]);
    stage.world.settle().await;
    // The deadline passed with the lease of the dead worker: the guest is down, and comes back into the rotation.
    assert_eq!(stage.cvm("web-1").await.phase, casemate_core::cvm::Phase::Stopped);
    stage.post("/cvms/web-1/start").await;
    stage.world.settle().await;
    assert!(stage.clusters[0].in_rotation(&instance));
    assert_eq!(stage.cvm("web-1").await.status.rotation, Rotation::In);
}

#[tokio::test]
async fn a_build_that_cannot_is_not_asked() {
    let [oldest, _] = GatewayProfile::ALL;
    for looked in [true, false] {
        let mut stage = Stage::new(std::slice::from_ref(&oldest), |_| {}).await;
        stage.deploy("web-1").await;
        let instance = stage.instance("web-1").await;
        stage.clusters[0].register(&instance, stage.record(5));
        if looked {
            stage.look().await;
        }
        stage.post("/cvms/web-1/stop").await;
        stage.world.settle().await;
        let steps = stage.steps("web-1").await;
        assert!(steps.iter().all(|(_, step)| step["outcome"] == "done"), "{looked}: {steps:?}");
        assert_eq!(steps.iter().any(|(name, _)| name == "leave_gateway"), !looked, "{steps:?}");
        stage.world.call("DELETE", "/cvms/web-1", "", None).await.ok();
        stage.world.settle().await;
        assert!(stage.clusters[0].registered(&instance).is_some(), "it has no RemoveCvm");
    }
}

#[tokio::test]
async fn a_deletion_removes_what_the_instance_leaves_behind() {
    for is_away in [false, true] {
        let mut stage = Stage::new(&[GatewayProfile::newest()], |_| {}).await;
        stage.deploy("web-1").await;
        let instance = stage.instance("web-1").await;
        if is_away {
            stage.set_faults(&[GatewayFault::Away]);
        }
        stage.world.call("DELETE", "/cvms/web-1", "", None).await.ok();
        stage.world.settle().await;
        assert_eq!(stage.world.get("/cvms/web-1").await.status.as_u16(), 404);
        assert_eq!(stage.clusters[0].registered(&instance).is_some(), is_away);
        let removed = stage.clusters[0].calls("RemoveCvm");
        assert_eq!(removed.len(), usize::from(!is_away), "{removed:?}");
        let left = stage.clusters[0].calls("SetInstanceReady");
        assert_eq!(left.len(), usize::from(!is_away), "it left before it went down: {left:?}");
    }
}

/// The old instance leaves, is drained and forgotten before the CVM is made on the other node, whose cluster accepts
/// the new instance.
#[tokio::test]
async fn a_move_removes_the_instance_that_it_ends() {
    let nodes = ["rack-1", "rack-2"].map(|name| TestNode { name, ..TestNode::sim() });
    let world = World::fleet(nodes.into(), |_| {}).await;
    let mut stage = Stage::over(world, &[GatewayProfile::newest()]).await;
    stage.deploy("web-1").await;
    let (before, uuid) = (stage.instance("web-1").await, stage.cvm("web-1").await.uuid);
    let request = json!({ "allow_data_loss": true });
    stage.world.post(&format!("/admin/cvms/{uuid}/move"), request).await.ok();
    stage.world.settle().await;
    let after = stage.cvm("web-1").await;
    assert_eq!((after.node, after.phase), (NodeId(2), casemate_core::cvm::Phase::Running));
    assert_ne!(after.instance_id.unwrap().to_string(), before);
    let cluster = &stage.clusters[0];
    assert!(cluster.registered(&before).is_none(), "it is forgotten");
    let (left, removed) = (cluster.calls("SetInstanceReady"), cluster.calls("RemoveCvm"));
    assert_eq!((left.len(), removed.len()), (1, 1), "{left:?} {removed:?}");
    let steps = stage.steps("web-1").await;
    let place = |wanted: &str| steps.iter().rposition(|(name, _)| name == wanted).unwrap();
    assert!(place("leave_gateway") < place("create_stopped"), "{steps:?}");
    assert_eq!(after.status.rotation, Rotation::In);
}

#[tokio::test]
async fn an_update_leaves_and_comes_back_and_no_patience_asks_nobody() {
    for drain_s in [10, 0] {
        let mut stage =
            Stage::new(&[GatewayProfile::newest()], |config| config.gateway.drain_s = drain_s)
                .await;
        stage.deploy("web-1").await;
        let instance = stage.instance("web-1").await;
        let compose = "services:\n  web:\n    image: busybox:1.36\n    command: sleep 1\n";
        let body = json!({ "docker_compose_file": compose });
        stage.world.call("PATCH", "/cvms/web-1", "", Some(body)).await.ok();
        stage.world.settle().await;
        let calls = stage.clusters[0].calls("SetInstanceReady");
        let wanted = if drain_s == 0 { vec![] } else { vec![json!(false), json!(true)] };
        let said: Vec<Value> = calls.iter().map(|call| call["ready"].clone()).collect();
        assert_eq!(said, wanted);
        assert!(stage.clusters[0].in_rotation(&instance));
        assert_eq!(stage.cvm("web-1").await.status.rotation, Rotation::In);
    }
}

/// An instance that a cluster does not know has nothing to leave there.
#[tokio::test]
async fn an_instance_that_is_not_registered_is_not_drained() {
    let mut stage = Stage::new(&[GatewayProfile::newest()], |_| {}).await;
    stage.app = stage.world.deploy("web-1").await["app_id"].as_str().unwrap().to_owned();
    stage.world.settle().await;
    stage.post("/cvms/web-1/stop").await;
    stage.world.settle().await;
    assert!(stage.clusters[0].calls("SetInstanceReady").is_empty());
    let steps = stage.steps("web-1").await;
    assert!(steps.iter().all(|(_, step)| step["outcome"] == "done"), "{steps:?}");
    stage.post("/cvms/web-1/start").await;
    stage.world.settle().await;
    assert_eq!(stage.cvm("web-1").await.status.rotation, Rotation::In, "nothing was set");
    assert!(stage.clusters[0].calls("SetInstanceReady").is_empty());
}
