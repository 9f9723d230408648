//! When API keys were used. A request only notes it in memory; a task writes the notes once a minute.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use casemate_core::{id::KeyId, time::Timestamp};
use tokio_util::sync::CancellationToken;

use super::{Ctx, Error};

/// How often notes are written.
const EVERY: Duration = Duration::from_mins(1);
/// Keys noted between two writes; more are not noted.
const KEYS: usize = 10_000;
/// Keys of one transaction.
const BATCH: usize = 200;

/// The last use of each key since the last write.
#[derive(Debug, Default)]
pub struct KeyUses(Mutex<HashMap<KeyId, Timestamp>>);

impl KeyUses {
    /// Notes a use.
    pub fn record(&self, key: Option<KeyId>, at: Timestamp) {
        let Some(key) = key else { return };
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.len() < KEYS || uses.contains_key(&key) {
            uses.insert(key, at);
        }
    }

    fn take(&self) -> Vec<(KeyId, Timestamp)> {
        let uses = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut uses: Vec<_> = uses.into_iter().collect();
        // Two processes lock rows in the same order.
        uses.sort_unstable();
        uses
    }
}

/// Writes what was noted. Notes of a batch that fails are lost: the next use is noted again.
pub async fn write(ctx: &Ctx) -> Result<(), Error> {
    for batch in ctx.key_uses.take().chunks(BATCH) {
        let mut tx = ctx.begin().await?;
        for (key, at) in batch {
            tx.record_key_use(*key, *at).await?;
        }
        ctx.commit(tx).await?;
    }
    Ok(())
}

/// Writes once a minute until stopped, and a last time then.
pub async fn run(ctx: Ctx, stop: CancellationToken) {
    loop {
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        if let Err(error) = write(&ctx).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the last use of some API keys was not written"
            );
        }
        if stopped {
            return;
        }
    }
}
