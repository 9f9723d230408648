//! The data directory: its lock, the files that announce addresses, and file writes.

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use casemate_core::time::Entropy;
use casemate_engine::files::{remove_if_there, write};

use super::StartError;

/// Files with the addresses of a running process.
const URLS: [&str; 4] = ["api.url", "gateway.url", "http.url", "kms-webhook.url"];

pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |error| StartError::File { path, error }
}

/// Creates the data directory and locks it for this process.
pub(super) fn lock_data_dir(dir: &Path) -> Result<File, StartError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(file(dir))?;
    lock_file(&dir.join("lock"), dir)
}

/// Locks a SQLite file outside of the data directory for this process: caches rely on being the only writer.
pub(super) fn lock_database(url: &str, dir: &Path) -> Result<Option<File>, StartError> {
    let Some(path) = url.strip_prefix("sqlite:") else { return Ok(None) };
    let path = Path::new(path.strip_prefix("//").unwrap_or(path));
    if path.parent() == Some(dir) {
        return Ok(None);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    lock_file(Path::new(&name), path).map(Some)
}

/// Locks a file for this process; errors name `what`.
fn lock_file(path: &Path, what: &Path) -> Result<File, StartError> {
    let lock =
        File::options().create(true).truncate(false).write(true).open(path).map_err(file(path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(what.to_owned())),
        Err(TryLockError::Error(error)) => Err(file(path)(error)),
    }
}

/// The id of this data directory as an owner of leases. It survives restarts, so that a restarted process can
/// release the leases of the one before.
pub(super) fn instance_id(dir: &Path, entropy: &dyn Entropy) -> Result<String, StartError> {
    let path = dir.join("instance.id");
    match std::fs::read_to_string(&path) {
        Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StartError::File { path, error }),
    }
    let id = entropy.uuid_v4().to_string();
    write(&path, id.as_bytes(), 0o600).map_err(file(&path))?;
    Ok(id)
}

/// Removes the addresses left by a killed process, so that the files only name live listeners.
pub(super) fn remove_url_files(dir: &Path) -> Result<(), StartError> {
    for name in URLS {
        let path = dir.join(name);
        remove_if_there(&path).map_err(file(&path))?;
    }
    Ok(())
}

pub(super) fn write_url(path: &Path, url: &str) -> Result<(), StartError> {
    write(path, format!("{url}\n").as_bytes(), 0o644).map_err(file(path))
}
