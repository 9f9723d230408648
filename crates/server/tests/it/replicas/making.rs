//! What a replica is, and is not.

use casemate_engine::node::{
    Capacity,
    sim::{Fault, FaultKind, Method, SimConfig},
};
use serde_json::{Value, json};

use crate::replicas::{
    SEALED,
    common::{COMPOSE, TestNode, World},
    deployed, detail, inside, replicate, uuid,
};

/// A value that is not the default for everything that is inherited.
fn everything() -> Value {
    json!({
        "vcpu": 2, "memory": 4096, "disk_size": 30, "hugepages": true, "pin_numa": true,
        "image": "dstack-0.5.4", "listed": false, "user_config": "{\"a\":1}",
        "encrypted_env": SEALED, "env_keys": ["G"],
        "kms_urls": ["https://kms.test:1"], "gateway_urls": ["https://gw.test:1"],
        "ports": [{ "host_port": 20001, "vm_port": 80 }],
        "gpus": { "gpus": [{ "slot": "0000:01:00.0" }] },
        "compose_file": {
            "docker_compose_file": COMPOSE, "name": "", "public_logs": false,
            "public_sysinfo": false, "public_tcbinfo": false, "secure_time": true,
            "pre_launch_script": "echo hello", "storage_fs": "ext4"
        }
    })
}

#[tokio::test]
async fn a_replica_is_the_same_but_for_what_is_its_own() {
    let other = TestNode { name: "sim-2", ..TestNode::sim() };
    let world = World::fleet(vec![TestNode::sim(), other], |_| {}).await;
    let mut fields = everything();
    fields["node_id"] = json!(1);
    let source = deployed(&world, fields).await;
    let timeouts = json!({ "shutdown_timeout": 77, "allow_force_stop": false });
    let patched = world.call("PATCH", "/cvms/my-app", "", Some(timeouts)).await.ok();
    assert_eq!(patched["effect"], "record", "{patched}");
    world.settle().await;

    // Two have the same host port, so it goes elsewhere.
    let reply = replicate(&world, "my-app", Value::Null).await;
    assert!(reply["id"].is_u64() && reply["id"] != source["id"], "{reply}");
    assert_eq!((&reply["status"], &reply["name"]), (&json!("starting"), &json!("my-app-2")));
    let (of, replica) = (detail(&world, uuid(&source)).await, detail(&world, uuid(&reply)).await);
    assert_eq!(replica["status"], "running");
    for own in ["id", "name", "vm_uuid", "instance_id", "created_at"] {
        assert_ne!(replica[own], of[own], "{own}");
    }
    for same in [
        "app_id",
        "compose_hash",
        "compose_file",
        "resource",
        "os",
        "kms_info",
        "listed",
        "public_logs",
        "public_sysinfo",
        "public_tcbinfo",
        "gateway_enabled",
        "secure_time",
        "storage_fs",
        "workspace",
    ] {
        assert_eq!(replica[same], of[same], "{same}");
    }
    let ((a, a_spec), (b, mut b_spec)) =
        (inside(&world, uuid(&source)).await, inside(&world, uuid(&reply)).await);
    assert_eq!(a.sealed_env.as_ref().unwrap().to_string(), SEALED);
    let mut same = b.clone();
    same.mark = a.mark.clone();
    assert_eq!(same, a, "the node is told the same");
    assert!(b.mark.to_string().starts_with("my-app-2."));
    assert_eq!((b_spec.revision, &b_spec.name[..]), (1, "my-app-2"));
    assert_eq!((b_spec.shutdown_timeout_s, b_spec.allow_force_stop), (77, false));
    b_spec.name.clone_from(&a_spec.name);
    b_spec.revision = a_spec.revision;
    assert_eq!(b_spec, a_spec, "and so is the record");

    // From then on each is a machine of its own.
    world.post("/cvms/my-app-2/stop", json!({})).await.ok();
    world.settle().await;
    assert_eq!(detail(&world, "my-app-2").await["status"], "stopped");
    assert_eq!(detail(&world, "my-app").await["status"], "running");
    assert_eq!(world.call("DELETE", "/cvms/my-app", "", None).await.status, 204);
    world.settle().await;
    assert_eq!(detail(&world, "my-app-2").await["status"], "stopped");
}

#[tokio::test]
async fn every_form_of_an_empty_body_is_a_replica() {
    let world = World::new().await;
    let source = deployed(&world, json!({ "listed": true })).await;
    let path = format!("/cvms/{}/replicas", uuid(&source));
    for (body, name) in [
        (None, "my-app-2"),
        (Some(json!(null)), "my-app-3"),
        (Some(json!({})), "my-app-4"),
        (
            Some(
                json!({ "node_id": null, "teepod_id": null, "encrypted_env": null, "compose_hash": null, "os_image": null, "name": null }),
            ),
            "my-app-5",
        ),
        (Some(json!({ "encrypted_env": "", "compose_hash": "", "name": "" })), "my-app-6"),
    ] {
        let reply = world.call("POST", &path, "2026-01-21", body).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json()["name"], name);
    }
}

