//! Provision, table by table: what has an effect.

use casemate_engine::node::sim::SimConfig;
use serde_json::{Value, json};

use crate::fields::{
    common::{COMPOSE, TestNode, World},
    row::{Row, body, check_all, deploy, row},
};

/// A sealed env of 60 bytes; upper case on its way in.
pub const SEALED: &str = "ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB";

fn lower() -> String {
    SEALED.to_lowercase()
}

fn two_nodes() -> Vec<TestNode> {
    // The first one is larger, so that nobody lands on the second by chance.
    let small = SimConfig {
        capacity: casemate_engine::node::Capacity { slots: 2, ..SimConfig::fast().capacity },
        ..SimConfig::fast()
    };
    vec![
        TestNode::sim(),
        TestNode { name: "sim-2", region: "eu-west", host: small, ..TestNode::sim() },
    ]
}

fn docker() -> Vec<TestNode> {
    vec![TestNode::docker()]
}

pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        row("name", json!({ "name": "other-App-1" }))
            .document("name", "other-App-1")
            .node(|vm| vm.mark.to_string().split('.').next().unwrap().into(), "other-App-1")
            .get("/name", "other-App-1"),
        row("compose_file", json!({ "compose_file": { "docker_compose_file": format!("{COMPOSE}# x\n") } }))
            .document("docker_compose_file", format!("{COMPOSE}# x\n")),
        row("kms_id", json!({ "kms_id": "builtin" })).reply("/kms_id", "kms_test"),
        row("kms_contract", json!({ "kms_contract": "phala" })).reply("/kms_id", "kms_test"),
        row("kms_contract_id", json!({ "kms_contract_id": "kc_phala" })).reply("/kms_id", "kms_test"),
        row("listed", json!({ "listed": false })).get("/listed", false),
        row("env_keys", json!({ "env_keys": ["B", "A"] }))
            .with(json!({ "compose_file": { "allowed_envs": ["A"] } }))
            .document("allowed_envs", json!(["A", "B"]))
            .spec(|spec| json!(spec.env_keys), json!(["B", "A"])),
        row("encrypted_env", json!({ "encrypted_env": SEALED }))
            .node(|vm| json!(vm.sealed_env), lower()),
        row("user_config", json!({ "user_config": "free text: \u{e9}\n" }))
            .node(|vm| json!(vm.user_config), "free text: \u{e9}\n"),
        row("hugepages", json!({ "hugepages": true })).node(|vm| vm.hugepages.into(), true),
        row("pin_numa", json!({ "pin_numa": true })).node(|vm| vm.pin_numa.into(), true),
        row("kms_urls", json!({ "kms_urls": ["https://kms.test:1"] }))
            .node(|vm| json!(vm.kms_urls), json!(["https://kms.test:1"]))
            .below("network-config", "/kms_urls", json!(["https://kms.test:1"])),
        row("gateway_urls", json!({ "gateway_urls": ["https://gw.test:1"] }))
            .node(|vm| json!(vm.gateway_urls), json!(["https://gw.test:1"]))
            .below("network-config", "/gateway_urls", json!(["https://gw.test:1"])),
        row("storage_fs", json!({ "storage_fs": "ext4" })).document("storage_fs", "ext4").get("/storage_fs", "ext4"),
        row("storage_fs", json!({ "storage_fs": "EXT4" }))
            .with(json!({ "compose_file": { "storage_fs": "zfs" } }))
            .document("storage_fs", "ext4"),
        row("key_provider_mode", json!({ "key_provider_mode": "none" }))
            .with(json!({ "compose_file": { "kms_enabled": true } }))
            .document("kms_enabled", false)
            .document("features", json!(["tproxy-net"]))
            .get("/kms_info", Value::Null)
            .reply("/app_env_encrypt_pubkey", Value::Null),
        row("skip_gateway", json!({ "skip_gateway": true }))
            .with(json!({ "compose_file": { "gateway_enabled": true, "features": ["kms", "tproxy-net"] } }))
            .document("gateway_enabled", false)
            .document("tproxy_enabled", false)
            .document("features", json!(["kms"]))
            .get("/gateway_enabled", false)
            .get("/gateway/base_domain", Value::Null),
        row("encrypted", json!({ "encrypted": true })).get("/status", "running"),
        row("encrypted", json!({ "encrypted": false })).on(docker).get("/status", "running"),
    ];
    for field in ["secure_time", "SecureTime"] {
        let one = row(field, json!({ field: true }))
            .with(json!({ "compose_file": { "secure_time": false } }));
        rows.push(one.document("secure_time", true).get("/secure_time", true));
    }
    for (field, word) in
        [("kms", "PHALA"), ("kms", "Phala"), ("kms_type", "PHALA"), ("KMSType", "phala")]
    {
        rows.push(
            row(field, json!({ field: word }))
                .get("/kms_type", "phala")
                .reply("/kms_id", "kms_test"),
        );
    }
    rows.extend(sizes());
    rows.extend(places());
    rows.extend(keys());
    rows.extend(attached());
    rows
}

