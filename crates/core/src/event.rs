//! What happened to a CVM, as it is stored and shown: a kind and a body in JSON. The form is stable, because
//! rows of every earlier version are read and others will be sent it. `tests/golden/events/` holds one file a
//! kind. A body may get new optional fields; anything else is a new kind.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    change::EnvReport,
    cvm::{FailureCode, Phase},
    id::{Address, BlockHash, ComposeHash, DeviceId, TxHash},
    operation::OperationKind,
    time::Timestamp,
};

/// Something that happened to a CVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body")]
pub enum Event {
    /// A change was accepted.
    #[serde(rename = "operation.accepted")]
    Accepted {
        /// What the operation does.
        kind: OperationKind,
    },
    /// What a change does to the names of variables.
    #[serde(rename = "operation.env")]
    EnvNames(EnvReport),
    /// The turn of a change of the configuration came.
    #[serde(rename = "operation.begun")]
    Begun {
        /// How many others go with it.
        with: usize,
    },
    /// Changes that went in one did not work; they are tried one by one.
    #[serde(rename = "operation.split")]
    Split {},
    /// A step is about to be done, or was.
    #[serde(rename = "operation.step")]
    Step(StepEvent),
    /// An operation ended.
    #[serde(rename = "operation.ended")]
    Ended {
        /// What it did.
        kind: OperationKind,
        /// How it ended.
        how: End,
        /// The failure, if it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<FailureCode>,
        /// What the node or guest said of the failure.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
    /// The word users see changed.
    #[serde(rename = "cvm.phase")]
    Phase {
        /// Before.
        from: Phase,
        /// Since then.
        to: Phase,
    },
    /// The guest told how far it is.
    #[serde(rename = "cvm.boot")]
    Boot(BootEvent),
    /// It is to be deleted by itself at this time, or no longer.
    #[serde(rename = "cvm.deletion_set")]
    DeletionSet {
        /// The time.
        #[serde(with = "text::optional")]
        at: Option<Timestamp>,
    },
    /// The node shows something else than what is recorded.
    #[serde(rename = "cvm.drift")]
    Drift {
        /// The difference.
        what: String,
    },
    /// A document was prepared for contracts to allow.
    #[serde(rename = "governance.prepared")]
    Prepared {
        /// What it is for: `update`, `replica` or `instance`.
        what: String,
        /// The document.
        compose_hash: ComposeHash,
        /// The chain of the contracts.
        chain_id: u64,
        /// Until when it can be committed.
        #[serde(with = "text")]
        expires_at: Timestamp,
    },
    /// Contracts were asked, and what they allow was accepted.
    #[serde(rename = "governance.verified")]
    Verified(Box<Evidence>),
    /// Contracts were asked again, and they allow it.
    #[serde(rename = "governance.verified_again")]
    VerifiedAgain(Box<Evidence>),
    /// The block at which contracts allowed it is no longer part of the chain, and they do not allow it now.
    #[serde(rename = "governance.undone")]
    Undone {
        /// The document.
        compose_hash: ComposeHash,
        /// The lost block.
        block_number: u64,
        #[serde(with = "prefixed")]
        block_hash: BlockHash,
    },
}

/// How far a step is, or how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StepRow")]
pub struct StepEvent {
    /// The step, for example `start`.
    pub step: String,
    /// How far it is.
    pub code: StepCode,
    /// The same for people.
    pub outcome: String,
}

/// How far a step is, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepCode {
    /// It is about to be done.
    Intended,
    /// It was done.
    Done,
    /// The node was not there to take it.
    NodeUnreachable,
    /// It may have been done.
    OutcomeUnknown,
    /// The node refused it.
    Refused,
    /// It waits for a chain that does not answer.
    ChainSilent,
}

impl StepCode {
    /// The word in events and operations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Done => "done",
            Self::NodeUnreachable => "node_unreachable",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Refused => "refused",
            Self::ChainSilent => "chain_silent",
        }
    }
}

/// The first versions wrote no code: the exact words `intended` and `done`, or a message.
#[derive(Deserialize)]
struct StepRow {
    #[serde(default)]
    step: String,
    code: Option<StepCode>,
    #[serde(default)]
    outcome: String,
}

impl From<StepRow> for StepEvent {
    fn from(StepRow { step, code, outcome }: StepRow) -> Self {
        let code = code.unwrap_or(match outcome.as_str() {
            "intended" => StepCode::Intended,
            "done" => StepCode::Done,
            _ => StepCode::Refused,
        });
        Self { step, code, outcome }
    }
}

/// How far a guest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BootRow")]
pub struct BootEvent {
    /// How far.
    pub state: BootState,
    /// The same in the guest's words.
    pub progress: String,
}

/// How far a guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootState {
    /// On the way up.
    Progress,
    /// Up.
    Done,
    /// It will not come up by itself.
    Failed,
}

/// The first versions wrote no state: `done`, or the progress.
#[derive(Deserialize)]
struct BootRow {
    state: Option<BootState>,
    #[serde(default)]
    progress: String,
}

