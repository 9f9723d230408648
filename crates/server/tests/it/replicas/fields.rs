//! `docs/fields.md`, section *Replicas*: every field has a row, every row of an effect a test on each of
//! its routes, and every code of a row is answered.

use std::collections::{BTreeMap, BTreeSet};

use casemate_core::cvm::Spec;
use casemate_engine::node::{Capacity, VmConfig, sim::SimConfig};
use serde_json::{Value, json};

use crate::replicas::{
    OTHER, SEALED,
    common::{COMPOSE, TestNode, World, provision_body},
    deployed, detail, inside, uuid,
};

const DOCUMENT: &str = include_str!("../../../../../docs/fields.md");

struct Line {
    names: Vec<String>,
    routes: Vec<String>,
    seen: String,
    refused: BTreeSet<String>,
}

fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn lines() -> Vec<Line> {
    let section = DOCUMENT.split("\n## ").find(|text| text.starts_with("Replicas")).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let line = |row: &str| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [names, routes, _, _, seen, refused] = cells[..] else { panic!("{row}") };
        let mut codes: BTreeSet<String> =
            quoted(refused).into_iter().filter(|word| word.starts_with("ERR-")).collect();
        codes.extend(refused.contains("422:").then(|| "422".to_owned()));
        Line { names: quoted(names), routes: quoted(routes), seen: seen.to_owned(), refused: codes }
    };
    rows.map(line).collect()
}

/// What was made, from every side.
struct Made {
    get: Value,
    vm: VmConfig,
    spec: Spec,
}

struct Row {
    field: &'static str,
    send: Value,
    /// Where the value is found, and the value.
    seen: Vec<(Read, Value)>,
}

type Read = fn(&Made) -> Value;

fn row(field: &'static str, send: impl Into<Value>) -> Row {
    Row { field, send: send.into(), seen: Vec::new() }
}

impl Row {
    fn see(mut self, read: Read, value: impl Into<Value>) -> Self {
        self.seen.push((read, value.into()));
        self
    }
}

fn rows(other_hash: &str) -> Vec<Row> {
    let file = format!("{COMPOSE}# of its own\n");
    vec![
        row("node_id", 2).see(|made| made.get["node_info"]["id"].clone(), 2),
        row("teepod_id", 2).see(|made| made.get["node_info"]["id"].clone(), 2),
        row("name", "its-own-name")
            .see(|made| made.get["name"].clone(), "its-own-name")
            .see(|made| made.vm.mark.to_string().split('.').next().unwrap().into(), "its-own-name"),
        row("encrypted_env", OTHER.to_uppercase()).see(|made| json!(made.vm.sealed_env), OTHER),
        row("env_keys", json!(["B"])).see(|made| json!(made.spec.env_keys), json!(["B"])),
        row("compose_hash", other_hash)
            .see(|made| made.get["compose_hash"].clone(), other_hash)
            .see(|made| made.vm.compose_hash.to_string().into(), other_hash),
        row("os_image", "dstack-0.5.4")
            .see(|made| made.get["os"]["name"].clone(), "dstack-0.5.4")
            .see(|made| json!(made.vm.image), "dstack-0.5.4"),
        row("docker_compose_file", &*file)
            .see(|made| made.get["compose_file"]["docker_compose_file"].clone(), &*file)
            .see(|made| inner(made, "docker_compose_file"), &*file),
        row("pre_launch_script", "echo hi")
            .see(|made| made.get["compose_file"]["pre_launch_script"].clone(), "echo hi")
            .see(|made| inner(made, "pre_launch_script"), "echo hi"),
    ]
}

fn inner(made: &Made, key: &str) -> Value {
    serde_json::from_str::<Value>(&made.vm.compose).unwrap()[key].clone()
}

/// `my-app` on the first of two nodes, and the path of each route.
async fn world() -> (World, BTreeMap<&'static str, String>) {
    let other = TestNode { name: "sim-2", ..TestNode::sim() };
    let world = World::fleet(vec![TestNode::sim(), other], |_| {}).await;
    let fields = json!({
        "node_id": 1, "encrypted_env": SEALED, "image": "dstack-0.5.5",
        "compose_file": { "docker_compose_file": COMPOSE, "name": "", "allowed_envs": ["A", "B"] },
    });
    let made = deployed(&world, fields).await;
    let app = made["app_id"].as_str().unwrap();
    let paths = BTreeMap::from([
        ("cvms", "/cvms/my-app/replicas".to_owned()),
        ("apps", format!("/apps/{app}/instances")),
    ]);
    (world, paths)
}