/// CPU, memory, disk, type.
fn sizes() -> Vec<Row> {
    let size = |field, send: Value, kind: Value, (vcpu, memory, disk): (u32, u32, u32)| {
        row(field, send)
            .get("/resource/instance_type", kind.clone())
            .get("/resource/vcpu", vcpu)
            .get("/resource/memory_in_gb", f64::from(memory) / 1024.0)
            .get("/resource/disk_in_gb", disk)
            .get("/disk_size", disk)
            .reply("/instance_type", kind)
            .node(|vm| json!([vm.vcpu, vm.memory_mb, vm.disk_gb]), json!([vcpu, memory, disk]))
    };
    let none = || Value::Null;
    vec![
        size(
            "instance_type",
            json!({ "instance_type": "tdx.large" }),
            "tdx.large".into(),
            (4, 8192, 80),
        ),
        size("instance_type", json!({ "instance_type": "" }), "tdx.small".into(), (1, 2048, 20)),
        size("vcpu", json!({ "vcpu": 3 }), none(), (3, 2048, 20)),
        size("vcpu", json!({ "vcpu": 2.0, "instance_type": "tdx.large" }), none(), (2, 8192, 80)),
        size(
            "vcpu",
            json!({ "vcpu": 4, "instance_type": "tdx.large" }),
            "tdx.large".into(),
            (4, 8192, 80),
        ),
        size("memory", json!({ "memory": 3072 }), none(), (1, 3072, 20)),
        size("memory", json!({ "memory": 3072, "vcpu": 3 }), none(), (3, 3072, 20)),
        size(
            "memory",
            json!({ "memory": 1024, "instance_type": "tdx.medium" }),
            none(),
            (2, 1024, 40),
        ),
        size("disk_size", json!({ "disk_size": 77 }), "tdx.small".into(), (1, 2048, 77)),
        size(
            "disk_size",
            json!({ "disk_size": 77, "instance_type": "tdx.medium" }),
            "tdx.medium".into(),
            (2, 4096, 77),
        ),
    ]
}

/// Images and nodes.
fn places() -> Vec<Row> {
    let image = |field, send: Value, name: &'static str| {
        row(field, send)
            .node(|vm| json!(vm.image), name)
            .get("/os/name", name)
            .get("/base_image", name)
            .get("/os/is_dev", name.contains("dev"))
    };
    let mut rows = vec![
        image("image", json!({ "image": "dstack-0.5.4" }), "dstack-0.5.4"),
        image("image", json!({ "image": "dstack-0.5.4", "prefer_dev": null }), "dstack-0.5.4"),
        image("image", json!({ "image": "" }), "dstack-dev-0.5.5"),
        image("os_image_name", json!({ "os_image_name": "dstack-dev-0.5.4" }), "dstack-dev-0.5.4"),
        image("prefer_dev", json!({ "prefer_dev": false }), "dstack-0.5.5"),
        image("prefer_dev", json!({ "prefer_dev": true }), "dstack-dev-0.5.5"),
        image("prefer_dev", json!({ "prefer_dev": null }), "dstack-dev-0.5.5"),
        image(
            "prefer_dev",
            json!({ "prefer_dev": true, "image": "dstack-0.5.4" }),
            "dstack-dev-0.5.4",
        ),
        image(
            "prefer_dev",
            json!({ "prefer_dev": 0, "image": "dstack-dev-0.5.4" }),
            "dstack-0.5.4",
        ),
        image(
            "prefer_dev",
            json!({ "prefer_dev": true, "image": "dstack-dev-0.5.4" }),
            "dstack-dev-0.5.4",
        ),
        row("region", json!({ "region": "EU-West" }))
            .on(two_nodes)
            .get("/node_info/region", "eu-west")
            .get("/node_info/id", 2),
    ];
    for field in ["node_id", "teepod_id", "TeepodID"] {
        let one = row(field, json!({ field: 2 })).on(two_nodes).get("/node_info/id", 2);
        rows.push(one.reply("/node_id", 2).reply("/teepod_id", 2));
    }
    rows
}

