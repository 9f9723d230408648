//! What of a CVM's configuration can be read besides its detail, and whether domains lead to it.

use crate::common;

use casemate_engine::dns::Kind;
use common::{TestNode, World, provision_body};
use serde_json::{Value, json};

const ROUTES: [&str; 4] = ["available-os-images", "network-config", "ports", "firewall-status"];

#[tokio::test]
async fn images_of_the_node_are_grouped_by_version_newest_first() {
    let world = World::new().await;
    let mut body = provision_body("my-app");
    body["image"] = json!("dstack-dev-0.5.4");
    let provisioned = world.post("/cvms/provision", body).await.ok();
    let commit = json!({
        "app_id": provisioned["app_id"], "compose_hash": provisioned["compose_hash"]
    });
    world.post("/cvms", commit).await.ok();
    let images = world.get("/cvms/my-app/available-os-images").await.ok();
    let versions: Vec<&Value> = images.as_array().unwrap().iter().map(|i| &i["version"]).collect();
    assert_eq!(versions, [&json!([0, 5, 5]), &json!([0, 5, 4])]);
    assert_eq!(images[0]["prod"]["name"], "dstack-0.5.5");
    assert_eq!(images[1]["dev"]["name"], "dstack-dev-0.5.4");
    let current = |image: &Value| image["is_current"].clone();
    let found = ["prod", "dev"].map(|kind| (current(&images[0][kind]), current(&images[1][kind])));
    assert_eq!(found, [(json!(false), json!(false)), (json!(false), json!(true))]);
}

#[tokio::test]
async fn only_images_of_its_own_node_are_offered() {
    let mut other = TestNode::sim();
    other.name = "sim-2";
    other.host.images.retain(|image| image.name == "dstack-0.5.4");
    let world = World::fleet(vec![TestNode::sim(), other], |_| {}).await;
    let mut body = provision_body("my-app");
    body["image"] = json!("dstack-0.5.4");
    body["node_id"] = json!(2);
    let provisioned = world.post("/cvms/provision", body).await.ok();
    let commit = json!({
        "app_id": provisioned["app_id"], "compose_hash": provisioned["compose_hash"]
    });
    world.post("/cvms", commit).await.ok();
    let images = world.get("/cvms/my-app/available-os-images").await.ok();
    assert_eq!(images.as_array().unwrap().len(), 1, "{images}");
    assert_eq!(images[0]["dev"], Value::Null);
}

#[tokio::test]
async fn os_images_are_an_array_without_a_version_and_a_page_with_one() {
    let world = World::new().await;
    let array = world.call("GET", "/os-images", "", None).await.ok();
    assert_eq!(array.as_array().unwrap().len(), 4, "{array}");
    for version in ["2025-10-28", "2026-01-21", "2026-05-22", "2026-06-23"] {
        let page = world.call("GET", "/os-images?page=2&page_size=3", version, None).await.ok();
        assert_eq!(page["items"], json!([array[3]]), "{version}");
        assert_eq!((&page["total"], &page["pages"]), (&json!(4), &json!(2)));
    }
    let plain = world.call("GET", "/os-images?is_dev=false", "", None).await.ok();
    assert!(plain.as_array().unwrap().iter().all(|image| image["is_dev"] == false), "{plain}");
}

