//! Reconcilers: make the world match the desired states. Nothing here is called by a request; a request only
//! wakes the [`driver`].

mod boot_check;
pub mod cvm;
pub mod driver;
pub mod janitor;
pub mod reorg_watch;
