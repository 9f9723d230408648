//! Reconcilers: make the world match the wishes. Nothing here is called by a request; a request only
//! wakes the [`driver`].

pub mod cvm;
pub mod driver;
mod gate;
pub mod janitor;
pub mod nodes;
pub mod presence;
pub mod proofs;
