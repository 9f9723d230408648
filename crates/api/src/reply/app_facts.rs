//! What there is to know of apps beside themselves: filters, history, usage, who governs them.

use serde::{Deserialize, Serialize};

use super::{AnyId, AppsPage, CvmPhase, OperationType, Permission};
use crate::num;

/// `GET /apps/filter-options`: the values that filters of the list of apps can have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FilterOptions {
    /// Of `status`.
    pub statuses: Vec<String>,
    /// Of `base_image`.
    pub image_versions: Vec<String>,
    /// Of `instance_type`.
    pub instance_types: Vec<String>,
    /// Of `kms_slug`.
    pub kms_slugs: Vec<String>,
    /// Of `kms_type`.
    pub kms_types: Vec<String>,
    /// Of `region`.
    pub regions: Vec<String>,
    /// Of `node`.
    pub nodes: Vec<String>,
}

/// `GET /apps/{id}/events`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppEvents {
    /// Newest first.
    pub events: Vec<AppEvent>,
    /// Length of `events`.
    pub total: u64,
}

/// Something that happened to a CVM of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppEvent {
    /// Its place in all that happened.
    pub message_id: String,
    /// The operation it was part of.
    pub correlation_id: Option<String>,
    /// `cvm.phase`, `operation.step`.
    pub event_type: String,
    /// The kind of operation.
    pub operation_type: Option<OperationType>,
    /// The status to which the operation leads.
    pub target_state: Option<CvmPhase>,
    /// More about it, as JSON.
    pub operation_payload: Option<String>,
    /// Number of the user who asked for the operation.
    pub triggered_by: Option<i64>,
    /// `vm_uuid` of the CVM.
    pub instance_id: String,
    /// RFC 3339.
    pub timestamp: String,
    /// Always `null`.
    pub priority: Option<String>,
    /// Name of the CVM.
    pub instance_name: Option<String>,
    /// Status of the CVM from then on, where it changed.
    pub state: Option<CvmPhase>,
    /// Instance type of the CVM.
    pub instance_type: Option<String>,
    /// Always `null`: apps have no number.
    pub project_id: Option<i64>,
    /// Number of the workspace.
    pub team_id: Option<i64>,
    /// Number of the user who committed the CVM.
    pub user_id: Option<i64>,
}

/// `GET /apps/{id}/usage`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppUsage {
    /// One for each CVM and day, newest first.
    pub usage: Vec<UsageRecord>,
    /// Length of `usage`.
    pub total: u64,
    /// Sum of their costs in USD.
    #[serde(serialize_with = "num::shortest")]
    pub total_cost: f64,
}

/// How long a CVM was up on a day, and what that would cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageRecord {
    /// `vm_uuid` of the CVM.
    pub instance_id: String,
    /// Always 0: apps have no number.
    pub project_id: i64,
    /// Number of the workspace.
    pub team_id: i64,
    /// End of what is counted, RFC 3339.
    pub timestamp: String,
    /// `usage`.
    pub event_type: String,
    /// In USD, at the price that its instance type has now; 0 where it has none.
    #[serde(serialize_with = "num::shortest")]
    pub cost: f64,
    /// Name, instance type and hourly rate, as JSON.
    pub details: Option<String>,
    /// `compute`.
    pub usage_type: String,
    /// The day, `2026-01-31`.
    pub billing_start: String,
    /// The day after.
    pub billing_end: String,
    /// Minutes that it was running.
    #[serde(serialize_with = "num::shortest")]
    pub duration_minutes: f64,
    /// `<vm_uuid>:<day>`.
    pub billing_key: String,
    /// First hour of the day, RFC 3339.
    pub billing_hour: String,
    /// The day.
    pub billing_day: String,
}

/// `GET /apps/{id}/kms-info`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppKmsInfo {
    /// Whether contracts govern the app.
    pub is_onchain_kms: bool,
    /// Their chain.
    pub chain_id: Option<i64>,
    /// The contract of the KMS.
    pub kms_contract_address: Option<String>,
    /// The contract of the app.
    pub app_contract_address: Option<String>,
    /// Who deployed it.
    pub deployer_address: Option<String>,
    /// `eoa`, `safe`, `legacy_multisig`, `erc4337` or `contract`.
    pub deployer_type: Option<String>,
    /// Whether the deployer is a contract.
    pub is_contract: bool,
    /// Where a Safe is operated.
    pub safe_app_url: Option<String>,
    /// Who may change what it allows (Casemate only); absent: not known, or nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_address: Option<String>,
    /// To whom it is offered and who has not accepted yet (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_owner_address: Option<String>,
}

