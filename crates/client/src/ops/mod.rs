//! Every route as a method, one file per noun. Identifiers are text: `cvm_…`, UUID, `app_…`, instance id,
//! integer or name, as far as the server accepts them.

mod account;
mod approval;
mod apps;
mod attestation;
mod audit;
mod catalogue;
mod cvms;
mod deploy;
mod governance;
mod guest;
mod instance_ids;
mod kms;
mod network;
mod node_admin;
mod operations;
mod ownership;
mod people;
mod power;
mod quotas;
mod readiness;
mod replicas;
mod revisions;
mod ssh_keys;
mod update;
mod webhooks;
mod workspace;

pub use apps::AppsQuery;
pub use audit::AuditQuery;
pub use cvms::CvmsQuery;
pub use operations::OperationsQuery;
pub use update::EnvGuard;
