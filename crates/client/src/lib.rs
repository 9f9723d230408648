//! The Rust SDK of Casemate, and of Phala Cloud, which has the same API.
//!
//! | item | contents |
//! |---|---|
//! | [`Client`] | every route as a typed method; see the source files in `ops/` |
//! | [`Client::wait_for_operation`] | waits for the end of one operation: success, or [`OperationFailed`] with the cause |
//! | [`Watch`], [`Client::wait`] | the state of a CVM as it changes, across lost connections |
//! | [`LogStream`] | the logs of a CVM's containers (Casemate only) |
//! | [`seal_env`], [`dotenv`] | reads and seals environment variables |
//! | `onchain` (a feature) | reads contracts that govern apps, and signs transactions locally |
//! | [`Error`] | errors for programs and people; they never contain the API key |
//!
//! Guarantees: redirects are not followed, because they would forward the key; a request with side effects is
//! repeated only after a response that says it was not executed, and with the same `Idempotency-Key`; every
//! loop is bounded.
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
pub use ops::{AppsQuery, AuditQuery, CvmsQuery, EnvGuard, OperationsQuery};
pub use required::ApprovalRequired;
pub use retry::Policy;
pub use wait::WaitOutcome;
pub use watch::{Watch, WatchEvent};
