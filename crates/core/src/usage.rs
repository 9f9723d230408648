//! Daily running time of a CVM, computed from its phase changes.

use std::time::Duration;

use crate::{cvm::Phase, time::Timestamp};

const DAY_MICROS: i64 = 86_400_000_000;

/// A time interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Inclusive.
    pub from: Timestamp,
    /// Exclusive.
    pub until: Timestamp,
}

/// A phase change: when, from, to.
pub type Turn = (Timestamp, Phase, Phase);

/// The intervals within a window in which a CVM was [`Phase::Running`]. `turns` are its phase changes up to
/// the end of the window, oldest first; the phase before the first one is its `from`.
#[must_use]
pub fn running(turns: &[Turn], window: Span) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut since = match turns.first() {
        Some((_, Phase::Running, _)) => Some(window.from),
        _ => None,
    };
    for (at, _, to) in turns {
        match (since, *to == Phase::Running) {
            (None, true) => since = Some(*at),
            (Some(from), false) => {
                spans.push(Span { from, until: *at });
                since = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
    spans.extend(since.map(|from| Span { from, until: window.until }));
    let within = |span: Span| {
        let cut = Span { from: span.from.max(window.from), until: span.until.min(window.until) };
        (cut.from < cut.until).then_some(cut)
    };
    spans.into_iter().filter_map(within).collect()
}

/// Splits intervals by day in UTC, oldest first: the start of the day, and the duration.
#[must_use]
pub fn by_day(spans: &[Span]) -> Vec<(Timestamp, Duration)> {
    let mut days: Vec<(Timestamp, Duration)> = Vec::new();
    for span in spans {
        let mut from = span.from.micros();
        let until = span.until.micros();
        while from < until {
            let day = from.div_euclid(DAY_MICROS) * DAY_MICROS;
            let end = until.min(day.saturating_add(DAY_MICROS));
            let long = Duration::from_micros(u64::try_from(end - from).unwrap_or(0));
            let first = Timestamp::from_micros(day);
            match days.last_mut().filter(|(last, _)| *last == first) {
                Some((_, sum)) => *sum += long,
                None => days.push((first, long)),
            }
            from = end;
        }
    }
    days
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn span(from: i64, until: i64) -> Span {
        Span { from: at(from), until: at(until) }
    }

    #[test]
    fn up_is_from_running_to_whatever_follows() {
        use Phase::{Restarting, Running, Starting, Stopped, Stopping};
        let turns = [
            (at(10), Starting, Running),
            (at(20), Running, Restarting),
            (at(25), Restarting, Running),
            (at(40), Running, Stopping),
            (at(41), Stopping, Stopped),
        ];
        assert_eq!(running(&turns, span(0, 100)), [span(10, 20), span(25, 40)]);
        assert_eq!(running(&turns, span(15, 30)), [span(15, 20), span(25, 30)]);
        assert_eq!(running(&turns[1..], span(12, 100)), [span(12, 20), span(25, 40)]);
        assert_eq!(running(&turns[..1], span(0, 100)), [span(10, 100)], "it still runs");
        assert_eq!(running(&[], span(0, 100)), [], "never seen");
        assert_eq!(running(&turns, span(50, 100)), []);
    }

    #[test]
    fn a_night_counts_for_two_days() {
        let night = [span(86_000, 87_000)];
        let expected = [(at(0), Duration::from_secs(400)), (at(86_400), Duration::from_mins(10))];
        assert_eq!(by_day(&night), expected);
    }

    proptest! {
        #[test]
        fn no_time_is_lost_or_counted_twice(
            cuts in proptest::collection::btree_set(0_i64..1_000_000, 2..20),
        ) {
            let cuts: Vec<i64> = cuts.into_iter().collect();
            let spans: Vec<Span> = cuts.chunks_exact(2).map(|two| span(two[0], two[1])).collect();
            let whole: i64 = cuts.chunks_exact(2).map(|two| two[1] - two[0]).sum();
            let days = by_day(&spans);
            let sum: Duration = days.iter().map(|(_, long)| *long).sum();
            prop_assert_eq!(sum, Duration::from_secs(whole.unsigned_abs()));
            prop_assert!(days.windows(2).all(|two| two[0].0 < two[1].0));
            prop_assert!(days.iter().all(|(_, long)| *long <= Duration::from_hours(24)));
        }
    }
}
