//! The work directory of one VM, as a dstack host keeps it:
//!
//! ```text
//! vms/<vm id>/manifest.json      what the VM is; written last, names the hash of the document
//!             app-compose.json   the document, byte for byte
//!             encrypted-env      the sealed environment; never the opened one
//!             user-config        text for the guest
//!             instance.json      seed of the instance id, and the id once a boot has used it
//!             state.json         what is wanted of it
//!             .removing          being removed; survives everything but its own success
//!             root/              the guest's private file system, as far as mounts show it
//!             run/               the guest agent's sockets; containers have it read-only
//!             agent/             where these sockets are made; no container has it
//! ```
//!
//! A VM is written under another name and renamed, so that a half-made one never shows.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use casemate_core::{
    cvm::{Gpus, PortMap},
    id::{AppId, ComposeHash, EngineVmId, InstanceId, KmsId},
    instance::InstanceSeed,
    seal::SealedEnv,
    time::Timestamp,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    files::{self, PRIVATE},
    node::{Mark, VmConfig, docker::KeyOwner},
};

/// What a VM is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub id: EngineVmId,
    /// The mark, as text.
    pub name: String,
    pub app_id: AppId,
    #[serde(default)]
    pub kms: Option<KmsId>,
    pub compose_hash: ComposeHash,
    pub image: String,
    pub vcpu: u32,
    pub memory_mb: u32,
    pub disk_gb: u32,
    pub ports: Vec<PortMap>,
    pub hugepages: bool,
    pub pin_numa: bool,
    pub gpus: Option<Gpus>,
    pub kms_urls: Vec<String>,
    pub gateway_urls: Vec<String>,
    #[serde(default)]
    pub gateway_domain: Option<String>,
    #[serde(default)]
    pub instance_seed: Option<InstanceSeed>,
    pub created_at: Timestamp,
}

impl Manifest {
    /// The manifest of a VM with this configuration.
    pub fn new(id: EngineVmId, config: &VmConfig, created_at: Timestamp) -> Self {
        Self {
            id,
            name: config.mark.to_string(),
            app_id: config.app_id,
            kms: config.kms.clone(),
            compose_hash: config.compose_hash,
            image: config.image.clone(),
            vcpu: config.vcpu,
            memory_mb: config.memory_mb,
            disk_gb: config.disk_gb,
            ports: config.ports.clone(),
            hugepages: config.hugepages,
            pin_numa: config.pin_numa,
            gpus: config.gpus.clone(),
            kms_urls: config.kms_urls.clone(),
            gateway_urls: config.gateway_urls.clone(),
            gateway_domain: config.gateway_domain.clone(),
            instance_seed: config.instance_seed,
            created_at,
        }
    }

    /// The mark; `None` when the name was tampered with.
    pub fn mark(&self) -> Option<Mark> {
        Mark::parse(&self.name)
    }

    /// Whose keys its guest gets.
    pub fn key_owner(&self) -> KeyOwner {
        KeyOwner { app: self.app_id, kms: self.kms.clone() }
    }

    /// The compose project of the VM.
    pub fn project(&self) -> String {
        let hex: String = self.id.0.chars().filter(char::is_ascii_hexdigit).take(12).collect();
        format!("casemate-{hex}")
    }
}

/// What is wanted of a VM, and how far that got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Whether it is to be up.
    pub started: bool,
    /// Whether the boot under `started` ended well.
    #[serde(default)]
    pub booted: bool,
    /// Which run of the host that boot happened in.
    #[serde(default)]
    pub host_run: String,
    /// How it goes down when it is not to be up.
    #[serde(default)]
    pub down: Down,
    /// When it was started last.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
}

/// How a VM goes down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Down {
    /// At once.
    #[default]
    Hard,
    /// With time for the containers to end.
    Graceful,
}

/// Source of the instance id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Instance {
    /// Drawn when the VM was made; the manifest's, if it has one, counts instead.
    pub seed: InstanceSeed,
    /// Told by the first boot that got that far; `None` before, and for apps without one.
    #[serde(default)]
    pub instance_id: Option<InstanceId>,
}

/// The directory of one VM.
#[derive(Debug, Clone)]
pub(super) struct VmDir(PathBuf);

