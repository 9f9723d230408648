//! One CVM: what it should be ([`spec`]), what was last known of it ([`status`]) and the word users
//! see ([`mod@phase`]).

pub mod phase;
pub mod spec;
pub mod status;

pub use phase::{Phase, phase, serves};
pub use spec::{DesiredState, GpuAttach, Gpus, PortMap, Power, Resources, Spec, StopMode};
pub use status::{
    Boot, EngineState, Failure, FailureCode, Observed, ObservedVm, Status, Stopping, VmPower,
};
