//! What guests tell of themselves: containers, system, network.

use casemate_engine::node::sim::{Fault, FaultKind, Faults, Method};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::common::World;

const PARTS: [&str; 3] = ["stats", "network", "composition"];

async fn running(world: &World) -> String {
    let made = world.deploy("alpha").await;
    world.settle().await;
    made["vm_uuid"].as_str().unwrap().replace('-', "")
}

fn questions(world: &World) -> usize {
    let calls = world.sim.host().calls().unwrap();
    calls.iter().filter(|call| call.method == Method::GuestFacts).count()
}

#[tokio::test]
async fn a_running_guest_tells_its_size_its_containers_and_its_urls() {
    let world = World::new().await;
    let cvm = running(&world).await;
    let detail = world.get(&format!("/cvms/{cvm}")).await.ok();

    let stats = world.get(&format!("/cvms/{cvm}/stats")).await.ok();
    assert_eq!((&stats["is_online"], &stats["error"]), (&json!(true), &Value::Null), "{stats}");
    assert_eq!(stats["status"], "running");
    assert_eq!(stats["sysinfo"]["num_cpus"], detail["resource"]["vcpu"], "{stats}");
    let memory = stats["sysinfo"]["total_memory"].as_u64().unwrap();
    let configured = detail["resource"]["memory_in_gb"].to_string();
    assert_eq!(configured.trim_end_matches(".0"), (memory >> 30).to_string());
    assert_eq!(stats["sysinfo"]["disks"][0]["mount_point"], "/");

    let network = world.get(&format!("/cvms/{cvm}/network")).await.ok();
    assert_eq!(network["public_urls"], detail["endpoints"], "{network}");
    assert_ne!(network["public_urls"], json!([]));

    let composition = world.get(&format!("/cvms/{cvm}/composition")).await.ok();
    let containers = composition["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    assert_eq!(containers[0]["names"], json!(["/dstack-web-1"]));
    assert_eq!(
        (&containers[0]["image"], &containers[0]["state"]),
        (&json!("busybox:1.36"), &json!("running"))
    );
    assert_eq!(composition["docker_compose_file"], crate::common::COMPOSE);
}

#[tokio::test]
async fn a_cvm_that_is_down_is_offline_and_nobody_is_asked() {
    let world = World::new().await;
    let cvm = running(&world).await;
    world.post(&format!("/cvms/{cvm}/stop"), json!({})).await.ok();
    world.settle().await;
    for part in PARTS {
        let told = world.get(&format!("/cvms/{cvm}/{part}")).await.ok();
        assert_eq!((&told["is_online"], &told["error"]), (&json!(false), &Value::Null), "{told}");
        for empty in ["sysinfo", "public_urls", "containers", "internal_ip"] {
            assert!(told[empty].is_null(), "{told}");
        }
    }
    assert_eq!(questions(&world), 0);
    for part in PARTS {
        world.get(&format!("/cvms/no-such-cvm/{part}")).await.refused(404, "ERR-03-001");
    }
}

#[tokio::test]
async fn a_guest_that_does_not_answer_is_offline_with_the_reason() {
    let world = World::new().await;
    let cvm = running(&world).await;
    let fault =
        Fault { method: Some(Method::GuestFacts), count: None, ..Fault::new(FaultKind::Refuse) };
    world.sim.host().set_faults(Faults { faults: vec![fault], ..Faults::default() }).unwrap();
    for part in PARTS {
        let told = world.get(&format!("/cvms/{cvm}/{part}")).await.ok();
        assert_eq!(told["is_online"], false);
        assert_eq!(told["error"], "simulated fault", "{told}");
    }
}

#[tokio::test]
async fn many_who_ask_at_once_cost_the_node_one_call() {
    let world = World::new().await;
    let cvm = running(&world).await;
    let path = format!("/cvms/{cvm}/stats");
    let told = join_all((0..50).map(|_| world.get(&path))).await;
    assert!(told.into_iter().all(|reply| reply.ok()["is_online"] == true));
    assert_eq!(questions(&world), 1);
}