impl VmDir {
    /// The directory of this VM under `vms`.
    pub fn of(vms: &Path, id: &EngineVmId) -> Self {
        Self(vms.join(&id.0))
    }

    /// The guest's private file system.
    pub fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    /// The guest agent's sockets, as containers see them.
    pub fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// Where sockets are made before they are moved to [`Self::run`]. Never mounted.
    pub fn agent(&self) -> PathBuf {
        self.0.join("agent")
    }

    /// Makes the VM: complete, or not at all.
    pub fn create(
        vms: &Path,
        manifest: &Manifest,
        config: &VmConfig,
        instance: &Instance,
    ) -> io::Result<Self> {
        let new = Self(vms.join(format!(".new-{}", manifest.id)));
        make_dir(&new.0, 0o700)?;
        make_dir(&new.root(), 0o755)?;
        make_dir(&new.run(), 0o755)?;
        new.write_json("instance.json", instance)?;
        new.write_state(&State::default())?;
        new.write_config(manifest, config)?;
        let dir = Self::of(vms, &manifest.id);
        fs::rename(&new.0, &dir.0)?;
        files::sync_dir(vms)?;
        Ok(dir)
    }

    /// Replaces the whole configuration, the manifest last.
    pub fn write_config(&self, manifest: &Manifest, config: &VmConfig) -> io::Result<()> {
        files::write(&self.0.join("app-compose.json"), config.compose.as_bytes(), PRIVATE)?;
        self.write_or_remove("encrypted-env", config.sealed_env.as_ref().map(SealedEnv::as_bytes))?;
        self.write_or_remove("user-config", config.user_config.as_deref().map(str::as_bytes))?;
        self.write_json("manifest.json", manifest)
    }

    pub fn manifest(&self) -> io::Result<Manifest> {
        self.read_json("manifest.json")?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// What is wanted; nothing, when it was never written.
    pub fn state(&self) -> io::Result<State> {
        Ok(self.read_json("state.json")?.unwrap_or_default())
    }

    /// Records what is wanted.
    pub fn write_state(&self, state: &State) -> io::Result<()> {
        self.write_json("state.json", state)
    }

    /// The source of the instance id.
    pub fn instance(&self) -> io::Result<Instance> {
        self.read_json("instance.json")?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Records it.
    pub fn write_instance(&self, instance: &Instance) -> io::Result<()> {
        self.write_json("instance.json", instance)
    }

    /// The app-compose document.
    pub fn compose(&self) -> io::Result<String> {
        fs::read_to_string(self.0.join("app-compose.json"))
    }

    /// The sealed environment.
    pub fn sealed_env(&self) -> io::Result<Option<SealedEnv>> {
        files::read(&self.0.join("encrypted-env"))?
            .map(|bytes| SealedEnv::from_bytes(bytes).map_err(io::Error::other))
            .transpose()
    }

    /// Text for the guest.
    pub fn user_config(&self) -> io::Result<Option<Vec<u8>>> {
        files::read(&self.0.join("user-config"))
    }

    /// Whether the VM is being removed.
    pub fn removing(&self) -> bool {
        self.0.join(".removing").exists()
    }

    /// From here on the VM can only vanish.
    pub fn mark_removing(&self) -> io::Result<()> {
        files::write(&self.0.join(".removing"), b"", PRIVATE)
    }

    /// Removes everything, the mark last but the directory.
    pub fn delete(&self) -> io::Result<()> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if entry.file_name() != ".removing" {
                paths.push(entry.path());
            }
        }
        remove_trees(&paths)?;
        files::remove_if_there(&self.0.join(".removing"))?;
        fs::remove_dir(&self.0)
    }

    fn write_or_remove(&self, name: &str, bytes: Option<&[u8]>) -> io::Result<()> {
        let path = self.0.join(name);
        bytes.map_or_else(
            || files::remove_if_there(&path),
            |bytes| files::write(&path, bytes, PRIVATE),
        )
    }

    fn write_json(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        files::write(&self.0.join(name), &serde_json::to_vec_pretty(value)?, PRIVATE)
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        let bytes = files::read(&self.0.join(name))?;
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }
}

