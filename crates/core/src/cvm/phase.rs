//! The one word about a CVM that users see.

use serde::{Deserialize, Serialize};

use super::{Power, Status, VmPower, status::EngineState};
use crate::operation::OperationKind;

/// `status` on the wire (DESIGN §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// On the way up.
    Starting,
    /// Up, boot finished.
    Running,
    /// Being powered off or removed.
    Stopping,
    /// Asked to shut down by itself.
    ShuttingDown,
    /// Down and up again.
    Restarting,
    /// Changed, and down and up again if need be.
    Updating,
    /// Down, data kept.
    Stopped,
    /// Not what was wished, and nothing under way.
    Error,
    /// Gone.
    Deleted,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::ShuttingDown,
        Self::Restarting,
        Self::Updating,
        Self::Stopped,
        Self::Error,
        Self::Deleted,
    ];

    /// The phase of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == word)
    }

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::ShuttingDown => "shutting_down",
            Self::Restarting => "restarting",
            Self::Updating => "updating",
            Self::Stopped => "stopped",
            Self::Error => "error",
            Self::Deleted => "deleted",
        }
    }
}

/// The phase of a CVM from its wish, what is recorded of it and the operation under way, if any.
///
/// While an operation is open the phase is the operation's: a new CVM is `starting` even while its
/// VM is still stopped on the node, because clients take `stopped` for failure.
#[must_use]
pub fn phase(power: Power, status: &Status, open: Option<OperationKind>) -> Phase {
    if let Some(kind) = open {
        return kind.phase();
    }
    let seen = status.seen.as_ref().map(|vm| vm.power);
    match (power, seen) {
        (Power::Deleted, _) => Phase::Deleted,
        (Power::Running, _) if status.failure.as_ref().is_some_and(|why| !why.rolled_back) => {
            Phase::Error
        }
        (Power::Running | Power::Stopped, Some(VmPower::Running)) => Phase::Running,
        (Power::Running, _) | (Power::Stopped, Some(VmPower::Removing)) => Phase::Error,
        (Power::Stopped, None) if matches!(status.engine, EngineState::Present { .. }) => {
            Phase::Error
        }
        (Power::Stopped, _) => Phase::Stopped,
    }
}
