//! The recorded status of a CVM, and what a node shows of it. After a timeout the outcome is *unknown*;
//! [`EngineState::Creating`] represents that.

use serde::{Deserialize, Serialize};

use super::service::{FaultKind, ServiceFault};
use crate::{
    id::{ComposeHash, EngineVmId, InstanceId},
    time::Timestamp,
};

/// The status of a CVM between two turns of its reconciler. Stored as JSON in `cvms.status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether the node has a VM for this CVM.
    pub engine: EngineState,
    /// Number of that VM; compare [`super::DesiredState::vm`].
    #[serde(default = "first")]
    pub vm: i64,
    /// Generation of the last configuration that the node received completely.
    pub pushed: i64,
    /// What that configuration boots. `None`: nothing was pushed, or by a version that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed_boot: Option<BootIdentity>,
    /// Generation that was last sent to the node, whatever the outcome.
    #[serde(default)]
    pub offered: i64,
    /// Number of the last requested boot; compare [`super::DesiredState::run`].
    pub run: i64,
    /// A stop or shutdown in progress.
    #[serde(default)]
    pub stopping: Option<Stopping>,
    /// Deadline for in-flight requests before the guest is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drains_until: Option<Timestamp>,
    /// Whether the clusters of dstack-gateway that lead to it send it requests for its app.
    #[serde(default, skip_serializing_if = "Rotation::is_in")]
    pub rotation: Rotation,
    /// Deadline of the boot in progress.
    #[serde(default)]
    pub boot_until: Option<Timestamp>,
    /// Failed calls of the current step.
    #[serde(default)]
    pub attempts: u32,
    /// The last observation of the VM.
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
    /// The status of a new CVM.
    pub const fn new() -> Self {
        Self {
            engine: EngineState::Absent,
            vm: 1,
            pushed: 0,
            pushed_boot: None,
            offered: 0,
            run: 0,
            stopping: None,
            drains_until: None,
            rotation: Rotation::In,
            boot_until: None,
            attempts: 0,
            observed: None,
            failure: None,
        }
    }
}

/// What Casemate has set for an instance at its clusters of dstack-gateway. They keep it over a restart of the
/// guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// Nothing, or the instance was taken in again.
    #[default]
    In,
    /// The instance is about to be taken out: some clusters may have done so.
    Leaving,
    /// Every cluster was asked to take it out.
    Out,
    /// No cluster knew the instance when it was to be taken out, so nothing is set.
    Absent,
}

impl Rotation {
    /// Whether nothing keeps requests away.
    #[must_use]
    pub const fn is_in(&self) -> bool {
        matches!(self, Self::In)
    }
}

impl Default for Status {
    fn default() -> Self {
        Self::new()
    }
}

/// What a guest boots, as its attestation shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootIdentity {
    /// The app-compose document.
    pub compose_hash: ComposeHash,
    /// The node's name of the OS image.
    pub image: String,
}

/// Whether the node has a VM for this CVM, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum EngineState {
    /// Never requested, or refused by the node.
    Absent,
    /// Requested with unknown outcome: observe until the deadline, then request again.
    Creating {
        /// After this time a VM from the lost call no longer appears.
        until: Timestamp,
        /// Generation of the configuration in the request.
        generation: i64,
    },
    /// The node has the VM.
    Present {
        /// The node's id of the VM.
        vm: EngineVmId,
    },
}

/// A stop or shutdown in progress; the deadline is data, not a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// Then the VM is powered off, or the operation fails.
    pub until: Timestamp,
    /// Whether it is a power-off instead of a request to the guest.
    pub forced: bool,
    /// Whether the node has confirmed the call; until then it is repeated.
    #[serde(default)]
    pub sent: bool,
}

/// Why an operation failed; kept with the CVM until the next operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: FailureCode,
    /// Message of the node or guest, one line.
    pub cause: String,
    /// When it was recorded.
    pub at: Timestamp,
    /// Whether it was a failed change that was rolled back.
    #[serde(default)]
    pub rolled_back: bool,
}

/// Kinds of failure that clients may distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The node refused the configuration.
    Refused,
    /// The guest reported that it cannot boot.
    BootFailed,
    /// The guest did not finish its boot in time.
    BootTimeout,
    /// The guest did not shut down in time and force was not allowed.
    ShutdownTimeout,
    /// The VM is no longer on its node, and its disk is lost.
    VmLost,
    /// Two VMs have this CVM's mark and neither can be removed safely.
    DuplicateVm,
    /// The node did not execute a call in all allowed attempts.
    NodeUnavailable,
    /// The operator gave the node up.
    NodeGivenUp,
    /// A queued change no longer fits the configuration that came in force before it.
    NotApplicable,
    /// The app's contracts do not allow it to boot.
    NotAllowed,
    /// The chain of the contracts did not answer in time.
    ChainUnavailable,
    /// The KMS gave the guest no keys, because its webhook denied them ([`crate::boot_auth`]).
    KeyRefused,
}

impl FailureCode {
    /// Whether a change that failed this way can be rolled back.
    pub const fn allows_rollback(self) -> bool {
        !matches!(self, Self::VmLost | Self::DuplicateVm | Self::NotApplicable | Self::NodeGivenUp)
    }

