//! Records decisions: those about a CVM as events, those about no CVM as totals. Decisions that meet are
//! recorded in one transaction, so a storm of boots costs few syncs.
//!
//! Growth is bounded. What is allowed was deployed, so every such decision is an event. Denials can be caused
//! by anybody whose guest reaches the KMS and names an app: of equal ones, by CVM and code, one a minute is an
//! event, and it tells how many before it were none.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use casemate_core::{
    boot_auth::DenialCode,
    event::KeyDecision,
    id::{CvmId, EventSeq, OperationId, WorkspaceId},
    time::Timestamp,
};
use casemate_store::Error as StoreError;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::app::{
    Ctx, Error,
    events::{self, CvmEvent, EventScope},
};

/// Decisions of one transaction, and of the queue before it.
const BATCH: usize = 128;
/// Time between two events about equal denials.
const REPEATS: Duration = Duration::from_mins(1);
/// CVMs whose denials are remembered.
const REMEMBERED: usize = 4096;

/// What is recorded of a decision.
#[derive(Debug)]
pub(super) enum Record {
    /// About a CVM: an event.
    Cvm {
        cvm: CvmId,
        workspace: WorkspaceId,
        /// The open operation.
        operation: Option<OperationId>,
        decision: Box<KeyDecision>,
    },
    /// About no known CVM: one more of its kind.
    Total {
        /// Subject and code.
        key: (&'static str, &'static str),
        /// As JSON.
        last: Value,
    },
}

struct Job {
    record: Record,
    recorded: oneshot::Sender<bool>,
}

/// Hands decisions to the task that records them.
#[derive(Debug, Clone)]
pub(super) struct Recorder(mpsc::Sender<Job>);

impl Recorder {
    /// Starts the task; it ends with the last clone.
    pub fn start(ctx: &Ctx, tasks: &TaskTracker) -> Self {
        let (sender, jobs) = mpsc::channel(BATCH);
        tasks.spawn(run(ctx.clone(), jobs));
        Self(sender)
    }

    /// Returns when the record is durable.
    pub async fn record(&self, record: Record) -> Result<(), Error> {
        let (recorded, done) = oneshot::channel();
        let sent = self.0.send(Job { record, recorded }).await.is_ok();
        if sent && done.await == Ok(true) { Ok(()) } else { Err(not_recorded()) }
    }
}

fn not_recorded() -> Error {
    StoreError::Commit("a decision about keys was not recorded".to_owned()).into()
}

async fn run(ctx: Ctx, mut jobs: mpsc::Receiver<Job>) {
    let (mut batch, mut memory) = (Vec::with_capacity(BATCH), Memory::default());
    while jobs.recv_many(&mut batch, BATCH).await > 0 {
        let now = ctx.now();
        let records: Vec<&Record> = batch.iter().map(|job| &job.record).collect();
        let done = match write(&ctx, &memory, &records, now).await {
            Ok(told) => {
                memory.learn(told, now);
                true
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "decisions about keys were not recorded, so nobody got any"
                );
                false
            }
        };
        for job in batch.drain(..) {
            // One that is not waited for any more was given up by its caller.
            let _ = job.recorded.send(done);
        }
    }
}

/// When an equal denial last was an event, and how many were none since.
#[derive(Debug, Clone, Copy)]
struct Told {
    at: Timestamp,
    repeats: u64,
}

/// The denials of each CVM that were told lately.
type Denials = HashMap<CvmId, BTreeMap<DenialCode, Told>>;

/// What is remembered between batches.
#[derive(Debug, Default)]
struct Memory(Denials);

impl Memory {
    fn learn(&mut self, told: Denials, now: Timestamp) {
        self.0.extend(told);
        if self.0.len() > REMEMBERED {
            let lately = |told: &Told| now.since(told.at) < REPEATS;
            self.0.retain(|_, codes| codes.values().any(lately));
        }
        if self.0.len() > REMEMBERED {
            // Then some are told once more.
            self.0.clear();
        }
    }
}

/// Records a batch in one transaction. Returns what to remember once it is committed.
async fn write(
    ctx: &Ctx,
    memory: &Memory,
    records: &[&Record],
    now: Timestamp,
) -> Result<Denials, StoreError> {
    let (mut told, mut newest_of, mut totals) = (Denials::new(), BTreeMap::new(), BTreeMap::new());
    let mut new_events = Vec::new();
    for record in records {
        match record {
            Record::Total { key, last } => {
                let (count, newest) = totals.entry(*key).or_insert((0, last));
                *count += 1;
                *newest = last;
            }
            Record::Cvm { cvm, workspace, operation, decision } => {
                newest_of.insert(*cvm, decision);
                let scope = EventScope { workspace: *workspace, cvm: *cvm, operation: *operation };
                if let Some(repeats) = is_event(*cvm, decision, (memory, &mut told), now) {
                    tracing::info!(cvm = %cvm, allowed = decision.allowed,
                        code = decision.code.map(DenialCode::as_str), repeats, "keys were asked for");
                    let decision = KeyDecision { repeats, ..(**decision).clone() };
                    new_events.push((scope, CvmEvent::Keys(Box::new(decision))));
                }
            }
        }
    }
    let mut tx = ctx.db.begin().await?;
    for (cvm, decision) in newest_of {
        let denied = decision.code.map(DenialCode::as_str).zip(decision.message.as_deref());
        tx.record_key_decision(cvm, denied, now).await?;
    }
    for ((subject, code), (count, last)) in totals {
        tracing::info!(subject, code, count, "keys were asked for, not for a known CVM");
        tx.count_key_decisions((subject, code), count, &last.to_string(), now).await?;
    }
    let newest = events::write_all(&mut tx, &new_events, now).await?;
    tx.commit().await?;
    if newest > EventSeq(0) {
        ctx.publish(newest);
    }
    Ok(told)
}

/// Whether a decision is an event of its own, and how many equal ones before it were none. Notes what to
/// remember. After keys were given, the next denial is news.
fn is_event(
    cvm: CvmId,
    decision: &KeyDecision,
    (memory, told): (&Memory, &mut Denials),
    now: Timestamp,
) -> Option<u64> {
    let codes = told.entry(cvm).or_insert_with(|| memory.0.get(&cvm).cloned().unwrap_or_default());
    let Some(code) = decision.code else {
        codes.clear();
        return Some(0);
    };
    match codes.get_mut(&code) {
        Some(known) if now.since(known.at) < REPEATS => {
            known.repeats += 1;
            None
        }
        known => {
            let repeats = known.map_or(0, |known| known.repeats);
            codes.insert(code, Told { at: now, repeats: 0 });
            Some(repeats)
        }
    }
}
