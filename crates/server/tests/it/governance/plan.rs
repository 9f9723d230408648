//! Plans for contracts that govern apps, through the real router and a chain in memory: what is missing,
//! who signs, why nothing helps, and that following a plan leads to a boot.

use crate::common;

use std::sync::Arc;

use casemate_api::kms_type::KmsType;
use casemate_core::{
    governance::{Account, Epochs, calldata::NewApp},
    id::{Address, AppId, ComposeHash, DeviceId},
};
use casemate_engine::{chain::Fault, node::Inventory};
use casemate_testing::fake_chain::{FakeChain, Generation};
use common::{COMPOSE, Reply, TestNode, World, provision_body};
use serde_json::{Value, json};

const KMS: Address = Address::from_bytes([0x4b; 20]);
const OWNER: Address = Address::from_bytes([0x0a; 20]);
const HEIR: Address = Address::from_bytes([0x0b; 20]);
const STRANGER: Address = Address::from_bytes([0x0c; 20]);
const OTHER_HOST: DeviceId = DeviceId::from_bytes([0xde; 32]);
const PATH: &str = "/governance/plan";

fn hex0x(address: impl std::fmt::Display) -> String {
    format!("0x{address}")
}

/// A world of two hosts with a KMS under a contract, and a CVM of an app on the first host.
struct Stage {
    world: World,
    chain: FakeChain,
    app: AppId,
    hash: ComposeHash,
    device: DeviceId,
}

impl Stage {
    async fn new() -> Self {
        let second = TestNode { name: "sim-2", ..TestNode::sim() };
        let world = World::fleet(vec![TestNode::sim(), second], |_| {}).await;
        let chain = FakeChain::new(8453);
        chain.add_kms(KMS);
        let here: Arc<FakeChain> = Arc::new(chain.clone());
        let world = world.governed_by(vec![("kms-base-1", KmsType::Base, KMS, here)]);
        let nodes = world.ctx.fleet.all();
        let elsewhere = Inventory { device_id: OTHER_HOST, ..(*nodes[1].observed().0).clone() };
        nodes[1].record_answer(Ok(elsewhere), world.ctx.now());
        for image in images(&world) {
            chain.allow_os_image(KMS, image, true);
        }
        let body = with(provision_body("my-app"), json!({"kms": "base", "node_id": nodes[0].id}));
        let provisioned = world.post("/cvms/provision", body).await.ok();
        let hash: ComposeHash = provisioned["compose_hash"].as_str().unwrap().parse().unwrap();
        let device: DeviceId = provisioned["device_id"].as_str().unwrap().parse().unwrap();
        let new = NewApp {
            owner: OWNER,
            disable_upgrades: false,
            allow_any_device: false,
            device: Some(device),
            hash: Some(hash),
        };
        let (app, _) = chain.deploy(KMS, &new);
        let commit = json!({"app_id": hex0x(app), "compose_hash": hash, "kms_id": "kms-base-1"});
        world.post("/cvms", commit).await.ok();
        world.settle().await;
        Self { world, chain, app, hash, device }
    }

    async fn plan(&self, body: Value) -> Value {
        self.ask(body).await.ok()
    }

    async fn ask(&self, body: Value) -> Reply {
        self.world.post(PATH, body).await
    }

    /// A plan for the CVM, as the second of two nodes has to boot it.
    async fn about(&self, more: Value) -> Value {
        self.plan(with(json!({"cvm_id": "my-app"}), more)).await
    }

    /// Does every step, each by its signer.
    fn follow(&self, plan: &Value) {
        for step in plan["steps"].as_array().unwrap() {
            let from = step["signer"]["address"].as_str();
            let from = from.map_or(STRANGER, |text| text.parse().unwrap());
            let to = step["to"].as_str().unwrap().parse().unwrap();
            let data = step["calldata"].as_str().unwrap().strip_prefix("0x").unwrap();
            self.chain.send(from, to, hex::decode(data).unwrap());
        }
    }
}

fn with(mut body: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("not an object: {more}") };
    body.as_object_mut().unwrap().extend(more);
    body
}

fn images(world: &World) -> Vec<[u8; 32]> {
    let mut images = Vec::new();
    for image in &world.ctx.fleet.all()[0].observed().0.images {
        let mut hash = [0; 32];
        hex::decode_to_slice(image.os_image_hash.as_deref().unwrap(), &mut hash).unwrap();
        images.push(hash);
    }
    images
}

fn words(plan: &Value, list: &str, key: &str) -> Vec<String> {
    let items = plan[list].as_array().unwrap();
    items.iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
}

