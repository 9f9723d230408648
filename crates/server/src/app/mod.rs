//! Use cases: one file per noun. Each is a transaction script that works for one [`Caller`]; none
//! knows HTTP, and none but a stream of logs talks to a node.

pub mod about;
pub mod account;
pub mod app_facts;
pub mod approval;
pub mod attestation;
pub mod boot_auth;
pub mod cache;
pub mod catalogue;
pub mod commit;
pub mod ctx;
pub mod cvms;
pub mod directory;
pub mod domains;
pub mod error;
pub mod events;
pub mod fleet;
pub mod fleet_admin;
pub mod gateway_admin;
pub mod gateway_auth;
pub mod gateways;
pub mod governance;
pub mod instance_ids;
pub mod kms;
pub mod kms_admin;
pub mod logs;
pub mod moving;
pub mod mutation;
pub mod network;
pub mod node_admin;
pub mod operations;
pub mod power;
pub mod provision;
pub mod readiness;
pub mod replicate;
pub mod revisions;
pub mod ssh_keys;
pub mod update;
pub mod views;
pub mod webhooks;

pub use ctx::{Caller, Ctx};
pub use error::Error;
