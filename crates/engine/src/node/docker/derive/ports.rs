//! Published ports: on a docker node the numbers of the compose file belong to the VM, not the host.

use std::collections::BTreeMap;

use casemate_core::cvm::PortMap;
use serde_json::{Value, json};

use super::{DeriveInput, LABEL_PORT, Notes, Object, Published, Refused, add_labels};

const LOOPBACK: &str = "127.0.0.1";

/// One entry of `ports`.
struct Entry {
    target: u16,
    /// The first and the last number.
    published: Option<(u16, u16)>,
    protocol: String,
}

/// Replaces the ports of a service by free ones of the loopback and notes which is which.
pub(super) fn rewrite(
    name: &str,
    service: &mut Object,
    input: &DeriveInput<'_>,
    notes: &mut Notes,
) -> Result<(), Refused> {
    let Some(Value::Array(entries)) = service.remove("ports") else { return Ok(()) };
    let replicas = super::limits::replicas(service);
    let mut bound = Vec::new();
    let mut labels = Vec::new();
    for entry in entries.iter().filter_map(read) {
        let Some((port, last)) = entry.published else {
            let target = entry.target;
            notes.warn(
                name,
                format_args!("port {target} has no published number: nobody can reach it"),
            );
            continue;
        };
        check_range(port, last, replicas)?;
        bound.extend(mapped(&entry, port, input.ports, notes));
        if entry.protocol != "tcp" {
            let protocol = &entry.protocol;
            notes.warn(
                name,
                format_args!("port {port}/{protocol} is not reachable through the gateway"),
            );
            continue;
        }
        let free = free_port(entry.target);
        if !bound.contains(&free) {
            bound.push(free);
        }
        let range = if port == last { port.to_string() } else { format!("{port}-{last}") };
        labels.push((format!("{LABEL_PORT}{range}"), format!("{}/tcp", entry.target)));
        // Of a range every container has one number.
        let ports = if port == last { 1 } else { replicas };
        let (target, first) = (entry.target, port);
        notes.published.extend(
            (first..=last).take(usize::try_from(ports).unwrap_or(1)).map(|port| Published {
                port,
                service: name.to_owned(),
                target,
            }),
        );
    }
    if !bound.is_empty() {
        service.insert("ports".to_owned(), Value::Array(bound));
    }
    add_labels(service, labels);
    Ok(())
}

/// A range over one port of the container is shared out: it must be as long as there are containers.
fn check_range(first: u16, last: u16, replicas: u64) -> Result<(), Refused> {
    let numbers = u64::from(last.saturating_sub(first)) + 1;
    if numbers == 1 || replicas <= numbers {
        return Ok(());
    }
    Err(Refused::new(
        format!("ports {first}-{last} for {replicas} containers"),
        format!("publish {replicas} numbers, or one for all"),
    ))
}

/// A port published twice could mean either service; in a guest the second would not start.
pub(super) fn check_unique(published: &[Published]) -> Result<(), Refused> {
    let mut seen: BTreeMap<u16, &Published> = BTreeMap::new();
    for one in published {
        let Some(other) = seen.insert(one.port, one) else { continue };
        if (&other.service, other.target) != (&one.service, one.target) {
            let what = format!("port {} for both {} and {}", one.port, other.service, one.service);
            return Err(Refused::new(what, "publish each number once"));
        }
    }
    Ok(())
}

/// Names host ports that lead nowhere.
pub(super) fn check_maps(maps: &[PortMap], notes: &mut Notes) {
    for map in maps.iter().filter(|map| !notes.mapped.contains(map)) {
        let (host, vm, protocol) = (map.host_port, map.vm_port, &map.protocol);
        notes
            .warnings
            .push(format!("host port {host} leads nowhere: no service publishes {vm}/{protocol}"));
    }
}

fn read(entry: &Value) -> Option<Entry> {
    Some(Entry {
        target: entry.get("target")?.as_u64()?.try_into().ok()?,
        published: entry.get("published").and_then(numbers),
        protocol: entry.get("protocol").and_then(Value::as_str).unwrap_or("tcp").to_owned(),
    })
}

/// `8080`, `"8080"` or `"8080-8090"`; zero and nothing are no number.
fn numbers(published: &Value) -> Option<(u16, u16)> {
    let text =
        published.as_str().map(str::to_owned).or_else(|| Some(published.as_u64()?.to_string()))?;
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (0 < first && first <= last).then_some((first, last))
}

fn free_port(target: u16) -> Value {
    json!({"mode": "ingress", "target": target, "host_ip": LOOPBACK, "protocol": "tcp"})
}

/// The host ports that the VM's configuration maps to this one.
fn mapped(entry: &Entry, port: u16, maps: &[PortMap], notes: &mut Notes) -> Vec<Value> {
    let ours = |map: &&PortMap| map.vm_port == port && map.protocol == entry.protocol;
    let found: Vec<&PortMap> = maps.iter().filter(ours).collect();
    notes.mapped.extend(found.iter().map(|map| (*map).clone()));
    found
        .iter()
        .map(|map| {
            json!({
                "mode": "ingress",
                "target": entry.target,
                "published": map.host_port.to_string(),
                "host_ip": map.host_address.as_deref().unwrap_or(LOOPBACK),
                "protocol": entry.protocol,
            })
        })
        .collect()
}
