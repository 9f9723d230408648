//! Doubles of dstack-vmm (its pRPC API over the simulated hosts of `casemate-engine`), of dstack-kms, and of
//! dstack-gateway (its admin API), in several versions. One process serves as many hosts as wanted, each under `/hosts/<n>`.
//!
//! It behaves as the real program was measured to behave, also where that is a trap: it answers success to
//! fields that it does not know, old builds write files before they check a request, `UpdateVm` returns a
//! hash and not the VM's id, every refusal of an old build is status 400. [`contract`] holds the double and a
//! real dstack-vmm to the same list.
//!
//! | file | contents |
//! |---|---|
//! | [`profile`] | what differs between versions |
//! | [`host`] | one host: its simulator, its token, its faults |
//! | [`gateway`] | a cluster of dstack-gateway |
//! | `methods` | the methods of `Vmm` and of the guest door |
//! | `http` | routes, authentication, forms of answers |
//! | [`kms`] | dstack-kms: real keys and signatures, and its faults |
//! | [`contract`] | what dstack-vmm does, as a list of checks over HTTP |
//!
//! Deliberately absent: protobuf bodies, the web console, images from a registry, real guests.

pub mod contract;
pub mod gateway;
pub mod host;
mod http;
pub mod kms;
mod methods;
pub mod profile;

pub use gateway::{GatewayDouble, GatewayFault, GatewayProfile, gateway_control, gateway_router};
pub use host::{Fault, Host};
pub use http::{control, router};
pub use kms::{KmsDouble, KmsFault, KmsProfile, kms_router};
pub use profile::Profile;
