//! What is refused, by the name of the field, with the way out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fields::{
    common::{Reply, TestNode, World},
    provision_rows::SEALED,
    row::{body, failure, merge},
};

/// The kind of node that refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Any kind.
    Any,
    Docker,
    Sim,
}

/// A field that is refused.
#[derive(Debug)]
pub struct Refusal {
    /// As in the table.
    pub field: &'static str,
    pub on: On,
    pub send: Value,
    /// What is said at commit; `None`: provision refuses.
    pub commit: Option<Value>,
    /// `ERR-…`, or the status where there is no code.
    pub code: &'static str,
    pub status: u16,
    /// The field as the reply names it.
    pub names: &'static str,
}

fn refused(field: &'static str, send: Value, code: &'static str) -> Refusal {
    Refusal { field, on: On::Any, send, commit: None, code, status: 400, names: field }
}

/// A value that does not validate.
fn invalid(field: &'static str, send: Value, names: &'static str) -> Refusal {
    Refusal { status: 422, names, ..refused(field, send, "422") }
}

/// A field of the compose file.
fn file(field: &'static str, send: Value, code: &'static str) -> Refusal {
    let mut said = json!({});
    said["compose_file"] = send;
    refused(field, said, code)
}

fn commit(field: &'static str, send: Value, commit: Value, code: &'static str) -> Refusal {
    let names = field.strip_prefix("commit ").unwrap();
    Refusal { commit: Some(commit), names, ..refused(field, send, code) }
}

const NOT_SERVED: &str = "ERR-20-006";

pub fn refusals() -> Vec<Refusal> {
    let mut all = vec![
        refused("instance_type", json!({ "instance_type": "tdx.tiny" }), "ERR-02-001"),
        invalid("vcpu", json!({ "vcpu": 0 }), "vcpu"),
        refused("vcpu", json!({ "vcpu": 100_000 }), "ERR-02-003"),
        invalid("memory", json!({ "memory": 0 }), "memory"),
        refused("memory", json!({ "memory": 4_000_000_000_u32 }), "ERR-02-004"),
        invalid("disk_size", json!({ "disk_size": 0 }), "disk_size"),
        refused("disk_size", json!({ "disk_size": 4_000_000_000_u32 }), "ERR-02-002"),
        refused("image", json!({ "image": "dstack-9.9.9" }), "ERR-02-010"),
        Refusal {
            names: "image",
            ..refused("os_image_name", json!({ "os_image_name": "x" }), "ERR-02-010")
        },
        refused("region", json!({ "region": "mars" }), "ERR-02-002"),
        refused("kms", json!({ "kms": "ETHEREUM" }), "ERR-02-011"),
        refused("kms", json!({ "kms": "base" }), "ERR-02-011"),
        refused("kms", json!({ "kms": "legacy" }), "ERR-02-011"),
        invalid("kms", json!({ "kms": "aws" }), "kms"),
        Refusal {
            names: "kms",
            ..refused("kms_type", json!({ "kms_type": "BASE" }), "ERR-02-011")
        },
        Refusal { names: "kms", ..refused("KMSType", json!({ "KMSType": "BASE" }), "ERR-02-011") },
        invalid("kms_type", json!({ "kms_type": "aws" }), "kms_type"),
        refused("kms_id", json!({ "kms_id": "kms_other" }), "ERR-02-011"),
        refused("kms_contract", json!({ "kms_contract": "0x01" }), "ERR-02-011"),
        refused("kms_contract_id", json!({ "kms_contract_id": 7 }), "ERR-02-011"),
        refused("nonce", json!({ "nonce": 3 }), "ERR-02-008"),
        refused("app_id", json!({ "app_id": "00".repeat(20) }), "ERR-02-008"),
        refused("app_id", json!({ "app_id": "00".repeat(20), "nonce": 3 }), "ERR-02-008"),
        Refusal {
            names: "app_id",
            ..refused("custom_app_id", json!({ "custom_app_id": "00".repeat(20) }), "ERR-02-008")
        },
        refused("env_keys", json!({ "env_keys": ["A", "1A"] }), "ERR-02-008"),
        refused("encrypted_env", json!({ "encrypted_env": "xyz" }), "ERR-20-012"),
        refused("encrypted_env", json!({ "encrypted_env": "ab".repeat(59) }), "ERR-20-012"),
        refused(
            "encrypted_env",
            json!({ "encrypted_env": "ab".repeat(256 * 1024 + 1) }),
            "ERR-20-012",
        ),
        refused(
            "encrypted_env",
            json!({ "encrypted_env": SEALED, "key_provider_mode": "none" }),
            "ERR-02-009",
        ),
        Refusal {
            names: "",
            status: 413,
            ..refused("user_config", json!({ "user_config": "x".repeat(1 << 20) }), "413")
        },
        refused(
            "experimental_vpc_server_app_id",
            json!({ "experimental_vpc_server_app_id": "app_1" }),
            NOT_SERVED,
        ),
        invalid("storage_fs", json!({ "storage_fs": "xfs" }), "storage_fs"),
        refused("key_provider_mode", json!({ "key_provider_mode": "tpm" }), NOT_SERVED),
        refused(
            "key_provider_mode",
            json!({ "key_provider_mode": "none", "compose_file": { "local_key_provider_enabled": true } }),
            "ERR-02-009",
        ),
    ];
    for field in ["teepod_id", "node_id", "TeepodID"] {
        all.push(Refusal {
            names: "node_id",
            ..refused(field, json!({ field: 99 }), "ERR-01-001")
        });
    }
    for field in ["ssh_authorized_keys", "SSHAuthorizedKeys"] {
        for config in ["text", "[]", r#"{"ssh_authorized_keys":"text"}"#] {
            let send = json!({ field: ["ssh-rsa A"], "user_config": config });
            all.push(Refusal {
                names: "ssh_authorized_keys",
                ..refused(field, send, "ERR-02-009")
            });
        }
    }
    all.extend(images());
    all.extend(ports_and_gpus());
    all.extend(compose());
    all.extend(kinds());
    all.extend(commits());
    all
}

