//! Replicas of CVMs and instances of apps, through the real router.
//!
//! | module | what it holds |
//! |---|---|
//! | [`making`] | what a replica is, and is not |
//! | [`choosing`] | which CVM is the template |
//! | [`placing`] | which node takes it |
//! | [`refusals`] | what is refused, and in which words |
//! | [`at_once`] | many requests at the same time, on both databases |
//! | [`fields`] | `docs/fields.md`, section *Replicas*, row by row |

use crate::common;

mod at_once;
mod choosing;
mod fields;

mod making;
mod placing;
mod refusals;

use casemate_core::{
    cvm::Spec,
    id::{CvmName, WorkspaceId},
};
use casemate_engine::node::VmConfig;
use casemate_store::cvms;
use common::{World, provision_body};
use serde_json::{Value, json};

/// 60 bytes: the shortest sealed environment.
const SEALED: &str = "abababababababababababababababababababababababababababababababababababababababababababababababababababababababababababab";
/// Another one.
const OTHER: &str = "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd";

/// Deploys `my-app` with these fields at provision, and waits for it.
async fn deployed(world: &World, fields: Value) -> Value {
    let mut body = provision_body("my-app");
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let provisioned = world.post("/cvms/provision", body).await.ok();
    let commit = json!({
        "app_id": provisioned["app_id"], "compose_hash": provisioned["compose_hash"]
    });
    let reply = world.post("/cvms", commit).await.ok();
    world.settle().await;
    reply
}

async fn replicate(world: &World, cvm: &str, body: Value) -> Value {
    let reply = world.post(&format!("/cvms/{cvm}/replicas"), body).await.ok();
    world.settle().await;
    reply
}

async fn detail(world: &World, cvm: &str) -> Value {
    world.get(&format!("/cvms/{cvm}")).await.ok()
}

/// What the node received for this CVM, and the record of it.
async fn inside(world: &World, uuid: &str) -> (VmConfig, Spec) {
    let vms = world.sims.iter().flat_map(|sim| sim.host().vms().unwrap());
    let own: Vec<_> = vms.filter(|vm| vm.config.mark.uuid().to_string() == uuid).collect();
    assert_eq!(own.len(), 1, "one VM per CVM");
    let name = CvmName::parse(uuid);
    let found = cvms::resolve(&world.ctx.db, WorkspaceId(1), &name).await.unwrap();
    (VmConfig::clone(&own[0].config), found[0].spec.clone())
}

/// The uuid in a reply.
fn uuid(reply: &Value) -> &str {
    reply["vm_uuid"].as_str().unwrap()
}
