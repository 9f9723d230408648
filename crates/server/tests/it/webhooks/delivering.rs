//! What receivers get, when, and in which order.

use std::time::Duration;

use casemate_core::webhook::{RETRIES, sign};
use casemate_server::work::webhook_delivery::send_now;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{receiver::Receiver, subscribe, world};
use crate::common::World;

fn names(receiver: &Receiver) -> Vec<String> {
    receiver.take().iter().map(|one| one.header("x-webhook-event").to_owned()).collect()
}

async fn deliveries(world: &World, id: &str) -> Value {
    world.get(&format!("/workspace/webhooks/{id}/deliveries")).await.ok()
}

#[tokio::test]
async fn a_receiver_gets_signed_events_that_the_sdks_accept() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let (id, secret) = subscribe(&world, &receiver, &["cvm.created", "cvm.deleted"]).await;
    let vm = world.deploy("my-app").await;
    assert_eq!(send_now(&world.ctx).await, 0, "it is not created yet");
    world.settle().await;
    assert_eq!(send_now(&world.ctx).await, 1);
    let got = receiver.take();
    assert_eq!(got.len(), 1);
    let (one, body) = (&got[0], got[0].json());
    assert_eq!(one.header("content-type"), "application/json");
    assert_eq!(one.header("user-agent"), "Casemate-Webhook/1.0");
    assert_eq!(one.header("x-webhook-event"), "cvm.created");
    assert_eq!(one.header("x-webhook-id"), body["id"]);
    let timestamp: u64 = one.header("x-webhook-timestamp").parse().unwrap();
    let secret = SecretString::from(secret);
    assert_eq!(one.header("x-webhook-signature"), sign(&secret, timestamp, &one.body));
    assert_eq!((&body["version"], &body["event"]), (&json!("1"), &json!("cvm.created")));
    assert_eq!(body["workspace"], json!({ "id": "default", "name": "default" }));
    assert_eq!(
        body["data"],
        json!({ "cvm_id": vm["vm_uuid"], "cvm_name": "my-app", "app_id": vm["app_id"],
            "status": "running", "operation": "create" })
    );
    let listed = deliveries(&world, &id).await;
    let first = &listed[0];
    assert_eq!(first["event_id"], body["id"]);
    assert_eq!((&first["status"], &first["attempts"]), (&json!("success"), &json!(1)));
    assert_eq!((&first["response_status"], &first["error_message"]), (&json!(204), &json!("")));
    assert_eq!(first["request_url"], receiver.url);
    assert!(first["delivered_at"].is_string() && first["snowflake_id"].is_number(), "{first}");
    // What it does not subscribe to is not sent.
    world.post("/cvms/my-app/restart", json!({})).await.ok();
    world.settle().await;
    world.call("DELETE", "/cvms/my-app", "2026-01-21", None).await.ok();
    world.settle().await;
    send_now(&world.ctx).await;
    assert_eq!(names(&receiver), ["cvm.deleted"]);
}

