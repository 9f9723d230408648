//! What there is to know of apps beside themselves: filters, history, usage, who governs them, and what
//! anybody may see.

use crate::common;

use axum::body::Body;
use common::{Reply, TestNode, World, provision_body};
use serde_json::{Value, json};

const HOUR_MS: i64 = 3_600_000;

/// Without a key.
async fn anybody(world: &World, path: &str) -> Reply {
    world.send(http::Request::get(path).body(Body::empty()).unwrap()).await
}

async fn deploy(world: &World, mut body: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        match key.strip_prefix("compose.") {
            Some(inner) => body["compose_file"][inner] = value.clone(),
            None => body[key] = value.clone(),
        }
    }
    let prepared = world.post("/cvms/provision", body).await.ok();
    let commit = json!({ "app_id": prepared["app_id"], "compose_hash": prepared["compose_hash"] });
    world.post("/cvms", commit).await.ok()
}

fn app_of(vm: &Value) -> String {
    vm["app_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn filters_are_offered_for_what_there_is() {
    let mut east = TestNode::sim();
    (east.name, east.region) = ("sim-2", "east");
    let world = World::fleet(vec![TestNode::sim(), east], |_| {}).await;
    let nothing = world.get("/apps/filter-options").await.ok();
    for key in [
        "statuses",
        "image_versions",
        "instance_types",
        "kms_slugs",
        "kms_types",
        "regions",
        "nodes",
    ] {
        assert_eq!(nothing[key], json!([]), "{key}");
    }
    for (name, node) in [("app-one", 1), ("app-two", 2), ("app-three", 2)] {
        deploy(&world, provision_body(name), &json!({ "node_id": node })).await;
    }
    deploy(&world, provision_body("app-four"), &json!({ "vcpu": 1, "memory": 512 })).await;
    world.settle().await;
    world.post("/cvms/app-two/stop", Value::Null).await.ok();
    world.settle().await;
    let found = world.get("/apps/filter-options").await.ok();
    assert_eq!(found["statuses"], json!(["running", "stopped"]), "{found}");
    assert_eq!(
        found["instance_types"],
        json!(["tdx.small"]),
        "one sized by hand has none: {found}"
    );
    assert_eq!(
        (&found["regions"], &found["nodes"]),
        (&json!(["east", "local"]), &json!(["sim-1", "sim-2"]))
    );
    assert_eq!(found["kms_types"], json!(["phala"]));
    // Each of them finds something.
    for (filter, key) in [
        ("status", "statuses"),
        ("base_image", "image_versions"),
        ("node", "nodes"),
        ("instance_type", "instance_types"),
        ("kms_slug", "kms_slugs"),
        ("kms_type", "kms_types"),
        ("region", "regions"),
    ] {
        let values = found[key].as_array().unwrap();
        assert!(!values.is_empty(), "{key}: {found}");
        for value in values {
            let path = format!("/apps?{filter}={}", value.as_str().unwrap());
            assert!(world.get(&path).await.ok()["total"].as_u64().unwrap() > 0, "{path}");
        }
    }
}

#[tokio::test]
async fn the_history_of_an_app_outlives_its_cvms() {
    let world = World::new().await;
    let vm = world.deploy("my-app").await;
    let other = world.deploy("other-app").await;
    world.settle().await;
    let app = app_of(&vm);
    world.post("/cvms/my-app/restart", json!({})).await.ok();
    world.settle().await;
    let of = |query: &str| format!("/apps/{app}/events{query}");
    let all = world.get(&of("")).await.ok();
    let events = all["events"].as_array().unwrap();
    assert_eq!(all["total"], events.len());
    assert!(events.iter().all(|event| event["instance_id"] == vm["vm_uuid"]), "{all}");
    let times: Vec<_> = events
        .iter()
        .map(|event| event["message_id"].as_str().unwrap().parse::<u64>().unwrap())
        .collect();
    assert!(times.windows(2).all(|two| two[0] > two[1]), "newest first: {times:?}");
    let first = &events[0];
    assert_eq!(
        (&first["instance_name"], &first["team_id"]),
        (&json!("my-app"), &json!(1)),
        "{first}"
    );
    let turns = world.get(&of("?event_type=cvm.phase")).await.ok();
    let states: Vec<_> = turns["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["running", "restarting", "running"]);
    let restarts = world.get(&of("?operation_type=restart&limit=2")).await.ok();
    assert_eq!(restarts["total"], 2);
    for event in restarts["events"].as_array().unwrap() {
        assert_eq!(
            (&event["operation_type"], &event["target_state"]),
            (&json!("restart"), &json!("running"))
        );
        assert!(event["correlation_id"].is_string() && event["triggered_by"] == 1, "{event}");
    }
    let foreign = format!("?instance_id={}", other["vm_uuid"].as_str().unwrap());
    assert_eq!(world.get(&of(&foreign)).await.ok()["total"], 0, "another app's CVM");
    assert_eq!(world.get(&of("?start_date=2100-01-01")).await.ok()["total"], 0);
    assert_eq!(world.get(&of("?end_date=2100-01-01")).await.ok()["total"], all["total"]);
    for bad in ["?limit=0", "?limit=1001", "?start_date=soon", "?instance_id=x"] {
        assert_eq!(world.get(&of(bad)).await.status, 422, "{bad}");
    }
    world.call("DELETE", "/cvms/my-app", "", None).await;
    world.settle().await;
    assert_eq!(world.get(&format!("/apps/{app}")).await.status, 404);
    assert!(world.get(&of("")).await.ok()["total"].as_u64() > all["total"].as_u64());
    assert_eq!(world.get(&format!("/apps/{}/events", "00".repeat(20))).await.status, 404);
}

#[tokio::test]
async fn usage_is_the_time_that_cvms_were_running() {
    let world = World::new().await;
    let vm = world.deploy("my-app").await;
    world.settle().await;
    let app = app_of(&vm);
    world.clock.advance_ms(2 * HOUR_MS);
    world.post("/cvms/my-app/stop", Value::Null).await.ok();
    world.settle().await;
    world.clock.advance_ms(5 * HOUR_MS);
    world.post("/cvms/my-app/start", Value::Null).await.ok();
    world.settle().await;
    world.clock.advance_ms(30 * HOUR_MS);
    let of = |query: &str| format!("/apps/{app}/usage{query}");
    let usage = world.get(&of("")).await.ok();
    let records = usage["usage"].as_array().unwrap();
    let minutes: f64 =
        records.iter().map(|record| record["duration_minutes"].as_f64().unwrap()).sum();
    assert!((minutes - 32.0 * 60.0).abs() < 1.0, "{minutes}: {usage}");
    let rate = world.get("/cvms/my-app").await.ok()["resource"]["compute_billing_price"].clone();
    let rate: f64 = rate.as_str().unwrap().parse().unwrap();
    let cost = usage["total_cost"].as_f64().unwrap();
    assert!((cost - minutes / 60.0 * rate).abs() < 1e-6 && rate > 0.0, "{cost} at {rate}");
    assert!(records.len() >= 2, "one a day: {usage}");
    for record in records {
        assert_eq!(
            (&record["instance_id"], &record["usage_type"]),
            (&vm["vm_uuid"], &json!("compute"))
        );
        assert!(record["duration_minutes"].as_f64().unwrap() <= 24.0 * 60.0);
    }
    let days: Vec<_> =
        records.iter().map(|record| record["billing_day"].as_str().unwrap()).collect();
    assert!(days.windows(2).all(|two| two[0] > two[1]), "newest first: {days:?}");
    let one = world.get(&of("?limit=1&offset=1")).await.ok();
    assert_eq!((&one["total"], &one["usage"][0]), (&json!(1), &records[1]));
    let day = days[0];
    let today = world.get(&of(&format!("?start_date={day}"))).await.ok();
    assert_eq!(today["usage"][0]["billing_day"], day);
    let turned = world.get(&of("?start_date=2026-01-02&end_date=2026-01-01")).await;
    assert_eq!(turned.status, 400, "{}", turned.text);
    assert_eq!(world.get(&of("?limit=5001")).await.status, 422);
    assert_eq!(world.get("/apps/nobody/usage").await.status, 404);
}

#[tokio::test]
async fn nothing_but_its_workspace_governs_an_app() {
    let world = World::new().await;
    let vm = world.deploy("my-app").await;
    world.settle().await;
    let app = app_of(&vm);
    let info = world.get(&format!("/apps/{app}/kms-info")).await.ok();
    assert_eq!((&info["is_onchain_kms"], &info["deployer_type"]), (&json!(false), &Value::Null));
    let own = world.post("/cvms/my-app/is-allowed", Value::Null).await.ok();
    let hash = world.get("/cvms/my-app").await.ok()["compose_hash"].clone();
    assert_eq!(
        (&own["is_allowed"], &own["compose_hash"], &own["app_contract_address"]),
        (&json!(true), &hash, &json!(""))
    );
    assert_eq!(
        (&own["cvm_id"], own["device_id"].as_str().unwrap().len()),
        (&vm["id"], 64),
        "{own}"
    );
    let asked = json!({ "compose_hash": "11".repeat(32), "node_id": 1 });
    let of = |below: &str| format!("/apps/{app}{below}");
    let whole = world.post(&of("/is-allowed"), asked).await.ok();
    assert_eq!(
        (&whole["compose_hash"], &whole["device_id"]),
        (&json!("11".repeat(32)), &own["device_id"])
    );
    assert_eq!(whole["cvm_id"], Value::Null);
    let all = world.post(&of("/cvms/is-allowed"), json!({})).await.ok();
    assert_eq!(
        (&all["is_onchain"], &all["skipped_cvm_ids"]),
        (&json!(false), &json!([vm["id"]])),
        "{all}"
    );
    let refusals = [
        (json!({}), 422),
        (json!({ "compose_hash": "11".repeat(32), "node_id": 99 }), 400),
        (json!({ "compose_hash": "11".repeat(32), "device_id": "zz" }), 422),
        (json!({ "compose_hash": "11".repeat(32), "chain_id": 8453 }), 400),
        (json!({ "compose_hash": "x" }), 422),
    ];
    for (body, status) in refusals {
        let reply = world.post(&of("/is-allowed"), body.clone()).await;
        assert_eq!(reply.status.as_u16(), status, "{body}: {}", reply.text);
    }
    for path in
        ["/cvms/nobody/is-allowed", "/apps/nobody/is-allowed", "/apps/nobody/cvms/is-allowed"]
    {
        let body = json!({ "compose_hash": "11".repeat(32) });
        assert_eq!(world.post(path, body).await.status, 404, "{path}");
    }
    assert_eq!(world.get("/apps/nobody/kms-info").await.status, 404);
}

#[tokio::test]
async fn anybody_sees_listed_apps_and_of_them_what_is_public() {
    let world = World::new().await;
    let open = deploy(&world, provision_body("open-app"), &json!({})).await;
    let closed = json!({
        "compose.public_sysinfo": false, "compose.public_tcbinfo": false, "compose.gateway_enabled": false
    });
    world.clock.advance_ms(1000);
    deploy(&world, provision_body("closed-app"), &closed).await;
    let hidden = deploy(&world, provision_body("hidden-app"), &json!({ "listed": false })).await;
    world.settle().await;
    let page = anybody(&world, "/api/v1/apps?listed=true").await.ok();
    assert_eq!((&page["total"], &page["total_pages"]), (&json!(2), &json!(1)), "{page}");
    let names: Vec<_> = page["dstack_apps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|app| app["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["closed-app", "open-app"], "newest first");
    let shown = &page["dstack_apps"][1]["cvms"][0];
    let detail = world.get("/cvms/open-app").await.ok();
    assert_eq!((&shown["status"], &shown["tee"]), (&json!("running"), &json!("simulated")));
    assert_eq!(
        (&shown["compose_hash"], &shown["vcpu"]),
        (&detail["compose_hash"], &detail["resource"]["vcpu"])
    );
    assert!(shown["public_urls"][0].as_str().unwrap().contains(&app_of(&open)), "{shown}");
    let secret = &page["dstack_apps"][0]["cvms"][0];
    let told: Vec<_> = secret.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(told, ["public_urls", "status", "tee"], "{secret}");
    for word in [
        "admin",
        "workspace",
        &app_of(&hidden),
        "hidden-app",
        detail["id"].as_str().unwrap(),
        "encrypted",
    ] {
        assert!(!page.to_string().contains(word), "{word}: {page}");
    }
    // It is read by its cursor.
    let first = anybody(&world, "/api/v1/apps?listed=1&page_size=1").await.ok();
    let next = format!(
        "/api/v1/apps?listed=true&page_size=1&cursor={}",
        first["next_cursor"].as_str().unwrap()
    );
    let second = anybody(&world, &next).await.ok();
    assert_eq!(
        (&second["dstack_apps"][0]["name"], &second["next_cursor"]),
        (&json!("open-app"), &Value::Null)
    );
    // What is hidden afterwards is gone.
    world.call("PATCH", "/cvms/open-app/listed", "", Some(json!({ "listed": false }))).await.ok();
    world.settle().await;
    world.clock.advance_ms(11_000);
    assert_eq!(anybody(&world, "/api/v1/apps?listed=true").await.ok()["total"], 1);
    for path in ["/apps", "/apps?listed=false", "/apps?search=x", "/apps/filter-options"] {
        assert_eq!(anybody(&world, &format!("/api/v1{path}")).await.status, 401, "{path}");
    }
    let filtered = anybody(&world, "/api/v1/apps?listed=true&status=running").await;
    assert_eq!(filtered.status, 400, "{}", filtered.text);
    assert_eq!(anybody(&world, "/api/v1/apps?listed=true&cursor=zz").await.status, 422);
    let forged = http::Request::get("/api/v1/apps?listed=true")
        .header("x-api-key", "phak_no")
        .body(Body::empty())
        .unwrap();
    assert_eq!(world.send(forged).await.status, 401, "a wrong key is not no key");
    // With a key it is one's own list, as ever.
    assert_eq!(world.get("/apps?listed=true").await.ok()["dstack_apps"][0]["cvm_count"], 1);
}

#[tokio::test]
async fn the_directory_is_a_page_too() {
    let world = World::new().await;
    let empty = anybody(&world, "/directory").await;
    assert!(empty.status == 200 && empty.text.contains("No app is listed"), "{}", empty.text);
    let vm = world.deploy("open-app").await;
    deploy(&world, provision_body("hidden-app"), &json!({ "listed": false })).await;
    world.settle().await;
    world.clock.advance_ms(11_000);
    let page = anybody(&world, "/directory").await.text;
    for words in [
        "open-app",
        &app_of(&vm),
        "running",
        "simulated",
        "1 app,",
        "vCPU",
        "rel=\"nofollow noopener\"",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    for words in ["hidden-app", "<script", "style=\"", "admin"] {
        assert!(!page.contains(words), "{words}: {page}");
    }
    assert_eq!(anybody(&world, "/directory?cursor=zz").await.status, 422);
}