/// `GET /apps/{id}/device-allowlist`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceAllowlist {
    /// Whether a contract governs the app.
    pub is_onchain_kms: bool,
    /// Whether it allows every host; `null`: none governs it, or its chain does not answer.
    pub allow_any_device: Option<bool>,
    /// Its chain.
    pub chain_id: Option<u64>,
    /// `0x…`.
    pub app_contract_address: Option<String>,
    /// The hosts of the app's CVMs, then those of the other nodes.
    pub devices: Vec<AllowlistDevice>,
}

/// A host and what a contract says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AllowlistDevice {
    /// 64 hex digits.
    pub device_id: String,
    /// The node there.
    pub node_name: Option<String>,
    /// The app's CVMs there; numbers up to 2026-01-21.
    pub cvm_ids: Vec<AnyId>,
    /// Whether the contract lists it, as far as is known.
    pub allowed_onchain: bool,
    /// The same; `unknown` where the chain does not answer.
    pub status: Permission,
}

/// `POST /cvms/{id}/is-allowed`, `POST /apps/{id}/is-allowed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IsAllowed {
    /// The CVM, where one was asked about; a number up to 2026-01-21.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cvm_id: Option<AnyId>,
    /// The contract of the app; empty: none governs it.
    pub app_contract_address: String,
    /// The hash that was asked about.
    pub compose_hash: String,
    /// The host that was asked about; empty: none.
    pub device_id: String,
    /// Whether this hash gets the app's keys.
    pub compose_hash_allowed: bool,
    /// Whether it gets them on any host.
    pub allow_any_device: bool,
    /// Whether it gets them on this host; `null` where any will do.
    pub device_id_allowed: Option<bool>,
    /// All of it.
    pub is_allowed: bool,
    /// Why that is not known.
    pub error: Option<String>,
}

/// `POST /apps/{id}/cvms/is-allowed`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CvmsAllowed {
    /// Whether contracts govern the app.
    pub is_onchain: bool,
    /// One for each CVM that was asked about.
    pub results: Vec<IsAllowed>,
    /// Length of `results`.
    pub total: u64,
    /// Results that say yes.
    pub allowed_count: u64,
    /// Results that say no.
    pub denied_count: u64,
    /// Results with an `error`.
    pub error_count: u64,
    /// CVMs without a contract.
    pub skipped_cvm_ids: Vec<AnyId>,
}

/// `GET /apps`: the caller's, or without a key everybody's listed ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum AppsOrDirectory {
    /// With a key.
    Apps(AppsPage),
    /// Without one.
    Directory(Directory),
}

/// `GET /apps?listed=true` without a key: the public directory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Directory {
    /// Newest first.
    pub dstack_apps: Vec<PublicApp>,
    /// Always 1: the directory is read by its cursor.
    pub page: u32,
    /// Apps on a page.
    pub page_size: u32,
    /// Apps in the directory.
    pub total: u64,
    /// Pages of this size.
    pub total_pages: u64,
    /// Where it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// An app that anybody may see. To whom it belongs is not told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublicApp {
    /// `app_…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// 40 hex digits.
    pub app_id: String,
    /// RFC 3339.
    pub created_at: String,
    /// Kind of its KMS.
    pub kms_type: String,
    /// Always `null`.
    pub current_cvm: Option<String>,
    /// Its listed CVMs, newest first, at most 20.
    pub cvms: Vec<PublicCvm>,
    /// How many of them.
    pub cvm_count: u64,
}

/// A listed CVM. What its flags do not make public is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublicCvm {
    /// Its status.
    pub status: CvmPhase,
    /// What protects its memory: `none`, `simulated`, `tdx`, `sev-snp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tee: Option<String>,
    /// Where its ports are reached.
    pub public_urls: Vec<String>,
    /// Virtual CPUs; with `public_sysinfo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    /// Memory in MB; with `public_sysinfo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u32>,
    /// Disk in GB; with `public_sysinfo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_size: Option<u32>,
    /// OS image; with `public_tcbinfo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_image: Option<String>,
    /// SHA-256 of the document it boots; with `public_tcbinfo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose_hash: Option<String>,
    /// 40 hex digits; with `public_tcbinfo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
}
