//! The only crate of Casemate with SQL: SQLite and PostgreSQL behind one enum, one SQL text, one
//! test suite.
//!
//! | module | rows |
//! |---|---|
//! | [`db`] | connections, transactions, group commit |
//! | [`accounts`] | users, workspaces, API keys |
//! | [`nodes`] | nodes as last seen |
//! | [`kms`] | which KMS the database belongs to |
//! | [`provisions`] | documents, app ids, prepared deployments |
//! | [`readiness`] | when instances of an app take requests |
//! | [`cvms`] | desired state and fact of every CVM, lists, look-ups |
//! | [`lease`] | who works on which CVM |
//! | [`operations`] | durable changes |
//! | [`prepared`] | documents prepared for an update |
//! | [`commit_tokens`] | what is prepared for contracts to allow |
//! | [`revisions`] | what was in force when |
//! | [`events`] | everything that happened, with a cursor |
//! | [`idempotency`] | first answers by key |
//! | [`freshness`] | whether what was read is still so |
//!
//! Rules (docs/database.md): every read-then-write is a compare-and-set on `generation` or `fence`;
//! absence is `Option`; the kind of a constraint decides, never its name.

#[macro_use]
mod macros;

pub mod accounts;
pub mod commit_tokens;
pub mod cvms;
pub mod db;
pub mod error;
pub mod events;
pub mod freshness;
pub mod idempotency;
pub mod kms;
pub mod lease;
pub mod nodes;
pub mod operations;
pub mod prepared;
pub mod proofs;
pub mod provisions;
pub mod readiness;
pub mod revisions;

pub use db::{Db, Tx};
pub use error::Error;
