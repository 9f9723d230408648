//! One control group around all containers of a VM, so that the limits of the VM hold for all of
//! them together. Possible where the engine uses plain control groups (`cgroupfs`) of this host and
//! they can be written; elsewhere each service is limited by itself.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use casemate_core::id::EngineVmId;

use super::derive::Limits;

const ROOT: &str = "/sys/fs/cgroup";
const OURS: &str = "casemate";
/// Length of a scheduling period.
const PERIOD_US: u64 = 100_000;

/// Whether and how control groups are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cgroups {
    /// One hierarchy per controller.
    V1(PathBuf),
    /// One hierarchy.
    V2(PathBuf),
    /// Not at all; why.
    No(String),
}

impl Cgroups {
    /// Finds out by trying.
    pub fn find(local: bool, driver: &str) -> Self {
        Self::find_in(Path::new(ROOT), local, driver)
    }

    fn find_in(root: &Path, local: bool, driver: &str) -> Self {
        if !local {
            return Self::No("the engine is on another host".to_owned());
        }
        if driver != "cgroupfs" {
            return Self::No(format!("the engine's cgroup driver is {driver}, not cgroupfs"));
        }
        let v2 = root.join("cgroup.controllers").exists();
        let groups = if v2 { Self::V2(root.to_owned()) } else { Self::V1(root.to_owned()) };
        match groups.prepare() {
            Ok(()) => groups,
            Err(error) => Self::No(format!("control groups cannot be written: {error}")),
        }
    }

    /// Makes the group of a VM with its limits. Limits may change at every boot.
    pub fn limits(
        &self,
        vm: &EngineVmId,
        vcpu: u32,
        memory_mb: u32,
        pids: u32,
    ) -> io::Result<Limits> {
        let quota = u64::from(vcpu.max(1)) * PERIOD_US;
        let bytes = u64::from(memory_mb.max(1)) * 1024 * 1024;
        for (file, value) in self.settings(quota, bytes, pids) {
            let group = self.group(file.0, vm);
            fs::create_dir_all(&group)?;
            fs::write(group.join(file.1), value)?;
        }
        Ok(match self {
            Self::No(_) => Limits::PerService { vcpu, memory_mb, pids },
            _ => Limits::Parent(group_name(vm)),
        })
    }

    /// The engine's name of the group of a VM.
    pub fn group_of(&self, vm: &EngineVmId) -> Option<String> {
        (!matches!(self, Self::No(_))).then(|| group_name(vm))
    }

    /// Bytes that all containers of a VM use together; `None`: there is no group to read.
    pub fn memory_used(&self, vm: &EngineVmId) -> Option<u64> {
        let (controller, file) = match self {
            Self::V1(_) => ("memory", "memory.usage_in_bytes"),
            Self::V2(_) => ("", "memory.current"),
            Self::No(_) => return None,
        };
        fs::read_to_string(self.group(controller, vm).join(file)).ok()?.trim().parse().ok()
    }

    /// Removes the group of a VM from every hierarchy: the engine makes it in those as well in which
    /// we set no limit, and never takes it away. `Ok(false)`: processes are still in it.
    pub fn remove(&self, vm: &EngineVmId) -> io::Result<bool> {
        let mut gone = true;
        for hierarchy in self.hierarchies()? {
            gone &= remove_tree(&hierarchy.join(OURS).join(&vm.0))?;
        }
        Ok(gone)
    }

    fn hierarchies(&self) -> io::Result<Vec<PathBuf>> {
        match self {
            Self::V1(root) => fs::read_dir(root)?.map(|entry| Ok(entry?.path())).collect(),
            Self::V2(root) => Ok(vec![root.clone()]),
            Self::No(_) => Ok(Vec::new()),
        }
    }

    /// For the operator.
    pub fn description(&self) -> String {
        match self {
            Self::V1(_) => {
                "CPU, memory and process limits apply to each CVM as a whole (cgroup v1)".to_owned()
            }
            Self::V2(_) => {
                "CPU, memory and process limits apply to each CVM as a whole (cgroup v2)".to_owned()
            }
            Self::No(why) => {
                format!(
                    "CPU, memory and process limits apply to each container by itself, not to the CVM: {why}"
                )
            }
        }
    }

