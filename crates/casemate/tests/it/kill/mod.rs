//! The binary, killed: at every recorded step on a simulated host, also behind the API of dstack-vmm
//! ([`matrix`]), and during a deployment on a real container engine ([`docker`]).

mod case;
mod docker;
mod hosts;
mod instance;
mod matrix;
