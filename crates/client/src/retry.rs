//! Decides whether and when to retry; pure.
//!
//! | request | retried after |
//! |---|---|
//! | without side effects | no response, 408, 425, 429, 5xx except 501 and 505 |
//! | with side effects | 409 without a code, 429, 503: responses that say it was not executed |
//!
//! A 409 *with* a code is final, as in the Go SDK.

use std::time::Duration;

use crate::error::{ApiError, Error};

/// Retry limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Maximum number of attempts, at least 1.
    pub attempts: u32,
    /// Delay before the second attempt if the server gives none; doubles with each attempt, half of it is
    /// random.
    pub base: Duration,
    /// Maximum delay. If the server asks for more, there is no further attempt.
    pub cap: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { attempts: 4, base: Duration::from_millis(250), cap: Duration::from_secs(20) }
    }
}

/// The delay before the next attempt; `None`: give up. `attempt` counts from 1, `chance` is any random
/// number.
pub(crate) fn delay_before_retry(
    policy: &Policy,
    changes: bool,
    error: &Error,
    attempt: u32,
    chance: u64,
) -> Option<Duration> {
    if attempt >= policy.attempts {
        return None;
    }
    let asked = match error {
        Error::Transport { .. } if !changes => None,
        Error::Api(error) if is_transient(error, changes) => error.retry_after,
        _ => return None,
    };
    match asked {
        Some(asked) if asked > policy.cap => None,
        Some(asked) => Some(asked),
        None => Some(backoff(policy, attempt, chance)),
    }
}

fn is_transient(error: &ApiError, changes: bool) -> bool {
    match error.status {
        429 | 503 => true,
        409 => changes && error.body.structured().is_none(),
        // 501 and 505 are permanent.
        408 | 425 | 500 | 502 | 504 | 506..=599 => !changes,
        _ => false,
    }
}

/// Between 50% and 100% of `base · 2^(attempt-1)`, at most the cap.
pub(crate) fn backoff(policy: &Policy, attempt: u32, chance: u64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let whole = policy.base.saturating_mul(1 << doublings).min(policy.cap);
    let half = whole / 2;
    let span = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    half + Duration::from_millis(chance % span)
}

#[cfg(test)]
mod tests {
    use casemate_api::error::{ErrorBody, ErrorCode};

    use super::*;
    use crate::error::TransportKind;

    fn reply(status: u16, body: ErrorBody, retry_after: Option<u64>) -> Error {
        Error::Api(Box::new(ApiError {
            call: "POST /x".to_owned(),
            status,
            body,
            request_id: None,
            retry_after: retry_after.map(Duration::from_secs),
        }))
    }

    fn again(changes: bool, error: &Error) -> bool {
        delay_before_retry(&Policy::default(), changes, error, 1, 7).is_some()
    }

    #[test]
    fn statuses_decide_by_whether_something_changes() {
        for (status, reads, writes) in [
            (400, false, false),
            (404, false, false),
            (408, true, false),
            (409, false, true),
            (425, true, false),
            (429, true, true),
            (500, true, false),
            (501, false, false),
            (502, true, false),
            (503, true, true),
            (504, true, false),
        ] {
            let error = reply(status, ErrorBody::plain("later"), None);
            assert_eq!((again(false, &error), again(true, &error)), (reads, writes), "{status}");
        }
        let last = reply(409, ErrorBody::new(ErrorCode::DuplicateCvmName, "taken"), None);
        assert!(!again(true, &last), "a conflict with a code is final");
        let call = "GET /x".to_owned();
        let lost = Error::Transport { call, kind: TransportKind::Broken, source: None };
        assert_eq!((again(false, &lost), again(true, &lost)), (true, false));
    }

    #[test]
    fn waits_are_bounded_and_the_servers_word_counts() {
        let policy = Policy::default();
        let wait = |seconds, attempt| {
            let error = reply(503, ErrorBody::plain("later"), seconds);
            delay_before_retry(&policy, true, &error, attempt, u64::MAX)
        };
        assert_eq!(wait(Some(3), 1), Some(Duration::from_secs(3)));
        assert_eq!(wait(Some(21), 1), None, "asked for more than we wait");
        assert_eq!(wait(Some(1), 4), None, "that was the last try");
        for attempt in 1..40 {
            let wait = backoff(&policy, attempt, u64::MAX);
            assert!(wait >= policy.base / 2 && wait <= policy.cap, "{attempt}: {wait:?}");
        }
    }
}
