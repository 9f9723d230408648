//! The effect of a change on the names of an app's variables. The server knows only names; values are sealed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Configuration;
use crate::compose::{AppCompose, docker};

/// Changes of an app's variable names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvReport {
    /// New names, ascending.
    pub added: Vec<String>,
    /// Dropped names, ascending.
    pub removed: Vec<String>,
    /// The names in `removed` that the new compose file still uses.
    pub missing: Vec<String>,
}

impl EnvReport {
    /// The report for two sets of names and the document after the change.
    #[must_use]
    pub fn between(
        before: &BTreeSet<String>,
        after: &BTreeSet<String>,
        document: &AppCompose,
    ) -> Self {
        let removed: Vec<String> = before.difference(after).cloned().collect();
        let file = document.docker_compose_file.as_deref().filter(|_| !removed.is_empty());
        let used = file
            .and_then(|text| docker::inspect(text).ok())
            .map(|seen| seen.variables.names())
            .unwrap_or_default();
        Self {
            added: after.difference(before).cloned().collect(),
            missing: removed.iter().filter(|name| used.contains(*name)).cloned().collect(),
            removed,
        }
    }
}

/// The known names of an app's variables: those of the last request that named some, else those that its
/// document allows.
#[must_use]
pub fn known_names(env_keys: &[String], document: &AppCompose) -> BTreeSet<String> {
    let names = if env_keys.is_empty() { &document.allowed_envs } else { env_keys };
    names.iter().cloned().collect()
}

/// Compares the known names with those in a request: its `env_keys`, else its `allowed_envs`. `None`: the
/// request names none.
#[must_use]
pub fn env_report(
    before: &Configuration,
    after: &Configuration,
    named: Option<&[String]>,
) -> Option<EnvReport> {
    let named = named?.iter().cloned().collect();
    let known = known_names(&before.spec.env_keys, &before.document);
    Some(EnvReport::between(&known, &named, &after.document))
}
