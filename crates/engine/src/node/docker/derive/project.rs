//! Networks, volumes, configs and secrets of the file as a whole.

use serde_json::{Value, json};

use super::{
    DeriveInput, Grant, Notes, Object, Refused, addresses, drop_labels, label_all,
    mounts::{host_path, plain},
    object_mut, services,
};

/// Options of bridges that touch nothing but the bridge itself.
const BRIDGE_OPTIONS: [&str; 3] = [
    "com.docker.network.driver.mtu",
    "com.docker.network.bridge.enable_icc",
    "com.docker.network.bridge.enable_ip_masquerade",
];

/// Rewrites everything that is not a service.
pub(super) fn rewrite(
    file: &mut Object,
    input: &DeriveInput<'_>,
    notes: &mut Notes,
) -> Result<(), Refused> {
    file.retain(|key, _| !key.starts_with("x-") && key != "name" && key != "version");
    default_network(file);
    addresses::drop_fixed(file, input, notes)?;
    for (name, network) in objects_mut(file, "networks") {
        if owned(network) {
            network_entry(name, network, input, notes);
        }
    }
    for (_, volume) in objects_mut(file, "volumes") {
        if owned(volume) {
            volume.retain(|key, _| key != "name" && !key.starts_with("x-"));
            drop_labels(volume);
            label_all(volume, input);
        }
    }
    for key in ["configs", "secrets"] {
        for (_, entry) in objects_mut(file, key) {
            content(entry, input, notes)?;
        }
    }
    Ok(())
}

/// The network that services without networks share must be ours too.
fn default_network(file: &mut Object) {
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

fn network_entry(name: &str, network: &mut Object, input: &DeriveInput<'_>, notes: &mut Notes) {
    drop_labels(network);
    network.remove("name");
    network.remove("attachable");
    if !input.grants.has(Grant::HostNetwork) {
        network.remove("driver");
        let ipam = network.remove("ipam");
        if ipam.as_ref().and_then(Value::as_object).is_some_and(|ipam| !ipam.is_empty()) {
            network.remove("enable_ipv6");
            notes.warnings.push(format!(
                "network {name}: its fixed subnet is dropped, the engine chooses one"
            ));
        }
        if let Some(options) = network.get_mut("driver_opts").and_then(Value::as_object_mut) {
            options.retain(|option, _| BRIDGE_OPTIONS.contains(&option.as_str()));
        }
    }
    label_all(network, input);
}

/// Files of the guest and variables of the guest, instead of the host's.
fn content(entry: &mut Object, input: &DeriveInput<'_>, notes: &mut Notes) -> Result<(), Refused> {
    if !owned(entry) {
        return Ok(());
    }
    entry.remove("name");
    if let Some(path) = entry.get("file").and_then(Value::as_str) {
        let host = json!(host_path(&plain(path), input)?);
        entry.insert("file".to_owned(), host);
    }
    if let Some(variable) = entry.get("environment").and_then(Value::as_str) {
        let alias = format!("CASEMATE_VALUE_{}", notes.pass_env.len());
        notes.pass_env.push((alias.clone(), variable.to_owned()));
        entry.insert("environment".to_owned(), json!(alias));
    }
    Ok(())
}

pub(super) fn owned(entry: &Object) -> bool {
    entry.get("external").is_none_or(|external| external == false)
}

fn objects_mut<'a>(
    file: &'a mut Object,
    key: &str,
) -> impl Iterator<Item = (&'a String, &'a mut Object)> + use<'a> {
    let map = file.get_mut(key).and_then(Value::as_object_mut);
    map.into_iter().flatten().filter_map(|(name, entry)| {
        if entry.is_null() {
            *entry = json!({});
        }
        Some((name, entry.as_object_mut()?))
    })
}
