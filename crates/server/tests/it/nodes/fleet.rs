//! Pre-flight, labels, simulation and lists of a fleet with dstack hosts.

use std::{sync::Arc, time::Duration};

use axum::{Json, Router, routing::get};
use casemate_dstack_double::{Fault, Host, Profile, router};
use casemate_engine::node::sim::{SimConfig, SimNode};
use casemate_server::system::SystemEntropy;
use casemate_testing::wait::poll;
use serde_json::{Value, json};

use super::registry::{Process, asked, over};
use crate::common::World;

const TOKEN: &str = "t0ken";

/// A dstack host that listens.
pub struct Rack {
    pub host: Arc<Host>,
    url: String,
    dir: tempfile::TempDir,
}

async fn listen(app: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

/// A gateway that says this domain.
async fn gateway(domain: &'static str) -> String {
    let info = async move || {
        Json(json!({"base_domain": domain, "external_port": 443, "version": "0.6.6"}))
    };
    listen(Router::new().route("/prpc/Info", get(info))).await
}

impl Rack {
    /// On the clock of the world; its API asks for a token, or for none.
    pub async fn new(world: &World, asks: bool, domain: &'static str) -> Self {
        let config = SimConfig::fast();
        let images = config.images.clone();
        let sim = SimNode::in_memory(config, world.clock.clone(), Arc::new(SystemEntropy));
        let token = asks.then_some(TOKEN);
        let mut host = Host::new(Profile::newest(), sim, images, token);
        host.gateway_url = gateway(domain).await;
        let host = Arc::new(host);
        let url = listen(router(host.clone())).await;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, TOKEN).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, mode).unwrap();
        Self { host, url, dir }
    }

    /// The request that adds it.
    pub fn body(&self, name: &str) -> Value {
        json!({
            "name": name, "kind": "dstack", "limits": {"disk_gb": 2000},
            "dstack": {"url": self.url, "tee": "tdx", "token_file": self.dir.path().join("token")},
        })
    }
}

/// Adds a node and waits until it answers.
pub async fn add(world: &World, process: &mut Process, body: Value) {
    let name = body["name"].as_str().unwrap().to_owned();
    over(world, &process.ctx, "POST", "/admin/nodes", body).await;
    process.registry.sync().await.unwrap();
    process.until(&name, true).await;
}

async fn findings(world: &World, process: &Process, name: &str, wanted: &str) -> Vec<Value> {
    let mut seen = Value::Null;
    let path = format!("/admin/nodes/{name}");
    let found = poll(Duration::from_secs(30), async || {
        seen = over(world, &process.ctx, "GET", &path, Value::Null).await;
        let list = seen["findings"].as_array().cloned().unwrap_or_default();
        list.iter().any(|line| line["check"] == wanted).then_some(list)
    });
    let found = found.await;
    found.unwrap_or_else(|| panic!("no {wanted}: {seen}"))
}

