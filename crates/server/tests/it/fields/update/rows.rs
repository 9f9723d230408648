//! `PATCH /cvms/{id}`, the routes for one thing, and the second phase of a compose update: what has an
//! effect.

use serde_json::{Value, json};

use super::{
    row::{Row, check_all, row},
    table::Route::{self, Commit, Patch, Replace},
};
use crate::fields::{common::COMPOSE, provision_rows::SEALED};

/// Another Docker Compose file that publishes the same.
fn other_file() -> String {
    COMPOSE.replace("1.36", "1.37")
}

fn sealed() -> String {
    SEALED.to_lowercase()
}

/// Deployed with variables.
fn with_variables(names: &[&str]) -> Value {
    json!({ "encrypted_env": "cd".repeat(60), "env_keys": names })
}

pub fn document() -> Vec<Row> {
    let flag = |field: &'static str, document: &'static str, get: &'static str, value: bool| {
        row(Patch, field, json!({ field: value })).in_both(document, get, value)
    };
    vec![
        row(Patch, "docker_compose_file", json!({ "docker_compose_file": other_file() }))
            .at("/document/docker_compose_file", other_file()),
        row(Patch, "pre_launch_script", json!({ "pre_launch_script": "echo \u{e9}\n" }))
            .at("/document/pre_launch_script", "echo \u{e9}\n"),
        row(Patch, "pre_launch_script", json!({ "pre_launch_script": "" }))
            .after(json!({ "pre_launch_script": "echo" }))
            .at("/document/pre_launch_script", Value::Null)
            .nulled("/document/pre_launch_script", Value::Null),
        row(Patch, "allowed_envs", json!({ "allowed_envs": ["Z", "A", "Z"] }))
            .at("/document/allowed_envs", json!(["Z", "A"])),
        flag("public_logs", "/document/public_logs", "/GET/public_logs", false)
            .at("/GET/logs", Value::Null),
        flag("public_sysinfo", "/document/public_sysinfo", "/GET/public_sysinfo", false),
        flag("public_tcbinfo", "/document/public_tcbinfo", "/GET/public_tcbinfo", false),
        flag("secure_time", "/document/secure_time", "/GET/secure_time", true),
        flag("gateway_enabled", "/document/gateway_enabled", "/GET/gateway_enabled", false)
            .at("/document/tproxy_enabled", false)
            .in_both("/document/features", "/GET/features", json!(["kms"]))
            .at("/GET/gateway", json!({ "base_domain": null, "cname": null }))
            .at("/GET/app_url", Value::Null)
            .at("/GET/endpoints", json!([]))
            .at("/GET/public_urls", json!([])),
    ]
}

pub fn carried() -> Vec<Row> {
    let config = "{\"a\": \"\u{e9}\"}";
    vec![
        row(Patch, "encrypted_env", json!({ "encrypted_env": SEALED }))
            .at("/node/sealed_env", sealed()),
        row(Patch, "encrypted_env", json!({ "encrypted_env": "", "listed": false }))
            .deployed(with_variables(&["A"]))
            .at("/GET/listed", false)
            .nulled("/node/sealed_env", Value::Null)
            .record(),
        row(Route::Envs, "encrypted_env", json!({ "encrypted_env": format!("0x{SEALED}") }))
            .deployed(with_variables(&["A"]))
            .at("/node/sealed_env", sealed()),
        row(Patch, "env_keys", json!({ "env_keys": ["B"] }))
            .deployed(with_variables(&["A", "B"]))
            .at("/record/env_keys", json!(["B"])),
        row(Route::Envs, "env_keys", json!({ "encrypted_env": SEALED, "env_keys": ["B", "C"] }))
            .deployed(with_variables(&["A", "B"]))
            .at("/node/sealed_env", sealed())
            .at("/document/allowed_envs", json!(["B", "C"]))
            .at("/record/env_keys", json!(["B", "C"])),
        row(Patch, "user_config", json!({ "user_config": config })).at("/node/user_config", config),
    ]
}

