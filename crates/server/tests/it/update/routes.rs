//! The routes that change a CVM, as clients call them.

use crate::common;

use axum::http::Request;
use casemate_core::{
    compose::hash,
    seal::{EnvPublicKey, EnvVar, seal},
};
use common::{COMPOSE, Reply, World};
use serde_json::{Value, json};

async fn running() -> World {
    let world = World::new().await;
    world.deploy("my-app").await;
    world.settle().await;
    world
}

async fn patch(world: &World, path: &str, body: Value) -> Reply {
    world.call("PATCH", &format!("/cvms/my-app{path}"), "2026-01-21", Some(body)).await
}

async fn patch_text(world: &World, path: &str, text: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::builder()
        .method("PATCH")
        .uri(format!("/api/v1/cvms/my-app{path}"))
        .header("x-api-key", &world.key)
        .header("content-type", "text/plain");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.send(request.body(text.to_owned().into()).unwrap()).await
}

async fn detail(world: &World) -> Value {
    world.get("/cvms/my-app").await.ok()
}

async fn settled(world: &World, reply: Reply, status: u16) -> Value {
    assert_eq!(reply.status.as_u16(), status, "{}", reply.text);
    let body = if reply.text.is_empty() { Value::Null } else { reply.json() };
    world.settle().await;
    assert_eq!(detail(world).await["status"], "running");
    body
}

fn sealed(world: &Value, names: &[&str]) -> String {
    let key: EnvPublicKey = world["kms_info"]["encrypted_env_pubkey"]
        .as_str()
        .or_else(|| world["encrypted_env_pubkey"].as_str())
        .expect("an env key")
        .parse()
        .expect("a key");
    let vars: Vec<EnvVar> = names
        .iter()
        .map(|name| {
            serde_json::from_value(json!({ "key": name, "value": "secret" })).expect("a variable")
        })
        .collect();
    seal(&vars, &key, [5; 32], [6; 12]).expect("sealed").to_string()
}

#[tokio::test]
async fn a_patch_does_what_it_says_and_nothing_else() {
    let world = running().await;
    let before = detail(&world).await;
    let body =
        json!({ "vcpu": 2.0, "memory": 4096, "public_logs": 0, "allow_restart": 1, "wat": 1 });
    let reply = settled(&world, patch(&world, "", body.clone()).await, 202).await;
    assert!(reply["correlation_id"].is_string(), "{reply}");
    assert_eq!(reply["effect"], "restart");
    assert!(reply["warnings"][0].as_str().unwrap().contains("wat"), "{reply}");
    let after = detail(&world).await;
    assert_eq!((&after["resource"]["vcpu"], &after["public_logs"]), (&json!(2), &json!(false)));
    assert_ne!(after["compose_hash"], before["compose_hash"]);
    for same in ["name", "app_id", "id", "public_sysinfo", "instance_id"] {
        assert_eq!(after[same], before[same], "{same}");
    }
    let again = settled(&world, patch(&world, "", body).await, 202).await;
    assert_eq!(again["effect"], "nothing", "equal to the present: {again}");
    let empty = settled(&world, patch(&world, "", json!({})).await, 202).await;
    assert_eq!(empty["effect"], "nothing");
}

#[tokio::test]
async fn one_wrong_field_and_nothing_is_changed() {
    let world = running().await;
    let before = detail(&world).await;
    let cases = [
        (json!({ "disk_size": 1 }), 400, "disk_size"),
        (json!({ "vcpu": 0 }), 422, "vcpu"),
        (json!({ "vcpu": 100_000 }), 400, "vcpu"),
        (json!({ "instance_type": "huge" }), 400, "instance_type"),
        (json!({ "image": "windows" }), 400, "image"),
        (json!({ "shutdown_timeout": 5 }), 422, "shutdown_timeout"),
        (json!({ "docker_compose_file": "services: [" }), 400, "docker_compose_file"),
        (json!({ "docker_compose_file": "" }), 400, "docker_compose_file"),
        (json!({ "encrypted_env": "zz" }), 400, "encrypted_env"),
        (json!({ "env_keys": ["NOT_ALLOWED"] }), 400, "env_keys"),
        (json!({ "allowed_envs": ["1X"] }), 400, "allowed_envs"),
        (json!({ "gpus": { "count": 2, "product_name": "H200" } }), 400, "gpus"),
        (
            json!({ "compose_hash": "00".repeat(32), "transaction_hash": "0x1" }),
            400,
            "transaction_hash",
        ),
        (json!({ "vcpu": 2, "allow_restart": false }), 400, "allow_restart"),
    ];
    for (wrong, status, field) in cases {
        let mut body = json!({ "listed": false });
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let reply = patch(&world, "", body).await;
        assert_eq!(reply.status.as_u16(), status, "{wrong}: {}", reply.text);
        assert!(reply.text.contains(field), "{wrong}: {}", reply.text);
    }
    world.settle().await;
    assert_eq!(detail(&world).await, before);
    let operations = world.get("/cvms/my-app/operations").await.ok();
    assert_eq!(operations["total"], 1, "only the creation: {operations}");
}

