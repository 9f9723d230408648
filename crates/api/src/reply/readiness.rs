//! When an instance of an app takes requests.

use serde::{Deserialize, Serialize};

use super::{CheckKind, ReadinessSource};

/// `GET`, `PUT` and `DELETE /apps/{id}/readiness` (Casemate only).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Readiness {
    /// The app, 40 hex digits.
    pub app_id: String,
    /// Who declares the check.
    pub source: ReadinessSource,
    /// What is looked at; `null`: an instance takes requests as long as it is up.
    pub check: Option<ReadinessCheck>,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReadinessCheck {
    /// How.
    pub kind: CheckKind,
    /// Published port.
    pub port: u16,
    /// Path of the `GET`; `null` over TCP.
    pub path: Option<String>,
    /// Seconds between two looks.
    pub interval_s: u32,
    /// Seconds one look may take.
    pub timeout_s: u32,
    /// Failed looks in a row that make a ready instance not ready.
    pub threshold: u32,
}
