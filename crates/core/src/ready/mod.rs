//! Whether an instance of an app takes requests, decided from values: what is declared ([`Check`]), what
//! looks have shown so far ([`Health`]), which instance gets a request ([`choose`]), and how long a stop
//! waits for those under way ([`drains_until`]). The gateway looks and sends; nothing here does.

mod check;
mod choice;
mod drain;
mod health;
mod label;

pub use check::{Check, InvalidCheck};
pub use choice::{Candidate, choose};
pub use drain::{HARD_PATIENCE, drains_until};
pub use health::{Health, Verdict};
pub use label::{InvalidLabel, Labels};