#[tokio::test]
async fn nulls_mean_what_they_should() {
    let world = running().await;
    let script = json!({ "pre_launch_script": "echo hi", "shutdown_timeout": 30 });
    settled(&world, patch(&world, "", script).await, 202).await;
    assert_eq!(world.get("/cvms/my-app/pre-launch-script").await.text, "echo hi");
    let nothing = json!({ "vcpu": null, "listed": null, "image": null, "encrypted_env": "" });
    let reply = settled(&world, patch(&world, "", nothing).await, 202).await;
    assert_eq!(reply["effect"], "nothing");
    let clear = json!({ "pre_launch_script": null, "shutdown_timeout": null });
    settled(&world, patch(&world, "", clear).await, 202).await;
    assert_eq!(world.get("/cvms/my-app/pre-launch-script").await.text, "");
    settled(&world, patch(&world, "", json!({ "user_config": "{}" })).await, 202).await;
    let refused = patch(&world, "", json!({ "user_config": null })).await;
    assert!(refused.text.contains("user_config cannot be cleared"), "{}", refused.text);
}

#[tokio::test]
async fn each_single_purpose_route_changes_its_thing() {
    let world = running().await;
    let resources = json!({ "id": "my-app", "vcpu": 2, "memory": 4096, "allow_restart": 1 });
    let reply = settled(&world, patch(&world, "/resources", resources).await, 202).await;
    assert_eq!(reply["status"], "in_progress");
    assert_eq!(detail(&world).await["resource"]["vcpu"], 2);
    let small = json!({ "instance_type": "tdx.small" });
    settled(&world, patch(&world, "/resources", small).await, 202).await;
    assert_eq!(detail(&world).await["resource"]["instance_type"], "tdx.small");

    let visible = json!({ "public_sysinfo": true, "public_logs": false });
    let reply = settled(&world, patch(&world, "/visibility", visible).await, 200).await;
    assert!(reply["id"].is_number(), "the 2025-10-28 detail: {reply}");
    assert_eq!(detail(&world).await["public_logs"], false);
    settled(&world, patch(&world, "/visibility", json!({ "listed": false })).await, 200).await;
    assert_eq!(detail(&world).await["listed"], false);
    let reply =
        settled(&world, patch(&world, "/listed", json!({ "listed": true })).await, 200).await;
    assert_eq!(reply["name"], "my-app");
    assert_eq!(detail(&world).await["listed"], true);

    let images = world.get("/cvms/my-app/available-os-images").await;
    if images.status.is_success() {
        assert!(images.json().as_array().is_some_and(|images| !images.is_empty()));
    }
    let node = &world.ctx.fleet.own().values().next().unwrap().observed().0;
    let other = node.images.iter().find(|image| !detail_image(&image.name)).unwrap();
    for field in ["os_image_name", "image"] {
        let body = json!({ field: other.name });
        settled(&world, patch(&world, "/os-image", body).await, 202).await;
    }
    assert_eq!(detail(&world).await["os"]["name"], other.name.as_str());

    let compose = COMPOSE.replace("1.36", "1.37");
    settled(&world, patch_text(&world, "/docker-compose", &compose, &[]).await, 202).await;
    assert_eq!(world.get("/cvms/my-app/docker-compose.yml").await.text, compose);
    settled(&world, patch_text(&world, "/pre-launch-script", "true", &[]).await, 202).await;
    assert_eq!(world.get("/cvms/my-app/pre-launch-script").await.text, "true");
    settled(&world, patch_text(&world, "/pre-launch-script", "", &[]).await, 202).await;
    assert_eq!(world.get("/cvms/my-app/pre-launch-script").await.text, "");
    let keys = json!({ "ssh_authorized_keys": ["ssh-ed25519 A me"] }).to_string();
    let config = json!({ "user_config": keys });
    settled(&world, patch(&world, "/user_config", config).await, 202).await;
    let shown = world.get("/cvms/my-app/user_config").await.ok();
    assert_eq!(shown["ssh_authorized_keys"], json!(["ssh-ed25519 A me"]));
    assert_eq!((&shown["hostname"], &shown["user_config"]), (&Value::Null, &json!(keys)));
}

