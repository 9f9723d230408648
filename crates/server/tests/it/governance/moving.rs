//! Moves of a CVM whose app a contract governs: it is asked whether the app may run on the device of the other node.

use casemate_core::{
    id::{DeviceId, NodeId},
    operation::OperationState,
};
use casemate_engine::node::Inventory;
use serde_json::{Value, json};

use super::boot_check::Bench;
use crate::common::{Reply, TestNode, World};

/// A governed CVM that runs on `rack-1`, beside `rack-2`.
async fn start() -> Bench {
    let nodes = ["rack-1", "rack-2"].map(|name| TestNode { name, ..TestNode::sim() });
    let bench = Bench::over(World::fleet(nodes.into(), |_| {}).await).await;
    assert_eq!((bench.phase().await, vms(&bench)), ("running", [1, 0]));
    // Simulated hosts are all one device.
    let other = bench.ctx.fleet.all().remove(1);
    let inventory =
        Inventory { device_id: DeviceId::from_bytes([0x22; 32]), ..(*other.observed().0).clone() };
    other.record_answer(Ok(inventory), bench.ctx.now());
    bench
}

/// Numbers of VMs of the hosts.
fn vms(bench: &Bench) -> [usize; 2] {
    [0, 1].map(|at| bench.world.sims[at].host().vms().unwrap().len())
}

fn device(bench: &Bench, at: usize) -> DeviceId {
    bench.ctx.fleet.all()[at].observed().0.device_id
}

async fn moves(bench: &Bench, more: Value) -> Reply {
    let uuid = bench.cvm().await.uuid;
    let mut request = json!({ "allow_data_loss": true });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    bench.world.post(&format!("/admin/cvms/{uuid}/move"), request).await
}

#[tokio::test]
async fn it_moves_where_its_contract_allows_the_device() {
    let bench = start().await;
    let other = device(&bench, 1);
    bench.chain.with(|said| said.devices = vec![device(&bench, 0), other]);
    let before = bench.cvm().await;
    moves(&bench, json!({})).await.ok();
    bench.world.settle().await;
    let after = bench.cvm().await;
    assert_eq!((after.phase.as_str(), after.node, vms(&bench)), ("running", NodeId(2), [0, 1]));
    assert_eq!(after.spec.app_id, before.spec.app_id);
    assert_eq!(after.spec.compose_hash, before.spec.compose_hash);
    assert_eq!(bench.last("move").await, (OperationState::Succeeded, None));
    let told = bench.told().await;
    let place = |what: &str| told.iter().position(|told| told == what);
    let asked = place("governance.verified_again").expect("asked again before the guest goes down");
    assert!(asked < place("operation.step shutdown intended").unwrap(), "{told:#?}");
}

#[tokio::test]
async fn a_device_that_is_not_allowed_is_refused_before_anything_is_done() {
    let bench = start().await;
    bench.chain.with(|said| said.devices = vec![device(&bench, 0)]);
    for more in [json!({}), json!({ "dry_run": true })] {
        let refused = moves(&bench, more).await;
        assert!(refused.status.is_client_error(), "{}", refused.text);
        assert!(refused.text.contains("device is not allowed"), "{}", refused.text);
    }
    bench.world.settle().await;
    assert_eq!((bench.phase().await, vms(&bench), bench.boots()), ("running", [1, 0], 1));
    assert_eq!(bench.cvm().await.moves_to, None);
}

#[tokio::test]
async fn silence_of_the_chain_moves_nothing() {
    let bench = start().await;
    bench.chain.with(|said| said.silent = true);
    let refused = moves(&bench, json!({})).await;
    assert_eq!(refused.status.as_u16(), 503, "{}", refused.text);
    bench.world.settle().await;
    assert_eq!((bench.phase().await, vms(&bench), bench.boots()), ("running", [1, 0], 1));
}

/// The guest is still up when the contract is asked again, so the CVM stays where it is.
#[tokio::test]
async fn what_is_withdrawn_before_the_guest_goes_down_ends_the_move() {
    let bench = start().await;
    moves(&bench, json!({})).await.ok();
    bench.chain.with(|said| said.devices = vec![device(&bench, 0)]);
    bench.world.settle().await;
    let failed = (OperationState::Failed, Some("not_allowed".to_owned()));
    assert_eq!(bench.last("move").await, failed);
    let cvm = bench.cvm().await;
    assert_eq!((cvm.node, cvm.moves_to, vms(&bench)), (NodeId(1), None, [1, 0]));
    assert_eq!(bench.phase().await, "running");
    assert_eq!(bench.boots(), 1, "its guest was left alone");
    assert_eq!(bench.count("operation.step shutdown").await, 0);
}
