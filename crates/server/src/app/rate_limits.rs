//! Limits of requests, for each API key and each client address. Counted in memory, by each process for itself.

use std::{
    fmt,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use casemate_core::{id::KeyId, time::Clock};
use governor::{
    Quota, RateLimiter,
    clock::Clock as _,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};
use moka::sync::Cache;

use super::approval::token_rate_limit::GovernorClock;
use crate::config::ListenerLimits;

/// Keys and addresses that are remembered, of each limit. What was not seen for long is forgotten first.
const MOST: u64 = 50_000;
/// After so long without a request nothing is remembered; every limit has recovered by then.
const IDLE: Duration = Duration::from_mins(15);

type Limiter = RateLimiter<NotKeyed, InMemoryState, GovernorClock, NoOpMiddleware<Nanos>>;

/// The limits of the API.
#[derive(Debug)]
pub struct RateLimits {
    by_key: Limit<KeyId>,
    by_address: Limit<IpAddr>,
    anonymous: Limit<IpAddr>,
}

impl RateLimits {
    pub fn new(config: &ListenerLimits, clock: &Arc<dyn Clock>) -> Self {
        let ListenerLimits {
            requests_per_s_per_key,
            requests_burst_per_key,
            requests_per_s_per_address,
            requests_burst_per_address,
            anonymous_requests_per_s_per_address,
            anonymous_requests_burst_per_address,
            ..
        } = *config;
        let anonymous =
            (anonymous_requests_per_s_per_address, anonymous_requests_burst_per_address);
        Self {
            by_key: Limit::new((requests_per_s_per_key, requests_burst_per_key), clock),
            by_address: Limit::new((requests_per_s_per_address, requests_burst_per_address), clock),
            anonymous: Limit::new(anonymous, clock),
        }
    }

    /// Counts a request of a key; `Err`: when the next one may come.
    pub fn of_key(&self, key: Option<KeyId>) -> Result<(), Duration> {
        key.map_or(Ok(()), |key| self.by_key.count(key))
    }

    /// Counts a request of an address.
    pub fn of_address(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        address.map_or(Ok(()), |address| self.by_address.count(network(address)))
    }

    /// Counts a request without a valid key.
    pub fn of_anonymous(&self, address: Option<IpAddr>) -> Result<(), Duration> {
        address.map_or(Ok(()), |address| self.anonymous.count(network(address)))
    }
}

/// What counts as one client: of IPv6 a /64, which is what one gets.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
        address @ IpAddr::V4(_) => address,
    }
}

struct Limit<K> {
    quota: Option<Quota>,
    clock: GovernorClock,
    limiters: Cache<K, Arc<Limiter>>,
}

impl<K> fmt::Debug for Limit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit").field("quota", &self.quota).finish_non_exhaustive()
    }
}

impl<K: Hash + Eq + Send + Sync + 'static> Limit<K> {
    fn new((per_second, burst): (u32, u32), clock: &Arc<dyn Clock>) -> Self {
        let quota = NonZeroU32::new(per_second).map(|per_second| {
            let burst = NonZeroU32::new(burst).unwrap_or(per_second);
            Quota::per_second(per_second).allow_burst(burst)
        });
        let limiters = Cache::builder().max_capacity(MOST).time_to_idle(IDLE).build();
        Self { quota, clock: GovernorClock(clock.clone()), limiters }
    }

    fn count(&self, key: K) -> Result<(), Duration> {
        let Some(quota) = self.quota else { return Ok(()) };
        let new = || Arc::new(RateLimiter::direct_with_clock(quota, self.clock.clone()));
        let limiter = self.limiters.get_with(key, new);
        limiter.check().map_err(|refused| refused.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use casemate_core::time::Timestamp;
    use casemate_testing::clock::MockClock;

    use super::*;

    #[test]
    fn each_has_its_own_and_it_recovers() {
        let mock = Arc::new(MockClock::at(Timestamp::from_micros(60_000_000)));
        let clock: Arc<dyn Clock> = mock.clone();
        let limit = Limit::new((2, 4), &clock);
        for _ in 0..4 {
            limit.count(1).unwrap();
        }
        assert_eq!(limit.count(1), Err(Duration::from_millis(500)));
        limit.count(2).unwrap();
        mock.advance(Duration::from_millis(500));
        limit.count(1).unwrap();
        limit.count(1).unwrap_err();
        let none = Limit::new((0, 1), &clock);
        assert!((0..100).all(|_| none.count(1).is_ok()));
    }

    #[test]
    fn a_client_of_ipv6_is_its_network() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::9"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
