//! The guest's rules for unsealed variables: `parse_env` of dstack-util 0.6.0.
//!
//! A variable that the app-compose does not allow is skipped. An allowed variable that breaks a rule stops
//! the boot, so that an app never starts with a part of its configuration.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::ExposeSecret;

use super::EnvVar;

/// Maximum number of variables in one sealed environment, allowed or not.
pub const MAX_ITEMS: usize = 1024;
/// Maximum length of a name, in bytes.
pub const MAX_KEY: usize = 255;
/// Maximum length of a value, in bytes.
pub const MAX_VALUE: usize = 128 * 1024;
/// Maximum size of all allowed names and values together, in bytes.
pub const MAX_TOTAL: usize = 1024 * 1024;

/// The variables that the app sees.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Sorted by name, unique; of duplicates the last one counts.
    pub vars: Vec<EnvVar>,
    /// Names that `allowed_envs` does not contain, in their original order.
    pub skipped: Vec<String>,
}

/// Why a guest stops its boot because of its variables. Texts name the variable, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inadmissible {
    /// More than [`MAX_ITEMS`].
    #[error("too many environment variables: {0} of at most {MAX_ITEMS}")]
    TooMany(usize),
    /// Name of more than [`MAX_KEY`] bytes.
    #[error("environment variable name longer than {MAX_KEY} bytes: {0}")]
    LongKey(String),
    /// Value of more than [`MAX_VALUE`] bytes.
    #[error("value longer than {MAX_VALUE} bytes in environment variable: {0}")]
    LongValue(String),
    /// Allowed, but not a [`valid_env_name`].
    #[error("not a name of an environment variable: {0}")]
    Name(String),
    /// More than [`MAX_TOTAL`] bytes in total.
    #[error("environment variables larger than {MAX_TOTAL} bytes together")]
    TooLarge,
}

/// Whether a guest accepts this name: `^[A-Za-z_][A-Za-z0-9_]*$`, of any length.
pub fn valid_env_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Applies the guest's rules; `allowed` is `allowed_envs` of the app-compose.
pub fn admit(vars: Vec<EnvVar>, allowed: &[String]) -> Result<Admitted, Inadmissible> {
    if vars.len() > MAX_ITEMS {
        return Err(Inadmissible::TooMany(vars.len()));
    }
    let allowed: BTreeSet<&str> = allowed.iter().map(String::as_str).collect();
    let (known, unknown): (Vec<_>, Vec<_>) =
        vars.into_iter().partition(|var| allowed.contains(var.key.as_str()));
    let mut total = 0;
    for var in &known {
        total += check(var)?;
        if total > MAX_TOTAL {
            return Err(Inadmissible::TooLarge);
        }
    }
    let last_of_each: BTreeMap<String, EnvVar> =
        known.into_iter().map(|var| (var.key.clone(), var)).collect();
    Ok(Admitted {
        vars: last_of_each.into_values().collect(),
        skipped: unknown.into_iter().map(|var| var.key).collect(),
    })
}

/// Checks one variable; returns its size in bytes.
fn check(var: &EnvVar) -> Result<usize, Inadmissible> {
    let value = var.value.expose_secret();
    if var.key.len() > MAX_KEY {
        return Err(Inadmissible::LongKey(var.key.clone()));
    }
    if value.len() > MAX_VALUE {
        return Err(Inadmissible::LongValue(var.key.clone()));
    }
    if !valid_env_name(&var.key) {
        return Err(Inadmissible::Name(var.key.clone()));
    }
    Ok(var.key.len() + value.len())
}
