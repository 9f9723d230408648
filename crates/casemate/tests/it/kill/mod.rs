//! The real binary, killed: at every recorded step on a simulated host, also behind the API of dstack-vmm ([`matrix`]), and in mid-deploy
//! on a real engine ([`docker`]).

mod case;
mod docker;
mod instance;
mod matrix;
