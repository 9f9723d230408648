//! The client against a server that misbehaves.

mod calls;
mod replicas;
#[cfg(test)] // says clippy.toml: may unwrap
mod server;
mod updates;
mod watching;
