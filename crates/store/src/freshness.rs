//! Whether what was read before is still what is stored, so that a reader may keep what it made of it.
//!
//! A reader notes the [`Moment`] before it reads, and takes a [`Stamp`] of what it read. As long as
//! the stamp is current, a new read would find the same. How that is known differs:
//!
//! - SQLite: this process is the only writer, so its writers say what they are about to write
//!   ([`Touched`]). From then until the end of the transaction is known nothing about it is current,
//!   so nobody is shown the old state once anybody can have seen the new one. No statement is run.
//! - PostgreSQL: other replicas write too. A CVM has a `version`, raised by every statement that
//!   changes what readers see, and asking for it is one look into an index.
//!
//! On SQLite subjects share a fixed number of slots: a write to another subject of the slot makes a
//! reader read again, never the reverse.

use std::{
    array,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use casemate_core::id::CvmId;
use sqlx::query_scalar;

use crate::{Db, Error, Tx, cvms::Cvm};

const SLOTS: usize = 1024;

/// What readers keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Users, workspaces and API keys, all together.
    Accounts,
    /// One CVM with its open operation.
    Cvm(CvmId),
}

impl Subject {
    fn slot(self) -> usize {
        match self {
            Self::Accounts => SLOTS,
            Self::Cvm(id) => usize::try_from(id.0.unsigned_abs()).unwrap_or(0) % SLOTS,
        }
    }
}

/// A point in time before a read.
#[derive(Debug, Clone, Copy)]
pub struct Moment(i64);

/// The state that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(i64);

/// Who writes what in this process.
#[derive(Debug)]
pub(crate) struct Writes {
    /// Counts beginnings and ends of writes.
    clock: AtomicI64,
    slots: [Mutex<Slot>; SLOTS + 1],
}

#[derive(Debug, Default)]
struct Slot {
    /// Transactions that touched it and have not ended.
    under_way: u32,
    /// When the last one began or ended.
    last: i64,
}

impl Default for Writes {
    fn default() -> Self {
        Self { clock: AtomicI64::new(0), slots: array::from_fn(|_| Mutex::default()) }
    }
}

impl Writes {
    fn slot(&self, slot: usize) -> MutexGuard<'_, Slot> {
        self.slots[slot].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) -> i64 {
        self.clock.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn moment(&self) -> Moment {
        Moment(self.clock.load(Ordering::SeqCst))
    }

    /// `None`: somebody writes it now.
    fn stamp(&self, subject: Subject) -> Option<Stamp> {
        let slot = self.slot(subject.slot());
        (slot.under_way == 0).then_some(Stamp(slot.last))
    }

    /// The stamp of what was read after `moment`; `None` when it was written meanwhile.
    fn stamp_since(&self, subject: Subject, moment: Moment) -> Option<Stamp> {
        self.stamp(subject).filter(|stamp| stamp.0 <= moment.0)
    }
}

/// What a transaction writes; dropped when its end is known.
#[derive(Debug)]
pub(crate) struct Touched {
    writes: Arc<Writes>,
    slots: Vec<usize>,
}

impl Touched {
    pub(crate) const fn none(writes: Arc<Writes>) -> Self {
        Self { writes, slots: Vec::new() }
    }

    /// All of it, for whoever learns the end.
    pub(crate) fn take(&mut self) -> Self {
        Self { writes: self.writes.clone(), slots: std::mem::take(&mut self.slots) }
    }

    pub(crate) fn add(&mut self, subject: Subject) {
        let place = subject.slot();
        if self.slots.contains(&place) {
            return;
        }
        self.slots.push(place);
        let mut slot = self.writes.slot(place);
        slot.under_way += 1;
        slot.last = self.writes.tick();
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        for place in &self.slots {
            let mut slot = self.writes.slot(*place);
            slot.under_way = slot.under_way.saturating_sub(1);
            slot.last = self.writes.tick();
        }
    }
}

impl Tx {
    /// Says that this transaction changes what readers see of a subject. On PostgreSQL the statement
    /// itself must raise the CVM's `version`.
    pub(crate) fn touch(&mut self, subject: Subject) {
        match self {
            Self::Sqlite(tx) => tx.touched.add(subject),
            Self::Postgres(_) => {}
        }
    }
}

impl Db {
    /// To be noted before a read whose stamp is wanted.
    pub fn moment(&self) -> Moment {
        match self {
            Self::Sqlite(db) => db.writes().moment(),
            Self::Postgres(_) => Moment(0),
        }
    }

    /// The stamp of a CVM that was read after `moment`. `None`: it was being changed meanwhile, so what
    /// was read may be kept by nobody.
    pub fn stamp(&self, cvm: &Cvm, moment: Moment) -> Option<Stamp> {
        match self {
            Self::Sqlite(db) => db.writes().stamp_since(Subject::Cvm(cvm.id), moment),
            Self::Postgres(_) => Some(Stamp(cvm.version)),
        }
    }

    /// Whether a read of this CVM now would find what was read under this stamp. A CVM that is gone
    /// has no current stamp.
    pub async fn is_current(&self, id: CvmId, stamp: Stamp) -> Result<bool, Error> {
        const SQL: &str = "SELECT version FROM cvms WHERE id = $1 AND deleted_at IS NULL";
        match self {
            Self::Sqlite(db) => Ok(db.writes().stamp(Subject::Cvm(id)) == Some(stamp)),
            Self::Postgres(_) => {
                let version =
                    on_read!(self, |c| query_scalar::<_, i64>(SQL).bind(id.0).fetch_optional(c))?;
                Ok(version == Some(stamp.0))
            }
        }
    }

    /// The stamp of all accounts, read after `moment`. `None` where nobody may keep them: they were
    /// being changed, or other replicas may change them unseen.
    pub fn accounts_stamp(&self, moment: Moment) -> Option<Stamp> {
        match self {
            Self::Sqlite(db) => db.writes().stamp_since(Subject::Accounts, moment),
            Self::Postgres(_) => None,
        }
    }

    /// Whether a read of accounts now would find what was read under this stamp.
    pub fn accounts_are_current(&self, stamp: Stamp) -> bool {
        match self {
            Self::Sqlite(db) => db.writes().stamp(Subject::Accounts) == Some(stamp),
            Self::Postgres(_) => false,
        }
    }
}
