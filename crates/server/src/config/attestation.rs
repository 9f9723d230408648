//! `[attestation]`: where collateral is from, and what is accepted.

use std::path::PathBuf;

use casemate_verify::TcbStatus;
use serde::Deserialize;

use super::ConfigError;

/// Where collateral is from, and what is accepted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Attestation {
    pub pccs_url: String,
    pub timeout_s: u64,
    pub collateral_kept_s: u64,
    pub refresh_s: u64,
    pub tcb_status: Vec<TcbStatus>,
    pub advisories: Vec<String>,
    pub verify_page: PathBuf,
    #[serde(default)]
    pub development_roots: Vec<ConfiguredRoot>,
}

/// A root of simulated platforms.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct ConfiguredRoot {
    pub name: String,
    pub file: PathBuf,
}

impl Attestation {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, reason: &str| {
            Err(ConfigError::Value { key: key.to_owned(), reason: reason.to_owned() })
        };
        if self.refresh_s < 60 {
            return refuse("attestation.refresh_s", "must be at least 60");
        }
        if self.timeout_s == 0 {
            return refuse("attestation.timeout_s", "must be at least 1");
        }
        if self.tcb_status.contains(&TcbStatus::Revoked) {
            return refuse("attestation.tcb_status", "cannot contain Revoked");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Overrides};

    #[test]
    fn wrong_values_are_refused_by_key() {
        let dir = tempfile::tempdir().unwrap();
        for (text, key) in [
            ("[attestation]\nrefresh_s = 1\n", "attestation.refresh_s"),
            ("[attestation]\ntimeout_s = 0\n", "attestation.timeout_s"),
            ("[attestation]\ntcb_status = [\"Revoked\"]\n", "attestation.tcb_status"),
            ("[attestation]\ntcb_status = [\"Fine\"]\n", "Fine"),
            ("[attestation]\npccs = \"x\"\n", "pccs"),
        ] {
            let file = dir.path().join("attestation.toml");
            std::fs::write(&file, text).unwrap();
            let error = Config::load(Some(file), &Overrides::default()).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
