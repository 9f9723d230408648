//! The Rust SDK of Casemate, and of Phala Cloud, whose API it speaks.
//!
//! | where | what |
//! |---|---|
//! | [`Client`] | every route as a typed method; see the source files in `ops/` |
//! | [`Client::wait_for_operation`] | one change to its end: done, or [`OperationFailed`] with the cause |
//! | [`Watch`], [`Client::wait`] | the state of a CVM as it changes, over lost connections |
//! | [`LogStream`] | the output of a CVM's containers (Casemate only) |
//! | [`seal_env`], [`dotenv`] | environment variables from a file to what may leave this machine |
//! | `onchain` (a feature) | reading contracts that govern apps, and transactions signed here |
//! | [`Error`] | what went wrong, for programs and for people; never contains the API key |
//!
//! What it promises: a redirect is never followed (it would carry the key away); a request that
//! changes something is repeated only after an answer that says it was not done, and always under
//! the same `Idempotency-Key`; every loop has a bound.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = casemate_client::Client::new("http://127.0.0.1:8090/api/v1", "phak_…".into())?;
//! for cvm in client.all_cvms().await? {
//!     assert!(!cvm.name.is_empty());
//! }
//! # Ok(())
//! # }
//! ```

mod builder;
pub mod dotenv;
mod entropy;
mod env;
mod error;
mod http;
mod logs;
#[cfg(feature = "onchain")]
pub mod onchain;
mod operation;
mod ops;
mod path;
mod required;
mod retry;
mod sse;
mod wait;
mod watch;

pub use builder::{BuildError, Builder};
pub use entropy::OsEntropy;
pub use env::{SealEnvError, seal_env};
pub use error::{ApiError, Error, TransportKind};
pub use http::Client;
pub use logs::LogStream;
pub use operation::{OperationFailed, RolledBack};
pub use ops::{AppsQuery, CvmsQuery, EnvGuard, OperationsQuery};
pub use required::Required;
pub use retry::Policy;
pub use wait::Ended;
pub use watch::{Watch, WatchEvent};