/// SSH keys and where they go.
fn keys() -> Vec<Row> {
    let config = |text: &str| json!({ "user_config": text });
    let mut rows = Vec::new();
    for field in ["ssh_authorized_keys", "SSHAuthorizedKeys"] {
        let keys = json!({ field: ["ssh-ed25519 AAAA a", "ssh-ed25519 BBBB b"] });
        for (given, expected) in [
            (json!({}), r#"{"ssh_authorized_keys":["ssh-ed25519 AAAA a","ssh-ed25519 BBBB b"]}"#),
            (
                config(r#"{"a": 1}"#),
                r#"{"a":1,"ssh_authorized_keys":["ssh-ed25519 AAAA a","ssh-ed25519 BBBB b"]}"#,
            ),
            (
                config(r#"{"ssh_authorized_keys":["ssh-rsa CCCC c","ssh-ed25519 AAAA a"]}"#),
                r#"{"ssh_authorized_keys":["ssh-rsa CCCC c","ssh-ed25519 AAAA a","ssh-ed25519 BBBB b"]}"#,
            ),
        ] {
            rows.push(
                row(field, keys.clone()).with(given).node(|vm| json!(vm.user_config), expected),
            );
        }
    }
    rows
}

/// Host ports and GPUs.
fn attached() -> Vec<Row> {
    let one = |change: Value| {
        let mut port = json!({ "host_port": 18080, "vm_port": 80 });
        crate::fields::row::merge(&mut port, &change);
        json!({ "ports": [port] })
    };
    let port = |field: &'static str, send: Value, expected: Value| {
        let row = row(field, send).node(|vm| json!(vm.ports), json!([expected.clone()]));
        match field {
            "ports[].protocol" => row.below("ports", "/0/protocol", expected["protocol"].clone()),
            "ports[].vm_port" => row.below("ports", "/0/vm_port", expected["vm_port"].clone()),
            "ports[].host_address" => {
                row.below("ports", "/0/host_address", expected["host_address"].clone())
            }
            _ => row.below("ports", "/0/host_port", expected["host_port"].clone()),
        }
    };
    let full = |protocol: &str, host: u16, vm: u16, address: Value| json!({ "protocol": protocol, "host_port": host, "vm_port": vm, "host_address": address });
    let gpus = |field, send: Value, expected: Value, count: u32| {
        let shown = |vm: &casemate_engine::node::VmConfig| json!(vm.gpus);
        row(field, json!({ "gpus": send })).node(shown, expected).get("/resource/gpus", count)
    };
    let slot = json!({ "gpus": [{ "slot": "18:00.0" }] });
    let slot_seen =
        json!({ "gpus": [{ "slot": "18:00.0", "product_id": null }], "attach_mode": "listed" });
    vec![
        port("ports", one(json!({})), full("tcp", 18080, 80, Value::Null)),
        port(
            "ports[].protocol",
            one(json!({ "protocol": "UDP" })),
            full("udp", 18080, 80, Value::Null),
        ),
        port(
            "ports[].host_port",
            one(json!({ "host_port": 65535 })),
            full("tcp", 65535, 80, Value::Null),
        ),
        port("ports[].vm_port", one(json!({ "vm_port": 1 })), full("tcp", 18080, 1, Value::Null)),
        port(
            "ports[].host_address",
            one(json!({ "host_address": "::1" })),
            full("tcp", 18080, 80, "::1".into()),
        ),
        gpus("gpus", slot.clone(), slot_seen.clone(), 1),
        gpus("gpus.gpus", slot.clone(), slot_seen.clone(), 1),
        gpus("gpus.gpus[].slot", slot, slot_seen, 1),
        gpus(
            "gpus.gpus[].product_id",
            json!({ "gpus": [{ "product_id": "10de:2335" }] }),
            json!({ "gpus": [{ "slot": null, "product_id": "10de:2335" }], "attach_mode": "listed" }),
            1,
        ),
        gpus(
            "gpus.attach_mode",
            json!({ "attach_mode": "all" }),
            json!({ "gpus": [], "attach_mode": "all" }),
            0,
        ),
    ]
}

#[tokio::test]
async fn every_field_of_provision_does_what_the_table_says() {
    check_all(rows()).await;
}

#[tokio::test]
async fn a_sealed_env_in_both_places_is_one_if_it_is_the_same() {
    let world = World::new().await;
    let both = json!({ "encrypted_env": SEALED, "compose_file": { "encrypted_env": lower() } });
    let made = deploy(&world, body("my-app", &[&both]), &json!({})).await;
    assert_eq!(made.vm.sealed_env.unwrap().to_string(), lower());
}