fn changed() -> Value {
    json!({"patch": {"docker_compose_file": COMPOSE.replace("busybox:1.36", "busybox:1.37")}})
}

#[tokio::test]
async fn what_runs_needs_nothing() {
    let stage = Stage::new().await;
    let plan = stage.about(json!({})).await;
    assert_eq!(plan["standing"], "allowed", "{plan}");
    assert_eq!((&plan["chain_id"], &plan["steps"]), (&json!(8453), &json!([])));
    assert_eq!(plan["owner"]["address"].as_str().unwrap().to_lowercase(), hex0x(OWNER));
    assert_eq!(plan["hosts"][0]["is_app_allowed"], true);
    assert_eq!((&plan["safe_batch"], &plan["multisend"]), (&Value::Null, &Value::Null));
    let by_app = stage.plan(json!({"app_id": format!("app_{}", stage.app)})).await;
    assert_eq!(by_app["standing"], "allowed", "{by_app}");
}

#[tokio::test]
async fn a_change_that_is_only_thought_of_is_planned_and_not_made() {
    let stage = Stage::new().await;
    let before = stage.world.get("/cvms/my-app").await.ok();
    let plan = stage.about(changed()).await;
    assert_eq!(plan["standing"], "transactions_missing", "{plan}");
    assert_eq!(words(&plan, "steps", "method"), ["addComposeHash(bytes32)"]);
    let step = &plan["steps"][0];
    assert_eq!((&step["simulation"], &step["contract"]), (&json!("succeeds"), &json!("app")));
    let hash = plan["compose_hash"].as_str().unwrap();
    assert_eq!(step["calldata"], format!("0xdfc77223{hash}"));
    assert_eq!(step["arguments"][0]["value"], format!("0x{hash}"));
    assert_eq!(plan["hosts"][0]["reason"], "Compose hash not allowed");
    let batch = &plan["safe_batch"];
    assert_eq!(
        batch["transactions"][0]["contractInputsValues"]["composeHash"],
        format!("0x{hash}")
    );
    assert!(plan["multisend"].as_str().unwrap().starts_with("0x8d80ff0a"), "{plan}");
    assert_eq!(stage.world.get("/cvms/my-app").await.ok(), before);
    stage.follow(&plan);
    let after = stage.about(changed()).await;
    assert_eq!(
        (&after["standing"], &after["hosts"][0]["is_app_allowed"]),
        (&json!("allowed"), &json!(true))
    );
    // It was in force nowhere, so it is none of those to be forgotten.
    assert_eq!(after["optional"], json!([]));
}

#[tokio::test]
async fn another_host_is_listed_in_the_same_batch() {
    let stage = Stage::new().await;
    let safe = Account::Safe { threshold: 2, owners: vec![HEIR, STRANGER, KMS] };
    stage.chain.set_account(OWNER, safe);
    let second = stage.world.ctx.fleet.all()[1].id;
    let more = with(changed(), json!({"node_ids": [second], "signer": hex0x(STRANGER)}));
    let plan = stage.about(more).await;
    assert_eq!(words(&plan, "steps", "method"), ["addDevice(bytes32)", "addComposeHash(bytes32)"]);
    assert_eq!(plan["standing"], "transactions_missing", "an owner of the Safe has a part in it");
    assert_eq!(plan["steps"][0]["arguments"][0]["value"], hex0x(OTHER_HOST));
    assert_eq!(plan["owner"]["kind"], "safe");
    assert_eq!(
        (&plan["owner"]["threshold"], plan["owner"]["owners"].as_array().unwrap().len()),
        (&json!(2), 3)
    );
    assert_eq!(plan["safe_batch"]["transactions"].as_array().unwrap().len(), 2);
    assert_eq!(plan["hosts"][0]["node"], "sim-2");
}

