//! What a docker node refuses. The list of what is *not* refused is closed: a key that is neither
//! harmless nor looked at is refused too. The rules are listed in [`super::rules`].

use serde_json::Value;

use super::{
    Grant, Grants, Object, Refused, build, list,
    rules::{Check, RULES},
    services, text,
};

/// Keys of a file that mean nothing, or that [`super::project`] rewrites.
const FILE_KEYS: [&str; 7] =
    ["name", "version", "services", "networks", "volumes", "configs", "secrets"];

/// Keys of a service that reach no further than its containers, or that are rewritten.
const KEPT: [&str; 50] = [
    "attach",
    "cap_drop",
    "command",
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
    "init",
    "labels",
    "links",
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
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "storage_opt",
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
pub(in crate::node::docker) const HARDENING: [&str; 3] =
    ["no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"];

/// A key of a service as a rule looks at it.
pub(super) struct Asked<'a> {
    pub key: &'a str,
    pub value: &'a Value,
    pub service: &'a Object,
    pub grants: &'a Grants,
}

impl Asked<'_> {
    fn unless(&self, bad: bool, grant: Grant, what: &str) -> Result<(), Refused> {
        if bad && !self.grants.has(grant) { Err(not_granted(grant, what)) } else { Ok(()) }
    }

    /// Each text of a list.
    pub fn each(&self, check: impl Fn(&str) -> Result<(), Refused>) -> Result<(), Refused> {
        list(self.service, self.key).iter().filter_map(Value::as_str).try_for_each(check)
    }
}

/// Whether a key of a service needs no rule.
pub(super) fn is_kept(key: &str) -> bool {
    KEPT.contains(&key) || key.starts_with("x-")
}

/// Keys of the file.
pub(super) fn file_keys(file: &Object) -> Result<(), Refused> {
    file.keys()
        .find(|key| !FILE_KEYS.contains(&key.as_str()) && !key.starts_with("x-"))
        .map_or(Ok(()), |key| Err(unknown(key)))
}

/// Keys of services: each is harmless, or there is a rule about it.
pub(super) fn service_keys(file: &Object) -> Result<(), Refused> {
    services(file).try_for_each(|(name, service)| {
        let unknown_key = service.keys().find(|key| !is_known(key));
        unknown_key.map_or(Ok(()), |key| Err(unknown(key).in_service(name)))
    })
}

/// [`service_keys`] of one key, as it stands in the text.
pub(super) fn key_ahead(key: &str) -> Result<(), Refused> {
    if is_known(key) { Ok(()) } else { Err(unknown(key)) }
}

fn is_known(key: &str) -> bool {
    let has_rule =
        |rule: &super::rules::Rule| rule.name == key && matches!(rule.check, Check::Key(_));
    is_kept(key) || RULES.iter().any(has_rule)
}

/// Every service names an image or builds one.
pub(super) fn programs(file: &Object) -> Result<(), Refused> {
    services(file).try_for_each(|(name, service)| {
        if service.contains_key("image") || service.contains_key("build") {
            return Ok(());
        }
        Err(Refused::new("no image", "every service needs image:").in_service(name))
    })
}

pub(super) fn image(asked: &Asked<'_>) -> Result<(), Refused> {
    if !names_a_build(asked.value) {
        return Ok(());
    }
    Err(Refused::new(
        format!("an image of {}", build::REPOSITORY),
        "such images are built by the node: use another name",
    ))
}

pub(super) fn annotations(asked: &Asked<'_>) -> Result<(), Refused> {
    if !filled(asked.value) {
        return Ok(());
    }
    let way_out = "they are instructions to the host's container runtime: use labels";
    Err(Refused::new("annotations", way_out))
}

pub(super) fn privileged(asked: &Asked<'_>) -> Result<(), Refused> {
    asked.unless(asked.value == true, Grant::Privileged, asked.key)
}

pub(super) fn hooks(asked: &Asked<'_>) -> Result<(), Refused> {
    asked.unless(any_privileged(asked.value), Grant::Privileged, asked.key)
}

pub(super) fn network_mode(asked: &Asked<'_>) -> Result<(), Refused> {
    namespace(asked, Grant::HostNetwork)
}

pub(super) fn pid(asked: &Asked<'_>) -> Result<(), Refused> {
    namespace(asked, Grant::HostPid)
}

pub(super) fn ipc(asked: &Asked<'_>) -> Result<(), Refused> {
    namespace(asked, Grant::HostIpc)
}

pub(super) fn uts(asked: &Asked<'_>) -> Result<(), Refused> {
    namespace(asked, Grant::HostUts)
}