    /// ((controller, file), value) in the order of writing.
    fn settings(
        &self,
        quota: u64,
        bytes: u64,
        pids: u32,
    ) -> Vec<((&'static str, &'static str), String)> {
        match self {
            Self::V1(_) => vec![
                (("cpu", "cpu.cfs_period_us"), PERIOD_US.to_string()),
                (("cpu", "cpu.cfs_quota_us"), quota.to_string()),
                (("memory", "memory.limit_in_bytes"), bytes.to_string()),
                (("pids", "pids.max"), pids.to_string()),
            ],
            Self::V2(_) => vec![
                (("", "cpu.max"), format!("{quota} {PERIOD_US}")),
                (("", "memory.max"), bytes.to_string()),
                (("", "pids.max"), pids.to_string()),
            ],
            Self::No(_) => Vec::new(),
        }
    }

    const fn controllers(&self) -> &'static [&'static str] {
        match self {
            Self::V1(_) => &["cpu", "memory", "pids"],
            Self::V2(_) => &[""],
            Self::No(_) => &[],
        }
    }

    fn ours(&self, controller: &str) -> PathBuf {
        match self {
            Self::V1(root) | Self::V2(root) => root.join(controller).join(OURS),
            Self::No(_) => PathBuf::new(),
        }
    }

    fn group(&self, controller: &str, vm: &EngineVmId) -> PathBuf {
        self.ours(controller).join(&vm.0)
    }

    fn prepare(&self) -> io::Result<()> {
        for controller in self.controllers() {
            if let Self::V1(root) = self
                && !root.join(controller).is_dir()
            {
                return Err(io::Error::other(format!("there is no controller {controller}")));
            }
            fs::create_dir_all(self.ours(controller))?;
        }
        if let Self::V2(root) = self {
            for dir in [root.clone(), root.join(OURS)] {
                fs::write(dir.join("cgroup.subtree_control"), "+cpu +memory +pids")?;
            }
        }
        self.writable()
    }

    /// Making a group and taking it away again shows that it works.
    fn writable(&self) -> io::Result<()> {
        let probe = EngineVmId("probe".to_owned());
        self.limits(&probe, 1, 64, 64)?;
        self.remove(&probe).map(|_| ())
    }
}

fn group_name(vm: &EngineVmId) -> String {
    format!("/{OURS}/{vm}")
}

/// Removes a group with the groups in it, which the engine may have left behind. Files in a control
/// group vanish with it.
fn remove_tree(group: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(group) {
        Ok(entries) => entries,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(true);
        }
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() && !remove_tree(&entry.path())? {
            return Ok(false);
        }
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(false),
        other => other.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm() -> EngineVmId {
        EngineVmId("v".to_owned())
    }

    #[test]
    fn version_1_has_a_group_per_controller() {
        let dir = tempfile::tempdir().unwrap();
        for controller in ["cpu", "memory", "pids"] {
            fs::create_dir_all(dir.path().join(controller)).unwrap();
        }
        let groups = Cgroups::V1(dir.path().to_owned());
        let limits = groups.limits(&vm(), 2, 512, 100).unwrap();
        assert_eq!(limits, Limits::Parent("/casemate/v".to_owned()));
        let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
        assert_eq!(read("cpu/casemate/v/cpu.cfs_quota_us"), "200000");
        assert_eq!(read("memory/casemate/v/memory.limit_in_bytes"), (512 << 20).to_string());
        assert_eq!(read("pids/casemate/v/pids.max"), "100");
    }

    #[test]
    fn version_2_has_one_group() {
        let dir = tempfile::tempdir().unwrap();
        let groups = Cgroups::V2(dir.path().to_owned());
        groups.limits(&vm(), 1, 64, 100).unwrap();
        let max = fs::read_to_string(dir.path().join("casemate/v/cpu.max")).unwrap();
        assert_eq!(max, "100000 100000");
        assert_eq!(groups.memory_used(&vm()), None);
        fs::write(dir.path().join("casemate/v/memory.current"), "4096\n").unwrap();
        assert_eq!(groups.memory_used(&vm()), Some(4096));
    }

    #[test]
    fn elsewhere_each_service_is_limited_and_the_note_says_so() {
        for (local, driver) in [(false, "cgroupfs"), (true, "systemd")] {
            let groups = Cgroups::find(local, driver);
            assert!(groups.description().contains("each container"), "{}", groups.description());
            assert_eq!(
                groups.limits(&vm(), 1, 64, 100).unwrap(),
                Limits::PerService { vcpu: 1, memory_mb: 64, pids: 100 }
            );
        }
    }
}
