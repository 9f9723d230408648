//! Data of replies, independent of the API version. [`crate::http::render`] turns it into replies.
//!
//! Times are RFC 3339 in UTC, money is decimal text in USD, memory is in MB (1024 MB are 1 GB), disk is in
//! GB. The caller is already authorised to see everything here.

mod account;
mod allowed;
mod app;
mod approval;
mod catalogue;
mod cvm;
mod domain;
mod instance_id;
mod kms;
mod network;
mod node;
mod operation;
mod provision;
mod revision;
mod update;

pub use account::{CapacityView, CreditsView, UserView, WorkspaceView};
pub use allowed::{AllowedView, AllowlistDeviceView, AllowlistView, ContractSays, CvmsAllowedView};
pub use app::{AppProfileView, AppView};
pub use approval::{
    CallView, DocumentChangeView, PreparationState, PreparationView, onchain_status,
};
pub use casemate_core::cvm::Phase;
pub use catalogue::{InstanceTypeView, OsImageView};
pub use cvm::{
    CvmView, FailureView, GatewayView, LogUrlsView, OnchainView, OperationView, OsView, PersonView,
    PublicUrl, TenantView, WaitingView,
};
pub use domain::{CaaView, DnsRecordView, DomainView, RecordType};
pub use instance_id::{InstanceIdView, InstanceIdsView};
pub use kms::{KmsContractView, KmsView, PHALA_CONTRACT, contracts};
pub use network::{FirewallView, NetworkConfigView, PortView};
pub use node::{NodeGatewayView, NodeRefView, NodeView};
pub use operation::{
    CauseView, OperationEventView, OperationRecordView, OperationStatusView, StepView,
};
pub use provision::ProvisionView;
pub use revision::{
    FieldDiffView, Origin, PendingPreviewView, PendingView, RedeployView, RevisionDetailView,
    RevisionDiffView, RevisionView,
};
pub use update::{ComposeProvisionView, Effect, EnvReport as EnvReportView, UpdateView};
