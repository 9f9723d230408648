//! The edges of names and lengths; nulls, defaults and unknown fields.

use serde_json::{Map, Value, json};

use crate::fields::{
    common::{TestNode, World, provision_body},
    row::{body, deploy},
    table,
};

/// Codes that are tested here and not in a list.
pub const CODES: &[(&str, &str)] = &[("name", "422")];

#[tokio::test]
async fn the_rule_of_names_holds_at_its_edges() {
    let world = World::new().await;
    let long = |n: usize| "a".repeat(n);
    for good in
        ["abcde", "A1-b2-c3", "my-app", "z----".trim_end_matches('-').repeat(5).as_str(), &long(63)]
    {
        world.post("/cvms/provision", provision_body(good)).await.ok();
    }
    for bad in [
        "",
        "abcd",
        &long(64),
        "1abcd",
        "-abcd",
        "abcd-",
        "ab--cd",
        "ab_cd",
        "ab.cd",
        "ab cd",
        "abcdé",
        "abcde\n",
    ] {
        let reply = world.post("/cvms/provision", provision_body(bad)).await;
        assert_eq!(reply.status, 422, "{bad:?}: {}", reply.text);
        assert_eq!(reply.json()["detail"][0]["loc"], json!(["body", "name"]), "{bad:?}");
    }
    let mut nameless = provision_body("my-app");
    nameless.as_object_mut().unwrap().remove("name");
    let reply = world.post("/cvms/provision", nameless).await;
    assert_eq!(reply.json()["detail"][0]["loc"], json!(["body", "name"]));
}

const LIMIT: usize = 200 * 1024;

#[tokio::test]
async fn compose_file_and_pre_launch_script_have_200_kib_together() {
    let world = World::new().await;
    let head = "services: {a: {image: x}}\n#";
    for (yaml, script, fits) in [
        (LIMIT, 0, true),
        (LIMIT + 1, 0, false),
        (LIMIT - 10, 10, true),
        (LIMIT - 10, 11, false),
        (head.len(), LIMIT - head.len(), true),
        (head.len(), LIMIT - head.len() + 1, false),
    ] {
        let yaml = format!("{head}{}", "x".repeat(yaml - head.len()));
        let file = json!({ "compose_file": { "docker_compose_file": yaml, "pre_launch_script": "y".repeat(script) } });
        let reply = world.post("/cvms/provision", body("my-app", &[&file])).await;
        if fits {
            reply.ok();
        } else {
            let body = reply.refused(400, "ERR-01-003");
            assert_eq!(body["details"][0]["field"], "compose_file.docker_compose_file");
        }
    }
    // Bytes count, not characters.
    let wide = format!("{head}{}", "é".repeat((LIMIT - head.len()) / 2 + 1));
    let file = json!({ "compose_file": { "docker_compose_file": wide } });
    world.post("/cvms/provision", body("my-app", &[&file])).await.refused(400, "ERR-01-003");
    let full = format!("{head}{}", "x".repeat(LIMIT - head.len()));
    let file = json!({ "compose_file": { "docker_compose_file": full.clone() } });
    let made = deploy(&world, body("full-app", &[&file]), &json!({})).await;
    let document: Value = serde_json::from_str(&made.document).unwrap();
    assert_eq!(document["docker_compose_file"], full);
}

/// Every default, written out.
const DEFAULTS: &str = r#"{
        "name": "my-app", "instance_type": null, "vcpu": null, "memory": null, "disk_size": null,
        "image": null, "prefer_dev": null, "teepod_id": null, "region": null, "listed": true,
        "kms_id": null, "kms": "phala", "nonce": null, "app_id": null, "env_keys": [], "ports": null,
        "encrypted_env": null, "user_config": null, "hugepages": false, "pin_numa": false,
        "gpus": { "gpus": [], "attach_mode": "listed" }, "kms_urls": [], "gateway_urls": [],
        "experimental_vpc_server_app_id": null, "secure_time": false, "ssh_authorized_keys": [],
        "storage_fs": "zfs", "key_provider_mode": "kms", "skip_gateway": false,
        "compose_file": {
            "name": "", "allowed_envs": [], "bash_script": null, "default_gateway_domain": null,
            "init_script": null, "kms_enabled": true, "local_key_provider_enabled": false,
            "manifest_version": 2, "no_instance_id": false, "pre_launch_script": null,
            "public_logs": true, "public_sysinfo": true, "public_tcbinfo": true,
            "runner": "docker-compose", "gateway_enabled": true, "features": ["kms", "tproxy-net"],
            "salt": null, "secure_time": false, "storage_fs": "zfs", "tproxy_enabled": true,
            "update_env_vars": false, "key_provider": "kms", "encrypted_env": null
        }
    }"#;

