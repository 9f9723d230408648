//! `[governance]`: apps that contracts are.

use serde::Deserialize;

/// Apps that contracts are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Governance {
    pub owner_proof: OwnerProof,
}

/// Whether a workspace needs a signature of a contract's owner before it commits the app for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnerProof {
    Optional,
    Required,
}
