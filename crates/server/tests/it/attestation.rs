//! Evidence of guests: collected, verified, shown, asked for, exported.

use axum::{body::Body, http::Request};
use casemate_core::id::CvmId;
use casemate_server::{config::ConfiguredRoot, gateway::Gateway, work::evidence};
use casemate_store::evidence::open_requests;
use casemate_testing::world::{Reply, TestNode, World, provision_body};
use casemate_verify::{Bundle, ClaimId, Expected, Outcome, Policy, Roots, policy::KmsRoot, verify};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

/// Has the guests that are due asked, and requests answered.
async fn collect(world: &World) {
    for node in world.ctx.fleet.own().values() {
        node.evidence.note_all();
        let asked = open_requests(&world.ctx.db, &[node.id], 100).await.unwrap();
        evidence::round(&world.ctx, node, asked).await.unwrap();
    }
}

/// A world with one running CVM, its id and app id.
async fn running(world: &World, name: &str) -> (String, String) {
    let made = world.deploy(name).await;
    world.settle().await;
    let id = made["vm_uuid"].as_str().unwrap().replace('-', "");
    (id, made["app_id"].as_str().unwrap().trim_start_matches("app_").to_owned())
}

async fn anonymous(world: &World, method: &str, path: &str) -> Reply {
    let request = Request::builder().method(method).uri(format!("/api/v1{path}"));
    world.send(request.body(Body::empty()).unwrap()).await
}

fn claim<'a>(verdict: &'a Value, name: &str) -> &'a Value {
    let claims = verdict["claims"].as_array().unwrap();
    claims.iter().find(|claim| claim["claim"] == name).unwrap()
}

#[tokio::test]
async fn a_running_cvm_shows_its_evidence_and_a_stopped_one_none() {
    let world = World::new().await;
    let (cvm, _) = running(&world, "alpha").await;
    let path = format!("/cvms/{cvm}/attestation");
    let before = world.get(&path).await.ok();
    assert_eq!((&before["is_online"], &before["tcb_info"]), (&json!(true), &Value::Null));
    assert!(before["error"].as_str().unwrap().contains("not asked"), "{before}");

    collect(&world).await;
    let shown = world.get(&path).await.ok();
    assert_eq!(shown["error"], Value::Null, "{shown}");
    assert_eq!((&shown["is_public"], &shown["simulated"]), (&json!(true), &json!(true)));
    let tcb = &shown["tcb_info"];
    assert_eq!(tcb["app_compose"], shown["compose_file"]);
    let log = tcb["event_log"].as_array().unwrap();
    let event = |name: &str| log.iter().find(|event| event["event"] == name).unwrap();
    let detail = world.get(&format!("/cvms/{cvm}")).await.ok();
    assert_eq!(event("compose-hash")["event_payload"], detail["compose_hash"]);
    assert_eq!(event("instance-id")["event_payload"], detail["instance_id"]);
    let verdict = &shown["verdict"];
    for name in ["hardware", "tcb", "debug-off", "event-log", "compose-hash", "app-id", "os-image"]
    {
        assert_eq!(claim(verdict, name)["state"], "proven", "{verdict:#}");
    }
    let reason = claim(verdict, "hardware")["reason"].as_str().unwrap();
    assert!(reason.contains("simulated"), "{reason}");
    assert_eq!(verdict["accepted"], true, "{verdict:#}");

    // The same guest is not asked again, a restarted one is.
    let first = shown["checksum"].clone();
    collect(&world).await;
    world.post(&format!("/cvms/{cvm}/stop"), json!({})).await.ok();
    world.settle().await;
    collect(&world).await;
    let stopped = world.get(&path).await.ok();
    assert_eq!((&stopped["is_online"], &stopped["quote"]), (&json!(false), &Value::Null));
    assert!(stopped["error"].as_str().unwrap().contains("does not run"));
    world.post(&format!("/cvms/{cvm}/start"), json!({})).await.ok();
    world.settle().await;
    let again = world.get(&path).await.ok();
    assert!(again["error"].as_str().unwrap().contains("not asked"), "that was an earlier boot");
    collect(&world).await;
    assert_eq!(world.get(&path).await.ok()["checksum"], first, "the same boot measures the same");
}

