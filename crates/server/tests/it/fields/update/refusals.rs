//! What an update refuses: by name, with the way out, and nothing of the request takes effect.

use std::collections::BTreeMap;

use axum::http::Request;
use serde_json::{Value, json};

use super::{
    row::{state, world},
    table::{
        Line,
        Route::{self, Commit, Envs, OsImage, Patch, Ports, Prepare, Replace},
        Sent, lines,
    },
};
use crate::fields::{
    common::{COMPOSE, Reply, TestNode, World},
    provision_rows::SEALED,
    row::failure,
};

/// The kind of node that refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Any kind that takes the field at all.
    Any,
    Docker,
    Sim,
}

/// A field that is refused.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// A route of its row; all of them are tried.
    pub at: Route,
    /// As in the table.
    pub field: &'static str,
    pub in_document: bool,
    only: bool,
    pub on: On,
    deploy: Value,
    file: Value,
    send: Value,
    /// `ERR-…`, or the status where there is no code.
    pub code: &'static str,
    status: u16,
    /// The field as the reply names it; empty: by no name.
    names: &'static str,
}

impl Refusal {
    pub fn line(&self) -> Line {
        lines()
            .into_iter()
            .find(|line| line.is(self.at, self.in_document, self.field))
            .unwrap_or_else(|| panic!("{:?} {} has no row", self.at, self.field))
    }

    fn named(self, names: &'static str) -> Self {
        Self { names, ..self }
    }

    fn only(self) -> Self {
        Self { only: true, ..self }
    }

    fn deployed(self, deploy: Value) -> Self {
        let file = deploy.get("compose_file").cloned().unwrap_or_else(|| json!({}));
        Self { deploy, file, ..self }
    }

    fn on(self, on: On) -> Self {
        Self { on, ..self }
    }

    fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    fn sent(&self, route: Route) -> Sent {
        let body = match self.send.get(self.field) {
            Some(text) if route.is_text() => json!({ self.field: text }),
            _ => self.send.clone(),
        };
        Sent { route, file: self.file.clone(), body, in_document: self.in_document }
    }
}

fn refused(at: Route, field: &'static str, send: Value, code: &'static str) -> Refusal {
    Refusal {
        at,
        field,
        in_document: false,
        only: false,
        on: On::Any,
        deploy: json!({}),
        file: json!({}),
        send,
        code,
        status: 400,
        names: field,
    }
}

/// A value that does not validate.
fn invalid(at: Route, field: &'static str, send: Value) -> Refusal {
    refused(at, field, send, "422").status(422)
}

/// A field of the document.
fn document(field: &'static str, send: Value, code: &'static str) -> Refusal {
    Refusal { in_document: true, ..refused(Prepare, field, send, code) }
}

const NOT_SERVED: &str = "ERR-20-006";

fn no_kms() -> Value {
    json!({ "compose_file": { "kms_enabled": false } })
}

fn too_long() -> String {
    "x".repeat(200 * 1024)
}

pub fn refusals() -> Vec<Refusal> {
    let mut all = patched();
    all.extend(carried());
    all.extend(resources());
    all.extend(network());
    all.extend(phases());
    all.extend(documents());
    all
}

