//! `[quotas]`: what each workspace may take.

use casemate_core::quota::Quota;
use serde::Deserialize;

/// What each workspace may take unless an operator says otherwise; 0: as much as there is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Quotas {
    pub cvms: u32,
    pub vcpu: u32,
    pub memory_mb: u32,
    pub disk_gb: u32,
    pub provisions: u32,
}

impl Quotas {
    /// Of live CVMs.
    pub fn of_cvms(&self) -> Quota {
        let limit = |limit: u32| (limit > 0).then(|| i64::from(limit));
        Quota {
            cvms: limit(self.cvms),
            vcpu: limit(self.vcpu),
            memory_mb: limit(self.memory_mb),
            disk_gb: limit(self.disk_gb),
        }
    }
}
