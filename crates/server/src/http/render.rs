//! From views to replies: one function per reply, and the only place that asks for the version.

mod account;
mod allowed;
mod app;
mod approval;
mod catalogue;
mod create_resources;
mod cvm;
mod cvm_flat;
mod cvm_state;
mod domain;
mod instance_id;
mod kms;
mod network;
mod node;
mod operation;
mod provision;
mod revision;
mod update;
mod user_config;

use casemate_core::id::{AppId, CvmId, CvmRef, UserId, WorkspaceId};

pub use account::auth_me;
pub use allowed::{cvms_allowed, device_allowlist, is_allowed};
pub use app::{app_cvms, app_info, apps};
pub use approval::commit_info;
pub use catalogue::{
    available_os_images, instance_type_family, instance_types, os_images, os_images_array,
};
pub use create_resources::create_resources;
pub use cvm::{cvm_detail, cvm_info, cvm_list, cvm_list_item, node_info};
pub use cvm_flat::{cvm_commit, cvm_visibility, new_instance, vm_action};
pub use cvm_state::{state, status_batch};
pub use domain::diagnosis;
pub use instance_id::{instance_id, instance_ids};
pub use kms::{kms_contract_nodes, kms_info, kms_list, kms_pubkey, next_app_ids};
pub use network::{firewall_status, network_config, ports};
pub use node::teepods_available;
pub use operation::{operation_status, operations};
pub use provision::provision;
pub use revision::{
    app_redeployed, pending_preview, pending_updates, redeployed, revision_detail, revision_diff,
    revisions,
};
pub use update::{accepted, compose_provision, envs_update_result, update_result};
pub use user_config::user_config;

use casemate_api::{reply::AnyId, version::ApiVersion};

/// `wks_…`: text id of a workspace.
pub fn workspace_id(id: WorkspaceId) -> String {
    format!("wks_{id}")
}

/// `usr_…`: text id of a user.
pub fn user_id(id: UserId) -> String {
    format!("usr_{id}")
}

/// `app_…`: text id of an app.
pub fn app_row_id(id: &AppId) -> String {
    format!("app_{id}")
}

/// Id of a CVM where its type depends on the version.
fn cvm_id(number: CvmId, reference: &CvmRef, version: ApiVersion) -> AnyId {
    if version.ids_are_strings() {
        AnyId::Text(reference.to_string())
    } else {
        AnyId::Number(number.0)
    }
}

fn count<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}
