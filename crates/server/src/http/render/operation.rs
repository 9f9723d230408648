//! Operations of a CVM.

use casemate_api::{
    reply::{
        Activity, AnyId, Cause, OperationEvent, OperationOutcome, OperationRecord, OperationStatus,
        OperationStep, OperationsPage,
    },
    version::ApiVersion,
};
use casemate_core::{id::UserId, operation::OperationState};

use super::{cvm::waiting, update::env_report, user_id};
use crate::view::{CauseView, OperationRecordView, OperationStatusView, StepView};

/// `GET /cvms/{id}/operations`. `total` counts all pages; `next_cursor` is where the list goes on.
pub fn operations(
    views: &[OperationRecordView],
    next_cursor: Option<String>,
    total: u64,
    version: ApiVersion,
) -> OperationsPage {
    let items = views.iter().map(|view| record(view, version)).collect();
    OperationsPage { items, next_cursor, total }
}

fn record(view: &OperationRecordView, version: ApiVersion) -> OperationRecord {
    OperationRecord {
        correlation_id: view.correlation_id.to_string(),
        operation_type: view.kind.into(),
        target_state: view.target.into(),
        triggered_by: user(view.triggered_by, version),
        triggered_by_username: view.triggered_by_username.clone(),
        triggered_by_email: view.triggered_by_email.clone(),
        started_at: view.started_at.clone(),
        completed_at: view.ended_at.clone(),
        duration_ms: view.duration_ms,
        status: status(view.state),
        error_message: error_message(view),
        sub_operations: view.steps.iter().map(|step| step.name.clone()).collect(),
        events: view
            .events
            .iter()
            .map(|event| OperationEvent {
                event_type: event.kind.clone(),
                timestamp: event.at.clone(),
                state: event.phase.into(),
            })
            .collect(),
        instance_name: view.instance_name.clone(),
        compose_hash: view.compose_hash.map(|hash| hash.to_string()),
        state: Some(view.state.into()),
        waiting_for: view.waiting_for.as_ref().map(waiting),
        error_code: view.failure.as_ref().map(|failure| failure.code.clone()),
        steps: view.steps.iter().map(step).collect(),
        queue_position: view.queue_position,
        joined_to: view.joined_to.map(|id| id.to_string()),
        env_report: view.env_report.as_ref().map(env_report),
    }
}

fn user(id: UserId, version: ApiVersion) -> AnyId {
    if version.ids_are_strings() { AnyId::Text(user_id(id)) } else { AnyId::Number(id.0) }
}

/// Upstream has three words.
const fn status(state: OperationState) -> OperationOutcome {
    match state {
        OperationState::Pending | OperationState::Running => OperationOutcome::InProgress,
        OperationState::Succeeded => OperationOutcome::Completed,
        OperationState::Failed | OperationState::Superseded | OperationState::Cancelled => {
            OperationOutcome::Failed
        }
    }
}

fn error_message(view: &OperationRecordView) -> Option<String> {
    let own = match view.state {
        OperationState::Superseded => Some("a later request took its place"),
        OperationState::Cancelled => Some("it was cancelled"),
        OperationState::Pending
        | OperationState::Running
        | OperationState::Succeeded
        | OperationState::Failed => None,
    };
    let failure = view.failure.as_ref().map(|failure| failure.message.as_str());
    failure.or(own).map(str::to_owned)
}

fn step(view: &StepView) -> OperationStep {
    OperationStep {
        name: view.name.clone(),
        started_at: view.started_at.clone(),
        ended_at: view.ended_at.clone(),
        outcome: view.outcome.clone(),
        cause: view.cause.as_ref().map(cause),
    }
}

fn cause(view: &CauseView) -> Cause {
    Cause { code: view.code.clone(), message: view.message.clone() }
}

/// `GET /cvms/{id}/operation-status`; the same in every version.
pub fn operation_status(view: &OperationStatusView) -> OperationStatus {
    let current = view.current.as_ref();
    OperationStatus {
        status: if current.is_some() { Activity::InProgress } else { Activity::Idle },
        in_progress: current.is_some(),
        correlation_id: current.map(|open| open.correlation_id.to_string()),
        operation_type: current.map(|open| open.kind.into()),
        target_state: current.map(|open| open.target.into()),
        started_at: current.map(|open| open.started_at.clone()),
        step: current.and_then(|open| open.steps.last()).map(step),
        queued: view.queued,
    }
}
