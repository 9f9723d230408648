//! Events of a CVM or a workspace, as stored and shown: a kind and a JSON body. The format is stable, because rows of all
//! earlier versions are read and events will be sent to others. `tests/golden/events/` has one file per kind.
//! A body may get new optional fields; anything else is a new kind.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    boot_auth::DenialCode,
    change::EnvReport,
    cvm::{FailureCode, FaultKind, Phase},
    drift::DriftKind,
    id::{Address, BlockHash, ComposeHash, DeviceId, InstanceId, NodeId, TxHash},
    operation::OperationKind,
    time::Timestamp,
};

/// An event of a CVM or of its workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body")]
pub enum Event {
    /// An operation was accepted.
    #[serde(rename = "operation.accepted")]
    Accepted { kind: OperationKind },
    /// Changes of variable names.
    #[serde(rename = "operation.env")]
    EnvNames(EnvReport),
    /// A queued configuration change started.
    #[serde(rename = "operation.begun")]
    Begun {
        /// Number of other changes in its batch.
        with: usize,
    },
    /// A batch failed; its changes are tried one by one.
    #[serde(rename = "operation.split")]
    Split {},
    /// A step was planned or ended.
    #[serde(rename = "operation.step")]
    Step(StepEvent),
    /// An operation closed.
    #[serde(rename = "operation.ended")]
    Ended {
        kind: OperationKind,
        how: End,
        /// `None` if it did not fail.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<FailureCode>,
        /// Message of the node or guest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
    },
    /// The phase changed.
    #[serde(rename = "cvm.phase")]
    Phase { from: Phase, to: Phase },
    /// The guest reported boot progress.
    #[serde(rename = "cvm.boot")]
    Boot(BootEvent),
    /// A deletion was scheduled or cancelled.
    #[serde(rename = "cvm.deletion_set")]
    DeletionSet {
        /// `None`: cancelled.
        #[serde(with = "text::optional")]
        at: Option<Timestamp>,
    },
    /// The node's state differs from the record.
    #[serde(rename = "cvm.drift")]
    Drift {
        /// The difference.
        what: String,
        /// Early versions wrote none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drift: Option<DriftKind>,
    },
    /// The evidence of the guest was refused, or accepted after it had been refused.
    #[serde(rename = "cvm.evidence")]
    Evidence {
        accepted: bool,
        /// Why not: a sentence for each claim that failed or is missing.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        why: Vec<String>,
    },
    /// A service failed after the boot.
    #[serde(rename = "cvm.service_failed")]
    ServiceFailed {
        /// Name in the compose file.
        service: String,
        fault: FaultKind,
        /// The same for people, with its last output.
        what: String,
    },
    /// A document was prepared for approval by contracts.
    #[serde(rename = "governance.prepared")]
    Prepared {
        /// `update`, `replica` or `instance`.
        what: String,
        compose_hash: ComposeHash,
        /// Chain of the contracts.
        chain_id: u64,
        #[serde(with = "text")]
        expires_at: Timestamp,
    },
    /// The contracts' approval was used.
    #[serde(rename = "governance.verified")]
    Verified(Box<Evidence>),
    /// The contracts were asked again, and still allow it.
    #[serde(rename = "governance.verified_again")]
    VerifiedAgain(Box<Evidence>),
    /// The block of an approval was reorganised, and the contracts do not allow it now.
    #[serde(rename = "governance.undone")]
    Undone {
        compose_hash: ComposeHash,
        /// The lost block.
        block_number: u64,
        #[serde(with = "prefixed")]
        block_hash: BlockHash,
    },
    /// A KMS asked whether the guest may have its keys.
    #[serde(rename = "cvm.keys")]
    Keys(Box<KeyDecision>),
    /// It is on another node now, with a new VM.
    #[serde(rename = "cvm.node_changed")]
    NodeChanged {
        /// Number of the node before.
        from: NodeId,
        to: NodeId,
        /// The VM before is left on a host that its operator gave up; it is removed if the host comes back.
        left_behind: bool,
    },
    /// A webhook of the workspace was disabled, because it does not take deliveries.
    #[serde(rename = "webhook.disabled")]
    WebhookDisabled {
        /// Its id.
        webhook: String,
        /// Id of the delivery that failed; `None`: too many waited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event: Option<String>,
        /// Why, for people.
        cause: String,
    },
}

