//! Revisions of an app; the same in every version.

use casemate_api::{
    page::Page,
    reply::{
        AppRedeployed, ChangeStatus, CvmMark, CvmRef, FieldDiff, PendingPreview, PendingUpdate,
        PendingUpdates, Redeployed, RedeployedCvm, Revision, RevisionDetail, RevisionDiff,
        RevisionsPage, TextDiff,
    },
};
use casemate_core::operation::OperationKind;
use serde_json::Value;

use super::{
    cvm::{person, workspace},
    update::{course, env_report},
};
use crate::view::{
    Effect, FieldDiffView, Origin, PendingPreviewView, PendingView, RedeployView,
    RevisionDetailView, RevisionDiffView, RevisionView, UpdateView,
};

/// `GET /apps/{id}/revisions`.
pub fn revisions(page: &Page<RevisionView>) -> RevisionsPage {
    RevisionsPage {
        revisions: page.items.iter().map(revision).collect(),
        total: page.total,
        page: page.page,
        page_size: page.page_size,
        total_pages: page.pages,
    }
}

fn revision(view: &RevisionView) -> Revision {
    Revision {
        revision_id: view.id.to_string(),
        app_id: view.app_id.to_string(),
        vm_uuid: view.vm_uuid.to_string(),
        compose_hash: view.compose_hash.to_string(),
        created_at: view.created_at.clone(),
        trace_id: Some(view.correlation_id.to_string()),
        operation_type: origin_word(view.origin).to_owned(),
        triggered_by: Some(person(&view.triggered_by)),
        cvm: Some(CvmRef {
            object_type: CvmMark::Cvm,
            id: Some(view.cvm.to_string()),
            name: Some(view.cvm_name.clone()),
            app_id: Some(view.app_id.to_string()),
            vm_uuid: Some(view.vm_uuid.to_string()),
        }),
        workspace: Some(workspace(&view.workspace)),
    }
}

/// Upstream says `deploy` of the first.
const fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::Operation(OperationKind::Create) => "deploy",
        Origin::Operation(kind) => kind.as_str(),
        Origin::Redeploy => "redeploy",
    }
}

/// `GET /apps/{id}/revisions/{rev}`. `raw`: the document as the text that was hashed.
pub fn revision_detail(view: &RevisionDetailView, raw: bool) -> RevisionDetail {
    let compose_file = if raw {
        Some(Value::String(view.document.clone()))
    } else {
        serde_json::from_str(&view.document).ok()
    };
    RevisionDetail {
        revision: revision(&view.revision),
        compose_file,
        encrypted_env: view.encrypted_env.clone().unwrap_or_default(),
        user_config: view.user_config.clone().unwrap_or_default(),
        env_keys: view.env_keys.clone(),
    }
}

/// `GET /apps/{id}/revisions/{a}/diff/{b}`.
pub fn revision_diff(view: &RevisionDiffView) -> RevisionDiff {
    let fields: Vec<FieldDiff> = view.fields.iter().map(field_diff).collect();
    let user_config = view.user_config.clone().map(|(from, to)| TextDiff { from, to });
    let identical = fields.is_empty()
        && view.docker_compose_file.is_none()
        && view.pre_launch_script.is_none()
        && view.env == crate::view::EnvReportView::default()
        && !view.encrypted_env_changed
        && user_config.is_none();
    RevisionDiff {
        from: revision(&view.from),
        to: revision(&view.to),
        identical,
        docker_compose_file: view.docker_compose_file.clone(),
        pre_launch_script: view.pre_launch_script.clone(),
        fields,
        env: env_report(&view.env),
        encrypted_env_changed: view.encrypted_env_changed,
        user_config,
    }
}

pub(super) fn field_diff(view: &FieldDiffView) -> FieldDiff {
    FieldDiff { field: view.field.clone(), from: view.from.clone(), to: view.to.clone() }
}

/// `POST /cvms/{id}/revisions/{rev}/redeploy`.
pub fn redeployed(view: &UpdateView) -> Redeployed {
    Redeployed {
        message: view.message.clone(),
        correlation_id: view.correlation_id.to_string(),
        status: redeploy_status(view),
        course: course(view),
    }
}

fn redeploy_status(view: &UpdateView) -> ChangeStatus {
    let nothing = view.effect == Some(Effect::Nothing);
    if nothing { ChangeStatus::NoChange } else { ChangeStatus::InProgress }
}

/// `POST /apps/{id}/revisions/{rev}/redeploy`.
pub fn app_redeployed(views: &[RedeployView]) -> AppRedeployed {
    let changed =
        views.iter().filter(|one| redeploy_status(&one.update) == ChangeStatus::InProgress).count();
    let only = match views {
        [one] => Some(&one.update),
        _ => None,
    };
    AppRedeployed {
        message: only.map_or_else(
            || format!("Accepted on {} CVMs; {changed} of them change", views.len()),
            |only| only.message.clone(),
        ),
        correlation_id: only.map(|only| only.correlation_id.to_string()),
        status: if changed == 0 { ChangeStatus::NoChange } else { ChangeStatus::InProgress },
        cvms: views
            .iter()
            .map(|one| RedeployedCvm {
                vm_uuid: one.vm_uuid.to_string(),
                name: one.cvm_name.clone(),
                update: redeployed(&one.update),
            })
            .collect(),
    }
}

/// `GET /apps/{id}/pending-updates`.
pub fn pending_updates(views: &[PendingView]) -> PendingUpdates {
    let item = |view: &PendingView| PendingUpdate {
        vm_uuid: view.vm_uuid.to_string(),
        compose_hash: view.compose_hash.to_string(),
        on_chain: view.on_chain,
        instance_name: Some(view.cvm_name.clone()),
    };
    PendingUpdates { items: views.iter().map(item).collect() }
}

/// `GET /apps/{id}/pending-updates/{vm_uuid}/{compose_hash}/preview`.
pub fn pending_preview(view: &PendingPreviewView) -> PendingPreview {
    PendingPreview {
        current_docker_compose: view.current_docker_compose.clone(),
        pending_docker_compose: view.pending_docker_compose.clone(),
        current_pre_launch_script: view.current_pre_launch_script.clone(),
        pending_pre_launch_script: view.pending_pre_launch_script.clone(),
    }
}
