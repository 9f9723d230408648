//! What the chores share.

pub mod server;
pub mod stage;
