//! The client against a server that misbehaves.

mod calls;
mod server;
mod watching;
