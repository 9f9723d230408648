//! The reply of `POST /cvms/provision`.

use casemate_api::{
    reply::{KmsNode, Provisioned},
    version::ApiVersion,
};

use crate::view::{KmsView, ProvisionView, contracts};

/// `POST /cvms/provision`.
pub fn provision(view: &ProvisionView, version: ApiVersion) -> Provisioned {
    let contract_id = |kms: &KmsView| contracts(std::slice::from_ref(kms)).pop().map(|one| one.id);
    let node_id = view.node_id.map(|id| id.0);
    Provisioned {
        app_id: view.app_id.map(|id| id.to_string()),
        app_env_encrypt_pubkey: view.env_public_key.clone(),
        compose_hash: view.compose_hash.to_string(),
        kms_info: view.kms.as_ref().map(KmsNode::from),
        fmspc: view.fmspc.clone(),
        device_id: view.device_id.map(|id| id.to_string()),
        os_image_hash: view.os_image_hash.clone(),
        instance_type: view.instance_type.clone(),
        teepod_id: node_id,
        node_id,
        kms_id: view.kms.as_ref().map(|kms| kms.id.to_string()),
        kms_contract_id: view
            .kms
            .as_ref()
            .filter(|_| version.kms_are_contracts())
            .and_then(contract_id),
        compose_hash_registered: view.compose_hash_registered,
        expires_at: Some(view.expires_at.clone()),
        warnings: view.warnings.clone(),
    }
}
