//! Offline verification of what runs inside a confidential VM.
//!
//! Nothing here reads a clock, a file or the network: the time, the roots of trust and the evidence are arguments.

#[cfg(feature = "simulate")]
pub mod simulate;
