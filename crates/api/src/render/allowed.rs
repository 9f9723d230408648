//! Whether something gets an app's keys, where no contract governs the app.

use super::cvm_id;
use crate::{
    reply::{CvmsAllowed, IsAllowed},
    version::ApiVersion,
    view::{AllowedView, CvmsAllowedView},
};

/// `POST /cvms/{id}/is-allowed`, `POST /apps/{id}/is-allowed`.
pub fn is_allowed(view: &AllowedView, version: ApiVersion) -> IsAllowed {
    IsAllowed {
        cvm_id: view.cvm.as_ref().map(|(number, reference)| cvm_id(*number, reference, version)),
        app_contract_address: String::new(),
        compose_hash: view.compose_hash.to_string(),
        device_id: view.device.map(|id| id.to_string()).unwrap_or_default(),
        compose_hash_allowed: true,
        allow_any_device: true,
        device_id_allowed: None,
        is_allowed: true,
        error: None,
    }
}

/// `POST /apps/{id}/cvms/is-allowed`.
pub fn cvms_allowed(view: &CvmsAllowedView, version: ApiVersion) -> CvmsAllowed {
    let id = |(number, reference): &(_, _)| cvm_id(*number, reference, version);
    CvmsAllowed { skipped_cvm_ids: view.skipped.iter().map(id).collect(), ..CvmsAllowed::default() }
}
