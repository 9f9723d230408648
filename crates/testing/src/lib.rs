//! Helpers shared by several test suites. A dev-dependency only; no shipped code uses it.
//!
//! | module | contents | feature |
//! |---|---|---|
//! | [`clock`] | a clock that a test moves | |
//! | `database` | a fresh database of either kind, `each_backend!` | `database` |
//! | `fake_chain` | a chain in memory, and an endpoint of it with faults on demand | `chain` |
//! | `anvil` | a chain on a real EVM | `chain` |
//! | `dns` | DNS records set by a test | `world` |
//! | [`wait`] | polling with a deadline | |
//! | `world` | a whole service: router, store, simulated nodes | `world` |
//!
//! Unit tests inside `core`, `store`, `engine` and `server` cannot use this crate: it is built against the
//! crate without its tests, so the types differ.

#[cfg(feature = "chain")]
pub mod anvil;
pub mod clock;
#[cfg(feature = "database")]
pub mod database;
#[cfg(feature = "world")]
pub mod dns;
#[cfg(feature = "chain")]
pub mod fake_chain;
pub mod wait;
#[cfg(feature = "world")]
pub mod world;
