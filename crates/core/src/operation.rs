//! Operations: durable changes of a CVM (`correlation_id`), one open at a time.

use serde::{Deserialize, Serialize};

use crate::cvm::{Phase, Power};

/// The kind of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// First boot of a new CVM.
    Create,
    Start,
    /// Power off immediately.
    Stop,
    /// Graceful shutdown.
    Shutdown,
    Restart,
    /// New configuration.
    Update,
    /// Return to the configuration before a failed or cancelled update.
    Rollback,
    /// Another node: a new VM with an empty disk.
    Move,
    /// Remove with all data.
    Delete,
}

impl OperationKind {
    pub const ALL: [Self; 9] = [
        Self::Create,
        Self::Start,
        Self::Stop,
        Self::Shutdown,
        Self::Restart,
        Self::Update,
        Self::Rollback,
        Self::Move,
        Self::Delete,
    ];

    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Shutdown => "shutdown",
            Self::Restart => "restart",
            Self::Update => "update",
            Self::Rollback => "rollback",
            Self::Move => "move",
            Self::Delete => "delete",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The phase while it is open.
    pub const fn phase(self) -> Phase {
        match self {
            Self::Create | Self::Start => Phase::Starting,
            Self::Stop | Self::Delete => Phase::Stopping,
            Self::Shutdown => Phase::ShuttingDown,
            Self::Restart => Phase::Restarting,
            Self::Update | Self::Rollback | Self::Move => Phase::Updating,
        }
    }

    /// `progress.target` on the wire: the phase in which it ends.
    pub const fn target(self, power: Power) -> Phase {
        match (self, power) {
            (Self::Create | Self::Start | Self::Restart, _)
            | (Self::Update | Self::Rollback | Self::Move, Power::Running) => Phase::Running,
            (Self::Stop | Self::Shutdown, _)
            | (Self::Update | Self::Rollback | Self::Move, Power::Stopped) => Phase::Stopped,
            (Self::Delete, _) | (Self::Update | Self::Rollback | Self::Move, Power::Deleted) => {
                Phase::Deleted
            }
        }
    }

    /// Whether it keeps the desired power, and a guest that was up comes up again.
    pub const fn keeps_power(self) -> bool {
        matches!(self, Self::Update | Self::Rollback | Self::Move)
    }

    /// Whether it changes the configuration and keeps the desired power.
    pub const fn is_configuration(self) -> bool {
        matches!(self, Self::Update | Self::Rollback)
    }
}

/// The state of an operation. It closes exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Queued behind another one of the same CVM.
    Pending,
    Running,
    Succeeded,
    /// The failure has the cause.
    Failed,
    /// A later desired state replaced it.
    Superseded,
    /// Cancelled by a user.
    Cancelled,
}

impl OperationState {
    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        use OperationState::{Cancelled, Failed, Pending, Running, Succeeded, Superseded};
        [Pending, Running, Succeeded, Failed, Superseded, Cancelled]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}
