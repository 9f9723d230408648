//! One CVM: desired state ([`spec`]), recorded status ([`status`]) and the phase that users see
//! ([`mod@phase`]).

pub mod phase;
pub mod service;
pub mod spec;
pub mod status;

pub use phase::{Phase, phase, serves};
pub use service::{FaultKind, ServiceFault};
pub use spec::{DesiredState, GpuAttach, Gpus, PortMap, Power, Resources, Spec, StopMode};
pub use status::{
    Boot, BootIdentity, EngineState, Failure, FailureCode, Observed, ObservedVm, Rotation, Status,
    Stopping, VisibleState, VmPower,
};
