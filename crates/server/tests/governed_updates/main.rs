//! Updates and replicas of apps that contracts govern: what is told to register, how it is confirmed,
//! and everything that may come in between.

#![expect(clippy::unwrap_used, reason = "tests panic, their helpers too")]

#[path = "../common/mod.rs"]
mod common;
mod log;
mod machines;
mod page;
mod phases;
mod queue;
mod races;
mod stage;
mod tokens;
