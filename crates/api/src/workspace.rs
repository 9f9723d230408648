//! `GET` and `PATCH /workspace/policy` (Casemate only): what a workspace says about its CVMs.

use serde::{Deserialize, Serialize};

/// What becomes of a change that drops a variable which the compose file uses, where the request does not
/// say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum EnvGuard {
    /// It is applied, and the reply, the operation and an event say so.
    Report,
    /// It is refused: 409 `ERR-20-032`.
    Refuse,
}

/// Which instances get requests for their app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum EvidenceGuard {
    /// Those that are ready. Evidence that is refused is an event. An app can require more.
    Report,
    /// Of every app, those whose evidence is accepted.
    Require,
}

/// The policy of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Policy {
    /// See there.
    pub env_guard: EnvGuard,
    /// See there.
    pub evidence: EvidenceGuard,
}

/// What is to be different. Left out or `null`: as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyPatch {
    /// See [`Policy::env_guard`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_guard: Option<EnvGuard>,
    /// See [`Policy::evidence`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceGuard>,
}