fn images() -> Vec<Refusal> {
    let lone = json!({ "image": "dstack-0.5.5", "prefer_dev": true });
    vec![
        Refusal { on: On::Sim, ..refused("prefer_dev", lone, "ERR-02-009") },
        Refusal {
            on: On::Docker,
            ..refused("prefer_dev", json!({ "prefer_dev": true }), "ERR-02-010")
        },
    ]
}

fn ports_and_gpus() -> Vec<Refusal> {
    let port = |field: &'static str, change: Value, names: &'static str| {
        let mut port = json!({ "protocol": "tcp", "host_port": 1, "vm_port": 1 });
        merge(&mut port, &change);
        invalid(field, json!({ "ports": [{ "host_port": 9, "vm_port": 9 }, port] }), names)
    };
    let gpu = |field: &'static str, send: Value, code: &'static str| {
        refused(field, json!({ "gpus": send }), code)
    };
    vec![
        port("ports", json!({ "host_port": 9 }), "ports.1.host_port"),
        port("ports[].protocol", json!({ "protocol": "sctp" }), "ports.1.protocol"),
        port("ports[].host_port", json!({ "host_port": 0 }), "ports.1.host_port"),
        port("ports[].host_port", json!({ "host_port": null }), "ports.1.host_port"),
        port("ports[].host_port", json!({ "host_port": 65536 }), "ports.1.host_port"),
        port("ports[].vm_port", json!({ "vm_port": 0 }), "ports.1.vm_port"),
        port(
            "ports[].host_address",
            json!({ "host_address": "localhost" }),
            "ports.1.host_address",
        ),
        invalid("gpus.gpus", json!({ "gpus": { "gpus": [{ "slot": "1" }, {}] } }), "gpus.gpus.1"),
        gpu("gpus.gpus", json!({ "gpus": [{ "slot": "1" }], "attach_mode": "all" }), "ERR-02-009"),
        invalid(
            "gpus.attach_mode",
            json!({ "gpus": { "attach_mode": "some" } }),
            "gpus.attach_mode",
        ),
        gpu("gpus.count", json!({ "count": 1 }), NOT_SERVED),
        gpu("gpus.product_name", json!({ "product_name": "H200" }), NOT_SERVED),
    ]
}

