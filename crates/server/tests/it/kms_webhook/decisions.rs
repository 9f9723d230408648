//! Who gets keys.

use axum::{body::Body, http::StatusCode};
use casemate_core::id::CvmId;
use casemate_engine::node::sim::SimConfig;
use casemate_server::config::{Check, Config};
use serde_json::{Value, json};

use super::stage::{Stage, TOKEN, with};
use crate::common::{COMPOSE, TestNode, World};

#[tokio::test]
async fn keys_are_for_exactly_what_was_deployed() {
    let stage = Stage::new().await;
    stage.world.deploy("my-shop").await;
    let boot = stage.boot("my-shop").await;
    assert_eq!(stage.app(&boot).await, Ok(()), "from the commit on, before it was created");
    stage.world.settle().await;
    assert_eq!(stage.app(&boot).await, Ok(()));
    for (field, value, reason) in [
        ("appId", json!("44".repeat(20)), "app not known"),
        ("composeHash", json!("55".repeat(32)), "compose hash not allowed"),
        ("deviceId", json!("66".repeat(32)), "device not allowed"),
        ("osImageHash", json!("77".repeat(32)), "OS image not allowed"),
        ("osImageHash", json!(""), "OS image not allowed"),
        ("tcbStatus", json!("OutOfDate"), "TCB status not allowed: OutOfDate"),
        ("advisoryIds", json!(["INTEL-SA-00837"]), "advisory not allowed: INTEL-SA-00837"),
        ("rootEpoch", json!(1), "epoch not allowed: rootEpoch is 1"),
        ("appId", json!("44"), "the request of the KMS cannot be read: appId"),
    ] {
        let told = stage.app(&with(&boot, field, value)).await.unwrap_err();
        assert!(told.starts_with(reason), "{field}: {told}");
    }
    // The simulated host has no TEE, so nothing vouches for its platform.
    assert_eq!(stage.app(&with(&boot, "tcbStatus", "")).await, Ok(()));
}

/// Only a dstack-kms asks here. A boot in the name of an app whose keys are in this service comes from another KMS.
#[tokio::test]
async fn a_cvm_of_the_built_in_kms_gets_no_keys_of_another_one() {
    let stage = Stage::before(World::new().await);
    stage.world.deploy("my-shop").await;
    stage.world.settle().await;
    let told = stage.app(&stage.boot("my-shop").await).await.unwrap_err();
    assert!(told.starts_with("app of another KMS"), "{told}");
    let events = stage.events(CvmId(1), "cvm.keys").await;
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((&event["allowed"], &event["code"]), (&json!(false), &json!("other_kms")));
}

#[tokio::test]
async fn bodies_of_every_version_are_understood() {
    let stage = Stage::with(|config| {
        config.kms_webhook.epochs = [("appEpoch".to_owned(), [0, 1].into())].into();
    })
    .await;
    stage.world.deploy("my-shop").await;
    stage.world.settle().await;
    let boot = stage.boot("my-shop").await;
    // The least that any webhook of dstack accepts.
    let mut oldest = boot.clone();
    for field in ["teeVariant", "tcbStatus", "advisoryIds", "mrSystem", "keyProviderInfo"] {
        oldest.as_object_mut().unwrap().remove(field);
    }
    let text = |field: &str| boot[field].as_str().unwrap().to_owned();
    for field in ["appId", "composeHash", "deviceId"] {
        oldest = with(&oldest, field, format!("0x{}", text(field).to_uppercase()));
    }
    assert_eq!(stage.app(&oldest).await, Ok(()));
    // 0.6.4: epochs, and 0.6.5: the hash of a launch ticket.
    let newer = with(&with(&boot, "rootEpoch", 0), "appEpoch", 1);
    assert_eq!(stage.app(&newer).await, Ok(()));
    assert_eq!(stage.app(&with(&newer, "launchTicketHash", "ab".repeat(32))).await, Ok(()));
    assert_eq!(stage.app(&with(&newer, "launchTicketHash", Value::Null)).await, Ok(()));
    let told = stage.app(&with(&newer, "appEpoch", 2)).await.unwrap_err();
    assert!(told.contains("kms_webhook.epochs"), "{told}");
    // Later: fields that nobody knows yet.
    let unknown = json!({ "region": "eu", "weights": [1, 2] });
    assert_eq!(stage.app(&with(&boot, "somethingNew", unknown.clone())).await, Ok(()));
    let events = stage.events(CvmId(1), "cvm.keys").await;
    assert_eq!(events.last().unwrap()["other"], json!({ "somethingNew": unknown }));
    let long = with(&boot, "somethingNew", "x".repeat(9000));
    assert_eq!(stage.app(&long).await, Ok(()));
    let events = stage.events(CvmId(1), "cvm.keys").await;
    let last = events.last().unwrap();
    assert!(last.get("other").is_none() && last["body_sha256"].as_str().unwrap().len() == 64);
}

