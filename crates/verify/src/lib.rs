//! Offline verification of what runs inside a confidential VM.
//!
//! [`verify`] takes a [`Bundle`] of evidence, a [`Policy`], the [`Roots`] of trust and a time, and returns one state
//! for each [`ClaimId`]: proven, failed or not shown. Nothing here reads a clock, a file or the network, so the same
//! code judges in a server, in a command and in a browser.
//!
//! | module | contents |
//! |---|---|
//! | [`bundle`] | the evidence (`docs/bundle.md`) |
//! | [`policy`] | what is accepted, and expected measurements |
//! | [`roots`] | Intel's and AMD's roots, development roots by name, keys of GPU tokens |
//! | [`claim`], [`reason`] | the result: claims, their states, reasons in plain words |
//! | [`event_log`] | the guest's event log and its replay |
//! | `tdx`, `snp`, `gpu`, `kms` | one kind of evidence each |
//! | [`simulate`] | quotes under a development root (feature `simulate`) |

pub mod bundle;
pub mod claim;
pub mod event_log;
mod gpu;
pub mod hexes;
mod kms;
pub mod policy;
pub mod reason;
pub mod roots;
#[cfg(feature = "simulate")]
pub mod simulate;
mod snp;
mod tdx;
mod verify;

pub use bundle::{Bundle, BundleError};
pub use claim::{Claim, ClaimId, Outcome, State, Verdict};
pub use policy::Policy;
pub use reason::{Missing, Reason};
pub use roots::Roots;
pub use verify::{Expected, compose_hash, report_data, verify};

pub use dcap_qvl::{QuoteCollateralV3, TcbStatus};
