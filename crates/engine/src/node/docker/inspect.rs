//! What the engine created, compared with what was derived, before anything starts.
//!
//! The derivation decides on text. Between its decision and the containers are the compose process and
//! the engine, each with rules of its own for quoting, variables, links and options. This check reads
//! the result: every mount, volume, namespace, capability and device of each created container must be
//! one that the derivation put there. It does not matter how another one got there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::derive::{
    Grant, Grants, LABEL_VM, is_own_capability, is_safe_security_option, refuse_volume_options,
};

/// A container as the engine made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Created {
    pub service: String,
    pub mounts: Vec<CreatedMount>,
    pub privileged: bool,
    pub capabilities: Vec<String>,
    pub security_options: Vec<String>,
    /// Devices, rules for devices and requests for devices.
    pub devices: usize,
    pub network_mode: String,
    pub pid_mode: String,
    pub ipc_mode: String,
    pub uts_mode: String,
    pub userns_mode: String,
    pub cgroup_parent: String,
    /// Containers whose volumes it has, by id or name.
    pub volumes_from: Vec<String>,
}

/// A mount of a created container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CreatedMount {
    /// A path of the host.
    Bind { source: PathBuf, target: String, writable: bool },
    /// A volume of the engine.
    Volume { volume: CreatedVolume, target: String },
    /// Memory of the container's own.
    Tmpfs,
    /// Something else, in the engine's word.
    Other(String),
}

/// A volume as the engine made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CreatedVolume {
    pub name: String,
    pub driver: String,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// What the derivation put there.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    /// Id of the VM: the label of its volumes.
    pub vm: &'a str,
    /// The compose project, which begins the names of its networks.
    pub project: &'a str,
    /// Ids and names of the VM's own containers.
    pub containers: &'a BTreeSet<String>,
    pub grants: &'a Grants,
    /// Sources of bind mounts, and whether containers may write to them.
    pub binds: BTreeMap<PathBuf, bool>,
    /// The control group of each service that has one.
    pub cgroup_parents: BTreeMap<String, String>,
}

/// A container has something that the derivation did not give it. Fit for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "service {service}: the container engine created {what}, which the compose file does not ask for in a way this \
     node supports; nothing was started"
)]
pub(super) struct Mismatch {
    pub service: String,
    pub what: String,
}

/// The sources of bind mounts in a derived model: those of `volumes:`, and the files of configs and
/// secrets, which compose mounts read-only.
pub(super) fn bind_sources(model: &Value) -> BTreeMap<PathBuf, bool> {
    let mut sources = BTreeMap::new();
    let mut add = |source: &Value, writable: bool| {
        if let Some(path) = source.as_str() {
            *sources.entry(PathBuf::from(path)).or_insert(false) |= writable;
        }
    };
    let services = model["services"].as_object();
    for mount in services
        .into_iter()
        .flat_map(|services| services.values())
        .filter_map(|service| service["volumes"].as_array())
        .flatten()
        .filter(|mount| mount["type"] == "bind")
    {
        add(&mount["source"], mount["read_only"] != true);
    }
    for key in ["configs", "secrets"] {
        for entry in model[key].as_object().into_iter().flat_map(|entries| entries.values()) {
            add(&entry["file"], false);
        }
    }
    sources
}

/// The control groups of the services of a derived model.
pub(super) fn cgroup_parents(model: &Value) -> BTreeMap<String, String> {
    let services = model["services"].as_object();
    services
        .into_iter()
        .flatten()
        .filter_map(|(name, service)| {
            Some((name.clone(), service["cgroup_parent"].as_str()?.to_owned()))
        })
        .collect()
}