#[tokio::test]
async fn every_row_does_what_it_says_on_each_of_its_routes() {
    for line in lines().into_iter().filter(|line| line.seen != "–") {
        for name in &line.names {
            for route in &line.routes {
                let (world, paths) = world().await;
                // Another document of the app, for `compose_hash`.
                let mut other = String::new();
                if name == "compose_hash" {
                    let body = json!({ "docker_compose_file": format!("{COMPOSE}# other\n") });
                    let made = world.post(&paths["apps"], body).await.ok();
                    let got = detail(&world, uuid(&made)).await;
                    got["compose_hash"].as_str().unwrap().clone_into(&mut other);
                }
                let rows = rows(&other);
                let row = rows.iter().find(|row| row.field == name);
                let row = row.unwrap_or_else(|| panic!("{name} has no test"));
                let body = json!({ row.field: row.send });
                let made = world.post(&paths[&**route], body).await.ok();
                world.settle().await;
                let get = detail(&world, uuid(&made)).await;
                assert_eq!(get["status"], "running", "{route} {name}");
                let (vm, spec) = inside(&world, uuid(&made)).await;
                let made = Made { get, vm, spec };
                for (read, value) in &row.seen {
                    assert_eq!(read(&made), *value, "{route} {name}");
                }
            }
        }
    }
}

fn fields<T: serde::de::DeserializeOwned>() -> BTreeSet<String> {
    // What is unknown is named; what is known is not.
    let all = lines().into_iter().flat_map(|line| line.names);
    let body: serde_json::Map<_, _> = all.map(|name| (name, Value::Null)).collect();
    let text = Value::Object(body.clone()).to_string();
    let parsed = casemate_api::body::parse::<T>(text.as_bytes()).unwrap();
    body.keys().filter(|name| !parsed.unknown.contains(name)).cloned().collect()
}

#[test]
fn every_field_stands_at_the_routes_that_take_it() {
    let of = |route: &str| -> BTreeSet<String> {
        let lines = lines().into_iter().filter(|line| line.routes.iter().any(|own| own == route));
        lines.flat_map(|line| line.names).collect()
    };
    assert_eq!(fields::<casemate_api::replicate::ReplicateRequest>(), of("cvms"));
    assert_eq!(fields::<casemate_api::replicate::InstanceRequest>(), of("apps"));
    // And there are no others: `Default` names them all.
    let instance = casemate_api::replicate::InstanceRequest {
        name: Some(String::new()),
        node_id: Some(casemate_core::id::NodeId(1)),
        docker_compose_file: Some(String::new()),
        pre_launch_script: Some(String::new()),
        encrypted_env: Some(String::new()),
        env_keys: Some(Vec::new()),
        compose_hash: Some(casemate_core::id::ComposeHash::from_bytes([0; 32])),
        os_image: Some(String::new()),
        token: Some(String::new()),
        transaction_hash: Some(String::new()),
    };
    let written = serde_json::to_value(instance).unwrap();
    let mut written: BTreeSet<String> = written.as_object().unwrap().keys().cloned().collect();
    written.insert("teepod_id".to_owned());
    assert_eq!(written, of("apps"));
}

/// Field, what is sent, the code. Each on every route of the field.
fn refusals() -> Vec<(&'static str, Value, &'static str)> {
    let long = "a".repeat(210 * 1024);
    let privileged = "services:\n  web:\n    image: busybox\n    privileged: true\n";
    vec![
        ("node_id", json!({ "node_id": 9 }), "ERR-01-001"),
        ("node_id", json!({ "node_id": 1, "teepod_id": 2 }), "422"),
        ("name", json!({ "name": "no" }), "422"),
        ("name", json!({ "name": "my-app" }), "ERR-01-004"),
        ("encrypted_env", json!({ "encrypted_env": "zz" }), "ERR-20-012"),
        ("encrypted_env", json!({ "encrypted_env": "ab" }), "ERR-20-012"),
        ("encrypted_env", json!({ "encrypted_env": "ab".repeat(256 * 1024 + 1) }), "ERR-20-012"),
        ("env_keys", json!({ "env_keys": ["C"] }), "ERR-20-011"),
        ("env_keys", json!({ "env_keys": ["1C"] }), "ERR-02-008"),
        ("compose_hash", json!({ "compose_hash": "12" }), "422"),
        ("compose_hash", json!({ "compose_hash": "12".repeat(32) }), "ERR-02-008"),
        ("os_image", json!({ "os_image": "windows" }), "ERR-02-010"),
        ("docker_compose_file", json!({ "docker_compose_file": "" }), "ERR-01-002"),
        ("docker_compose_file", json!({ "docker_compose_file": "a: [" }), "ERR-01-003"),
        ("docker_compose_file", json!({ "docker_compose_file": "services: {}" }), "ERR-01-003"),
        (
            "docker_compose_file",
            json!({ "docker_compose_file": "services: {a: {}}" }),
            "ERR-01-003",
        ),
        ("docker_compose_file", json!({ "docker_compose_file": long }), "ERR-01-003"),
        ("docker_compose_file", json!({ "docker_compose_file": privileged }), "ERR-20-006"),
        ("pre_launch_script", json!({ "pre_launch_script": long }), "ERR-01-003"),
        ("token", json!({ "token": "t" }), "ERR-01-006"),
        ("transaction_hash", json!({ "transaction_hash": "0x1" }), "ERR-20-006"),
    ]
}