#[tokio::test]
async fn replies_are_those_of_a_commit_in_every_version() {
    let world = World::new().await;
    let source = deployed(&world, json!({})).await;
    let app = source["app_id"].as_str().unwrap().to_owned();
    for (version, text_ids) in
        [("2025-10-28", false), ("2026-01-21", false), ("2026-05-22", true), ("2026-06-23", true)]
    {
        let other = world.provision(&format!("other-app-{}", version.replace('-', ""))).await;
        let commit = json!({ "app_id": other["app_id"], "compose_hash": other["compose_hash"] });
        let committed = world.call("POST", "/cvms", version, Some(commit)).await.ok();
        let keys =
            |reply: &Value| -> Vec<String> { reply.as_object().unwrap().keys().cloned().collect() };
        for path in [
            format!("/cvms/{}/replicas", uuid(&source)),
            format!("/apps/{app}/cvms/{}/replicas", uuid(&source)),
        ] {
            let made = world.call("POST", &path, version, None).await.ok();
            assert_eq!(keys(&made), keys(&committed), "{version}");
            assert_eq!(made["id"].is_string(), text_ids, "{version}: {made}");
            assert_eq!(made["docker_compose_file"], committed["docker_compose_file"]);
        }
        let made =
            world.call("POST", &format!("/apps/{app}/instances"), version, Some(json!({}))).await;
        assert_eq!(made.status, 200);
        let made = made.json();
        assert_eq!(made["id"].is_string(), text_ids, "{version}: {made}");
        assert_eq!(made["resource"].is_object(), text_ids, "nested: {version}: {made}");
    }
}

#[tokio::test]
async fn names_take_the_least_free_number_and_are_cut_to_fit() {
    let world = World::new().await;
    deployed(&world, json!({})).await;
    for name in ["my-app-2", "my-app-3", "my-app-4"] {
        assert_eq!(replicate(&world, "my-app", json!({})).await["name"], name);
    }
    world.call("DELETE", "/cvms/my-app-3", "", None).await;
    let again = world.post("/cvms/my-app/replicas", json!({})).await.ok();
    assert_eq!(again["name"], "my-app-3", "free as soon as its deletion is desired");
    let own = replicate(&world, "my-app", json!({ "name": "second-name" })).await;
    assert_eq!(own["name"], "second-name");
    assert_eq!(replicate(&world, "second-name", json!({})).await["name"], "second-name-2");

    let long = format!("{}-b", "a".repeat(61));
    replicate(&world, "my-app", json!({ "name": long })).await;
    let cut = replicate(&world, &long, json!({})).await;
    assert_eq!(cut["name"], format!("{}-2", "a".repeat(61)));
}

#[tokio::test]
async fn more_numbers_in_use_than_are_looked_up_at_once_are_passed_over() {
    let capacity = Capacity { slots: 1000, vcpu: 1000, memory_mb: 4 << 20, disk_gb: 1 << 20 };
    let host = SimConfig { capacity, ..SimConfig::fast() };
    let world = World::fleet(vec![TestNode { host, ..TestNode::sim() }], |_| {}).await;
    deployed(&world, json!({})).await;
    for n in 2..=101 {
        let named = json!({ "name": format!("my-app-{n}") });
        world.post("/cvms/my-app/replicas", named).await.ok();
    }
    let next = world.post("/cvms/my-app/replicas", json!({})).await.ok();
    assert_eq!(next["name"], "my-app-102");
}

#[tokio::test]
async fn an_instance_may_run_another_compose_file() {
    let world = World::new().await;
    let source = deployed(&world, json!({ "encrypted_env": SEALED })).await;
    let app = source["app_id"].as_str().unwrap();
    let file = format!("{COMPOSE}# another\n");
    let body = json!({ "docker_compose_file": file, "pre_launch_script": "echo hi" });
    for path in
        [format!("/apps/{app}/instances"), format!("/apps/APP_{}/instances", app.to_uppercase())]
    {
        let made = world.post(&path, body.clone()).await.ok();
        world.settle().await;
        let got = detail(&world, uuid(&made)).await;
        assert_eq!(got["status"], "running");
        assert_eq!(got["compose_file"]["docker_compose_file"], file.as_str());
        assert_eq!(got["compose_file"]["pre_launch_script"], "echo hi");
        assert_ne!(got["compose_hash"], detail(&world, "my-app").await["compose_hash"]);
        let (vm, _) = inside(&world, uuid(&made)).await;
        assert_eq!(vm.sealed_env.unwrap().to_string(), SEALED, "inherited");
    }
    let bare = json!({ "pre_launch_script": "", "compose_hash": null });
    let made = world.post(&format!("/apps/0x{app}/instances"), bare).await.ok();
    let script = world.get(&format!("/cvms/{}/pre-launch-script", uuid(&made))).await;
    assert_eq!(script.text, "", "the newest is the template, and an empty script is none");
}

#[tokio::test]
async fn a_replica_has_an_instance_id_of_its_own_whatever_became_of_its_sources() {
    for node in [TestNode::docker(), TestNode::sim()] {
        let world = World::fleet(vec![node], |_| {}).await;
        deployed(&world, json!({})).await;
        let refresh = json!({ "overwrite": true, "allow_data_loss": true });
        let another = world.call("PATCH", "/cvms/my-app/instance-id", "", Some(refresh)).await;
        another.ok();
        world.settle().await;
        let made = replicate(&world, "my-app", json!({})).await;
        let (of, replica) = (detail(&world, "my-app").await, detail(&world, uuid(&made)).await);
        assert_eq!((&of["status"], &replica["status"]), (&json!("running"), &json!("running")));
        assert!(of["instance_id"].is_string() && replica["instance_id"].is_string(), "{replica}");
        assert_ne!(replica["instance_id"], of["instance_id"]);
        assert_eq!(world.sim.host().vms().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_failed_create_of_a_replica_leaves_the_source_alone() {
    let world = World::new().await;
    deployed(&world, json!({})).await;
    let refuse = Fault::new(FaultKind::Refuse).on(Method::Create);
    world.sim.host().set_faults(vec![refuse]).unwrap();
    replicate(&world, "my-app", json!({})).await;
    assert_eq!(detail(&world, "my-app-2").await["status"], "error");
    assert_eq!(detail(&world, "my-app").await["status"], "running");
}
