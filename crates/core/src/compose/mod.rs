//! The document a guest boots ([`app_compose`]) and a read-only look into the user's compose file
//! ([`docker`]), whose text is hashed and sent as it came and never written anew.
//!
//! | module | what it does |
//! |---|---|
//! | [`yaml`] | text → documents, each value with its line |
//! | [`merge`], [`extends`] | documents and services → one file, as compose merges them |
//! | [`schema`], [`check`] | what is wrong: keys and kinds of values; files, names, circles |
//! | [`template`], [`ports`] | variables in values; published ports |
//! | [`problem`] | what is wrong, in words |

pub mod app_compose;
mod check;
pub mod docker;
mod extends;
mod merge;
mod ports;
pub mod problem;
mod schema;
pub mod template;
mod units;
pub mod yaml;

pub use app_compose::{
    AppCompose, ComposeError, ComposeInput, Facts, MAX_COMPOSE_BYTES, Reason, hash,
};
pub use check::is_optional;
pub use merge::merge_documents;
