//! Desired state and fact of every CVM: look-ups, lists, and the writes of requests. The writes of
//! reconcilers are in [`crate::lease`].

use casemate_core::{
    cvm::{DesiredState, Phase, Spec, Status, StopMode},
    id::{CvmId, CvmRef, InstanceId, KmsId, NodeId, OperationId, UserId, VmUuid, WorkspaceId},
    operation::OperationKind,
    time::Timestamp,
};

mod apps;
mod columns;
mod directory;
mod facets;
mod find;
mod history;
mod intent;
mod list;
mod pagination;
mod row;
mod usage_counters;
mod write;

pub use apps::{App, AppFilter, AppKey, Search, app, apps_page, of_apps};
pub use directory::{PublicApp, directory, directory_length};
pub use facets::{Facets, facets};
pub use find::{by_id, by_uuids, for_gateway, resolve};
pub use history::{PastCvm, app_history};
pub use intent::{Intent, ToDelete, to_delete};
pub use list::{Filter, ids_on_node, on_node, on_node_among, page};
pub use pagination::{Part, Seek};
pub(crate) use row::{Row, SELECT, readable};
pub(crate) use usage_counters::UsageDelta;
pub use write::Inserted;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cvm {
    /// Integer id.
    pub id: CvmId,
    /// `cvm_…`.
    pub reference: CvmRef,
    /// `vm_uuid`.
    pub uuid: VmUuid,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Who committed it.
    pub created_by: UserId,
    /// Where it runs.
    pub node: NodeId,
    /// Who holds its keys.
    pub kms: KmsId,
    /// Configuration. Lists leave `user_config` out: it may be long, and no list shows it.
    pub spec: Spec,
    /// Sealed env, hex. Lists leave it out too.
    pub sealed_env: Option<String>,
    /// What it should be doing.
    pub desired: DesiredState,
    /// What is recorded of it.
    pub status: Status,
    /// The word users see.
    pub phase: Phase,
    /// Once the guest has told it.
    pub instance_id: Option<InstanceId>,
    /// The operation under way.
    pub operation: Option<OpenOperation>,
    /// Raised with everything that readers see of it.
    pub version: i64,
    /// Raised by every claim, by every new desired state, and when a lease is given back.
    pub fence: i64,
    /// Read by the claim that gave us its lease; whoever read it otherwise only looks on.
    pub claimed: bool,
    /// When it was committed.
    pub created_at: Timestamp,
    /// When desired state, status or phase was written last.
    pub updated_at: Timestamp,
    /// When it is to be deleted by itself.
    pub delete_at: Option<Timestamp>,
}

/// The operation under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOperation {
    /// `correlation_id`.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// When it was accepted.
    pub started_at: Timestamp,
}

/// A CVM about to be committed.
#[derive(Debug, Clone)]
pub struct NewCvm {
    /// `cvm_…`.
    pub reference: CvmRef,
    /// `vm_uuid`.
    pub uuid: VmUuid,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Who commits it.
    pub created_by: UserId,
    /// Where it goes.
    pub node: NodeId,
    /// Who holds its keys.
    pub kms: KmsId,
    /// Configuration, generation 1.
    pub spec: Spec,
    /// Sealed env, hex.
    pub sealed_env: Option<String>,
    /// How it is brought down when a change needs that.
    pub stop: StopMode,
}
