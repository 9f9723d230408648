//! The real binary, killed: at every recorded step on a simulated host ([`matrix`]), and in mid-deploy
//! on a real engine ([`docker`]).

mod case;
mod docker;
mod instance;
mod matrix;
