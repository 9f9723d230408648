//! The document a guest boots ([`app_compose`]) and a read-only look into the user's compose file
//! ([`docker`]), whose text is hashed and sent as it came and never written anew.

pub mod app_compose;
pub mod docker;

pub use app_compose::{
    AppCompose, ComposeError, ComposeInput, Facts, MAX_COMPOSE_BYTES, Reason, hash,
};
