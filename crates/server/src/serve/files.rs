//! The data directory: who has it, what is announced in it, how its files are written.

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use casemate_core::time::Entropy;
use casemate_engine::files::{remove_if_there, write};

use super::StartError;

/// Files that say where a running process listens.
const URLS: [&str; 3] = ["api.url", "gateway.url", "http.url"];

pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |error| StartError::File { path, error }
}

/// Makes the data directory and takes it for this process.
pub(super) fn lock_data_dir(dir: &Path) -> Result<File, StartError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(file(dir))?;
    lock_file(&dir.join("lock"), dir)
}

/// Takes a SQLite file outside of the data directory for this process: what is kept in memory rests on
/// nobody else writing it.
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

/// Locks a file for this process, in the name of what it stands for.
fn lock_file(path: &Path, what: &Path) -> Result<File, StartError> {
    let lock =
        File::options().create(true).truncate(false).write(true).open(path).map_err(file(path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(what.to_owned())),
        Err(TryLockError::Error(error)) => Err(file(path)(error)),
    }
}

/// A name for this data directory as an owner of leases: the same after every restart, so that a
/// restart can take back what the dead process held.
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

/// Removes the addresses that a killed process left: whoever reads one finds a live listener.
pub(super) fn forget_urls(dir: &Path) -> Result<(), StartError> {
    for name in URLS {
        let path = dir.join(name);
        remove_if_there(&path).map_err(file(&path))?;
    }
    Ok(())
}

pub(super) fn write_url(path: &Path, url: &str) -> Result<(), StartError> {
    write(path, format!("{url}\n").as_bytes(), 0o644).map_err(file(path))
}