fn level<'v>(findings: &'v [Value], check: &str) -> &'v str {
    let line = findings.iter().find(|line| line["check"] == check);
    line.map_or("", |line| line["level"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pre_flight_names_what_is_wrong_with_a_host_and_how_to_mend_it() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    let mut process = Process::of(&world, "here", dir.path());
    let good = Rack::new(&world, true, "apps.example").await;
    let open = Rack::new(&world, false, "other.example").await;
    open.host.set_faults(vec![Fault::KmsDown]);
    add(&world, &mut process, good.body("good")).await;
    add(&world, &mut process, open.body("open")).await;

    let found = findings(&world, &process, "good", "credential").await;
    for check in ["reachable", "credential", "version", "features", "capacity", "images", "kms"] {
        assert_eq!(level(&found, check), "ok", "{found:#?}");
    }
    assert_eq!(
        (level(&found, "gateway"), level(&found, "device")),
        ("ok", "warning"),
        "{found:#?}"
    );

    let found = findings(&world, &process, "open", "credential").await;
    for check in ["credential", "kms", "gateway"] {
        assert_eq!(level(&found, check), "problem", "{found:#?}");
    }
    for line in found.iter().filter(|line| line["level"] != "ok") {
        assert!(line["remedy"].as_str().is_some_and(|remedy| remedy.len() > 10), "{line}");
    }
    let text = Value::Array(found).to_string();
    assert!(!text.contains(TOKEN), "{text}");

    // What was mended is seen by the next check.
    open.host.set_faults(Vec::new());
    over(&world, &process.ctx, "POST", "/admin/nodes/open/check", Value::Null).await;
    let mended = poll(Duration::from_secs(30), async || {
        let found = findings(&world, &process, "open", "kms").await;
        (level(&found, "kms") == "ok").then_some(())
    });
    assert!(mended.await.is_some());

    // A list has none: it would be long.
    let list = over(&world, &process.ctx, "GET", "/admin/nodes", Value::Null).await;
    assert!(list["nodes"].as_array().unwrap().iter().all(|node| node.get("findings").is_none()));

    // A node that does not answer has one finding.
    open.host.set_faults(vec![Fault::Away]);
    process.until("open", false).await;
    let found = findings(&world, &process, "open", "reachable").await;
    assert_eq!((found.len(), level(&found, "reachable")), (1, "problem"), "{found:#?}");
}

/// Neither a dstack-vmm nor a guest on TDX tells it, so an operator who learns it later must be able to say it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_device_of_a_host_is_set_at_run_time() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    let mut process = Process::of(&world, "here", dir.path());
    let rack = Rack::new(&world, true, "apps.example").await;
    add(&world, &mut process, rack.body("rack")).await;
    let change = async |device_id: &str| {
        let change = json!({"device_id": device_id});
        asked(&world, &process.ctx, "PATCH", "/admin/nodes/rack", change).await
    };
    for wrong in ["07", ""] {
        let (status, refused) = change(wrong).await;
        let field = &refused["detail"][0]["loc"][1];
        assert_eq!((status, field), (422, &json!("device_id")), "{refused}");
    }
    let (status, changed) = change(&"ab".repeat(32)).await;
    assert_eq!(status, 200, "{changed}");
    process.registry.sync().await.unwrap();
    let shown = poll(Duration::from_secs(30), async || {
        let found = findings(&world, &process, "rack", "device").await;
        (level(&found, "device") == "ok").then_some(())
    });
    assert!(shown.await.is_some());
}