#[tokio::test]
async fn a_receiver_that_fails_is_asked_four_times_and_disabled() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let (id, _) = subscribe(&world, &receiver, &["cvm.created", "cvm.restarted"]).await;
    let alerts = Receiver::start().await;
    subscribe(&world, &alerts, &["webhook.disabled"]).await;
    receiver.will_answer(&[500, 302, 404, 503]);
    world.deploy("my-app").await;
    world.settle().await;
    world.post("/cvms/my-app/restart", json!({})).await.ok();
    world.settle().await;
    let mut bodies = Vec::new();
    for pause in RETRIES.into_iter().chain([Duration::ZERO]) {
        send_now(&world.ctx).await;
        let got = receiver.take();
        assert_eq!(got.len(), 1, "one attempt, and the next event waits for it");
        bodies.push((got[0].header("x-webhook-id").to_owned(), got[0].body.clone()));
        send_now(&world.ctx).await;
        assert!(receiver.take().is_empty(), "not before its time");
        world.clock.advance_ms(i64::try_from(pause.as_millis()).unwrap());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "the same id and the same bytes each time");
    let listed = deliveries(&world, &id).await;
    assert_eq!((&listed[1]["status"], &listed[1]["attempts"]), (&json!("failed"), &json!(4)));
    // The reply of a host that is not public is not shown.
    assert_eq!(listed[1]["error_message"], "HTTP 503");
    assert_eq!(listed[0]["status"], "pending");
    let webhook = world.get(&format!("/workspace/webhooks/{id}")).await.ok();
    assert_eq!(webhook["enabled"], false);
    send_now(&world.ctx).await;
    let told = alerts.take();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].json()["data"]["webhook_id"], id);
    assert_eq!(told[0].json()["data"]["event_id"], listed[1]["event_id"]);
    // Enabled again, it gets what waited, and what failed if somebody asks for it.
    let body = json!({ "enabled": true });
    let path = format!("/workspace/webhooks/{id}");
    world.call("PUT", &path, "", Some(body)).await.ok();
    send_now(&world.ctx).await;
    assert_eq!(names(&receiver), ["cvm.restarted"]);
    let event = listed[1]["event_id"].as_str().unwrap();
    let again = world.post(&format!("{path}/deliveries/{event}/resend"), json!({})).await.ok();
    assert_eq!((&again["original_event_id"], &again["status"]), (&json!(event), &json!("pending")));
    assert_ne!(again["event_id"], event);
    send_now(&world.ctx).await;
    let got = receiver.take();
    assert_eq!((got[0].header("x-webhook-id"), &got[0].body), (event, &bodies[0].1));
    let stats = world.get(&format!("{path}/stats")).await.ok();
    assert_eq!(
        (&stats["total"], &stats["success_count"], &stats["failed_count"], &stats["pending_count"]),
        (&json!(3), &json!(2), &json!(1), &json!(0))
    );
    assert!((stats["success_rate"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9, "{stats}");
}

#[tokio::test]
async fn events_of_a_cvm_are_in_order_and_those_of_another_are_not_held_back() {
    let world = world().await;
    let receiver = Receiver::start().await;
    subscribe(&world, &receiver, &["cvm.created", "cvm.stopped", "cvm.started"]).await;
    world.deploy("one-app").await;
    world.settle().await;
    receiver.will_answer(&[500]);
    send_now(&world.ctx).await;
    assert_eq!(receiver.take().len(), 1);
    world.deploy("two-app").await;
    world.settle().await;
    for verb in ["stop", "start"] {
        world.post(&format!("/cvms/one-app/{verb}"), json!({})).await.ok();
        world.settle().await;
    }
    send_now(&world.ctx).await;
    let got = receiver.take();
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].json()["data"]["cvm_name"], "two-app");
    world.clock.advance_ms(60_000);
    send_now(&world.ctx).await;
    assert_eq!(names(&receiver), ["cvm.created", "cvm.stopped", "cvm.started"]);
}

#[tokio::test]
async fn a_test_is_sent_once_and_disables_nothing() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let (id, _) = subscribe(&world, &receiver, &["cvm.created"]).await;
    receiver.will_answer(&[500]);
    let path = format!("/workspace/webhooks/{id}");
    let test = world.post(&format!("{path}/test"), Value::Null).await.ok();
    assert_eq!((&test["event_type"], &test["status"]), (&json!("webhook.test"), &json!("pending")));
    send_now(&world.ctx).await;
    let got = receiver.take();
    assert_eq!(got[0].header("x-webhook-id"), test["event_id"]);
    assert_eq!(got[0].json()["data"]["webhook_id"], id);
    world.clock.advance_ms(3_600_000);
    send_now(&world.ctx).await;
    assert!(receiver.take().is_empty());
    assert_eq!(deliveries(&world, &id).await[0]["status"], "failed");
    assert_eq!(world.get(&path).await.ok()["enabled"], true);
}

#[tokio::test]
async fn a_rotated_secret_signs_what_is_sent_from_then_on() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let (id, before) = subscribe(&world, &receiver, &["cvm.created"]).await;
    let path = format!("/workspace/webhooks/{id}");
    world.post(&format!("{path}/test"), Value::Null).await.ok();
    let rotated = world.post(&format!("{path}/rotate-secret"), Value::Null).await.ok();
    let secret = rotated["secret"].as_str().unwrap().to_owned();
    assert_ne!(secret, before);
    send_now(&world.ctx).await;
    let got = receiver.take().remove(0);
    let timestamp: u64 = got.header("x-webhook-timestamp").parse().unwrap();
    let expected = sign(&SecretString::from(secret), timestamp, &got.body);
    assert_eq!(got.header("x-webhook-signature"), expected);
}

#[tokio::test]
async fn a_url_that_may_not_be_called_any_more_is_not_called() {
    let open = world().await;
    let receiver = Receiver::start().await;
    let (id, _) = subscribe(&open, &receiver, &["cvm.created"]).await;
    // The operator changes the rules.
    let mut config = (*open.ctx.config).clone();
    config.webhooks.allow_private = false;
    let (outbound, _) = casemate_server::app::webhooks::clients(&config).unwrap();
    let closed = open.at(casemate_server::app::Ctx::from(casemate_server::app::ctx::World {
        outbound: std::sync::Arc::new(outbound),
        ..(*open.ctx).clone()
    }));
    closed.post(&format!("/workspace/webhooks/{id}/test"), Value::Null).await.ok();
    send_now(&closed.ctx).await;
    assert!(receiver.take().is_empty());
    let error = &deliveries(&closed, &id).await[0]["error_message"];
    assert_eq!(error, "the URL leads to an address that is not on the public network");
}
