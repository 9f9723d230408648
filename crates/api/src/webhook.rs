//! `/workspace/webhooks`: URLs that are sent what happens in a workspace. `docs/webhooks.md` has the requests that
//! they get.

use serde::{Deserialize, Serialize};

/// `POST /workspace/webhooks`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookCreateRequest {
    /// `https://…`, at most 2048 bytes.
    pub url: String,
    /// Types of events, at least one: `cvm.created`, ….
    pub events: Vec<String>,
    /// At most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// 16 to 128 printable characters; left out: a random one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// `PUT /workspace/webhooks/{id}`. What is left out or `null` stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookUpdateRequest {
    /// `https://…`, at most 2048 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Types of events, at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<String>>,
    /// At most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `true`: what waits is sent, also after it was disabled by failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookResponse {
    /// `wh_…`.
    pub id: String,
    pub url: String,
    /// Whole when it was created, rotated or revealed; else its last four characters.
    pub secret: Option<String>,
    /// Types of events.
    pub events: Vec<String>,
    pub name: Option<String>,
    /// Whether it is sent anything.
    pub enabled: bool,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// Whether a delivery has ended, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum WebhookDeliveryStatus {
    /// It waits for its first or next attempt, or for an earlier one about its CVM.
    Pending,
    /// It was answered with 2xx.
    Success,
    /// All attempts failed.
    Failed,
}

impl WebhookDeliveryStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failed => "failed",
        }
    }
}

/// A delivery to a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookDeliveryResponse {
    /// Numbers grow with time.
    pub snowflake_id: i64,
    /// `evt_…`: names this delivery in paths, and is `X-Webhook-Id` unless it repeats another one.
    pub event_id: String,
    /// For example `cvm.created`.
    pub event_type: String,
    pub status: WebhookDeliveryStatus,
    /// Attempts that were made.
    pub attempts: u32,
    /// URL of the last attempt.
    pub request_url: String,
    /// HTTP status of the last attempt; 0: there was no answer.
    pub response_status: u16,
    /// What was wrong with the last attempt; empty: nothing.
    pub error_message: String,
    /// How long the last attempt took.
    #[serde(default)]
    pub duration_ms: i64,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; `null`: it was not delivered.
    pub delivered_at: Option<String>,
    /// The delivery that this one repeats; empty: none. Its `X-Webhook-Id` is that of the repeated one.
    #[serde(default)]
    pub original_event_id: String,
}

/// What became of the deliveries of a webhook since it was created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WebhookStatsResponse {
    /// With those that wait.
    pub total: i64,
    pub success_count: i64,
    pub failed_count: i64,
    /// Of those that ended, 0 to 1.
    pub success_rate: f64,
    pub avg_duration_ms: i64,
    pub max_duration_ms: i64,
    /// When one last ended, RFC 3339.
    pub last_delivery_at: Option<String>,
    /// Deliveries that wait. (Casemate only)
    #[serde(default)]
    pub pending_count: i64,
}