impl From<BootRow> for BootEvent {
    fn from(BootRow { state, progress }: BootRow) -> Self {
        let done = if progress == "done" { BootState::Done } else { BootState::Progress };
        Self { state: state.unwrap_or(done), progress }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// As it was asked.
    Succeeded,
    /// It did not work.
    Failed,
    /// A newer one took its place.
    Superseded,
    /// It was called off.
    Cancelled,
}

/// What contracts were asked and said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub chain_id: u64,
    /// The block at which they were read.
    pub block_number: u64,
    #[serde(with = "prefixed")]
    pub block_hash: BlockHash,
    /// The contract of the KMS.
    #[serde(with = "prefixed")]
    pub kms_contract: Address,
    /// The contract of the app.
    #[serde(with = "prefixed")]
    pub app_contract: Address,
    /// The document.
    pub compose_hash: ComposeHash,
    /// The host.
    pub device_id: DeviceId,
    /// The transaction that was named.
    #[serde(with = "prefixed::optional")]
    pub transaction_hash: Option<TxHash>,
    /// Who owns the contract of the app.
    #[serde(with = "prefixed::optional")]
    pub owner: Option<Address>,
    /// Who is said to have deployed it.
    #[serde(with = "prefixed::optional")]
    pub deployer: Option<Address>,
}

impl Event {
    /// The kind of a change of phase, by which rows are looked for.
    pub const PHASE: &'static str = "cvm.phase";

    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "operation.accepted",
            Self::EnvNames(_) => "operation.env",
            Self::Begun { .. } => "operation.begun",
            Self::Split {} => "operation.split",
            Self::Step(_) => "operation.step",
            Self::Ended { .. } => "operation.ended",
            Self::Phase { .. } => Self::PHASE,
            Self::Boot(_) => "cvm.boot",
            Self::DeletionSet { .. } => "cvm.deletion_set",
            Self::Drift { .. } => "cvm.drift",
            Self::Prepared { .. } => "governance.prepared",
            Self::Verified(_) => "governance.verified",
            Self::VerifiedAgain(_) => "governance.verified_again",
            Self::Undone { .. } => "governance.undone",
        }
    }

    pub fn body(&self) -> Value {
        // Maps with keys of text and plain values always serialise.
        let mut whole = serde_json::to_value(self).unwrap_or_default();
        whole.get_mut("body").map(Value::take).unwrap_or_default()
    }

    /// Reads a row. `None`: it is of a kind or form that only a newer version knows.
    pub fn read(kind: &str, body: &str) -> Option<Self> {
        let body: Value = serde_json::from_str(body).ok()?;
        serde_json::from_value(json!({ "kind": kind, "body": body })).ok()
    }
}

/// A value as its text.
mod text {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>, T>(from: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
    {
        String::deserialize(from)?.parse().map_err(Error::custom)
    }

    pub mod optional {
        use std::{fmt::Display, str::FromStr};

        use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

        #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
        pub fn serialize<S: Serializer>(
            value: &Option<impl Display>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            value.as_ref().map(ToString::to_string).serialize(to)
        }

        pub fn deserialize<'de, D: Deserializer<'de>, T>(from: D) -> Result<Option<T>, D::Error>
        where
            T: FromStr<Err: Display>,
        {
            let text = Option::<String>::deserialize(from)?;
            text.map(|text| text.parse().map_err(Error::custom)).transpose()
        }
    }
}

/// An id in hex with `0x`, as chains write it.
mod prefixed {
    use std::fmt::Display;

    use serde::Serializer;

    pub use super::text::deserialize;

    pub fn serialize<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("0x{value}"))
    }

    pub mod optional {
        use std::fmt::Display;

        use serde::{Serialize, Serializer};

        pub use super::super::text::optional::deserialize;

        #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
        pub fn serialize<S: Serializer>(
            value: &Option<impl Display>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            value.as_ref().map(|value| format!("0x{value}")).serialize(to)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_older_versions_are_read_by_their_exact_words() {
        for (body, code) in [
            (json!({"step": "start", "outcome": "intended"}), "intended"),
            (json!({"step": "start", "outcome": "done"}), "done"),
            (json!({"step": "start", "outcome": "node unreachable: x"}), "refused"),
            (json!({"code": "outcome_unknown", "outcome": "done"}), "outcome_unknown"),
        ] {
            let Some(Event::Step(step)) = Event::read("operation.step", &body.to_string()) else {
                panic!("{body}")
            };
            assert_eq!(step.code.as_str(), code, "{body}");
        }
        for (body, expected) in [
            (json!({"progress": "done"}), BootState::Done),
            (json!({"progress": "starting containers"}), BootState::Progress),
            (json!({"state": "failed", "progress": "failed: x"}), BootState::Failed),
        ] {
            let Some(Event::Boot(boot)) = Event::read("cvm.boot", &body.to_string()) else {
                panic!("{body}")
            };
            assert_eq!(boot.state, expected, "{body}");
        }
    }

    #[test]
    fn what_only_a_newer_version_knows_is_not_read() {
        assert_eq!(Event::read("cvm.moved", "{}"), None);
        assert_eq!(Event::read("cvm.phase", r#"{"from":"running","to":"paused"}"#), None);
        assert_eq!(Event::read("operation.split", "no JSON"), None);
    }
}
