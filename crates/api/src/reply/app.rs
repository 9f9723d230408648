//! Apps.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CvmInfo, CvmPhase, HostedCvm};

/// `GET /apps`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppsPage {
    /// The apps of this page.
    pub dstack_apps: Vec<App>,
    /// This page, from 1.
    pub page: u32,
    /// Apps per page.
    pub page_size: u32,
    /// Apps of all pages.
    pub total: u64,
    /// Number of pages: not `pages`, as elsewhere.
    pub total_pages: u64,
    /// `cursor` of the next page, which costs the same however far into the list it is; `null` on the
    /// last (Casemate only).
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// `GET /apps/{id}`, and an item of the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct App {
    /// `app_` and the app id.
    pub id: String,
    /// Name.
    pub name: String,
    /// 40 hex digits, no prefix.
    pub app_id: String,
    /// How it came to be.
    #[serde(default)]
    pub app_provision_type: Option<String>,
    /// Picture.
    #[serde(default)]
    pub app_icon_url: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// Kind of KMS; text, because others know other kinds.
    pub kms_type: String,
    /// What its owner says about it.
    #[serde(default)]
    pub profile: Option<AppProfile>,
    /// The CVM to show for it; the CLI hides apps without one.
    #[serde(default)]
    pub current_cvm: Option<AppCvm>,
    /// Its CVMs.
    #[serde(default)]
    pub cvms: Vec<AppCvm>,
    /// How many.
    #[serde(default)]
    pub cvm_count: u64,
}

/// What an app's owner says about it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppProfile {
    /// Name for people.
    pub display_name: Option<String>,
    /// Picture.
    pub avatar_url: Option<String>,
    /// Text.
    pub description: Option<String>,
    /// Domain.
    pub custom_domain: Option<String>,
}

/// A CVM inside an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum AppCvm {
    /// From 2026-01-21 on.
    Nested(Box<CvmInfo>),
    /// 2025-10-28.
    Basic(Box<CvmBasic>),
}

/// `GET /apps/{id}/cvms`: a bare list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum AppCvms {
    /// From 2026-01-21 on.
    Nested(Vec<CvmInfo>),
    /// 2025-10-28.
    Hosted(Vec<HostedCvm>),
}

/// A CVM inside an app, 2025-10-28.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CvmBasic {
    /// UUID with dashes; the CLI hides CVMs without one.
    pub vm_uuid: Option<String>,
    /// 40 hex digits, no prefix.
    pub app_id: String,
    /// Name.
    #[serde(default)]
    pub name: String,
    /// As in [`CvmInfo::status`].
    pub status: CvmPhase,
    /// Virtual CPUs.
    pub vcpu: u32,
    /// Memory in MB.
    pub memory: u32,
    /// Disk in GB.
    pub disk_size: u32,
    /// Node, 0 while it has none.
    pub teepod_id: i64,
    /// Node, empty while it has none.
    pub teepod_name: String,
    /// Region.
    pub region_identifier: Option<String>,
    /// Kind of KMS.
    pub kms_type: Option<String>,
    /// `tdx.small`.
    pub instance_type: Option<String>,
    /// Shown in the public directory.
    #[serde(default)]
    pub listed: Option<bool>,
    /// OS image by name.
    #[serde(default)]
    pub base_image: Option<String>,
    /// Of the KMS.
    #[serde(default)]
    pub kms_slug: Option<String>,
    /// `kms_…`.
    #[serde(default)]
    pub kms_id: Option<String>,
    /// 40 hex digits, once known.
    #[serde(default)]
    pub instance_id: Option<String>,
    /// Always `null`.
    #[serde(default)]
    pub machine_info: Option<Value>,
    /// RFC 3339.
    #[serde(default)]
    pub updated_at: Option<String>,
}