#[tokio::test]
async fn the_network_configuration_is_what_was_asked_for() {
    let world = World::new().await;
    let mut body = provision_body("my-app");
    body["ports"] = json!([
        { "protocol": "tcp", "host_port": 18080, "vm_port": 80, "host_address": "127.0.0.1" },
        { "protocol": "UDP", "host_port": 18053, "vm_port": 53 },
    ]);
    body["kms_urls"] = json!(["https://kms.test"]);
    body["gateway_urls"] = json!(["https://gateway.test"]);
    let provisioned = world.post("/cvms/provision", body).await.ok();
    let commit = json!({
        "app_id": provisioned["app_id"], "compose_hash": provisioned["compose_hash"]
    });
    world.post("/cvms", commit).await.ok();
    let ports = world.get("/cvms/my-app/ports").await.ok();
    let ids: Vec<&str> =
        ports.as_array().unwrap().iter().map(|port| port["id"].as_str().unwrap()).collect();
    assert!(ids.iter().all(|id| id.starts_with("pm_")) && ids[0] != ids[1], "{ids:?}");
    let config = world.get("/cvms/my-app/network-config").await.ok();
    assert_eq!(
        config,
        json!({
            "kms_urls": ["https://kms.test"], "gateway_urls": ["https://gateway.test"],
            "ports": [
                { "protocol": "tcp", "host_port": 18080, "vm_port": 80,
                  "host_address": "127.0.0.1" },
                { "protocol": "udp", "host_port": 18053, "vm_port": 53, "host_address": "" },
            ]
        })
    );
    for (port, entry) in ports.as_array().unwrap().iter().zip(config["ports"].as_array().unwrap()) {
        for (field, value) in entry.as_object().unwrap() {
            assert_eq!(&port[field], value);
        }
        assert_eq!(port["source_cidrs"], json!([]));
    }
}

