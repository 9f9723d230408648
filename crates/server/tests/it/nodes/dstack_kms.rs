//! Several KMS: the built-in one, and doubles of dstack-kms that hosts take their keys from.

use std::{sync::Arc, time::Duration};

use casemate_api::kms_type::KmsType;
use casemate_core::id::{Address, AppId, NodeId};
use casemate_dstack_double::KmsFault;
use casemate_engine::{kms::Kms as _, node::Node as _};
use casemate_server::app::fleet::{Governed, NodePolicy};
use casemate_testing::{fake_chain::FakeChain, wait::poll};
use serde_json::{Value, json};

use super::kms_stage::{Stage, sealed};

const CONTRACT: Address = Address::from_bytes([0x4b; 20]);
const OWNER: Address = Address::from_bytes([0x0a; 20]);

#[tokio::test]
async fn variables_are_sealed_to_the_kms_of_the_node_and_stay_with_it() {
    let stage = Stage::new().await;
    let wanted = json!({ "node_id": 2, "env_keys": ["G"] });
    let made = stage.provision("my-app", wanted.clone()).await.ok();
    assert_eq!(made["kms_id"], stage.id("kms-one"), "{made}");
    let app: AppId = made["app_id"].as_str().unwrap().parse().unwrap();
    let now = stage.world.ctx.now().unix_seconds();
    let own = stage.one.keys().env_public_key(&app, now).await.unwrap();
    assert_eq!(made["app_env_encrypt_pubkey"], own.public_key.to_string());
    let again = stage.provision("my-app", wanted).await.ok();
    assert_eq!((&again["app_id"], &again["nonce"]), (&made["app_id"], &made["nonce"]));

    let blob = sealed(&made["app_env_encrypt_pubkey"], "first");
    stage.commit(&made, json!({ "encrypted_env": blob, "env_keys": ["G"] })).await.ok();
    stage.world.settle().await;
    let vm = stage.vms(1).remove(0);
    assert_eq!(vm.config.kms_urls, ["https://kms-one.test"]);
    assert_eq!(stage.one.open(&vm).as_deref(), Some("G=first"));
    assert_eq!(stage.two.open(&vm), None, "another KMS does not open it");
    let detail = stage.world.get("/cvms/my-app").await.ok();
    assert_eq!((&detail["status"], &detail["kms_type"]), (&json!("running"), &json!("phala")));
    let flat = stage.world.call("GET", "/cvms/my-app", "2025-10-28", None).await.ok();
    assert_eq!(flat["kms_info"]["slug"], "kms-one", "{flat}");

    // A new environment and a replica: the same KMS.
    let blob = sealed(&flat["encrypted_env_pubkey"], "second");
    let change = json!({ "encrypted_env": blob, "env_keys": ["G"] });
    stage.world.call("PATCH", "/cvms/my-app/envs", "2026-01-21", Some(change)).await.ok();
    stage.world.settle().await;
    let vm = stage.vms(1).remove(0);
    assert_eq!(stage.one.open(&vm).as_deref(), Some("G=second"));
    assert_eq!(vm.config.kms_urls, ["https://kms-one.test"]);
    let cvm = detail["vm_uuid"].as_str().unwrap();
    let path = format!("/cvms/{cvm}/replicas");
    for elsewhere in [1, 3] {
        let refused = stage.world.post(&path, json!({ "node_id": elsewhere })).await;
        let refused = refused.refused(400, "ERR-02-011").to_string();
        assert!(refused.contains("takes keys from the KMS"), "{refused}");
        assert!(refused.contains("An app keeps its KMS"), "{refused}");
    }
    stage.world.post(&path, json!({})).await.ok();
    stage.world.settle().await;
    let vms = stage.vms(1);
    assert_eq!((vms.len(), stage.vms(0).len(), stage.vms(2).len()), (2, 0, 0));
    assert!(vms.iter().all(|vm| stage.one.open(vm).as_deref() == Some("G=second")));
}

