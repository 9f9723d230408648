//! The double, and the driver against it over real sockets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod contract;
mod driver;
mod gateway;
mod kms;
mod stage;