/// The image a new CVM of these tests gets.
fn detail_image(name: &str) -> bool {
    name == "dstack-dev-0.5.5" || name.contains("dev")
}

#[tokio::test]
async fn a_name_is_unique_in_the_workspace() {
    let world = running().await;
    world.deploy("other-app").await;
    world.settle().await;
    let taken = patch(&world, "/name", json!({ "name": "other-app" })).await;
    assert_eq!(taken.status.as_u16(), 400);
    assert_eq!(
        taken.json()["detail"],
        "CVM name \"other-app\" is already in use in this workspace"
    );
    assert_eq!(patch(&world, "/name", json!({ "name": "x" })).await.status.as_u16(), 422);
    assert_eq!(patch(&world, "/name", json!({ "name": "new-name" })).await.status.as_u16(), 204);
    world.settle().await;
    assert_eq!(world.get("/cvms/new-name").await.ok()["status"], "running");
    assert_eq!(world.get("/cvms/my-app").await.status.as_u16(), 404);
    let audit = world.sim.host().audit().unwrap();
    assert_eq!(audit.marks.values().map(|mark| mark.starts).sum::<usize>(), 2, "no restart");
}

#[tokio::test]
async fn envs_say_what_they_drop_and_a_policy_refuses_it() {
    let world = running().await;
    let env = sealed(&detail(&world).await, &["G", "H"]);
    let body = json!({ "encrypted_env": env, "env_keys": ["G", "H"], "compose_hash": null });
    let reply = settled(&world, patch(&world, "/envs", body).await, 202).await;
    assert_eq!(
        (&reply["status"], &reply["allowed_envs_changed"]),
        (&json!("in_progress"), &json!(true))
    );
    assert_eq!(reply["env_report"]["added"], json!(["G", "H"]));
    let drop = json!({ "encrypted_env": env, "env_keys": ["H"] });
    let guarded = |guard: &'static str| {
        let body = drop.to_string();
        let world = &world;
        async move { patch_text(world, "/envs", &body, &[("x-casemate-env-guard", guard)]).await }
    };
    let refused = guarded("refuse").await.refused(409, "ERR-20-032");
    assert!(refused.to_string().contains("drops G"), "{refused}");
    assert_eq!(guarded("maybe").await.status.as_u16(), 400);
    let policy = "/workspace/policy";
    let report = json!({ "env_guard": "report", "evidence": "report" });
    assert_eq!(world.get(policy).await.ok(), report);
    for wrong in [json!({ "env_guard": "maybe" }), json!({ "envguard": "refuse" })] {
        assert_eq!(world.call("PATCH", policy, "", Some(wrong)).await.status.as_u16(), 422);
    }
    let patch_policy = json!({ "env_guard": "refuse" });
    let refuse = json!({ "env_guard": "refuse", "evidence": "report" });
    assert_eq!(world.call("PATCH", policy, "", Some(patch_policy)).await.ok(), refuse);
    assert_eq!(world.get(policy).await.ok(), refuse);
    patch(&world, "/envs", drop.clone()).await.refused(409, "ERR-20-032");
    let reply = settled(&world, guarded("report").await, 202).await;
    assert_eq!(reply["env_report"]["missing"], json!(["G"]), "the file still says ${{G}}");
    let operations = world.get("/cvms/my-app/operations?limit=1").await.ok();
    assert_eq!(operations["items"][0]["env_report"]["removed"], json!(["G"]));
    assert!(!operations.to_string().contains("secret"));
    let no_names = json!({ "encrypted_env": env, "env_keys": null });
    let reply = settled(&world, patch(&world, "/envs", no_names).await, 202).await;
    assert_eq!(reply["env_report"], Value::Null, "names nothing, reports nothing");
    assert_eq!(reply["allowed_envs_changed"], false);
}

