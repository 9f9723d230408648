//! Whether custom domains lead to a CVM.

use serde::{Deserialize, Serialize};

/// `POST /cvms/{id}/customize-domain-diagnose`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Diagnosis {
    /// In the order of the request.
    pub results: Vec<DomainDiagnosis>,
}

/// What was found for one domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DomainDiagnosis {
    /// The domain.
    pub domain: String,
    /// The port.
    pub port: u16,
    /// What was looked for.
    pub records: Vec<DnsRecord>,
    /// Whether every record is as it must be.
    pub is_valid: bool,
    /// Who may issue its certificate; for information only.
    #[serde(default)]
    pub caa_check: Option<Caa>,
    /// What to know beyond the records (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A record that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DnsRecord {
    /// `CNAME` or `TXT`.
    pub record_type: String,
    /// Name that was asked for.
    pub query_name: String,
    /// What it should say.
    pub expected_value: String,
    /// What it says; `null` without an answer.
    #[serde(default)]
    pub actual_value: Option<String>,
    /// Whether it says what it should.
    pub is_valid: bool,
    /// Whether it works and has a newer name.
    #[serde(default)]
    pub is_deprecated: bool,
    /// What to know or to do about it.
    #[serde(default)]
    pub warning_message: Option<String>,
}

/// Who may issue certificates for a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Caa {
    /// The records as text; none: everybody may.
    pub caa_records: Vec<String>,
    /// The account that the records are limited to.
    #[serde(default)]
    pub accounturi: Option<String>,
    /// Attempts to learn the account of an ACME client; Casemate runs none.
    pub acme_fetches: Vec<serde_json::Value>,
    /// The account that would be right.
    #[serde(default)]
    pub expected_uri: Option<String>,
    /// Whether the two agree; always where the records name none.
    pub is_match: bool,
    /// What to know about it.
    #[serde(default)]
    pub info_message: Option<String>,
}
