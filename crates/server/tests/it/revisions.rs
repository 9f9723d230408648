//! Revisions: what is kept of what was in force, and the way back to it.

use crate::common;

use axum::{body::Body, http::Request};
use casemate_api::revision::{AppRedeployRequest, RedeployRequest};
use casemate_core::{
    compose::hash,
    id::{ComposeHash, VmUuid},
    seal::{EnvPublicKey, EnvVar, seal},
    time::Timestamp,
};
use casemate_engine::node::sim::{Fault, FaultKind, Method};
use common::{COMPOSE, World};
use serde_json::{Value, json};

const REDEPLOY: &str = "redeploy";

async fn running() -> World {
    let world = World::new().await;
    world.deploy("my-app").await;
    world.settle().await;
    world
}

fn other(tag: &str) -> String {
    COMPOSE.replace("1.36", tag)
}

/// What these tests ask of `my-app`.
trait MyApp {
    async fn detail(&self) -> Value;
    async fn app(&self) -> String;
    async fn patch(&self, body: Value);
    async fn revisions(&self) -> Vec<Value>;
    async fn kinds(&self) -> Vec<String>;
    async fn redeploy(&self, revision: &Value, body: Value) -> Value;
    fn boots(&self) -> usize;
    async fn sibling(&self, name: &str) -> String;
}

impl MyApp for World {
    async fn detail(&self) -> Value {
        self.get("/cvms/my-app").await.ok()
    }

    async fn app(&self) -> String {
        self.detail().await["app_id"].as_str().unwrap().to_owned()
    }

    /// Changes the CVM, to its end.
    async fn patch(&self, body: Value) {
        self.call("PATCH", "/cvms/my-app", "2026-01-21", Some(body)).await.ok();
        self.settle().await;
    }

    async fn revisions(&self) -> Vec<Value> {
        let page = self.get(&format!("/apps/{}/revisions", self.app().await)).await.ok();
        page["revisions"].as_array().unwrap().clone()
    }

    /// How each came about, newest first.
    async fn kinds(&self) -> Vec<String> {
        let all = self.revisions().await;
        all.iter().map(|one| one["operation_type"].as_str().unwrap().to_owned()).collect()
    }

    /// Sends a CVM back, to its end.
    async fn redeploy(&self, revision: &Value, body: Value) -> Value {
        let id = revision["revision_id"].as_str().unwrap();
        let path = format!("/cvms/my-app/revisions/{id}/redeploy");
        let reply = self.post(&path, body).await;
        assert_eq!(reply.status.as_u16(), 202, "{}", reply.text);
        self.settle().await;
        reply.json()
    }

    fn boots(&self) -> usize {
        let audit = self.sim.host().audit().unwrap();
        audit.marks.values().map(|mark| mark.starts).sum()
    }