fn defaults() -> Value {
    serde_json::from_str(DEFAULTS).unwrap()
}

/// Every field of the tables as `null`, but those that must be there; Go's spellings in capitals
/// apart, because a body has only one of two aliases.
fn nulls(capitals: bool) -> Value {
    let mut request = Map::new();
    let mut file = Map::new();
    for name in table::by_name().into_keys() {
        match name.strip_prefix("compose_file.") {
            Some("docker_compose_file" | "storage_fs") => {}
            Some(inner) => drop(file.insert(inner.to_owned(), Value::Null)),
            None if name.contains(['.', ' ', '[']) || name == "name" => {}
            None if name.starts_with(|first: char| first.is_uppercase()) != capitals => {}
            None => drop(request.insert(name, Value::Null)),
        }
    }
    request.insert("compose_file".to_owned(), file.into());
    request.into()
}

#[tokio::test]
async fn nulls_and_defaults_are_never_refused_and_change_nothing() {
    for node in [TestNode::sim, TestNode::docker] {
        let mut seen = Vec::new();
        for said in [json!({}), defaults(), nulls(false), nulls(true)] {
            let world = World::fleet(vec![node()], |_| {}).await;
            let mut sent = body("my-app", &[]);
            crate::fields::row::merge(&mut sent, &said);
            let made = deploy(
                &world,
                sent,
                &json!({ "env_keys": null, "encrypted_env": null, "kms_id": null }),
            )
            .await;
            assert_eq!(made.reply["warnings"], Value::Null);
            let vm = made.vm;
            let carried = json!([
                vm.image,
                vm.vcpu,
                vm.memory_mb,
                vm.disk_gb,
                vm.ports,
                vm.sealed_env,
                vm.user_config,
                vm.hugepages,
                vm.pin_numa,
                vm.gpus,
                vm.kms_urls,
                vm.gateway_urls,
                vm.compose,
            ]);
            seen.push((made.reply["compose_hash"].clone(), carried, made.get["listed"].clone()));
        }
        assert_eq!(seen[0].2, true, "listed");
        assert_eq!(seen[0], seen[1], "defaults");
        assert_eq!(seen[0], seen[2], "nulls");
        assert_eq!(seen[0], seen[3], "nulls in capitals");
    }
}

#[test]
fn the_defaults_are_those_of_the_table() {
    let table = table::by_name();
    let check = |name: &str, value: &Value| {
        let text =
            value.as_str().map_or_else(|| value.to_string().replace(',', ", "), str::to_owned);
        let default = &table[name].default;
        match value {
            Value::Null | Value::Object(_) => {}
            Value::String(text) if text.is_empty() || text == "my-app" => {}
            _ => assert!(
                default.starts_with(&format!("`{text}`")),
                "{name}: {text}, in the table {default}"
            ),
        }
    };
    for (name, value) in defaults().as_object().unwrap() {
        check(name, value);
    }
    for (name, value) in defaults()["compose_file"].as_object().unwrap() {
        check(&format!("compose_file.{name}"), value);
    }
}

#[tokio::test]
async fn unknown_fields_are_ignored_and_named() {
    let world = World::new().await;
    let plain = world.provision("my-app").await;
    let more = json!({ "nmae": 1, "compose_file": { "tproxi_enabled": false, "x": null } });
    let reply = world.post("/cvms/provision", body("my-app", &[&more])).await.ok();
    assert_eq!(reply["compose_hash"], plain["compose_hash"]);
    let warning = reply["warnings"][0].as_str().unwrap();
    for name in ["nmae", "compose_file.tproxi_enabled", "compose_file.x"] {
        assert!(warning.contains(name), "{warning}");
    }
}
