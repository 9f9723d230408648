//! Limits look-ups of unknown tokens. What guards a token is its 122 random bits; this only keeps
//! guessing from costing the database much. Known tokens are never refused for it, so nobody is locked
//! out by somebody else's guesses.

use std::{num::NonZeroU32, sync::Arc};

use casemate_core::time::Clock;
use governor::{
    Quota, RateLimiter, middleware::NoOpMiddleware, nanos::Nanos, state::InMemoryState,
    state::NotKeyed,
};

/// Unknown tokens that are looked up in a minute and answered as unknown: at most so many at once, and
/// one more a second from then on.
const PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).unwrap();

/// How many unknown tokens came lately.
#[derive(Debug)]
pub struct TokenRateLimit(
    RateLimiter<NotKeyed, InMemoryState, GovernorClock, NoOpMiddleware<Nanos>>,
);

impl TokenRateLimit {
    /// A limit that nothing was counted against.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let quota = Quota::per_minute(PER_MINUTE);
        Self(RateLimiter::direct_with_clock(quota, GovernorClock(clock)))
    }

    /// Counts an unknown token. `true`: there were too many of them lately.
    pub fn too_many(&self) -> bool {
        self.0.check().is_err()
    }
}

/// Our clock, as the limiter reads it.
#[derive(Debug, Clone)]
pub struct GovernorClock(pub Arc<dyn Clock>);

impl governor::clock::Clock for GovernorClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let micros = u64::try_from(self.0.now().micros()).unwrap_or(0);
        Nanos::new(micros.saturating_mul(1000))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use casemate_core::time::Timestamp;
    use casemate_testing::clock::MockClock;

    use super::*;

    #[test]
    fn a_minute_has_room_for_so_many() {
        let clock = Arc::new(MockClock::at(Timestamp::from_micros(60_000_000)));
        let token_rate_limit = TokenRateLimit::new(clock.clone());
        for _ in 0..PER_MINUTE.get() {
            assert!(!token_rate_limit.too_many());
        }
        assert!(token_rate_limit.too_many());
        clock.advance(Duration::from_mins(1));
        for _ in 0..PER_MINUTE.get() {
            assert!(!token_rate_limit.too_many(), "the next minute");
        }
        assert!(token_rate_limit.too_many());
    }
}
