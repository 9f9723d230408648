//! Names, labels, limits and habits of a service.

use serde_json::{Value, json};

use super::{
    super::HostAccess, DeriveInput, Grant, LABEL_BRIDGES, LABEL_RESTART, Limits, Notes, Object,
    add_labels, label_all, list, object_mut, text,
};

/// Log drivers whose output the engine can show again.
const READABLE_LOGS: [&str; 3] = ["json-file", "local", "none"];

/// Keys that say nothing to the engine.
pub(super) fn drop_unused(service: &mut Object) {
    service.retain(|key, _| {
        !matches!(key.as_str(), "profiles" | "develop" | "extends") && !key.starts_with("x-")
    });
}

/// The engine's shared network would let containers of different CVMs meet.
pub(super) fn network_mode(name: &str, service: &mut Object, notes: &mut Notes) {
    if text(service, "network_mode") == Some("bridge") {
        service.remove("network_mode");
        service.insert("networks".to_owned(), json!({"default": null}));
        notes.warn(name, "network_mode bridge is the CVM's own network here");
    }
}

/// A container name is dropped, but others of the file may call the container by it.
pub(super) fn aliases(service: &mut Object) {
    let Some(Value::String(alias)) = service.remove("container_name") else { return };
    if service.contains_key("network_mode") {
        return;
    }
    let Some(networks) = object_mut(service, "networks") else { return };
    if networks.is_empty() {
        networks.insert("default".to_owned(), Value::Null);
    }
    let names: Vec<String> = networks.keys().cloned().collect();
    for network in names {
        let Some(network) = object_mut(networks, &network) else { continue };
        let aliases = network.entry("aliases").or_insert_with(|| json!([]));
        if let Some(aliases) = aliases.as_array_mut().filter(|all| !all.contains(&json!(alias))) {
            aliases.push(json!(alias));
        }
    }
}

/// A variable without value would be taken from the environment of the compose process.
pub(super) fn environment(service: &mut Object) {
    if let Some(variables) = service.get_mut("environment").and_then(Value::as_object_mut) {
        variables.retain(|_, value| !value.is_null());
    }
}

pub(super) fn log_driver(name: &str, service: &mut Object, notes: &mut Notes) {
    let driver =
        service.get("logging").and_then(|logging| logging.get("driver")).and_then(Value::as_str);
    let Some(driver) = driver.filter(|driver| !READABLE_LOGS.contains(driver)) else { return };
    notes.warn(name, format_args!("log driver {driver} is replaced by the engine's default"));
    service.remove("logging");
}

/// Labels of a service.
pub(super) fn mark(service: &mut Object, input: &DeriveInput<'_>) {
    label_all(service, input);
    if input.host_access == HostAccess::Open {
        let prefix = input.host_access.bridge_prefix().to_owned();
        add_labels(service, [(LABEL_BRIDGES.to_owned(), prefix)]);
    }
}

/// The policy is kept, and written into a label: it is switched off while the VM is down.
pub(super) fn restart(service: &mut Object) {
    if let Some(policy) = deploy_policy(service) {
        service.insert("restart".to_owned(), Value::String(policy));
    }
    if let Some(deploy) = service.get_mut("deploy").and_then(Value::as_object_mut) {
        deploy.remove("restart_policy");
    }
    let policy = text(service, "restart").unwrap_or("no").to_owned();
    add_labels(service, [(LABEL_RESTART.to_owned(), policy)]);
}

/// `deploy.restart_policy` in the words of `restart`.
fn deploy_policy(service: &Object) -> Option<String> {
    let policy = service.get("deploy")?.get("restart_policy")?;
    let attempts = policy.get("max_attempts").and_then(Value::as_u64).unwrap_or(0);
    Some(match policy.get("condition").and_then(Value::as_str).unwrap_or("any") {
        "none" => "no".to_owned(),
        "on-failure" if attempts > 0 => format!("on-failure:{attempts}"),
        "on-failure" => "on-failure".to_owned(),
        "unless-stopped" => "unless-stopped".to_owned(),
        _ => "always".to_owned(),
    })
}

pub(super) fn limits(service: &mut Object, input: &DeriveInput<'_>) {
    let own_group = text(service, "cgroup_parent").is_some_and(|group| !group.is_empty());
    match input.limits {
        Limits::Parent(_) if own_group && input.grants.has(Grant::HostCgroup) => {}
        Limits::Parent(group) => {
            service.insert("cgroup_parent".to_owned(), json!(group));
        }
        Limits::PerService { vcpu, memory_mb, .. } => {
            let bytes = u64::from(*memory_mb) * 1024 * 1024;
            at_most(service, ["cpus", "cpus"], f64::from(*vcpu), |cpus| json!(cpus));
            at_most_bytes(service, bytes);
        }
    }
}

/// Lowers `service[own]` or `deploy.resources.limits[deployed]` to `most`, whichever is there; sets
/// the first if none is: compose refuses two that differ.
fn at_most(service: &mut Object, [own, deployed]: [&str; 2], most: f64, write: fn(f64) -> Value) {
    let deploy =
        service.get_mut("deploy").and_then(|deploy| deploy.pointer_mut("/resources/limits"));
    let slot = match deploy.and_then(Value::as_object_mut) {
        Some(limits) if limits.contains_key(deployed) => limits.get_mut(deployed),
        _ => Some(service.entry(own).or_insert(Value::Null)),
    };
    let Some(slot) = slot else { return };
    let asked = slot.as_f64().or_else(|| slot.as_str()?.parse().ok());
    *slot = write(asked.filter(|asked| *asked > 0.0 && *asked < most).unwrap_or(most));
}

fn at_most_bytes(service: &mut Object, most: u64) {
    let deploy =
        service.get_mut("deploy").and_then(|deploy| deploy.pointer_mut("/resources/limits"));
    let slot = match deploy.and_then(Value::as_object_mut) {
        Some(limits) if limits.contains_key("memory") => limits.get_mut("memory"),
        _ => Some(service.entry("mem_limit").or_insert(Value::Null)),
    };
    let Some(slot) = slot else { return };
    let asked = slot.as_u64().or_else(|| slot.as_str()?.parse().ok());
    let bytes = asked.filter(|asked| *asked > 0 && *asked < most).unwrap_or(most);
    *slot = json!(bytes.to_string());
}

/// Whether a service's own file system cannot take a link at this path.
pub(super) fn hides(service: &Object, path: &str) -> bool {
    service.get("read_only") == Some(&Value::Bool(true))
        || tmpfs(service).any(|at| is_inside(path, at))
}

fn tmpfs(service: &Object) -> impl Iterator<Item = &str> {
    let plain = service.get("tmpfs").into_iter().flat_map(|value| match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        Value::String(one) => vec![one.as_str()],
        _ => Vec::new(),
    });
    let mounts = list(service, "volumes").iter().filter_map(|mount| {
        let is_tmpfs = mount.get("type").and_then(Value::as_str) == Some("tmpfs");
        is_tmpfs.then(|| mount.get("target").and_then(Value::as_str)).flatten()
    });
    plain.map(|text| text.split(':').next().unwrap_or(text)).chain(mounts)
}

/// Both spellings of the directory for sockets are one place in most images.
fn is_inside(path: &str, dir: &str) -> bool {
    let plain = |path: &str| {
        path.strip_prefix("/var/run").map_or(path.to_owned(), |rest| format!("/run{rest}"))
    };
    std::path::Path::new(&plain(path)).starts_with(plain(dir))
}