#[tokio::test]
async fn a_compose_update_has_two_phases() {
    let world = running().await;
    let file = json!({
        "name": "", "docker_compose_file": COMPOSE.replace("1.36", "1.38"), "allowed_envs": ["Z"],
        "public_logs": false
    });
    let prepared = world.post("/cvms/my-app/compose_file/provision", file.clone()).await.ok();
    assert_eq!(prepared["kms_info"].as_object().unwrap().len(), 7);
    assert_eq!(prepared["compose_hash_registered"], true);
    assert_eq!(prepared["app_id"], detail(&world).await["app_id"]);
    assert!(prepared["device_id"].is_string());
    let hash_text = prepared["compose_hash"].as_str().unwrap();
    let commit = json!({ "compose_hash": hash_text, "encrypted_env": null, "env_keys": null, "update_env_vars": null });
    settled(&world, patch(&world, "/compose_file", commit.clone()).await, 202).await;
    let document = world.get("/cvms/my-app/compose_file").await;
    assert_eq!(hash(&document.text).to_string(), hash_text, "what was promised is what boots");
    assert_eq!(document.json()["allowed_envs"], json!([]), "only on request");
    let vm = world.sim.host().vms().unwrap().remove(0);
    assert_eq!(vm.config.compose_hash.to_string(), hash_text);

    let mut with_names = file.clone();
    with_names["update_env_vars"] = json!(true);
    let second = world.post("/cvms/my-app/compose_file/provision", with_names).await.ok();
    assert_ne!(second["compose_hash"], prepared["compose_hash"]);
    let commit = json!({ "compose_hash": second["compose_hash"], "env_keys": ["Z"] });
    let reply = world.post("/cvms/my-app/compose_file/commit", commit).await;
    settled(&world, reply, 202).await;
    assert_eq!(world.get("/cvms/my-app/compose_file").await.json()["allowed_envs"], json!(["Z"]));

    let unknown = json!({ "compose_hash": "00".repeat(32) });
    patch(&world, "/compose_file", unknown).await.refused(400, "ERR-20-034");
    world.clock.advance_ms(15 * 24 * 3600 * 1000);
    patch(&world, "/compose_file", json!({ "compose_hash": hash_text }))
        .await
        .refused(400, "ERR-20-010");
    for (wrong, status) in [
        (json!({ "name": "" }), 400),
        (json!({ "name": "", "docker_compose_file": "services: [" }), 422),
        (json!({ "name": "", "docker_compose_file": COMPOSE, "kms_enabled": false }), 409),
        (json!({ "name": "", "docker_compose_file": COMPOSE, "storage_fs": "ext4" }), 409),
    ] {
        let reply = world.post("/cvms/my-app/compose_file/provision", wrong.clone()).await;
        assert_eq!(reply.status.as_u16(), status, "{wrong}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_document_with_its_hash_skips_the_first_phase() {
    let world = running().await;
    let present = world.get("/cvms/my-app/compose_file").await.json();
    let mut file = present.clone();
    file["docker_compose_file"] = json!(COMPOSE.replace("1.36", "1.39"));
    file["env_pubkey"] = json!("ab".repeat(32));
    let mut bytes = file.clone();
    bytes.as_object_mut().unwrap().remove("env_pubkey");
    let right = hash(&bytes.to_string()).to_string();
    let wrong = json!({ "compose_file": file, "compose_hash": "11".repeat(32) });
    let refused = world.post("/cvms/my-app/compose_file", wrong).await.refused(400, "ERR-20-035");
    assert!(refused.to_string().contains(&right), "the env key never enters the hash: {refused}");
    let good = json!({ "compose_file": file, "compose_hash": right });
    let reply = world.post("/cvms/my-app/compose_file", good).await;
    settled(&world, reply, 202).await;
    assert_eq!(detail(&world).await["compose_hash"], right.as_str());
}

#[tokio::test]
async fn a_scheduled_deletion_really_deletes() {
    let world = running().await;
    let now = world.ctx.now();
    let at = now.plus(std::time::Duration::from_hours(1)).to_string();
    let path = "/scheduled-delete";
    let past = json!({ "scheduled_delete_at": now.to_string() });
    assert_eq!(patch(&world, path, past).await.status.as_u16(), 422);
    patch(&world, path, json!({ "scheduled_delete_at": at })).await.ok();
    let shown = world.call("GET", "/cvms/my-app", "2025-10-28", None).await.ok();
    assert!(shown["scheduled_delete_at"].is_string());
    patch(&world, path, json!({ "scheduled_delete_at": null })).await.ok();
    world.clock.advance_ms(3_600_001);
    world.settle().await;
    assert_eq!(detail(&world).await["status"], "running", "called off");
    let at = world.ctx.now().plus(std::time::Duration::from_mins(1)).to_string();
    patch(&world, path, json!({ "scheduled_delete_at": at })).await.ok();
    world.clock.advance_ms(59_000);
    world.settle().await;
    assert_eq!(detail(&world).await["status"], "running");
    world.clock.advance_ms(1_001);
    world.settle().await;
    assert_eq!(world.get("/cvms/my-app").await.status.as_u16(), 404);
    assert!(world.sim.host().vms().unwrap().is_empty());
}

#[tokio::test]
async fn addresses_wait_for_the_next_start_unless_a_restart_is_asked_for() {
    let world = running().await;
    let urls = json!({ "kms_urls": ["https://kms.example"], "gateway_urls": null });
    let reply = settled(&world, patch(&world, "/network-config", urls).await, 200).await;
    assert_eq!(reply["kms_urls"], json!(["https://kms.example"]));
    let told = || world.sim.host().vms().unwrap().remove(0).config.kms_urls.clone();
    assert!(told().is_empty(), "not yet");
    world.post("/cvms/my-app/restart", json!({})).await.ok();
    world.settle().await;
    assert_eq!(told(), ["https://kms.example"]);
    let now = json!({ "kms_urls": [], "restart": true });
    settled(&world, patch(&world, "/network-config", now).await, 200).await;
    assert!(told().is_empty());
}

#[tokio::test]
async fn host_ports_are_replaced_chosen_and_kept_apart() {
    let world = running().await;
    let put = async |name: &str, body: Value| {
        world.call("PUT", &format!("/cvms/{name}/ports"), "2026-01-21", Some(body)).await
    };
    let two = json!({ "ports": [{ "vm_port": 80 }, { "vm_port": 81, "host_port": 9000, "protocol": "udp" }] });
    let reply = settled(&world, put("my-app", two).await, 200).await;
    assert_eq!((&reply[0]["host_port"], &reply[1]["protocol"]), (&json!(20_000), &json!("udp")));
    let vm = world.sim.host().vms().unwrap().remove(0);
    assert_eq!(vm.config.ports.len(), 2);
    world.deploy("other-app").await;
    world.settle().await;
    let taken = json!({ "ports": [{ "vm_port": 1, "host_port": 9000, "protocol": "udp" }] });
    put("other-app", taken).await.refused(409, "ERR-20-015");
    let chosen = put("other-app", json!({ "ports": [{ "vm_port": 1 }] })).await.ok();
    assert_eq!(chosen[0]["host_port"], 20_001);
    world.settle().await;
    let filtered = json!({ "ports": [{ "vm_port": 1, "source_cidrs": ["10.0.0.0/8"] }] });
    let refused = put("my-app", filtered).await;
    assert!(refused.text.contains("source_cidrs"), "{}", refused.text);
    assert_eq!(put("my-app", json!({ "ports": [{}] })).await.status.as_u16(), 422);
    settled(&world, put("my-app", json!({ "ports": [] })).await, 200).await;
}

#[tokio::test]
async fn operations_tell_the_whole_story() {
    let world = running().await;
    patch(&world, "", json!({ "vcpu": 2 })).await.ok();
    patch(&world, "", json!({ "memory": 3000 })).await.ok();
    let third = patch(&world, "", json!({ "memory": 4000 })).await.ok();
    assert_eq!(third["queue_position"], 1);
    let status = world.get("/cvms/my-app/operation-status").await.ok();
    assert_eq!((&status["status"], &status["queued"]), (&json!("in_progress"), &json!(2)));
    let cancel = json!({ "correlation_id": third["correlation_id"] });
    let cancelled = world.post("/cvms/my-app/operations/cancel", cancel).await.ok();
    assert_eq!(cancelled["cancelled"], true);
    world.settle().await;
    assert_eq!(world.get("/cvms/my-app/operation-status").await.ok()["status"], "idle");
    assert_eq!(world.sim.host().vms().unwrap().remove(0).config.memory_mb, 3000);
    let first = world.get("/cvms/my-app/operations?limit=2").await.ok();
    assert_eq!(first["total"], 4);
    let states: Vec<&str> = first["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["cancelled", "succeeded"]);
    let steps = first["items"][1]["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["shutdown", "push", "start", "boot"]);
    assert!(steps.iter().all(|step| step["outcome"] == "done" && step["ended_at"].is_string()));
    let next = first["next_cursor"].as_str().unwrap();
    let second = world.get(&format!("/cvms/my-app/operations?limit=2&cursor={next}")).await.ok();
    assert_eq!(second["items"][1]["operation_type"], "create");
    assert_eq!(second["next_cursor"], Value::Null);
    let only = world.get("/cvms/my-app/operations?operation_types=create").await.ok();
    assert_eq!(only["total"], 1);
    for wrong in ["cursor=x", "limit=0", "operation_types=fly", "start_time=now"] {
        let reply = world.get(&format!("/cvms/my-app/operations?{wrong}")).await;
        assert_eq!(reply.status.as_u16(), 422, "{wrong}");
    }
    let none = world.post("/cvms/my-app/operations/cancel", json!({})).await.ok();
    assert_eq!(none["cancelled"], false);
    world.post("/cvms/my-app/restart", json!({})).await.ok();
    world.post("/cvms/my-app/operations/cancel", json!({})).await.refused(409, "ERR-20-036");
}

#[tokio::test]
async fn many_are_stopped_at_once() {
    let world = running().await;
    world.deploy("other-app").await;
    world.settle().await;
    let ids = json!({ "cvm_ids": ["my-app", "other-app", "nobody-here"] });
    let reply = world.post("/cvms/batch-stop", ids.clone()).await.ok();
    assert_eq!((&reply["stopped"], &reply["total"]), (&json!(2), &json!(3)));
    assert_eq!(reply["errors"][0]["cvm_id"], "nobody-here");
    world.settle().await;
    assert_eq!(detail(&world).await["status"], "stopped");
    let again = world.post("/cvms/batch-stop", ids).await.ok();
    assert_eq!((&again["stopped"], &again["skipped"]), (&json!(0), &json!(2)));
    let many: Vec<String> = (0..51).map(|number| format!("app-{number}")).collect();
    let refused = world.post("/cvms/batch-stop", json!({ "cvm_ids": many })).await;
    assert_eq!(refused.status.as_u16(), 400);
}

#[tokio::test]
async fn fifty_changes_at_once_lose_nothing() {
    let world = running().await;
    let sent = (0..50_u32).map(|index| {
        let body = json!({ "memory": 2100 + index });
        let world = &world;
        async move { patch(world, "", body).await.ok()["correlation_id"].clone() }
    });
    let ids = futures_util::future::join_all(sent).await;
    world.settle().await;
    let operations = world.get("/cvms/my-app/operations?limit=100").await.ok();
    let items = operations["items"].as_array().unwrap();
    assert_eq!(items.len(), 51);
    for id in &ids {
        let one = items.iter().find(|one| one["correlation_id"] == *id).unwrap();
        assert_eq!(one["state"], "succeeded");
    }
    // The newest of the list is what is in force.
    let last = ids.iter().position(|id| *id == items[0]["correlation_id"]).unwrap();
    let vm = world.sim.host().vms().unwrap().remove(0);
    assert_eq!(vm.config.memory_mb, 2100 + u32::try_from(last).unwrap());
}
