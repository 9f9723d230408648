//! Requests for instance ids. Written documentation and shipped clients mean different things by
//! them: `refresh-instance-id` makes a new one, `instance-id` fills in a missing one.

use serde::{Deserialize, Serialize};

use crate::num;

/// CVMs in one batch at most.
pub const MAX_BATCH: u16 = 500;

/// `PATCH /cvms/{id}/instance-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceIdRequest {
    /// Replace the one there is. Without it, only a missing one is looked for.
    #[serde(default, deserialize_with = "num::flag")]
    pub overwrite: bool,
    /// Say what would be done, and do nothing.
    #[serde(default, deserialize_with = "num::flag")]
    pub dry_run: bool,
    /// Replace it also where the disk hangs on it and is lost (Casemate only).
    #[serde(default, deserialize_with = "num::flag")]
    pub allow_data_loss: bool,
}

/// `POST /cvms/{id}/refresh-instance-id`; the body may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefreshInstanceIdRequest {
    /// Say what would be done, and do nothing.
    #[serde(default, deserialize_with = "num::flag")]
    pub dry_run: bool,
    /// Replace it also where the disk hangs on it and is lost (Casemate only).
    #[serde(default, deserialize_with = "num::flag")]
    pub allow_data_loss: bool,
}

/// `PATCH /cvms/instance-ids`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceIdsRequest {
    /// Which CVMs, by ids in any form; all of the workspace if left out.
    #[serde(default, deserialize_with = "num::opt_names::<500, _>")]
    pub cvm_ids: Option<Vec<String>>,
    /// Only those that are running; default true.
    #[serde(default, deserialize_with = "num::opt_bool")]
    pub running_only: Option<bool>,
    /// Only those without an instance id; default true.
    #[serde(default, deserialize_with = "num::opt_bool")]
    pub missing_only: Option<bool>,
    /// Replace those there are.
    #[serde(default, deserialize_with = "num::flag")]
    pub overwrite: bool,
    /// At most so many, 1–500; default 100.
    #[serde(default, deserialize_with = "num::opt_int")]
    pub limit: Option<u16>,
    /// Say what would be done, and do nothing.
    #[serde(default, deserialize_with = "num::flag")]
    pub dry_run: bool,
    /// Replace them also where the disk hangs on them and is lost (Casemate only).
    #[serde(default, deserialize_with = "num::flag")]
    pub allow_data_loss: bool,
}

/// `POST /cvms/refresh-instance-ids`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefreshInstanceIdsRequest {
    /// Which CVMs, by ids in any form.
    #[serde(deserialize_with = "num::names::<500, _>")]
    pub ids: Vec<String>,
    /// Say what would be done, and do nothing.
    #[serde(default, deserialize_with = "num::flag")]
    pub dry_run: bool,
    /// Replace them also where the disk hangs on them and is lost (Casemate only).
    #[serde(default, deserialize_with = "num::flag")]
    pub allow_data_loss: bool,
}
