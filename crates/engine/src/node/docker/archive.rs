//! Archives that put files and links into a container.

use std::io;

use tar::{Builder, EntryType, Header};

/// A tar archive under construction.
pub(super) struct Archive(Builder<Vec<u8>>);

impl Default for Archive {
    fn default() -> Self {
        Self(Builder::new(Vec::new()))
    }
}

impl Archive {
    /// Adds a file that everyone may read and execute.
    pub fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        let mut header = header(EntryType::Regular, 0o755);
        header.set_size(content.len().try_into().map_err(io::Error::other)?);
        self.0.append_data(&mut header, relative(path), content)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.0.append_link(&mut header(EntryType::Symlink, 0o777), relative(path), target)
    }

    /// The archive.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        self.0.into_inner()
    }
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header
}

/// The root of the archive is the root of the container.
fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_what_tar_expects() {
        let long = format!("var/run/{}", "x".repeat(120));
        let mut archive = Archive::default();
        archive.file("/casemate/run.sh", b"echo hi\n").unwrap();
        archive.link("var/run/dstack.sock", "/.casemate/dstack.sock").unwrap();
        archive.link(&long, "/y").unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.tar"), archive.finish().unwrap()).unwrap();
        let listed = std::process::Command::new("tar")
            .args(["-tvf", "a.tar"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.contains("-rwxr-xr-x 0/0"), "{listed}");
        assert!(listed.contains("casemate/run.sh"), "{listed}");
        assert!(listed.contains("var/run/dstack.sock -> /.casemate/dstack.sock"), "{listed}");
        assert!(listed.contains(&format!("{long} -> /y")), "long names are not cut: {listed}");
    }

    #[test]
    fn nothing_is_put_outside() {
        assert!(Archive::default().link("", "/y").is_err());
        assert!(Archive::default().link("../etc/passwd", "/y").is_err());
    }
}