pub(super) fn userns_mode(asked: &Asked<'_>) -> Result<(), Refused> {
    namespace(asked, Grant::HostUserns)
}

pub(super) fn cgroup(asked: &Asked<'_>) -> Result<(), Refused> {
    namespace(asked, Grant::HostCgroup)
}

/// Control groups of the host.
pub(super) fn host_cgroup(asked: &Asked<'_>) -> Result<(), Refused> {
    asked.unless(filled(asked.value), Grant::HostCgroup, asked.key)
}

pub(super) fn oom_score_adj(asked: &Asked<'_>) -> Result<(), Refused> {
    let negative = asked.value.as_i64().is_some_and(|by| by < 0);
    asked.unless(negative, Grant::HostCgroup, "negative oom_score_adj")
}

pub(super) fn devices(asked: &Asked<'_>) -> Result<(), Refused> {
    asked.unless(filled(asked.value), Grant::Devices, asked.key)
}

/// Limits for a device by its path of the host; the error of the engine tells what is at a path.
pub(super) fn blkio_config(asked: &Asked<'_>) -> Result<(), Refused> {
    let devices =
        asked.value.as_object().into_iter().flatten().find(|(key, value)| {
            key.as_str() != "weight" && !key.starts_with("x-") && filled(value)
        });
    devices.map_or(Ok(()), |(key, _)| {
        asked.unless(true, Grant::Devices, &format!("blkio_config.{key}"))
    })
}

pub(super) fn deploy(asked: &Asked<'_>) -> Result<(), Refused> {
    super::limits::count("deploy.replicas", asked.value.get("replicas"))?;
    asked.unless(reserves_devices(asked.value), Grant::Devices, "reserved devices")
}

pub(super) fn scale(asked: &Asked<'_>) -> Result<(), Refused> {
    super::limits::count("scale", Some(asked.value))
}

pub(super) fn cap_add(asked: &Asked<'_>) -> Result<(), Refused> {
    asked.each(|capability| {
        let what = format!("cap_add {capability}");
        asked.unless(reaches_out(capability), Grant::Capabilities, &what)
    })
}

pub(super) fn security_opt(asked: &Asked<'_>) -> Result<(), Refused> {
    asked.each(|option| {
        let what = format!("security_opt {option}");
        asked.unless(!HARDENING.contains(&option), Grant::SecurityOpt, &what)
    })
}

pub(super) fn runtime(asked: &Asked<'_>) -> Result<(), Refused> {
    asked.unless(filled(asked.value), Grant::Runtime, asked.key)
}

pub(super) fn volumes_from(asked: &Asked<'_>) -> Result<(), Refused> {
    asked.each(|from| {
        let what = format!("volumes_from {from}");
        asked.unless(from.starts_with("container:"), Grant::External, &what)
    })
}

pub(super) fn external_links(asked: &Asked<'_>) -> Result<(), Refused> {
    asked.unless(filled(asked.value), Grant::External, asked.key)
}

/// Settings of the kernel that each network and ipc namespace has by itself.
pub(super) fn sysctls(asked: &Asked<'_>) -> Result<(), Refused> {
    const OWN: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let plain = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            && !name.contains("..")
    };
    let own = |name: &str| {
        OWN.contains(&name)
            || (plain(name) && (name.starts_with("net.") || name.starts_with("fs.mqueue.")))
    };
    let of_map = asked.value.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let of_list =
        list(asked.service, asked.key).iter().filter_map(|one| one.as_str()?.split('=').next());
    let foreign = of_map.chain(of_list).find(|name| !own(name));
    foreign.map_or(Ok(()), |name| {
        let way_out = "it is a setting of the whole host: leave it out";
        Err(Refused::new(format!("sysctl {name}"), way_out))
    })
}

/// `tmpfs: /path[:options]`. The engine hands what it does not know as a size on to `mount(2)`.
pub(super) fn tmpfs(asked: &Asked<'_>) -> Result<(), Refused> {
    const FLAGS: [&str; 12] = [
        "ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "async", "noatime",
        "relatime",
    ];
    let check = |text: &str| {
        let Some((_, options)) = text.split_once(':') else { return Ok(()) };
        let fits = |option: &str| {
            let limit =
                option.strip_prefix("nr_inodes=").or_else(|| option.strip_prefix("nr_blocks="));
            FLAGS.contains(&option)
                || super::volumes::bound(option)
                || limit.is_some_and(|limit| super::volumes::bound(&format!("size={limit}")))
        };
        match options.split(',').find(|option| !option.is_empty() && !fits(option)) {
            None => Ok(()),
            Some(option) => {
                let way_out = "a tmpfs has size=, mode=, uid=, gid=, ro, noexec and the like";
                Err(Refused::new(format!("tmpfs option {option}"), way_out))
            }
        }
    };
    match asked.value {
        Value::String(text) => check(text),
        _ => asked.each(check),
    }
}