/// Ids of all VMs under `vms`. Leftovers of unfinished creations are removed.
pub(super) fn take_stock(vms: &Path) -> io::Result<Vec<EngineVmId>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(vms)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(".new-") {
            remove_trees(&[entry.path()])?;
        } else if name.parse::<casemate_core::id::VmUuid>().is_ok() {
            ids.push(EngineVmId(name));
        }
    }
    ids.sort();
    Ok(ids)
}

/// Removes files and directories with everything below them. Containers made what is there: a tree may be
/// deeper than a function of this process can call itself, so another process removes it.
fn remove_trees(paths: &[PathBuf]) -> io::Result<()> {
    if paths.is_empty() {
        return Ok(());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let mut rm = Command::new("rm")
        .args(["-rf", "--one-file-system", "--"])
        .args(paths)
        .env_clear()
        .envs([("PATH", path), ("LC_ALL", "C".into())])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("rm cannot be run: {error}")))?;
    let stderr = rm.stderr.take();
    let reader = thread::spawn(move || stderr.map(first_lines).unwrap_or_default());
    let deadline = Instant::now() + MAX_REMOVAL;
    let status = loop {
        if let Some(status) = rm.try_wait()? {
            break Some(status);
        }
        if Instant::now() >= deadline {
            rm.kill()?;
            rm.wait()?;
            break None;
        }
        thread::sleep(BETWEEN);
    };
    let complaint = reader.join().unwrap_or_default();
    match status {
        Some(status) if status.success() => Ok(()),
        Some(_) => {
            let denied = ["Permission denied", "Operation not permitted"];
            let kind = if denied.iter().any(|text| complaint.contains(text)) {
                io::ErrorKind::PermissionDenied
            } else {
                io::ErrorKind::Other
            };
            Err(io::Error::new(kind, format!("rm: {complaint}")))
        }
        None => {
            let text = format!("rm is not done after {MAX_REMOVAL:?} and goes on later");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
    }
}

/// Longest run of one `rm`; what is left is removed by the next.
const MAX_REMOVAL: Duration = Duration::from_mins(5);
const BETWEEN: Duration = Duration::from_millis(5);
const MAX_COMPLAINT: u64 = 1024;

/// The beginning of what a process writes; the rest is read and dropped, so that it does not wait.
fn first_lines(mut from: impl Read) -> String {
    let mut text = Vec::new();
    let read = from.by_ref().take(MAX_COMPLAINT).read_to_end(&mut text);
    let _ = read.and_then(|_| io::copy(&mut from, &mut io::sink()));
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// Makes a directory with exactly this mode.
pub(super) fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().recursive(true).mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Mode, OFlags};

    use super::*;

    const DEPTH: usize = 20_001;

    /// Makes a directory in a directory and so on.
    fn make_deep_tree(at: &Path) {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let mut here = rustix::fs::open(at, flags, Mode::empty()).unwrap();
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&here, "d", Mode::from_raw_mode(0o700)).unwrap();
            here = rustix::fs::openat(&here, "d", flags, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn a_very_deep_tree_of_a_container_is_removed() {
        let vms = tempfile::tempdir().unwrap();
        let dir = VmDir(vms.path().join("v"));
        fs::create_dir_all(dir.root().join("data")).unwrap();
        fs::write(dir.0.join("manifest.json"), "{}").unwrap();
        std::os::unix::fs::symlink("/", dir.root().join("-link")).unwrap();
        dir.mark_removing().unwrap();
        make_deep_tree(&dir.root().join("data"));
        dir.delete().unwrap();
        assert!(!dir.0.exists());
    }

    #[test]
    fn a_very_deep_unfinished_creation_is_removed() {
        let vms = tempfile::tempdir().unwrap();
        fs::create_dir(vms.path().join(".new-v")).unwrap();
        make_deep_tree(&vms.path().join(".new-v"));
        assert_eq!(take_stock(vms.path()).unwrap(), []);
        assert_eq!(fs::read_dir(vms.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_failed_removal_says_why() {
        let error = remove_trees(&[PathBuf::from("/proc/self/status")]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("/proc/self/status"), "{error}");
    }
}