fn patched() -> Vec<Refusal> {
    let yaml = "docker_compose_file";
    let file = |text: &str| json!({ yaml: text });
    let host = COMPOSE.replace("    image:", "    privileged: true\n    image:");
    vec![
        refused(Patch, yaml, file(""), "ERR-01-002"),
        refused(Patch, yaml, file("services: ["), "ERR-01-003"),
        refused(Patch, yaml, file("services: {a: {build: .}}"), "ERR-01-003"),
        refused(Patch, yaml, file(&format!("{COMPOSE}#{}", too_long())), "ERR-01-003"),
        refused(Patch, yaml, file(&host), NOT_SERVED).on(On::Docker),
        refused(
            Patch,
            "pre_launch_script",
            json!({ "pre_launch_script": too_long() }),
            "ERR-01-003",
        )
        .named(yaml),
        refused(Patch, "allowed_envs", json!({ "allowed_envs": ["1A"] }), "ERR-20-030"),
        invalid(Patch, "shutdown_timeout", json!({ "shutdown_timeout": 9 })),
        invalid(Patch, "shutdown_timeout", json!({ "shutdown_timeout": 1201 })),
        invalid(Route::Listed, "listed", json!({})),
        refused(Patch, "allow_restart", json!({ "vcpu": 2, "allow_restart": 0 }), "ERR-20-031"),
        invalid(Patch, "compose_hash", json!({ "encrypted_env": SEALED, "compose_hash": "x" })),
        refused(
            Patch,
            "compose_hash",
            json!({ "encrypted_env": SEALED, "compose_hash": "00".repeat(32) }),
            NOT_SERVED,
        ),
        refused(
            Patch,
            "transaction_hash",
            json!({ "encrypted_env": SEALED, "transaction_hash": "0x1" }),
            NOT_SERVED,
        ),
        invalid(Route::Name, "name", json!({ "name": "x" })),
        invalid(Route::Name, "name", json!({})),
        refused(Route::Name, "name", json!({ "name": "taken-app" }), "400"),
        invalid(
            Route::ScheduledDelete,
            "scheduled_delete_at",
            json!({ "scheduled_delete_at": "2020-01-01T00:00:00Z" }),
        ),
        invalid(
            Route::ScheduledDelete,
            "scheduled_delete_at",
            json!({ "scheduled_delete_at": "soon" }),
        ),
    ]
}

fn carried() -> Vec<Refusal> {
    let sealed = json!({ "encrypted_env": SEALED });
    let mut all = vec![
        invalid(Envs, "encrypted_env", json!({})),
        refused(Envs, "encrypted_env", json!({ "encrypted_env": "" }), "ERR-20-012"),
        refused(Patch, "encrypted_env", json!({ "encrypted_env": null }), NOT_SERVED)
            .deployed(sealed.clone())
            .on(On::Sim),
        refused(Patch, "env_keys", json!({ "env_keys": ["A"] }), "ERR-20-011"),
        refused(Patch, "env_keys", json!({ "env_keys": ["1A"] }), "ERR-02-008"),
        refused(
            Envs,
            "env_keys",
            json!({ "encrypted_env": SEALED, "env_keys": ["1A"] }),
            "ERR-02-008",
        ),
        refused(Patch, "user_config", json!({ "user_config": null }), NOT_SERVED)
            .deployed(json!({ "user_config": "{}" }))
            .on(On::Sim),
        refused(Patch, "user_config", json!({ "user_config": "" }), NOT_SERVED)
            .deployed(json!({ "user_config": "{}" }))
            .on(On::Sim),
        refused(Patch, "user_config", json!({ "user_config": "x".repeat(1 << 20) }), "413")
            .status(413)
            .named(""),
    ];
    for at in [Patch, Envs, Commit] {
        for wrong in ["xyz".to_owned(), "ab".repeat(59), "ab".repeat(256 * 1024 + 1)] {
            all.push(refused(at, "encrypted_env", json!({ "encrypted_env": wrong }), "ERR-20-012"));
        }
        all.push(refused(at, "encrypted_env", sealed.clone(), "ERR-02-009").deployed(no_kms()));
    }
    all
}

