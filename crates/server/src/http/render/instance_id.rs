//! What became of requests for instance ids.

use casemate_api::{
    reply::{AnyId, InstanceIdResult, InstanceIdResults, InstanceIdStatus},
    version::ApiVersion,
};

use super::cvm_id;
use crate::view::{InstanceIdView, InstanceIdsView};

/// `PATCH /cvms/{id}/instance-id`, `POST /cvms/{id}/refresh-instance-id`.
pub fn instance_id(view: &InstanceIdView, version: ApiVersion) -> InstanceIdResult {
    let told = view.old.is_some() && view.outcome != InstanceIdStatus::Updated;
    InstanceIdResult {
        cvm_id: match &view.cvm {
            Some((number, reference)) => cvm_id(*number, reference, version),
            None if version.ids_are_strings() => AnyId::Text(String::new()),
            None => AnyId::Number(0),
        },
        identifier: view.identifier.clone(),
        status: view.outcome.clone(),
        old_instance_id: view.old.map(|id| id.to_string()),
        new_instance_id: view.new.map(|id| id.to_string()),
        source: if told { "teepod_state" } else { "none" }.to_owned(),
        verified_with_gateway: view.by_gateway,
        reason: view.reason.clone(),
        correlation_id: view.correlation_id.map(|id| id.to_string()),
    }
}

/// `PATCH /cvms/instance-ids`, `POST /cvms/refresh-instance-ids`.
pub fn instance_ids(view: &InstanceIdsView, version: ApiVersion) -> InstanceIdResults {
    let with = |outcome| {
        let items = view.items.iter().filter(|item| item.outcome == outcome);
        u64::try_from(items.count()).unwrap_or(u64::MAX)
    };
    InstanceIdResults {
        total: super::count(&view.items),
        scanned: view.scanned,
        updated: with(InstanceIdStatus::Updated),
        unchanged: with(InstanceIdStatus::Unchanged),
        skipped: with(InstanceIdStatus::Skipped),
        conflicts: with(InstanceIdStatus::Conflict),
        errors: with(InstanceIdStatus::Error),
        items: view.items.iter().map(|item| instance_id(item, version)).collect(),
    }
}
