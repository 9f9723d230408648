//! What the engine created, compared with what was derived, before anything starts.
//!
//! [`super::derive`] decides on a model, and another program reads it: compose. If the two should ever
//! understand a string differently, the difference shows here: in the mounts, namespaces and rights
//! that the containers got. The comparison is pure; [`read`] fills in what the engine says.

mod expected;
pub(super) mod read;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

pub(super) use self::expected::expected;
use super::derive::{is_of_engine, is_shared_memory, is_too_often};

/// What the engine must have created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    /// The VM that everything is labelled with.
    pub vm: String,
    pub services: BTreeMap<String, ExpectedService>,
    /// Named volumes by the engine's names.
    pub volumes: BTreeMap<String, ExpectedVolume>,
}

/// What the containers of a service must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpectedService {
    pub mounts: Vec<ExpectedMount>,
    /// Services whose mounts it takes over.
    pub volumes_from: Vec<String>,
    /// Whether an operator granted it mounts of containers outside the project.
    pub outside_mounts: bool,
    /// The engine's names of its networks.
    pub networks: BTreeSet<String>,
    pub network_mode: Mode,
    pub pid: Mode,
    pub ipc: Mode,
    pub uts: Mode,
    pub userns: Mode,
    pub cgroup: Mode,
    pub cgroup_parent: String,
    pub privileged: bool,
    pub devices: bool,
    pub cap_add: BTreeSet<String>,
    /// `None`: an operator granted it any.
    pub security_opt: Option<BTreeSet<String>>,
    /// `None`: the engine's default.
    pub runtime: Option<String>,
}

/// A namespace of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// The container's own one.
    Own,
    /// None at all; of a network only.
    None,
    /// That of the containers of a service.
    Service(String),
    /// What an operator granted: the host's, or that of a container outside the project.
    Granted(String),
}

/// A mount of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpectedMount {
    pub target: String,
    pub source: MountSource,
    pub read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MountSource {
    /// This path of the host.
    Bind(String),
    /// The named volume with this name of the engine's.
    Volume(String),
    /// A volume without a name.
    Anonymous,
    Tmpfs,
}

/// A named volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpectedVolume {
    /// Whether an operator granted a volume from outside the project.
    pub external: bool,
    /// `None`: an operator granted any driver with any options.
    pub options: Option<BTreeMap<String, String>>,
}

/// What the engine does where it is not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EngineDefaults {
    /// Whether containers get a cgroup namespace of their own.
    pub private_cgroups: bool,
    pub runtime: String,
}

/// A container as the engine created it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Created {
    pub id: String,
    pub service: String,
    /// The label with the VM.
    pub vm: String,
    /// The engine's id of its image.
    pub image: String,
    pub mounts: Vec<CreatedMount>,
    /// Targets of the tmpfs mounts that the engine does not list among the mounts.
    pub tmpfs: Vec<String>,
    pub networks: Vec<String>,
    pub network_mode: String,
    pub pid: String,
    pub ipc: String,
    pub uts: String,
    pub userns: String,
    pub cgroup: String,
    pub cgroup_parent: String,
    pub privileged: bool,
    /// Devices, device rules and requests, as text.
    pub devices: Vec<String>,
    pub cap_add: Vec<String>,
    pub security_opt: Vec<String>,
    pub runtime: String,
    /// Ids of containers whose mounts it has.
    pub volumes_from: Vec<String>,
    /// Nanoseconds between health checks; 0: the engine's default.
    pub check_interval: i64,
}

/// A mount of a created container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CreatedMount {
    /// `bind`, `volume`, `tmpfs` …
    pub kind: String,
    /// Name of a volume.
    pub name: String,
    pub source: String,
    pub target: String,
    pub writable: bool,
    pub propagation: String,
}

/// A volume that a created container mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CreatedVolume {
    pub name: String,
    pub driver: String,
    pub options: BTreeMap<String, String>,
    /// The label with the VM.
    pub vm: Option<String>,
}

/// The engine created something else than what was derived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub service: String,
    pub found: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, found } = self;
        write!(
            f,
            "service {service}: the engine created {found}, which this docker node did not derive \
             from the compose file; its containers were removed before anything started"
        )
    }
}

impl std::error::Error for Mismatch {}

