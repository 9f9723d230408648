//! Rows of requests that changed nothing, on their way into the database. The queue is bounded: rows beyond it are
//! counted in `casemate_audit_rows_lost_total`. A row of a change never passes through here.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use casemate_store::audit::NewAuditEntry;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::super::{Ctx, Error};

/// Rows that wait.
const MOST: usize = 2_000;
/// Rows of one transaction.
const BATCH: usize = 100;
/// Wait after a failure, and least time between two writes, so that many refusals share a transaction.
const PAUSE: Duration = Duration::from_millis(200);

/// The queue.
#[derive(Debug, Default)]
pub struct Refusals {
    waiting: Mutex<VecDeque<NewAuditEntry>>,
    wake: Notify,
}

impl Refusals {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<NewAuditEntry>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a row, if there is room.
    pub fn push(&self, entry: NewAuditEntry) {
        let mut waiting = self.waiting();
        if waiting.len() >= MOST {
            metrics::counter!("casemate_audit_rows_lost_total").increment(1);
            return;
        }
        waiting.push_back(entry);
        drop(waiting);
        self.wake.notify_one();
    }

    fn batch(&self) -> Vec<NewAuditEntry> {
        self.waiting().iter().take(BATCH).cloned().collect()
    }

    fn drop_first(&self, count: usize) {
        self.waiting().drain(..count);
    }
}

/// Writes what waits. Rows of a batch that fails keep waiting.
pub async fn write_refusals(ctx: &Ctx) -> Result<(), Error> {
    loop {
        let batch = ctx.audit.batch();
        if batch.is_empty() {
            return Ok(());
        }
        let mut tx = ctx.begin().await?;
        for entry in &batch {
            tx.append_audit(entry).await?;
        }
        ctx.commit(tx).await?;
        ctx.audit.drop_first(batch.len());
    }
}

/// Writes until stopped, and a last time then.
pub async fn run(ctx: Ctx, stop: CancellationToken) {
    loop {
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            () = ctx.audit.wake.notified() => false,
        };
        if let Err(error) = write_refusals(&ctx).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "refusals are not in the audit log yet"
            );
            ctx.audit.wake.notify_one();
        }
        if stopped {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