#[tokio::test]
async fn a_required_ticket_must_come() {
    let stage = Stage::with(|config| {
        config.kms_webhook.launch_ticket_hashes = vec!["ab".repeat(32)];
    })
    .await;
    stage.world.deploy("my-shop").await;
    let boot = stage.boot("my-shop").await;
    let told = stage.app(&boot).await.unwrap_err();
    assert!(told.starts_with("launch ticket missing"), "{told}");
    let told = stage.app(&with(&boot, "launchTicketHash", "cd".repeat(32))).await.unwrap_err();
    assert!(told.starts_with("launch ticket not allowed"), "{told}");
    assert_eq!(stage.app(&with(&boot, "launchTicketHash", "AB".repeat(32))).await, Ok(()));
}

#[tokio::test]
async fn a_stop_and_a_deletion_count_at_once() {
    let stage = Stage::new().await;
    stage.world.deploy("my-shop").await;
    stage.world.settle().await;
    let boot = stage.boot("my-shop").await;
    assert_eq!(stage.app(&boot).await, Ok(()));
    stage.world.post("/cvms/my-shop/stop", json!({})).await.ok();
    let told = stage.app(&boot).await.unwrap_err();
    assert!(told.starts_with("CVM not to run"), "{told}");
    stage.world.settle().await;
    stage.world.post("/cvms/my-shop/start", json!({})).await.ok();
    assert_eq!(stage.app(&boot).await, Ok(()), "from the acknowledged start on");
    stage.world.settle().await;
    stage.world.call("DELETE", "/cvms/my-shop", "2026-01-21", None).await.ok();
    let told = stage.app(&boot).await.unwrap_err();
    assert!(told.starts_with("CVM not to run"), "{told}");
    stage.world.settle().await;
    let told = stage.app(&boot).await.unwrap_err();
    assert!(told.starts_with("app not known"), "{told}");
}

#[tokio::test]
async fn an_update_counts_at_once_and_what_the_node_has_boots_until_it_is_replaced() {
    let stage = Stage::new().await;
    stage.world.deploy("my-shop").await;
    stage.world.settle().await;
    let old = stage.boot("my-shop").await;
    let patch = json!({ "docker_compose_file": COMPOSE.replace("1.36", "1.37") });
    stage.world.call("PATCH", "/cvms/my-shop", "2026-01-21", Some(patch)).await.ok();
    let new = stage.boot("my-shop").await;
    assert_ne!(old["composeHash"], new["composeHash"]);
    assert_eq!(stage.app(&new).await, Ok(()), "acknowledged");
    assert_eq!(stage.app(&old).await, Ok(()), "its guest still runs, and may reboot");
    stage.world.settle().await;
    assert_eq!(stage.app(&new).await, Ok(()));
    let told = stage.app(&old).await.unwrap_err();
    assert!(told.starts_with("compose hash not allowed"), "{told}");
}

#[tokio::test]
async fn what_is_not_known_of_a_node_denies_unless_the_operator_says_otherwise() {
    let unknown = || {
        let mut host = SimConfig::fast();
        for image in &mut host.images {
            image.os_image_hash = None;
        }
        vec![TestNode { host, ..TestNode::sim() }]
    };
    let with_node = async |change: fn(&mut Config)| {
        let stage = Stage::of(World::fleet(unknown(), change).await).await;
        stage.world.deploy("my-shop").await;
        stage
    };
    let known = "22".repeat(32);
    let boot =
        async |stage: &Stage| with(&stage.boot("my-shop").await, "osImageHash", known.clone());
    let stage = with_node(|_| {}).await;
    let told = stage.app(&boot(&stage).await).await.unwrap_err();
    assert!(told.starts_with("OS image unknown") && told.contains(&known), "{told}");

    let any = with_node(|config| {
        config.kms_webhook.os_image = Check::Any;
    })
    .await;
    assert_eq!(any.app(&boot(&any).await).await, Ok(()));

    let listed = with_node(|config| {
        let image = |name: &str| (name.to_owned(), vec!["22".repeat(32)]);
        config.kms_webhook.os_images =
            ["dstack-0.5.4", "dstack-0.5.5", "dstack-dev-0.5.4", "dstack-dev-0.5.5"]
                .map(image)
                .into();
    })
    .await;
    let boot = boot(&listed).await;
    assert_eq!(listed.app(&boot).await, Ok(()));
    let told = listed.app(&with(&boot, "osImageHash", "23".repeat(32))).await.unwrap_err();
    assert!(told.starts_with("OS image not allowed"), "{told}");
}

