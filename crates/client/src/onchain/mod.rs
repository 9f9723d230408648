//! Client side of contract-governed apps: reads contracts, and sends transactions that are signed locally.
//!
//! | item | contents |
//! |---|---|
//! | [`Rpc`] | an endpoint of a chain; its chain id is checked first |
//! | [`Key`] | an account's private key; it signs, and cannot be read back |
//! | [`Rpc::prepare`], [`Rpc::send`], [`Rpc::mined`] | a transaction: simulate, price, sign, wait |
//! | [`Rpc::settled`], [`Rpc::deployments`] | what an account has sent already |
//! | [`Overview`] | the state of an app's contracts |
//! | [`crate::ApprovalRequired`] | what a server says must be allowed first (HTTP 465) |
//!
//! Guarantees: the key never leaves this process; a transaction that would revert, or that the account cannot
//! pay, is not signed; if sending gets no response, the transaction is looked up by its hash, which is known
//! before it is sent, and never sent again with another nonce; errors name hosts of endpoints, not their
//! URLs, which may contain keys.
//!
//! Absent on purpose: alloy's provider. JSON-RPC uses the same HTTP client as everything else, so there is
//! one TLS stack and one place for timeouts.

mod earlier;
mod error;
mod key;
mod overview;
mod rpc;
mod send;

pub use earlier::Deployment;
pub use error::ChainError;
pub use key::{Key, KeyError, secret_file};
pub use overview::{Overview, deployed_app};
pub use rpc::{Rpc, hex0x, well_known};
pub use send::{Mined, Prepared};
