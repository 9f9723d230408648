//! Operations: one durable change under way each (`correlation_id`).

use serde::{Deserialize, Serialize};

use crate::cvm::{Phase, Power};

/// What an operation does to its CVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// First boot of a new CVM.
    Create,
    /// Boot a stopped one.
    Start,
    /// Power off at once.
    Stop,
    /// Ask the guest to go down.
    Shutdown,
    /// Down and up.
    Restart,
    /// New configuration.
    Update,
    /// Back to the configuration from before an update that failed or was cancelled.
    Rollback,
    /// Remove with all data.
    Delete,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Start,
        Self::Stop,
        Self::Shutdown,
        Self::Restart,
        Self::Update,
        Self::Rollback,
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
            Self::Delete => "delete",
        }
    }

    /// The kind with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// What users see while it is open.
    pub const fn phase(self) -> Phase {
        match self {
            Self::Create | Self::Start => Phase::Starting,
            Self::Stop | Self::Delete => Phase::Stopping,
            Self::Shutdown => Phase::ShuttingDown,
            Self::Restart => Phase::Restarting,
            Self::Update | Self::Rollback => Phase::Updating,
        }
    }

    /// `progress.target` on the wire: the phase in which it ends. A change of the configuration leaves
    /// the power as it is desired.
    pub const fn target(self, power: Power) -> Phase {
        match (self, power) {
            (Self::Create | Self::Start | Self::Restart, _)
            | (Self::Update | Self::Rollback, Power::Running) => Phase::Running,
            (Self::Stop | Self::Shutdown, _) | (Self::Update | Self::Rollback, Power::Stopped) => {
                Phase::Stopped
            }
            (Self::Delete, _) | (Self::Update | Self::Rollback, Power::Deleted) => Phase::Deleted,
        }
    }

    /// Whether it is about the configuration, and leaves the power as it is desired.
    pub const fn is_configuration(self) -> bool {
        matches!(self, Self::Update | Self::Rollback)
    }
}

/// How far an operation is. It closes exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Waits behind another one of the same CVM.
    Pending,
    /// Under way.
    Running,
    /// Ended as desired.
    Succeeded,
    /// Ended otherwise; the failure says why.
    Failed,
    /// A later desired state took its place.
    Superseded,
    /// Called off by its user.
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

    /// The state with this word.
    pub fn parse(word: &str) -> Option<Self> {
        use OperationState::{Cancelled, Failed, Pending, Running, Succeeded, Superseded};
        [Pending, Running, Succeeded, Failed, Superseded, Cancelled]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}