fn resources() -> Vec<Refusal> {
    let gpu = |field: &'static str, send: Value, code: &'static str| {
        refused(Patch, field, json!({ "gpus": send }), code)
    };
    let slot = || json!([{ "slot": "1" }]);
    let mut all = vec![
        refused(Patch, "instance_type", json!({ "instance_type": "tdx.tiny" }), "ERR-02-001"),
        invalid(Patch, "vcpu", json!({ "vcpu": 0 })),
        refused(Patch, "vcpu", json!({ "vcpu": 100_000 }), "ERR-02-003"),
        invalid(Patch, "memory", json!({ "memory": 0 })),
        refused(Patch, "memory", json!({ "memory": 4_000_000_000_u32 }), "ERR-02-004"),
        invalid(Patch, "disk_size", json!({ "disk_size": 0 })),
        refused(Patch, "disk_size", json!({ "disk_size": 19 }), "ERR-20-017"),
        refused(Patch, "disk_size", json!({ "disk_size": 4_000_000_000_u32 }), "ERR-02-002"),
        gpu("gpus", json!({ "gpus": slot() }), NOT_SERVED).on(On::Docker),
        gpu("gpus", json!({ "attach_mode": "all" }), NOT_SERVED).on(On::Docker),
        gpu("gpus.gpus", json!({ "gpus": [{ "slot": "1" }, {}] }), "422")
            .status(422)
            .named("gpus.gpus.1"),
        gpu("gpus.gpus", json!({ "gpus": slot(), "attach_mode": "all" }), "ERR-02-009"),
        gpu("gpus.attach_mode", json!({ "attach_mode": "some" }), "422").status(422),
        gpu("gpus.count", json!({ "count": 2 }), "ERR-02-007"),
        gpu("gpus.count", json!({ "count": 2, "product_name": "H200" }), "ERR-02-007"),
        gpu("gpus.count", json!({ "count": 0, "gpus": slot() }), NOT_SERVED),
        gpu("gpus.product_name", json!({ "product_name": "H200" }), "ERR-02-007"),
        gpu(
            "gpus.product_name",
            json!({ "product_name": "H200", "attach_mode": "all" }),
            NOT_SERVED,
        ),
    ];
    for field in ["image", "os_image_name"] {
        let unknown = json!({ field: "dstack-9.9.9" });
        all.push(refused(Patch, field, unknown.clone(), "ERR-02-010").named("image"));
        all.push(refused(OsImage, field, unknown, "ERR-02-010").named("image"));
        all.push(invalid(OsImage, field, json!({ field: "" })).named("os_image_name"));
    }
    all.push(invalid(OsImage, "image", json!({})).named("os_image_name"));
    all
}

fn network() -> Vec<Refusal> {
    let urls = |field: &'static str| {
        refused(Route::NetworkConfig, field, json!({ field: ["https://u"] }), NOT_SERVED)
            .on(On::Docker)
    };
    let port = |field: &'static str, change: Value| {
        let mut port = json!({ "vm_port": 80, "host_port": 81 });
        crate::fields::row::merge(&mut port, &change);
        refused(Ports, field, json!({ "ports": [{ "vm_port": 9, "host_port": 9 }, port] }), "422")
            .status(422)
    };
    vec![
        urls("kms_urls"),
        urls("gateway_urls"),
        refused(Ports, "ports", json!({ "ports": [{ "vm_port": 1 }] }), NOT_SERVED).on(On::Docker),
        invalid(Ports, "ports", json!({})),
        port("ports", json!({ "host_port": 9 })).named("ports.1.host_port"),
        refused(
            Ports,
            "ports",
            json!({ "ports": [{ "vm_port": 1, "host_port": 9000 }] }),
            "ERR-20-015",
        )
        .status(409)
        .named("host_port"),
        port("ports[].vm_port", json!({ "vm_port": null })).named("ports.1.vm_port"),
        port("ports[].vm_port", json!({ "vm_port": 0 })).named("ports.1.vm_port"),
        port("ports[].protocol", json!({ "protocol": "sctp" })).named("ports.1.protocol"),
        port("ports[].host_port", json!({ "host_port": 0 })).named("ports.1.host_port"),
        port("ports[].host_address", json!({ "host_address": "here" }))
            .named("ports.1.host_address"),
        Refusal {
            code: NOT_SERVED,
            ..port("ports[].source_cidrs", json!({ "source_cidrs": ["10.0.0.0/8"] }))
        }
        .status(400)
        .named("ports.1.source_cidrs"),
    ]
}

fn phases() -> Vec<Refusal> {
    let unknown = || json!({ "compose_hash": "11".repeat(32) });
    vec![
        refused(Commit, "compose_hash", unknown(), "ERR-20-034"),
        refused(Replace, "compose_hash", unknown(), "ERR-20-035"),
        invalid(Commit, "compose_hash", json!({ "compose_hash": "x" })),
        invalid(Replace, "compose_hash", json!({ "compose_hash": "x" })),
        invalid(Replace, "compose_file", json!({ "compose_file": "x" })),
        refused(Commit, "env_keys", json!({ "env_keys": ["A"] }), "ERR-20-011"),
        refused(Commit, "env_keys", json!({ "env_keys": ["1A"] }), "ERR-02-008"),
    ]
}

