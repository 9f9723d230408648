//! References to containers by name. Names are dropped, so what refers to a container of the same
//! file refers to its service from here on.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Object, services, services_mut, text};

/// Turns `container:<name>` into `service:<service>` where the file itself has that container.
pub(super) fn resolve(file: &mut Object) {
    let names: BTreeMap<String, String> = services(file)
        .filter_map(|(service, entry)| {
            Some((text(entry, "container_name")?.to_owned(), service.clone()))
        })
        .collect();
    for (_, service) in services_mut(file) {
        for key in ["network_mode", "pid", "ipc"] {
            if let Some(found) = text(service, key).and_then(|mode| same_file(mode, &names)) {
                service.insert(key.to_owned(), Value::String(format!("service:{found}")));
            }
        }
        for from in
            service.get_mut("volumes_from").and_then(Value::as_array_mut).into_iter().flatten()
        {
            if let Some(service) = from.as_str().and_then(|from| volumes_of(from, &names)) {
                *from = Value::String(service);
            }
        }
    }
}

fn same_file<'a>(mode: &str, names: &'a BTreeMap<String, String>) -> Option<&'a String> {
    names.get(mode.strip_prefix("container:")?)
}

/// `container:name[:ro]` as `service[:ro]`.
fn volumes_of(from: &str, names: &BTreeMap<String, String>) -> Option<String> {
    let rest = from.strip_prefix("container:")?;
    let (name, mode) = rest.split_once(':').map_or((rest, ""), |(name, mode)| (name, mode));
    let service = names.get(name)?;
    Some(if mode.is_empty() { service.clone() } else { format!("{service}:{mode}") })
}
