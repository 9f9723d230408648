//! Desired state and status of every CVM: look-ups, lists, and the writes of requests. The writes of
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
mod moves;
mod pagination;
mod row;
mod usage_counters;
mod write;

pub use apps::{App, AppFilter, AppKey, Search, app, apps_page, of_apps};
pub use directory::{PublicApp, directory, directory_length};
pub use facets::{Facets, facets};
pub use find::{anywhere, by_id, by_uuids, for_gateway, live_of_app, resolve, with_instance};
pub use history::{PastCvm, app_history};
pub use intent::{Intent, ToDelete, to_delete};
pub use list::{Filter, ids_on_node, on_node, on_node_among, page, uuids_on_node};
pub use pagination::{ListPage, PageStart};
pub(crate) use row::{Row, SELECT, readable};
pub(crate) use usage_counters::UsageDelta;
pub use write::Inserted;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cvm {
    pub id: CvmId,
    /// `cvm_…`.
    pub reference: CvmRef,
    /// `vm_uuid` on the wire.
    pub uuid: VmUuid,
    pub workspace: WorkspaceId,
    pub created_by: UserId,
    pub node: NodeId,
    /// The node that it is to run on instead, once its VM is gone here.
    pub moves_to: Option<NodeId>,
    /// The KMS that holds its keys.
    pub kms: KmsId,
    /// Configuration. Lists omit `user_config`, which may be long.
    pub spec: Spec,
    /// Sealed environment, hex. Lists omit it.
    pub sealed_env: Option<String>,
    pub desired: DesiredState,
    /// Recorded status.
    pub status: Status,
    /// The phase that users see.
    pub phase: Phase,
    /// `None` until the guest has reported it.
    pub instance_id: Option<InstanceId>,
    /// The open operation.
    pub operation: Option<OpenOperation>,
    /// Increases with every change that readers can see.
    pub version: i64,
    /// Increases with every claim, every new desired state, and when a lease is given back.
    pub fence: i64,
    /// Whether this value was read by the claim of its lease. Other readers are observers only.
    pub claimed: bool,
    /// When it was committed.
    pub created_at: Timestamp,
    /// When desired state, status or phase were last written.
    pub updated_at: Timestamp,
    /// Scheduled deletion.
    pub delete_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOperation {
    /// `correlation_id` on the wire.
    pub id: OperationId,
    pub kind: OperationKind,
    /// When it was accepted.
    pub started_at: Timestamp,
}

/// A CVM to insert.
#[derive(Debug, Clone)]
pub struct NewCvm {
    /// `cvm_…`.
    pub reference: CvmRef,
    /// `vm_uuid` on the wire.
    pub uuid: VmUuid,
    pub workspace: WorkspaceId,
    pub created_by: UserId,
    pub node: NodeId,
    /// The KMS that holds its keys.
    pub kms: KmsId,
    /// Configuration with generation 1.
    pub spec: Spec,
    /// Sealed environment, hex.
    pub sealed_env: Option<String>,
    /// How the guest is stopped when a change needs that.
    pub stop: StopMode,
}
