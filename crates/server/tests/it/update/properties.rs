//! What holds of every change: it does what it says and nothing else, the same again is nothing, a
//! prepared document boots under the hash that was promised; and many at once lose nothing.

use crate::common;

use std::collections::BTreeMap;

use casemate_core::{
    compose::hash,
    id::{CvmId, WorkspaceId},
};
use casemate_engine::node::{
    Capacity,
    sim::{SimConfig, SimVm},
};
use casemate_store::cvms;
use common::{COMPOSE, TestNode, World};
use futures_util::future::join_all;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const DETAIL: [&str; 12] = [
    "name",
    "id",
    "app_id",
    "vm_uuid",
    "instance_id",
    "created_at",
    "creator",
    "kms_type",
    "storage_fs",
    "encrypted_env_pubkey",
    "listed",
    "status",
];
const DOCUMENT: [&str; 8] = [
    "docker_compose_file",
    "allowed_envs",
    "public_logs",
    "public_sysinfo",
    "public_tcbinfo",
    "gateway_enabled",
    "secure_time",
    "runner",
];

/// Everything that a change can name and some of what none can, by the name a request has for it:
/// as the routes show it, and from the record what no route shows.
async fn observe(world: &World) -> BTreeMap<String, Value> {
    let detail = world.get("/cvms/my-app").await.ok();
    let document = world.get("/cvms/my-app/compose_file").await.json();
    let cvm = cvms::by_id(&world.ctx.db, WorkspaceId(1), CvmId(1)).await.unwrap().unwrap();
    let gb = detail["resource"]["memory_in_gb"].as_f64().unwrap();
    let script = world.get("/cvms/my-app/pre-launch-script").await.text;
    let mut seen: BTreeMap<String, Value> = [
        ("vcpu", detail["resource"]["vcpu"].clone()),
        ("memory", format!("{:.0}", gb * 1024.0).parse::<u32>().unwrap().into()),
        ("disk_size", detail["disk_size"].clone()),
        ("image", detail["os"]["name"].clone()),
        ("pre_launch_script", script.into()),
        ("user_config", json!(cvm.spec.user_config)),
        ("shutdown_timeout", cvm.spec.shutdown_timeout_s.into()),
        ("allow_force_stop", cvm.spec.allow_force_stop.into()),
        ("env_keys", json!(cvm.spec.env_keys)),
        ("encrypted_env", json!(cvm.sealed_env)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    seen.extend(DETAIL.map(|name| (name.to_owned(), detail[name].clone())));
    seen.extend(DOCUMENT.map(|name| (name.to_owned(), document[name].clone())));
    seen
}

fn the_vm(world: &World) -> SimVm {
    let mut vms = world.sim.host().vms().unwrap();
    assert_eq!(vms.len(), 1);
    vms.remove(0)
}

fn boots(world: &World) -> usize {
    world.sim.host().audit().unwrap().marks.values().map(|mark| mark.starts).sum()
}

async fn running() -> World {
    let world = World::new().await;
    world.deploy("my-app").await;
    world.settle().await;
    world
}

type Fields = Map<String, Value>;

fn one<T: Into<Value> + std::fmt::Debug>(
    name: &'static str,
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Fields> {
    value.prop_map(move |value| Fields::from_iter([(name.to_owned(), value.into())]))
}

fn compose() -> impl Strategy<Value = String> {
    (0..40_u8, "[a-z é\"\\\\]{0,12}")
        .prop_map(|(tag, text)| COMPOSE.replace("1.36", &format!("1.{tag}")) + "# " + &text + "\n")
}

fn env() -> impl Strategy<Value = Fields> {
    let names = prop::sample::subsequence(vec!["A", "B", "G", "_Z9"], 0..=4);
    (names, prop::collection::vec(any::<u8>(), 61..200)).prop_map(|(names, sealed)| {
        Fields::from_iter([
            ("allowed_envs".to_owned(), json!(names)),
            ("env_keys".to_owned(), json!(names)),
            ("encrypted_env".to_owned(), hex::encode(sealed).into()),
        ])
    })
}

/// Requests whose fields go together.
fn patches() -> impl Strategy<Value = Fields> {
    let images = prop::sample::select(vec!["dstack-0.5.4", "dstack-0.5.5", "dstack-dev-0.5.4"]);
    let document = prop_oneof![
        one("docker_compose_file", compose()),
        one("pre_launch_script", prop::sample::select(vec!["", "true", "echo 'é'\n"])),
        one("public_logs", any::<bool>()),
        one("public_sysinfo", any::<bool>()),
        one("public_tcbinfo", any::<bool>()),
        one("gateway_enabled", any::<bool>()),
        one("secure_time", any::<bool>()),
        env(),
    ];
    let rest = prop_oneof![
        one("vcpu", 1..9_u32),
        one("memory", 1024..9000_u32),
        one("disk_size", 20..90_u32),
        one("image", images),
        one("listed", any::<bool>()),
        one("user_config", "[a-z]{1,9}".prop_map(|text| format!("{{\"{text}\":1}}"))),
        one("shutdown_timeout", 10..1201_u32),
        one("allow_force_stop", any::<bool>()),
    ];
    prop::collection::vec(prop_oneof![document, rest], 1..7)
        .prop_map(|fields| fields.into_iter().flatten().collect())
}

async fn does_what_it_says(patch: &Fields) {
    let world = running().await;
    let mut expected = observe(&world).await;
    expected.extend(patch.clone());
    let send = async || {
        let reply = world.call("PATCH", "/cvms/my-app", "2026-01-21", Some(json!(patch))).await;
        assert_eq!(reply.status.as_u16(), 202, "{patch:?}: {}", reply.text);
        world.settle().await;
        reply.json()
    };
    let first = send().await;
    assert_eq!(observe(&world).await, expected, "{first}");
    let before = (boots(&world), world.get("/cvms/my-app").await.ok());
    assert!(before.0 <= 2, "one restart for all");
    let again = send().await;
    assert_eq!(again["effect"], "nothing");
    assert_eq!((boots(&world), world.get("/cvms/my-app").await.ok()), before);
    let text = world.get("/cvms/my-app/compose_file").await.text;
    assert_eq!(the_vm(&world).config.compose, text);
    assert_eq!(the_vm(&world).booted, Some(hash(&text)));
}

async fn boots_as_promised(file: &str, names: &[&str], logs: bool) {
    let world = running().await;
    let body = json!({
        "name": "", "docker_compose_file": file, "allowed_envs": names, "update_env_vars": true,
        "public_logs": logs
    });
    let prepared = world.post("/cvms/my-app/compose_file/provision", body).await.ok();
    let promised = prepared["compose_hash"].as_str().unwrap().to_owned();
    let commit = json!({ "compose_hash": promised });
    world.post("/cvms/my-app/compose_file/commit", commit).await.ok();
    world.settle().await;
    let vm = the_vm(&world);
    assert_eq!(vm.booted.unwrap().to_string(), promised);
    assert_eq!(hash(&vm.config.compose).to_string(), promised);
    let shown = world.get("/cvms/my-app/compose_file").await.text;
    assert_eq!(shown, vm.config.compose);
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else_and_again_nothing(patch in patches()) {
        run(does_what_it_says(&patch));
    }

    #[test]
    fn a_prepared_document_boots_under_the_hash_that_was_promised(
        file in compose(),
        names in prop::sample::subsequence(vec!["A", "B", "_C"], 0..=3),
        logs in any::<bool>(),
    ) {
        run(boots_as_promised(&file, &names, logs));
    }
}

#[tokio::test]
async fn two_hundred_cvms_changed_at_once_lose_nothing() {
    let capacity =
        Capacity { slots: 1000, vcpu: 10_000, memory_mb: 10_000_000, disk_gb: 1_000_000 };
    let host = SimConfig { capacity, ..SimConfig::fast() };
    let world = World::fleet(vec![TestNode { host, ..TestNode::sim() }], |_| {}).await;
    let names: Vec<String> = (0..200).map(|number| format!("app-{number}")).collect();
    for name in &names {
        world.deploy(name).await;
    }
    world.settle().await;
    let patch = async |name: &str, body: Value| {
        let path = format!("/cvms/{name}");
        let reply = world.call("PATCH", &path, "2026-01-21", Some(body)).await;
        assert_eq!(reply.status.as_u16(), 202, "{}", reply.text);
        reply.json()["correlation_id"].clone()
    };
    let sent = names.iter().zip(3000_u32..).map(async |(name, memory)| {
        let first = patch(name, json!({ "memory": memory, "listed": false })).await;
        (first, patch(name, json!({ "vcpu": 2 })).await)
    });
    let ids = join_all(sent).await;
    world.settle().await;
    let vms = world.sim.host().vms().unwrap();
    assert_eq!(vms.len(), 200);
    for ((name, memory), (first, second)) in names.iter().zip(3000_u32..).zip(&ids) {
        let path = format!("/cvms/{name}/operations");
        let operations = world.get(&path).await.ok();
        let told = |index: usize| {
            let one = &operations["items"][index];
            (one["correlation_id"].clone(), one["state"].clone())
        };
        assert_eq!(operations["total"], 3);
        assert_eq!(told(0), (second.clone(), json!("succeeded")));
        assert_eq!(told(1), (first.clone(), json!("succeeded")));
        let detail = world.get(&format!("/cvms/{name}")).await.ok();
        assert_eq!((&detail["status"], &detail["listed"]), (&json!("running"), &json!(false)));
        let uuid = detail["vm_uuid"].as_str().unwrap();
        let vm = vms.iter().find(|vm| vm.config.mark.uuid().to_string() == uuid).unwrap();
        assert_eq!((vm.config.memory_mb, vm.config.vcpu), (memory, 2));
    }
}