/// Compares a created container with what was derived.
pub(super) fn check(created: &Created, expected: &Expected<'_>) -> Result<(), Mismatch> {
    let refuse = |what: String| Err(Mismatch { service: created.service.clone(), what });
    let granted = |grant| expected.grants.has(grant);
    for mount in &created.mounts {
        if let Some(what) = foreign_mount(mount, expected) {
            return refuse(what);
        }
    }
    if created.privileged && !granted(Grant::Privileged) {
        return refuse("a privileged container".to_owned());
    }
    if !granted(Grant::Capabilities)
        && let Some(name) = created.capabilities.iter().find(|name| !is_own_capability(name))
    {
        return refuse(format!("capability {name}"));
    }
    if !granted(Grant::SecurityOpt)
        && !created.privileged
        && let Some(option) =
            created.security_options.iter().find(|option| !is_safe_security_option(option))
    {
        return refuse(format!("security option {option}"));
    }
    if created.devices > 0 && !granted(Grant::Devices) && !created.privileged {
        return refuse("devices of the host".to_owned());
    }
    for (kind, mode, grant) in [
        ("network mode", &created.network_mode, Grant::HostNetwork),
        ("pid mode", &created.pid_mode, Grant::HostPid),
        ("ipc mode", &created.ipc_mode, Grant::HostIpc),
        ("uts mode", &created.uts_mode, Grant::HostUts),
        ("userns mode", &created.userns_mode, Grant::HostUserns),
    ] {
        if !is_own_namespace(mode, expected) && !granted(grant) && !granted(Grant::External) {
            return refuse(format!("{kind} {mode}"));
        }
    }
    let from = |from: &String| from.split(':').next().unwrap_or_default().to_owned();
    if !granted(Grant::External)
        && let Some(other) = created
            .volumes_from
            .iter()
            .map(from)
            .find(|other| !expected.containers.contains(other.as_str()))
    {
        return refuse(format!("volumes of the container {other}"));
    }
    let parent = expected.cgroup_parents.get(&created.service);
    if parent.is_some_and(|parent| *parent != created.cgroup_parent) {
        return refuse(format!("control group {}", created.cgroup_parent));
    }
    Ok(())
}

/// What is wrong with a mount; `None`: nothing.
fn foreign_mount(mount: &CreatedMount, expected: &Expected<'_>) -> Option<String> {
    match mount {
        CreatedMount::Tmpfs => None,
        CreatedMount::Other(kind) => Some(format!("a mount of type {kind}")),
        CreatedMount::Bind { source, target, writable } => {
            match expected.binds.get(source.as_path()) {
                None => Some(format!("a bind mount at {target} of a path outside the CVM")),
                Some(false) if *writable => Some(format!("a writable mount at {target}")),
                Some(_) => None,
            }
        }
        CreatedMount::Volume { volume, target } => {
            if expected.grants.has(Grant::VolumeDrivers) || expected.grants.has(Grant::External) {
                return None;
            }
            let ours = volume.labels.get(LABEL_VM).is_some_and(|vm| vm == expected.vm)
                || is_anonymous(volume);
            let plain = volume.driver == "local" && refuse_volume_options(&volume.options).is_ok();
            (!(ours && plain)).then(|| format!("a volume at {target} that is not the CVM's own"))
        }
    }
}

/// A volume that an image declares: the engine names it with 64 hex digits and gives it no options.
fn is_anonymous(volume: &CreatedVolume) -> bool {
    let is_id = volume.name.len() == 64 && volume.name.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id && volume.options.is_empty()
}

fn is_own_namespace(mode: &str, expected: &Expected<'_>) -> bool {
    match mode {
        "" | "none" | "private" | "shareable" => true,
        _ => match mode.strip_prefix("container:") {
            Some(other) => expected.containers.contains(other),
            None => mode.strip_prefix(expected.project).is_some_and(|rest| rest.starts_with('_')),
        },
    }
}

