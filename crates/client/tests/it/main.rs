//! The client against a faulty server.

mod approval;
mod calls;
#[cfg(test)]
#[cfg(feature = "onchain")]
mod onchain;
mod replicas;
mod revisions;
#[cfg(test)] // says clippy.toml: may unwrap
mod server;
mod updates;
mod watching;
