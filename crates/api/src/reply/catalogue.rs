//! Instance types and OS images.

use serde::{Deserialize, Serialize};

/// `GET /instance-types`. Strict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceTypes {
    /// By family.
    pub result: Vec<InstanceTypeGroup>,
}

/// A family in the list of all. Strict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceTypeGroup {
    /// Name of the family.
    pub name: String,
    /// Its types.
    pub items: Vec<InstanceType>,
    /// How many.
    pub total: u64,
}

/// `GET /instance-types/{family}`. Strict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceTypeFamily {
    /// Its types.
    pub items: Vec<InstanceType>,
    /// How many.
    pub total: u64,
    /// Name of the family.
    pub family: String,
}

/// A size of CVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceType {
    /// `tdx.small`.
    pub id: String,
    /// `Small`.
    pub name: String,
    /// For people.
    pub description: String,
    /// Virtual CPUs.
    pub vcpu: u32,
    /// Memory in MB.
    pub memory_mb: u32,
    /// Price per hour as text.
    pub hourly_rate: String,
    /// Needs a GPU.
    pub requires_gpu: bool,
    /// Disk in GB where none is asked for.
    #[serde(default)]
    pub default_disk_size_gb: u32,
    /// Name of the family.
    pub family: Option<String>,
}

/// An OS image: an item of `GET /os-images`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OsImage {
    /// `dstack-0.5.4`.
    pub name: String,
    /// `dstack-0-5-4`.
    pub slug: String,
    /// `0.5.4`: text here.
    pub version: String,
    /// 64 hex digits.
    pub os_image_hash: Option<String>,
    /// With login tools.
    pub is_dev: bool,
    /// Needs a GPU.
    pub requires_gpu: bool,
}

/// An item of `GET /cvms/{id}/available-os-images`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AvailableOsImage {
    /// Three or four numbers.
    pub version: Vec<u32>,
    /// Without login tools.
    pub prod: Option<OsImageVariant>,
    /// With login tools.
    pub dev: Option<OsImageVariant>,
}

/// One of the two images of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OsImageVariant {
    /// `dstack-0.5.4`.
    pub name: String,
    /// `dstack-0-5-4`.
    #[serde(default)]
    pub slug: String,
    /// 64 hex digits.
    pub os_image_hash: Option<String>,
    /// Whether the CVM has it now.
    pub is_current: bool,
}