fn compose() -> Vec<Refusal> {
    let yaml = "compose_file.docker_compose_file";
    let over = "services: {a: {image: x}}\n#".to_owned() + &"x".repeat(200 * 1024);
    let bash = json!({ "runner": "bash", "bash_script": "true" });
    vec![
        refused("compose_file", json!({ "compose_file": null }), "ERR-01-002"),
        file(yaml, json!({ "docker_compose_file": "" }), "ERR-01-002"),
        file(yaml, json!({ "docker_compose_file": " \n" }), "ERR-01-002"),
        file(yaml, json!({ "docker_compose_file": null }), "ERR-01-002"),
        file(yaml, json!({ "docker_compose_file": "services: [" }), "ERR-01-003"),
        file(yaml, json!({ "docker_compose_file": "a: b" }), "ERR-01-003"),
        file(yaml, json!({ "docker_compose_file": "services: {a: {build: .}}" }), "ERR-01-003"),
        file(yaml, json!({ "docker_compose_file": over }), "ERR-01-003"),
        file(yaml, bash, "ERR-01-003"),
        Refusal {
            names: yaml,
            ..file(
                "compose_file.pre_launch_script",
                json!({ "pre_launch_script": "x".repeat(200 * 1024) }),
                "ERR-01-003",
            )
        },
        file("compose_file.bash_script", json!({ "bash_script": "true" }), "ERR-02-008"),
        file(
            "compose_file.bash_script",
            json!({ "runner": "bash", "docker_compose_file": null }),
            "ERR-02-008",
        ),
        file("compose_file.runner", json!({ "runner": "podman" }), "ERR-02-008"),
        file("compose_file.runner", json!({ "runner": "nerdctl-compose" }), "ERR-02-008"),
        file("compose_file.allowed_envs", json!({ "allowed_envs": ["A-B"] }), "ERR-02-008"),
        file("compose_file.key_provider", json!({ "key_provider": "tpm" }), NOT_SERVED),
        file("compose_file.key_provider", json!({ "key_provider": "local" }), NOT_SERVED),
        file(
            "compose_file.key_provider",
            json!({ "key_provider": "none", "local_key_provider_enabled": true }),
            "ERR-02-009",
        ),
        invalid(
            "compose_file.storage_fs",
            json!({ "compose_file": { "storage_fs": "xfs" } }),
            "compose_file.storage_fs",
        ),
        invalid(
            "compose_file.storage_fs",
            json!({ "compose_file": { "storage_fs": "" } }),
            "compose_file.storage_fs",
        ),
        file("compose_file.manifest_version", json!({ "manifest_version": 4 }), "ERR-02-008"),
        file("compose_file.manifest_version", json!({ "manifest_version": 0 }), "ERR-02-008"),
        file("compose_file.encrypted_env", json!({ "encrypted_env": "xyz" }), "ERR-20-012"),
        file(
            "compose_file.encrypted_env",
            json!({ "encrypted_env": SEALED, "kms_enabled": false }),
            "ERR-02-009",
        ),
        refused(
            "compose_file.encrypted_env",
            json!({ "encrypted_env": "cd".repeat(60), "compose_file": { "encrypted_env": SEALED } }),
            "ERR-02-009",
        ),
    ]
}

