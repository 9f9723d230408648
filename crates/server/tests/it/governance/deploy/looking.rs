//! KMS, allowlists, checks, who governs an app.

use std::sync::Arc;

use axum::body::Body;
use casemate_api::kms_type::KmsType;
use casemate_core::{
    governance::{Account, calldata},
    id::{Address, AppId},
};
use casemate_engine::chain::Fault;
use casemate_testing::fake_chain::FakeChain;
use serde_json::{Value, json};

use crate::governance::deploy::{
    KMS, OTHER_HOST, OWNER, Stage, common::World, compose_hash, device, images, new_app,
};

const VERSIONS: [&str; 4] = ["2025-10-28", "2026-01-21", "2026-05-22", "2026-06-23"];

fn slugs(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["slug"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn kms_are_listed_as_machines_and_as_contracts() {
    let stage = Stage::new().await;
    for version in &VERSIONS[..3] {
        let get = async |path: &str| stage.world.call("GET", path, version, None).await.ok();
        let all = get("/kms").await;
        assert_eq!(slugs(&all), ["builtin", "kms-base-1"]);
        let fields: Vec<_> = all["items"][1].as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            fields,
            ["chain_id", "gateway_app_id", "id", "kms_contract_address", "slug", "url", "version"],
            "strict"
        );
        assert_eq!(slugs(&get("/kms?is_onchain=true").await), ["kms-base-1"]);
        assert_eq!(slugs(&get("/kms?is_onchain=false").await), ["builtin"]);
        assert_eq!(slugs(&get("/kms?page=2&page_size=1").await), ["kms-base-1"]);
        let one = get("/kms/kms-base-1").await;
        assert_eq!(one, all["items"][1]);
        assert_eq!(get(&format!("/kms/{}", one["id"].as_str().unwrap())).await, one);
    }
    let get = async |path: &str| stage.world.call("GET", path, "2026-06-23", None).await.ok();
    let all = get("/kms").await;
    assert_eq!(slugs(&all), ["phala", "kms-base-1"]);
    let contract = &all["items"][1];
    assert_eq!(contract["contract_address"], format!("0x{KMS}"));
    assert_eq!((&contract["chain_id"], &contract["node_count"]), (&json!(8453), &json!(1)));
    for name in ["base-4b4b4b4b", "kms-base-1", "base", contract["id"].as_str().unwrap()] {
        assert_eq!(&get(&format!("/kms/{name}")).await, contract, "{name}");
    }
    let nodes = get("/kms/base-4b4b4b4b/nodes").await;
    assert_eq!((&nodes["total"], &nodes["items"][0]["kms_type"]), (&json!(1), &json!("base")));
    assert_eq!(nodes["items"][0]["slug"], "kms-base-1");
    stage.world.get("/kms/nobody").await.refused(404, "ERR-20-008");
    let nodes = stage.world.get("/teepods/available").await.ok();
    assert_eq!(nodes["nodes"][0]["support_onchain_kms"], true);
    assert_eq!(nodes["nodes"][0]["kms_list"].as_array().unwrap().len(), 2);
    assert_eq!(nodes["kms_list"][1]["kms_contract_address"], format!("0x{KMS}"));
    let plain = World::new().await.get("/teepods/available").await.ok();
    assert_eq!(plain["nodes"][0]["support_onchain_kms"], false);
}

#[tokio::test]
async fn what_the_contract_of_a_kms_allows_is_shown() {
    let stage = Stage::with_two_hosts().await;
    let here = device(&stage.provision_with("my-app", json!({ "node_id": 1 })).await);
    stage.chain.allow_kms_device(KMS, here);
    let image = images(&stage.world)[0];
    stage.chain.allow_os_image(KMS, image, false);
    for chain in ["base", "BASE"] {
        let found = stage.world.get(&format!("/kms/on-chain/{chain}")).await.ok();
        assert_eq!((&found["chain_name"], &found["chain_id"]), (&json!("base"), &json!(8453)));
        let contract = &found["contracts"][0];
        assert_eq!(contract["contract_address"], format!("0x{KMS}"));
        let devices = contract["devices"].as_array().unwrap();
        let told: Vec<_> = devices
            .iter()
            .map(|device| (device["node_name"].as_str().unwrap(), &device["on_chain_allowed"]))
            .collect();
        assert_eq!(told, [("sim-1", &json!(true)), ("sim-2", &json!(false))]);
        assert_eq!(devices[1]["device_id"], OTHER_HOST.to_string());
        let allowed: Vec<_> = contract["os_images"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["on_chain_allowed"] == true)
            .collect();
        assert_eq!(allowed.len(), images(&stage.world).len() / 2 - 1, "{contract}");
    }
    stage.chain.fail_next(1, &Fault::Busy);
    let silent = stage.world.get("/kms/on-chain/base").await.ok();
    let contract = &silent["contracts"][0];
    for item in [&contract["devices"][0], &contract["os_images"][0]] {
        assert_eq!(item["on_chain_allowed"], Value::Null, "{item}");
    }
    let none = stage.world.get("/kms/on-chain/ethereum").await.ok();
    assert_eq!((&none["chain_id"], &none["contracts"]), (&json!(1), &json!([])));
    stage.world.get("/kms/on-chain/solana").await.refused(400, "ERR-02-008");
    stage.world.get("/kms/on-chain/phala").await.refused(400, "ERR-02-008");
}

#[tokio::test]
async fn a_kms_is_inspected() {
    let stage = Stage::new().await;
    let here = device(&stage.provision("my-app").await);
    let get = async |kms: &str| stage.world.get(&format!("/kms/{kms}/info")).await.ok();
    let found = get("kms-base-1").await;
    assert_eq!((&found["kms_type"], &found["slug"]), (&json!("base"), &json!("kms-base-1")));
    assert_eq!(found["rpc"]["chain_id"], 8453);
    assert_eq!(found["rpc"]["bootstrap_info"]["k256_pubkey"].as_str().unwrap().len(), 66);
    assert_eq!(found["teepods"][0]["name"], "sim-1");
    assert!(!found["teepods"][0]["available_os_images"].as_array().unwrap().is_empty());
    let on_chain = &found["on_chain"];
    assert_eq!((&on_chain["exists"], &on_chain["error"]), (&json!(true), &Value::Null));
    assert_eq!(on_chain["verification"]["device_id_allowed"], false);
    assert_eq!(on_chain["verification"]["os_image_allowed"], true);
    stage.chain.allow_kms_device(KMS, here);
    assert_eq!(get("kms-base-1").await["on_chain"]["verification"]["device_id_allowed"], true);
    stage.chain.fail_next(1, &Fault::Unavailable("rpc.test: timeout".to_owned()));
    let silent = get("kms-base-1").await;
    assert_eq!(silent["on_chain"]["exists"], Value::Null);
    assert!(silent["on_chain"]["error"].as_str().unwrap().contains("rpc.test"), "{silent}");
    let builtin = get("phala").await;
    assert_eq!((&builtin["on_chain"], &builtin["kms_type"]), (&Value::Null, &json!("phala")));
    stage.world.get("/kms/nobody/info").await.refused(404, "ERR-20-008");
}

#[tokio::test]
async fn hosts_are_listed_with_what_the_contract_of_the_app_says() {
    let stage = Stage::with_two_hosts().await;
    let provisioned = stage.provision_with("my-app", json!({ "node_id": 1 })).await;
    let (app, _) = stage.app(&provisioned);
    let vm = stage.commit(&provisioned, app, json!({})).await.ok();
    let path = format!("/apps/{app}/device-allowlist");
    for version in VERSIONS {
        let list = stage.world.call("GET", &path, version, None).await.ok();
        assert_eq!((&list["is_onchain_kms"], &list["chain_id"]), (&json!(true), &json!(8453)));
        assert_eq!(list["app_contract_address"], format!("0x{app}"));
        assert_eq!(list["allow_any_device"], false);
        let devices = list["devices"].as_array().unwrap();
        assert_eq!(devices.len(), 2);
        let (own, other) = (&devices[0], &devices[1]);
        assert_eq!((&own["status"], &own["allowed_onchain"]), (&json!("allowed"), &json!(true)));
        assert_eq!(
            (&own["node_name"], &own["device_id"]),
            (&json!("sim-1"), &provisioned["device_id"])
        );
        let ids = own["cvm_ids"].as_array().unwrap();
        assert_eq!((ids.len(), ids[0].is_string()), (1, version >= "2026-05-22"), "{list}");
        if !ids[0].is_string() {
            assert_eq!(ids[0], vm["id"]);
        }
        assert_eq!((&other["status"], &other["cvm_ids"]), (&json!("not_allowed"), &json!([])));
    }
    stage.chain.set_any_device(app, true);
    let list = stage.world.get(&path).await.ok();
    assert_eq!(
        (&list["allow_any_device"], &list["devices"][1]["status"]),
        (&json!(true), &json!("allowed"))
    );
    assert_eq!(list["devices"][1]["allowed_onchain"], false, "any will do; it is not listed");
    stage.chain.fail_next(2, &Fault::Busy);
    let silent = stage.world.get(&path).await.ok();
    assert_eq!((&silent["allow_any_device"], &silent["chain_id"]), (&Value::Null, &json!(8453)));
    assert_eq!(silent["devices"][0]["status"], "unknown");
    assert_eq!(silent["devices"][0]["allowed_onchain"], false);
    // Apps without a contract, and nobody's.
    let ours = stage.world.deploy("plain-app").await;
    let plain = format!("/apps/{}/device-allowlist", ours["app_id"].as_str().unwrap());
    let plain = stage.world.get(&plain).await.ok();
    assert_eq!((&plain["is_onchain_kms"], &plain["devices"]), (&json!(false), &json!([])));
    let stranger = stage.stranger().await;
    stranger.get(&path).await.refused(404, "ERR-20-008");
}

#[tokio::test]
async fn whether_it_is_allowed_is_what_the_contract_says() {
    let stage = Stage::with_two_hosts().await;
    let provisioned = stage.provision_with("my-app", json!({ "node_id": 1 })).await;
    let (app, _) = stage.app(&provisioned);
    let vm = stage.commit(&provisioned, app, json!({})).await.ok();
    let cvm = format!("/cvms/{}/is-allowed", vm["vm_uuid"].as_str().unwrap());
    let of_app = format!("/apps/{app}/is-allowed");
    let own = stage.world.post(&cvm, json!({})).await.ok();
    assert_eq!((&own["is_allowed"], &own["compose_hash_allowed"]), (&json!(true), &json!(true)));
    assert_eq!(
        (&own["device_id_allowed"], &own["allow_any_device"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(own["app_contract_address"], format!("0x{app}"));
    assert_eq!((&own["cvm_id"], &own["error"]), (&vm["id"], &Value::Null));
    let other_hash = "99".repeat(32);
    let hash = provisioned["compose_hash"].clone();
    for (path, asked, allowed) in [
        (&cvm, json!({ "compose_hash": other_hash }), (false, true, Some(true))),
        (&cvm, json!({ "node_id": 2 }), (true, false, Some(false))),
        (&cvm, json!({ "device_id": format!("0x{OTHER_HOST}") }), (true, false, Some(false))),
        (&of_app, json!({ "compose_hash": hash, "node_id": 1 }), (true, true, Some(true))),
        (
            &of_app,
            json!({ "compose_hash": hash, "chain_id": 8453, "node_id": 1 }),
            (true, true, Some(true)),
        ),
        (
            &of_app,
            json!({ "compose_hash": format!("0x{other_hash}"), "node_id": 2 }),
            (false, false, Some(false)),
        ),
        (&of_app, json!({ "compose_hash": hash }), (true, false, None)),
    ] {
        let reply = stage.world.post(path, asked.clone()).await.ok();
        let (hash, all, device) = allowed;
        assert_eq!(reply["compose_hash_allowed"], hash, "{asked}: {reply}");
        assert_eq!(reply["is_allowed"], hash && all, "{asked}: {reply}");
        assert_eq!(reply["device_id_allowed"], json!(device), "{asked}: {reply}");
        assert_eq!(reply["error"].is_string(), device.is_none(), "{asked}: {reply}");
    }
    for (asked, status) in [
        (json!({}), 422),
        (json!({ "compose_hash": hash, "node_id": 99 }), 400),
        (json!({ "compose_hash": hash, "chain_id": 1 }), 400),
        (json!({ "compose_hash": hash, "device_id": "zz" }), 422),
    ] {
        let reply = stage.world.post(&of_app, asked.clone()).await;
        assert_eq!(reply.status.as_u16(), status, "{asked}: {}", reply.text);
    }
    // Any host will do.
    stage.chain.set_any_device(app, true);
    let any = stage.world.post(&of_app, json!({ "compose_hash": hash })).await.ok();
    assert_eq!((&any["is_allowed"], &any["device_id_allowed"]), (&json!(true), &Value::Null));
    // Outage is no answer.
    stage.chain.fail_next(1, &Fault::Busy);
    let silent = stage.world.post(&cvm, json!({})).await;
    assert!(silent.headers.contains_key("retry-after"));
    silent.refused(503, "ERR-20-023");
}

#[tokio::test]
async fn all_cvms_of_an_app_are_checked_in_one() {
    let stage = Stage::with_two_hosts().await;
    let provisioned = stage.provision_with("my-app", json!({ "node_id": 1 })).await;
    let (app, _) = stage.app(&provisioned);
    let vm = stage.commit(&provisioned, app, json!({})).await.ok();
    stage.world.settle().await;
    let path = format!("/apps/{app}/cvms/is-allowed");
    let all = stage.world.post(&path, json!({})).await.ok();
    assert_eq!((&all["is_onchain"], &all["total"]), (&json!(true), &json!(1)));
    assert_eq!((&all["allowed_count"], &all["skipped_cvm_ids"]), (&json!(1), &json!([])));
    assert_eq!(all["results"][0]["cvm_id"], vm["id"]);
    assert_eq!(all["results"][0]["is_allowed"], true);
    stage.chain.remove_hash(app, compose_hash(&provisioned));
    let all = stage.world.post(&path, json!({})).await.ok();
    assert_eq!((&all["denied_count"], &all["error_count"]), (&json!(1), &json!(0)), "{all}");
    stage.chain.fail_next(1, &Fault::Busy);
    let all = stage.world.post(&path, json!({})).await.ok();
    assert_eq!((&all["denied_count"], &all["error_count"]), (&json!(0), &json!(1)), "{all}");
    assert!(all["results"][0]["error"].is_string(), "{all}");
}

#[tokio::test]
async fn who_governs_an_app_is_told() {
    let stage = Stage::new().await;
    let safe = Address::from_bytes([0x5a; 20]);
    let provisioned = stage.provision("my-app").await;
    let (app, _) =
        stage.chain.deploy(KMS, &calldata::NewApp { owner: safe, ..new_app(&provisioned) });
    let more = json!({ "deployer_address": format!("0x{safe}") });
    stage.commit(&provisioned, app, more).await.ok();
    let path = format!("/apps/{app}/kms-info");
    let get = async || stage.world.get(&path).await.ok();
    let eoa = get().await;
    assert_eq!((&eoa["is_onchain_kms"], &eoa["chain_id"]), (&json!(true), &json!(8453)));
    assert_eq!(eoa["kms_contract_address"], format!("0x{KMS}"));
    assert_eq!(eoa["app_contract_address"], format!("0x{app}"));
    assert_eq!((&eoa["deployer_type"], &eoa["is_contract"]), (&json!("eoa"), &json!(false)));
    assert_eq!(eoa["owner_address"], format!("0x{safe}"));
    assert_eq!((&eoa["safe_app_url"], eoa.get("pending_owner_address")), (&Value::Null, None));
    stage.chain.set_account(safe, Account::Safe { threshold: 2, owners: vec![OWNER] });
    stage.chain.set_pending_owner(app, Some(OWNER));
    let multisig = get().await;
    assert_eq!(
        (&multisig["deployer_type"], &multisig["is_contract"]),
        (&json!("safe"), &json!(true))
    );
    let url = multisig["safe_app_url"].as_str().unwrap();
    assert_eq!(url, format!("https://app.safe.global/home?safe=base:0x{safe}"));
    assert_eq!(multisig["pending_owner_address"], format!("0x{OWNER}"));
    stage.chain.set_account(safe, Account::Contract);
    assert_eq!(get().await["deployer_type"], "contract");
    // What the chain does not say is not told; what is recorded is.
    stage.chain.fail_next(2, &Fault::Busy);
    let silent = get().await;
    assert_eq!((&silent["deployer_type"], silent.get("owner_address")), (&Value::Null, None));
    assert_eq!(silent["deployer_address"], format!("0x{safe}"));
}

#[tokio::test]
async fn lists_show_and_find_apps_by_their_kms() {
    let stage = Stage::new().await;
    let (app, _) = stage.deploy("my-app").await;
    let ours = stage.world.deploy("plain-app").await;
    stage.world.settle().await;
    let found = async |query: &str| -> Vec<String> {
        let page = stage.world.get(&format!("/apps?{query}")).await.ok();
        let apps = page["dstack_apps"].as_array().unwrap();
        apps.iter().map(|app| app["app_id"].as_str().unwrap().to_owned()).collect()
    };
    let (governed, plain) = (app.to_string(), ours["app_id"].as_str().unwrap().to_owned());
    for (query, apps) in [
        ("kms_type=base", vec![governed.clone()]),
        ("kms_type=BASE&kms_slug=kms-base-1", vec![governed.clone()]),
        ("kms_slug=kms-base-1", vec![governed]),
        ("kms_type=phala", vec![plain.clone()]),
        ("kms_slug=builtin", vec![plain]),
        ("kms_slug=builtin&kms_type=base", vec![]),
        ("kms_type=ethereum", vec![]),
    ] {
        assert_eq!(found(query).await, apps, "{query}");
    }
    let options = stage.world.get("/apps/filter-options").await.ok();
    assert_eq!(options["kms_types"], json!(["phala", "base"]));
    assert_eq!(options["kms_slugs"], json!(["builtin", "kms-base-1"]));
    let one = stage.world.get(&format!("/apps/{app}")).await.ok();
    assert_eq!(one["kms_type"], "base");
    let public = http::Request::get("/api/v1/apps?listed=true").body(Body::empty()).unwrap();
    let public = stage.world.send(public).await.ok();
    let kinds: Vec<_> = public["dstack_apps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|app| app["kms_type"].as_str().unwrap())
        .collect();
    assert!(kinds.contains(&"base") && kinds.contains(&"phala"), "{public}");
}

#[tokio::test]
async fn a_kms_that_is_configured_no_more_is_an_error_and_never_none() {
    let stage = Stage::new().await;
    let (app, _) = stage.deploy("my-app").await;
    let without = stage.world.replica().governed_by(Vec::new());
    for path in [format!("/apps/{app}/device-allowlist"), format!("/apps/{app}/kms-info")] {
        without.get(&path).await.refused(503, "ERR-20-022");
    }
    let asked = json!({});
    without.post("/cvms/my-app/is-allowed", asked).await.refused(503, "ERR-20-022");
    assert_eq!(without.get("/cvms/my-app").await.ok()["kms_type"], Value::Null);
    // Another contract is another KMS.
    let chain = Arc::new(FakeChain::new(8453));
    let other = Address::from_bytes([0x77; 20]);
    let moved =
        stage.world.replica().governed_by(vec![("kms-base-1", KmsType::Base, other, chain)]);
    moved.get(&format!("/apps/{app}/kms-info")).await.refused(503, "ERR-20-022");
    let _: AppId = app;
}
