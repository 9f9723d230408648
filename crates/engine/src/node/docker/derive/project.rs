//! Networks, volumes, configs and secrets of the file as a whole.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    super::HostAccess,
    DeriveInput, Grant, Notes, Object, Refused, drop_labels, label_all,
    mounts::{host_path, plain},
    object_mut, services,
};

/// Options of bridges that touch nothing but the bridge itself.
const BRIDGE_OPTIONS: [&str; 3] = [
    "com.docker.network.driver.mtu",
    "com.docker.network.bridge.enable_icc",
    "com.docker.network.bridge.enable_ip_masquerade",
];

/// Keys of the file that say nothing to the engine.
pub(super) fn drop_unused(file: &mut Object) {
    file.retain(|key, _| !key.starts_with("x-") && key != "name" && key != "version");
}

/// The network that services without networks share must be ours too.
pub(super) fn default_network(file: &mut Object) {
    let used = services(file).any(|(_, service)| {
        let networks = service.get("networks").and_then(Value::as_object);
        !service.contains_key("network_mode")
            && networks
                .is_none_or(|networks| networks.is_empty() || networks.contains_key("default"))
    });
    if used && let Some(networks) = object_mut(file, "networks") {
        networks.entry("default").or_insert_with(|| json!({}));
    }
}

/// Networks that the file calls its own, whatever they are called elsewhere.
pub(super) fn network_names(file: &mut Object) {
    for (_, network) in owned_mut(file, "networks") {
        network.remove("name");
        network.remove("attachable");
    }
}

/// Bridges, and nothing that reaches past them.
pub(super) fn network_drivers(file: &mut Object, input: &DeriveInput<'_>) {
    if input.grants.has(Grant::HostNetwork) {
        return;
    }
    for (_, network) in owned_mut(file, "networks") {
        network.remove("driver");
        if let Some(options) = network.get_mut("driver_opts").and_then(Value::as_object_mut) {
            options.retain(|option, _| BRIDGE_OPTIONS.contains(&option.as_str()));
        }
    }
}

/// Name of the host's interface for a network of a CVM. Its beginning is what rules of the firewall go by.
pub(in crate::node::docker) fn bridge_name(
    access: HostAccess,
    project: &str,
    network: &str,
) -> String {
    let digest = Sha256::digest(format!("{project}/{network}"));
    format!("{}{}", access.bridge_prefix(), hex::encode(&digest[..6]))
}

/// Option of a bridge.
pub(in crate::node::docker) const BRIDGE_NAME: &str = "com.docker.network.bridge.name";

/// Names the host's interfaces.
pub(super) fn bridge_names(file: &mut Object, input: &DeriveInput<'_>) {
    for (name, network) in owned_mut(file, "networks") {
        if network.get("driver").is_none_or(|driver| driver == "bridge")
            && let Some(options) = object_mut(network, "driver_opts")
        {
            let bridge = bridge_name(input.host_access, input.project, name);
            options.insert(BRIDGE_NAME.to_owned(), json!(bridge));
        }
    }
}

/// The engine chooses subnets.
pub(super) fn subnets(file: &mut Object, input: &DeriveInput<'_>, notes: &mut Notes) {
    if input.grants.has(Grant::HostNetwork) {
        return;
    }
    for (name, network) in owned_mut(file, "networks") {
        let ipam = network.remove("ipam");
        if ipam.as_ref().and_then(Value::as_object).is_some_and(|ipam| !ipam.is_empty()) {
            network.remove("enable_ipv6");
            notes.warnings.push(format!(
                "network {name}: its fixed subnet is dropped, the engine chooses one"
            ));
        }
    }
}

/// Volumes that the file calls its own, whatever they are called elsewhere.
pub(super) fn volume_names(file: &mut Object) {
    for (_, volume) in owned_mut(file, "volumes") {
        volume.retain(|key, _| key != "name" && !key.starts_with("x-"));
    }
}

/// Labels of networks and volumes.
pub(super) fn labels(file: &mut Object, input: &DeriveInput<'_>) {
    for key in ["networks", "volumes"] {
        for (_, entry) in owned_mut(file, key) {
            drop_labels(entry);
            label_all(entry, input);
        }
    }
}

/// Files of the guest instead of the host's.
pub(super) fn files(
    file: &mut Object,
    input: &DeriveInput<'_>,
    _: &mut Notes,
) -> Result<(), Refused> {
    for key in ["configs", "secrets"] {
        for (_, entry) in owned_mut(file, key) {
            entry.remove("name");
            if let Some(path) = entry.get("file").and_then(Value::as_str) {
                let host = json!(host_path(&plain(path), input)?);
                entry.insert("file".to_owned(), host);
            }
        }
    }
    Ok(())
}

/// Variables of the guest instead of those of the compose process.
pub(super) fn variables(file: &mut Object, notes: &mut Notes) {
    for key in ["configs", "secrets"] {
        for (_, entry) in owned_mut(file, key) {
            if let Some(variable) = entry.get("environment").and_then(Value::as_str) {
                let alias = format!("CASEMATE_VALUE_{}", notes.pass_env.len());
                notes.pass_env.push((alias.clone(), variable.to_owned()));
                entry.insert("environment".to_owned(), json!(alias));
            }
        }
    }
}

pub(super) fn owned(entry: &Object) -> bool {
    entry.get("external").is_none_or(|external| external == false)
}

fn owned_mut<'a>(
    file: &'a mut Object,
    key: &str,
) -> impl Iterator<Item = (&'a String, &'a mut Object)> + use<'a> {
    let map = file.get_mut(key).and_then(Value::as_object_mut);
    map.into_iter().flatten().filter_map(|(name, entry)| {
        if entry.is_null() {
            *entry = json!({});
        }
        Some((name, entry.as_object_mut().filter(|entry| owned(entry))?))
    })
}