#[tokio::test]
async fn keys_and_signatures_are_those_of_the_kms_under_each_of_its_names() {
    let stage = Stage::new().await;
    let made = stage.provision("my-app", json!({ "node_id": 3 })).await.ok();
    let app: AppId = made["app_id"].as_str().unwrap().parse().unwrap();
    let now = stage.world.ctx.now().unix_seconds();
    let key = stage.two.keys().env_public_key(&app, now).await.unwrap();
    // `phala` is what several are called: the app's own is meant.
    for name in ["kms-two", &stage.id("kms-two"), "phala"] {
        let reply = stage.world.get(&format!("/kms/{name}/pubkey/{app}")).await.ok();
        let expected = json!({
            "public_key": key.public_key.to_string(), "signature": hex::encode(key.signature),
        });
        assert_eq!(reply, expected, "{name}");
    }
    let path = format!("/kms/kms-two/pubkey/{app}/timestamped");
    let reply = stage.world.get(&path).await.ok();
    assert_eq!(reply["timestamp"], now);
    assert_eq!(reply["signature_v1"], hex::encode(key.signature_v1));
    let unknown = stage.world.get(&format!("/kms/phala/pubkey/{}", "ee".repeat(20))).await.ok();
    let nobody = AppId::from_bytes([0xee; 20]);
    let builtin = stage.world.kms.env_public_key(&nobody, now).await.unwrap();
    assert_eq!(unknown["public_key"], builtin.public_key.to_string(), "of no app: the default");

    let list = stage.world.call("GET", "/kms", "2026-05-22", None).await.ok();
    let slugs: Vec<_> = list["items"].as_array().unwrap().iter().map(|kms| &kms["slug"]).collect();
    assert_eq!(slugs, ["builtin", "kms-one", "kms-two"]);
    let one = stage.world.get("/kms/kms-one").await.ok();
    assert_eq!(one["url"], stage.one.url, "{one}");
    let nodes = stage.world.get("/teepods/available").await.ok();
    let ids = |at: usize| nodes["nodes"][at]["kms_list"].clone();
    assert_eq!(ids(0), json!(["kms_test"]), "{nodes}");
    assert_eq!(ids(1), json!([stage.id("kms-one")]));

    // A pair of app id and nonce belongs to the KMS that it was first provisioned with.
    let free = stage.world.get("/kms/phala/next_app_id?counts=1").await.ok()["app_ids"][0].clone();
    let pair =
        |node: u64| json!({ "node_id": node, "app_id": free["app_id"], "nonce": free["nonce"] });
    stage.provision("paired", pair(2)).await.ok();
    stage.provision("paired", pair(2)).await.ok();
    let refused = stage.provision("paired", pair(3)).await.refused(409, "ERR-03-007");
    assert!(refused.to_string().contains("has its keys from the KMS"), "{refused}");
}

#[tokio::test]
async fn placement_keeps_two_kms_apart_and_says_why() {
    let stage = Stage::new().await;
    for (kms, node) in [("kms-one", 2), ("kms-two", 3), ("builtin", 1)] {
        let made = stage.provision(&format!("by-{kms}"), json!({ "kms_id": kms })).await.ok();
        assert_eq!((&made["node_id"], &made["kms_id"]), (&json!(node), &json!(stage.id(kms))));
    }
    // What names no KMS, or a kind that all three are of, goes where there is room.
    for (name, more) in [("a", json!({})), ("b", json!({ "kms": "phala" }))] {
        for (at, sim) in [(1, "kms-one"), (2, "kms-two"), (3, "builtin")] {
            let made = stage.deploy(&format!("app-{name}-{at}"), more.clone()).await;
            assert!(made["teepod_id"].is_i64(), "{sim}: {made}");
        }
    }
    stage.world.settle().await;
    for at in 0..3 {
        assert_eq!(stage.vms(at).len(), 2, "the emptiest host each time");
    }
    let slugs = async |at: usize| {
        let name = stage.vms(at)[0].config.mark.to_string();
        let name = name.split('.').next().unwrap().to_owned();
        let flat = stage.world.call("GET", &format!("/cvms/{name}"), "2025-10-28", None).await;
        flat.ok()["kms_info"]["slug"].clone()
    };
    assert_eq!([slugs(0).await, slugs(1).await, slugs(2).await], ["builtin", "kms-one", "kms-two"]);

    let wrong = json!({ "node_id": 2, "kms_id": "kms-two" });
    let refused = stage.provision("wrong", wrong).await.refused(400, "ERR-02-011");
    let text = refused.to_string();
    assert!(text.contains("rack-1 takes keys from the KMS kms-one"), "{text}");
    assert!(text.contains("kms_id"), "{text}");
    let refused = stage.provision("wrong", json!({ "node_id": 1, "kms_id": "kms-one" })).await;
    let text = refused.refused(400, "ERR-02-011").to_string();
    assert!(text.contains("the KMS of this service (builtin)"), "{text}");

    // The node of a KMS that is not configured here takes nothing that needs keys.
    let node = stage.world.ctx.fleet.own_node(NodeId(2)).unwrap();
    node.set_policy(NodePolicy { kms: Some("gone".to_owned()), ..node.policy() });
    let refused = stage.provision("wrong", json!({ "node_id": 2 })).await;
    let text = refused.refused(400, "ERR-02-011").to_string();
    assert!(text.contains("the KMS gone, which is not configured here"), "{text}");
}

