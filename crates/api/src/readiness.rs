//! `PUT /apps/{id}/readiness` (Casemate only): when an instance of an app takes requests.

use serde::{Deserialize, Serialize};

use crate::num;

/// A check; ranges are the server's to look at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReadinessRequest {
    /// Port that the compose file publishes, 1–65535.
    #[serde(deserialize_with = "num::int")]
    pub port: u16,
    /// Path of a `GET` that answers 2xx or 3xx, `/healthz`; left out or `null`: it is enough to connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Seconds between two looks, 1–300; 5 if left out.
    #[serde(default, deserialize_with = "num::opt_int", skip_serializing_if = "Option::is_none")]
    pub interval_s: Option<u32>,
    /// Seconds one look may take, 1–60; 2 if left out.
    #[serde(default, deserialize_with = "num::opt_int", skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u32>,
    /// So many failed looks in a row make a ready instance not ready, 1–20; 3 if left out.
    #[serde(default, deserialize_with = "num::opt_int", skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u32>,
}
