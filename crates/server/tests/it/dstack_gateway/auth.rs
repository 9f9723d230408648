//! Which guests the clusters may accept: the listener behind a socket, asked as the gateway asks it.

use std::time::Duration;

use casemate_dstack_double::GatewayProfile;
use casemate_server::{gateway_auth, listener_token::ListenerToken};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::stage::{Stage, TOKEN, listen};
use crate::nodes::kms_stage::{Kms, take_keys_from};

/// With its listener; the URL has the token.
async fn start() -> (Stage, String) {
    serve(Stage::new(&[GatewayProfile::newest()], |_| {}).await).await
}

/// The listener of a stage with a running CVM.
pub async fn serve(mut stage: Stage) -> (Stage, String) {
    stage.app = stage.world.deploy("web-1").await["app_id"].as_str().unwrap().to_owned();
    stage.world.settle().await;
    let token = ListenerToken::new(&SecretString::from(TOKEN));
    let base = listen(gateway_auth::router(stage.world.ctx.clone(), token)).await;
    let url = base.replace("http://", &format!("http://casemate:{TOKEN}@"));
    (stage, format!("{url}/app-auth"))
}

/// What a gateway knows of the guest of `web`.
pub async fn app_info(stage: &Stage) -> Value {
    let cvm = stage.cvm("web-1").await;
    let device = stage.world.ctx.fleet.all()[0].observed().0.device_id;
    json!({
        "app_id": cvm.spec.app_id.to_string(),
        "compose_hash": cvm.spec.compose_hash.to_string(),
        "instance_id": cvm.instance_id.unwrap().to_string(),
        "device_id": device.to_string(),
        "mr_system": "00".repeat(32), "mr_aggregated": "00".repeat(32),
        "os_image_hash": "00".repeat(32), "key_provider_info": "7b7d", "init_script_hashes": null,
    })
}

#[tokio::test]
async fn a_guest_of_the_fleet_registers_and_no_other() {
    let (stage, url) = start().await;
    let gateway = &stage.clusters[0];
    let good = app_info(&stage).await;
    gateway.register_cvm(&url, &good).await.unwrap();
    let instance = good["instance_id"].as_str().unwrap();
    assert!(gateway.registered(instance).is_some());

    let with = |name: &str, value: &str| {
        let mut info = good.clone();
        info[name] = value.into();
        info
    };
    for info in [
        with("instance_id", &"ab".repeat(20)),
        with("app_id", &"ab".repeat(20)),
        with("compose_hash", &"ab".repeat(32)),
        with("device_id", &"ab".repeat(32)),
    ] {
        let refused = gateway.register_cvm(&url, &info).await;
        assert_eq!(refused, Err(Some(403)), "{info}");
    }
    assert_eq!(gateway.registered(&"ab".repeat(20)), None);
    // Nobody checks devices here, so a build that tells no host is not refused for it. For guests on TDX every
    // build has the hash of nothing.
    for device in ["", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"] {
        gateway.register_cvm(&url, &with("device_id", device)).await.unwrap();
    }
}

/// Its KMS asks the webhook, which checks devices: it has keys only where its node is.
#[tokio::test]
async fn a_guest_that_shows_no_device_does_not_register_where_its_kms_checks_devices() {
    let mut stage = Stage::new(&[GatewayProfile::newest()], |config| {
        config.kms_webhook.listen = Some(([127, 0, 0, 1], 8092).into());
    })
    .await;
    let kms = Kms::listening(&stage.world, "rack-kms", 1).await;
    let kms = kms.of_fleet(None, Duration::from_secs(5));
    take_keys_from(&mut stage.world, vec![kms], |_| Some("rack-kms"));
    let (stage, url) = serve(stage).await;
    let good = app_info(&stage).await;
    let gateway = &stage.clusters[0];
    gateway.register_cvm(&url, &good).await.unwrap();
    for device in ["", "ab"] {
        let mut info = good.clone();
        info["device_id"] = device.into();
        assert_eq!(gateway.register_cvm(&url, &info).await, Err(Some(403)), "{device}");
    }
}

#[tokio::test]
async fn a_guest_that_goes_down_does_not_register() {
    let (stage, url) = start().await;
    let (gateway, info) = (&stage.clusters[0], app_info(&stage).await);
    stage.post("/cvms/web-1/shutdown").await;
    assert_eq!(gateway.register_cvm(&url, &info).await, Err(Some(403)), "from the request on");
    stage.world.settle().await;
    assert_eq!(gateway.register_cvm(&url, &info).await, Err(Some(403)), "off");
    stage.post("/cvms/web-1/start").await;
    assert_eq!(gateway.register_cvm(&url, &info).await, Err(Some(403)), "not up yet");
    stage.world.settle().await;
    gateway.register_cvm(&url, &info).await.unwrap();
    stage.world.call("DELETE", "/cvms/web-1", "", None).await.ok();
    stage.world.settle().await;
    assert_eq!(gateway.register_cvm(&url, &info).await, Err(Some(403)), "deleted");
}

#[tokio::test]
async fn a_refusal_names_its_reason_and_the_token_is_asked_for() {
    let (stage, url) = start().await;
    let info = app_info(&stage).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut other = info.clone();
    other["compose_hash"] = "ab".repeat(32).into();
    let refused = http.post(&url).json(&other).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 403);
    let body: Value = refused.json().await.unwrap();
    assert_eq!((&body["allowed"], &body["code"]), (&json!(false), &json!("other_document")));

    let bare = url.replace(&format!("casemate:{TOKEN}@"), "");
    let gateway = &stage.clusters[0];
    assert_eq!(gateway.register_cvm(&bare, &info).await, Err(Some(401)));
    let wrong = url.replace(TOKEN, "other");
    assert_eq!(gateway.register_cvm(&wrong, &info).await, Err(Some(401)));
    assert_eq!(gateway.register_cvm(&url, &json!({ "app_id": "x" })).await, Err(Some(400)));
    let mut long = info.clone();
    long["key_provider_info"] = "00".repeat(64 << 10).into();
    assert_eq!(gateway.register_cvm(&url, &long).await, Err(Some(413)));
}

#[tokio::test]
async fn without_the_database_nobody_registers() {
    let (stage, url) = start().await;
    let info = app_info(&stage).await;
    stage.world.ctx.db.clone().close().await;
    assert_eq!(stage.clusters[0].register_cvm(&url, &info).await, Err(Some(503)));
}
