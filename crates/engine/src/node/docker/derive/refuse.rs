//! What a docker node refuses. The list of what is *not* refused is closed: a key that is neither
//! harmless nor looked at is refused too.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Grant, Grants, Object, Refused, entries, list, services, text};

/// Keys of a file that mean nothing, or that [`super::project`] rewrites.
const FILE_KEYS: [&str; 7] =
    ["name", "version", "services", "networks", "volumes", "configs", "secrets"];

/// Keys of a service that reach no further than its containers, or that are rewritten.
const KEPT: [&str; 61] = [
    "annotations",
    "attach",
    "blkio_config",
    "cap_drop",
    "command",
    "configs",
    "container_name",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_shares",
    "cpus",
    "cpuset",
    "depends_on",
    "develop",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "entrypoint",
    "environment",
    "expose",
    "extra_hosts",
    "group_add",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "labels",
    "links",
    "logging",
    "mac_address",
    "mem_limit",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "networks",
    "pids_limit",
    "platform",
    "ports",
    "profiles",
    "pull_policy",
    "pull_refresh_after",
    "read_only",
    "restart",
    "scale",
    "secrets",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "storage_opt",
    "sysctls",
    "tmpfs",
    "tty",
    "ulimits",
    "user",
    "volumes",
    "working_dir",
    "extends",
];

/// Capabilities that act only inside the container's own namespaces, or that every container has.
const OWN_CAPABILITIES: [&str; 20] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "SYS_NICE",
    "SYS_PTRACE",
];

/// Refuses what the file asks for and the node does not grant.
pub(super) fn file(file: &Object, grants: &Grants) -> Result<(), Refused> {
    for key in file.keys() {
        if !FILE_KEYS.contains(&key.as_str()) && !key.starts_with("x-") {
            return Err(unknown(key));
        }
    }
    for (name, entry) in services(file) {
        service(entry, grants).map_err(|refused| refused.in_service(name))?;
    }
    entries(file, "networks").try_for_each(|(name, entry)| network(name, entry, grants))?;
    entries(file, "volumes").try_for_each(|(name, entry)| volume(name, entry, grants))?;
    for (name, entry) in entries(file, "volumes") {
        if !grants.has(Grant::VolumeDrivers) {
            refuse_volume_options(&options(entry)).map_err(|what| volume_options(name, &what))?;
        }
    }
    for (kind, key) in [("config", "configs"), ("secret", "secrets")] {
        entries(file, key).try_for_each(|(name, entry)| content(kind, name, entry, grants))?;
    }
    for (name, entry) in services(file) {
        mounts(entry).map_err(|refused| refused.in_service(name))?;
    }
    Ok(())
}

/// Types of mounts that the derivation rewrites or that touch nothing of the host.
const MOUNT_TYPES: [&str; 3] = ["bind", "volume", "tmpfs"];

/// Every mount has a known type.
fn mounts(service: &Object) -> Result<(), Refused> {
    for mount in list(service, "volumes") {
        let kind = mount.get("type").and_then(Value::as_str).unwrap_or_default();
        if !MOUNT_TYPES.contains(&kind) {
            return Err(Refused::new(
                format!("a mount of type {kind}"),
                "use a bind mount, a named volume or a tmpfs",
            ));
        }
    }
    Ok(())
}

fn service(entry: &Object, grants: &Grants) -> Result<(), Refused> {
    if entry.get("image").is_none() && entry.get("build").is_none() {
        return Err(Refused::new("no image", "every service needs image:"));
    }
    entry.iter().try_for_each(|(key, value)| check(key, value, entry, grants))
}

/// The same of a service as it stands in the text: it may get its image and its variables from files
/// that compose has still to read.
pub(super) fn service_ahead(entry: &Object, grants: &Grants) -> Result<(), Refused> {
    const READ_BY_COMPOSE: [&str; 2] = ["env_file", "label_file"];
    entry
        .iter()
        .filter(|(key, _)| !READ_BY_COMPOSE.contains(&key.as_str()))
        .try_for_each(|(key, value)| check(key, value, entry, grants))
}