/// What only one kind of node refuses.
fn kinds() -> Vec<Refusal> {
    let on = |on: On, field: &'static str, send: Value| Refusal {
        on,
        ..refused(field, send, NOT_SERVED)
    };
    vec![
        on(On::Docker, "hugepages", json!({ "hugepages": true })),
        on(On::Docker, "pin_numa", json!({ "pin_numa": 1 })),
        on(On::Docker, "ports", json!({ "ports": [{ "host_port": 1, "vm_port": 1 }] })),
        on(On::Docker, "gpus", json!({ "gpus": { "gpus": [{ "slot": "1" }] } })),
        on(On::Docker, "gpus", json!({ "gpus": { "attach_mode": "all" } })),
        on(On::Docker, "kms_urls", json!({ "kms_urls": ["https://k"] })),
        on(On::Docker, "gateway_urls", json!({ "gateway_urls": ["https://g"] })),
        on(On::Docker, "encrypted", json!({ "encrypted": true })),
        on(On::Sim, "encrypted", json!({ "encrypted": false })),
        on(
            On::Docker,
            "compose_file.local_key_provider_enabled",
            json!({ "compose_file": { "local_key_provider_enabled": true } }),
        ),
        on(On::Docker, "compose_file.docker_compose_file", service("privileged: true")),
        on(On::Docker, "compose_file.docker_compose_file", service("network_mode: host")),
        on(On::Docker, "compose_file.docker_compose_file", service("devices: ['/dev/a:/dev/a']")),
        on(
            On::Docker,
            "compose_file.docker_compose_file",
            service("volumes: ['/var/run/docker.sock:/s']"),
        ),
    ]
}

fn commits() -> Vec<Refusal> {
    let none = || json!({});
    let unknown = "00".repeat(32);
    vec![
        Refusal {
            status: 422,
            ..commit(
                "commit compose_hash",
                none(),
                json!({ "compose_hash": unknown }),
                "ERR-20-009",
            )
        },
        Refusal {
            status: 422,
            ..commit("commit app_id", none(), json!({ "app_id": "00".repeat(20) }), "ERR-20-009")
        },
        commit("commit encrypted_env", none(), json!({ "encrypted_env": "xyz" }), "ERR-20-012"),
        commit(
            "commit encrypted_env",
            json!({ "compose_file": { "kms_enabled": false } }),
            json!({ "encrypted_env": SEALED }),
            "ERR-02-009",
        ),
        commit(
            "commit env_keys",
            json!({ "env_keys": ["A"] }),
            json!({ "env_keys": ["A", "B"] }),
            "ERR-20-011",
        ),
        commit("commit kms_id", none(), json!({ "kms_id": "kms_other" }), "ERR-02-011"),
        commit(
            "commit contract_address",
            none(),
            json!({ "contract_address": "0x01" }),
            NOT_SERVED,
        ),
        commit(
            "commit deployer_address",
            none(),
            json!({ "deployer_address": "0x01" }),
            NOT_SERVED,
        ),
        commit(
            "commit transaction_hash",
            none(),
            json!({ "transaction_hash": "0x01" }),
            NOT_SERVED,
        ),
    ]
}

/// A file with one service and this line in it.
fn service(line: &str) -> Value {
    let text = format!("services: {{web: {{image: 'busybox:1.36', {line}}}}}");
    json!({ "compose_file": { "docker_compose_file": text } })
}

/// The service, the key and the way out are named; what the operator grants is not refused, nor is
/// what another kind of node can do.
#[tokio::test]
async fn what_gives_the_host_away_is_refused_before_it_boots_unless_granted() {
    let sent = body("my-app", &[&service("privileged: true")]);
    let docker = World::fleet(vec![TestNode::docker()], |_| {}).await;
    let said = docker.post("/cvms/provision", sent.clone()).await.refused(400, "ERR-20-006");
    let text = said.to_string();
    for words in ["privileged", "service web", "docker node", "leave it out", "allow = "] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let mut node = TestNode::docker();
    node.grants = vec!["privileged".to_owned()];
    let granted = World::fleet(vec![node], |_| {}).await;
    granted.post("/cvms/provision", sent.clone()).await.ok();
    World::new().await.post("/cvms/provision", sent.clone()).await.ok();
    let both = World::fleet(vec![TestNode::docker(), TestNode::sim()], |_| {}).await;
    let placed = both.post("/cvms/provision", sent).await.ok();
    assert_eq!(placed["node_id"], 2, "the simulated one: {placed}");
}

