//! The audit log. Casemate only.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A row of the audit log: one change that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Sorts by time.
    pub id: String,
    /// RFC 3339.
    pub at: String,
    pub actor: AuditActor,
    /// Id of the API key.
    #[serde(default)]
    pub key_id: Option<i64>,
    /// Address of the client.
    #[serde(default)]
    pub address: Option<String>,
    /// `X-Request-ID` of the request.
    #[serde(default)]
    pub request_id: Option<String>,
    /// Slug of the workspace of the key; `null`: an action on the installation.
    #[serde(default)]
    pub workspace: Option<String>,
    /// Operation id of the route, or a command of the host.
    pub action: String,
    pub target: AuditTarget,
    /// The target before, without secrets; `null`: there was none, or it was not read.
    #[serde(default)]
    pub before: Option<Value>,
    /// What the reply showed, without secrets.
    #[serde(default)]
    pub after: Option<Value>,
    /// HTTP status; 0 for a command of the host.
    pub status: u16,
    /// `error_code` of a refusal, if it has one.
    #[serde(default)]
    pub error_code: Option<String>,
    /// Whether the reply was one given before, under the same `Idempotency-Key`.
    pub replayed: bool,
}

/// Who acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditActor {
    pub kind: AuditActorKind,
    /// `usr_…`.
    #[serde(default)]
    pub id: Option<String>,
    /// Name of the user at that time.
    #[serde(default)]
    pub username: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditActorKind {
    Person,
    Service,
    /// Somebody at the host of the service.
    Host,
    /// A client without a key.
    Anonymous,
}

/// What was acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditTarget {
    /// For example `cvm` or `webhook`.
    pub kind: String,
    /// Of a CVM its `vm_uuid`; where the request was refused, as the client wrote it.
    #[serde(default)]
    pub id: Option<String>,
}

/// `GET /casemate/audit`, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditPage {
    pub items: Vec<AuditEntry>,
    /// `cursor` of the next page; `null`: this is the last one. With filters a page may have fewer items than asked for,
    /// or none, and still have a next one.
    pub next_cursor: Option<String>,
}
