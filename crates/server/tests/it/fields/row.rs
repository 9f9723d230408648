//! What a row's test is, and how it is run: each in a world of its own.

use std::collections::BTreeMap;

use casemate_core::{
    compose::hash,
    cvm::Spec,
    id::{CvmName, WorkspaceId},
};
use casemate_engine::node::VmConfig;
use casemate_store::cvms;
use serde_json::{Map, Value, json};
use tokio::task::LocalSet;

use crate::fields::{
    common::{TestNode, World, provision_body},
    table::{self, Line},
};

/// A field with an effect.
pub struct Row {
    /// As in the table.
    pub field: &'static str,
    /// What has to be said besides, so that it has its effect.
    pub base: Value,
    /// The field with a value that is not its default.
    pub send: Value,
    /// What is said at commit.
    pub commit: Value,
    /// On which nodes; `None`: on a sim, and on a docker node unless that refuses it.
    pub nodes: Option<fn() -> Vec<TestNode>>,
    pub seen: Vec<Seen>,
}

/// Where the value is found again.
pub enum Seen {
    /// In the document, under this key; `null`: not there.
    Document(&'static str, Value),
    /// In what the node received.
    Node(fn(&VmConfig) -> Value, Value),
    /// In `GET /cvms/{id}`.
    Get(&'static str, Value),
    /// In the reply of provision.
    Reply(&'static str, Value),
    /// In the reply of a route below the CVM: `ports`, at a pointer.
    Below(&'static str, &'static str, Value),
    /// In the record only.
    Spec(fn(&Spec) -> Value, Value),
}

pub fn row(field: &'static str, send: Value) -> Row {
    Row { field, base: json!({}), send, commit: json!({}), nodes: None, seen: Vec::new() }
}

impl Row {
    pub fn on(self, nodes: fn() -> Vec<TestNode>) -> Self {
        Self { nodes: Some(nodes), ..self }
    }
    pub fn with(self, base: Value) -> Self {
        Self { base, ..self }
    }
    pub fn committed(self, commit: Value) -> Self {
        Self { commit, ..self }
    }
    pub fn document(self, key: &'static str, value: impl Into<Value>) -> Self {
        self.see(Seen::Document(key, value.into()))
    }
    pub fn node(self, read: fn(&VmConfig) -> Value, value: impl Into<Value>) -> Self {
        self.see(Seen::Node(read, value.into()))
    }
    pub fn get(self, pointer: &'static str, value: impl Into<Value>) -> Self {
        self.see(Seen::Get(pointer, value.into()))
    }
    pub fn below(self, at: &'static str, pointer: &'static str, value: impl Into<Value>) -> Self {
        self.see(Seen::Below(at, pointer, value.into()))
    }
    pub fn reply(self, pointer: &'static str, value: impl Into<Value>) -> Self {
        self.see(Seen::Reply(pointer, value.into()))
    }
    pub fn spec(self, read: fn(&Spec) -> Value, value: impl Into<Value>) -> Self {
        self.see(Seen::Spec(read, value.into()))
    }
    fn see(mut self, seen: Seen) -> Self {
        self.seen.push(seen);
        self
    }
}

/// Writes `change` over `body`, object by object.
pub fn merge(body: &mut Value, change: &Value) {
    let Value::Object(change) = change else {
        body.clone_from(change);
        return;
    };
    if !body.is_object() {
        *body = Value::Object(Map::new());
    }
    for (key, value) in change {
        merge(&mut body[key], value);
    }
}

/// A provision request with these changes.
pub fn body(name: &str, changes: &[&Value]) -> Value {
    let mut body = provision_body(name);
    for change in changes {
        merge(&mut body, change);
    }
    body
}

/// A deployed CVM, from every side.
pub struct Deployed {
    pub reply: Value,
    pub document: String,
    pub vm: VmConfig,
    pub get: Value,
    pub spec: Spec,
}

/// Provisions, commits, waits, and holds the one rule that no field may break: what was hashed is
/// what the node has and what clients get.
pub async fn deploy(world: &World, body: Value, commit: &Value) -> Deployed {
    let reply = world.post("/cvms/provision", body).await.ok();
    let mut request = json!({ "app_id": reply["app_id"], "compose_hash": reply["compose_hash"] });
    merge(&mut request, commit);
    let committed = world.post("/cvms", request).await.ok();
    world.settle().await;
    look(world, reply, committed["vm_uuid"].as_str().unwrap()).await
}

/// A CVM that was deployed, by its uuid.
pub async fn look(world: &World, reply: Value, uuid: &str) -> Deployed {
    let get = world.get(&format!("/cvms/{uuid}")).await.ok();
    assert_eq!(get["status"], "running", "{get}");
    let document = world.get(&format!("/cvms/{uuid}/compose_file")).await.text;
    let vms = world.sims.iter().flat_map(|sim| sim.host().vms().unwrap());
    let own: Vec<_> = vms.filter(|vm| vm.config.mark.uuid().to_string() == uuid).collect();
    assert_eq!(own.len(), 1, "one VM per CVM");
    let vm = VmConfig::clone(&own[0].config);
    assert_eq!(vm.compose, document, "the node has the bytes that clients get");
    assert_eq!(hash(&vm.compose).to_string(), reply["compose_hash"], "and they were hashed");
    assert_eq!(own[0].booted.unwrap().to_string(), reply["compose_hash"], "and booted");
    assert_eq!(get["compose_hash"], reply["compose_hash"]);
    let parsed: Value = serde_json::from_str(&document).unwrap();
    assert_eq!(get["compose_file"], parsed);
    let name = CvmName::parse(uuid);
    let found = cvms::resolve(&world.ctx.db, WorkspaceId(1), &name).await.unwrap();
    Deployed { reply, document, vm, get, spec: found[0].spec.clone() }
}

async fn check(row: &Row, line: &Line) {
    let Some(nodes) = row.nodes else {
        check_on(vec![TestNode::sim()], row, line.hashed).await;
        if !line.not_on_docker {
            check_on(vec![TestNode::docker()], row, line.hashed).await;
        }
        return;
    };
    check_on(nodes(), row, line.hashed).await;
}

async fn check_on(nodes: Vec<TestNode>, row: &Row, hashed: bool) {
    let world = World::fleet(nodes, |_| {}).await;
    let plain = world.post("/cvms/provision", body("my-app", &[&row.base])).await.ok();
    world.clock.advance_ms(1);
    let sent = body("my-app", &[&row.base, &row.send]);
    let made = deploy(&world, sent, &row.commit).await;
    assert_eq!(made.reply["warnings"], Value::Null, "it is known");
    assert_eq!(made.reply["compose_hash"] != plain["compose_hash"], hashed, "part of the hash");
    assert!(!row.seen.is_empty(), "it is looked for");
    let document: Value = serde_json::from_str(&made.document).unwrap();
    for seen in &row.seen {
        match seen {
            Seen::Document(key, value) => {
                assert_eq!(document.get(key).unwrap_or(&Value::Null), value, "document {key}");
            }
            Seen::Node(read, value) => assert_eq!(&read(&made.vm), value, "node"),
            Seen::Get(at, value) => {
                assert_eq!(made.get.pointer(at).unwrap_or(&Value::Null), value, "GET {at}");
            }
            Seen::Reply(at, value) => {
                assert_eq!(made.reply.pointer(at).unwrap_or(&Value::Null), value, "reply {at}");
            }
            Seen::Below(route, at, value) => {
                let uuid = made.get["vm_uuid"].as_str().unwrap();
                let reply = world.get(&format!("/cvms/{uuid}/{route}")).await.ok();
                let found = reply.pointer(at).unwrap_or(&Value::Null);
                assert_eq!(found, value, "GET {route} {at}");
            }
            Seen::Spec(read, value) => assert_eq!(&read(&made.spec), value, "record"),
        }
    }
}

/// Runs rows and names all that fail.
pub async fn check_all(rows: Vec<Row>) {
    let table = table::by_name();
    let mut failed: BTreeMap<String, String> = BTreeMap::new();
    for row in rows {
        let line =
            table.get(row.field).unwrap_or_else(|| panic!("{} has no row", row.field)).clone();
        let what = format!("{} {} {}", row.field, row.send, row.commit);
        if let Some(why) = failure(Box::pin(async move { check(&row, &line).await })).await {
            failed.insert(what, why);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// What this panics with, if it does.
pub async fn failure(work: impl Future<Output = ()> + 'static) -> Option<String> {
    let run = async { tokio::task::spawn_local(work).await };
    let panic = LocalSet::new().run_until(run).await.err()?.into_panic();
    let text = panic.downcast_ref::<String>().cloned();
    Some(
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default(),
    )
}