/// Variables that come with provision are sealed before the node is chosen.
#[tokio::test]
async fn variables_at_provision_are_for_the_kms_that_is_named_or_the_default() {
    let stage = Stage::new().await;
    for (kms, node) in [(None, 1), (Some("kms-two"), 3)] {
        let free = stage.world.get("/kms/phala/next_app_id?counts=1").await.ok();
        let free = free["app_ids"][0].clone();
        let app = free["app_id"].as_str().unwrap();
        let name = kms.unwrap_or("phala");
        let key = stage.world.get(&format!("/kms/{name}/pubkey/{app}")).await.ok();
        let mut more = json!({
            "app_id": app, "nonce": free["nonce"], "env_keys": ["G"],
            "encrypted_env": sealed(&key["public_key"], "early"),
        });
        if let Some(kms) = kms {
            more["kms_id"] = json!(kms);
        }
        let made = stage.provision(&format!("env-{node}"), more).await.ok();
        assert_eq!(made["node_id"], node, "{made}");
        stage.commit(&made, json!({})).await.ok();
    }
    stage.world.settle().await;
    assert_eq!(stage.two.open(&stage.vms(2)[0]).as_deref(), Some("G=early"));
    let early = json!({ "node_id": 2, "encrypted_env": "ab".repeat(60), "env_keys": ["G"] });
    let refused = stage.provision("unnamed", early).await.refused(400, "ERR-02-011");
    assert!(refused.to_string().contains("takes keys from the KMS kms-one"), "{refused}");
}

#[tokio::test]
async fn a_key_that_cannot_be_trusted_is_refused_and_a_kms_that_is_away_delays() {
    let stage = Stage::new().await;
    let wanted = json!({ "node_id": 2 });
    let cases = [
        (KmsFault::OtherKey, 502, "ERR-20-039", "is not pinned"),
        (KmsFault::OtherApp, 502, "ERR-20-039", "is not pinned"),
        (KmsFault::NoSignature, 502, "ERR-20-039", "is not a signature"),
        (KmsFault::ClockOff(-400), 502, "ERR-20-039", "before our time"),
        (KmsFault::Without("signature_v1".to_owned()), 502, "ERR-20-039", "has no signature_v1"),
        (KmsFault::TooLong, 502, "ERR-20-039", "longer than"),
        (KmsFault::Refuses("not today".to_owned()), 400, "ERR-02-011", "not today"),
        (KmsFault::Status(503), 503, "ERR-20-022", "cannot be reached"),
        (KmsFault::Status(500), 503, "ERR-20-022", "status 500"),
        (KmsFault::Hangs, 503, "ERR-20-022", "did not answer within 1 s"),
    ];
    for (fault, status, code, words) in cases {
        stage.one.double.set_faults(vec![fault.clone()]);
        let refused = stage.provision("my-app", wanted.clone()).await;
        assert_eq!(refused.headers.contains_key("retry-after"), status == 503, "{fault:?}");
        let refused = refused.refused(status, code).to_string();
        assert!(refused.contains(words) && refused.contains("kms-one"), "{fault:?}: {refused}");
        assert!(refused.contains("suggestions"), "{fault:?}: {refused}");
        let key = stage.world.get(&format!("/kms/kms-one/pubkey/{}", "ab".repeat(20))).await;
        key.refused(status, code);
    }
    // Other hosts are not concerned, and the same request works once the KMS is back.
    stage.deploy("elsewhere", json!({ "node_id": 3 })).await;
    stage.one.double.set_faults(Vec::new());
    stage.deploy("my-app", wanted).await;
    stage.world.settle().await;
    assert_eq!((stage.vms(1).len(), stage.vms(2).len()), (1, 1));
}

#[tokio::test]
async fn a_kms_that_hangs_holds_no_transaction() {
    let stage = Stage::with(|_| None, Duration::from_mins(10)).await;
    stage.one.double.set_faults(vec![KmsFault::Hangs]);
    let hangs = Box::pin(stage.provision("hangs", json!({ "node_id": 2 })));
    let others = async {
        let came =
            poll(Duration::from_mins(1), async || (stage.one.double.calls() > 0).then_some(()));
        assert!(came.await.is_some(), "the KMS was asked");
        // SQLite has one writer: these would wait for a transaction that is open.
        stage.deploy("on-one", json!({ "node_id": 1 })).await;
        stage.deploy("on-two", json!({ "node_id": 3 })).await;
    };
    tokio::select! {
        reply = hangs => panic!("it hangs: {}", reply.text),
        () = others => {}
    }
    stage.world.settle().await;
    assert_eq!((stage.vms(0).len(), stage.vms(2).len()), (1, 1));
}