#[tokio::test]
async fn a_new_app_is_planned_and_not_prepared() {
    let stage = Stage::new().await;
    let node = stage.world.ctx.fleet.all()[0].id;
    let provision = with(provision_body("other-app"), json!({"kms": "BASE", "node_id": node}));
    let body = json!({"provision": provision, "signer": hex0x(HEIR)});
    let plan = stage.plan(body.clone()).await;
    let method = "deployAndRegisterApp(address,bool,bool,bytes32,bytes32)";
    assert_eq!(words(&plan, "steps", "method"), [method]);
    assert_eq!(
        (&plan["app_contract"], &plan["steps"][0]["contract"]),
        (&Value::Null, &json!("kms"))
    );
    let values = plan["steps"][0]["arguments"].as_array().unwrap();
    assert_eq!(values[0]["value"].as_str().unwrap().to_lowercase(), hex0x(HEIR));
    assert_eq!(values[3]["value"], hex0x(stage.device));
    assert_eq!(
        (&plan["steps"][0]["simulation"], &plan["steps"][0]["signer"]),
        (&json!("succeeds"), &Value::Null)
    );

    let unsigned = stage.ask(json!({"provision": body["provision"]})).await;
    assert_eq!(unsigned.status, 422, "{}", unsigned.text);

    let before = stage.chain.head();
    stage.follow(&plan);
    assert_ne!(stage.chain.head(), before);
    // The second app of the KMS.
    let wallet = casemate_core::id::Wallet::from_bytes(*KMS.as_bytes());
    let app = casemate_core::create_address::create_address(&wallet, 2);
    let there = json!({
        "app_id": hex0x(app), "kms": "base", "compose_hash": plan["compose_hash"], "node_ids": [node],
    });
    assert_eq!(stage.plan(there).await["standing"], "allowed");
    let commit =
        json!({"app_id": hex0x(app), "compose_hash": plan["compose_hash"], "kms_id": "kms-base-1"});
    stage.world.post("/cvms", commit).await.refused(422, "ERR-20-009");
}

#[tokio::test]
async fn an_app_that_is_on_the_chain_only_is_registered_by_anybody() {
    let stage = Stage::new().await;
    let (lone, node) = (AppId::from_bytes([0x77; 20]), stage.world.ctx.fleet.all()[0].id);
    stage.chain.place_app(lone, OWNER, Generation::SingleStep);
    stage.chain.add_hash(lone, stage.hash);
    stage.chain.add_device(lone, stage.device);
    let body = |app: AppId| json!({"app_id": hex0x(app), "kms": "kms-base-1", "compose_hash": stage.hash, "node_ids": [node]});
    let plan = stage.plan(body(lone)).await;
    assert_eq!(words(&plan, "steps", "method"), ["registerApp(address)"]);
    assert_eq!(plan["steps"][0]["signer"], Value::Null);
    stage.follow(&plan);
    assert_eq!(stage.plan(body(lone)).await["standing"], "allowed");
    let nothing = stage.plan(body(AppId::from_bytes([0x78; 20]))).await;
    assert_eq!(words(&nothing, "obstacles", "code"), ["no_app_contract"]);
    assert_eq!((&nothing["standing"], &nothing["steps"]), (&json!("blocked"), &json!([])));
}

#[tokio::test]
async fn an_app_without_lists_is_asked_and_nobody_is_sent_to_its_owner() {
    let stage = Stage::new().await;
    let (own, node) = (AppId::from_bytes([0x79; 20]), stage.world.ctx.fleet.all()[0].id);
    stage.chain.place_app(own, OWNER, Generation::JudgeOnly);
    stage.chain.register(KMS, own.into());
    let body = json!({"app_id": hex0x(own), "kms": "kms-base-1", "compose_hash": stage.hash, "node_ids": [node]});
    let refused = stage.plan(body.clone()).await;
    assert_eq!(words(&refused, "obstacles", "code"), ["own_rules"], "{refused}");
    assert_eq!(refused["steps"], json!([]));
    stage.chain.judge_hash(own, stage.hash);
    let allowed = stage.plan(body).await;
    assert_eq!(allowed["standing"], "allowed", "{allowed}");
    assert!(allowed["notes"].to_string().contains("its own isAppAllowed decides"), "{allowed}");
}

#[tokio::test]
async fn what_is_said_of_an_app_that_approves_by_epoch_covers_epoch_0() {
    let stage = Stage::new().await;
    assert!(!stage.about(json!({})).await["notes"].to_string().contains("epoch"));
    for (epochs, word) in [(Epochs::Current, "dstack 0.6.5"), (Epochs::Old, "dstack 0.6.4")] {
        stage.chain.set_epochs(stage.app, epochs);
        let plan = stage.about(json!({})).await;
        let notes = plan["notes"].to_string();
        assert_eq!(plan["standing"], "allowed");
        assert!(notes.contains("covers epoch 0 only") && notes.contains(word), "{notes}");
    }
}