fn check(key: &str, value: &Value, entry: &Object, grants: &Grants) -> Result<(), Refused> {
    let unless = |bad: bool, grant, what: &str| {
        if bad && !grants.has(grant) { Err(not_granted(grant, what)) } else { Ok(()) }
    };
    match key {
        _ if KEPT.contains(&key) || key.starts_with("x-") => Ok(()),
        "build" => Err(Refused::new(
            "build",
            "a CVM has no build context: push the image and name it under image:",
        )),
        "privileged" => unless(value == true, Grant::Privileged, "privileged"),
        "post_start" | "pre_stop" => unless(any_privileged(value), Grant::Privileged, key),
        "network_mode" => namespace(key, value, Grant::HostNetwork, grants),
        "pid" => namespace(key, value, Grant::HostPid, grants),
        "ipc" => namespace(key, value, Grant::HostIpc, grants),
        "uts" => namespace(key, value, Grant::HostUts, grants),
        "userns_mode" => namespace(key, value, Grant::HostUserns, grants),
        "cgroup" => namespace(key, value, Grant::HostCgroup, grants),
        "devices" | "device_cgroup_rules" | "gpus" => unless(filled(value), Grant::Devices, key),
        "deploy" => unless(reserves_devices(value), Grant::Devices, "reserved devices"),
        "cap_add" => list(entry, key).iter().filter_map(Value::as_str).try_for_each(|capability| {
            unless(
                !is_own_capability(capability),
                Grant::Capabilities,
                &format!("cap_add {capability}"),
            )
        }),
        "security_opt" => {
            list(entry, key).iter().filter_map(Value::as_str).try_for_each(|option| {
                let refused = !is_safe_security_option(option);
                unless(refused, Grant::SecurityOpt, &format!("security_opt {option}"))
            })
        }
        "runtime" | "credential_spec" => unless(filled(value), Grant::Runtime, key),
        "oom_kill_disable" => unless(value == true, Grant::HostCgroup, key),
        "oom_score_adj" => unless(
            value.as_i64().is_some_and(|by| by < 0),
            Grant::HostCgroup,
            "negative oom_score_adj",
        ),
        "cgroup_parent" | "cpu_rt_period" | "cpu_rt_runtime" => {
            unless(filled(value), Grant::HostCgroup, key)
        }
        "volumes_from" => list(entry, key).iter().filter_map(Value::as_str).try_for_each(|from| {
            unless(from.starts_with("container:"), Grant::External, &format!("volumes_from {from}"))
        }),
        "external_links" => unless(filled(value), Grant::External, key),
        "env_file" | "label_file" => {
            Err(Refused::new(key, "there are no files beside the compose file in a CVM"))
        }
        _ => Err(unknown(key)),
    }
}

fn namespace(key: &str, value: &Value, host: Grant, grants: &Grants) -> Result<(), Refused> {
    let mode = value.as_str().unwrap_or_default();
    let grant = match mode {
        "host" => host,
        _ if mode.starts_with("container:") => Grant::External,
        "" | "none" | "bridge" | "private" | "shareable" => return Ok(()),
        _ if mode.starts_with("service:") => return Ok(()),
        _ => Grant::External,
    };
    if grants.has(grant) { Ok(()) } else { Err(not_granted(grant, &format!("{key}: {mode}"))) }
}

/// Keys of a network that the derivation keeps or drops.
const NETWORK_KEYS: [&str; 10] = [
    "attachable",
    "driver",
    "driver_opts",
    "enable_ipv4",
    "enable_ipv6",
    "external",
    "internal",
    "ipam",
    "labels",
    "name",
];
/// Keys of a volume that the derivation checks or drops.
const VOLUME_KEYS: [&str; 5] = ["driver", "driver_opts", "external", "labels", "name"];
/// Keys of a config or secret that the derivation rewrites or drops.
const CONTENT_KEYS: [&str; 6] = ["content", "environment", "external", "file", "labels", "name"];

/// Refuses keys that are not on a list.
fn known_keys(kind: &str, name: &str, entry: &Object, keys: &[&str]) -> Result<(), Refused> {
    let unknown = entry.keys().find(|key| !keys.contains(&key.as_str()) && !key.starts_with("x-"));
    match unknown {
        None => Ok(()),
        Some(key) => Err(Refused::new(
            format!("{key} in the {kind} {name}, which it does not know"),
            "leave it out",
        )),
    }
}

pub(super) fn network(name: &str, entry: &Object, grants: &Grants) -> Result<(), Refused> {
    external("network", name, entry, grants)?;
    known_keys("network", name, entry, &NETWORK_KEYS)?;
    let driver = text(entry, "driver").unwrap_or("bridge");
    if matches!(driver, "bridge" | "default" | "") || grants.has(Grant::HostNetwork) {
        return Ok(());
    }
    Err(not_granted(Grant::HostNetwork, &format!("driver {driver} for network {name}")))
}

/// Refuses what can be known of a volume while options may still have variables in them.
pub(super) fn volume(name: &str, entry: &Object, grants: &Grants) -> Result<(), Refused> {
    external("volume", name, entry, grants)?;
    known_keys("volume", name, entry, &VOLUME_KEYS)?;
    if grants.has(Grant::VolumeDrivers) {
        return Ok(());
    }
    let driver = text(entry, "driver").unwrap_or("local");
    if !matches!(driver, "local" | "default" | "") {
        return Err(not_granted(
            Grant::VolumeDrivers,
            &format!("driver {driver} for volume {name}"),
        ));
    }
    options(entry)
        .iter()
        .try_for_each(|(option, value)| volume_option(option, value))
        .map_err(|what| volume_options(name, &what))
}

