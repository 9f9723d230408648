//! What a docker node refuses. The list of what is *not* refused is closed: a key that is neither
//! harmless nor looked at is refused too.

use serde_json::Value;

use super::{
    Grant, Grants, Object, Refused, build, entries, list, mounts, services, text, volumes,
};

/// Keys of a file that mean nothing, or that [`super::project`] rewrites.
const FILE_KEYS: [&str; 7] =
    ["name", "version", "services", "networks", "volumes", "configs", "secrets"];

/// Keys of a service that reach no further than its containers, or that are rewritten.
const KEPT: [&str; 58] = [
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

/// Options that only take rights away.
pub(super) const HARDENING: [&str; 3] =
    ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"];

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
    for (kind, key) in [("config", "configs"), ("secret", "secrets")] {
        entries(file, key).try_for_each(|(name, entry)| external(kind, name, entry, grants))?;
    }
    Ok(())
}

fn service(entry: &Object, grants: &Grants) -> Result<(), Refused> {
    if entry.get("image").is_none() && entry.get("build").is_none() {
        return Err(Refused::new("no image", "every service needs image:"));
    }
    entry.iter().try_for_each(|(key, value)| check(key, value, entry, grants))
}

/// Keys whose files compose reads, and keys that only matter once they are read.
const READ_BY_COMPOSE: [&str; 2] = ["env_file", "label_file"];

/// The same of one key of a service as it stands in the text: the service may get its image and its
/// variables from what compose has still to read.
pub(super) fn key_ahead(key: &str, entry: &Object, grants: &Grants) -> Result<(), Refused> {
    match entry.get(key).filter(|_| !READ_BY_COMPOSE.contains(&key)) {
        Some(value) => check(key, value, entry, grants),
        None => Ok(()),
    }
}

fn check(key: &str, value: &Value, entry: &Object, grants: &Grants) -> Result<(), Refused> {
    let unless = |bad: bool, grant, what: &str| {
        if bad && !grants.has(grant) { Err(not_granted(grant, what)) } else { Ok(()) }
    };
    match key {
        "networks" => endpoints(value),
        "volumes" => list(entry, key).iter().try_for_each(mounts::check_known),
        "build" => build::check(value, entry.contains_key("image")),
        "image" if names_a_build(value) => Err(Refused::new(
            format!("an image of {}", build::REPOSITORY),
            "such images are built by the node: use another name",
        )),
        _ if KEPT.contains(&key) || key.starts_with("x-") => Ok(()),
        "annotations" if filled(value) => Err(Refused::new(
            "annotations",
            "they are instructions to the host's container runtime: use labels",
        )),
        "annotations" => Ok(()),
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
            unless(reaches_out(capability), Grant::Capabilities, &format!("cap_add {capability}"))
        }),
        "security_opt" => {
            list(entry, key).iter().filter_map(Value::as_str).try_for_each(|option| {
                let what = format!("security_opt {option}");
                unless(!HARDENING.contains(&option), Grant::SecurityOpt, &what)
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

/// Modes that stay inside the CVM, for each key: the same word means another thing elsewhere (a
/// `network_mode` of any other word is the name of a network of the engine).
fn own_modes(key: &str) -> &'static [&'static str] {
    match key {
        "network_mode" => &["", "none", "bridge"],
        "ipc" => &["", "none", "private", "shareable"],
        "cgroup" => &["", "private"],
        _ => &[""],
    }
}

fn namespace(key: &str, value: &Value, host: Grant, grants: &Grants) -> Result<(), Refused> {
    let mode = match value {
        Value::Null => "",
        Value::String(mode) => mode,
        other => return Err(not_granted(host, &format!("{key}: {other}"))),
    };
    let of_service = matches!(key, "network_mode" | "ipc" | "pid") && mode.starts_with("service:");
    if own_modes(key).contains(&mode) || of_service {
        return Ok(());
    }
    let grant = if mode == "host" { host } else { Grant::External };
    if grants.has(grant) { Ok(()) } else { Err(not_granted(grant, &format!("{key}: {mode}"))) }
}

/// What a service may say of its place in a network.
fn endpoints(networks: &Value) -> Result<(), Refused> {
    const KEYS: [&str; 7] = [
        "aliases",
        "ipv4_address",
        "ipv6_address",
        "link_local_ips",
        "mac_address",
        "priority",
        "gw_priority",
    ];
    for (name, options) in networks.as_object().into_iter().flatten() {
        let mut keys = options.as_object().into_iter().flatten().map(|(key, _)| key);
        if let Some(key) = keys.find(|key| !KEYS.contains(&key.as_str()) && !key.starts_with("x-"))
        {
            return Err(unknown(&format!("{key} in network {name}")));
        }
    }
    Ok(())
}

pub(super) fn network(name: &str, entry: &Object, grants: &Grants) -> Result<(), Refused> {
    const KEYS: [&str; 9] = [
        "name",
        "driver",
        "driver_opts",
        "ipam",
        "external",
        "internal",
        "attachable",
        "labels",
        "enable_ipv6",
    ];
    if let Some(key) =
        entry.keys().find(|key| !KEYS.contains(&key.as_str()) && !key.starts_with("x-"))
    {
        return Err(unknown(&format!("{key} for network {name}")));
    }
    external("network", name, entry, grants)?;
    let driver = text(entry, "driver").unwrap_or("bridge");
    if matches!(driver, "bridge" | "default" | "") || grants.has(Grant::HostNetwork) {
        return Ok(());
    }
    Err(not_granted(Grant::HostNetwork, &format!("driver {driver} for network {name}")))
}

pub(super) fn volume(name: &str, entry: &Object, grants: &Grants) -> Result<(), Refused> {
    external("volume", name, entry, grants)?;
    volumes::check(name, entry, grants)
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

fn names_a_build(image: &Value) -> bool {
    let name = image.as_str().unwrap_or_default();
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.starts_with(build::REPOSITORY)
}

fn reaches_out(capability: &str) -> bool {
    let upper = capability.to_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    !OWN_CAPABILITIES.contains(&name)
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
