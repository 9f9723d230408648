//! The audit log: one row for each change that was asked for. That each change that succeeds leaves one is checked by
//! `common::World::send` in every test.

use std::sync::Arc;

use axum::{body::Body, extract::ConnectInfo, http::Request};
use casemate_core::access::{Need, Role, Scopes};
use casemate_server::{
    app::audit::{newest_rows, write_refusals},
    http::{
        access::ROUTES,
        audit::{action, is_audited},
    },
    system::SystemEntropy,
};
use casemate_testing::world::Parts;
use serde_json::{Value, json};

use crate::common::{self, Reply, World};

async fn send(world: &World, key: &str, method: &str, path: &str, body: &str) -> Reply {
    let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
    if !key.is_empty() {
        request = request.header("x-api-key", key);
    }
    // Rows of one millisecond have no order.
    world.clock.advance_ms(1);
    let peer: std::net::SocketAddr = "192.0.2.7:4711".parse().unwrap();
    let request = request.extension(ConnectInfo(peer)).body(Body::from(body.to_owned())).unwrap();
    world.send(request).await
}

/// The rows of a reply's request.
async fn rows_of(world: &World, reply: &Reply) -> Vec<Value> {
    write_refusals(&world.ctx).await.unwrap();
    let id = reply.headers["x-request-id"].to_str().unwrap();
    let page = world.get("/admin/audit?limit=200").await.ok();
    let items = page["items"].as_array().unwrap().iter();
    items.filter(|row| row["request_id"] == id).cloned().collect()
}

