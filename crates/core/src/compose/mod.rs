//! The document that a guest boots ([`app_compose`]), and a read-only parser for the user's compose file
//! ([`docker`]), whose text is hashed and sent unchanged.
//!
//! | module | contents |
//! |---|---|
//! | [`yaml`] | parses text to documents, with the line of each value |
//! | [`merge`], [`extends`] | combines documents and services, as compose does |
//! | [`schema`], [`check`] | finds problems: keys and types of values; files, names, cycles |
//! | [`dependency_graph`] | cycles and the number of paths of dependencies |
//! | [`template`], [`ports`] | variables in values; published ports |
//! | [`problem`] | messages |

pub mod app_compose;
mod check;
mod dependency_graph;
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
pub use schema::read_switches;
