//! `compose_file`: what is in the document, and what it does there.

use serde_json::{Value, json};

use crate::fields::{
    common::COMPOSE,
    provision_rows::SEALED,
    row::{Row, check_all, row},
};

const SCRIPT: &str = "#!/bin/sh\necho \"\\\u{1f980}\"\n";

/// A row of one key that is in the document as it was sent.
fn kept(field: &'static str, value: Value) -> Row {
    let key = field.strip_prefix("compose_file.").unwrap();
    row(field, json!({ "compose_file": { key: value.clone() } })).document(key, value)
}

fn with(field: &'static str, send: Value) -> Row {
    let mut said = json!({});
    said["compose_file"] = send;
    row(field, said)
}

pub fn rows() -> Vec<Row> {
    let compose = "# \u{2028}\nservices:\n  a: {image: x, ports: [\"9000:1\"]}\n";
    let mut rows = vec![
        kept("compose_file.name", "inner name".into()).get("/name", "my-app").get("/compose_file/name", "inner name"),
        kept("compose_file.docker_compose_file", compose.into()),
        kept("compose_file.pre_launch_script", SCRIPT.into()),
        kept("compose_file.init_script", SCRIPT.into()),
        with("compose_file.bash_script", json!({ "bash_script": "sleep 9" }))
            .with(json!({ "compose_file": { "runner": "bash", "docker_compose_file": "", "bash_script": "sleep 1" } }))
            .document("bash_script", "sleep 9")
            .document("docker_compose_file", Value::Null)
            .get("/runner", "bash"),
        with("compose_file.runner", json!({ "runner": "bash", "docker_compose_file": null, "bash_script": "sleep 1" }))
            .document("runner", "bash")
            .get("/runner", "bash"),
        kept("compose_file.allowed_envs", json!(["Z", "_a"])),
        with("compose_file.allowed_envs", json!({ "allowed_envs": ["Z", "A", "Z"] })).document("allowed_envs", json!(["Z", "A"])),
        kept("compose_file.local_key_provider_enabled", true.into())
            .with(json!({ "compose_file": { "kms_enabled": false } })),
        kept("compose_file.public_logs", false.into()).get("/public_logs", false),
        kept("compose_file.public_sysinfo", false.into()).get("/public_sysinfo", false),
        kept("compose_file.public_tcbinfo", false.into()).get("/public_tcbinfo", false),
        kept("compose_file.no_instance_id", true.into()).get("/instance_id", Value::Null),
        kept("compose_file.secure_time", true.into()).get("/secure_time", true),
        with("compose_file.secure_time", json!({ "secure_time": 1 })).document("secure_time", true),
        kept("compose_file.storage_fs", "ext4".into()).get("/storage_fs", "ext4"),
        kept("compose_file.storage_fs", Value::Null).get("/storage_fs", Value::Null),
        with("compose_file.storage_fs", json!({ "storage_fs": null }))
            .with(json!({ "storage_fs": "ext4" }))
            .document("storage_fs", Value::Null),
        kept("compose_file.default_gateway_domain", "gw.test".into()),
        kept("compose_file.manifest_version", 1.into()).get("/manifest_version", "1"),
        with("compose_file.manifest_version", json!({ "manifest_version": "3" }))
            .document("manifest_version", "3")
            .get("/manifest_version", "3"),
        kept("compose_file.salt", "pepper".into()),
        with("compose_file.encrypted_env", json!({ "encrypted_env": SEALED }))
            .node(|vm| json!(vm.sealed_env), SEALED.to_lowercase())
            .document("encrypted_env", Value::Null),
        with("compose_file.update_env_vars", json!({ "update_env_vars": true }))
            .document("update_env_vars", Value::Null),
    ];
    rows.extend(gateway());
    rows.extend(keys());
    rows
}

/// The ways to say gateway always agree.
fn gateway() -> Vec<Row> {
    let off = |field, send: Value| {
        with(field, send)
            .document("gateway_enabled", false)
            .document("tproxy_enabled", false)
            .document("features", json!(["kms"]))
            .get("/gateway_enabled", false)
            .get("/features", json!(["kms"]))
            .get("/public_urls", json!([]))
            .get("/gateway/base_domain", Value::Null)
    };
    let on = |field, send: Value, features: Value| {
        with(field, send)
            .with(json!({ "compose_file": { "gateway_enabled": false } }))
            .document("gateway_enabled", true)
            .document("tproxy_enabled", true)
            .document("features", features)
            .get("/gateway_enabled", true)
            .get("/gateway/base_domain", "localhost:2")
    };
    vec![
        off("compose_file.gateway_enabled", json!({ "gateway_enabled": false })),
        off(
            "compose_file.gateway_enabled",
            json!({ "gateway_enabled": false, "tproxy_enabled": true }),
        ),
        off(
            "compose_file.gateway_enabled",
            json!({ "gateway_enabled": 0, "features": ["kms", "tproxy-net"] }),
        ),
        off("compose_file.tproxy_enabled", json!({ "tproxy_enabled": false })),
        off("compose_file.features", json!({ "features": ["kms"] })),
        on(
            "compose_file.gateway_enabled",
            json!({ "gateway_enabled": true, "tproxy_enabled": false }),
            json!(["kms", "tproxy-net"]),
        ),
        on(
            "compose_file.gateway_enabled",
            json!({ "gateway_enabled": true, "features": ["x"] }),
            json!(["x", "kms", "tproxy-net"]),
        ),
        on(
            "compose_file.tproxy_enabled",
            json!({ "gateway_enabled": null, "tproxy_enabled": true }),
            json!(["kms", "tproxy-net"]),
        ),
        on(
            "compose_file.features",
            json!({ "gateway_enabled": null, "features": ["tproxy-net"] }),
            json!(["tproxy-net", "kms"]),
        ),
    ]
}

fn keys() -> Vec<Row> {
    let off = |field, send: Value| {
        with(field, send)
            .document("kms_enabled", false)
            .document("key_provider", Value::Null)
            .document("features", json!(["tproxy-net"]))
            .get("/kms_info", Value::Null)
            .get("/encrypted_env_pubkey", Value::Null)
            .reply("/app_env_encrypt_pubkey", Value::Null)
    };
    vec![
        off("compose_file.kms_enabled", json!({ "kms_enabled": false })),
        off("compose_file.key_provider", json!({ "key_provider": "none" })),
        off("compose_file.key_provider", json!({ "key_provider": "None", "kms_enabled": true })),
        off("compose_file.kms_enabled", json!({ "key_provider": "kms", "kms_enabled": false })),
    ]
}

#[tokio::test]
async fn every_field_of_the_compose_file_does_what_the_table_says() {
    check_all(rows()).await;
}

#[tokio::test]
async fn published_ports_become_urls() {
    let world = crate::fields::common::World::new().await;
    let made =
        crate::fields::row::deploy(&world, crate::fields::row::body("my-app", &[]), &json!({}))
            .await;
    assert!(COMPOSE.contains("8080:80"));
    let url = format!("http://{}-8080.localhost:2", made.reply["app_id"].as_str().unwrap());
    assert_eq!(made.get["public_urls"][0]["app"].as_str().unwrap().trim_end_matches('/'), url);
}