pub(super) fn content(
    kind: &str,
    name: &str,
    entry: &Object,
    grants: &Grants,
) -> Result<(), Refused> {
    external(kind, name, entry, grants)?;
    known_keys(kind, name, entry, &CONTENT_KEYS)
}

/// The options of a volume; what is no text becomes the text that compose makes of it.
fn options(entry: &Object) -> BTreeMap<String, String> {
    let options = entry.get("driver_opts").and_then(Value::as_object);
    options
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), text)
        })
        .collect()
}

fn volume_options(name: &str, what: &str) -> Refused {
    not_granted(Grant::VolumeDrivers, &format!("driver_opts of the volume {name}: {what}"))
}

/// Checks the options of a volume of the driver `local`: none, or those of a tmpfs. The driver hands
/// them to mount(2), and under a flag such as `bind` the kernel ignores the type: so `device` must be
/// `tmpfs` too, and `o` may hold the options of a tmpfs only. The error names the option.
pub(in crate::node::docker) fn refuse_volume_options(
    options: &BTreeMap<String, String>,
) -> Result<(), String> {
    options.iter().try_for_each(|(option, value)| volume_option(option, value))?;
    for needed in ["type", "device"] {
        if !options.is_empty() && !options.contains_key(needed) {
            return Err(format!("{needed} is missing, it must be tmpfs"));
        }
    }
    Ok(())
}

/// One option of a volume.
fn volume_option(option: &str, value: &str) -> Result<(), String> {
    let known = match option {
        "type" | "device" => value == "tmpfs",
        "o" => value.split(',').all(is_tmpfs_option),
        _ => false,
    };
    if known { Ok(()) } else { Err(format!("{option}={value}")) }
}

/// `size=64m`, `mode=1777`, `uid=1000`, `gid=1000`, and the flags that take rights away.
fn is_tmpfs_option(option: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match option.split_once('=') {
        Some(("size", value)) => {
            digits(value.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G', '%']).unwrap_or(value))
        }
        Some(("mode" | "uid" | "gid" | "nr_inodes", value)) => digits(value),
        Some(_) => false,
        None => matches!(option, "noexec" | "nosuid" | "nodev" | "ro" | "rw"),
    }
}

pub(super) fn external(
    kind: &str,
    name: &str,
    entry: &Object,
    grants: &Grants,
) -> Result<(), Refused> {
    let is_external = entry.get("external").is_some_and(|value| value == true || value.is_object());
    if is_external && !grants.has(Grant::External) {
        return Err(not_granted(Grant::External, &format!("the external {kind} {name}")));
    }
    Ok(())
}

fn unknown(key: &str) -> Refused {
    Refused::new(
        format!("{key}, which it does not know"),
        "leave it out, or run the app on a node with a TEE",
    )
}

/// Refusal of what an operator could grant.
pub(super) fn not_granted(grant: Grant, what: &str) -> Refused {
    let instead = match grant {
        Grant::DockerSocket => "the engine is the host's: leave the mount out",
        Grant::HostNetwork => "publish ports instead",
        Grant::VolumeDrivers => "use a plain named volume or a bind mount of a guest path",
        Grant::External => {
            "there is nothing outside the compose file in a CVM: define it in the file"
        }
        Grant::NestedBinds => "mount the outer directory only, or make it read_only",
        _ => "it would give the host away: leave it out",
    };
    Refused::new(
        what,
        format!("{instead} (an operator can grant it with allow = [\"{}\"])", grant.word()),
    )
}

/// Whether a capability, with or without `CAP_`, acts only inside the container's own namespaces.
pub(in crate::node::docker) fn is_own_capability(capability: &str) -> bool {
    let upper = capability.to_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    OWN_CAPABILITIES.contains(&name)
}

/// Whether a security option only takes rights away.
pub(in crate::node::docker) fn is_safe_security_option(option: &str) -> bool {
    matches!(
        option,
        "no-new-privileges"
            | "no-new-privileges:true"
            | "no-new-privileges=true"
            | "no-new-privileges:false"
            | "no-new-privileges=false"
    )
}

fn any_privileged(hooks: &Value) -> bool {
    hooks
        .as_array()
        .into_iter()
        .flatten()
        .any(|hook| hook.get("privileged") == Some(&Value::Bool(true)))
}

fn reserves_devices(deploy: &Value) -> bool {
    deploy.pointer("/resources/reservations/devices").is_some_and(filled)
}

fn filled(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}
