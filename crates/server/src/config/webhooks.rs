//! `[webhooks]` and `[ssh_keys]`: requests to URLs that users give.

use std::time::Duration;

use casemate_core::webhook::TargetPolicy;
use serde::Deserialize;

use super::ConfigError;

/// Which ports a URL may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ports {
    /// 443 and 8443, with `allow_http` also 80 and 8080.
    Web,
    Any,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Webhooks {
    pub allow_private: bool,
    pub allow_http: bool,
    pub ports: Ports,
    pub per_workspace: u16,
    pub timeout_s: u64,
    pub concurrency: usize,
    pub kept_days: u32,
}

impl Webhooks {
    /// What URLs may be.
    pub const fn policy(&self) -> TargetPolicy {
        TargetPolicy {
            allow_private: self.allow_private,
            allow_http: self.allow_http,
            any_port: matches!(self.ports, Ports::Any),
        }
    }

    pub const fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, reason: &str| {
            let key = format!("webhooks.{key}");
            Err(ConfigError::Value { key, reason: reason.to_owned() })
        };
        if !(1..=60).contains(&self.timeout_s) {
            return refuse("timeout_s", "must be 1 to 60");
        }
        if self.concurrency == 0 {
            return refuse("concurrency", "must be at least 1");
        }
        if self.per_workspace > 1000 {
            return refuse("per_workspace", "must be at most 1000");
        }
        if self.kept_days == 0 {
            return refuse("kept_days", "must be at least 1");
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct SshKeys {
    pub github: String,
    pub per_user: u16,
}

impl SshKeys {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        // The operator chose it, so it may be on a private network.
        let policy = TargetPolicy { allow_private: true, allow_http: true, any_port: true };
        let refuse = |key: &str, reason: String| {
            Err(ConfigError::Value { key: format!("ssh_keys.{key}"), reason })
        };
        if let Err(why) = policy.check(&self.github) {
            return refuse("github", why.to_string());
        }
        if !(1..=1000).contains(&self.per_user) {
            return refuse("per_user", "must be 1 to 1000".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Overrides};

    #[test]
    fn values_out_of_range_are_refused_by_key() {
        let dir = tempfile::tempdir().unwrap();
        for (text, key) in [
            ("[webhooks]\ntimeout_s = 0\n", "webhooks.timeout_s"),
            ("[webhooks]\nconcurrency = 0\n", "webhooks.concurrency"),
            ("[webhooks]\nkept_days = 0\n", "webhooks.kept_days"),
            ("[webhooks]\nports = \"all\"\n", "webhooks.ports"),
            ("[ssh_keys]\ngithub = \"file:///etc\"\n", "ssh_keys.github"),
            ("[ssh_keys]\nper_user = 0\n", "ssh_keys.per_user"),
        ] {
            let file = dir.path().join("c.toml");
            std::fs::write(&file, text).unwrap();
            let error = Config::load(Some(file), &Overrides::default()).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
