//! `serve.pid`: identifies the process of the local server. The server writes it, with its start time, so
//! that another process that reuses the pid is not mistaken for it.

use std::{fs, io, path::PathBuf, process::Command};

use rustix::process::{Pid, Signal, getpid, kill_process, test_kill_process};

use crate::{fail::Fail, local::DataDir};

const NAME: &str = "serve.pid";

/// The pid file of this process; removed when the server exits.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    text: String,
}

/// A running process that wrote the pid file.
#[derive(Debug, Clone)]
pub struct LocalServerProcess {
    pid: Pid,
    file: PathBuf,
}

impl PidFile {
    /// Writes the pid file for this process.
    pub fn write_own(dir: &DataDir) -> Result<Self, Fail> {
        let pid = getpid();
        let start_time = start_time(pid).unwrap_or_default();
        let file = Self {
            path: dir.file(NAME),
            text: format!("{}\n{start_time}\n", pid.as_raw_nonzero()),
        };
        fs::write(&file.path, &file.text).map_err(|error| {
            Fail::new("data-dir", error.to_string()).detail("file", file.path.display().to_string())
        })?;
        Ok(file)
    }

    /// Removes the file, unless another process has replaced it.
    pub fn remove(self) {
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl LocalServerProcess {
    /// The process that wrote the file, if it is still running.
    pub fn find(dir: &DataDir) -> Option<Self> {
        let file = dir.file(NAME);
        let text = fs::read_to_string(&file).ok()?;
        let mut lines = text.lines();
        let pid = Pid::from_raw(lines.next()?.parse().ok()?)?;
        let written = lines.next().filter(|text| !text.is_empty())?;
        (start_time(pid)? == written).then_some(Self { pid, file })
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) -> io::Result<()> {
        Ok(kill_process(self.pid, Signal::TERM)?)
    }

    /// Whether the process is running; zombies are not.
    pub fn is_running(&self) -> bool {
        test_kill_process(self.pid).is_ok() && !is_zombie(self.pid)
    }

    /// Whether the process removed its pid file, as it does on a requested exit.
    pub fn removed_pid_file(&self) -> bool {
        !self.file.exists()
    }
}

/// The start time of a process: clock ticks since boot from /proc, else a date. No later process with the
/// same pid has the same value.
fn start_time(pid: Pid) -> Option<String> {
    if let Some(fields) = stat_fields(pid) {
        // Field 22 of proc(5); the first field here is field 3.
        return fields.get(19).cloned();
    }
    let ps = Command::new("ps").args(["-o", "lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&ps.stdout).trim().to_owned();
    (ps.status.success() && !text.is_empty()).then_some(text)
}

fn is_zombie(pid: Pid) -> bool {
    stat_fields(pid).is_some_and(|fields| fields.first().is_some_and(|state| state == "Z"))
}

/// The fields of /proc/PID/stat after the command name, which may contain any character.
fn stat_fields(pid: Pid) -> Option<Vec<String>> {
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
        assert!(LocalServerProcess::find(&data).is_none());
        let file = PidFile::write_own(&data).unwrap();
        let found = LocalServerProcess::find(&data).unwrap();
        assert_eq!(u32::try_from(found.pid()).unwrap(), std::process::id());
        assert!(found.is_running());
        let other = format!("{}\nanother time\n", found.pid());
        fs::write(data.file(NAME), other).unwrap();
        assert!(LocalServerProcess::find(&data).is_none(), "the pid alone is not enough");
        assert!(!found.removed_pid_file());
        file.remove();
        assert!(data.file(NAME).exists(), "it was not ours any more");
    }
}
