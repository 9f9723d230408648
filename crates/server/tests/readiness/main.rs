//! Balancing, readiness and draining, over guests that are real HTTP servers.

#![expect(clippy::unwrap_used, reason = "a test ends where its world is not as it must be")]

#[path = "../common/mod.rs"]
mod common;

#[cfg(test)]
mod checks;
#[cfg(test)]
mod declared;
#[cfg(test)]
mod drain;
mod guest;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod retry;
mod stage;
#[cfg(test)]
mod steady;