fn with_ids(path: &str) -> String {
    let part = |part: &str| match part {
        "{app_id}" => "ee".repeat(20),
        part if part.starts_with('{') => "999999".to_owned(),
        part => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// A route that is added to the table and is not in the log fails here.
#[tokio::test]
async fn each_route_of_a_change_leaves_one_row_also_when_it_refuses() {
    let world = World::new().await;
    let none = Scopes::Only([].into());
    common::member(&world.ctx, "default", ("eve", Role::Viewer), ("phak_eve", &none)).await;
    let mut seen = 0;
    for (method, route, need) in ROUTES {
        if matches!(*method, "GET" | "HEAD") {
            continue;
        }
        let path = with_ids(route);
        // Somebody who may not, and an operator with a body that no route takes.
        for key in ["phak_eve", &*world.key] {
            let reply = send(&world, key, method, &path, "[").await;
            let rows = rows_of(&world, &reply).await;
            let is_anonymous = *need == Need::Nothing && !reply.status.is_success();
            let expected = usize::from(is_audited(method, route) && !is_anonymous);
            assert_eq!(rows.len(), expected, "{method} {route}: {} {rows:?}", reply.text);
            let [row] = &*rows else { continue };
            assert_eq!(row["action"], action(method, route).unwrap(), "{method} {route}");
            assert_eq!(row["status"], reply.status.as_u16(), "{row}");
            assert_eq!(row["address"], "192.0.2.7", "{row}");
            let code = if reply.text.is_empty() {
                Value::Null
            } else {
                reply.json()["error_code"].clone()
            };
            assert_eq!(row["error_code"], code, "{method} {route}");
            if *need != Need::Nothing {
                let name = if key == "phak_eve" { "eve" } else { "admin" };
                assert_eq!(
                    (&row["actor"]["username"], &row["actor"]["kind"]),
                    (&json!(name), &json!("person"))
                );
                assert!(row["key_id"].is_number(), "{row}");
            }
            let is_of_installation = *need == Need::Operator;
            assert_eq!(row["workspace"].is_null(), is_of_installation, "{row}");
            seen += 1;
        }
    }
    assert!(seen > 150, "{seen}");
}

#[tokio::test]
async fn a_row_shows_before_and_after_and_no_secret() {
    let world = World::new().await;
    let cvm = world.deploy("my-app").await;
    world.settle().await;
    let uuid = cvm["vm_uuid"].as_str().unwrap();
    let body = json!({"vcpu": 2, "memory": 4096}).to_string();
    let changed = send(&world, &world.key, "PATCH", "/cvms/my-app/resources", &body).await;
    let row = rows_of(&world, &changed).await.remove(0);
    let dashed = row["target"]["id"].as_str().unwrap().replace('-', "");
    assert_eq!((&row["target"]["kind"], dashed), (&json!("cvm"), uuid.replace('-', "")));
    assert_eq!((&row["before"]["vcpu"], &row["before"]["name"]), (&json!(1), &json!("my-app")));
    assert!(row["after"]["correlation_id"].is_string(), "{row}");

    let key = send(&world, &world.key, "POST", "/tokens", r#"{"name": "ci"}"#).await;
    let row = rows_of(&world, &key).await.remove(0);
    let token = key.json()["token"].as_str().map(str::to_owned).unwrap_or_default();
    assert_eq!((&row["target"]["kind"], &row["after"]["name"]), (&json!("key"), &json!("ci")));
    assert!(!token.is_empty() && !row.to_string().contains(&token), "{row}");

    let policy =
        send(&world, &world.key, "PATCH", "/workspace/policy", r#"{"env_guard": "refuse"}"#).await;
    let row = rows_of(&world, &policy).await.remove(0);
    assert_eq!(row["before"]["env_guard"], "report", "{row}");
    assert_eq!(row["after"]["env_guard"], "refuse", "{row}");

    let stopped = send(
        &world,
        &world.key,
        "POST",
        "/cvms/batch-stop",
        &json!({"cvm_ids": [uuid]}).to_string(),
    )
    .await;
    let rows = rows_of(&world, &stopped).await;
    assert_eq!(rows.len(), 1, "{}", stopped.text);
}

#[tokio::test]
async fn a_repetition_is_marked_and_anonymous_changes_are_logged() {
    let world = World::new().await;
    let patch = async || {
        let request = Request::builder()
            .method("PATCH")
            .uri("/api/v1/workspace/policy")
            .header("x-api-key", &world.key)
            .header("idempotency-key", "k1")
            .body(Body::from(r#"{"env_guard": "refuse"}"#));
        world.send(request.unwrap()).await
    };
    let first = patch().await;
    let again = patch().await;
    assert!(again.headers.contains_key("idempotent-replayed"));
    assert_eq!(rows_of(&world, &first).await[0]["replayed"], false);
    assert_eq!(rows_of(&world, &again).await[0]["replayed"], true);

    let login = send(&world, "", "POST", "/auth/device/code", r#"{"client_id": "cli"}"#).await;
    let row = rows_of(&world, &login).await.remove(0);
    assert_eq!((&row["actor"]["kind"], &row["target"]["id"]), (&json!("anonymous"), &json!("cli")));
}

#[tokio::test]
async fn a_workspace_reads_its_own_rows_filtered_and_in_pages() {
    let world = World::new().await;
    common::stranger(&world.ctx, "eve", "phak_eve").await;
    world.deploy("my-app").await;
    world.settle().await;
    for verb in ["stop", "start", "restart"] {
        world.post(&format!("/cvms/my-app/{verb}"), json!({})).await.ok();
        world.clock.advance_ms(1000);
    }
    world.post("/cvms/no-such-app/stop", json!({})).await;
    write_refusals(&world.ctx).await.unwrap();
    let list = async |query: &str| {
        let page = world.get(&format!("/casemate/audit{query}")).await.ok();
        let items = page["items"].as_array().unwrap().iter();
        let actions: Vec<String> =
            items.map(|row| row["action"].as_str().unwrap().to_owned()).collect();
        (actions, page["next_cursor"].as_str().map(str::to_owned))
    };
    let (all, _) = list("").await;
    assert_eq!(all.len(), 6, "provision, commit, three verbs, one refusal: {all:?}");
    assert_eq!(list("?result=refused").await.0.len(), 1);
    assert_eq!(list("?result=ok").await.0.len(), 5);
    assert_eq!(list("?actor=admin").await.0.len(), 6);
    assert_eq!(list("?actor=nobody").await.0.len(), 0);
    assert_eq!(list("?target=cvm/no-such-app").await.0.len(), 1);
    let restart = action("POST", "/cvms/{cvm_id}/restart").unwrap();
    assert_eq!(list(&format!("?action={restart}")).await.0, [restart]);
    let middle =
        world.get("/casemate/audit").await.ok()["items"][2]["at"].as_str().unwrap().to_owned();
    let (newer, older) =
        (list(&format!("?from={middle}")).await.0, list(&format!("?to={middle}")).await.0);
    assert_eq!(newer.into_iter().chain(older).collect::<Vec<_>>(), all);

    let (mut paged, mut query) = (Vec::new(), "?limit=4".to_owned());
    loop {
        let (part, next) = list(&query).await;
        paged.extend(part);
        let Some(next) = next else { break };
        query = format!("?limit=4&cursor={next}");
    }
    assert_eq!(paged, all);
    let exported = world.get("/casemate/audit/export").await;
    assert_eq!(exported.headers["content-type"], "application/x-ndjson");
    let lines = exported.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(
        lines.map(|row| row["action"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        all
    );

    for bad in ["?from=yesterday", "?result=maybe", "?limit=0", "?cursor=x", "?who=me"] {
        let reply = world.get(&format!("/casemate/audit{bad}")).await;
        assert!([400, 422].contains(&reply.status.as_u16()), "{bad}: {}", reply.text);
    }
    let eve = send(&world, "phak_eve", "GET", "/casemate/audit", "").await.ok();
    assert_eq!(eve["items"], json!([]));
}

#[tokio::test]
async fn a_key_made_on_the_host_is_in_the_log() {
    let entropy = Arc::new(SystemEntropy);
    let parts = Parts::fresh(tempfile::tempdir().unwrap(), entropy.clone()).await;
    let now = casemate_core::time::Timestamp::from_micros(1_800_000_000_000_000);
    let made =
        casemate_server::app::account::owner_key(&parts.db, &*entropy, now, (None, None)).await;
    made.unwrap();
    let rows = newest_rows(&parts.db, 9).await.unwrap();
    let actions: Vec<_> = rows.iter().map(|row| (&*row.action, &*row.actor)).collect();
    assert_eq!(actions, [("host_create_owner_key", "host"), ("host_first_start", "host")]);
}