/// Whether a source of the host is where the guest's path leads now, and text: a link that appeared
/// meanwhile would lead the engine somewhere else.
pub(super) fn is_unchanged(resolved: &std::io::Result<PathBuf>, host: &Path) -> bool {
    resolved.as_ref().is_ok_and(|now| now == host)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn created() -> Created {
        Created {
            service: "web".to_owned(),
            mounts: vec![
                bind("/vms/v/root/data", true),
                bind("/vms/v/run", false),
                CreatedMount::Tmpfs,
                volume("p_data", &[(LABEL_VM, "v")], &[]),
                volume(&"a".repeat(64), &[], &[]),
            ],
            capabilities: vec!["CAP_NET_ADMIN".to_owned(), "CHOWN".to_owned()],
            security_options: vec!["no-new-privileges:true".to_owned()],
            network_mode: "p_default".to_owned(),
            ipc_mode: "private".to_owned(),
            pid_mode: "container:c1".to_owned(),
            cgroup_parent: "/casemate/v".to_owned(),
            volumes_from: vec!["c1:ro".to_owned()],
            ..Created::default()
        }
    }

    fn bind(source: &str, writable: bool) -> CreatedMount {
        CreatedMount::Bind { source: source.into(), target: "/t".to_owned(), writable }
    }

    fn volume(name: &str, labels: &[(&str, &str)], options: &[(&str, &str)]) -> CreatedMount {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let volume = CreatedVolume {
            name: name.to_owned(),
            driver: "local".to_owned(),
            options: map(options),
            labels: map(labels),
        };
        CreatedMount::Volume { volume, target: "/t".to_owned() }
    }

    fn judged(created: &Created, grants: &[&str]) -> Result<(), Mismatch> {
        let model = json!({
            "services": {"web": {"cgroup_parent": "/casemate/v", "volumes": [
                {"type": "bind", "source": "/vms/v/root/data"},
                {"type": "bind", "source": "/vms/v/run", "read_only": true},
            ]}},
            "configs": {"c": {"file": "/vms/v/root/c"}},
        });
        let words: Vec<String> = grants.iter().map(|word| (*word).to_owned()).collect();
        let expected = Expected {
            vm: "v",
            project: "p",
            containers: &BTreeSet::from(["c1".to_owned()]),
            grants: &Grants::parse(&words).unwrap(),
            binds: bind_sources(&model),
            cgroup_parents: cgroup_parents(&model),
        };
        check(created, &expected)
    }

    #[test]
    fn what_was_derived_passes() {
        assert_eq!(judged(&created(), &[]), Ok(()));
        let file = Created { mounts: vec![bind("/vms/v/root/c", false)], ..created() };
        assert_eq!(judged(&file, &[]), Ok(()));
    }

    /// Each change of a good container is refused, by a rule of its own; the grant that allows it, allows it.
    #[test]
    fn whatever_was_not_derived_is_refused() {
        type Change = fn(&mut Created);
        let cases: [(&str, Change, &str); 18] = [
            ("outside", |c| c.mounts.push(bind("/etc", true)), ""),
            ("outside", |c| c.mounts.push(bind("/vms/v/root", false)), ""),
            ("outside", |c| c.mounts.push(bind("/vms/v/root/data/../..", false)), ""),
            ("writable", |c| c.mounts.push(bind("/vms/v/run", true)), ""),
            ("writable", |c| c.mounts.push(bind("/vms/v/root/c", true)), ""),
            ("not the CVM's own", |c| c.mounts.push(volume("other", &[], &[])), "external"),
            (
                "not the CVM's own",
                |c| c.mounts.push(volume("o", &[(LABEL_VM, "w")], &[])),
                "external",
            ),
            (
                "not the CVM's own",
                |c| {
                    let options = [("type", "tmpfs"), ("o", "bind"), ("device", "/etc")];
                    c.mounts.push(volume("p_x", &[(LABEL_VM, "v")], &options));
                },
                "volume-drivers",
            ),
            ("type npipe", |c| c.mounts.push(CreatedMount::Other("npipe".to_owned())), ""),
            ("privileged", |c| c.privileged = true, "privileged"),
            ("SYS_ADMIN", |c| c.capabilities.push("CAP_SYS_ADMIN".to_owned()), "capabilities"),
            (
                "seccomp",
                |c| c.security_options.push("seccomp=unconfined".to_owned()),
                "security-opt",
            ),
            ("devices", |c| c.devices = 1, "devices"),
            ("network mode host", |c| c.network_mode = "host".to_owned(), "host-network"),
            ("network mode bridge", |c| c.network_mode = "bridge".to_owned(), "host-network"),
            ("pid mode container:c2", |c| c.pid_mode = "container:c2".to_owned(), "external"),
            ("volumes of the container c2", |c| c.volumes_from.push("c2".to_owned()), "external"),
            ("control group /other", |c| c.cgroup_parent = "/other".to_owned(), ""),
        ];
        for (words, change, grant) in cases {
            let mut bad = created();
            change(&mut bad);
            let mismatch = judged(&bad, &[]).unwrap_err();
            assert!(mismatch.what.contains(words), "{mismatch}");
            assert_eq!(mismatch.service, "web");
            if !grant.is_empty() {
                assert_eq!(judged(&bad, &[grant]), Ok(()), "{words}");
            }
        }
        for mode in ["ipc", "uts", "userns"] {
            let mut bad = created();
            let host = "host".to_owned();
            match mode {
                "ipc" => bad.ipc_mode = host,
                "uts" => bad.uts_mode = host,
                _ => bad.userns_mode = host,
            }
            assert!(judged(&bad, &[]).unwrap_err().what.starts_with(mode));
        }
    }
}
