//! When an endpoint that failed is asked again. Pure: the time is passed in.

use std::time::Duration;

use casemate_core::time::Timestamp;

/// Failures in a row after which an endpoint is left alone.
const PATIENCE: u32 = 3;
/// For how long at first; doubled by each failure after that.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// For how long at most.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What is remembered of one endpoint's failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Breaker {
    failures: u32,
    closed_until: Option<Timestamp>,
}

impl Breaker {
    /// Whether it may be asked. After a pause everybody may: the first failure begins the next one.
    pub fn admits(self, now: Timestamp) -> bool {
        self.closed_until.is_none_or(|until| now >= until)
    }

    /// It answered.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It did not answer. `pause`: for so long it asked to be left alone.
    pub fn failed(&mut self, now: Timestamp, pause: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        let own = self
            .failures
            .checked_sub(PATIENCE)
            .map(|beyond| FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(beyond)));
        if let Some(pause) = own.max(pause) {
            self.closed_until = Some(now.plus(pause.min(LONGEST_PAUSE)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_micros(0);

    fn after(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn three_failures_in_a_row_are_one_too_many() {
        let mut breaker = Breaker::default();
        breaker.failed(START, None);
        breaker.failed(START, None);
        assert!(breaker.admits(START));
        breaker.succeeded();
        breaker.failed(START, None);
        breaker.failed(START, None);
        assert!(breaker.admits(START));
        breaker.failed(START, None);
        assert!(!breaker.admits(after(1)));
        assert!(breaker.admits(after(2)));
    }

    #[test]
    fn pauses_grow_to_a_minute() {
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            breaker.failed(START, None);
        }
        for seconds in [4, 8, 16, 32, 60, 60] {
            breaker.failed(START, None);
            assert!(
                !breaker.admits(after(seconds - 1)) && breaker.admits(after(seconds)),
                "{seconds}"
            );
        }
    }

    #[test]
    fn who_asks_to_be_left_alone_is_left_alone_at_once() {
        let mut breaker = Breaker::default();
        breaker.failed(START, Some(Duration::from_secs(7)));
        assert!(!breaker.admits(after(6)) && breaker.admits(after(7)));
        breaker.failed(START, Some(Duration::from_hours(1)));
        assert!(breaker.admits(after(60)));
    }
}
