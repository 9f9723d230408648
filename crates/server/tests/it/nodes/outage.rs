//! A host that comes back: what changed there meanwhile is made as desired.

use casemate_engine::node::sim::{Fault, FaultKind};

use super::stage::Stage;

/// What an outage does to a guest: it is made to run again, and one that was deleted is removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_every_cvm_is_made_as_desired() {
    let stage = Stage::with_hosts(1).await;
    for name in ["run-1", "run-2", "stopped-1"] {
        stage.deploy(name, 1).await;
        stage.until_running(name).await;
    }
    stage.world.post("/cvms/stopped-1/stop", serde_json::Value::Null).await.ok();
    let stopped =
        |cvm: &serde_json::Value| cvm["status"] == "stopped" && cvm["in_progress"] == false;
    stage.until("stopped-1", "stopped", |cvm| cvm.is_some_and(stopped)).await;

    // While nobody looks, one guest dies, and somebody else stops another.
    stage.fail(1, FaultKind::Unreachable);
    stage.world.post("/cvms/stopped-1/start", serde_json::Value::Null).await.ok();
    stage.until_waiting("stopped-1").await;
    let host = stage.world.sims[0].host();
    let back = vec![
        Fault { mark: Some("run-1".to_owned()), ..Fault::new(FaultKind::CrashGuest) },
        Fault { mark: Some("run-2".to_owned()), ..Fault::new(FaultKind::StopBehindBack) },
    ];
    host.set_faults(back).unwrap();

    for name in ["run-1", "run-2", "stopped-1"] {
        stage.until_running(name).await;
    }
    let audit = host.audit().unwrap();
    assert_eq!(audit.overlaps, []);
    stage.end().await;
}
