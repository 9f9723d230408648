//! Files that are there whole or not at all, also after a crash.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use tempfile::NamedTempFile;

/// Mode of a file for its owner only.
pub const PRIVATE: u32 = 0o600;

/// Writes a file with this mode from the first byte on: beside its place, to disk, then into its place.
/// Never follows a link that stands in its place. What a crash leaves beside it begins with a dot.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let draft = draft(path, bytes, mode)?;
    draft.persist(path)?;
    sync_dir(directory(path))
}

/// As [`write()`], but fails with [`io::ErrorKind::AlreadyExists`] if there is a file.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let draft = draft(path, bytes, mode)?;
    draft.persist_noclobber(path)?;
    sync_dir(directory(path))
}

fn draft(path: &Path, bytes: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let mut draft = tempfile::Builder::new()
        .prefix(".write-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(directory(path))?;
    draft.write_all(bytes)?;
    draft.as_file().sync_all()?;
    Ok(draft)
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The bytes of a file; `None` when there is none.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file; none is fine.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes what was renamed or removed in a directory last.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
