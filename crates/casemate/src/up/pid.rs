//! `serve.pid`: which process the embedded instance is. It is written by the instance itself, and
//! names the time the process began, too, so that nobody else's process with the same number is ever
//! taken for it.

use std::{fs, io, path::PathBuf, process::Command};

use rustix::process::{Pid, Signal, getpid, kill_process, test_kill_process};

use crate::{fail::Fail, local::DataDir};

const NAME: &str = "serve.pid";

/// The file, while the instance that wrote it lives.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    text: String,
}

/// A process that is known to be the embedded instance.
#[derive(Debug, Clone)]
pub struct Embedded {
    pid: Pid,
    file: PathBuf,
}

impl PidFile {
    /// Writes down this process.
    pub fn write_own(dir: &DataDir) -> Result<Self, Fail> {
        let pid = getpid();
        let began = began(pid).unwrap_or_default();
        let file =
            Self { path: dir.file(NAME), text: format!("{}\n{began}\n", pid.as_raw_nonzero()) };
        fs::write(&file.path, &file.text).map_err(|error| {
            Fail::new("data-dir", error.to_string()).detail("file", file.path.display().to_string())
        })?;
        Ok(file)
    }

    /// Removes the file if it is still this process's.
    pub fn remove(self) {
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Embedded {
    /// The process that wrote the file, if it still lives.
    pub fn find(dir: &DataDir) -> Option<Self> {
        let file = dir.file(NAME);
        let text = fs::read_to_string(&file).ok()?;
        let mut lines = text.lines();
        let pid = Pid::from_raw(lines.next()?.parse().ok()?)?;
        let written = lines.next().filter(|text| !text.is_empty())?;
        (began(pid)? == written).then_some(Self { pid, file })
    }

    /// Its number, for people.
    pub fn number(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Asks it to end.
    pub fn terminate(&self) -> io::Result<()> {
        Ok(kill_process(self.pid, Signal::TERM)?)
    }

    /// Whether it is still there; one that waits for its parent to take note is not.
    pub fn lives(&self) -> bool {
        test_kill_process(self.pid).is_ok() && !is_zombie(self.pid)
    }

    /// Whether it took its file away, as one does that ends because it was asked to.
    pub fn took_its_leave(&self) -> bool {
        !self.file.exists()
    }
}

/// When a process began, in words that no later process of that number has: clock ticks since boot
/// where there is /proc, else a date.
fn began(pid: Pid) -> Option<String> {
    if let Some(fields) = stat(pid) {
        // Field 22 of proc(5); the first of these is field 3.
        return fields.get(19).cloned();
    }
    let ps = Command::new("ps").args(["-o", "lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&ps.stdout).trim().to_owned();
    (ps.status.success() && !text.is_empty()).then_some(text)
}

fn is_zombie(pid: Pid) -> bool {
    stat(pid).is_some_and(|fields| fields.first().is_some_and(|state| state == "Z"))
}

/// The fields of /proc/PID/stat after the command's name, which may hold anything.
fn stat(pid: Pid) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_wrote_it_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::find(Some(dir.path()));
        assert!(Embedded::find(&data).is_none());
        let file = PidFile::write_own(&data).unwrap();
        let found = Embedded::find(&data).unwrap();
        assert_eq!(u32::try_from(found.number()).unwrap(), std::process::id());
        assert!(found.lives());
        let other = format!("{}\nanother time\n", found.number());
        fs::write(data.file(NAME), other).unwrap();
        assert!(Embedded::find(&data).is_none(), "the number alone is not enough");
        assert!(!found.took_its_leave());
        file.remove();
        assert!(data.file(NAME).exists(), "it was not ours any more");
    }
}