#[tokio::test]
async fn a_nonce_is_in_the_quote_or_refused() {
    let world = World::fleet(vec![TestNode::docker()], |_| {}).await;
    let (cvm, _) = running(&world, "alpha").await;
    let path = format!("/casemate/cvms/{cvm}/attestation/requests");
    for (nonce, why) in [("", "1 to 64"), ("xy", "hex"), (&*"00".repeat(65), "1 to 64")] {
        let refused = world.post(&path, json!({ "nonce": nonce })).await;
        assert_eq!(refused.status.as_u16(), 422, "{}", refused.text);
        assert!(refused.text.contains(why), "{}", refused.text);
    }
    let asked = world.post(&path, json!({ "nonce": "0xabcd" })).await;
    assert_eq!(asked.status.as_u16(), 202);
    let asked = asked.ok();
    let state = format!("{path}/{}", asked["id"].as_str().unwrap());
    assert_eq!(world.get(&state).await.ok()["state"], "pending");
    collect(&world).await;
    let answered = world.get(&state).await.ok();
    assert_eq!(answered["state"], "collected", "{answered}");
    let checksum = answered["checksum"].as_str().unwrap();
    let viewed = world.get(&format!("/attestations/view/{checksum}")).await.ok();
    let data = format!("abcd{}", "00".repeat(62));
    assert_eq!(viewed["quote"]["body"]["reportdata"], data);
    assert_eq!(claim(&viewed["verdict"], "report-data")["state"], "proven");
    // Others see neither the request nor that there is one.
    world.get(&format!("{path}/0")).await.refused(404, "ERR-20-008");

    for _ in 0..8 {
        world.post(&path, json!({})).await.ok();
    }
    assert_eq!(world.post(&path, json!({})).await.status.as_u16(), 429, "too many are open");
    world.post(&format!("/cvms/{cvm}/stop"), json!({})).await.ok();
    world.settle().await;
    assert_eq!(world.post(&path, json!({})).await.status.as_u16(), 409);
    collect(&world).await;
    let nodes: Vec<_> = world.ctx.fleet.own().keys().copied().collect();
    let pending = open_requests(&world.ctx.db, &nodes, 100).await.unwrap();
    assert!(pending.is_empty(), "a request about a CVM that went down ends");
}

#[tokio::test]
async fn a_node_whose_guests_cannot_be_asked_refuses_a_nonce() {
    let world = World::new().await;
    let (cvm, _) = running(&world, "alpha").await;
    let path = format!("/casemate/cvms/{cvm}/attestation/requests");
    let refused = world.post(&path, json!({ "nonce": "ab" })).await;
    assert_eq!(refused.status.as_u16(), 422);
    assert!(refused.text.contains("cannot be honoured"), "{}", refused.text);
    world.post(&path, json!({})).await.ok();
}

#[tokio::test]
async fn an_app_decides_who_reads_its_evidence() {
    let world = World::new().await;
    let (_, public) = running(&world, "public").await;
    let mut body = provision_body("private");
    body["compose_file"]["public_tcbinfo"] = json!(false);
    let provisioned = world.post("/cvms/provision", body).await.ok();
    let commit = json!({
        "app_id": provisioned["app_id"], "compose_hash": provisioned["compose_hash"]
    });
    let made = world.post("/cvms", commit).await.ok();
    world.settle().await;
    let private = made["app_id"].as_str().unwrap().trim_start_matches("app_").to_owned();
    collect(&world).await;

    for (app, own, others) in [(&public, 200, 200), (&private, 200, 404)] {
        for path in [
            format!("/apps/{app}/attestations"),
            format!("/apps/{app}/attestations/tcb-evaluation"),
        ] {
            let mine = world.get(&path).await;
            assert_eq!(mine.status.as_u16(), own, "{path}: {}", mine.text);
            assert_eq!(mine.json()["app_id"], **app);
            assert_eq!(anonymous(&world, "GET", &path).await.status.as_u16(), others, "{path}");
        }
    }
    let evaluated = world.get(&format!("/apps/{public}/attestations/tcb-evaluation")).await.ok();
    let first = &evaluated["instances"][0];
    assert_eq!(first["evaluation_ok"], Value::Null);
    assert!(first["error"].as_str().unwrap().contains("no TEE"), "{first}");

    let checksum = async |app: &str| {
        let shown = world.get(&format!("/apps/{app}/attestations")).await.ok();
        shown["instances"][0]["checksum"].as_str().unwrap().to_owned()
    };
    for (app, status) in [(&public, 200), (&private, 404)] {
        let checksum = checksum(app).await;
        for what in ["view", "collateral"] {
            let path = format!("/attestations/{what}/{checksum}");
            assert_eq!(world.call("GET", &path, "", None).await.status.as_u16(), 200, "{path}");
            assert_eq!(anonymous(&world, "GET", &path).await.status.as_u16(), status, "{path}");
        }
        let raw = format!("/api/v1/attestations/raw/{checksum}");
        for (method, has_body) in [("GET", true), ("HEAD", false)] {
            let request = Request::builder().method(method).uri(&raw);
            let request = request.body(Body::empty()).unwrap();
            let response = world.router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{method}");
            if status == 200 {
                let length = response.headers()["content-length"].to_str().unwrap().to_owned();
                let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
                assert_eq!(body.len().to_string() == length, has_body, "{method}");
                let sum = hex::encode(Sha256::digest(&body));
                assert_eq!(sum == checksum, has_body, "{method}");
            }
        }
    }
    let unknown = "0".repeat(64);
    world.get(&format!("/attestations/view/{unknown}")).await.refused(404, "ERR-20-008");
}

