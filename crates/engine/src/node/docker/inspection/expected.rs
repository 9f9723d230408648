//! What the engine must create for a derived model.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Expected, ExpectedMount, ExpectedService, ExpectedVolume, Mode, MountSource};

type Object = Map<String, Value>;

/// Reads the expectation from a derived model. `harmless_options` are the security options that need
/// no grant.
pub(in crate::node::docker) fn expected(
    model: &Object,
    project: &str,
    vm: &str,
    harmless_options: &[&str],
) -> Expected {
    let reader = Reader { model, project, harmless_options };
    let services = entries(model, "services");
    let services =
        services.map(|(name, service)| (name.clone(), reader.service(service))).collect();
    let volumes = entries(model, "volumes")
        .map(|(key, volume)| (reader.named("volumes", key), expected_volume(volume)))
        .collect();
    Expected { vm: vm.to_owned(), services, volumes }
}

struct Reader<'a> {
    model: &'a Object,
    project: &'a str,
    harmless_options: &'a [&'a str],
}

impl Reader<'_> {
    fn service(&self, service: &Object) -> ExpectedService {
        let from = texts(service, "volumes_from");
        let outside = |from: &&str| from.starts_with("container:");
        let volumes_from = from
            .iter()
            .filter(|from| !outside(from))
            .map(|from| from.split(':').next().unwrap_or(from).to_owned());
        let options: BTreeSet<String> = owned(&texts(service, "security_opt"));
        let granted = options.iter().any(|one| !self.harmless_options.contains(&one.as_str()));
        let filled = |key| service.get(key).is_some_and(is_filled);
        let reserved = service
            .get("deploy")
            .and_then(|deploy| deploy.pointer("/resources/reservations/devices"))
            .is_some_and(is_filled);
        let privileged = service.get("privileged") == Some(&Value::Bool(true));
        ExpectedService {
            mounts: self.mounts(service),
            volumes_from: volumes_from.collect(),
            outside_mounts: from.iter().any(outside),
            networks: self.networks(service),
            network_mode: mode(service, "network_mode"),
            pid: mode(service, "pid"),
            ipc: mode(service, "ipc"),
            uts: mode(service, "uts"),
            userns: mode(service, "userns_mode"),
            cgroup: mode(service, "cgroup"),
            cgroup_parent: text(service, "cgroup_parent").unwrap_or_default().to_owned(),
            privileged,
            devices: reserved || ["devices", "device_cgroup_rules", "gpus"].into_iter().any(filled),
            cap_add: texts(service, "cap_add").into_iter().map(capability).collect(),
            security_opt: (!granted && !privileged).then_some(options),
            runtime: text(service, "runtime").filter(|name| !name.is_empty()).map(str::to_owned),
        }
    }

    fn mounts(&self, service: &Object) -> Vec<ExpectedMount> {
        let volumes = service.get("volumes").and_then(Value::as_array).into_iter().flatten();
        let volumes = volumes.filter_map(|mount| {
            let mount = mount.as_object()?;
            let source = text(mount, "source").filter(|source| !source.is_empty());
            let source = match (text(mount, "type")?, source) {
                ("bind", Some(path)) => MountSource::Bind(path.to_owned()),
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
        match entry.filter(|entry| is_external(entry)) {
            Some(entry) => text(entry, "name").unwrap_or(key).to_owned(),
            None => format!("{}_{key}", self.project),
        }
    }
}

fn expected_volume(volume: &Object) -> ExpectedVolume {
    let driver = text(volume, "driver").unwrap_or("local");
    let options = volume.get("driver_opts").and_then(Value::as_object);
    let options = options
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    ExpectedVolume {
        external: is_external(volume),
        options: (driver == "local").then_some(options),
    }
}

fn is_external(entry: &Object) -> bool {
    entry.get("external").is_some_and(is_filled)
}

fn mode(service: &Object, key: &str) -> Mode {
    match text(service, key).unwrap_or_default() {
        "none" if key == "network_mode" => Mode::None,
        "" | "none" | "private" | "shareable" => Mode::Own,
        mode => match mode.strip_prefix("service:") {
            Some(service) => Mode::Service(service.to_owned()),
            None => Mode::Granted(mode.to_owned()),
        },
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
