//! Waits for the end of an operation, and for the rollback if it failed.

use std::{fmt, time::Duration};

use casemate_api::reply::{OperationOutcome, OperationRecord, OperationState, OperationType};
use casemate_core::time::Timestamp;
use tokio::time::{Instant, sleep_until};

use crate::{
    error::Error,
    http::Client,
    ops::OperationsQuery,
    retry::{Policy, backoff},
    watch::{MAX_FAILURES, PACE, is_temporary},
};

/// Polling delays. An operation without a restart ends before the first one.
const LOOK: Policy =
    Policy { attempts: u32::MAX, base: Duration::from_millis(200), cap: Duration::from_secs(2) };
/// Maximum number of pages of 100 that are searched for an operation.
const MAX_PAGES: u32 = 10;

/// An operation that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationFailed {
    pub correlation_id: String,
    /// For example `update`.
    pub kind: OperationType,
    /// `failed`, `superseded` or `cancelled`.
    pub state: OperationState,
    /// Machine-readable cause, for example `boot_timeout`; Phala Cloud has none.
    pub code: Option<String>,
    /// Cause for people.
    pub cause: String,
    pub rolled_back: RolledBack,
}

/// Whether a CVM was rolled back to its configuration before a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RolledBack {
    /// No rollback was possible or needed.
    No,
    /// Rolled back; the CVM runs if it ran before.
    Done,
    /// In progress, in the operation with this id.
    UnderWay(String),
    /// The rollback failed; the cause, for people.
    Failed(String),
}

impl fmt::Display for OperationFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} {}: {}", self.kind, self.state, self.cause)?;
        match &self.rolled_back {
            RolledBack::No => Ok(()),
            RolledBack::Done => f.write_str("; rolled back"),
            RolledBack::UnderWay(_) => f.write_str("; being rolled back"),
            RolledBack::Failed(cause) => write!(f, "; rolling back failed: {cause}"),
        }
    }
}

impl std::error::Error for OperationFailed {}

/// The state of an operation, judged from its record and later ones.
#[derive(Debug, PartialEq, Eq)]
enum OperationStage {
    /// Not ended.
    Open,
    Done,
    /// Failed, without a rollback.
    Failed(OperationFailed),
    /// Failed, with a rollback in progress.
    GoingBack(OperationFailed),
}

impl Client {
    /// Waits for the end of an operation of a CVM. If it fails and the CVM is rolled back, that is waited for
    /// as well. `seen` is called with every change.
    ///
    /// An unsuccessful end is [`Error::Operation`]. If the server is unreachable, this retries until the
    /// timeout.
    pub async fn wait_for_operation(
        &self,
        cvm: &str,
        correlation_id: &str,
        within: Duration,
        mut seen: impl FnMut(&OperationRecord),
    ) -> Result<OperationRecord, Error> {
        let began = Instant::now();
        let ends = began + within;
        let (mut looks, mut failures) = (0, 0);
        let mut last: Option<OperationRecord> = None;
        let mut going_back = None;
        loop {
            match self.find_operation(cvm, correlation_id).await {
                Ok((record, newer)) => {
                    failures = 0;
                    let stage = stage(&record, &newer);
                    if last.as_ref() != Some(&record) {
                        seen(&record);
                        looks = 0;
                    }
                    match stage {
                        OperationStage::Done => return Ok(record),
                        OperationStage::Failed(failed) => {
                            return Err(Error::Operation(Box::new(failed)));
                        }
                        OperationStage::GoingBack(failed) => going_back = Some(failed),
                        OperationStage::Open => {}
                    }
                    last = Some(record);
                }
                Err(error) if is_temporary(&error) && failures < MAX_FAILURES => failures += 1,
                Err(error) => return Err(error),
            }
            if Instant::now() >= ends {
                return Err(match going_back {
                    Some(failed) => Error::Operation(Box::new(failed)),
                    None => Error::TimedOut {
                        target: correlation_id.to_owned(),
                        waited: began.elapsed(),
                        last: last.map(|record| record.status.to_string()),
                    },
                });
            }
            looks += 1;
            let pace = if failures > 0 { &PACE } else { &LOOK };
            let wait = backoff(pace, looks.max(failures), self.entropy().u64());
            sleep_until(ends.min(Instant::now() + wait)).await;
        }
    }

    /// The operation and later ones, newest first.
    async fn find_operation(
        &self,
        cvm: &str,
        id: &str,
    ) -> Result<(OperationRecord, Vec<OperationRecord>), Error> {
        let mut query = OperationsQuery::default();
        let mut newer = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = self.operations(cvm, &query).await?;
            for record in page.items {
                if record.correlation_id == id {
                    return Ok((record, newer));
                }
                newer.push(record);
            }
            let Some(cursor) = page.next_cursor else { break };
            query = OperationsQuery { cursor: Some(cursor), limit: Some(100), ..query };
        }
        Err(Error::Decode {
            call: format!("GET /cvms/{cvm}/operations"),
            reason: format!("operation {id} is not among them"),
        })
    }
}

fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// The rollback that began when a change ended. The two timestamps can differ slightly, and rollbacks of
/// earlier attempts can be close.
fn find_rollback(ended: Timestamp, newer: &[OperationRecord]) -> Option<&OperationRecord> {
    const TOLERANCE: Duration = Duration::from_secs(1);
    let rollbacks = newer.iter().filter(|other| other.operation_type == OperationType::Rollback);
    let timed = rollbacks.filter_map(|other| Some((other, time(&other.started_at)?)));
    let near = timed.filter(|(_, began)| ended.since(*began) <= TOLERANCE);
    near.min_by_key(|(_, began)| ended.since(*began).max(began.since(ended)))
        .map(|(other, _)| other)
}

/// Judges an operation from its record and later ones. Phala Cloud sends no `state`.
fn stage(record: &OperationRecord, newer: &[OperationRecord]) -> OperationStage {
    match record.status {
        OperationOutcome::Completed => return OperationStage::Done,
        OperationOutcome::Failed => {}
        _ => return OperationStage::Open,
    }
    let ended = record.completed_at.as_deref().and_then(time);
    let back = ended.and_then(|ended| find_rollback(ended, newer));
    let state = record.state.clone().unwrap_or(OperationState::Failed);
    let back = back.filter(|_| state != OperationState::Superseded);
    let failed = |rolled_back| OperationFailed {
        correlation_id: record.correlation_id.clone(),
        kind: record.operation_type.clone(),
        state: state.clone(),
        code: record.error_code.clone(),
        cause: record.error_message.clone().unwrap_or_else(|| "no cause is known".to_owned()),
        rolled_back,
    };
    match back {
        None => OperationStage::Failed(failed(RolledBack::No)),
        Some(back) => match back.status {
            OperationOutcome::Completed => OperationStage::Failed(failed(RolledBack::Done)),
            OperationOutcome::Failed => {
                let why = back.error_message.clone().unwrap_or_default();
                OperationStage::Failed(failed(RolledBack::Failed(why)))
            }
            _ => {
                OperationStage::GoingBack(failed(RolledBack::UnderWay(back.correlation_id.clone())))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(
        kind: &str,
        status: &str,
        state: &str,
        from: &str,
        to: Option<&str>,
    ) -> OperationRecord {
        let at = |second: &str| format!("2026-01-31T12:00:{second}Z");
        serde_json::from_value(json!({
            "correlation_id": format!("{kind}-{from}"), "operation_type": kind,
            "target_state": "running", "triggered_by": 1, "started_at": at(from),
            "completed_at": to.map(at), "status": status, "state": state,
            "instance_name": "my-app", "error_code": "boot_timeout", "error_message": "no boot",
        }))
        .unwrap()
    }

    fn rolled_back(stage: OperationStage) -> RolledBack {
        match stage {
            OperationStage::Failed(failed) | OperationStage::GoingBack(failed) => {
                failed.rolled_back
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_failure_is_told_with_the_way_back() {
        let failed = record("update", "failed", "failed", "10", Some("20"));
        assert_eq!(rolled_back(stage(&failed, &[])), RolledBack::No);
        let back = |status, from| record("rollback", status, "running", from, None);
        for finer in ["20.000001", "19.999999"] {
            assert_eq!(rolled_back(stage(&failed, &[back("completed", finer)])), RolledBack::Done);
        }
        assert!(matches!(
            stage(&failed, &[back("in_progress", "20")]),
            OperationStage::GoingBack(_)
        ));
        assert_eq!(rolled_back(stage(&failed, &[back("completed", "20")])), RolledBack::Done);
        let own_first = [back("failed", "40"), back("completed", "20")];
        assert_eq!(rolled_back(stage(&failed, &own_first)), RolledBack::Done);
        let OperationStage::Failed(told) = stage(&failed, &[back("failed", "20")]) else {
            panic!("open")
        };
        assert_eq!((told.code.as_deref(), told.cause.as_str()), (Some("boot_timeout"), "no boot"));
        assert_eq!(told.to_string(), "the update failed: no boot; rolling back failed: no boot");
    }

    #[test]
    fn a_rollback_of_something_else_is_not_ours() {
        let earlier = [record("rollback", "completed", "succeeded", "05", Some("06"))];
        let failed = record("update", "failed", "failed", "10", Some("20"));
        assert_eq!(rolled_back(stage(&failed, &earlier)), RolledBack::No);
        let superseded = record("update", "failed", "superseded", "01", Some("05"));
        assert_eq!(rolled_back(stage(&superseded, &earlier)), RolledBack::No);
        assert_eq!(
            stage(&record("update", "in_progress", "pending", "01", None), &[]),
            OperationStage::Open
        );
        assert_eq!(
            stage(&record("update", "completed", "", "01", Some("02")), &[]),
            OperationStage::Done
        );
    }
}
