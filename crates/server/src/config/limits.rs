//! `[limits]`: what clients may take of each listener.

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{ConfigError, Network};

/// What clients may take of each listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Limits {
    pub connections: usize,
    pub connections_per_peer: usize,
    pub head_timeout_s: u64,
    pub body_timeout_s: u64,
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<Network>,
    pub requests_per_s_per_key: u32,
    pub requests_burst_per_key: u32,
    pub requests_per_s_per_address: u32,
    pub requests_burst_per_address: u32,
    pub anonymous_requests_per_s_per_address: u32,
    pub anonymous_requests_burst_per_address: u32,
    pub device_logins_per_address: u32,
    pub free_disk_mb: u64,
}

fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Network>, D::Error> {
    let words: Vec<String> = super::list(from)?;
    let networks = words.iter().map(|word| word.parse().map_err(D::Error::custom));
    networks.collect()
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let at_least = |key: &str, value: u64, least: u64| {
            if value >= least {
                return Ok(());
            }
            let reason = format!("must be at least {least}");
            Err(ConfigError::Value { key: format!("limits.{key}"), reason })
        };
        at_least("connections", number(self.connections), 16)?;
        at_least("connections_per_peer", number(self.connections_per_peer), 16)?;
        at_least("head_timeout_s", self.head_timeout_s, 1)?;
        at_least("body_timeout_s", self.body_timeout_s, 1)?;
        at_least("device_logins_per_address", self.device_logins_per_address.into(), 1)
    }
}
