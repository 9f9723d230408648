//! Operations: one durable change under way each (`correlation_id`).

use serde::{Deserialize, Serialize};

use crate::cvm::Phase;

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
    /// Remove with all data.
    Delete,
}

impl OperationKind {
    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Shutdown => "shutdown",
            Self::Restart => "restart",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// The kind with this word.
    pub fn parse(word: &str) -> Option<Self> {
        use OperationKind::{Create, Delete, Restart, Shutdown, Start, Stop, Update};
        [Create, Start, Stop, Shutdown, Restart, Update, Delete]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }

    /// What users see while it is open.
    pub const fn phase(self) -> Phase {
        match self {
            Self::Create | Self::Start => Phase::Starting,
            Self::Stop | Self::Delete => Phase::Stopping,
            Self::Shutdown => Phase::ShuttingDown,
            Self::Restart => Phase::Restarting,
            Self::Update => Phase::Updating,
        }
    }

    /// `progress.target` on the wire: the phase in which it ends.
    pub const fn target(self) -> &'static str {
        match self {
            Self::Create | Self::Start | Self::Restart | Self::Update => "running",
            Self::Stop | Self::Shutdown => "stopped",
            Self::Delete => "deleted",
        }
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
    /// Ended as wished.
    Succeeded,
    /// Ended otherwise; the failure says why.
    Failed,
    /// A later wish took its place.
    Superseded,
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
        }
    }

    /// The state with this word.
    pub fn parse(word: &str) -> Option<Self> {
        use OperationState::{Failed, Pending, Running, Succeeded, Superseded};
        [Pending, Running, Succeeded, Failed, Superseded]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}