#[tokio::test]
async fn an_uploaded_quote_is_kept_if_it_is_genuine() {
    let world = World::new().await;
    let (cvm, _) = running(&world, "alpha").await;
    collect(&world).await;
    let shown = world.get(&format!("/cvms/{cvm}/attestation")).await.ok();
    let own = shown["quote"].as_str().unwrap().to_owned();
    let known = world.post("/attestations/verify", json!({ "hex": own })).await.ok();
    assert_eq!(known["checksum"], shown["checksum"]);
    // Simulated: never a success.
    assert_eq!((&known["success"], &known["proof_of_cloud"]), (&json!(false), &json!(true)));

    // A quote of the same root that no CVM showed.
    let root = world.kms.development_root().unwrap();
    let report = casemate_verify::simulate::TdReport { report_data: [9; 64], ..Default::default() };
    let quote = root.quote(&report).unwrap();
    let digits = format!("0x{}", hex::encode(&quote));
    let first = world.post("/attestations/verify", json!({ "hex": digits })).await.ok();
    assert_eq!((&first["success"], &first["can_download"]), (&json!(false), &json!(true)));
    assert_eq!(first["proof_of_cloud"], false);
    let boundary = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"q\"\r\n\r\n";
    let mut form = boundary.as_bytes().to_vec();
    form.extend(&quote);
    form.extend(b"\r\n--x--\r\n");
    let request = Request::builder()
        .method("POST")
        .uri("/api/v1/attestations/verify")
        .header("content-type", "multipart/form-data; boundary=x");
    let again = world.send(request.body(Body::from(form)).unwrap()).await.ok();
    assert_eq!(again["checksum"], first["checksum"]);
    let recent = anonymous(&world, "GET", "/attestations/recent").await.ok();
    assert_eq!(recent.as_array().unwrap().len(), 1, "that of the CVM was not uploaded");

    // One flipped bit: judged, not kept.
    let mut forged = quote.clone();
    forged[200] ^= 1;
    let forged =
        world.post("/attestations/verify", json!({ "hex": hex::encode(forged) })).await.ok();
    assert_eq!((&forged["success"], &forged["can_download"]), (&json!(false), &json!(false)));
    assert_eq!(claim(&forged["verdict"], "hardware")["state"], "failed");
    let path = format!("/attestations/raw/{}", forged["checksum"].as_str().unwrap());
    assert_eq!(world.get(&path).await.status.as_u16(), 404);
    for wrong in [json!({ "hex": "00" }), json!({ "hex": "zz" }), json!({})] {
        let refused = world.post("/attestations/verify", wrong).await;
        assert!(refused.status.is_client_error(), "{}", refused.text);
    }
}