#[tokio::test]
async fn what_no_transaction_helps_is_said_with_the_way_out() {
    let stage = Stage::new().await;
    for image in images(&stage.world) {
        stage.chain.allow_os_image(KMS, image, false);
    }
    let plan = stage.about(changed()).await;
    assert_eq!(
        (&plan["standing"], words(&plan, "obstacles", "code")),
        (&json!("blocked"), vec!["os_image_refused".to_owned()])
    );
    assert_eq!(plan["hosts"][0]["os_image_allowed"], false);
    assert_eq!(plan["hosts"][0]["reason"], "OS image is not allowed");
    for image in images(&stage.world) {
        stage.chain.allow_os_image(KMS, image, true);
    }
    stage.chain.set_owner(stage.app, None);
    let plan = stage.about(changed()).await;
    assert_eq!(words(&plan, "obstacles", "code"), ["owner_renounced"]);
    assert_eq!(stage.about(json!({})).await["standing"], "allowed", "what runs goes on");
    stage.chain.set_owner(stage.app, Some(OWNER));
    stage.chain.disable_upgrades(stage.app);
    let notes = stage.about(changed()).await["notes"].to_string();
    assert!(notes.contains("can never be replaced"), "{notes}");
}

#[tokio::test]
async fn who_signs_is_read_from_the_chain() {
    let stage = Stage::new().await;
    let by = async |signer: Address| {
        stage.about(with(changed(), json!({"signer": hex0x(signer)}))).await
    };
    assert_eq!(by(STRANGER).await["standing"], "not_yours");
    stage.chain.set_pending_owner(stage.app, Some(HEIR));
    let old = by(OWNER).await;
    assert_eq!(words(&old, "steps", "purpose"), ["compose_hash"]);
    assert!(old["notes"].to_string().contains("acceptOwnership"), "{old}");
    let new = by(HEIR).await;
    assert_eq!(words(&new, "steps", "purpose"), ["accept_ownership", "compose_hash"]);
    assert_eq!(words(&new, "steps", "simulation"), ["succeeds", "untried"]);
    assert_eq!(new["steps"][1]["after"], 0);
    stage.follow(&new);
    let after = stage.about(changed()).await;
    assert_eq!((&after["standing"], &after["pending_owner"]), (&json!("allowed"), &Value::Null));
    stage.chain.set_account(HEIR, Account::Contract);
    let later = json!({"patch": {"docker_compose_file": COMPOSE.replace("1.36", "1.38")}});
    let notes = stage.about(later).await["notes"].to_string();
    assert!(notes.contains("is a contract"), "{notes}");
}

#[tokio::test]
async fn old_documents_are_offered_for_removal() {
    let stage = Stage::new().await;
    let (_, next) = {
        let plan = stage.about(changed()).await;
        stage.follow(&plan);
        (plan.clone(), plan["compose_hash"].as_str().unwrap().to_owned())
    };
    let update = stage
        .world
        .call("PATCH", "/cvms/my-app", "2026-01-21", Some(changed()["patch"].clone()))
        .await;
    if update.status != 202 {
        // Two phases: the hash is allowed already, so the second one needs no transaction.
        let body = json!({"compose_hash": next, "transaction_hash": "already-registered"});
        stage.world.call("PATCH", "/cvms/my-app", "2026-01-21", Some(body)).await.ok();
    }
    stage.world.settle().await;
    let plan = stage.about(json!({})).await;
    assert_eq!(
        (&plan["standing"], plan["compose_hash"].as_str()),
        (&json!("allowed"), Some(next.as_str()))
    );
    assert_eq!(words(&plan, "optional", "method"), ["removeComposeHash(bytes32)"]);
    assert_eq!(plan["optional"][0]["arguments"][0]["value"], hex0x(stage.hash));
    assert_eq!(plan["optional"][0]["simulation"], "succeeds");
    stage.chain.remove_hash(stage.app, stage.hash);
    assert_eq!(stage.about(json!({})).await["optional"], json!([]));
}

