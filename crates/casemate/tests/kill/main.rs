//! The real binary, killed: at every recorded step on a simulated host ([`matrix`]), and in mid-deploy
//! on a real engine ([`docker`]).

#![expect(clippy::expect_used, reason = "a test ends where its world is not as it must be")]

mod case;
mod docker;
mod instance;
mod matrix;
