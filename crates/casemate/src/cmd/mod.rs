//! The user's commands: each reads or changes something through the API and shows what came of it.

pub mod apps;
pub mod cvms;
#[cfg(feature = "onchain")]
pub mod deploy;
pub mod governance;
pub mod images;
pub mod kms;
pub mod nodes;
pub mod replicas;
pub mod sizes;
pub mod workspace;
