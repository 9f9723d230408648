//! `[templates]`: app templates of the operator.

use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Templates {
    pub dir: PathBuf,
    pub eliza: String,
    pub workload: String,
}

impl Templates {
    /// The directory, if there is one.
    pub fn dir(&self) -> Option<&PathBuf> {
        (!self.dir.as_os_str().is_empty()).then_some(&self.dir)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let named = [("templates.eliza", &self.eliza), ("templates.workload", &self.workload)];
        match named.into_iter().find(|(_, name)| !name.is_empty() && self.dir().is_none()) {
            Some((key, _)) => Err(ConfigError::Value {
                key: key.to_owned(),
                reason: "needs templates.dir, which is empty".to_owned(),
            }),
            None => Ok(()),
        }
    }
}