/// Compares what was created with what was derived; `Err` names the first difference.
pub(super) fn compare(
    expected: &Expected,
    defaults: &EngineDefaults,
    containers: &[Created],
    volumes: &[CreatedVolume],
) -> Result<(), Mismatch> {
    let comparison = Comparison { expected, defaults, containers, volumes };
    containers.iter().try_for_each(|one| {
        comparison.container(one).map_err(|found| Mismatch { service: one.service.clone(), found })
    })
}

struct Comparison<'a> {
    expected: &'a Expected,
    defaults: &'a EngineDefaults,
    containers: &'a [Created],
    volumes: &'a [CreatedVolume],
}

impl Comparison<'_> {
    fn container(&self, created: &Created) -> Result<(), String> {
        let Some(service) = self.expected.services.get(&created.service) else {
            return Err("a container of a service that the file does not have".to_owned());
        };
        require(created.vm == self.expected.vm, || {
            format!("a container with the label of VM {:?}", created.vm)
        })?;
        self.namespaces(service, created)?;
        self.rights(service, created)?;
        require(!is_too_often(created.check_interval), || {
            format!("a health check every {} ns", created.check_interval)
        })?;
        self.volumes_from(service, created)?;
        let of_engine =
            created.tmpfs.iter().find(|target| is_of_engine(target) && !is_shared_memory(target));
        of_engine.map_or(Ok(()), |target| Err(format!("a tmpfs at {target}")))?;
        created.mounts.iter().try_for_each(|mount| self.mount(service, created, mount))?;
        missing_mount(service, created)
    }

    fn namespaces(&self, service: &ExpectedService, created: &Created) -> Result<(), String> {
        let networks: Vec<&str> = service.networks.iter().map(String::as_str).collect();
        let cgroup: &[&str] =
            if self.defaults.private_cgroups { &["private"] } else { &["", "host", "private"] };
        for (key, wanted, found, own) in [
            ("network_mode", &service.network_mode, &created.network_mode, networks.as_slice()),
            ("pid", &service.pid, &created.pid, &[""][..]),
            ("ipc", &service.ipc, &created.ipc, &["", "none", "private", "shareable"]),
            ("uts", &service.uts, &created.uts, &[""]),
            ("userns_mode", &service.userns, &created.userns, &[""]),
            ("cgroup", &service.cgroup, &created.cgroup, cgroup),
        ] {
            require(self.is_mode(wanted, found, own), || format!("{key}: {found:?}"))?;
        }
        let foreign = created.networks.iter().find(|name| match service.network_mode {
            Mode::Own => !service.networks.contains(*name),
            Mode::None => *name != "none",
            Mode::Service(_) => true,
            Mode::Granted(_) => false,
        });
        foreign.map_or(Ok(()), |name| Err(format!("an address in the network {name}")))
    }

    fn is_mode(&self, wanted: &Mode, found: &str, own: &[&str]) -> bool {
        match wanted {
            Mode::Own => own.contains(&found),
            Mode::None => found == "none",
            Mode::Service(service) => {
                found.strip_prefix("container:").is_some_and(|id| self.is_of_service(id, service))
            }
            Mode::Granted(mode) if mode.starts_with("container:") => {
                found.starts_with("container:")
            }
            Mode::Granted(mode) => found == mode,
        }
    }

    fn is_of_service(&self, id: &str, service: &str) -> bool {
        self.containers.iter().any(|one| one.id == id && one.service == service)
    }

    fn rights(&self, service: &ExpectedService, created: &Created) -> Result<(), String> {
        require(service.privileged || !created.privileged, || "privileged: true".to_owned())?;
        if let Some(device) = created.devices.first().filter(|_| !service.devices) {
            return Err(format!("the device {device}"));
        }
        let foreign = created.cap_add.iter().find(|one| !service.cap_add.contains(*one));
        foreign.map_or(Ok(()), |one| Err(format!("cap_add: {one}")))?;
        if let Some(wanted) = &service.security_opt {
            let foreign = created.security_opt.iter().find(|one| !wanted.contains(*one));
            foreign.map_or(Ok(()), |one| Err(format!("security_opt: {one}")))?;
        }
        let runtime = match &service.runtime {
            Some(runtime) => created.runtime == *runtime,
            None => created.runtime.is_empty() || created.runtime == self.defaults.runtime,
        };
        require(runtime, || format!("runtime: {}", created.runtime))?;
        require(created.cgroup_parent == service.cgroup_parent, || {
            format!("cgroup_parent: {:?}", created.cgroup_parent)
        })
    }

    fn volumes_from(&self, service: &ExpectedService, created: &Created) -> Result<(), String> {
        let foreign = created.volumes_from.iter().find(|from| {
            let id = from.split(':').next().unwrap_or(from);
            !service.volumes_from.iter().any(|service| self.is_of_service(id, service))
        });
        match foreign {
            Some(from) if !service.outside_mounts => Err(format!("volumes_from: {from}")),
            _ => Ok(()),
        }
    }

    fn mount(
        &self,
        service: &ExpectedService,
        created: &Created,
        mount: &CreatedMount,
    ) -> Result<(), String> {
        let shown = || {
            let what = if mount.source.is_empty() { &mount.name } else { &mount.source };
            let access = if mount.writable { "writable" } else { "read-only" };
            format!("a {access} {} mount of {what} at {}", mount.kind, mount.target)
        };
        if service.outside_mounts {
            return Ok(());
        }
        require(!mount.propagation.contains("shared"), || {
            format!("{} with propagation {}", shown(), mount.propagation)
        })?;
        // The runtime makes its own files there, by paths: see `derive::targets`.
        let shared_memory = mount.kind == "tmpfs" && is_shared_memory(&mount.target);
        require(!is_of_engine(&mount.target) || shared_memory, shown)?;
        let of_image = self.is_anonymous(mount)
            && !service.mounts.iter().any(|one| one.target == mount.target);
        let derived =
            self.mounts_of(&created.service).into_iter().any(|one| self.is_mount(one, mount));
        require(derived || of_image, shown)?;
        match self.expected.volumes.get(&mount.name).filter(|_| mount.kind == "volume") {
            Some(volume) => self.volume(volume, mount),
            None => Ok(()),
        }
    }

    /// The mounts of a service and of those it takes mounts over from.
    fn mounts_of(&self, service: &str) -> Vec<&ExpectedMount> {
        let mut todo = vec![service];
        let mut seen = BTreeSet::new();
        let mut mounts = Vec::new();
        while let Some(name) = todo.pop() {
            let Some(service) = self.expected.services.get(name).filter(|_| seen.insert(name))
            else {
                continue;
            };
            mounts.extend(&service.mounts);
            todo.extend(service.volumes_from.iter().map(String::as_str));
        }
        mounts
    }

    fn is_mount(&self, wanted: &ExpectedMount, found: &CreatedMount) -> bool {
        let source = match &wanted.source {
            MountSource::Bind(path) => found.kind == "bind" && found.source == *path,
            MountSource::Volume(name) => found.kind == "volume" && found.name == *name,
            MountSource::Anonymous => self.is_anonymous(found),
            MountSource::Tmpfs => found.kind == "tmpfs",
        };
        source && found.target == wanted.target && !(found.writable && wanted.read_only)
    }

    /// A volume that the engine named itself, for nobody else.
    fn is_anonymous(&self, mount: &CreatedMount) -> bool {
        let random =
            mount.name.len() == 64 && mount.name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let plain = |volume: &CreatedVolume| {
            volume.name == mount.name
                && volume.driver == "local"
                && volume.options.is_empty()
                && volume.vm.as_ref().is_none_or(|vm| *vm == self.expected.vm)
        };
        mount.kind == "volume" && random && self.volumes.iter().any(plain)
    }

    fn volume(&self, wanted: &ExpectedVolume, mount: &CreatedMount) -> Result<(), String> {
        let name = &mount.name;
        let at = format!("the mount of volume {name} at {}", mount.target);
        let Some(found) = self.volumes.iter().find(|volume| volume.name == *name) else {
            return Err(format!("{at}, and no such volume"));
        };
        if wanted.external {
            return Ok(());
        }
        require(found.vm.as_deref() == Some(&self.expected.vm), || {
            format!("{at}, although that volume is not of this CVM")
        })?;
        let Some(options) = &wanted.options else { return Ok(()) };
        require(found.driver == "local", || format!("{at} with driver {}", found.driver))?;
        require(found.options == *options, || format!("{at} with options {:?}", found.options))
    }
}

/// A mount that is missing would let its data go elsewhere.
fn missing_mount(service: &ExpectedService, created: &Created) -> Result<(), String> {
    let missing = service.mounts.iter().find(|wanted| {
        !matches!(wanted.source, MountSource::Tmpfs)
            && !created.mounts.iter().any(|mount| mount.target == wanted.target)
    });
    missing.map_or(Ok(()), |wanted| Err(format!("no mount at {}", wanted.target)))
}

fn require(holds: bool, found: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(found()) }
}