/// What is sent against a template, or a fleet, of its own.
async fn of_other_worlds() -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    let full = |capacity: Capacity, images: &'static str| {
        let mut host = SimConfig { capacity, ..SimConfig::fast() };
        host.images.retain(|image| image.name.contains(images));
        TestNode { name: "other", host, ..TestNode::sim() }
    };
    let much = SimConfig::fast().capacity;
    let none = full(Capacity { slots: 0, ..much }, "");
    let cases = [
        (full(Capacity { vcpu: 0, ..much }, ""), json!({}), "ERR-02-003"),
        (full(Capacity { memory_mb: 0, ..much }, ""), json!({}), "ERR-02-004"),
        (full(Capacity { disk_gb: 0, ..much }, ""), json!({}), "ERR-02-002"),
        (none, json!({}), "ERR-02-005"),
        (full(much, "0.5.4"), json!({ "image": "dstack-0.5.5" }), "ERR-03-006"),
        (
            TestNode { name: "other", ..TestNode::docker() },
            json!({ "hugepages": true }),
            "ERR-20-006",
        ),
    ];
    for (node, mut template, code) in cases {
        template["node_id"] = json!(1);
        let world = World::fleet(vec![TestNode::sim(), node], |_| {}).await;
        deployed(&world, template).await;
        refused(&world, "/cvms/my-app/replicas", json!({ "node_id": 2 }), code).await;
        found.push(("node_id", code));
    }
    let world = World::new().await;
    deployed(&world, json!({ "ports": [{ "host_port": 20001, "vm_port": 80 }] })).await;
    let here = json!({ "node_id": 1 });
    refused(&world, "/cvms/my-app/replicas", here.clone(), "ERR-20-015").await;
    found.push(("node_id", "ERR-20-015"));
    let none = json!({ "ports": [] });
    world.call("PUT", "/cvms/my-app/ports", "", Some(none)).await.ok();
    world.settle().await;
    world.ctx.fleet.all()[0].record_answer(Err("gone".to_owned()), world.ctx.now());
    let plain = world.post("/cvms/provision", provision_body("other-app")).await;
    assert!(!plain.status.is_success(), "it does not answer");
    refused(&world, "/cvms/my-app/replicas", here, "ERR-02-012").await;
    found.push(("node_id", "ERR-02-012"));
    let world = World::new().await;
    let file = json!({ "docker_compose_file": COMPOSE, "name": "", "kms_enabled": false });
    deployed(&world, json!({ "compose_file": file })).await;
    let env = json!({ "encrypted_env": SEALED });
    refused(&world, "/cvms/my-app/replicas", env, "ERR-02-009").await;
    found.push(("encrypted_env", "ERR-02-009"));
    found
}

async fn refused(world: &World, path: &str, body: Value, code: &str) {
    let reply = world.post(path, body.clone()).await;
    if code == "422" {
        assert_eq!(reply.status, 422, "{path} {body}: {}", reply.text);
        return;
    }
    let said = reply.json();
    let short: String = body.to_string().chars().take(80).collect();
    assert_eq!(said["error_code"], code, "{path} {short}: {said}");
    assert!(!said["suggestions"].as_array().unwrap().is_empty(), "{said}");
}

#[tokio::test]
async fn every_code_of_a_row_is_answered_and_no_other() {
    let mut tested: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (field, code) in of_other_worlds().await {
        tested.entry(field.to_owned()).or_default().insert(code.to_owned());
    }
    let world = World::fleet(vec![TestNode::docker()], |_| {}).await;
    let allowed = json!({ "docker_compose_file": COMPOSE, "name": "", "allowed_envs": ["A", "B"] });
    let made = deployed(&world, json!({ "compose_file": allowed })).await;
    let paths = BTreeMap::from([
        ("cvms", "/cvms/my-app/replicas".to_owned()),
        ("apps", format!("/apps/{}/instances", made["app_id"].as_str().unwrap())),
    ]);
    for (field, body, code) in refusals() {
        let line = lines().into_iter().find(|line| line.names.iter().any(|name| name == field));
        for route in line.unwrap().routes {
            refused(&world, &paths[&*route], body.clone(), code).await;
        }
        tested.entry(field.to_owned()).or_default().insert(code.to_owned());
    }
    for line in lines() {
        let found: BTreeSet<String> =
            line.names.iter().filter_map(|name| tested.remove(name)).flatten().collect();
        assert_eq!(found, line.refused, "{:?}: tested, in the table", line.names);
    }
    assert!(tested.is_empty(), "{tested:?}");
}