/// Equal requests at once get one app id; others get each their own.
#[tokio::test]
async fn provisions_at_once_agree_on_the_app() {
    let stage = Stage::new().await;
    let wanted = || json!({ "node_id": 2 });
    let same = || stage.provision("same-app", wanted());
    let (a, b, c, d) = tokio::join!(same(), same(), same(), stage.provision("other", wanted()));
    let (a, b, c, d) = (a.ok(), b.ok(), c.ok(), d.ok());
    assert_eq!((&a["app_id"], &b["app_id"]), (&b["app_id"], &c["app_id"]));
    assert_ne!(a["app_id"], d["app_id"]);
    for made in [&a, &d] {
        let app: AppId = made["app_id"].as_str().unwrap().parse().unwrap();
        let key = stage.one.keys().env_public_key(&app, 0).await.unwrap().public_key;
        assert_eq!(made["app_env_encrypt_pubkey"], key.to_string());
    }
}

#[tokio::test]
async fn a_node_that_got_another_kms_refuses_what_was_prepared_for_the_first() {
    let stage = Stage::new().await;
    let made = stage.provision("my-app", json!({ "node_id": 2 })).await.ok();
    let node = stage.world.ctx.fleet.own_node(NodeId(2)).unwrap();
    node.set_policy(NodePolicy { kms: Some("kms-two".to_owned()), ..node.policy() });
    let refused = stage.commit(&made, json!({})).await.refused(400, "ERR-02-002").to_string();
    assert!(refused.contains("rack-1 takes keys from the KMS kms-two"), "{refused}");
    assert!(refused.contains("Provision again"), "{refused}");
    let again = stage.provision("my-app", json!({ "node_id": 2 })).await.ok();
    assert_eq!(again["kms_id"], stage.id("kms-two"));
    stage.commit(&again, json!({})).await.ok();
}

#[tokio::test]
async fn a_contract_may_govern_a_dstack_kms() {
    let chain = FakeChain::new(8453);
    chain.add_kms(CONTRACT);
    let governed = |slug: &str| {
        (slug == "kms-one").then(|| Governed {
            kind: KmsType::Base,
            contract: CONTRACT,
            gateway_app_id: Some("any".to_owned()),
            explorer: None,
            chain: Arc::new(chain.clone()),
        })
    };
    let stage = Stage::with(governed, Duration::from_secs(1)).await;
    let device = stage.world.sims[1].inventory().await.unwrap().device_id;
    for image in stage.world.sim.inventory().await.unwrap().images {
        let mut hash = [0; 32];
        hex::decode_to_slice(image.os_image_hash.unwrap(), &mut hash).unwrap();
        chain.allow_os_image(CONTRACT, hash, true);
    }
    // Unasked, nothing becomes an app of a contract; the node that is named decides, and so does the kind.
    for at in 0..3 {
        let made = stage.provision(&format!("plain-{at}"), json!({})).await.ok();
        assert_ne!(made["node_id"], 2, "{made}");
    }
    let made = stage.provision("my-app", json!({ "kms": "base", "env_keys": ["G"] })).await.ok();
    assert_eq!((&made["node_id"], &made["app_id"]), (&json!(2), &Value::Null), "{made}");
    let app = AppId::from_bytes([0x77; 20]);
    chain.add_app(CONTRACT, app, OWNER);
    chain.add_hash(app, made["compose_hash"].as_str().unwrap().parse().unwrap());
    chain.add_device(app, device);
    let key = stage.world.get(&format!("/kms/base/pubkey/0x{app}")).await;
    let key = key.ok();
    let blob = sealed(&key["public_key"], "on chain");
    let more = json!({ "app_id": format!("0x{app}"), "encrypted_env": blob, "env_keys": ["G"] });
    stage.one.double.set_faults(vec![KmsFault::Status(503)]);
    stage.commit(&made, more.clone()).await.refused(503, "ERR-20-022");
    stage.one.double.set_faults(vec![KmsFault::OtherKey]);
    stage.commit(&made, more.clone()).await.refused(502, "ERR-20-039");
    stage.one.double.set_faults(Vec::new());
    stage.commit(&made, more).await.ok();
    stage.world.settle().await;
    let vm = stage.vms(1).remove(0);
    assert_eq!(stage.one.open(&vm).as_deref(), Some("G=on chain"));
    let flat = stage.world.call("GET", "/cvms/my-app", "2025-10-28", None).await.ok();
    assert_eq!(flat["encrypted_env_pubkey"], key["public_key"], "{flat}");
    assert_eq!(flat["status"], "running", "{flat}");
}
