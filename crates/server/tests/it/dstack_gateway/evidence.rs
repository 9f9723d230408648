//! An app, or a workspace, that requires evidence: its instances register, and stay in the rotation, only with
//! evidence that is accepted.

use casemate_core::cvm::Rotation;
use casemate_dstack_double::GatewayProfile;
use casemate_engine::node::Inventory;
use casemate_server::work::evidence;
use serde_json::json;

use super::{
    auth::{app_info, serve},
    stage::Stage,
};

/// Has every guest asked for evidence; refused evidence makes the CVM due.
async fn collect(stage: &Stage) {
    let refresh_s = i64::try_from(stage.world.ctx.config.attestation.refresh_s).unwrap();
    stage.world.clock.advance_ms(refresh_s * 1000);
    for node in stage.world.ctx.fleet.own().values() {
        node.evidence.note_all();
        evidence::round(&stage.world.ctx, node, Vec::new()).await.unwrap();
    }
}

async fn require(stage: &Stage, required: bool) {
    let path = format!("/casemate/apps/{}/evidence-policy", stage.app);
    stage.world.call("PUT", &path, "", Some(json!({ "required": required }))).await.ok();
}

/// The host boots another OS image than was planned. Returns what undoes it.
fn boot_another_image(stage: &Stage) -> Inventory {
    let node = &stage.world.ctx.fleet.all()[0];
    let before = (*node.observed().0).clone();
    let mut inventory = before.clone();
    for image in &mut inventory.images {
        image.os_image_hash = Some("ab".repeat(32));
    }
    node.record_answer(Ok(inventory), stage.world.ctx.now());
    before
}

fn boot_planned_image(stage: &Stage, inventory: Inventory) {
    stage.world.ctx.fleet.all()[0].record_answer(Ok(inventory), stage.world.ctx.now());
}

/// Lets what is due come up, also what a CVM at rest is asked again.
async fn pass(stage: &Stage, seconds: i64) {
    for _ in 0..seconds {
        stage.world.clock.advance_ms(1000);
        stage.step().await;
    }
}

#[tokio::test]
async fn an_instance_leaves_the_rotation_while_its_evidence_is_refused() {
    let newest = GatewayProfile::newest();
    let mut stage = Stage::new(&[newest.clone(), newest], |_| {}).await;
    stage.deploy("web-1").await;
    let instance = stage.instance("web-1").await;
    let planned = boot_another_image(&stage);
    collect(&stage).await;
    pass(&stage, 20).await;
    let is_in = |stage: &Stage| -> Vec<bool> {
        stage.clusters.iter().map(|cluster| cluster.in_rotation(&instance)).collect()
    };
    assert_eq!(is_in(&stage), [true, true], "nothing requires evidence");

    require(&stage, true).await;
    collect(&stage).await;
    pass(&stage, 1).await;
    assert_eq!(is_in(&stage), [false, false]);
    let cvm = stage.cvm("web-1").await;
    assert_eq!((cvm.status.rotation, cvm.phase.as_str()), (Rotation::Out, "running"), "not killed");

    // A restart brings it up outside the rotation.
    stage.post("/cvms/web-1/restart").await;
    pass(&stage, 60).await;
    let cvm = stage.cvm("web-1").await;
    assert!(cvm.operation.is_none(), "the operation does not wait for evidence");
    assert_eq!((cvm.phase.as_str(), is_in(&stage)), ("running", vec![false, false]));
    boot_planned_image(&stage, planned);
    collect(&stage).await;
    pass(&stage, 20).await;
    assert_eq!(is_in(&stage), [true, true], "its evidence is accepted");
    assert_eq!(stage.cvm("web-1").await.status.rotation, Rotation::In);

    // Out again, and in without a requirement.
    boot_another_image(&stage);
    collect(&stage).await;
    pass(&stage, 1).await;
    assert_eq!(is_in(&stage), [false, false]);
    require(&stage, false).await;
    pass(&stage, 20).await;
    assert_eq!(is_in(&stage), [true, true]);
}

/// A cluster that accepts guests without asking gets it when the instance shows up.
#[tokio::test]
async fn an_instance_that_registers_late_is_taken_out_too() {
    let mut stage = Stage::new(&[GatewayProfile::newest()], |_| {}).await;
    stage.app = stage.world.deploy("web-1").await["app_id"].as_str().unwrap().to_owned();
    require(&stage, true).await;
    stage.world.settle().await;
    boot_another_image(&stage);
    collect(&stage).await;
    pass(&stage, 1).await;
    assert_eq!(stage.cvm("web-1").await.status.rotation, Rotation::Absent);
    let instance = stage.instance("web-1").await;
    stage.clusters[0].register(&instance, stage.record(0));
    assert!(stage.clusters[0].in_rotation(&instance));
    pass(&stage, 20).await;
    assert!(!stage.clusters[0].in_rotation(&instance));
}

/// The listener refuses until the evidence is accepted; the policy of the workspace counts as that of the app.
#[tokio::test]
async fn an_instance_registers_once_its_evidence_is_accepted() {
    let (stage, url) = serve(Stage::new(&[GatewayProfile::newest()], |_| {}).await).await;
    let info = app_info(&stage).await;
    let policy = json!({ "evidence": "require" });
    let set = stage.world.call("PATCH", "/workspace/policy", "", Some(policy)).await.ok();
    assert_eq!(set, json!({ "env_guard": "report", "evidence": "require" }));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let code = async || {
        let answer = http.post(&url).json(&info).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<serde_json::Value>().await.unwrap()["code"].clone())
    };
    assert_eq!(
        code().await,
        (403, json!("evidence_needs_newer_image")),
        "an image without version"
    );
    let planned = boot_another_image(&stage);
    collect(&stage).await;
    assert_eq!(code().await, (403, json!("evidence_refused")));
    boot_planned_image(&stage, planned);
    collect(&stage).await;
    assert_eq!(code().await.0, 200);
}