/// Codes that another test of this module has.
pub const CODES: [(Route, &str, &str); 1] = [(Commit, "compose_hash", "ERR-20-010")];

fn documents() -> Vec<Refusal> {
    let yaml = "docker_compose_file";
    let host = COMPOSE.replace("    image:", "    privileged: true\n    image:");
    let bash = json!({ "runner": "bash", "bash_script": "true" });
    let alone = json!({ "runner": "bash", "docker_compose_file": null });
    let mut all = vec![
        document(yaml, json!({ yaml: "" }), "ERR-01-002"),
        document(yaml, json!({ yaml: "services: [" }), "422").status(422),
        document(yaml, json!({ yaml: "services: {a: {build: .}}" }), "422").status(422),
        document(yaml, bash, "422").status(422),
        document(yaml, json!({ yaml: host }), NOT_SERVED).on(On::Docker),
        document("pre_launch_script", json!({ "pre_launch_script": too_long() }), "422")
            .status(422)
            .named(yaml),
        document("bash_script", json!({ "bash_script": "true" }), "ERR-02-008"),
        document("bash_script", alone, "ERR-02-008"),
        document("runner", json!({ "runner": "podman" }), "ERR-02-008"),
        document("manifest_version", json!({ "manifest_version": 4 }), "ERR-02-008"),
        document("key_provider", json!({ "key_provider": "tpm" }), NOT_SERVED),
        document("storage_fs", json!({ "storage_fs": "xfs" }), "422").status(422),
        document("encrypted_env", json!({ "encrypted_env": "xyz" }), "ERR-20-012"),
        document("encrypted_env", json!({ "encrypted_env": SEALED }), "ERR-02-009")
            .deployed(no_kms()),
    ];
    let wrong = json!({ "allowed_envs": ["A-B"], "update_env_vars": true });
    for at in [Prepare, Replace] {
        all.push(Refusal { at, ..document("allowed_envs", wrong.clone(), "ERR-02-008") }.only());
    }
    for (field, value, names) in [
        ("kms_enabled", json!(false), "kms_enabled"),
        ("key_provider", json!("None"), "kms_enabled"),
        ("local_key_provider_enabled", json!(true), "local_key_provider_enabled"),
        ("no_instance_id", json!(true), "no_instance_id"),
        ("storage_fs", json!("ext4"), "storage_fs"),
    ] {
        all.push(document(field, json!({ field: value }), "ERR-20-016").status(409).named(names));
    }
    all
}

/// Status, code, the field's name and the way out.
fn check(refusal: &Refusal, route: Route, reply: &Reply) {
    let Refusal { status, code, names, .. } = refusal;
    assert_eq!(reply.status.as_u16(), *status, "{}", reply.text);
    let body = reply.json();
    let inner = refusal.in_document && route == Replace;
    let names = if inner { format!("compose_file.{names}") } else { (*names).to_owned() };
    if *code == "422" {
        let items = body["detail"].as_array().unwrap();
        let steps = items[0]["loc"].as_array().unwrap();
        let step = |step: &Value| step.as_str().map_or_else(|| step.to_string(), str::to_owned);
        let loc: Vec<String> = steps.iter().map(step).collect();
        let expected = if names.is_empty() { "body".to_owned() } else { format!("body.{names}") };
        assert_eq!(loc.join("."), expected, "{body}");
        return;
    }
    if matches!(*code, "400" | "413") {
        return;
    }
    assert_eq!(body["error_code"], *code, "{body}");
    if names.is_empty() {
        return;
    }
    let details = body["details"].as_array().unwrap();
    assert!(details.iter().any(|detail| detail["field"] == names.as_str()), "{names}: {body}");
    assert!(!body["suggestions"].as_array().unwrap().is_empty(), "no way out: {body}");
}

