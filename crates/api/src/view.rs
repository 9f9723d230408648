//! What the server fills in: plain facts, the same for every version of the API. [`crate::render`]
//! turns them into replies.
//!
//! Times are RFC 3339 in UTC, money is decimal text in USD, memory is MB (1024 of them a GB), disk
//! is GB. Everything here is already allowed to be seen by whoever asked.

mod account;
mod app;
mod catalogue;
mod cvm;
mod kms;
mod node;
mod provision;

pub use account::{CapacityView, CreditsView, UserRole, UserView, WorkspaceView};
pub use app::{AppProfileView, AppView};
pub use casemate_core::cvm::Phase;
pub use catalogue::{InstanceTypeView, OsImageView};
pub use cvm::{
    CvmView, FailureView, GatewayView, LogUrlsView, OnchainView, OperationView, OsView, PersonView,
    PublicUrl, TenantView,
};
pub use kms::{KmsContractView, KmsView, PHALA_CONTRACT, contracts};
pub use node::{NodeRefView, NodeView, Tee};
pub use provision::ProvisionView;
