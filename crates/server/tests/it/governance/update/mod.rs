//! Updates and replicas of apps that contracts govern: what is told to register, how it is confirmed,
//! and everything that may come in between.

use crate::common;
mod log;
mod machines;
mod page;
mod phases;
mod queue;
mod races;
mod stage;
mod tokens;