async fn operations(world: &World, uuid: &str) -> Value {
    world.get(&format!("/cvms/{uuid}/operations")).await.ok()["total"].clone()
}

/// Sends a refusal on every route of its row and holds that nothing is different after it.
async fn run(world: &World, uuid: &str, refusal: &Refusal) {
    let line = refusal.line();
    let routes = if refusal.only { vec![refusal.at] } else { line.routes };
    for route in routes {
        let before = (state(world, uuid).await, operations(world, uuid).await);
        let reply = refusal.sent(route).to(world, uuid).await;
        check(refusal, route, &reply);
        world.settle().await;
        assert_eq!((state(world, uuid).await, operations(world, uuid).await), before, "{route:?}");
    }
}

/// A CVM of this kind, with another one beside it that has a name and, where it can, a port.
async fn beside_another(node: TestNode, deploy: &Value) -> (World, String) {
    let is_docker = node.kind == "docker";
    let (world, uuid) = world(node, deploy).await;
    world.deploy("taken-app").await;
    world.settle().await;
    if !is_docker {
        let ports = json!({ "ports": [{ "vm_port": 1, "host_port": 9000 }] });
        world.call("PUT", "/cvms/taken-app/ports", "2026-01-21", Some(ports)).await.ok();
        world.settle().await;
    }
    (world, uuid)
}

#[tokio::test]
async fn every_refusal_of_an_update_names_its_field_and_changes_nothing() {
    let mut failed: BTreeMap<String, String> = BTreeMap::new();
    for on in [On::Docker, On::Sim] {
        let node = || if on == On::Docker { TestNode::docker() } else { TestNode::sim() };
        let shared = std::rc::Rc::new(beside_another(node(), &json!({})).await);
        for refusal in refusals() {
            let elsewhere = refusal.on != On::Any && refusal.on != on;
            let whole = on == On::Docker && refusal.on == On::Any && refusal.line().not_on_docker;
            if elsewhere || whole {
                continue;
            }
            let what = format!("{on:?} {:?} {} {}", refusal.at, refusal.field, refusal.send);
            let place = if refusal.deploy == json!({}) {
                shared.clone()
            } else {
                std::rc::Rc::new(beside_another(node(), &refusal.deploy).await)
            };
            let work = async move { run(&place.0, &place.1, &refusal).await };
            if let Some(why) = failure(Box::pin(work)).await {
                failed.insert(what.chars().take(200).collect(), why);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test]
async fn a_prepared_document_expires() {
    let (world, uuid) = world(TestNode::sim(), &json!({})).await;
    let file = json!({ "name": "", "docker_compose_file": COMPOSE, "salt": "x" });
    let prepared = world.post(&format!("/cvms/{uuid}/compose_file/provision"), file).await.ok();
    world.clock.advance_ms(15 * 24 * 3_600_000);
    let body = json!({ "compose_hash": prepared["compose_hash"] });
    let path = format!("/cvms/{uuid}/compose_file");
    world.call("PATCH", &path, "2026-01-21", Some(body)).await.refused(400, "ERR-20-010");
}

#[tokio::test]
async fn what_confirms_a_change_to_a_contract_is_refused_as_a_header_too() {
    let (world, uuid) = world(TestNode::sim(), &json!({})).await;
    let hash = "00".repeat(32);
    for (name, value, refused) in [
        ("x-compose-hash", hash.as_str(), true),
        ("x-compose-hash", "", false),
        ("x-transaction-hash", "0x1", true),
        ("x-transaction-hash", "already-registered", false),
        // Upstream's CLI only warns that nothing had to be approved.
        ("x-prepare-only", "true", false),
        ("x-prepare-only", "false", false),
    ] {
        let request = Request::builder()
            .method("PATCH")
            .uri(format!("/api/v1/cvms/{uuid}"))
            .header("x-api-key", &world.key)
            .header(name, value);
        let reply =
            world.send(request.body(json!({ "listed": true }).to_string().into()).unwrap()).await;
        assert_eq!(reply.status.as_u16() == 400, refused, "{name} {value}: {}", reply.text);
        assert!(!refused || reply.json()["error_code"] == NOT_SERVED, "{}", reply.text);
    }
}
