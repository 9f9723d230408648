//! Revisions of an app, and what was prepared and is not in force.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ChangeStatus, Course, EnvReport, UserRef, WorkspaceRef, cvm::CvmMark};

/// `GET /apps/{id}/revisions`: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevisionsPage {
    /// The revisions of this page.
    pub revisions: Vec<Revision>,
    /// Revisions of all pages.
    pub total: u64,
    /// This page, from 1.
    pub page: u32,
    /// Revisions per page.
    pub page_size: u32,
    /// Number of pages: not `pages`, as elsewhere.
    pub total_pages: u64,
}

/// What was in force on a CVM from one operation that succeeded to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Revision {
    /// `rev_…`.
    pub revision_id: String,
    /// 40 hex digits, no prefix.
    pub app_id: String,
    /// UUID with dashes; the CVM may be gone.
    pub vm_uuid: String,
    /// 64 hex digits.
    pub compose_hash: String,
    /// RFC 3339: since when it was in force.
    pub created_at: String,
    /// `correlation_id` of the operation that brought it about.
    #[serde(default)]
    pub trace_id: Option<String>,
    /// How: `deploy`, `update`, `redeploy`, `rollback`, `start`, `restart`.
    pub operation_type: String,
    /// Who asked for it.
    #[serde(default)]
    pub triggered_by: Option<UserRef>,
    /// On which CVM.
    #[serde(default)]
    pub cvm: Option<CvmRef>,
    /// Whose app it is.
    #[serde(default)]
    pub workspace: Option<WorkspaceRef>,
}

/// A CVM, as far as a revision shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CvmRef {
    /// `cvm`.
    #[serde(default)]
    pub object_type: CvmMark,
    /// `cvm_…`.
    pub id: Option<String>,
    /// Name that it has, or had last.
    pub name: Option<String>,
    /// 40 hex digits, no prefix.
    pub app_id: Option<String>,
    /// UUID with dashes.
    pub vm_uuid: Option<String>,
}

/// `GET /apps/{id}/revisions/{rev}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevisionDetail {
    /// What a list shows.
    #[serde(flatten)]
    pub revision: Revision,
    /// The app-compose document as an object; with `raw_compose_file` the text that was hashed.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub compose_file: Option<Value>,
    /// Sealed environment as hex; empty: none.
    pub encrypted_env: String,
    /// Text the guest read as its user config; empty: none.
    pub user_config: String,
    /// Names of the sealed variables as clients gave them, ascending (Casemate only).
    #[serde(default)]
    pub env_keys: Vec<String>,
}

/// `GET /apps/{id}/revisions/{a}/diff/{b}` (Casemate only).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevisionDiff {
    /// The one.
    pub from: Revision,
    /// The other.
    pub to: Revision,
    /// Whether nothing differs.
    pub identical: bool,
    /// The compose file as a unified diff; `null`: the same.
    pub docker_compose_file: Option<String>,
    /// The pre-launch script as a unified diff; `null`: the same.
    pub pre_launch_script: Option<String>,
    /// The other fields of the document that differ, by name.
    pub fields: Vec<FieldDiff>,
    /// How the names of variables differ.
    pub env: EnvReport,
    /// Whether the sealed environment is another one.
    pub encrypted_env_changed: bool,
    /// The user config; `null`: the same.
    pub user_config: Option<TextDiff>,
}

/// A field of the document that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldDiff {
    /// Its name.
    pub field: String,
    /// Its value in the one; `null`: it has none.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub from: Option<Value>,
    /// Its value in the other.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub to: Option<Value>,
}

/// A text that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TextDiff {
    /// In the one; `null`: there is none.
    pub from: Option<String>,
    /// In the other.
    pub to: Option<String>,
}

/// `POST /cvms/{id}/revisions/{rev}/redeploy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Redeployed {
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Id of the operation.
    #[serde(default)]
    pub correlation_id: String,
    /// `in_progress`, or `no_change` where the revision is in force already.
    #[serde(default)]
    pub status: ChangeStatus,
    /// How the change goes on (Casemate only).
    #[serde(flatten)]
    pub course: Course,
}

/// `POST /apps/{id}/revisions/{rev}/redeploy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppRedeployed {
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Id of the operation, where there is one; see `cvms`.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// `in_progress`, or `no_change` where the revision is in force on all of them already.
    #[serde(default)]
    pub status: ChangeStatus,
    /// What became of it on each CVM (Casemate only).
    #[serde(default)]
    pub cvms: Vec<RedeployedCvm>,
}

/// What became of a redeploy on one of several CVMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RedeployedCvm {
    /// UUID with dashes.
    pub vm_uuid: String,
    /// Name.
    pub name: String,
    /// What became of it.
    #[serde(flatten)]
    pub update: Redeployed,
}

/// `GET /apps/{id}/pending-updates`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PendingUpdates {
    /// Newest first.
    #[serde(default)]
    pub items: Vec<PendingUpdate>,
}

/// A document that was prepared for a CVM and is not in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PendingUpdate {
    /// UUID with dashes.
    pub vm_uuid: String,
    /// 64 hex digits.
    pub compose_hash: String,
    /// Whether a contract has to allow it.
    pub on_chain: bool,
    /// Name of the CVM.
    #[serde(default)]
    pub instance_name: Option<String>,
}

/// `GET /apps/{id}/pending-updates/{vm_uuid}/{compose_hash}/preview`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PendingPreview {
    /// Compose file in force.
    #[serde(default)]
    pub current_docker_compose: Option<String>,
    /// Compose file that was prepared.
    #[serde(default)]
    pub pending_docker_compose: Option<String>,
    /// Script in force.
    #[serde(default)]
    pub current_pre_launch_script: Option<String>,
    /// Script that was prepared.
    #[serde(default)]
    pub pending_pre_launch_script: Option<String>,
}
