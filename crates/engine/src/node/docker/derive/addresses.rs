//! Fixed addresses of services.
//!
//! A subnet is a route of the host: one that a tenant chooses takes traffic away from whatever else has
//! these addresses. So the engine chooses every subnet from the operator's pools, and fixed addresses
//! are dropped. Where something else of the file relies on such an address, dropping it would change
//! the app silently, and the file is refused.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{DeriveInput, Grant, Notes, Object, Refused, entries, project::owned, services_mut};

const FIXED: [&str; 3] = ["ipv4_address", "ipv6_address", "link_local_ips"];

/// Drops the fixed addresses that services have in the file's own networks.
pub(super) fn drop_fixed(
    file: &mut Object,
    input: &DeriveInput<'_>,
    notes: &mut Notes,
) -> Result<(), Refused> {
    if input.grants.has(Grant::HostNetwork) {
        return Ok(());
    }
    let outside: BTreeSet<String> = entries(file, "networks")
        .filter(|(_, network)| !owned(network))
        .map(|(name, _)| name.clone())
        .collect();
    let mut dropped = Vec::new();
    for (service, entry) in services_mut(file) {
        let networks = entry.get_mut("networks").and_then(Value::as_object_mut);
        for (network, options) in networks.into_iter().flatten() {
            let Some(options) = options.as_object_mut().filter(|_| !outside.contains(network))
            else {
                continue;
            };
            for address in FIXED.iter().filter_map(|key| options.remove(*key)) {
                for address in texts(&address) {
                    dropped.push((service.clone(), network.clone(), address.to_owned()));
                }
            }
        }
    }
    for (service, network, address) in dropped {
        if let Some(user) = user_of(file, &address) {
            let what = format!("the fixed address {address}, on which {user} relies");
            let way_out = "the engine chooses addresses: call the service by its name instead";
            return Err(Refused::new(what, way_out).in_service(&service));
        }
        let text = format!("its fixed address {address} in network {network} is dropped");
        notes.warn(&service, text);
    }
    Ok(())
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What else has this address in its text.
fn user_of(file: &Object, address: &str) -> Option<String> {
    ["services", "configs", "secrets"].into_iter().find_map(|kind| {
        let (name, _) = entries(file, kind)
            .find(|(_, entry)| entry.values().any(|value| mentions(value, address)))?;
        Some(format!("{} {name}", kind.trim_end_matches('s')))
    })
}

fn mentions(value: &Value, address: &str) -> bool {
    match value {
        Value::String(text) => has_address(text, address),
        Value::Array(items) => items.iter().any(|item| mentions(item, address)),
        Value::Object(map) => {
            map.iter().any(|(key, value)| has_address(key, address) || mentions(value, address))
        }
        _ => false,
    }
}

/// Whether the text has this address, and not only a longer one that begins or ends like it.
fn has_address(text: &str, address: &str) -> bool {
    let longer = |c: char| c.is_ascii_hexdigit();
    text.match_indices(address).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + address.len()..]);
        let more = after.strip_prefix(['.', ':']).unwrap_or_default();
        let is_longer = if address.contains(':') {
            after.starts_with(longer)
        } else {
            after.starts_with(|c: char| c.is_ascii_digit())
                || (after.starts_with('.') && more.starts_with(|c: char| c.is_ascii_digit()))
        };
        !is_longer && !before.ends_with(longer)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::docker::derive::{Grants, tests::try_derive};

    fn model(db: Value, app: Value) -> Value {
        let mut db = db;
        db["image"] = json!("db");
        let mut app = app;
        app["image"] = json!("app");
        json!({
            "services": {"db": db, "app": app},
            "networks": {
                "back": {"ipam": {"config": [{"subnet": "203.0.113.0/24", "gateway": "203.0.113.1"}]}},
                "out": {"external": true, "name": "bridge"},
            },
        })
    }

    fn fixed() -> Value {
        json!({"networks": {"back": {
            "ipv4_address": "203.0.113.5", "ipv6_address": "2001:db8::5",
            "link_local_ips": ["169.254.0.7"], "aliases": ["database"],
        }}})
    }

    #[test]
    fn no_address_of_a_tenant_becomes_a_route() {
        let mut input = model(fixed(), json!({}));
        input["networks"].as_object_mut().unwrap().remove("out");
        let out = try_derive(input, |_| {}).unwrap();
        assert_eq!(
            out.model["services"]["db"]["networks"],
            json!({"back": {"aliases": ["database"]}})
        );
        assert!(out.model["networks"]["back"].get("ipam").is_none());
        for word in ["203.0.113.5", "2001:db8::5", "169.254.0.7", "subnet"] {
            assert!(out.warnings.iter().any(|warning| warning.contains(word)), "{word}");
        }
    }

    #[test]
    fn an_address_that_others_rely_on_is_refused_by_name() {
        for app in [
            json!({"environment": {"DB": "postgres://203.0.113.5:5432/x"}}),
            json!({"command": ["--db=203.0.113.5"]}),
            json!({"dns": ["203.0.113.5"]}),
            json!({"extra_hosts": ["db=203.0.113.5"]}),
            json!({"environment": {"DB": "http://[2001:db8::5]:80"}}),
            json!({"labels": {"x": "203.0.113.5."}}),
        ] {
            let mut input = model(fixed(), app.clone());
            input["networks"].as_object_mut().unwrap().remove("out");
            let refused = try_derive(input, |_| {}).unwrap_err();
            assert_eq!(refused.service.as_deref(), Some("db"), "{app}");
            assert!(refused.to_string().contains("service app relies"), "{refused}");
        }
        for fine in ["203.0.113.50", "1203.0.113.5", "203.0.113.5.1", "2001:db8::55"] {
            let mut input = model(fixed(), json!({"command": [fine]}));
            input["networks"].as_object_mut().unwrap().remove("out");
            assert!(try_derive(input, |_| {}).is_ok(), "{fine}");
        }
    }

    #[test]
    fn grants_leave_addresses_as_they_are() {
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            Grants::parse(&words).unwrap()
        };
        let outside = json!({"networks": {"out": {"ipv4_address": "172.17.0.9"}}});
        let out = try_derive(model(outside, json!({})), |given| given.grants = of(&["external"]));
        assert_eq!(
            out.unwrap().model["services"]["db"]["networks"]["out"]["ipv4_address"],
            "172.17.0.9"
        );
        let out = try_derive(model(fixed(), json!({})), |given| {
            given.grants = of(&["external", "host-network"]);
        });
        assert!(out.unwrap().model["networks"]["back"].get("ipam").is_some());
    }
}
