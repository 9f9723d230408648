//! What a simulated host writes down of every call (`calls.jsonl`): what was asked, what was
//! answered, and what really happened. These two differ wherever a fault was at work.

use std::sync::Arc;

use casemate_core::{id::EngineVmId, time::Timestamp};
use serde::{Deserialize, Serialize};

use super::{faults::FaultKind, stored};
use crate::node::{CallError, VmConfig};

/// A method of [`crate::node::Node`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    Inventory,
    List,
    Find,
    Create,
    Push,
    Start,
    Stop,
    Shutdown,
    Remove,
    Dial,
    Logs,
    Evidence,
    GuestFacts,
}

impl Method {
    /// Whether it is there to change something.
    pub const fn changes(self) -> bool {
        match self {
            Self::Create
            | Self::Push
            | Self::Start
            | Self::Stop
            | Self::Shutdown
            | Self::Remove => true,
            Self::Inventory
            | Self::List
            | Self::Find
            | Self::Dial
            | Self::Logs
            | Self::Evidence
            | Self::GuestFacts => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Number of the call on this host; grows.
    pub n: u64,
    /// When.
    pub at: Timestamp,
    /// What was asked.
    pub method: Method,
    /// Of which VM, by id.
    #[serde(default)]
    pub vm: Option<EngineVmId>,
    /// Of which VM, by name. Known for ids of VMs that are there.
    #[serde(default)]
    pub mark: Option<String>,
    /// How often it was really carried out: 0, 1 or, repeated on the way, 2.
    pub carried_out: u32,
    /// What the caller was told.
    pub answer: Answer,
    /// Faults that were at work.
    #[serde(default)]
    pub faults: Vec<FaultKind>,
    /// What became of it, and what happened at the same moment behind our back.
    #[serde(default)]
    pub effects: Vec<Effect>,
}

/// What a caller was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done.
    Ok,
    /// [`CallError::Rejected`].
    Rejected(String),
    /// [`CallError::Unreachable`].
    Unreachable(String),
    /// [`CallError::Unknown`].
    Unknown(String),
}

impl Answer {
    pub(super) fn of<T>(answer: &Result<T, CallError>) -> Self {
        match answer {
            Ok(_) => Self::Ok,
            Err(CallError::Rejected(text)) => Self::Rejected(text.clone()),
            Err(CallError::Unreachable(text)) => Self::Unreachable(text.clone()),
            Err(CallError::Unknown(text)) => Self::Unknown(text.clone()),
        }
    }
}

/// Something that happened to a VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A VM was made.
    Made {
        /// Its id.
        vm: EngineVmId,
        /// Its name.
        mark: String,
    },
    /// A guest began to run.
    Began {
        /// Its id.
        vm: EngineVmId,
        /// Its name.
        mark: String,
        /// Who started it.
        by: StartedBy,
        /// What it runs.
        #[serde(with = "stored")]
        config: Arc<VmConfig>,
    },
    /// A guest ends at this time, unless it is ended before.
    Ends {
        /// Its id.
        vm: EngineVmId,
        /// When; may be later than the call.
        at: Timestamp,
    },
    /// A VM goes with its disk.
    Removed {
        /// Its id.
        vm: EngineVmId,
        /// Its name.
        mark: String,
        /// When it is gone.
        at: Timestamp,
        /// Whether it had ever been started, so that there were data on its disk.
        had_run: bool,
        /// Whether this was a fault and not a call.
        behind_back: bool,
    },
}

/// Who started a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartedBy {
    /// A call of `start`.
    Call,
    /// The host, which starts wanted VMs when it comes up.
    Host,
}
