//! Revisions of an app, and prepared documents.

use casemate_core::{
    id::{AppId, ComposeHash, CvmRef, OperationId, RevisionRef, VmUuid},
    operation::OperationKind,
};
use serde_json::Value;

use super::{EnvReportView, PersonView, TenantView, UpdateView};

/// A configuration that was in force on a CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionView {
    pub id: RevisionRef,
    pub app_id: AppId,
    /// Its CVM, which may be deleted.
    pub vm_uuid: VmUuid,
    pub cvm: CvmRef,
    /// Current or last name of the CVM.
    pub cvm_name: String,
    pub compose_hash: ComposeHash,
    /// When it came in force.
    pub created_at: String,
    /// The operation that brought it in force.
    pub correlation_id: OperationId,
    pub origin: Origin,
    pub triggered_by: PersonView,
    pub workspace: TenantView,
}

/// How a revision was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// By an operation of this kind.
    Operation(OperationKind),
    /// By an update to an earlier revision.
    Redeploy,
}

/// A revision with its whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionDetailView {
    pub revision: RevisionView,
    /// The text that was hashed.
    pub document: String,
    /// Sealed environment, hex.
    pub encrypted_env: Option<String>,
    /// Content of the guest's user config.
    pub user_config: Option<String>,
    /// Names of the sealed variables, ascending.
    pub env_keys: Vec<String>,
}

/// The difference between two revisions.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionDiffView {
    pub from: RevisionView,
    pub to: RevisionView,
    /// Unified diff of the compose file; `None`: unchanged.
    pub docker_compose_file: Option<String>,
    /// Unified diff of the script; `None`: unchanged.
    pub pre_launch_script: Option<String>,
    /// The other changed fields of the document.
    pub fields: Vec<FieldDiffView>,
    /// Changes of variable names.
    pub env: EnvReportView,
    /// Whether the sealed environment changed.
    pub encrypted_env_changed: bool,
    /// User config before and after; `None`: unchanged.
    pub user_config: Option<(Option<String>, Option<String>)>,
}

/// A changed field of the document.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldDiffView {
    pub field: String,
    /// `None`: not set.
    pub from: Option<Value>,
    /// `None`: not set.
    pub to: Option<Value>,
}

/// The result of a redeploy for one CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedeployView {
    pub vm_uuid: VmUuid,
    pub cvm_name: String,
    pub update: UpdateView,
}

/// A document prepared for a CVM that is not in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingView {
    pub vm_uuid: VmUuid,
    pub cvm_name: String,
    pub compose_hash: ComposeHash,
    /// Whether a contract has to allow it.
    pub on_chain: bool,
}

/// Texts of the document in force and of the prepared one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingPreviewView {
    /// Compose file in force.
    pub current_docker_compose: Option<String>,
    /// Prepared compose file.
    pub pending_docker_compose: Option<String>,
    /// Script in force.
    pub current_pre_launch_script: Option<String>,
    /// Prepared script.
    pub pending_pre_launch_script: Option<String>,
}
