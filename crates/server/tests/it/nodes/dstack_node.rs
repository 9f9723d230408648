//! A dstack node over sockets, with its dstack-kms.

use std::{sync::Arc, time::Duration};

use casemate_dstack_double::{Host, KmsFault, Profile, router};
use casemate_engine::node::sim::{SimConfig, SimNode};
use casemate_server::{app::fleet::Fleet, config::NodeChoice, nodes::kms_watch, work::driver};
use casemate_testing::wait::poll;
use serde_json::{Value, json};

use super::{
    kms_stage::{Kms, body, merge, sealed, serve},
    registry::{Process, asked, over},
};
use crate::common::World;

/// The whole way over sockets: dstack-vmm and dstack-kms, a node that an operator adds, variables in the VM.
#[tokio::test]
async fn a_dstack_node_with_a_kms_takes_variables_and_one_without_refuses_them() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    let kms = Kms::listening(&world, "rack-kms", 3).await;
    let mut config = (*world.ctx.config).clone();
    config.data_dir = dir.path().to_owned();
    config.node = vec![NodeChoice::None];
    config.work.watch_nodes_s = 1;
    let fleet = Fleet::new([].into(), world.ctx.fleet.kms.clone())
        .with_dstack_kms(vec![kms.of_fleet(None, Duration::from_secs(5))]);
    let mut process = Process::with_fleet(&world, "here", Arc::new(config), fleet);
    let ctx = process.ctx.clone();
    let sims = SimConfig::fast();
    let sim = SimNode::in_memory(sims.clone(), world.clock.clone(), ctx.entropy.clone());
    let host = Arc::new(Host::new(Profile::newest(), sim, sims.images, None));
    let vmm = serve(router(host.clone())).await;
    let node = |name: &str, more: Value| {
        let mut access = json!({ "url": vmm, "tee": "tdx" });
        merge(&mut access, more);
        json!({ "name": name, "kind": "dstack", "dstack": access, "limits": { "disk_gb": 500 } })
    };
    let nowhere = node("rack-0", json!({ "kms": "nowhere" }));
    let (status, refused) = asked(&world, &ctx, "POST", "/admin/nodes", nowhere).await;
    assert_eq!(status, 422, "{refused}");
    assert!(refused.to_string().contains("There are rack-kms"), "{refused}");
    for (name, more) in [("bare", json!({})), ("rack-1", json!({ "kms": "rack-kms" }))] {
        over(&world, &ctx, "POST", "/admin/nodes", node(name, more)).await;
        process.registry.sync().await.unwrap();
        process.until(name, true).await;
    }
    let shown = over(&world, &ctx, "GET", "/admin/nodes/rack-1", Value::Null).await;
    assert_eq!(shown["dstack"]["kms"], "rack-kms");

    let there = world.at(ctx.clone());
    let on = |node: &str| {
        let found = ctx.fleet.all().into_iter().find(|known| known.name == node).unwrap();
        json!({ "node_id": found.id.0, "env_keys": ["G"] })
    };
    let refused = there.post("/cvms/provision", body("my-app", on("bare"))).await;
    let refused = refused.refused(400, "ERR-20-006").to_string();
    assert!(refused.contains("does not know the KMS"), "{refused}");
    let made = there.post("/cvms/provision", body("my-app", on("rack-1"))).await.ok();
    let blob = sealed(&made["app_env_encrypt_pubkey"], "over sockets");
    let commit = json!({
        "app_id": made["app_id"], "compose_hash": made["compose_hash"],
        "encrypted_env": blob, "env_keys": ["G"],
    });
    there.post("/cvms", commit).await.ok();
    let running = poll(Duration::from_mins(2), async || {
        driver::settle_now(&ctx, "here").await;
        world.clock.advance_ms(100);
        let cvm = there.get("/cvms/my-app").await.ok();
        (cvm["status"] == "running").then_some(())
    });
    assert!(running.await.is_some(), "{}", there.get("/cvms/my-app").await.text);
    let vm = host.vms().unwrap().remove(0);
    assert_eq!(kms.open(&vm).as_deref(), Some("G=over sockets"));
    assert_eq!(vm.config.kms_urls, ["https://rack-kms.test"]);

    // What the operator sees of the KMS, before and after its watch has looked.
    let listed = async || {
        let list = over(&world, &ctx, "GET", "/admin/kms", Value::Null).await;
        list["kms"][1].clone()
    };
    let before = listed().await;
    assert_eq!((&before["slug"], &before["reachable"]), (&json!("rack-kms"), &json!(false)));
    let known = ctx.fleet.all_kms().find(|kms| kms.slug == "rack-kms").unwrap();
    let remote = known.remote.as_ref().unwrap();
    kms_watch::look(&ctx, known, remote).await;
    let seen = listed().await;
    assert_eq!((&seen["reachable"], &seen["looks"]), (&json!(true), &json!(1)), "{seen}");
    assert_eq!(seen["nodes"], json!(["rack-1"]));
    let info = there.get("/kms/rack-kms/info").await.ok();
    assert_eq!(info["rpc"]["is_dev"], false, "{info}");
    assert_eq!(info["rpc"]["bootstrap_info"]["k256_pubkey"], kms.double.k256_public_key());
    kms.double.set_faults(vec![KmsFault::OtherKey]);
    kms_watch::look(&ctx, known, remote).await;
    let seen = listed().await;
    assert_eq!(seen["reachable"], false);
    assert!(seen["cause"].as_str().unwrap().contains("is not pinned"), "{seen}");
    assert!(seen["silent_since"].is_string(), "{seen}");
    kms.double.set_faults(vec![KmsFault::NoWebhook]);
    kms_watch::look(&ctx, known, remote).await;
    let seen = listed().await;
    assert_eq!((&seen["reachable"], &seen["cause"]), (&json!(true), &Value::Null));
    assert!(seen["note"].as_str().unwrap().contains("auth api"), "{seen}");
}
