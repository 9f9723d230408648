//! Nodes: a fleet with bad hosts, the registry, what an operator does.

mod bad_hosts;
mod outage;
mod registry;
mod stage;
