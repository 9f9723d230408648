//! What a guest makes of the variables it unsealed: `parse_env` of dstack-util 0.6.0.
//!
//! A variable the app-compose does not allow is passed over. A variable it allows but which breaks a
//! rule stops the boot, so that an app never starts with a part of its configuration.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::ExposeSecret;

use super::EnvVar;

/// Most variables in one sealed environment, allowed or not.
pub const MAX_ITEMS: usize = 1024;
/// Longest name, in bytes.
pub const MAX_KEY: usize = 255;
/// Longest value, in bytes.
pub const MAX_VALUE: usize = 128 * 1024;
/// Most bytes of names and values together, counted over the allowed ones.
pub const MAX_TOTAL: usize = 1024 * 1024;

/// What the app will see.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// In the order of their names, each name once: of duplicates the last one counts.
    pub vars: Vec<EnvVar>,
    /// Names passed over because `allowed_envs` has them not, in the order of arrival.
    pub skipped: Vec<String>,
}

/// Why a guest stops its boot over its variables. Texts name the variable, never its value.
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
    /// Allowed, but [`valid_env_name`] does not hold.
    #[error("not a name of an environment variable: {0}")]
    Name(String),
    /// More than [`MAX_TOTAL`] bytes altogether.
    #[error("environment variables larger than {MAX_TOTAL} bytes together")]
    TooLarge,
}

/// Whether a guest takes this as a name: `^[A-Za-z_][A-Za-z0-9_]*$`. Length is not looked at.
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
