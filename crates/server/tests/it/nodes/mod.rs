//! Nodes: a fleet with bad hosts, the registry, what an operator does.

mod bad_hosts;
mod drift;
mod fleet;
mod outage;
mod registry;
mod stage;
