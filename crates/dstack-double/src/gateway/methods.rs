//! The methods of `Admin`.

use serde_json::{Map, Value, json};

use super::{GatewayDouble, Registered, State};
use crate::methods::Failure;

/// Number of the only node.
const NODE: u32 = 1;

type Arguments = Map<String, Value>;

fn text<'a>(arguments: &'a Arguments, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Carries out a method.
pub(super) fn admin(
    gateway: &GatewayDouble,
    method: &str,
    arguments: &Arguments,
) -> Result<Value, Failure> {
    if !gateway.profile.has(method) {
        return Err(Failure::NoMethod(method.to_owned()));
    }
    let operator = gateway.profile.operator;
    let mut state = gateway.state();
    let answer = answer(&mut state, operator, method, arguments)?;
    state.calls.push((method.to_owned(), Value::Object(arguments.clone())));
    Ok(answer)
}

fn answer(
    state: &mut State,
    operator: bool,
    method: &str,
    arguments: &Arguments,
) -> Result<Value, Failure> {
    let id = text(arguments, "instance_id").to_owned();
    match method {
        "Status" => Ok(status(state, operator)),
        "GetInfo" => {
            let id = text(arguments, "id");
            let info = state.instances.get(id).map(|record| host(state, operator, id, record));
            Ok(json!({ "found": info.is_some(), "info": info }))
        }
        "GetMeta" => {
            let online = state.instances.values().filter(|one| one.latest_handshake > 0).count();
            Ok(json!({ "registered": state.instances.len(), "online": online }))
        }
        "GetInstanceHandshakes" => {
            let record = state.instances.get(&id).filter(|record| record.latest_handshake > 0);
            let entry = record.map(
                |record| json!({ "observer_node_id": NODE, "timestamp": record.latest_handshake }),
            );
            Ok(json!({ "handshakes": entry.into_iter().collect::<Vec<_>>() }))
        }
        "ListZtDomains" => {
            Ok(json!({ "domains": state.domains.values().map(domain).collect::<Vec<_>>() }))
        }
        "AddZtDomain" => {
            let name = text(arguments, "domain").to_owned();
            if state.domains.contains_key(&name) {
                return Err(Failure::refused("ZT-Domain config already exists"));
            }
            let config = Value::Object(arguments.clone());
            let added = domain(&config);
            state.domains.insert(name, config);
            Ok(added)
        }
        "DeleteZtDomain" => match state.domains.remove(text(arguments, "domain")) {
            Some(_) => Ok(Value::Null),
            None => Err(Failure::refused("ZT-Domain config not found")),
        },
        "SetInstanceReady" => {
            known(state, &id)?;
            if arguments.get("ready").and_then(Value::as_bool).unwrap_or(false) {
                state.out.remove(&id);
            } else {
                state.out.insert(id);
            }
            Ok(Value::Null)
        }
        "RemoveCvm" => {
            let existed = state.instances.remove(&id).is_some();
            state.policies.remove(&id);
            Ok(json!({ "record_existed": existed, "removed_locally": existed }))
        }
        "ListRejectedInstances" => Ok(json!({ "rejected": [] })),
        "GetInstancePortPolicy" => {
            known(state, &id)?;
            let policy = state.policies.get(&id);
            let source = if policy.is_some() { "admin" } else { "none" };
            Ok(json!({
                "effective": policy, "source": source, "instance_reported": null,
                "admin_override": policy,
            }))
        }
        "SetInstancePortPolicy" => {
            known(state, &id)?;
            let policy = arguments.get("policy").cloned();
            let policy = policy.ok_or_else(|| Failure::refused("port policy is required"))?;
            state.policies.insert(id, policy);
            Ok(Value::Null)
        }
        "ClearInstancePortPolicy" => {
            known(state, &id)?;
            state.policies.remove(&id);
            Ok(Value::Null)
        }
        _ => Err(Failure::NoMethod(method.to_owned())),
    }
}

fn known(state: &State, id: &str) -> Result<(), Failure> {
    if state.instances.contains_key(id) {
        return Ok(());
    }
    Err(Failure::refused(&format!("instance {id} not found")))
}

fn status(state: &State, operator: bool) -> Value {
    let hosts: Vec<Value> =
        state.instances.iter().map(|(id, record)| host(state, operator, id, record)).collect();
    let connections: u64 = state.instances.values().map(|record| record.connections).sum();
    let mut status = json!({
        "id": NODE, "url": "https://gateway.test:8010", "bootnode_url": "", "uuid": "01",
        "num_connections": connections, "hosts": hosts,
        "nodes": [{ "id": NODE, "uuid": "01", "url": "https://gateway.test:8010",
            "last_seen": 1_790_000_000, "wg_public_key": "", "wg_ip": "", "wg_endpoint": "" }],
    });
    if operator {
        status["health_gating"] = json!(true);
    }
    status
}

fn host(state: &State, operator: bool, id: &str, record: &Registered) -> Value {
    let mut host = json!({
        "instance_id": id, "ip": "10.0.0.9", "app_id": record.app_id, "base_domain": "",
        "latest_handshake": record.latest_handshake, "num_connections": record.connections,
    });
    if operator {
        host["ready"] = json!(!state.out.contains(id));
        host["health"] = json!("ungated");
    }
    host
}

fn domain(config: &Value) -> Value {
    json!({
        "config": config,
        "cert_status": { "has_cert": true, "not_after": 1_800_000_000, "issued_by": NODE,
            "issued_at": 1_790_000_000, "loaded_in_memory": true },
    })
}
