//! What a change does to the names of an app's variables. The server sees names only; the values are
//! sealed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Configuration;
use crate::compose::docker;

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

/// Compares the names before with those a request names: its `env_keys`, else its `allowed_envs`.
/// `None`: it names none. Before: the names of the last request that named some, else the allowed
/// ones.
#[must_use]
pub fn env_report(
    before: &Configuration,
    after: &Configuration,
    named: Option<&[String]>,
) -> Option<EnvReport> {
    let named: BTreeSet<&String> = named?.iter().collect();
    let known = if before.spec.env_keys.is_empty() {
        &before.document.allowed_envs
    } else {
        &before.spec.env_keys
    };
    let known: BTreeSet<&String> = known.iter().collect();
    let used = after
        .document
        .docker_compose_file
        .as_deref()
        .and_then(|text| docker::inspect(text).ok())
        .map(|seen| seen.variables)
        .unwrap_or_default();
    let removed: Vec<String> = known.difference(&named).map(|name| (*name).clone()).collect();
    Some(EnvReport {
        added: named.difference(&known).map(|name| (*name).clone()).collect(),
        missing: removed.iter().filter(|name| used.contains(name)).cloned().collect(),
        removed,
    })
}
