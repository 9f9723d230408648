//! Reconcilers: bring the nodes to the desired states. Requests do not call anything here; they only wake the
//! [`driver`].

mod boot_check;
pub mod cvm;
pub mod driver;
pub mod evidence;
pub mod janitor;
pub mod reorg_watch;
pub mod webhook_delivery;
