//! As much of the tar format as it takes to put a file or a link into a container.

const BLOCK: usize = 512;
const FILE: u8 = b'0';
const LINK: u8 = b'2';

/// An archive under construction.
#[derive(Debug, Default)]
pub(super) struct Tar(Vec<u8>);

impl Tar {
    /// Adds a file that everyone may read and execute. Names are at most 100 bytes; a longer one
    /// makes `None`.
    pub fn file(mut self, name: &str, content: &[u8]) -> Option<Self> {
        self.0.extend(header(name, FILE, "", content.len())?);
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        Some(self)
    }

    /// Adds a symbolic link.
    pub fn link(mut self, name: &str, target: &str) -> Option<Self> {
        self.0.extend(header(name, LINK, target, 0)?);
        Some(self)
    }

    /// The archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}

fn header(name: &str, kind: u8, target: &str, size: usize) -> Option<[u8; BLOCK]> {
    let name = name.trim_start_matches('/');
    if name.is_empty() || name.len() > 100 || target.len() > 100 {
        return None;
    }
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, if kind == FILE { b"0000755\0" } else { b"0000777\0" });
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_what_tar_expects() {
        let tar = Tar::default()
            .file("/casemate/run.sh", b"echo hi\n")
            .and_then(|tar| tar.link("var/run/dstack.sock", "/.casemate/dstack.sock"))
            .unwrap()
            .finish();
        assert_eq!(tar.len(), 5 * BLOCK);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.tar"), &tar).unwrap();
        let listed = std::process::Command::new("tar")
            .args(["-tvf", "a.tar"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.contains("casemate/run.sh"), "{listed}");
        assert!(listed.contains("var/run/dstack.sock -> /.casemate/dstack.sock"), "{listed}");
    }

    #[test]
    fn long_names_are_not_cut() {
        assert!(Tar::default().link(&"x".repeat(101), "/y").is_none());
    }
}
