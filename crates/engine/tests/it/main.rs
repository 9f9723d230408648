//! The engine against what it drives: chains over JSON-RPC and a container engine. What is missing for a test
//! is named when it fails.
//!
//! | module | what it shows |
//! |---|---|
//! | [`chain`] | contracts on a chain in memory and on anvil |
//! | [`node`] | the docker node |

#[cfg(test)] // clippy.toml allows unwrap there
mod chain;
#[cfg(test)]
mod node;
