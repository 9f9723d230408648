//! The binary, killed: at every recorded step on a simulated host, also behind the API of dstack-vmm
//! ([`matrix`]), during a deployment on a real container engine ([`docker`]), and between an event and its delivery
//! ([`webhook`]).

mod case;
mod docker;
mod hosts;
mod instance;
mod matrix;
mod webhook;
