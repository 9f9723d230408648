//! The state of CVMs.

use casemate_api::{
    reply::{CvmState, CvmStatus, StatusBatch, StatusOperation},
    version::ApiVersion,
};

use super::cvm::{failure, waiting};
use crate::view::{CvmView, OperationView};

/// `GET /cvms/{id}/state`, and each event of its stream; the same in every version.
pub fn state(view: &CvmView) -> CvmState {
    CvmState {
        id: Some(view.reference.to_string()),
        instance_id: view.instance_id.map(|id| id.to_string()),
        name: view.name.clone(),
        status: view.phase.into(),
        in_progress: view.in_progress,
        uptime: view.uptime.clone(),
        exited_at: view.exited_at.clone(),
        boot_progress: view.boot_progress.clone(),
        boot_error: view.boot_error.clone(),
        shutdown_progress: view.shutdown_progress.clone(),
        correlation_id: view.operation.as_ref().map(|open| open.correlation_id.to_string()),
        failure: view.failure.as_ref().map(failure),
        waiting_for: view.waiting_for.as_ref().map(waiting),
    }
}

/// `POST /status/batch`: each CVM under its uuid as the client sent it.
pub fn status_batch<'a>(
    found: impl IntoIterator<Item = (String, &'a CvmView)>,
    version: ApiVersion,
) -> StatusBatch {
    found.into_iter().map(|(sent, view)| (sent.clone(), status(sent, view, version))).collect()
}

fn status(vm_uuid: String, view: &CvmView, version: ApiVersion) -> CvmStatus {
    let open = view.operation.as_ref();
    let object = |open: &OperationView| StatusOperation {
        kind: open.kind.into(),
        phase: Some(view.phase.into()),
        started_at: Some(open.started_at.clone()),
        correlation_id: Some(open.correlation_id.to_string()),
    };
    CvmStatus {
        vm_uuid,
        status: view.phase.into(),
        uptime: view.uptime.clone(),
        in_progress: view.in_progress,
        boot_progress: view.boot_progress.clone(),
        boot_error: view.boot_error.clone(),
        shutdown_progress: view.shutdown_progress.clone(),
        operation_type: open.map(|open| open.kind.into()),
        operation_started_at: open.map(|open| open.started_at.clone()),
        correlation_id: open.map(|open| open.correlation_id.to_string()),
        operation: open.filter(|_| version.batch_has_operation()).map(object),
    }
}
