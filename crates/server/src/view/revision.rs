//! Revisions of an app, and what was prepared and is not in force.

use casemate_core::{
    id::{AppId, ComposeHash, CvmRef, OperationId, RevisionRef, VmUuid},
    operation::OperationKind,
};
use serde_json::Value;

use super::{EnvReportView, PersonView, TenantView, UpdateView};

/// What was in force on a CVM from one operation that succeeded to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionView {
    /// Its id.
    pub id: RevisionRef,
    /// The app.
    pub app_id: AppId,
    /// On which CVM, which may be gone.
    pub vm_uuid: VmUuid,
    /// The same by its other id.
    pub cvm: CvmRef,
    /// Name that the CVM has, or had last.
    pub cvm_name: String,
    /// The document.
    pub compose_hash: ComposeHash,
    /// Since when.
    pub created_at: String,
    /// The operation that brought it about.
    pub correlation_id: OperationId,
    /// How.
    pub origin: Origin,
    /// Who asked for it.
    pub triggered_by: PersonView,
    /// Whose app it is.
    pub workspace: TenantView,
}

/// How a revision came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// By an operation of this kind.
    Operation(OperationKind),
    /// By an update that named an earlier revision.
    Redeploy,
}

/// A revision with everything that was in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionDetailView {
    /// What a list shows.
    pub revision: RevisionView,
    /// The text that was hashed.
    pub document: String,
    /// Sealed environment, hex.
    pub encrypted_env: Option<String>,
    /// Text the guest read.
    pub user_config: Option<String>,
    /// Names of the sealed variables, ascending.
    pub env_keys: Vec<String>,
}

/// What is different between two revisions.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionDiffView {
    /// The one.
    pub from: RevisionView,
    /// The other.
    pub to: RevisionView,
    /// The two texts in the document, each as a unified diff; `None`: the same.
    pub docker_compose_file: Option<String>,
    /// As above.
    pub pre_launch_script: Option<String>,
    /// The other fields of the document that differ, by name.
    pub fields: Vec<FieldDiffView>,
    /// How the names of variables differ.
    pub env: EnvReportView,
    /// Whether the sealed environment is another one.
    pub encrypted_env_changed: bool,
    /// The user config before and after; `None`: the same.
    pub user_config: Option<(Option<String>, Option<String>)>,
}

/// A field of the document that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldDiffView {
    /// Its name.
    pub field: String,
    /// Its value in the one; `None`: it has none.
    pub from: Option<Value>,
    /// Its value in the other.
    pub to: Option<Value>,
}

/// What became of a request to put a revision in force on several CVMs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedeployView {
    /// On which CVM, by uuid and name.
    pub vm_uuid: VmUuid,
    /// Its name.
    pub cvm_name: String,
    /// What became of it there.
    pub update: UpdateView,
}

/// A document that was prepared for a CVM and is not in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingView {
    /// For which CVM.
    pub vm_uuid: VmUuid,
    /// Its name.
    pub cvm_name: String,
    /// The document.
    pub compose_hash: ComposeHash,
    /// Whether a contract has to allow it.
    pub on_chain: bool,
}

/// The two texts of the document in force and of one that was prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingPreviewView {
    /// Compose file in force.
    pub current_docker_compose: Option<String>,
    /// Compose file that was prepared.
    pub pending_docker_compose: Option<String>,
    /// Script in force.
    pub current_pre_launch_script: Option<String>,
    /// Script that was prepared.
    pub pending_pre_launch_script: Option<String>,
}
