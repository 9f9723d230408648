//! What routes that change a CVM answer; the same in every version.

use casemate_api::reply::{
    Accepted, ChangeStatus, ComposeProvisioned, Course, EnvReport, EnvsUpdateResult, KmsNode,
    UpdateResult,
};

use crate::view::{ComposeProvisionView, Effect, EnvReportView, UpdateView};

/// `PATCH /cvms/{id}`.
pub fn accepted(view: &UpdateView) -> Accepted {
    Accepted { correlation_id: view.correlation_id.to_string(), course: course(view) }
}

/// The routes that change one thing, but for `envs`.
pub fn update_result(view: &UpdateView) -> UpdateResult {
    UpdateResult {
        status: ChangeStatus::InProgress,
        message: view.message.clone(),
        correlation_id: view.correlation_id.to_string(),
        course: course(view),
    }
}

/// `PATCH /cvms/{id}/envs`.
pub fn envs_update_result(view: &UpdateView) -> EnvsUpdateResult {
    let allowed_envs_changed = view.allowed_envs_changed;
    EnvsUpdateResult { update: update_result(view), allowed_envs_changed }
}

/// `POST /cvms/{id}/compose_file/provision`.
pub fn compose_provision(view: &ComposeProvisionView) -> ComposeProvisioned {
    ComposeProvisioned {
        app_id: Some(view.app_id.to_string()),
        device_id: view.device_id.map(|id| id.to_string()),
        compose_hash: view.compose_hash.to_string(),
        kms_info: view.kms.as_ref().map(KmsNode::from),
        compose_hash_registered: view.compose_hash_registered,
        compose_unchanged: view.compose_unchanged,
        expires_at: Some(view.expires_at.clone()),
        env_report: view.env_report.as_ref().map(env_report),
        warnings: view.warnings.clone(),
    }
}

pub(super) fn course(view: &UpdateView) -> Course {
    Course {
        effect: view.effect.map(|effect| effect_word(effect).to_owned()),
        queue_position: view.queue_position,
        joined_to: view.joined_to.map(|id| id.to_string()),
        env_report: view.env_report.as_ref().map(env_report),
        warnings: view.warnings.clone(),
    }
}

const fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::Nothing => "nothing",
        Effect::Record => "record",
        Effect::NextStart => "next_start",
        Effect::Restart => "restart",
    }
}

pub(super) fn env_report(report: &EnvReportView) -> EnvReport {
    let EnvReportView { added, removed, missing } = report.clone();
    EnvReport { added, removed, missing }
}
