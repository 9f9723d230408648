//! `[drift]`: what is done about each kind of drift.

use casemate_core::drift::{DriftKind, DriftPolicy};
use serde::Deserialize;

use super::ConfigError;

/// What is done about each kind of drift.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Drift {
    pub lost: DriftPolicy,
    pub changed: DriftPolicy,
    pub unknown_vm: DriftPolicy,
    pub wrong_image: DriftPolicy,
    pub host_replaced: DriftPolicy,
    pub compare_configs_s: u64,
}

impl Drift {
    /// The policy of a kind.
    pub const fn of(&self, kind: DriftKind) -> DriftPolicy {
        match kind {
            DriftKind::Lost => self.lost,
            DriftKind::Changed => self.changed,
            DriftKind::UnknownVm => self.unknown_vm,
            DriftKind::WrongImage => self.wrong_image,
            DriftKind::HostReplaced => self.host_replaced,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for kind in DriftKind::ALL {
            if let (DriftPolicy::Repair, Some(why)) = (self.of(kind), kind.not_repairable()) {
                return Err(ConfigError::Value {
                    key: format!("drift.{}", kind.as_str()),
                    reason: format!("cannot be \"repair\": {why}"),
                });
            }
        }
        if self.compare_configs_s < 10 {
            let (key, reason) = ("drift.compare_configs_s", "must be at least 10");
            return Err(ConfigError::Value { key: key.to_owned(), reason: reason.to_owned() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Overrides};

    #[test]
    fn what_cannot_be_repaired_is_refused_by_key() {
        let dir = tempfile::tempdir().unwrap();
        for (text, key) in [
            ("[drift]\nunknown_vm = \"repair\"\n", "drift.unknown_vm"),
            ("[drift]\nlost = \"repair\"\n", "drift.lost"),
            ("[drift]\ncompare_configs_s = 1\n", "drift.compare_configs_s"),
            ("[drift]\nmoved = \"alert\"\n", "moved"),
        ] {
            let file = dir.path().join("drift.toml");
            std::fs::write(&file, text).unwrap();
            let error = Config::load(Some(file), &Overrides::default()).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