#[tokio::test]
async fn no_node_has_a_firewall_and_says_why() {
    for (node, word) in [(TestNode::sim(), "simulated"), (TestNode::docker(), "docker")] {
        let world = World::fleet(vec![node], |_| {}).await;
        world.deploy("my-app").await;
        let status = world.get("/cvms/my-app/firewall-status").await.ok();
        assert_eq!(status["available"], false);
        assert!(status["reason"].as_str().unwrap().contains(word), "{status}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let world = World::new().await;
    for route in ROUTES {
        world.get(&format!("/cvms/nobody/{route}")).await.refused(404, "ERR-03-001");
    }
    let body = json!({ "domains": [] });
    let path = "/cvms/nobody/customize-domain-diagnose";
    world.post(path, body).await.refused(404, "ERR-03-001");
}

#[tokio::test]
async fn the_document_comes_as_plain_text_as_well() {
    let world = World::new().await;
    world.deploy("my-app").await;
    let json = world.get("/cvms/my-app/compose_file").await;
    assert_eq!(json.headers["content-type"], "application/json");
    for query in ["raw", "raw=true", "raw=1"] {
        let raw = world.get(&format!("/cvms/my-app/compose_file?{query}")).await;
        assert_eq!(raw.headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(raw.text, json.text, "{query}");
    }
    let not_raw = world.get("/cvms/my-app/compose_file?raw=false").await;
    assert_eq!(not_raw.headers["content-type"], "application/json");
}

async fn diagnose(world: &World, domain: &str, port: u32) -> Value {
    let body = json!({ "domains": [{ "domain": domain, "port": port }] });
    let reply = world.post("/cvms/my-app/customize-domain-diagnose", body).await.ok();
    reply["results"][0].clone()
}

#[tokio::test]
async fn a_domain_with_its_records_is_valid() {
    let world = World::new().await;
    let cvm = world.deploy("my-app").await;
    let expected = format!("{}:8080", cvm["app_id"].as_str().unwrap());
    let app = "_dstack-app-address.app.example.test";
    world.dns.say("app.example.test", Kind::Cname, &["localhost"]);
    world.dns.say(app, Kind::Txt, &["other", &expected]);
    world.dns.say("app.example.test", Kind::Caa, &["0 issue \"ca.test; accounturi=https://a/1\""]);
    let found = diagnose(&world, "App.Example.Test.", 8080).await;
    assert_eq!(found["is_valid"], true, "{found}");
    assert_eq!(found["domain"], "App.Example.Test.");
    assert_eq!(found["records"][0]["query_name"], "app.example.test");
    assert_eq!(found["records"][0]["expected_value"], "localhost");
    assert_eq!(found["records"][1]["query_name"], app);
    assert_eq!(found["records"][1]["actual_value"], json!(expected));
    assert_eq!(found["caa_check"]["accounturi"], "https://a/1");
    assert!(found["note"].as_str().unwrap().contains("localhost"), "{found}");
    // Below the gateway's name is as good, and an unpublished port is told.
    world.dns.say("app.example.test", Kind::Cname, &["abc-8080.localhost"]);
    assert_eq!(diagnose(&world, "app.example.test", 8080).await["is_valid"], true);
    let unpublished = diagnose(&world, "app.example.test", 81).await;
    assert_eq!(unpublished["is_valid"], false);
    assert!(unpublished["note"].as_str().unwrap().contains("port 81"), "{unpublished}");
}

#[tokio::test]
async fn wildcards_and_the_old_name_of_the_record_are_known() {
    let world = World::new().await;
    let cvm = world.deploy("my-app").await;
    let expected = format!("{}:8080", cvm["app_id"].as_str().unwrap());
    world.dns.say("*.example.test", Kind::Cname, &["localhost"]);
    world.dns.say("_dstack-app-address-wildcard.example.test", Kind::Txt, &[&expected]);
    assert_eq!(diagnose(&world, "*.example.test", 8080).await["is_valid"], true);
    world.dns.say("old.example.test", Kind::Cname, &["localhost"]);
    world.dns.say("_tapp-address.old.example.test", Kind::Txt, &[&expected]);
    let old = diagnose(&world, "old.example.test", 8080).await;
    assert_eq!(old["is_valid"], true, "{old}");
    assert_eq!(old["records"][1]["is_deprecated"], true);
    let warning = old["records"][1]["warning_message"].as_str().unwrap();
    assert!(warning.contains("_dstack-app-address.old.example.test"), "{warning}");
}

#[tokio::test]
async fn a_missing_record_a_wrong_one_and_a_failed_lookup_are_told_apart() {
    let world = World::new().await;
    world.deploy("my-app").await;
    let missing = diagnose(&world, "new.example.test", 8080).await;
    assert_eq!(missing["is_valid"], false);
    for record in missing["records"].as_array().unwrap() {
        assert_eq!(record["actual_value"], Value::Null);
        assert!(!record["warning_message"].as_str().unwrap().contains("lookup"), "{record}");
    }
    assert_eq!(missing["caa_check"]["caa_records"], json!([]));
    world.dns.say("new.example.test", Kind::Cname, &["elsewhere.test"]);
    let wrong = diagnose(&world, "new.example.test", 8080).await;
    assert_eq!(wrong["records"][0]["actual_value"], "elsewhere.test");
    assert_eq!(wrong["records"][0]["is_valid"], false);
    world.dns.fail("new.example.test", Kind::Cname);
    world.dns.fail("new.example.test", Kind::Caa);
    let failed = diagnose(&world, "new.example.test", 8080).await;
    let warning = failed["records"][0]["warning_message"].as_str().unwrap();
    assert_eq!(warning, "the lookup failed: no answer in time");
    assert_eq!(failed["caa_check"], Value::Null);
}

#[tokio::test]
async fn what_is_no_domain_or_no_port_is_refused_by_name() {
    let world = World::new().await;
    world.deploy("my-app").await;
    let path = "/cvms/my-app/customize-domain-diagnose";
    for (body, place) in [
        (json!({}), json!(["body", "domains"])),
        (json!({ "domains": [{ "domain": "localhost", "port": 80 }] }), json!("domain")),
        (json!({ "domains": [{ "domain": "app.example.test", "port": 0 }] }), json!("port")),
        (json!({ "domains": [{ "domain": "app.example.test" }] }), json!("port")),
    ] {
        let reply = world.post(path, body).await;
        assert_eq!(reply.status.as_u16(), 422, "{}", reply.text);
        let loc = &reply.json()["detail"][0]["loc"];
        assert!(loc == &place || loc.as_array().unwrap().last() == Some(&place), "{loc}");
    }
    let many = vec![json!({ "domain": "app.example.test", "port": 80 }); 11];
    world.post(path, json!({ "domains": many })).await.refused(400, "ERR-02-008");
    let none = world.post(path, json!({ "domains": [] })).await.ok();
    assert_eq!(none, json!({ "results": [] }));
}
