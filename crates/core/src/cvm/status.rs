//! Fact: what was last recorded of a CVM and what a node shows when it is looked at. After a
//! time-out the truth is *unknown*, and [`EngineState::Creating`] is the value that says so.

use serde::{Deserialize, Serialize};

use super::service::{FaultKind, ServiceFault};
use crate::{
    id::{EngineVmId, InstanceId},
    time::Timestamp,
};

/// What is recorded of a CVM between two turns of its reconciler. Stored as JSON in `cvms.status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether the node has a VM for this CVM.
    pub engine: EngineState,
    /// Which VM that is or is going to be; compare [`super::DesiredState::vm`].
    #[serde(default = "first")]
    pub vm: i64,
    /// Generation whose whole configuration the node was given last.
    pub pushed: i64,
    /// Generation that the node was offered last, whatever came of it.
    #[serde(default)]
    pub offered: i64,
    /// Number of the boot that was asked for last; compare [`super::DesiredState::run`].
    pub run: i64,
    /// A stop or shutdown under way.
    #[serde(default)]
    pub stopping: Option<Stopping>,
    /// Requests under way are waited for until then, before the guest is brought down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drains_until: Option<Timestamp>,
    /// When the boot under way must be done.
    #[serde(default)]
    pub boot_until: Option<Timestamp>,
    /// Calls of the present step that led nowhere.
    #[serde(default)]
    pub attempts: u32,
    /// The VM as it was last seen.
    #[serde(default, rename = "seen")]
    pub observed: Option<ObservedVm>,
    /// Why the last operation failed; cleared by the next one.
    #[serde(default)]
    pub failure: Option<Failure>,
}

const fn first() -> i64 {
    1
}

impl Status {
    /// Nothing is known and nothing was tried.
    pub const fn new() -> Self {
        Self {
            engine: EngineState::Absent,
            vm: 1,
            pushed: 0,
            offered: 0,
            run: 0,
            stopping: None,
            drains_until: None,
            boot_until: None,
            attempts: 0,
            observed: None,
            failure: None,
        }
    }
}

impl Default for Status {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the node has a VM for this CVM, as far as we know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum EngineState {
    /// Never asked for one, or the node said no.
    Absent,
    /// Asked for one and do not know the outcome: look until the deadline, then ask again.
    Creating {
        /// When a VM that has not shown up will not show up any more.
        until: Timestamp,
        /// Generation of the configuration that was sent along.
        generation: i64,
    },
    /// The node has it under this id.
    Present {
        /// The node's id.
        vm: EngineVmId,
    },
}

/// A stop or shutdown under way; the deadline is data, not a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// When the VM is forced, or the operation fails.
    pub until: Timestamp,
    /// Whether it is a power-off, not a request to the guest.
    pub forced: bool,
    /// Whether the node is known to have taken the call; until then it is repeated.
    #[serde(default)]
    pub sent: bool,
}

/// Why an operation failed; kept with the CVM until the next operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure.
    pub code: FailureCode,
    /// What the node or guest said, in one line.
    pub cause: String,
    /// When it was recorded.
    pub at: Timestamp,
    /// It was a change that did not work, and the CVM went back to what it was before.
    #[serde(default)]
    pub rolled_back: bool,
}

/// Kinds of failure a client program may want to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The node refused the configuration.
    Refused,
    /// The guest said that it cannot boot this.
    BootFailed,
    /// The guest did not report a finished boot in time.
    BootTimeout,
    /// The guest did not go down in time and force was not allowed.
    ShutdownTimeout,
    /// The VM is no longer on its node, and its disk with it.
    VmLost,
    /// Two VMs carry this CVM's mark and neither may be removed safely.
    DuplicateVm,
    /// The node did not carry out a call after all allowed attempts.
    NodeUnavailable,
    /// The node was given up by its operator, and its VMs with it.
    NodeGivenUp,
    /// A queued change no longer fits the configuration that came into force before its turn.
    NotApplicable,
    /// The contracts that govern the app do not allow it to boot.
    NotAllowed,
    /// The chain of those contracts did not answer in time.
    ChainUnavailable,
}

impl FailureCode {
    /// Whether the configuration from before the change that failed can be gone back to.
    pub const fn leads_back(self) -> bool {
        !matches!(self, Self::VmLost | Self::DuplicateVm | Self::NotApplicable | Self::NodeGivenUp)
    }

    /// The code as it is written in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::BootFailed => "boot_failed",
            Self::BootTimeout => "boot_timeout",
            Self::ShutdownTimeout => "shutdown_timeout",
            Self::VmLost => "vm_lost",
            Self::DuplicateVm => "duplicate_vm",
            Self::NodeUnavailable => "node_unavailable",
            Self::NodeGivenUp => "node_given_up",
            Self::NotApplicable => "not_applicable",
            Self::NotAllowed => "not_allowed",
            Self::ChainUnavailable => "chain_unavailable",
        }
    }
}

/// What a look at the node showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// The node could not be asked. Not the same as: there is no VM.
    Unreachable,
    /// Every VM that carries this CVM's mark, the oldest first.
    Vms(Vec<ObservedVm>),
}

/// One VM as its node shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedVm {
    /// The node's id.
    pub id: EngineVmId,
    /// Wanted and actual power, as dstack-vmm tells them.
    pub power: VmPower,
    /// How far the guest is.
    pub boot: Boot,
    /// Last boot error text; sticky on dstack, so not a verdict by itself.
    #[serde(default)]
    pub boot_error: Option<String>,
    /// Progress of a graceful shutdown.
    #[serde(default)]
    pub shutdown_progress: Option<String>,
    /// Known once the guest has told it; `None` before, and for apps without one.
    #[serde(default)]
    pub instance_id: Option<InstanceId>,
    /// When the VM was last started, if the node knows.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it last exited by itself, if the node knows.
    #[serde(default)]
    pub exited_at: Option<Timestamp>,
    /// Services that do not do what they should, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<ServiceFault>,
    /// The TCP ports that it really publishes, ascending, if the node knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Vec<u16>>,
}

impl ObservedVm {
    /// What users see of it: a difference is an event.
    pub fn shows(&self) -> Shows {
        let faults = self.faults.iter().map(|one| (one.service.clone(), one.kind.clone()));
        Shows { power: self.power, faults: faults.collect() }
    }
}

/// What users see of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shows {
    /// Its power.
    pub power: VmPower,
    /// Its services that do not do what they should.
    pub faults: Vec<(String, FaultKind)>,
}

/// Wanted × actual power of a VM (dstack-vmm `status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmPower {
    /// Wanted and alive.
    Running,
    /// Wanted, not alive.
    Exited,
    /// Not wanted, still alive.
    Stopping,
    /// Not wanted, not alive.
    Stopped,
    /// Being removed with its disk.
    Removing,
}

/// How far the guest of a running VM is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boot {
    /// The node does not know, for example after it was restarted.
    Unknown,
    /// On the way; the text is the guest's own (`starting containers`).
    Progress(String),
    /// The containers were started.
    Done,
    /// The guest will not come up by itself; why.
    Failed(String),
}

impl Boot {
    /// The word in `boot_progress` on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unknown => "",
            Self::Progress(text) => text,
            Self::Done => "done",
            Self::Failed(_) => "failed",
        }
    }
}