/// An answer to a KMS, with what it said about the guest ([`crate::boot_auth`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyDecision {
    pub allowed: bool,
    /// `None` if it was allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<DenialCode>,
    /// The same, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Equal denials since the last event that have none of their own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeats: u64,
    /// The KMS as it names itself, `dstack-kms/0.6.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms: Option<String>,
    pub tee_variant: String,
    pub compose_hash: ComposeHash,
    pub device_id: DeviceId,
    /// 64 hex digits.
    pub os_image_hash: Option<String>,
    pub instance_id: Option<InstanceId>,
    pub tcb_status: String,
    pub advisory_ids: Vec<String>,
    /// Fields of the question that this version does not know; empty if they are too long.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub other: Map<String, Value>,
    /// Of the whole question, 64 hex digits.
    pub body_sha256: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Progress or end of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StepRow")]
pub struct StepEvent {
    /// For example `start`.
    pub step: String,
    pub code: StepCode,
    /// The same, for people.
    pub outcome: String,
}

/// Progress or end of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepCode {
    /// Its intent is recorded.
    Intended,
    Done,
    /// The node did not answer before the call.
    NodeUnreachable,
    /// It may have been executed.
    OutcomeUnknown,
    /// The node refused it.
    Refused,
    /// It waits for a chain that does not answer.
    ChainSilent,
    /// A cluster of dstack-gateway did not do it, and is not waited for.
    GatewayFailed,
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
            Self::GatewayFailed => "gateway_failed",
        }
    }
}

/// Early versions wrote no code: only the words `intended` and `done`, or a message.
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

/// Boot progress of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BootRow")]
pub struct BootEvent {
    pub state: BootState,
    /// The guest's words.
    pub progress: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootState {
    Progress,
    Done,
    /// It cannot boot.
    Failed,
}

/// Early versions wrote no state: only `done`, or the progress.
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

/// How an operation closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Succeeded,
    Failed,
    /// A later operation replaced it.
    Superseded,
    Cancelled,
}

/// A question to contracts and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub chain_id: u64,
    /// The block at which they were read.
    pub block_number: u64,
    #[serde(with = "prefixed")]
    pub block_hash: BlockHash,
    /// KMS contract.
    #[serde(with = "prefixed")]
    pub kms_contract: Address,
    /// App contract.
    #[serde(with = "prefixed")]
    pub app_contract: Address,
    pub compose_hash: ComposeHash,
    pub device_id: DeviceId,
    /// The transaction given as evidence.
    #[serde(with = "prefixed::optional")]
    pub transaction_hash: Option<TxHash>,
    /// Owner of the app contract.
    #[serde(with = "prefixed::optional")]
    pub owner: Option<Address>,
    /// Claimed deployer of the app contract.
    #[serde(with = "prefixed::optional")]
    pub deployer: Option<Address>,
}

impl Event {
    /// The kind of [`Event::Phase`], used in queries.
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
            Self::Evidence { .. } => "cvm.evidence",
            Self::ServiceFailed { .. } => "cvm.service_failed",
            Self::Prepared { .. } => "governance.prepared",
            Self::Verified(_) => "governance.verified",
            Self::VerifiedAgain(_) => "governance.verified_again",
            Self::Undone { .. } => "governance.undone",
            Self::Keys(_) => "cvm.keys",
            Self::NodeChanged { .. } => "cvm.node_changed",
            Self::WebhookDisabled { .. } => "webhook.disabled",
        }
    }

    pub fn body(&self) -> Value {
        // Maps with text keys and plain values always serialise.
        let mut whole = serde_json::to_value(self).unwrap_or_default();
        whole.get_mut("body").map(Value::take).unwrap_or_default()
    }

    /// Parses a row. `None`: its kind or format is of a newer version.
    pub fn read(kind: &str, body: &str) -> Option<Self> {
        let body: Value = serde_json::from_str(body).ok()?;
        serde_json::from_value(json!({ "kind": kind, "body": body })).ok()
    }
}

/// Serialises a value as its text.
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

/// Serialises an id as hex with `0x`, as chains do.
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
    fn a_drift_of_an_older_version_has_no_kind() {
        let read = Event::read("cvm.drift", r#"{"what":"the VM was stopped"}"#);
        let what = "the VM was stopped".to_owned();
        assert_eq!(read, Some(Event::Drift { what, drift: None }));
    }

    #[test]
    fn what_only_a_newer_version_knows_is_not_read() {
        assert_eq!(Event::read("cvm.moved", "{}"), None);
        assert_eq!(Event::read("cvm.phase", r#"{"from":"running","to":"paused"}"#), None);
        assert_eq!(Event::read("operation.split", "no JSON"), None);
    }
}