    /// Another CVM of the same app, as it is.
    async fn sibling(&self, name: &str) -> String {
        let made = self.post("/cvms/my-app/replicas", json!({ "name": name })).await.ok();
        self.settle().await;
        made["vm_uuid"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn what_was_in_force_is_kept_and_can_be_had_again() {
    let world = running().await;
    let first = world.detail().await;
    assert_eq!(world.kinds().await, ["deploy"]);
    world.patch(json!({ "docker_compose_file": other("1.37") })).await;
    world.patch(json!({ "vcpu": 2, "listed": false })).await;
    assert_eq!(world.kinds().await, ["update", "deploy"], "the rest is no revision");
    world.patch(json!({ "docker_compose_file": other("1.38") + "x-sim-boot: fail\n" })).await;
    assert_eq!(world.kinds().await, ["update", "deploy"], "what failed is none");
    world.post("/cvms/my-app/restart", json!({})).await.ok();
    world.settle().await;

    let all = world.revisions().await;
    let (newest, oldest) = (&all[0], &all[1]);
    assert_eq!(oldest["compose_hash"], first["compose_hash"]);
    assert_eq!(newest["compose_hash"], world.detail().await["compose_hash"]);
    let boots = world.boots();
    let done = world.redeploy(oldest, Value::Null).await;
    assert_eq!((&done["status"], &done["effect"]), (&json!("in_progress"), &json!("restart")));
    assert_eq!(world.boots(), boots + 1);
    let after = world.detail().await;
    assert_eq!(after["compose_hash"], first["compose_hash"]);
    assert_eq!((&after["status"], &after["resource"]["vcpu"]), (&json!("running"), &json!(2)));
    assert_eq!(world.kinds().await, [REDEPLOY, "update", "deploy"]);
    let again = &world.revisions().await[0];
    assert_eq!(again["trace_id"], done["correlation_id"]);
    assert_eq!(again["triggered_by"]["object_type"], "user");
    assert_eq!(again["cvm"]["name"], "my-app");
    assert_eq!(again["workspace"]["object_type"], "workspace");

    let nothing = world.redeploy(oldest, json!({})).await;
    assert_eq!((&nothing["status"], &nothing["effect"]), (&json!("no_change"), &json!("nothing")));
    assert!(nothing["correlation_id"].is_string(), "{nothing}");
    assert_eq!((world.boots(), world.kinds().await.len()), (boots + 1, 3));

    let app = world.app().await;
    world.call("DELETE", "/cvms/my-app", "", None).await.ok();
    world.settle().await;
    let left = world.get(&format!("/apps/{app}/revisions")).await.ok();
    assert_eq!(left["total"], 3, "the history outlives the CVM");
}

#[tokio::test]
async fn a_list_has_pages_and_a_revision_its_document() {
    let world = running().await;
    for tag in ["1.37", "1.38", "1.39"] {
        world.patch(json!({ "docker_compose_file": other(tag) })).await;
    }
    let app = world.app().await;
    let page = |query: &str| format!("/apps/{app}/revisions{query}");
    let whole = world.get(&page("")).await.ok();
    let figures = ["total", "page", "page_size", "total_pages"].map(|name| whole[name].clone());
    assert_eq!(figures, [4, 1, 50, 1].map(Value::from));
    let second = world.get(&page("?page=2&page_size=3")).await.ok();
    assert_eq!(second["revisions"], json!([whole["revisions"][3]]));
    assert_eq!((&second["total"], &second["total_pages"]), (&json!(4), &json!(2)));
    let prefixed = world.get(&format!("/apps/app_{app}/revisions?page_size=1000")).await.ok();
    assert_eq!(prefixed["revisions"], whole["revisions"]);
    assert_eq!(world.get(&page("?page_size=1001")).await.status.as_u16(), 422);

    let newest = &whole["revisions"][0];
    let path = page(&format!("/{}", newest["revision_id"].as_str().unwrap()));
    let detail = world.get(&path).await.ok();
    let raw = world.get(&format!("{path}?raw_compose_file=true")).await.ok();
    let text = raw["compose_file"].as_str().unwrap();
    assert_eq!(hash(text).to_string(), newest["compose_hash"].as_str().unwrap());
    assert_eq!(text, world.get("/cvms/my-app/compose_file").await.text);
    assert_eq!(detail["compose_file"], serde_json::from_str::<Value>(text).unwrap());
    assert_eq!(detail["compose_file"]["docker_compose_file"], other("1.39"));
    assert_eq!((&detail["encrypted_env"], &detail["user_config"]), (&json!(""), &json!("")));
    for (name, value) in newest.as_object().unwrap() {
        assert_eq!(&detail[name], value, "{name}");
    }
    assert_eq!(world.get(&format!("{path}?raw_compose_file=x")).await.status.as_u16(), 422);
}

#[tokio::test]
async fn what_failed_at_first_is_a_revision_once_it_works() {
    let world = World::new().await;
    world
        .sim
        .host()
        .set_faults([Fault::new(FaultKind::Refuse).on(Method::Start)].to_vec())
        .unwrap();
    let made = world.deploy("my-app").await;
    world.settle().await;
    assert_eq!(world.detail().await["status"], "error");
    let path = format!("/apps/{}/revisions", made["app_id"].as_str().unwrap());
    assert_eq!(world.get(&path).await.ok()["total"], 0);
    world.post("/cvms/my-app/stop", Value::Null).await.ok();
    world.settle().await;
    assert_eq!(world.get(&path).await.ok()["total"], 0, "a stop puts nothing in force");
    world.post("/cvms/my-app/start", Value::Null).await.ok();
    world.settle().await;
    assert_eq!(world.detail().await["status"], "running");
    assert_eq!(world.kinds().await, ["start"]);
}

#[tokio::test]
async fn what_counts_from_the_next_start_is_a_revision_then() {
    let world = running().await;
    world.post("/cvms/my-app/stop", Value::Null).await.ok();
    world.settle().await;
    world.patch(json!({ "docker_compose_file": other("1.37") })).await;
    assert_eq!(world.kinds().await, ["update", "deploy"], "a guest that is off was given it");
    // Names alone need no restart.
    world.patch(json!({ "allowed_envs": ["G"], "env_keys": [] })).await;
    let before = world.kinds().await.len();
    world.patch(json!({ "env_keys": ["G"] })).await;
    assert_eq!(world.kinds().await.len(), before, "it is off");
    world.post("/cvms/my-app/start", Value::Null).await.ok();
    world.settle().await;
    assert_eq!(world.kinds().await[0], "start");
    let boots = world.boots();
    world.patch(json!({ "env_keys": [] })).await;
    assert_eq!((world.kinds().await[0].as_str(), world.boots()), ("update", boots));
}

fn sealed(detail: &Value, names: &[&str]) -> String {
    let key: EnvPublicKey = detail["kms_info"]["encrypted_env_pubkey"]
        .as_str()
        .expect("an env key")
        .parse()
        .expect("a key");
    let vars: Vec<EnvVar> = names
        .iter()
        .map(|name| {
            serde_json::from_value(json!({ "key": name, "value": "secret" })).expect("a variable")
        })
        .collect();
    seal(&vars, &key, [5; 32], [6; 12]).expect("sealed").to_string()
}

#[tokio::test]
async fn variables_of_another_revision_are_not_taken_for_its_own() {
    let world = running().await;
    let detail = world.detail().await;
    let env = |names: &[&str]| {
        json!({
            "encrypted_env": sealed(&detail, names), "env_keys": names, "allowed_envs": names
        })
    };
    world.patch(env(&["G", "OLD"])).await;
    world.patch(env(&["G", "NEW"])).await;
    let all = world.revisions().await;
    assert_eq!(all.len(), 3);
    let (newest, old) = (&all[0], &all[1]);
    let path = format!("/cvms/my-app/revisions/{}/redeploy", old["revision_id"].as_str().unwrap());
    let refused = world.post(&path, json!({})).await.refused(400, "ERR-03-017");
    let facts: Vec<&str> = refused["details"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fact| fact["message"].as_str().unwrap())
        .collect();
    assert_eq!(facts, ["lacks OLD", "drops NEW"]);
    assert!(refused["message"].as_str().unwrap().contains("OLD"), "{refused}");
    world.post(&path, json!({ "env_keys": ["G"] })).await.refused(400, "ERR-02-008");
    world.post(&path, json!({ "encrypted_env": "zz" })).await.refused(400, "ERR-20-012");
    let blob = sealed(&detail, &["G"]);
    let foreign = json!({ "encrypted_env": blob, "env_keys": ["ELSE"] });
    world.post(&path, foreign).await.refused(400, "ERR-20-011");
    let wrong = json!({ "encrypted_env": blob, "env_keys": ["1 2"] });
    world.post(&path, wrong).await.refused(400, "ERR-02-008");
    assert_eq!(world.revisions().await.len(), 3, "nothing is changed");

    let kept = world.redeploy(old, json!({ "allow_env_mismatch": true })).await;
    assert_eq!(kept["env_report"]["removed"], json!(["NEW"]));
    let vm = world.sim.host().vms().unwrap().remove(0).config;
    let blob = sealed(&detail, &["G", "NEW"]);
    assert_eq!(vm.sealed_env.as_ref().map(ToString::to_string), Some(blob), "as it was");
    let now = world.revisions().await;
    let path = |one: &Value| {
        format!(
            "/apps/{}/revisions/{}",
            old["app_id"].as_str().unwrap(),
            one["revision_id"].as_str().unwrap()
        )
    };
    assert_eq!(world.get(&path(&now[0])).await.ok()["env_keys"], json!(["G"]));

    // The names differ now; variables that are sealed anew are those of the revision.
    let fresh = sealed(&detail, &["G", "NEW"]);
    let given = world.redeploy(newest, json!({ "encrypted_env": fresh })).await;
    assert_eq!(given["env_report"]["added"], json!(["NEW"]));
    let whole = world.get(&path(&world.revisions().await[0])).await.ok();
    assert_eq!(
        (&whole["env_keys"], &whole["encrypted_env"]),
        (&json!(["G", "NEW"]), &json!(fresh))
    );

    let diff =
        |a: &Value, b: &Value| format!("{}/diff/{}", path(a), b["revision_id"].as_str().unwrap());
    let diff = world.get(&diff(old, newest)).await.ok();
    assert_eq!(diff["env"], json!({ "added": ["NEW"], "removed": ["OLD"], "missing": [] }));
    assert_eq!(diff["encrypted_env_changed"], true);
}

#[tokio::test]
async fn a_difference_is_told_field_by_field() {
    let world = running().await;
    world
        .patch(json!({
            "docker_compose_file": other("1.37"), "public_logs": false,
            "pre_launch_script": "echo hi", "user_config": "{\"a\":1}"
        }))
        .await;
    let all = world.revisions().await;
    let id = |at: usize| all[at]["revision_id"].as_str().unwrap();
    let app = world.app().await;
    let ask = |a: &str, b: &str| format!("/apps/{app}/revisions/{a}/diff/{b}");
    let diff = world.get(&ask(id(1), id(0))).await.ok();
    assert_eq!((&diff["from"], &diff["to"]), (&all[1], &all[0]));
    assert_eq!(diff["identical"], false);
    let file = diff["docker_compose_file"].as_str().unwrap();
    assert!(file.contains("-    image: busybox:1.36\n+    image: busybox:1.37"), "{file}");
    assert!(diff["pre_launch_script"].as_str().unwrap().contains("+echo hi"));
    let rows = json!([{ "field": "public_logs", "from": true, "to": false }]);
    assert_eq!(diff["fields"], rows);
    assert_eq!(diff["user_config"], json!({ "from": null, "to": "{\"a\":1}" }));
    assert_eq!(diff["encrypted_env_changed"], false);
    let back = world.get(&ask(id(0), id(1))).await.ok();
    assert_eq!(back["fields"][0]["from"], false);
    let same = world.get(&ask(id(0), id(0))).await.ok();
    assert_eq!((&same["identical"], &same["docker_compose_file"]), (&json!(true), &Value::Null));
}

#[tokio::test]
async fn a_whole_app_goes_back_or_nothing_of_it_does() {
    let world = running().await;
    let first = world.detail().await;
    let (app, mine) = (world.app().await, first["vm_uuid"].as_str().unwrap().to_owned());
    let old = world.revisions().await.remove(0);
    let path = format!("/apps/{app}/revisions/{}/redeploy", old["revision_id"].as_str().unwrap());
    world.patch(json!({ "docker_compose_file": other("1.37") })).await;
    let one = world.post(&path, Value::Null).await;
    assert_eq!(one.status.as_u16(), 202, "{}", one.text);
    let one = one.json();
    assert_eq!(one["cvms"][0]["correlation_id"], one["correlation_id"]);
    assert_eq!(one["cvms"][0]["vm_uuid"], mine);
    world.settle().await;
    assert_eq!(world.detail().await["compose_hash"], old["compose_hash"]);

    world.patch(json!({ "docker_compose_file": other("1.38") })).await;
    let sibling = world.sibling("my-other").await;
    let refused = world.post(&path, json!({})).await.refused(400, "ERR-02-008");
    let named: Vec<&str> = refused["details"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|fact| fact["value"].as_str())
        .collect();
    assert!(named.contains(&mine.as_str()) && named.contains(&sibling.as_str()), "{refused}");
    let both = json!({ "vm_uuids": [mine, sibling], "all": true });
    world.post(&path, both).await.refused(400, "ERR-02-008");
    let many: Vec<String> = (0..101).map(|at| format!("vm-{at}")).collect();
    world.post(&path, json!({ "vm_uuids": many })).await.refused(400, "ERR-02-008");
    for unknown in ["no-uuid", "6a2e3d4c-5b6f-4a1b-8c2d-0e1f2a3b4c5d"] {
        let body = json!({ "vm_uuids": [mine, unknown] });
        world.post(&path, body).await.refused(404, "ERR-03-001");
    }
    let hashes = async || {
        world.settle().await;
        let cvms = world.get(&format!("/apps/{app}/cvms")).await.ok();
        let cvms = cvms.as_array().unwrap().clone();
        cvms.iter().filter(|cvm| cvm["compose_hash"] == old["compose_hash"]).count()
    };
    assert_eq!(hashes().await, 0, "nothing is changed");
    let some = world.post(&path, json!({ "vm_uuids": [sibling, sibling] })).await.ok();
    assert_eq!(some["cvms"].as_array().unwrap().len(), 1);
    assert_eq!(hashes().await, 1);
    let all = world.post(&path, json!({ "all": true })).await.ok();
    let course: Vec<(&Value, &Value)> =
        all["cvms"].as_array().unwrap().iter().map(|cvm| (&cvm["name"], &cvm["status"])).collect();
    assert_eq!(
        course,
        [(&json!("my-app"), &json!("in_progress")), (&json!("my-other"), &json!("no_change"))]
    );
    assert_eq!((&all["status"], &all["correlation_id"]), (&json!("in_progress"), &Value::Null));
    assert_eq!(hashes().await, 2);
    // newest first, whichever CVM
    let listed = world.revisions().await;
    let time = |one: &Value| one["created_at"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let times: Vec<Timestamp> = listed.iter().map(time).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");

    let confirmed = format!("{path}?transaction_hash=0x1");
    world.post(&confirmed, json!({ "all": true })).await.refused(400, "ERR-20-006");
    for cvm in ["my-app", "my-other"] {
        world.call("DELETE", &format!("/cvms/{cvm}"), "", None).await.ok();
    }
    world.settle().await;
    world.post(&path, json!({ "all": true })).await.refused(404, "ERR-03-001");
}

#[tokio::test]
async fn what_is_prepared_is_pending_and_can_be_looked_at() {
    let world = running().await;
    let app = world.app().await;
    let pending = format!("/apps/{app}/pending-updates");
    assert_eq!(world.get(&pending).await.ok(), json!({ "items": [] }));
    let body = json!({ "name": "", "docker_compose_file": other("1.37"),
        "pre_launch_script": "echo hi" });
    let prepared = world.post("/cvms/my-app/compose_file/provision", body).await.ok();
    let hash = prepared["compose_hash"].as_str().unwrap();
    let item = &world.get(&pending).await.ok()["items"][0];
    let uuid = world.detail().await["vm_uuid"].as_str().unwrap().to_owned();
    let expected = json!({
        "vm_uuid": uuid, "compose_hash": hash, "on_chain": false, "instance_name": "my-app"
    });
    assert_eq!(*item, expected);
    let seen = world.get(&format!("{pending}/{uuid}/{hash}/preview")).await.ok();
    assert_eq!(seen["current_docker_compose"], COMPOSE);
    assert_eq!(seen["pending_docker_compose"], other("1.37"));
    assert_eq!(seen["pending_pre_launch_script"], "echo hi");
    let none = "11".repeat(32);
    world.get(&format!("{pending}/{uuid}/{none}/preview")).await.refused(404, "ERR-20-008");
    let commit = json!({ "compose_hash": hash });
    world.call("PATCH", "/cvms/my-app/compose_file", "2026-01-21", Some(commit)).await.ok();
    assert_eq!(world.get(&pending).await.ok()["items"], json!([]), "on its way");
    world.settle().await;
    world.patch(json!({ "docker_compose_file": other("1.38") })).await;
    assert_eq!(world.get(&pending).await.ok()["items"], json!([]), "it was in force");
}

#[tokio::test]
async fn what_is_not_there_and_what_is_anothers_answer_alike() {
    let world = running().await;
    world.deploy("my-second").await;
    world.settle().await;
    let (app, mine) = (world.app().await, world.revisions().await.remove(0));
    let second = world.get("/cvms/my-second").await.ok();
    let foreign = second["app_id"].as_str().unwrap();
    let mine = mine["revision_id"].as_str().unwrap();
    for revision in ["rev_0000000000", "rev_x", "%00"] {
        let path = format!("/apps/{app}/revisions/{revision}");
        world.get(&path).await.refused(404, "ERR-20-008");
        world.get(&format!("{path}/diff/{mine}")).await.refused(404, "ERR-20-008");
        world.post(&format!("{path}/redeploy"), Value::Null).await.refused(404, "ERR-20-008");
        let path = format!("/cvms/my-app/revisions/{revision}/redeploy");
        world.post(&path, Value::Null).await.refused(404, "ERR-20-008");
    }
    let path = format!("/cvms/my-second/revisions/{mine}/redeploy");
    world.post(&path, Value::Null).await.refused(404, "ERR-20-008");
    world.get(&format!("/apps/{foreign}/revisions/{mine}")).await.refused(404, "ERR-20-008");

    let mut theirs = world;
    "phak_theirs".clone_into(&mut theirs.key);
    common::stranger(&theirs.ctx, "eve", &theirs.key).await;
    let unknown = "12".repeat(20);
    for app in [app.as_str(), &unknown, "no-id"] {
        let uuid = VmUuid::from_uuid(theirs.ctx.entropy.uuid_v4());
        let hash = ComposeHash::from_bytes([1; 32]);
        for path in [
            format!("/apps/{app}/revisions"),
            format!("/apps/{app}/revisions/{mine}"),
            format!("/apps/{app}/revisions/{mine}/diff/{mine}"),
            format!("/apps/{app}/pending-updates"),
            format!("/apps/{app}/pending-updates/{uuid}/{hash}/preview"),
        ] {
            theirs.get(&path).await.refused(404, "ERR-20-008");
        }
        let path = format!("/apps/{app}/revisions/{mine}/redeploy");
        theirs.post(&path, Value::Null).await.refused(404, "ERR-20-008");
    }
    let path = format!("/cvms/my-app/revisions/{mine}/redeploy");
    theirs.post(&path, Value::Null).await.refused(404, "ERR-03-001");
    theirs.key.clear();
    assert_eq!(theirs.get(&format!("/apps/{app}/revisions")).await.status.as_u16(), 401);
}

#[tokio::test]
async fn a_repeated_redeploy_is_one_redeploy() {
    let world = running().await;
    world.patch(json!({ "docker_compose_file": other("1.37") })).await;
    let old = world.revisions().await.remove(1);
    let app = world.app().await;
    let rev = old["revision_id"].as_str().unwrap();
    for path in [
        format!("/cvms/my-app/revisions/{rev}/redeploy"),
        format!("/apps/{app}/revisions/{rev}/redeploy"),
    ] {
        let ask = async || {
            let request = Request::builder()
                .method("POST")
                .uri(format!("/api/v1{path}"))
                .header("x-api-key", &world.key)
                .header("idempotency-key", "once");
            world.send(request.body(Body::empty()).unwrap()).await
        };
        let (one, two) = (ask().await, ask().await);
        if path.starts_with("/cvms") {
            assert_eq!((one.status.as_u16(), &one.text), (202, &two.text));
            assert!(two.headers.contains_key("idempotent-replayed"));
        } else {
            one.refused(422, "ERR-20-013");
        }
    }
    world.settle().await;
    assert_eq!(world.kinds().await, [REDEPLOY, "update", "deploy"]);
    let operations = world.get("/cvms/my-app/operations").await.ok();
    assert_eq!(operations["total"], 3);
}

#[tokio::test]
async fn a_redeploy_that_does_not_boot_is_taken_back_and_is_no_revision() {
    let world = running().await;
    world.patch(json!({ "docker_compose_file": other("1.37") })).await;
    let all = world.revisions().await;
    world
        .sim
        .host()
        .set_faults([Fault::new(FaultKind::Refuse).on(Method::Start)].to_vec())
        .unwrap();
    world.redeploy(&all[1], json!({})).await;
    let detail = world.detail().await;
    assert_eq!(detail["compose_hash"], all[0]["compose_hash"]);
    assert_eq!(world.revisions().await, all, "the history is as before");
    let newest = world.get("/cvms/my-app/operations?limit=1").await.ok();
    assert_eq!(newest["items"][0]["operation_type"], "rollback");
}

/// What the documentation says of the fields of a redeploy.
#[test]
fn no_field_of_a_redeploy_is_without_a_row() {
    let document = include_str!("../../../../docs/fields.md");
    let section = document.split("## Redeploy").nth(1).unwrap();
    let names = |request: &Value| request.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let cvm = RedeployRequest {
        encrypted_env: Some(String::new()),
        env_keys: Some(Vec::new()),
        allow_env_mismatch: Some(true),
    };
    let app = AppRedeployRequest {
        vm_uuids: vec![String::new()],
        all: Some(true),
        allow_env_mismatch: Some(true),
    };
    for (route, request) in [("cvm", json!(cvm)), ("app", json!(app))] {
        for name in names(&request) {
            let row = section.lines().find(|line| line.starts_with(&format!("| `{name}` ")));
            let routes = row.and_then(|row| row.split('|').nth(2)).unwrap_or_default();
            assert!(routes.contains(&format!("`{route}`")), "{name} of {route}");
        }
    }
}
