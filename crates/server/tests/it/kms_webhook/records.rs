//! What is recorded of answers.

use casemate_core::id::{CvmId, EventSeq};
use casemate_store::events;
use serde_json::json;

use super::stage::{Stage, with};

#[tokio::test]
async fn every_answer_about_a_cvm_is_an_event() {
    let stage = Stage::new().await;
    stage.world.deploy("my-shop").await;
    let boot = stage.boot("my-shop").await;
    let boot = with(&boot, "instanceId", "66".repeat(20));
    stage.app(&boot).await.unwrap();
    stage.app(&boot).await.unwrap();
    let told = stage.app(&with(&boot, "deviceId", "55".repeat(32))).await.unwrap_err();
    let events = stage.events(CvmId(1), "cvm.keys").await;
    let shown: Vec<_> =
        events.iter().map(|event| (&event["allowed"], &event["code"], &event["message"])).collect();
    let (yes, no, none) = (json!(true), json!(false), json!(null));
    let (code, message) = (json!("device_not_allowed"), json!(told));
    assert_eq!(shown, [(&yes, &none, &none), (&yes, &none, &none), (&no, &code, &message)]);
    assert_eq!(events[0]["kms"], "dstack-kms/0.6.0");
    assert_eq!(events[0]["instance_id"], json!("66".repeat(20)));
    assert_eq!(events[2]["device_id"], json!("55".repeat(32)));
    // The deployment is open, so they are part of its story.
    let all = events::of_cvm(&stage.world.ctx.db, CvmId(1), EventSeq(0), 100).await.unwrap();
    let keys: Vec<_> = all.iter().filter(|event| event.kind == "cvm.keys").collect();
    assert!(keys.iter().all(|event| event.operation_id.is_some()));
}

#[tokio::test]
async fn equal_denials_are_one_event_a_minute() {
    let stage = Stage::new().await;
    stage.world.deploy("my-shop").await;
    let boot = stage.boot("my-shop").await;
    let wrong = with(&boot, "deviceId", "55".repeat(32));
    for _ in 0..50 {
        stage.app(&wrong).await.unwrap_err();
    }
    stage.app(&with(&boot, "tcbStatus", "Revoked")).await.unwrap_err();
    let codes = |events: &[serde_json::Value]| {
        events.iter().map(|event| event["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = stage.events(CvmId(1), "cvm.keys").await;
    assert_eq!(codes(&first), ["device_not_allowed", "tcb_not_allowed"]);
    stage.world.clock.advance_ms(60_000);
    stage.app(&wrong).await.unwrap_err();
    let later = stage.events(CvmId(1), "cvm.keys").await;
    assert_eq!(codes(&later[2..]), ["device_not_allowed"]);
    assert_eq!(later[2]["repeats"], json!(49));
    stage.app(&boot).await.unwrap();
    stage.app(&wrong).await.unwrap_err();
    let last = stage.events(CvmId(1), "cvm.keys").await.len();
    assert_eq!(last, 5, "after keys were given, a denial is news");
}

#[tokio::test]
async fn a_flood_of_unknown_apps_is_one_row() {
    let stage = Stage::new().await;
    stage.world.deploy("my-shop").await;
    let boot = stage.boot("my-shop").await;
    let before = events::newest(&stage.world.ctx.db).await.unwrap();
    let asked = (0..300_u32).map(|number| {
        let unknown = with(&boot, "appId", format!("{number:040x}"));
        let stage = &stage;
        async move { stage.app(&unknown).await.unwrap_err() }
    });
    futures_util::future::join_all(asked).await;
    stage.ask("/bootAuth/kms", &boot).await;
    assert_eq!(events::newest(&stage.world.ctx.db).await.unwrap(), before);
    let totals = stage.totals().await;
    let shown: Vec<_> = totals
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["subject"].as_str().unwrap(), one["code"].as_str().unwrap(), &one["total"]))
        .collect();
    let (flood, one) = (json!(300), json!(1));
    assert_eq!(shown, [("app", "app_unknown", &flood), ("kms", "kms_not_allowed", &one)]);
    assert_eq!(totals[0]["last"]["app_id"].as_str().unwrap().len(), 40);
}
