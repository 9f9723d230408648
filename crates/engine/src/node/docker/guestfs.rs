//! The guest's private file system, as far as bind mounts show it.
//!
//! Containers write into it, so it is hostile ground for a process of the host: every path is walked
//! step by step, and links lead where they lead in the guest, never out of `root/`. The result has no
//! link in it, so the engine mounts what was meant. That it stays so is what
//! [`super::derive`] sees to by refusing a source inside another, writable one.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs, io,
    path::{Component, Path, PathBuf},
};

use rustix::fs::{FileType, Mode, OFlags};

use crate::files;

/// As the kernel: more links in one path are a loop.
const MAX_LINKS: usize = 40;

/// Time zone information of UTC: version 1, one type, no transitions.
const UTC: &[u8] = b"TZif\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\0\0\0\0\0\0UTC\0";

/// Where a path of the guest lies on the host. It need not exist.
pub(super) fn resolve(root: &Path, guest: &Path) -> io::Result<PathBuf> {
    let mut todo: VecDeque<OsString> = steps(guest);
    let mut done: Vec<OsString> = Vec::new();
    let mut links = 0;
    while let Some(step) = todo.pop_front() {
        if step == ".." {
            done.pop();
            continue;
        }
        done.push(step);
        let here = root.join(done.iter().collect::<PathBuf>());
        let Some(target) = link_at(&here)? else { continue };
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::other("too many symbolic links"));
        }
        done.pop();
        if target.is_absolute() {
            done.clear();
        }
        let mut ahead = steps(&target);
        ahead.append(&mut todo);
        todo = ahead;
    }
    Ok(root.join(done.iter().collect::<PathBuf>()))
}

/// Where a link leads; `None`: there is no link. What cannot be looked at is an error, not no link.
fn link_at(path: &Path) -> io::Result<Option<PathBuf>> {
    match fs::read_link(path) {
        Ok(target) => Ok(Some(target)),
        Err(error) => match error.kind() {
            io::ErrorKind::InvalidInput
            | io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory => Ok(None),
            _ => Err(error),
        },
    }
}

fn steps(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

/// [`resolve`], and a directory is made if nothing is there, as the engine of the guest would.
pub(super) fn source(root: &Path, guest: &Path) -> io::Result<PathBuf> {
    let path = resolve(root, guest)?;
    let inside = path.strip_prefix(root).map_err(io::Error::other)?;
    make_dirs(root, inside)?;
    Ok(path)
}

/// Makes what is missing of a path without links. Containers of the guest may run meanwhile, so each
/// step starts at the directory of the last one and follows no link.
fn make_dirs(root: &Path, inside: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    for step in inside {
        let open = || rustix::fs::openat(&here, step, flags, Mode::empty());
        let next = match open() {
            Err(rustix::io::Errno::NOENT) => {
                rustix::fs::mkdirat(&here, step, Mode::from_raw_mode(0o755))?;
                open()?
            }
            other => other?,
        };
        if FileType::from_raw_mode(rustix::fs::fstat(&next)?.st_mode) == FileType::Symlink {
            return Err(io::Error::other("a link was put into the path while it was looked at"));
        }
        here = next;
    }
    Ok(())
}

/// The text of a path of the host that was resolved; the engine is told it as JSON.
pub(super) fn as_text(path: PathBuf) -> io::Result<String> {
    path.into_os_string().into_string().map_err(|path| {
        io::Error::other(format!("{} is not UTF-8: rename it", path.to_string_lossy()))
    })
}

/// Writes a file of the guest.
pub(super) fn put(root: &Path, guest: &str, bytes: &[u8]) -> io::Result<()> {
    let guest = Path::new(guest);
    let dir = source(root, guest.parent().unwrap_or(guest))?;
    let name = guest.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    files::write(&dir.join(name), bytes, 0o644)
}

/// Removes a file of the guest; none is fine.
pub(super) fn take_file(root: &Path, guest: &str) -> io::Result<()> {
    let guest = Path::new(guest);
    let dir = resolve(root, guest.parent().unwrap_or(guest))?;
    guest.file_name().map_or(Ok(()), |name| files::remove_if_there(&dir.join(name)))
}

/// What every guest has: a place to work in, a home, and the few files of `/etc` that compose files
/// like to mount.
pub(super) fn furnish(root: &Path, hostname: &str, machine_id: &str) -> io::Result<()> {
    for dir in ["/dstack", "/root", "/etc", "/tmp", "/var/log"] {
        source(root, Path::new(dir))?;
    }
    let fixed: [(&str, &[u8]); 4] = [
        ("/etc/localtime", UTC),
        ("/etc/timezone", b"Etc/UTC\n"),
        ("/etc/hostname", hostname.as_bytes()),
        ("/etc/machine-id", machine_id.as_bytes()),
    ];
    for (path, bytes) in fixed {
        if fs::symlink_metadata(resolve(root, Path::new(path))?).is_err() {
            put(root, path, bytes)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn resolved(root: &Path, guest: &str) -> String {
        let path = resolve(root, Path::new(guest)).unwrap();
        path.strip_prefix(root).unwrap().to_string_lossy().into_owned()
    }

    #[test]
    fn links_and_dots_never_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        symlink("/etc", root.join("a/abs")).unwrap();
        symlink("../../../../../../etc", root.join("a/up")).unwrap();
        symlink("b", root.join("a/rel")).unwrap();
        assert_eq!(resolved(root, "/a/b/c"), "a/b/c");
        assert_eq!(resolved(root, "/../../x"), "x");
        assert_eq!(resolved(root, "/a/abs/passwd"), "etc/passwd");
        assert_eq!(resolved(root, "/a/up/passwd"), "etc/passwd");
        assert_eq!(resolved(root, "/a/rel/f"), "a/b/f");
        assert_eq!(resolved(root, "/a/rel/../f"), "a/f");
    }

    #[test]
    fn loops_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/x", dir.path().join("x")).unwrap();
        assert!(resolve(dir.path(), Path::new("/x/y")).is_err());
    }

    #[test]
    fn making_directories_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("data")).unwrap();
        fs::create_dir(&outside).unwrap();
        make_dirs(&root, Path::new("data/a/b")).unwrap();
        assert!(root.join("data/a/b").is_dir());
        symlink(&outside, root.join("data/swapped")).unwrap();
        assert!(make_dirs(&root, Path::new("data/swapped/x")).is_err());
        assert!(make_dirs(&root, Path::new("data/swapped")).is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn putting_a_file_replaces_a_link_instead_of_following_it() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::write(&outside, "mine").unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("dstack")).unwrap();
        symlink(&outside, root.join("dstack/app-compose.json")).unwrap();
        put(&root, "/dstack/app-compose.json", b"{}").unwrap();
        assert_eq!(fs::read_to_string(&outside).unwrap(), "mine");
        assert_eq!(fs::read_to_string(root.join("dstack/app-compose.json")).unwrap(), "{}");
    }

    #[test]
    fn a_missing_source_becomes_a_directory_and_a_file_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        furnish(dir.path(), "web\n", "0\n").unwrap();
        assert!(source(dir.path(), Path::new("/data/x")).unwrap().is_dir());
        assert!(source(dir.path(), Path::new("/etc/localtime")).unwrap().is_file());
    }
}
