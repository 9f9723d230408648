//! Whether something gets an app's keys.

use casemate_api::{
    reply::{AllowlistDevice, CvmsAllowed, DeviceAllowlist, IsAllowed, Permission},
    version::ApiVersion,
};

use super::{count, cvm_id};
use crate::view::{AllowedView, AllowlistDeviceView, AllowlistView, ContractSays, CvmsAllowedView};

/// `POST /cvms/{id}/is-allowed`, `POST /apps/{id}/is-allowed`.
pub fn is_allowed(view: &AllowedView, version: ApiVersion) -> IsAllowed {
    let nobody_asked = ContractSays { hash: true, any_device: true, all: true, ..<_>::default() };
    let says = view.contract.as_ref().unwrap_or(&nobody_asked);
    IsAllowed {
        cvm_id: view.cvm.as_ref().map(|(number, reference)| cvm_id(*number, reference, version)),
        app_contract_address: says.contract.clone(),
        compose_hash: view.compose_hash.to_string(),
        device_id: view.device.map(|id| id.to_string()).unwrap_or_default(),
        compose_hash_allowed: says.hash,
        allow_any_device: says.any_device,
        device_id_allowed: says.device.filter(|_| !says.any_device),
        is_allowed: says.all,
        error: says.error.clone(),
    }
}

/// `POST /apps/{id}/cvms/is-allowed`.
pub fn cvms_allowed(view: &CvmsAllowedView, version: ApiVersion) -> CvmsAllowed {
    let results: Vec<IsAllowed> =
        view.results.iter().map(|result| is_allowed(result, version)).collect();
    let counted = |fits: fn(&IsAllowed) -> bool| {
        count(&results.iter().filter(|result| fits(result)).collect::<Vec<_>>())
    };
    CvmsAllowed {
        is_onchain: view.is_onchain,
        total: count(&results),
        allowed_count: counted(|result| result.is_allowed),
        denied_count: counted(|result| !result.is_allowed && result.error.is_none()),
        error_count: counted(|result| result.error.is_some()),
        skipped_cvm_ids: view
            .skipped
            .iter()
            .map(|(number, reference)| cvm_id(*number, reference, version))
            .collect(),
        results,
    }
}

/// `GET /apps/{id}/device-allowlist`.
pub fn device_allowlist(view: &AllowlistView, version: ApiVersion) -> DeviceAllowlist {
    let device = |device: &AllowlistDeviceView| AllowlistDevice {
        device_id: device.device.to_string(),
        node_name: device.node.clone(),
        cvm_ids: device
            .cvms
            .iter()
            .map(|(number, reference)| cvm_id(*number, reference, version))
            .collect(),
        allowed_onchain: device.listed == Some(true),
        status: match (device.listed, view.any_device) {
            (Some(true), _) | (_, Some(true)) => Permission::Allowed,
            (Some(false), _) => Permission::NotAllowed,
            (None, _) => Permission::Unknown,
        },
    };
    DeviceAllowlist {
        is_onchain_kms: view.contract.is_some(),
        allow_any_device: view.any_device,
        chain_id: view.contract.as_ref().map(|(chain, _)| *chain),
        app_contract_address: view.contract.as_ref().map(|(_, address)| address.clone()),
        devices: view.devices.iter().map(device).collect(),
    }
}
