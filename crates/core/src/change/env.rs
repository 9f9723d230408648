//! What a change does to the names of an app's variables. The server sees names only; the values are
//! sealed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Configuration;
use crate::compose::{AppCompose, docker};

/// How the names of an app's variables differ after a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvReport {
    /// Names that were not there before, ascending.
    pub added: Vec<String>,
    /// Names that are no longer there, ascending.
    pub removed: Vec<String>,
    /// Those of `removed` that the new compose file still uses: the app will miss them.
    pub missing: Vec<String>,
}

impl EnvReport {
    /// How two sets of names differ, for an app that has this document after it.
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

/// The names of an app's variables as far as they are known: those of the last request that named
/// some, else those that its document lets in.
#[must_use]
pub fn known_names(env_keys: &[String], document: &AppCompose) -> BTreeSet<String> {
    let names = if env_keys.is_empty() { &document.allowed_envs } else { env_keys };
    names.iter().cloned().collect()
}

/// Compares the names before with those a request names: its `env_keys`, else its `allowed_envs`.
/// `None`: it names none.
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
