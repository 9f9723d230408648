//! Readiness of instances, decided from values: the declared check ([`Check`]), its results so far
//! ([`Health`]), the choice among instances ([`choose`]), and how long a stop waits for in-flight requests
//! ([`drains_until`], [`next_drain`]). The gateway performs checks and sends requests.

mod check;
mod choice;
mod drain;
mod health;
mod label;

pub use check::{Check, InvalidCheck};
pub use choice::{Candidate, choose};
pub use drain::{Clusters, Drain, HARD_PATIENCE, drains_until, next_drain};
pub use health::{Health, Verdict};
pub use label::{InvalidLabel, Labels};
