//! A host in a directory, which several processes may use at once and any of them may be killed in.
//!
//! | file | what |
//! |---|---|
//! | `lock` | held (`flock`) by whoever reads or writes; the OS drops it with its process |
//! | `host.json` | seed and counters |
//! | `vms/<number>_<vm uuid>_<id>.json` | one VM; its name is its [`Key`] |
//! | `calls.jsonl` | the journal, one call a line |
//! | `faults.json` | faults, written by tests |
//! | `redo.json` | the changes of a call that was interrupted while making them |
//!
//! A call has happened once `redo.json` is in place; whoever holds the lock next finishes it. There
//! is no `fsync`: this outlives a killed process, not a lost power supply.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use casemate_core::id::EngineVmId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Changes, Disk, Host, Key};
use crate::node::sim::{journal::Call, vm::Vm};

/// A directory with a host in it.
#[derive(Debug, Clone)]
pub(in crate::node::sim) struct Files {
    root: PathBuf,
}

/// What `redo.json` holds.
#[derive(Serialize, Deserialize)]
struct Redo {
    changes: Changes,
    /// Length of the journal before; what is behind was written by an interrupted call.
    journal_at: u64,
}

impl Files {
    pub(super) fn open(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(root.join("vms"))?;
        Ok(Self { root })
    }

    pub(super) fn locked<T>(
        &self,
        action: impl FnOnce(&mut dyn Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root.join("lock"))?;
        lock.lock()?;
        let mut files = self.clone();
        files.finish()?;
        action(&mut files)
    }

    /// Finishes the call that was interrupted, if one was.
    fn finish(&self) -> io::Result<()> {
        let path = self.root.join("redo.json");
        let Some(redo) = read_json::<Redo>(&path)? else { return Ok(()) };
        self.apply(&redo)?;
        fs::remove_file(path)
    }

    /// Gives the same result however often it is done and wherever it was interrupted before.
    fn apply(&self, redo: &Redo) -> io::Result<()> {
        for vm in redo.changes.puts.values() {
            write_json(&self.vm_path(&vm.key()), vm)?;
        }
        for key in &redo.changes.drops {
            match fs::remove_file(self.vm_path(key)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if let Some(host) = &redo.changes.host {
            write_json(&self.root.join("host.json"), host)?;
        }
        match &redo.changes.call {
            Some(call) => self.append(call, redo.journal_at),
            None => Ok(()),
        }
    }

    fn append(&self, call: &Call, at: u64) -> io::Result<()> {
        let mut line = serde_json::to_vec(call)?;
        line.push(b'\n');
        let mut journal = OpenOptions::new().create(true).append(true).open(self.journal())?;
        journal.set_len(at)?;
        journal.write_all(&line)
    }

    fn journal(&self) -> PathBuf {
        self.root.join("calls.jsonl")
    }

    fn vm_path(&self, key: &Key) -> PathBuf {
        self.root.join("vms").join(format!("{:010}_{}_{}.json", key.seq, key.mark, key.id))
    }
}

impl Disk for Files {
    fn host(&mut self) -> io::Result<Option<Host>> {
        read_json(&self.root.join("host.json"))
    }

    fn keys(&mut self) -> io::Result<Vec<Key>> {
        let mut keys = Vec::new();
        for entry in fs::read_dir(self.root.join("vms"))? {
            keys.extend(entry?.file_name().to_str().and_then(key));
        }
        keys.sort_unstable();
        Ok(keys)
    }

    fn vm(&mut self, key: &Key) -> io::Result<Vm> {
        read_json(&self.vm_path(key))?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn calls(&mut self) -> io::Result<Vec<Call>> {
        let Some(text) = read(&self.journal())? else { return Ok(Vec::new()) };
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    fn faults(&mut self) -> io::Result<Option<String>> {
        read(&self.root.join("faults.json"))
    }

    fn set_faults(&mut self, text: &str) -> io::Result<()> {
        replace(&self.root.join("faults.json"), text.as_bytes())
    }

    fn commit(&mut self, changes: Changes) -> io::Result<()> {
        let journal_at = match fs::metadata(self.journal()) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let redo = Redo { changes, journal_at };
        let path = self.root.join("redo.json");
        write_json(&path, &redo)?;
        self.apply(&redo)?;
        fs::remove_file(path)
    }
}

/// Reads the name of a VM's file; `None` for others, such as a half-written one.
pub(super) fn key(file_name: &str) -> Option<Key> {
    let mut parts = file_name.strip_suffix(".json")?.splitn(3, '_');
    Some(Key {
        seq: parts.next()?.parse().ok()?,
        mark: parts.next()?.parse().ok()?,
        id: EngineVmId(parts.next()?.to_owned()),
    })
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let Some(text) = read(path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
    })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    replace(path, &serde_json::to_vec(value)?)
}

/// The file has the old content or the new one, whenever it is looked at.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let half = path.with_extension("half");
    File::create(&half)?.write_all(content)?;
    fs::rename(half, path)
}