    /// The code in JSON.
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
            Self::KeyRefused => "key_refused",
        }
    }
}

/// The result of observing a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// The node did not answer. This does not mean that there is no VM.
    Unreachable,
    /// All VMs with this CVM's mark, oldest first.
    Vms(Vec<ObservedVm>),
}

/// A VM as its node shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedVm {
    /// The node's id.
    pub id: EngineVmId,
    /// Wanted and actual power, as dstack-vmm reports them.
    pub power: VmPower,
    /// Boot progress of the guest.
    pub boot: Boot,
    /// The last boot error; sticky on dstack, so not conclusive by itself.
    #[serde(default)]
    pub boot_error: Option<String>,
    /// Progress of a graceful shutdown.
    #[serde(default)]
    pub shutdown_progress: Option<String>,
    /// `None` until the guest has reported it, and for apps without one.
    #[serde(default)]
    pub instance_id: Option<InstanceId>,
    /// When the VM was last started, if known.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it last exited by itself, if known.
    #[serde(default)]
    pub exited_at: Option<Timestamp>,
    /// Faulty services, ordered by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<ServiceFault>,
    /// The TCP ports that are actually published, ascending, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Vec<u16>>,
}

impl ObservedVm {
    /// The part that users see; a difference is an event.
    pub fn shows(&self) -> VisibleState {
        let faults = self.faults.iter().map(|one| (one.service.clone(), one.kind.clone()));
        let booted = if self.power == VmPower::Running { self.boot.is_done() } else { None };
        VisibleState { power: self.power, booted, faults: faults.collect() }
    }

    /// What is known of the VM now, when this was known before: a node that forgot the boot of a VM that is still up
    /// does not undo it.
    #[must_use]
    pub fn after(self, before: Option<&Self>) -> Self {
        match before {
            Some(before)
                if self.boot == Boot::Unknown
                    && (self.id == before.id)
                    && (self.power, before.power) == (VmPower::Running, VmPower::Running) =>
            {
                Self { boot: before.boot.clone(), ..self }
            }
            _ => self,
        }
    }
}

/// The part of a VM's state that users see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VisibleState {
    pub power: VmPower,
    /// Whether its boot is done; `None`: it is not up, or the node does not know.
    pub booted: Option<bool>,
    /// Its faulty services.
    pub faults: Vec<(String, FaultKind)>,
}

impl VisibleState {
    /// Whether a VM that shows this is not as it was recorded. A node that does not know the boot says nothing of it.
    #[must_use]
    pub fn differs(&self, recorded: &Self) -> bool {
        self.power != recorded.power
            || self.faults != recorded.faults
            || (self.booted.is_some() && self.booted != recorded.booted)
    }
}

/// Wanted and actual power of a VM (dstack-vmm `status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmPower {
    /// Wanted and running.
    Running,
    /// Wanted, not running.
    Exited,
    /// Not wanted, still running.
    Stopping,
    /// Not wanted, not running.
    Stopped,
    /// Being removed with its disk.
    Removing,
}

/// Boot progress of a running VM's guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boot {
    /// Unknown to the node, for example after its restart.
    Unknown,
    /// In progress, in the guest's words (`starting containers`).
    Progress(String),
    /// The containers were started.
    Done,
    /// The guest cannot boot; the cause.
    Failed(String),
}

impl Boot {
    /// `boot_progress` on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unknown => "",
            Self::Progress(text) => text,
            Self::Done => "done",
            Self::Failed(_) => "failed",
        }
    }

    /// Whether it is done; `None`: the node does not know.
    #[must_use]
    pub const fn is_done(&self) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::Progress(_) | Self::Failed(_) => Some(false),
            Self::Done => Some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(power: VmPower, boot: Boot) -> ObservedVm {
        ObservedVm {
            id: EngineVmId("v".to_owned()),
            power,
            boot,
            boot_error: None,
            shutdown_progress: None,
            instance_id: None,
            started_at: None,
            exited_at: None,
            faults: Vec::new(),
            published: None,
        }
    }

    /// A dstack-vmm forgets every boot when it restarts; its VMs stay up.
    #[test]
    fn a_node_that_forgot_a_boot_does_not_undo_it() {
        let done = vm(VmPower::Running, Boot::Done);
        let forgot = vm(VmPower::Running, Boot::Unknown);
        let booting = vm(VmPower::Running, Boot::Progress("booting".to_owned()));
        let exited = vm(VmPower::Exited, Boot::Unknown);
        assert!(!forgot.shows().differs(&done.shows()));
        assert_eq!(forgot.clone().after(Some(&done)).boot, Boot::Done);
        for (now, before) in
            [(&booting, &done), (&done, &booting), (&done, &forgot), (&exited, &done)]
        {
            assert!(now.shows().differs(&before.shows()), "{now:?} after {before:?}");
            assert_eq!(now.clone().after(Some(before)), *now);
        }
        assert_eq!(forgot.clone().after(Some(&exited)), forgot, "it was down in between");
        assert_eq!(forgot.clone().after(None), forgot);
    }
}