pub fn resources() -> Vec<Row> {
    let size =
        |field: &'static str, send: Value, kind: Value, (vcpu, memory, disk): (u32, u32, u32)| {
            row(Patch, field, send)
                .at("/GET/resource/instance_type", kind)
                .in_both("/node/vcpu", "/GET/resource/vcpu", vcpu)
                .at("/node/memory_mb", memory)
                .at("/GET/resource/memory_in_gb", f64::from(memory) / 1024.0)
                .in_both("/node/disk_gb", "/GET/resource/disk_in_gb", disk)
                .at("/GET/disk_size", disk)
                .with("/GET/resource/compute_billing_price")
                .with("/GET/resource/billing_period")
        };
    let slot = json!({ "gpus": [{ "slot": "18:00.0" }] });
    let seen =
        json!({ "gpus": [{ "slot": "18:00.0", "product_id": null }], "attach_mode": "listed" });
    let gpus = |field: &'static str, send: Value, told: Value, count: u32| {
        row(Patch, field, json!({ "gpus": send }))
            .at("/node/gpus", told)
            .at("/GET/resource/gpus", count)
    };
    let image = |at: Route, field: &'static str| {
        row(at, field, json!({ field: "dstack-0.5.4" }))
            .in_both("/node/image", "/GET/base_image", "dstack-0.5.4")
            .at("/GET/os/name", "dstack-0.5.4")
            .at("/GET/os/version", "0.5.4")
            .at("/GET/os/is_dev", false)
            .with("/GET/os/os_image_hash")
    };
    let had = json!({ "gpus": slot });
    vec![
        size(
            "instance_type",
            json!({ "instance_type": "tdx.large" }),
            "tdx.large".into(),
            (4, 8192, 20),
        ),
        size(
            "instance_type",
            json!({ "instance_type": "tdx.large", "disk_size": 21, "vcpu": 3 }),
            Value::Null,
            (3, 8192, 21),
        ),
        size("vcpu", json!({ "vcpu": 3 }), Value::Null, (3, 2048, 20)),
        size("memory", json!({ "memory": 3072 }), Value::Null, (1, 3072, 20)),
        size("disk_size", json!({ "disk_size": 77 }), "tdx.small".into(), (1, 2048, 77)),
        size("allow_restart", json!({ "allow_restart": 1, "vcpu": 3 }), Value::Null, (3, 2048, 20)),
        gpus("gpus", slot.clone(), seen.clone(), 1),
        gpus("gpus.gpus", slot, seen, 1),
        gpus("gpus.gpus", json!({ "gpus": [] }), Value::Null, 0).deployed(had.clone()),
        gpus(
            "gpus.attach_mode",
            json!({ "attach_mode": "all" }),
            json!({ "gpus": [], "attach_mode": "all" }),
            0,
        ),
        gpus("gpus.count", json!({ "count": 0 }), Value::Null, 0).deployed(had.clone()),
        gpus("gpus.product_name", json!({ "count": 0, "product_name": "H200" }), Value::Null, 0)
            .deployed(had),
        image(Patch, "image"),
        image(Patch, "os_image_name"),
        image(Route::OsImage, "image"),
        image(Route::OsImage, "os_image_name"),
    ]
}

pub fn record() -> Vec<Row> {
    let later = "2027-01-01T00:00:00Z";
    vec![
        row(Patch, "shutdown_timeout", json!({ "shutdown_timeout": 77.0 }))
            .at("/record/shutdown_timeout_s", 77),
        row(Patch, "allow_force_stop", json!({ "allow_force_stop": false }))
            .at("/record/allow_force_stop", false),
        row(Patch, "listed", json!({ "listed": false })).at("/GET/listed", false),
        row(Route::Listed, "listed", json!({ "listed": 0 })).at("/GET/listed", false),
        row(Patch, "compose_hash", json!({ "listed": false, "compose_hash": null }))
            .only()
            .at("/GET/listed", false),
        row(Route::Envs, "compose_hash", json!({ "encrypted_env": SEALED, "compose_hash": null }))
            .only()
            .at("/node/sealed_env", sealed()),
        row(
            Patch,
            "transaction_hash",
            json!({ "listed": false, "transaction_hash": "already-registered" }),
        )
        .only()
        .at("/GET/listed", false),
        row(
            Route::Envs,
            "transaction_hash",
            json!({ "encrypted_env": SEALED, "transaction_hash": "already-registered" }),
        )
        .only()
        .at("/node/sealed_env", sealed()),
        row(Commit, "transaction_hash", json!({ "transaction_hash": "already-registered" }))
            .only()
            .prepared(json!({ "salt": "x" }))
            .at("/document/salt", "x"),
        row(Route::Name, "name", json!({ "name": "other-app" })).at("/GET/name", "other-app"),
        row(Route::ScheduledDelete, "scheduled_delete_at", json!({ "scheduled_delete_at": later }))
            .at("/old/scheduled_delete_at", later),
    ]
}

