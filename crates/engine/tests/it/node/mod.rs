//! Nodes.

mod docker;
mod inventory;