#[tokio::test]
async fn a_quote_under_a_configured_development_root_is_no_success() {
    let lab = casemate_verify::simulate::DevelopmentRoot::from_seed(&[3; 32]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lab.pem");
    std::fs::write(&file, lab.certificate_pem().unwrap()).unwrap();
    let now = jiff::Timestamp::from_second(1_767_225_600).unwrap();
    let collateral = lab.collateral(now).unwrap();
    let pccs = pccs(collateral).await;
    let world = World::with(|config| {
        config.attestation.pccs_url = pccs;
        let root = ConfiguredRoot { name: "lab".to_owned(), file };
        config.attestation.development_roots = vec![root];
    })
    .await;
    let quote = lab.quote(&casemate_verify::simulate::TdReport::default()).unwrap();
    let shown = world.post("/attestations/verify", json!({ "hex": hex::encode(quote) })).await.ok();
    assert_eq!(claim(&shown["verdict"], "hardware")["state"], "proven", "{shown:#}");
    assert_eq!(claim(&shown["verdict"], "tcb")["state"], "proven");
    assert_eq!(shown["success"], false, "it proves nothing about hardware");
}

/// A certification service with this collateral.
async fn pccs(has: casemate_verify::QuoteCollateralV3) -> String {
    use axum::{http::HeaderName, routing::get};
    let chain = |name: &'static str, chain: &str, body: Vec<u8>| {
        let name = HeaderName::from_static(name);
        let escaped = chain.replace('\n', "%0A").replace(' ', "%20");
        let reply = ([(name, escaped)], body);
        get(move || std::future::ready(reply.clone()))
    };
    let signed = |name: &str, value: &str, signature: &[u8]| {
        format!(r#"{{"{name}":{value},"signature":"{}"}}"#, hex::encode(signature)).into_bytes()
    };
    let tcb = signed("tcbInfo", &has.tcb_info, &has.tcb_info_signature);
    let qe = signed("enclaveIdentity", &has.qe_identity, &has.qe_identity_signature);
    let root = hex::encode(has.root_ca_crl);
    let router = axum::Router::new()
        .route(
            "/sgx/certification/v4/pckcrl",
            chain("sgx-pck-crl-issuer-chain", &has.pck_crl_issuer_chain, has.pck_crl),
        )
        .route(
            "/tdx/certification/v4/tcb",
            chain("tcb-info-issuer-chain", &has.tcb_info_issuer_chain, tcb),
        )
        .route(
            "/tdx/certification/v4/qe/identity",
            chain("sgx-enclave-identity-issuer-chain", &has.qe_identity_issuer_chain, qe),
        )
        .route("/sgx/certification/v4/rootcacrl", get(move || std::future::ready(root.clone())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn a_bundle_verifies_without_this_service() {
    let world = World::new().await;
    let (cvm, _) = running(&world, "alpha").await;
    let path = format!("/casemate/cvms/{cvm}/attestation/bundle");
    world.get(&path).await.refused(404, "ERR-20-008");
    collect(&world).await;
    let text = world.get(&path).await.text;
    let bundle = Bundle::parse(text.as_bytes()).unwrap();
    let now = jiff::Timestamp::from_microsecond(world.ctx.now().micros()).unwrap();
    let certificate = world.ctx.attestation.development_certificate().unwrap();
    let roots = Roots::vendors().with_development("mine", certificate.as_bytes()).unwrap();
    let lenient = Policy {
        simulated: true,
        dev_images: true,
        reported_images: true,
        required: vec![ClaimId::Hardware, ClaimId::ComposeHash, ClaimId::AppId],
        ..Policy::default()
    };
    let found = verify(&bundle, &lenient, &roots, &Expected::default(), now);
    assert_eq!(found.outcome, Outcome::Simulated, "{found:#?}");
    assert_eq!(bundle.login.as_ref().map(|login| login.ssh_keys.len()), Some(0));
    // Who pins the KMS learns that variables are sealed to a key of it.
    let kms = bundle.kms.as_ref().unwrap();
    let root = KmsRoot {
        name: "ours".to_owned(),
        root_public_key: kms.root_public_key,
        ca_public_key: None,
    };
    let pinned = Policy { kms_roots: vec![root], ..lenient };
    let found = verify(&bundle, &pinned, &roots, &Expected::default(), now);
    assert!(found.proves(ClaimId::EnvKey) && found.proves(ClaimId::KmsRoot), "{found:#?}");
    // Who trusts Intel alone learns that it is not a real one.
    let strict = verify(&bundle, &Policy::default(), &Roots::vendors(), &Expected::default(), now);
    assert_eq!(strict.outcome, Outcome::Failed);
    assert!(!strict.proves(ClaimId::Hardware));
}

#[tokio::test]
async fn hosts_are_listed_for_anybody() {
    let world = World::fleet(vec![TestNode::sim(), TestNode::docker()], |_| {}).await;
    let nodes = anonymous(&world, "GET", "/attestations/nodes").await.ok();
    let names: Vec<_> = nodes.as_array().unwrap().iter().map(|node| &node["name"]).collect();
    assert_eq!(names, ["sim-1", "docker-1"]);
    let devices = anonymous(&world, "GET", "/attestations/device_ids").await.ok();
    assert_eq!(devices.as_array().unwrap().len(), 1, "two simulated hosts are one device");
    assert_eq!(anonymous(&world, "GET", "/attestations/ppids").await.ok(), json!([]));
}

#[tokio::test]
async fn evidence_of_a_deleted_cvm_goes_and_its_newest_few_stay() {
    let world = World::fleet(vec![TestNode::docker()], |_| {}).await;
    let (cvm, _) = running(&world, "alpha").await;
    let path = format!("/casemate/cvms/{cvm}/attestation/requests");
    let mut checksums = Vec::new();
    for number in 1..=5 {
        let asked = world.post(&path, json!({ "nonce": format!("0{number}") })).await.ok();
        world.clock.advance_ms(1000);
        collect(&world).await;
        let state = format!("{path}/{}", asked["id"].as_str().unwrap());
        checksums.push(world.get(&state).await.ok()["checksum"].as_str().unwrap().to_owned());
    }
    let mut kept = Vec::new();
    for checksum in &checksums {
        kept.push(world.get(&format!("/attestations/view/{checksum}")).await.status.is_success());
    }
    assert_eq!(kept, [false, false, true, true, true]);
    let id = world.get(&format!("/cvms/{cvm}")).await.ok();
    assert!(id["id"].as_str().is_some() || id["id"].as_i64().is_some());
    world.call("DELETE", &format!("/cvms/{cvm}"), "2026-01-21", None).await.ok();
    world.settle().await;
    let view = format!("/attestations/view/{}", checksums[4]);
    assert_eq!(world.get(&view).await.status.as_u16(), 404, "not shown any more");
    world.clock.advance_ms(49 * 3_600_000);
    casemate_server::work::janitor::sweep(&world.ctx).await.unwrap();
    let left = casemate_store::evidence::newest(&world.ctx.db, &[CvmId(1)]).await.unwrap();
    assert!(left.is_empty());
    assert!(
        casemate_store::evidence::of_checksum(&world.ctx.db, &checksums[4])
            .await
            .unwrap()
            .is_none()
    );
}

/// The gateway's answer to a request for an app.
async fn through_gateway(world: &World, app: &str) -> (u16, String) {
    let gateway = Gateway::new(world.ctx.clone(), "localhost", None);
    let request = Request::builder()
        .uri("/")
        .header("host", format!("{app}-8080.localhost"))
        .body(Body::empty())
        .unwrap();
    let response = gateway.answer(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn an_app_may_hold_back_requests_until_evidence_is_accepted() {
    let world = World::new().await;
    let (cvm, app) = running(&world, "alpha").await;
    let path = format!("/casemate/apps/{app}/evidence-policy");
    assert_eq!(world.get(&path).await.ok()["required"], false);
    assert_eq!(through_gateway(&world, &app).await.0, 200);
    let required = json!({ "required": true });
    assert_eq!(world.call("PUT", &path, "", Some(required)).await.ok()["required"], true);
    assert_eq!(world.get(&path).await.ok()["required"], true);
    let (status, text) = through_gateway(&world, &app).await;
    assert_eq!(status, 503);
    assert!(text.contains("was not seen yet"), "{text}");
    collect(&world).await;
    assert_eq!(through_gateway(&world, &app).await.0, 200);

    // The host boots another image than was planned: the evidence of the next boot is refused.
    let mut inventory = (*world.ctx.fleet.all()[0].observed().0).clone();
    for image in &mut inventory.images {
        image.os_image_hash = Some("ab".repeat(32));
    }
    world.ctx.fleet.all()[0].record_answer(Ok(inventory), world.ctx.now());
    world.post(&format!("/cvms/{cvm}/restart"), json!({})).await.ok();
    world.settle().await;
    world.clock.advance_ms(1000);
    collect(&world).await;
    let (status, text) = through_gateway(&world, &app).await;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("is not accepted"), "{text}");
    let shown = world.get(&format!("/cvms/{cvm}/attestation")).await.ok();
    assert_eq!(shown["verdict"]["accepted"], false);
    assert_eq!(claim(&shown["verdict"], "os-image")["state"], "failed", "{shown:#}");
    let events = world.get(&format!("/apps/{app}/events")).await.ok();
    let told = events["events"].as_array().unwrap();
    let told = told.iter().find(|event| event["event_type"] == "cvm.evidence");
    let told = told.unwrap_or_else(|| panic!("{events:#}"));
    assert!(told.to_string().contains("os-image"), "{told}");
    // A request by instance id is not held back: its owner looks for the fault there.
    let instance = world.get(&format!("/cvms/{cvm}")).await.ok()["instance_id"].clone();
    assert_eq!(through_gateway(&world, instance.as_str().unwrap()).await.0, 200);
    world
        .call("PUT", "/casemate/apps/00/evidence-policy", "", Some(json!({ "required": true })))
        .await
        .refused(404, "ERR-20-008");
}
