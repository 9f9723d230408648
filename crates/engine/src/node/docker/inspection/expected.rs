//! What the engine must create for a derived model.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Map, Value};

use super::{Expected, ExpectedMount, ExpectedService, ExpectedVolume, Mode, MountSource};
use crate::node::docker::derive::{
    DeriveInput, Grant, HARDENING, Limits, check_given, reaches_out,
};

type Object = Map<String, Value>;

/// Reads the expectation from a derived model. It says what a CVM may have at most: what nobody granted is
/// not expected even where it stands in the model, so that a hole in the derivation ends here.
pub(in crate::node::docker) fn expected(model: &Object, input: &DeriveInput<'_>) -> Expected {
    let reader = Reader { model, input };
    let services = entries(model, "services");
    let services =
        services.map(|(name, service)| (name.clone(), reader.service(service))).collect();
    let volumes = entries(model, "volumes")
        .map(|(key, volume)| (reader.named("volumes", key), reader.volume(key, volume)))
        .collect();
    Expected { vm: input.vm.0.clone(), services, volumes }
}

struct Reader<'a> {
    model: &'a Object,
    input: &'a DeriveInput<'a>,
}

impl Reader<'_> {
    fn grants(&self, grant: Grant) -> bool {
        self.input.grants.has(grant)
    }

    fn service(&self, service: &Object) -> ExpectedService {
        let from = texts(service, "volumes_from");
        let outside = |from: &&str| from.starts_with("container:");
        let volumes_from = from
            .iter()
            .filter(|from| !outside(from))
            .map(|from| from.split(':').next().unwrap_or(from).to_owned());
        let options: BTreeSet<String> = owned(&texts(service, "security_opt"));
        let harmless = |option: &String| HARDENING.contains(&option.as_str());
        let privileged =
            service.get("privileged") == Some(&Value::Bool(true)) && self.grants(Grant::Privileged);
        let any_options =
            privileged || (self.grants(Grant::SecurityOpt) && !options.iter().all(harmless));
        let cap_add = texts(service, "cap_add");
        let cap_add =
            cap_add.into_iter().filter(|one| !reaches_out(one) || self.grants(Grant::Capabilities));
        ExpectedService {
            mounts: self.mounts(service),
            volumes_from: volumes_from.collect(),
            outside_mounts: from.iter().any(outside) && self.grants(Grant::External),
            networks: self.networks(service),
            network_mode: self.mode(service, "network_mode", Grant::HostNetwork),
            pid: self.mode(service, "pid", Grant::HostPid),
            ipc: self.mode(service, "ipc", Grant::HostIpc),
            uts: self.mode(service, "uts", Grant::HostUts),
            userns: self.mode(service, "userns_mode", Grant::HostUserns),
            cgroup: self.mode(service, "cgroup", Grant::HostCgroup),
            cgroup_parent: self.cgroup_parent(service),
            privileged,
            devices: self.grants(Grant::Devices),
            cap_add: cap_add.map(capability).collect(),
            security_opt: (!any_options).then(|| options.into_iter().filter(harmless).collect()),
            runtime: text(service, "runtime")
                .filter(|name| !name.is_empty() && self.grants(Grant::Runtime))
                .map(str::to_owned),
        }
    }

    fn mode(&self, service: &Object, key: &str, host: Grant) -> Mode {
        match text(service, key).unwrap_or_default() {
            "none" if key == "network_mode" => Mode::None,
            "" | "none" | "private" | "shareable" => Mode::Own,
            mode => match mode.strip_prefix("service:") {
                Some(service) => Mode::Service(service.to_owned()),
                None if self.grants(if mode == "host" { host } else { Grant::External }) => {
                    Mode::Granted(mode.to_owned())
                }
                None => Mode::Own,
            },
        }
    }

    fn cgroup_parent(&self, service: &Object) -> String {
        let given = text(service, "cgroup_parent").unwrap_or_default();
        match self.input.limits {
            _ if self.grants(Grant::HostCgroup) => given.to_owned(),
            Limits::Parent(group) => group.clone(),
            Limits::PerService { .. } => String::new(),
        }
    }

    fn volume(&self, key: &str, volume: &Object) -> ExpectedVolume {
        let driver = text(volume, "driver").unwrap_or("local");
        let options = volume.get("driver_opts").and_then(Value::as_object);
        let bounded = check_given(key, volume, self.input.grants).is_ok();
        let options = options
            .into_iter()
            .flatten()
            .filter(|_| bounded)
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        let any = driver != "local" && self.grants(Grant::VolumeDrivers);
        ExpectedVolume { external: self.is_external(volume), options: (!any).then_some(options) }
    }

    fn is_external(&self, entry: &Object) -> bool {
        self.grants(Grant::External) && entry.get("external").is_some_and(is_filled)
    }

    /// Whether a path of the host is one that this CVM was given.
    fn is_given(&self, path: &str) -> bool {
        let given = self.input.sources.values().any(|source| source == path);
        given || Path::new(path).starts_with(self.input.run) || self.grants(Grant::DockerSocket)
    }

    fn mounts(&self, service: &Object) -> Vec<ExpectedMount> {
        let volumes = service.get("volumes").and_then(Value::as_array).into_iter().flatten();
        let volumes = volumes.filter_map(|mount| {
            let mount = mount.as_object()?;
            let source = text(mount, "source").filter(|source| !source.is_empty());
            let source = match (text(mount, "type")?, source) {
                ("bind", Some(path)) if self.is_given(path) => MountSource::Bind(path.to_owned()),
                ("volume", Some(key)) => MountSource::Volume(self.named("volumes", key)),
                ("volume", None) => MountSource::Anonymous,
                ("tmpfs", _) => MountSource::Tmpfs,
                _ => return None,
            };
            Some(ExpectedMount {
                target: clean(text(mount, "target")?),
                source,
                read_only: mount.get("read_only") == Some(&Value::Bool(true)),
            })
        });
        let configs = self.files(service, "configs", "/");
        volumes.chain(configs).chain(self.files(service, "secrets", "/run/secrets/")).collect()
    }

    /// Configs and secrets that are files of the guest; others are copied into the container.
    fn files(&self, service: &Object, key: &str, dir: &str) -> Vec<ExpectedMount> {
        let used = service.get(key).and_then(Value::as_array).into_iter().flatten();
        used.filter_map(|used| {
            let name = used.get("source")?.as_str()?;
            let path = self.model.get(key)?.get(name)?.get("file")?.as_str()?;
            if !self.is_given(path) {
                return None;
            }
            let target = used.get("target").and_then(Value::as_str).filter(|at| !at.is_empty());
            let target = match target {
                Some(at) if at.starts_with('/') => at.to_owned(),
                Some(at) => format!("{dir}{at}"),
                None => format!("{dir}{name}"),
            };
            Some(ExpectedMount {
                target: clean(&target),
                source: MountSource::Bind(path.to_owned()),
                read_only: true,
            })
        })
        .collect()
    }

    fn networks(&self, service: &Object) -> BTreeSet<String> {
        let listed = service.get("networks").and_then(Value::as_object);
        let mut names: BTreeSet<String> =
            listed.into_iter().flatten().map(|(key, _)| self.named("networks", key)).collect();
        if names.is_empty() {
            names.insert(self.named("networks", "default"));
        }
        names
    }

    /// The engine's name of a volume or network: its own is dropped unless it is external.
    fn named(&self, kind: &str, key: &str) -> String {
        let entry = self.model.get(kind).and_then(|all| all.get(key)).and_then(Value::as_object);
        match entry.filter(|entry| self.is_external(entry)) {
            Some(entry) => text(entry, "name").unwrap_or(key).to_owned(),
            None => format!("{}_{key}", self.input.project),
        }
    }
}

/// The engine's name of a capability.
pub(super) fn capability(name: &str) -> String {
    let upper = name.to_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    bare.to_owned()
}

/// A path in a container as the engine writes it.
fn clean(target: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

fn entries<'a>(model: &'a Object, key: &str) -> impl Iterator<Item = (&'a String, &'a Object)> {
    let map = model.get(key).and_then(Value::as_object);
    map.into_iter().flatten().filter_map(|(name, entry)| Some((name, entry.as_object()?)))
}

fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn texts<'a>(object: &'a Object, key: &str) -> Vec<&'a str> {
    let list = object.get(key).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}

fn owned(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn is_filled(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}
