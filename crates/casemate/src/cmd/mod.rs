//! The client commands: each calls the API and prints the result.

pub mod apps;
pub mod attest;
pub mod audit;
pub mod cvms;
#[cfg(feature = "onchain")]
pub mod deploy;
pub mod governance;
pub mod images;
pub mod keys;
pub mod kms;
pub mod nodes;
pub mod replicas;
pub mod sizes;
pub mod ssh_keys;
pub mod templates;
pub mod verify;
pub mod webhooks;
pub mod workspace;
