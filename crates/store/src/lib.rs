//! The only crate of Casemate with SQL: SQLite and PostgreSQL behind one enum, with one SQL text and one test
//! suite.
//!
//! | module | contents |
//! |---|---|
//! | [`db`] | connections, transactions, group commit |
//! | [`accounts`] | users and workspaces, who a token speaks for |
//! | [`people`] | lists of them, members of workspaces |
//! | [`api_keys`], [`device_logins`], [`invitations`] | API keys, and how people come to them |
//! | [`nodes`] | nodes and their last inventory |
//! | [`drift`] | what nodes show and nobody wanted |
//! | [`kms`] | the KMS that the database is bound to |
//! | [`provisions`] | documents, app ids, prepared deployments |
//! | [`readiness`] | readiness checks of apps |
//! | [`cvms`] | desired state and status of every CVM, lists, look-ups |
//! | [`lease`] | leases of CVMs |
//! | [`left_vms`] | VMs that CVMs left on hosts that did not answer |
//! | [`operations`] | operations and the queue of changes |
//! | [`prepared`] | documents prepared for an update |
//! | [`commit_tokens`] | changes prepared for approval by contracts |
//! | [`revisions`] | configurations that were in force |
//! | [`events`] | the event log, with a cursor |
//! | [`app_ownership`] | whose an app that a contract is, and since which proof |
//! | [`audit`] | who did what |
//! | [`webhooks`] | webhooks, their deliveries |
//! | [`ssh_keys`] | public keys of users |
//! | [`evidence`] | what guests showed about themselves, and requests for it |
//! | [`key_decisions`] | which CVMs may have their keys, and what KMS were answered |
//! | [`idempotency`] | first responses by key |
//! | [`freshness`] | validity of cached reads |
//!
//! Rules (docs/database.md): every read-then-write is a compare-and-set on `generation` or `fence`; absence
//! is `Option`; error handling uses the kind of a constraint, never its name.

#[macro_use]
mod macros;

pub mod accounts;
pub mod api_keys;
pub mod app_ownership;
pub mod audit;
pub mod commit_tokens;
pub mod cvms;
pub mod db;
pub mod device_logins;
pub mod drift;
pub mod error;
pub mod events;
pub mod evidence;
pub mod freshness;
pub mod idempotency;
pub mod invitations;
pub mod key_decisions;
pub mod kms;
pub mod lease;
pub mod left_vms;
pub mod nodes;
pub mod operations;
pub mod people;
pub mod prepared;
pub mod proofs;
pub mod provisions;
pub mod readiness;
pub mod revisions;
pub mod ssh_keys;
pub mod webhooks;

pub use db::{Db, Tx};
pub use error::Error;