pub fn network() -> Vec<Row> {
    let urls = json!(["https://one.test:1"]);
    let port = |field: &'static str, change: Value, pointer: &'static str, value: Value| {
        let mut port = json!({ "vm_port": 80, "host_port": 18080 });
        crate::fields::row::merge(&mut port, &change);
        row(Route::Ports, field, json!({ "ports": [port] }))
            .at(
                "/node/ports",
                json!([{
                    "protocol": change["protocol"].as_str().unwrap_or("tcp").to_lowercase(),
                    "host_port": port["host_port"].as_u64().unwrap_or(20_000),
                    "vm_port": port["vm_port"], "host_address": change["host_address"],
                }]),
            )
            .at(pointer, value)
    };
    vec![
        row(Route::NetworkConfig, "kms_urls", json!({ "kms_urls": urls })).in_both(
            "/network/kms_urls",
            "/node/kms_urls",
            urls.clone(),
        ),
        row(
            Route::NetworkConfig,
            "gateway_urls",
            json!({ "gateway_urls": urls, "restart": false }),
        )
        .in_both("/network/gateway_urls", "/node/gateway_urls", urls.clone()),
        row(Route::NetworkConfig, "restart", json!({ "kms_urls": urls, "restart": true })).in_both(
            "/network/kms_urls",
            "/node/kms_urls",
            urls,
        ),
        port("ports", json!({}), "/ports/0/host_port", 18080.into()),
        port("ports[].vm_port", json!({ "vm_port": 1 }), "/ports/0/vm_port", 1.into()),
        port("ports[].protocol", json!({ "protocol": "UDP" }), "/ports/0/protocol", "udp".into())
            .nulled("/ports/0/protocol", "tcp"),
        port(
            "ports[].host_port",
            json!({ "host_port": 65535 }),
            "/ports/0/host_port",
            65535.into(),
        )
        .nulled("/ports/0/host_port", 20_000),
        port(
            "ports[].host_port",
            json!({ "host_port": null }),
            "/ports/0/host_port",
            20_000.into(),
        )
        .nulled("/ports/0/host_port", 20_000),
        port(
            "ports[].host_address",
            json!({ "host_address": "::1" }),
            "/ports/0/host_address",
            "::1".into(),
        )
        .nulled("/node/ports/0/host_address", Value::Null),
        port(
            "ports[].source_cidrs",
            json!({ "source_cidrs": [] }),
            "/ports/0/host_port",
            18080.into(),
        )
        .nulled("/ports/0/host_port", 18080),
    ]
}

pub fn phases() -> Vec<Row> {
    let salted = json!({ "salt": "x" });
    vec![
        row(Commit, "compose_hash", json!({})).prepared(salted.clone()).at("/document/salt", "x"),
        row(Replace, "compose_hash", json!({})).prepared(salted.clone()).at("/document/salt", "x"),
        row(Replace, "compose_file", json!({})).prepared(salted).at("/document/salt", "x"),
        row(Commit, "encrypted_env", json!({ "encrypted_env": SEALED }))
            .at("/node/sealed_env", sealed()),
        row(Commit, "encrypted_env", json!({ "encrypted_env": SEALED }))
            .prepared(json!({ "encrypted_env": "ee".repeat(60) }))
            .at("/node/sealed_env", sealed())
            .nulled("/node/sealed_env", "ee".repeat(60)),
        row(Commit, "env_keys", json!({ "env_keys": ["B"] }))
            .deployed(with_variables(&["A", "B"]))
            .prepared(json!({ "allowed_envs": ["A", "B"] }))
            .at("/record/env_keys", json!(["B"])),
        row(Commit, "update_env_vars", json!({ "env_keys": ["B"], "update_env_vars": true }))
            .deployed(with_variables(&["A", "B"]))
            .prepared(json!({}))
            .at("/document/allowed_envs", json!(["B"]))
            .at("/record/env_keys", json!(["B"]))
            .nulled("/record/env_keys", json!(["B"])),
    ]
}

#[tokio::test]
async fn every_field_of_the_document_is_updated_as_the_table_says() {
    check_all(document()).await;
}

#[tokio::test]
async fn every_field_that_is_carried_is_updated_as_the_table_says() {
    check_all(carried()).await;
}

#[tokio::test]
async fn every_resource_is_updated_as_the_table_says() {
    check_all(resources()).await;
}

#[tokio::test]
async fn every_field_of_the_record_is_updated_as_the_table_says() {
    check_all(record()).await;
}

#[tokio::test]
async fn every_field_of_the_network_is_updated_as_the_table_says() {
    check_all(network()).await;
}

#[tokio::test]
async fn every_field_of_the_second_phase_does_what_the_table_says() {
    check_all(phases()).await;
}
