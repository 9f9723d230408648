//! What is shown of clusters, and of CVMs that several clusters lead to.

use casemate_dstack_double::{GatewayFault, GatewayProfile};
use serde_json::json;

use super::stage::Stage;

#[tokio::test]
async fn an_operator_sees_the_last_look_at_each_cluster() {
    let [oldest, newest] = GatewayProfile::ALL;
    let mut stage = Stage::new(&[newest, oldest], |_| {}).await;
    stage.deploy("web-1").await;
    let instance = stage.instance("web-1").await;
    let list = stage.world.get("/admin/gateways").await.ok();
    assert_eq!(list["gateways"].as_array().unwrap().len(), 2);
    assert_eq!(list["gateways"][0]["reachable"], false, "it has not been looked at");

    stage.look().await;
    let one = stage.world.get("/admin/gateways/gw-1").await.ok();
    assert_eq!((&one["reachable"], &one["version"]), (&json!(true), &json!("0.6.6")));
    assert_eq!(one["base_domains"], json!(["apps-1.example"]));
    assert_eq!((&one["registered"], &one["online"]), (&json!(1), &json!(1)));
    assert_eq!(one["instances"][0]["instance_id"], json!(instance));
    assert_eq!(one["instances"][0]["ready"], true);
    assert!(one["latest_handshake"].as_str().unwrap().starts_with("2026-09-"));
    assert_eq!(one["domains"][0]["domain"], "apps-1.example");
    assert_eq!(one["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(one["notes"], json!([]));
    let two = stage.world.get("/admin/gateways/gw-2").await.ok();
    assert_eq!(two["features"]["rotation"], false);
    assert!(two["notes"][0].as_str().unwrap().contains("update dstack-gateway"), "{two}");
    let list = stage.world.get("/admin/gateways").await.ok();
    assert_eq!(list["gateways"][0]["instances"], json!([]));

    stage.clusters[0].set_faults(vec![GatewayFault::Away]);
    stage.look().await;
    let away = stage.world.get("/admin/gateways/gw-1").await.ok();
    assert_eq!(away["reachable"], false);
    assert!(away["cause"].as_str().unwrap().contains("no gateway"), "{away}");
    assert_eq!(away["registered"], 1, "the last answer stays");
    assert_eq!(away["looks"], 2);
    let missing = stage.world.get("/admin/gateways/gw-9").await;
    assert_eq!(missing.status.as_u16(), 404);
}

#[tokio::test]
async fn a_cvm_in_several_clusters_has_an_endpoint_in_each() {
    let newest = GatewayProfile::newest();
    let mut stage = Stage::new(&[newest.clone(), newest], |_| {}).await;
    stage.deploy("web-1").await;
    let app = stage.app.trim_start_matches("app_").to_owned();
    let cvm = stage.world.get("/cvms/web-1").await.ok();
    let urls: Vec<_> = cvm["public_urls"].as_array().unwrap().iter().collect();
    let hosts: Vec<String> =
        urls.iter().map(|url| url["app"].as_str().unwrap().to_owned()).collect();
    assert_eq!(hosts.len() % 2, 0, "{cvm}");
    assert!(hosts[0].starts_with(&format!("https://{app}-")), "{hosts:?}");
    for (at, host) in hosts.iter().enumerate() {
        assert!(host.ends_with(&format!(".apps-{}.example", at % 2 + 1)), "{hosts:?}");
    }
    let one = stage.world.call("GET", "/cvms/web-1", "2026-06-23", None).await.ok();
    assert_eq!(one["gateway"]["base_domain"], "apps-1.example", "{one}");
    assert_eq!(one["endpoints"].as_array().unwrap().len(), hosts.len());
}

#[tokio::test]
async fn domains_and_port_policies_are_set_at_a_cluster() {
    let [oldest, newest] = GatewayProfile::ALL;
    let mut stage = Stage::new(&[newest, oldest], |_| {}).await;
    stage.deploy("web-1").await;
    let instance = stage.instance("web-1").await;
    let world = &stage.world;
    let request = json!({ "domain": "more.example", "port": 8443 });
    let added = world.post("/admin/gateways/gw-1/domains", request.clone()).await.ok();
    assert_eq!((&added["domain"], &added["port"]), (&json!("more.example"), &json!(8443)));
    let twice = world.post("/admin/gateways/gw-1/domains", request).await;
    assert_eq!(twice.status, 409, "{}", twice.text);
    let delete = async |path: &str| world.call("DELETE", path, "", None).await;
    let own = delete("/admin/gateways/gw-1/domains/apps-1.example").await;
    assert_eq!(own.status, 409, "{}", own.text);
    assert!(own.text.contains("base_domains"), "{}", own.text);
    assert_eq!(delete("/admin/gateways/gw-1/domains/more.example").await.status, 200);

    let path = format!("/admin/gateways/gw-1/instances/{instance}");
    let found = world.get(&path).await.ok();
    assert_eq!(
        (&found["port_policy"], &found["port_policy_source"]),
        (&json!(null), &json!("none"))
    );
    assert!(found["handshakes"][0]["at"].is_string(), "{found}");
    let policy = json!({ "ports": [{ "port": 8080, "proxy_protocol": true }], "restricted": true });
    let set = world.post(&format!("{path}/port-policy"), policy.clone()).await;
    let found = set.ok();
    assert_eq!((&found["port_policy"], &found["port_policy_source"]), (&policy, &json!("admin")));
    let cleared = delete(&format!("{path}/port-policy")).await.ok();
    assert_eq!(cleared["port_policy_source"], "none");

    // An old build says what it does not have, and one that is away that it is.
    let old = format!("/admin/gateways/gw-2/instances/{instance}");
    assert_eq!(world.get(&old).await.ok()["port_policy_source"], "none");
    let refused = world.post(&format!("{old}/port-policy"), policy.clone()).await;
    assert_eq!(refused.status, 501, "{}", refused.text);
    let strange = world.get("/admin/gateways/gw-1/instances/zz").await;
    assert_eq!(strange.status, 422, "{}", strange.text);
    stage.clusters[0].set_faults(vec![GatewayFault::Away]);
    let away = stage.world.post(&format!("{path}/port-policy"), policy).await;
    assert_eq!(away.status, 503, "{}", away.text);
}
