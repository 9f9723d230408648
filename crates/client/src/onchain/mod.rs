//! Apps that contracts govern, from the side of whoever owns them: reading the contracts, and sending
//! transactions that are signed here.
//!
//! | where | what |
//! |---|---|
//! | [`Rpc`] | an endpoint of a chain; which chain it serves is checked before anything else |
//! | [`Key`] | an account's private key; it signs, and cannot be read back |
//! | [`Rpc::prepare`], [`Rpc::send`], [`Rpc::mined`] | a transaction: tried, priced, signed, waited for |
//! | [`Overview`] | what the contracts say of an app |
//! | [`crate::Required`] | what a server says has to be allowed first (HTTP 465) |
//!
//! What it promises: the key leaves this process in no form; what would revert, or what the account
//! cannot pay, is not signed; a transaction whose sending had no answer is looked for by its hash, which is
//! known before it is sent, and never sent again with another nonce; addresses of endpoints, which may
//! hold keys of their own, are in no error (their hosts are).
//!
//! Deliberately absent: alloy's provider. JSON-RPC goes through the same HTTP client as everything else, so
//! there is one TLS stack and one place for timeouts.

mod error;
mod key;
mod overview;
mod rpc;
mod send;

pub use error::ChainError;
pub use key::{Key, KeyError, secret_file};
pub use overview::{Overview, deployed_app};
pub use rpc::{Rpc, hex0x, well_known};
pub use send::{Mined, Prepared};
