//! Tells whether a value that was read is still what is stored, so that a reader may cache it.
//!
//! A reader notes the [`Moment`] before it reads, and takes a [`Stamp`] of what it read. As long as the stamp
//! is current, a new read would return the same. How that is known differs:
//!
//! - SQLite: this process is the only writer, so a transaction declares what it is about to write
//!   ([`TouchedSubjects`]). From then until the end of the transaction is known, no stamp of the subject is current.
//!   So no reader gets the old state after another reader can have seen the new one. No statement is run.
//! - PostgreSQL: other replicas also write. A CVM has a `version` that every visible change increments, and
//!   the check is one index look-up.
//!
//! On SQLite subjects share a fixed number of slots. A write to another subject of the slot causes an
//! unnecessary read, never a missed one.

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

/// What readers cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// All users, workspaces and API keys together.
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

/// Identifies the state that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(i64);

/// The writes of this process.
#[derive(Debug)]
pub(crate) struct Writes {
    /// Counts the beginnings and ends of writes.
    clock: AtomicI64,
    slots: [Mutex<Slot>; SLOTS + 1],
}

#[derive(Debug, Default)]
struct Slot {
    /// Number of open transactions that touched it.
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

    /// `None`: a transaction is writing it.
    fn stamp(&self, subject: Subject) -> Option<Stamp> {
        let slot = self.slot(subject.slot());
        (slot.under_way == 0).then_some(Stamp(slot.last))
    }

    /// The stamp of a value read after `moment`; `None` if it was written in the meantime.
    fn stamp_since(&self, subject: Subject, moment: Moment) -> Option<Stamp> {
        self.stamp(subject).filter(|stamp| stamp.0 <= moment.0)
    }
}

/// The subjects that a transaction writes. Dropped when the end of the transaction is known.
#[derive(Debug)]
pub(crate) struct TouchedSubjects {
    writes: Arc<Writes>,
    slots: Vec<usize>,
}

impl TouchedSubjects {
    pub(crate) const fn none(writes: Arc<Writes>) -> Self {
        Self { writes, slots: Vec::new() }
    }

    /// Moves all subjects to the task that learns the end.
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

impl Drop for TouchedSubjects {
    fn drop(&mut self) {
        for place in &self.slots {
            let mut slot = self.writes.slot(*place);
            slot.under_way = slot.under_way.saturating_sub(1);
            slot.last = self.writes.tick();
        }
    }
}

impl Tx {
    /// Declares that this transaction changes what readers see of a subject. On PostgreSQL the statement
    /// itself must increment the CVM's `version`.
    pub(crate) fn touch(&mut self, subject: Subject) {
        match self {
            Self::Sqlite(tx) => tx.touched.add(subject),
            Self::Postgres(_) => {}
        }
    }
}

impl Db {
    /// Call it before a read that needs a stamp.
    pub fn moment(&self) -> Moment {
        match self {
            Self::Sqlite(db) => db.writes().moment(),
            Self::Postgres(_) => Moment(0),
        }
    }

    /// The stamp of a CVM that was read after `moment`. `None`: it was being changed, so the value must not
    /// be cached.
    pub fn stamp(&self, cvm: &Cvm, moment: Moment) -> Option<Stamp> {
        match self {
            Self::Sqlite(db) => db.writes().stamp_since(Subject::Cvm(cvm.id), moment),
            Self::Postgres(_) => Some(Stamp(cvm.version)),
        }
    }

    /// Whether a read of this CVM would return what was read under this stamp. A deleted CVM has no current
    /// stamp.
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

    /// The stamp of all accounts, read after `moment`. `None`: they must not be cached, because they were
    /// being changed or other replicas can change them.
    pub fn accounts_stamp(&self, moment: Moment) -> Option<Stamp> {
        match self {
            Self::Sqlite(db) => db.writes().stamp_since(Subject::Accounts, moment),
            Self::Postgres(_) => None,
        }
    }

    /// Whether a read of accounts would return what was read under this stamp.
    pub fn accounts_are_current(&self, stamp: Stamp) -> bool {
        match self {
            Self::Sqlite(db) => db.writes().stamp(Subject::Accounts) == Some(stamp),
            Self::Postgres(_) => false,
        }
    }
}
