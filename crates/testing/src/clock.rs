//! A clock for tests.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use casemate_core::time::{Clock, Timestamp};

/// A clock that changes only when it is moved.
#[derive(Debug, Default)]
pub struct MockClock(AtomicI64);

impl MockClock {
    pub fn at(time: Timestamp) -> Self {
        Self(AtomicI64::new(time.micros()))
    }

    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    pub fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms * 1000, Ordering::SeqCst);
    }
}

impl Clock for MockClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}
