//! Tokens that were not known, counted. What guards a token is its 122 random bits; this only keeps
//! guessing from costing the database much. Known tokens are never refused for it, so nobody is locked
//! out by somebody else's guesses.

use std::sync::{Mutex, PoisonError};

use casemate_core::time::Timestamp;

/// Unknown tokens that are looked up in a minute and answered as unknown.
const MOST: u32 = 60;

/// How many unknown tokens came in the present minute.
#[derive(Debug, Default)]
pub struct TokenRateLimit(Mutex<(u64, u32)>);

impl TokenRateLimit {
    /// Notes an unknown token. `true`: there were too many of them in this minute.
    pub fn too_many(&self, now: Timestamp) -> bool {
        let minute = now.unix_seconds() / 60;
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 != minute {
            *seen = (minute, 0);
        }
        seen.1 = seen.1.saturating_add(1);
        seen.1 > MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_room_for_so_many() {
        let token_rate_limit = TokenRateLimit::default();
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        for _ in 0..MOST {
            assert!(!token_rate_limit.too_many(at(60)));
        }
        assert!(token_rate_limit.too_many(at(119)));
        assert!(!token_rate_limit.too_many(at(120)), "the next minute");
    }
}
