//! What several test suites share. A dev-dependency only; nothing that is shipped uses it.
//!
//! | module | what it has | feature |
//! |---|---|---|
//! | [`clock`] | a clock that moves when told to | |
//! | `database` | a fresh database of either engine, `each_backend!` | `database` |
//! | `fake_chain` | a chain in memory, and an endpoint of it that misbehaves on demand | `chain` |
//! | `anvil` | a chain on a real EVM | `chain` |
//! | `dns` | DNS records that a test sets | `world` |
//! | [`wait`] | waiting for something that happens elsewhere | |
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