fn nodes(refusal: &Refusal) -> Vec<Vec<TestNode>> {
    let mut bare = TestNode::sim();
    bare.host.images.retain(|image| image.name != "dstack-dev-0.5.5");
    let mut docker = TestNode::docker();
    if refusal.field == "prefer_dev" {
        docker.host.images.retain(|image| !image.is_dev);
    }
    match (refusal.on, refusal.field) {
        (On::Docker, _) => vec![vec![docker]],
        (On::Sim, "prefer_dev") => vec![vec![bare]],
        (On::Sim, _) => vec![vec![TestNode::sim()]],
        (On::Any, _) => vec![vec![TestNode::docker()], vec![TestNode::sim()]],
    }
}

async fn reply(world: &World, refusal: &Refusal) -> Reply {
    let sent = body("my-app", &[&refusal.send]);
    let reply = world.post("/cvms/provision", sent).await;
    let Some(change) = &refusal.commit else { return reply };
    let provisioned = reply.ok();
    let mut commit =
        json!({ "app_id": provisioned["app_id"], "compose_hash": provisioned["compose_hash"] });
    merge(&mut commit, change);
    world.post("/cvms", commit).await
}

/// Status, code, the field's name and the way out.
fn check(refusal: &Refusal, reply: &Reply) {
    let Refusal { status, code, names, .. } = refusal;
    assert_eq!(reply.status.as_u16(), *status, "{}", reply.text);
    let body = reply.json();
    if *status == 422 && *code == "422" {
        let items = body["detail"].as_array().unwrap();
        let steps = items[0]["loc"].as_array().unwrap();
        let step = |step: &Value| step.as_str().map_or_else(|| step.to_string(), str::to_owned);
        let loc: Vec<String> = steps.iter().map(step).collect();
        assert_eq!(loc.join("."), format!("body.{names}"), "{body}");
        assert!(items[0]["msg"].as_str().unwrap().len() > 10, "{body}");
        return;
    }
    if *code == "413" {
        return;
    }
    assert_eq!(body["error_code"], *code, "{body}");
    let details = body["details"].as_array().unwrap();
    assert!(details.iter().any(|detail| detail["field"] == *names), "{names} is not named: {body}");
    assert!(!body["suggestions"].as_array().unwrap().is_empty(), "no way out: {body}");
}

#[tokio::test]
async fn every_refusal_of_the_table_names_its_field_and_the_way_out() {
    let mut failed: BTreeMap<String, String> = BTreeMap::new();
    for refusal in refusals() {
        let mut what =
            format!("{} {:?} {} {:?}", refusal.field, refusal.on, refusal.send, refusal.commit);
        what.truncate(300);
        let run = async move {
            for nodes in nodes(&refusal) {
                let world = World::fleet(nodes, |_| {}).await;
                check(&refusal, &reply(&world, &refusal).await);
                assert!(world.sim.host().vms().unwrap().is_empty());
            }
        };
        if let Some(why) = failure(Box::pin(run)).await {
            failed.insert(what, why);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn two_spellings_that_contradict_each_other_are_refused() {
    let world = World::new().await;
    for both in [
        json!({ "image": "a", "os_image_name": "b" }),
        json!({ "teepod_id": 1, "node_id": 2 }),
        json!({ "kms": "PHALA", "kms_type": "BASE" }),
        json!({ "kms_type": "PHALA", "KMSType": "BASE" }),
        json!({ "teepod_id": 1, "TeepodID": 2 }),
        json!({ "ssh_authorized_keys": ["a"], "SSHAuthorizedKeys": ["b"] }),
        json!({ "secure_time": true, "SecureTime": false }),
        json!({ "app_id": "00".repeat(20), "custom_app_id": "11".repeat(20) }),
    ] {
        let reply = world.post("/cvms/provision", body("my-app", &[&both])).await;
        assert_eq!(reply.status, 422, "{}", reply.text);
        let text = &reply.text;
        assert!(
            both.as_object().unwrap().keys().all(|name| text.contains(name.as_str())),
            "{text}"
        );
    }
    let same = json!({
        "kms": "PHALA", "kms_type": "phala", "KMSType": "Phala",
        "teepod_id": 1, "node_id": 1, "TeepodID": 1,
        "ssh_authorized_keys": [], "SSHAuthorizedKeys": [],
        "secure_time": true, "SecureTime": true,
    });
    world.post("/cvms/provision", body("my-app", &[&same])).await.ok();
}
