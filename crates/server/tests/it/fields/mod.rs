//! `docs/fields.md`, row by row: a value that is not the default is sent and looked for in the
//! document's bytes, in what the node received and in the replies, or is refused by name.
//!
//! | module | what it holds |
//! |---|---|
//! | [`table`] | reads the tables of the document |
//! | [`row`] | what a row's test is, and how it is run |
//! | [`provision_rows`], [`compose_rows`], [`commit_rows`] | the rows with an effect |
//! | [`refusals`] | the rows that are refused |
//! | [`complete`] | no field without a row, no row without a test |
//! | [`edges`] | names, lengths, defaults, unknown fields |
//! | [`identity`] | app ids and nonces |
//! | [`governed`] | what is said of contracts |
//! | [`repeat`] | the same request again, commits, capacity |
//! | [`placing`] | nodes of several kinds, images, regions |
//! | [`update`] | the same for changes of a CVM that is there |
//! | [`bytes`] | the hash is the hash of what the node boots |

use crate::common;

mod bytes;
mod commit_rows;
mod complete;
mod compose_rows;
mod edges;
mod governed;
mod identity;
mod placing;
mod provision_rows;
mod refusals;
mod repeat;
mod row;
mod table;
mod update;