#[tokio::test]
async fn nodes_have_labels_and_a_price_and_placement_is_simulated_with_them() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    let mut process = Process::of(&world, "here", dir.path());
    let body = |name: &str, vcpu: u32, disk: &str| {
        json!({
            "name": name, "kind": "sim", "labels": {"disk": disk}, "price": "0.40 USD/h",
            "limits": {"vcpu": vcpu},
        })
    };
    for (name, vcpu, disk) in [("rack-1", 8, "nvme"), ("rack-2", 16, "hdd"), ("rack-3", 4, "nvme")]
    {
        add(&world, &mut process, body(name, vcpu, disk)).await;
    }
    let ctx = process.ctx.clone();
    let shown = over(&world, &ctx, "GET", "/admin/nodes/rack-1", Value::Null).await;
    assert_eq!(
        (&shown["labels"], &shown["price"]),
        (&json!({"disk": "nvme"}), &json!("0.40 USD/h"))
    );

    // tdx.large takes 4 vCPU.
    let simulate =
        async |body: Value| over(&world, &ctx, "POST", "/admin/placement/simulate", body).await;
    let large = |count: u32| json!({"instance_type": "tdx.large", "count": count});
    let all = simulate(large(7)).await;
    assert_eq!((&all["fits"], &all["count"]), (&json!(7), &json!(7)), "{all}");
    let mut without = large(12);
    without["without"] = json!(["rack-3"]);
    let some = simulate(without).await;
    assert_eq!(some["fits"], 6, "{some}");
    assert_eq!(some["placed"][1]["price"], "0.40 USD/h", "{some}");
    let reasons: Vec<&Value> = some["refused"].as_array().unwrap().iter().collect();
    assert_eq!(reasons.len(), 2, "{some}");
    assert_eq!(reasons[0]["reason"], "has 0 vCPU free, 4 needed");
    let mut nvme = large(5);
    nvme["labels"] = json!({"disk": "nvme"});
    let some = simulate(nvme.clone()).await;
    assert_eq!(some["fits"], 3, "{some}");
    let refused = some["refused"].as_array().unwrap();
    let hdd = refused.iter().find(|node| node["node"] == "rack-2").unwrap();
    assert_eq!(hdd["reason"], "has the label disk = hdd, nvme needed");
    // What a host cannot do, and where its guests have their keys, counts as in a real placement.
    let mut needs = large(1);
    needs["needs"] = json!(["ports", "env", "hugepages"]);
    assert_eq!(simulate(needs).await["fits"], 1, "a simulated host does all of it");
    let (status, refused) = asked(
        &world,
        &ctx,
        "POST",
        "/admin/placement/simulate",
        json!({"count": 1, "kms": "nowhere"}),
    )
    .await;
    assert_eq!((status, &refused["error_code"]), (400, &json!("ERR-02-011")), "{refused}");
    let (status, refused) =
        asked(&world, &ctx, "POST", "/admin/placement/simulate", json!({"count": 0})).await;
    assert_eq!((status, &refused["detail"][0]["loc"][1]), (422, &json!("count")), "{refused}");
    let nobody = json!({"count": 1, "without": ["nobody"]});
    let (status, refused) = asked(&world, &ctx, "POST", "/admin/placement/simulate", nobody).await;
    assert_eq!((status, &refused["detail"][0]["loc"][1]), (422, &json!("without")), "{refused}");

    // Labels change, and the driver stays.
    let looks =
        over(&world, &ctx, "GET", "/admin/nodes/rack-2", Value::Null).await["looks"].clone();
    let change = json!({"labels": {"disk": "nvme", "row": "7"}, "price": ""});
    let changed = over(&world, &ctx, "PATCH", "/admin/nodes/rack-2", change).await;
    assert_eq!(changed["labels"], json!({"disk": "nvme", "row": "7"}), "{changed}");
    assert_eq!(changed.get("price"), None);
    process.registry.sync().await.unwrap();
    let after = over(&world, &ctx, "GET", "/admin/nodes/rack-2", Value::Null).await;
    assert!(after["looks"].as_u64() >= looks.as_u64(), "{after}");
    assert_eq!(simulate(nvme).await["fits"], 5);
    let remove = json!({"labels": {"row": null}});
    let changed = over(&world, &ctx, "PATCH", "/admin/nodes/rack-2", remove).await;
    assert_eq!(changed["labels"], json!({"disk": "nvme"}));
    for (bad, field) in [
        (json!({"labels": {"A B": "x"}}), "labels"),
        (json!({"labels": {"a": ""}}), "labels"),
        (json!({"price": "\n"}), "price"),
        (json!({"device_id": "07".repeat(32)}), "device_id"),
    ] {
        let (status, refused) = asked(&world, &ctx, "PATCH", "/admin/nodes/rack-2", bad).await;
        assert_eq!((status, &refused["detail"][0]["loc"][1]), (422, &json!(field)), "{refused}");
    }
    let (status, _) = asked(&world, &ctx, "PATCH", "/admin/nodes/nobody", json!({})).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn the_cvms_of_a_node_are_listed_page_by_page_and_after_it_was_given_up() {
    let world = World::new().await;
    for name in ["alpha", "bravo", "charlie"] {
        world.deploy(name).await;
    }
    world.settle().await;
    let node =
        world.get("/admin/nodes").await.ok()["nodes"][0]["name"].as_str().unwrap().to_owned();
    let path = format!("/admin/nodes/{node}/cvms");
    let page = world.get(&path).await.ok();
    let names: Vec<&Value> =
        page["cvms"].as_array().unwrap().iter().map(|cvm| &cvm["name"]).collect();
    assert_eq!(names, ["alpha", "bravo", "charlie"]);
    assert_eq!((page.get("next"), &page["cvms"][0]["status"]), (None, &json!("running")));
    let rest = world.get(&format!("{path}?after={}", page["cvms"][1]["id"])).await.ok();
    assert_eq!(rest["cvms"].as_array().unwrap().len(), 1);
    world.get("/admin/nodes/nobody/cvms").await.refused(404, "ERR-20-008");
    world.call("DELETE", &format!("/admin/nodes/{node}?give_up=true"), "", None).await;
    let page = world.get(&path).await.ok();
    assert_eq!(page["cvms"].as_array().unwrap().len(), 3, "{page}");
}
