//! Free space of the file system with the data directory.

use std::path::Path;

use casemate_api::error::{ErrorCode, ErrorDetail};

use super::{Ctx, Error};
use crate::config::Config;

/// Less is free than the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskFull {
    /// In MiB.
    pub free_mb: u64,
    /// In MiB.
    pub wanted_mb: u64,
}

/// Checks `limits.free_disk_mb`. A file system that does not tell its size passes.
pub fn check(config: &Config) -> Result<(), DiskFull> {
    let wanted_mb = config.limits.free_disk_mb;
    let free_mb = if wanted_mb == 0 { None } else { free_mb(&config.data_dir) };
    match free_mb {
        Some(free_mb) if free_mb < wanted_mb => Err(DiskFull { free_mb, wanted_mb }),
        _ => Ok(()),
    }
}

/// What a process without privileges may still write, in MiB.
fn free_mb(dir: &Path) -> Option<u64> {
    // The directory itself may not be there yet.
    let found = dir.ancestors().find_map(|dir| rustix::fs::statvfs(dir).ok())?;
    Some(found.f_bavail.saturating_mul(found.f_frsize) / (1024 * 1024))
}

/// Refuses what needs new room.
pub fn require(ctx: &Ctx) -> Result<(), Error> {
    let Err(DiskFull { free_mb, wanted_mb }) = check(&ctx.config) else { return Ok(()) };
    let why = format!("the service has {free_mb} MiB of disk left and keeps {wanted_mb} MiB free");
    Err(Error::because(ErrorCode::DiskFull, why)
        .detail(ErrorDetail::value("free_mb", free_mb))
        .suggest("Its operator makes room in data_dir, or lowers limits.free_disk_mb."))
}