#[tokio::test]
async fn what_is_not_the_callers_is_not_there_and_what_nobody_governs_is_said() {
    let stage = Stage::new().await;
    stage.world.deploy("plain-app").await;
    let plain = stage.ask(json!({"cvm_id": "plain-app"})).await.refused(400, "ERR-20-006");
    assert!(plain["message"].as_str().unwrap().contains("not governed"), "{plain}");
    let eve = stranger(&stage.world).await;
    let cvm = eve.post(PATH, json!({"cvm_id": "my-app"})).await.refused(404, "ERR-03-001");
    let missing = eve.post(PATH, json!({"cvm_id": "nobody"})).await.refused(404, "ERR-03-001");
    assert_eq!(cvm["message"], missing["message"]);
    eve.post(PATH, json!({"app_id": hex0x(stage.app)})).await.refused(404, "ERR-20-008");
    for (body, status) in [
        (json!({}), 400),
        (json!({"cvm_id": "my-app", "app_id": hex0x(stage.app)}), 400),
        (json!({"app_id": hex0x(stage.app), "patch": {}}), 400),
        (json!({"cvm_id": "my-app", "patch": {}, "compose_hash": stage.hash}), 400),
        (json!({"cvm_id": "my-app", "patch": {"disk_size": 1}}), 400),
        (json!({"cvm_id": "my-app", "node_ids": [999]}), 400),
        (json!({"cvm_id": "my-app", "signer": "nobody"}), 422),
        (json!({"kms": "base", "node_ids": [1], "signer": hex0x(OWNER)}), 422),
        (json!({"kms": "base", "compose_hash": stage.hash, "signer": hex0x(OWNER)}), 422),
        (json!({"kms": "base", "compose_hash": stage.hash, "node_ids": [1]}), 422),
        (json!({"kms": "ethereum", "compose_hash": stage.hash, "node_ids": [1]}), 400),
        (json!({"app_id": hex0x(stage.app), "kms": "phala"}), 400),
    ] {
        let reply = stage.ask(body.clone()).await;
        assert_eq!(reply.status, status, "{body}: {}", reply.text);
    }
    let odd = stage.about(json!({"colour": "red"})).await;
    assert!(odd["warnings"][0].as_str().unwrap().contains("colour"), "{odd}");
}

#[tokio::test]
async fn a_silent_chain_is_no_verdict_and_holds_nobody_up() {
    let stage = Stage::new().await;
    stage.chain.fail_next(50, &Fault::Unavailable("rpc.test: no answer".to_owned()));
    let down = stage.ask(json!({"cvm_id": "my-app"})).await;
    assert!(down.headers.contains_key("retry-after"), "{:?}", down.headers);
    down.refused(503, "ERR-20-023");
    stage.chain.heal();
    stage.chain.hold();
    let (plan, other) =
        tokio::join!(stage.ask(with(json!({"cvm_id": "my-app"}), changed())), async {
            // Needs the only writer there is on SQLite.
            let done = stage.world.provision("another-app").await;
            stage.chain.release();
            done
        });
    assert!(other["compose_hash"].is_string(), "{other}");
    assert_eq!(plan.ok()["standing"], "transactions_missing");
}

/// Every state that contracts of an app can be in, as far as a plan looks at it: whoever follows its plan
/// ends up allowed, by the word of the KMS, unless the plan said why not.
#[tokio::test]
async fn whoever_follows_a_plan_ends_up_allowed_or_was_told_why_not() {
    let stage = Stage::new().await;
    let (chain, app) = (&stage.chain, stage.app);
    let signers = [None, Some(OWNER), Some(HEIR), Some(STRANGER)];
    for state in 0..128_u32 {
        let on = |bit: u32| state >> bit & 1 == 1;
        for signer in signers {
            chain.set_owner(app, Some(OWNER));
            if on(0) {
                chain.add_hash(app, stage.hash)
            } else {
                chain.remove_hash(app, stage.hash)
            };
            if on(1) {
                chain.add_device(app, stage.device)
            } else {
                chain.remove_device(app, stage.device)
            };
            chain.set_any_device(app, on(2));
            chain.require_tcb_up_to_date(app, on(3));
            for image in images(&stage.world) {
                chain.allow_os_image(KMS, image, on(4));
            }
            chain.set_pending_owner(app, on(5).then_some(HEIR));
            chain.set_owner(app, on(6).then_some(OWNER));
            let more = signer.map_or(json!({}), |signer| json!({"signer": hex0x(signer)}));
            let plan = stage.about(more.clone()).await;
            let case = format!("{state:#b} {signer:?}: {plan}");
            assert!(
                words(&plan, "steps", "simulation").iter().all(|word| word != "reverts"),
                "{case}"
            );
            let before = plan["hosts"][0]["is_app_allowed"] == true;
            assert_eq!(before, plan["standing"] == "allowed", "{case}");
            stage.follow(&plan);
            let after = stage.about(more).await;
            let allowed = after["hosts"][0]["is_app_allowed"] == true;
            assert_eq!(allowed, plan["standing"] != "blocked", "{case}, then {after}");
            assert_eq!(allowed, plan["obstacles"] == json!([]), "{case}");
        }
    }
}

/// Somebody else, in a workspace of his own.
async fn stranger(world: &World) -> World {
    common::stranger(&world.ctx, "evil", "phak_eve").await;
    let mut eve = world.replica();
    "phak_eve".clone_into(&mut eve.key);
    eve
}