#[tokio::test]
async fn no_kms_is_trusted_that_the_operator_did_not_name() {
    let stage = Stage::new().await;
    stage.world.deploy("my-shop").await;
    let kms = with(&stage.boot("my-shop").await, "appId", "00".repeat(20));
    let (allowed, reason) = stage.ask("/bootAuth/kms", &kms).await;
    assert!(!allowed && reason.starts_with("KMS not allowed"), "{reason}");

    let device = kms["deviceId"].as_str().unwrap().to_owned();
    let stage = Stage::with(|config| {
        config.kms_webhook.kms.mr_aggregated = vec!["11".repeat(32)];
        config.kms_webhook.kms.devices = vec![device];
        config.kms_webhook.kms.os_images = vec!["any".to_owned()];
    })
    .await;
    assert_eq!(stage.ask("/bootAuth/kms", &kms).await, (true, String::new()));
    for (field, value, reason) in [
        ("mrAggregated", json!("12".repeat(32)), "KMS not allowed"),
        ("deviceId", json!("12".repeat(32)), "KMS device not allowed"),
        ("tcbStatus", json!(""), "TCB status not allowed"),
    ] {
        let (allowed, told) = stage.ask("/bootAuth/kms", &with(&kms, field, value)).await;
        assert!(!allowed && told.starts_with(reason), "{told}");
    }
    let told = stage.app(&kms).await.unwrap_err();
    assert!(told.starts_with("app not known"), "a KMS is no app: {told}");
}

#[tokio::test]
async fn a_kms_learns_what_it_needs_to_start() {
    let stage = Stage::with(|config| config.kms_webhook.gateway_app_id = "ab".repeat(20)).await;
    let (status, text) = stage.send("GET", "/", TOKEN, Body::empty()).await;
    assert_eq!(status, StatusCode::OK);
    let info: Value = serde_json::from_str(&text).unwrap();
    for field in ["status", "kmsContractAddr", "gatewayAppId", "appImplementation"] {
        assert!(info[field].is_string(), "{field}: {text}");
    }
    assert_eq!((&info["chainId"], &info["gatewayAppId"]), (&json!(0), &json!("ab".repeat(20))));
}

#[tokio::test]
async fn without_the_token_nothing_is_told_or_recorded() {
    let stage = Stage::new().await;
    stage.world.deploy("my-shop").await;
    let boot = stage.boot("my-shop").await;
    for (method, path) in
        [("GET", "/"), ("POST", "/bootAuth/app"), ("POST", "/bootAuth/kms"), ("GET", "/totals")]
    {
        let body = Body::from(boot.to_string());
        let (status, text) = stage.send(method, path, &"x".repeat(32), body).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(!text.contains("gatewayAppId"), "{text}");
    }
    assert_eq!(stage.events(CvmId(1), "cvm.keys").await, Vec::<Value>::new());
    assert_eq!(stage.totals().await, json!([]));
}

#[tokio::test]
async fn without_the_database_nobody_gets_keys() {
    let stage = Stage::new().await;
    stage.world.deploy("my-shop").await;
    let boot = stage.boot("my-shop").await;
    assert_eq!(stage.app(&boot).await, Ok(()));
    stage.world.ctx.db.close().await;
    let told = stage.app(&boot).await.unwrap_err();
    assert!(told.starts_with("no decision: the database"), "{told}");
    let (allowed, told) = stage.ask("/bootAuth/kms", &boot).await;
    assert!(!allowed && told.starts_with("no decision: the database"), "not recorded: {told}");
    let (status, _) = stage.send("GET", "/", TOKEN, Body::empty()).await;
    assert_eq!(status, StatusCode::OK, "the KMS itself goes on");
}

#[tokio::test]
async fn what_is_no_question_is_denied_in_the_form_that_a_kms_reads() {
    let stage = Stage::new().await;
    for body in ["", "no JSON", "[]", "{}"] {
        let (allowed, told) = stage.ask_raw("/bootAuth/app", Body::from(body)).await;
        assert!(!allowed && told.contains("cannot be read"), "{body}: {told}");
    }
    let long = Body::from("x".repeat(100_000));
    let (allowed, told) = stage.ask_raw("/bootAuth/app", long).await;
    assert!(!allowed && told.contains("too long"), "{told}");
}
