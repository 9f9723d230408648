//! Nodes: a fleet with bad hosts, the registry, what an operator does.

mod bad_hosts;
mod drift;
mod dstack_kms;
mod dstack_node;
mod fleet;
pub mod kms_stage;
mod moving;
mod outage;
mod registry;
mod stage;
