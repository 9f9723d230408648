//! A host in a directory, which several processes may use at once and any of them may be killed in.
//!
//! | file | what |
//! |---|---|
//! | `lock` | held (`flock`) by whoever reads or writes; the OS drops it with its process. Holds the generation of the directory |
//! | `host.json` | seed and counters |
//! | `vms/<number>_<vm uuid>_<id>.json` | one VM; its name is its [`Key`] |
//! | `calls.jsonl` | the journal, one call a line |
//! | `faults.json` | faults, written by tests |
//! | `redo.json` | the changes of a call that was interrupted while making them |
//!
//! A call has happened once `redo.json` is in place; whoever holds the lock next finishes it. There
//! is no `fsync`: this outlives a killed process, not a lost power supply.
//!
//! The generation is raised before anything is changed. Who finds the one it knows needs not look
//! which files there are ([`super::index`]); who finds another one looks again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use casemate_core::id::EngineVmId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tempfile::NamedTempFile;

use super::{Changes, Disk, Host, Key, Which, index::Index};
use crate::node::sim::{journal::Call, vm::Vm};

/// A directory with a host in it.
#[derive(Debug, Clone)]
pub(in crate::node::sim) struct Files {
    root: PathBuf,
    index: Arc<Mutex<Index>>,
}

/// The same, with its lock held.
struct Locked<'a> {
    files: &'a Files,
    lock: File,
    index: MutexGuard<'a, Index>,
    generation: u64,
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
        Ok(Self { root, index: Arc::default() })
    }

    pub(super) fn locked<T>(
        &self,
        action: impl FnOnce(&mut dyn Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(self.root.join("lock"))?;
        lock.lock()?;
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if self.finish()? {
            index.forget();
        }
        let generation = generation(&lock)?;
        action(&mut Locked { files: self, lock, index, generation })
    }

    /// Finishes the call that was interrupted, if one was.
    fn finish(&self) -> io::Result<bool> {
        let path = self.root.join("redo.json");
        let Some(redo) = read_json::<Redo>(&path)? else { return Ok(false) };
        self.apply(&redo)?;
        fs::remove_file(path)?;
        Ok(true)
    }

    fn keys(&self) -> io::Result<Vec<Key>> {
        let mut keys = Vec::new();
        for entry in fs::read_dir(self.root.join("vms"))? {
            keys.extend(entry?.file_name().to_str().and_then(key));
        }
        Ok(keys)
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

impl Disk for Locked<'_> {
    fn host(&mut self) -> io::Result<Option<Host>> {
        read_json(&self.files.root.join("host.json"))
    }

    fn keys(&mut self, which: Which<'_>) -> io::Result<Vec<Key>> {
        if !self.index.is_of(self.generation) {
            *self.index = Index::of(self.files.keys()?, self.generation);
        }
        Ok(self.index.keys(which))
    }

    fn vm(&mut self, key: &Key) -> io::Result<Vm> {
        read_json(&self.files.vm_path(key))?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn calls(&mut self) -> io::Result<Vec<Call>> {
        let Some(text) = read(&self.files.journal())? else { return Ok(Vec::new()) };
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    fn faults(&mut self) -> io::Result<Option<String>> {
        read(&self.files.root.join("faults.json"))
    }

    fn set_faults(&mut self, text: &str) -> io::Result<()> {
        replace(&self.files.root.join("faults.json"), text.as_bytes())
    }

    fn commit(&mut self, changes: Changes) -> io::Result<()> {
        let journal_at = match fs::metadata(self.files.journal()) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let known = self.index.is_of(self.generation);
        self.index.forget();
        self.generation += 1;
        self.lock.write_all_at(&self.generation.to_le_bytes(), 0)?;
        let redo = Redo { changes, journal_at };
        let path = self.files.root.join("redo.json");
        write_json(&path, &redo)?;
        self.files.apply(&redo)?;
        fs::remove_file(path)?;
        if known {
            self.index.follow(&redo.changes, self.generation);
        }
        Ok(())
    }
}

/// What the lock's file says; a new one says nothing.
fn generation(lock: &File) -> io::Result<u64> {
    let mut bytes = [0; 8];
    match lock.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(u64::from_le_bytes(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        Err(error) => Err(error),
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
    let mut half = NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    half.write_all(content)?;
    half.persist(path)?;
    Ok(())
}
