//! Nodes.

mod docker;
