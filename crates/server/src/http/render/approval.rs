//! What was prepared for contracts to allow.

use casemate_api::reply::{CommitInfo, ContractCall, DocumentChange, KmsNode};

use super::{revision::field_diff, update::env_report};
use crate::view::{CallView, DocumentChangeView, PreparationView};

/// `GET /cvms/{id}/commit-update`.
pub fn commit_info(view: &PreparationView) -> CommitInfo {
    let (cvm_id, cvm_name) =
        view.cvm.clone().map(|(_, reference, name)| (reference.to_string(), name)).unzip();
    CommitInfo {
        kind: view.kind.to_owned(),
        status: view.state.as_str().into(),
        cvm_id,
        cvm_name,
        app_id: view.app_id.to_string(),
        compose_hash: view.compose_hash.to_string(),
        device_id: view.device_id.map(|id| id.to_string()),
        kms_info: view.kms.as_ref().map(KmsNode::from),
        chain_id: view.chain_id,
        owner: view.owner.clone(),
        onchain_status: view.onchain.map(crate::view::onchain_status),
        calls: view.calls.iter().map(call).collect(),
        change: view.change.as_ref().map(change),
        created_at: view.created_at.clone(),
        expires_at: view.expires_at.clone(),
    }
}

fn call(view: &CallView) -> ContractCall {
    ContractCall {
        method: view.method.to_owned(),
        argument: view.argument.clone(),
        to: view.to.clone(),
        calldata: view.calldata.clone(),
        done: view.done,
    }
}

fn change(view: &DocumentChangeView) -> DocumentChange {
    DocumentChange {
        docker_compose_file: view.docker_compose_file.clone(),
        pre_launch_script: view.pre_launch_script.clone(),
        fields: view.fields.iter().map(field_diff).collect(),
        env: env_report(&view.env),
        encrypted_env_changed: view.encrypted_env_changed,
        asked: view.asked.clone(),
    }
}
