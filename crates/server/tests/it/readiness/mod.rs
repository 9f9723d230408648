//! Balancing, readiness and draining, over guests that are real HTTP servers.

use crate::common;

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