/// The engine runs `tag` as a template, with functions and fields of its own.
pub(super) fn logging(asked: &Asked<'_>) -> Result<(), Refused> {
    let Some(tag) = asked.value.pointer("/options/tag") else { return Ok(()) };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match tag {
        Value::String(tag) if !tag.bytes().all(plain) => Err(Refused::new(
            format!("the log tag {tag}"),
            "write a tag of letters, digits, dots, dashes and underscores",
        )),
        _ => Ok(()),
    }
}

pub(super) fn build(asked: &Asked<'_>) -> Result<(), Refused> {
    build::check(asked.value, asked.service.contains_key("image"))
}

pub(super) fn volumes(asked: &Asked<'_>) -> Result<(), Refused> {
    list(asked.service, asked.key).iter().try_for_each(super::mounts::check_known)
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

fn namespace(asked: &Asked<'_>, host: Grant) -> Result<(), Refused> {
    let Asked { key, value, grants, .. } = *asked;
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
pub(super) fn endpoints(asked: &Asked<'_>) -> Result<(), Refused> {
    const KEYS: [&str; 7] = [
        "aliases",
        "ipv4_address",
        "ipv6_address",
        "link_local_ips",
        "mac_address",
        "priority",
        "gw_priority",
    ];
    for (name, options) in asked.value.as_object().into_iter().flatten() {
        let mut keys = options.as_object().into_iter().flatten().map(|(key, _)| key);
        if let Some(key) = keys.find(|key| !KEYS.contains(&key.as_str()) && !key.starts_with("x-"))
        {
            return Err(unknown(&format!("{key} in network {name}")));
        }
    }
    Ok(())
}

/// Keys of a network.
pub(super) fn network_keys(name: &str, entry: &Object, _: &Grants) -> Result<(), Refused> {
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
    closed("network", name, entry, &KEYS)
}

/// Drivers of networks other than bridges reach into the host's.
pub(super) fn network_driver(name: &str, entry: &Object, grants: &Grants) -> Result<(), Refused> {
    let driver = text(entry, "driver").unwrap_or("bridge");
    if matches!(driver, "bridge" | "default" | "") || grants.has(Grant::HostNetwork) {
        return Ok(());
    }
    Err(not_granted(Grant::HostNetwork, &format!("driver {driver} for network {name}")))
}

/// Keys of a config.
pub(super) fn config_keys(name: &str, entry: &Object, _: &Grants) -> Result<(), Refused> {
    closed("config", name, entry, &FILE_LIKE)
}

/// Keys of a secret.
pub(super) fn secret_keys(name: &str, entry: &Object, _: &Grants) -> Result<(), Refused> {
    closed("secret", name, entry, &FILE_LIKE)
}

const FILE_LIKE: [&str; 6] = ["name", "file", "content", "environment", "external", "labels"];

fn closed(kind: &str, name: &str, entry: &Object, keys: &[&str]) -> Result<(), Refused> {
    entry
        .keys()
        .find(|key| !keys.contains(&key.as_str()) && !key.starts_with("x-"))
        .map_or(Ok(()), |key| Err(unknown(&format!("{key} for {kind} {name}"))))
}

fn external(kind: &str, name: &str, entry: &Object, grants: &Grants) -> Result<(), Refused> {
    let is_external = entry.get("external").is_some_and(|value| value == true || value.is_object());
    if is_external && !grants.has(Grant::External) {
        return Err(not_granted(Grant::External, &format!("the external {kind} {name}")));
    }
    Ok(())
}

pub(super) fn external_network(name: &str, entry: &Object, grants: &Grants) -> Result<(), Refused> {
    external("network", name, entry, grants)
}

pub(super) fn external_volume(name: &str, entry: &Object, grants: &Grants) -> Result<(), Refused> {
    external("volume", name, entry, grants)
}

pub(super) fn external_config(name: &str, entry: &Object, grants: &Grants) -> Result<(), Refused> {
    external("config", name, entry, grants)
}

pub(super) fn external_secret(name: &str, entry: &Object, grants: &Grants) -> Result<(), Refused> {
    external("secret", name, entry, grants)
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
    let name = name.strip_prefix("index.").unwrap_or(name);
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.starts_with(build::REPOSITORY)
}

pub(in crate::node::docker) fn reaches_out(capability: &str) -> bool {
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
