//! What a row's test is, and how it is run: on each route of the row, on each kind of node, with the
//! CVM running and stopped.

use std::collections::{BTreeMap, BTreeSet};

use casemate_core::{
    compose::hash,
    id::{CvmName, WorkspaceId},
};
use casemate_engine::node::VmConfig;
use casemate_store::cvms;
use serde_json::{Value, json};

use super::table::{Line, Null, Restart, Route, Sent, lines};
use crate::fields::{
    common::{TestNode, World},
    row::{body, failure},
};

/// A field with an effect.
#[derive(Debug, Clone)]
pub struct Row {
    /// A route of its row; all of them are tried.
    pub at: Route,
    /// As in the table.
    pub field: &'static str,
    pub in_document: bool,
    /// Only this route, where the others need another request.
    pub only: bool,
    /// What is said at provision.
    pub deploy: Value,
    /// Changed by `PATCH` before.
    pub before: Option<Value>,
    /// Changes of the plain document, for the routes that take one.
    pub file: Value,
    /// The field, and what has to be said besides.
    pub send: Value,
    /// Every place of [`state`] that is different then, with what is there.
    pub seen: Vec<(&'static str, Value)>,
    /// Places that may be different, too.
    pub unseen: Vec<&'static str>,
    /// Where the row's own word is not about this request.
    pub restart: Option<Restart>,
    /// What is there after `null`; `None`: what was there before.
    pub after_null: Option<(&'static str, Value)>,
}

pub fn row(at: Route, field: &'static str, send: Value) -> Row {
    Row {
        at,
        field,
        in_document: false,
        only: false,
        deploy: json!({}),
        before: None,
        file: json!({}),
        send,
        seen: Vec::new(),
        unseen: Vec::new(),
        restart: None,
        after_null: None,
    }
}

impl Row {
    /// Only the route it names.
    pub fn only(self) -> Self {
        Self { only: true, ..self }
    }
    pub fn deployed(self, deploy: Value) -> Self {
        let file = deploy.get("compose_file").cloned().unwrap_or_else(|| json!({}));
        Self { deploy, file, ..self }
    }
    pub fn after(self, before: Value) -> Self {
        Self { before: Some(before), ..self }
    }
    pub fn prepared(self, file: Value) -> Self {
        Self { file, ..self }
    }
    pub fn nulled(self, at: &'static str, value: impl Into<Value>) -> Self {
        Self { after_null: Some((at, value.into())), ..self }
    }
    /// At this pointer into [`state`] is this.
    pub fn at(mut self, pointer: &'static str, value: impl Into<Value>) -> Self {
        self.seen.push((pointer, value.into()));
        self
    }
    /// Expects what the field's row does not say: that nothing restarts, as the field says nothing.
    pub fn record(self) -> Self {
        Self { restart: Some(Restart::No), ..self }
    }
    /// `null` with nothing else leads back to the document without what was said besides.
    pub fn stays(self) -> Self {
        Self { after_null: Some(("/document/salt", Value::Null)), ..self }
    }
    /// This may be different with it.
    pub fn with(mut self, pointer: &'static str) -> Self {
        self.unseen.push(pointer);
        self
    }
    /// The same value at two places.
    pub fn in_both(
        self,
        document: &'static str,
        get: &'static str,
        value: impl Into<Value>,
    ) -> Self {
        let value = value.into();
        self.at(document, value.clone()).at(get, value)
    }

    pub fn line(&self) -> Line {
        lines()
            .into_iter()
            .find(|line| line.is(self.at, self.in_document, self.field))
            .unwrap_or_else(|| panic!("{:?} {} has no row", self.at, self.field))
    }

    /// The routes it is tried on.
    pub fn routes(&self, line: &Line) -> Vec<Route> {
        if self.only { vec![self.at] } else { line.routes.clone() }
    }

    fn sent(&self, route: Route, body: Value) -> Sent {
        Sent { route, file: self.file.clone(), body, in_document: self.in_document }
    }

    /// The request with `null` for the field.
    fn null(&self, route: Route) -> Sent {
        let pointer = format!("/{}", self.field.replace("[].", "/0/").replace('.', "/"));
        let mut body = if self.in_document { json!({}) } else { self.send.clone() };
        match body.pointer_mut(&pointer) {
            Some(value) => *value = Value::Null,
            None => body[self.field] = Value::Null,
        }
        self.sent(route, body)
    }
}

/// What a node was told, but for the document.
fn told(vm: &VmConfig) -> Value {
    let VmConfig {
        mark,
        app_id,
        kms: _,
        compose: _,
        compose_hash: _,
        image,
        vcpu,
        memory_mb,
        disk_gb,
        ports,
        sealed_env,
        env_is_new: _,
        user_config,
        hugepages,
        pin_numa,
        gpus,
        kms_urls,
        gateway_urls,
        gateway_domain: _,
        instance_seed,
    } = vm;
    json!({
        "mark": mark.to_string(), "app_id": app_id.to_string(), "image": image, "vcpu": vcpu,
        "memory_mb": memory_mb, "disk_gb": disk_gb, "ports": ports, "sealed_env": sealed_env,
        "user_config": user_config, "hugepages": hugepages, "pin_numa": pin_numa, "gpus": gpus,
        "kms_urls": kms_urls, "gateway_urls": gateway_urls, "instance_seed": instance_seed,
    })
}

/// A CVM from every side: `GET`, `document`, `ports`, `network`, `old` (`GET` of 2025-10-28), `node`
/// (what it was told), `record` (what nobody else is told).
pub async fn state(world: &World, uuid: &str) -> Value {
    let at = |below: &str| format!("/cvms/{uuid}{below}");
    let mut get = world.get(&at("")).await.ok();
    let document = world.get(&at("/compose_file")).await;
    let old = world.call("GET", &at(""), "2025-10-28", None).await.ok();
    let name = CvmName::parse(uuid);
    let spec = cvms::resolve(&world.ctx.db, WorkspaceId(1), &name).await.unwrap()[0].spec.clone();
    let vms = world.sim.host().vms().unwrap();
    let own: Vec<_> = vms.iter().filter(|vm| vm.config.mark.uuid().to_string() == uuid).collect();
    assert_eq!(own.len(), 1, "one VM per CVM");
    let vm = &own[0].config;
    // What was promised, what the node has, and what runs.
    assert_eq!(get["compose_hash"], hash(&document.text).to_string());
    assert_eq!(vm.compose, document.text, "the node has the bytes that clients get");
    assert_eq!(vm.compose_hash, hash(&document.text));
    if get["status"] == "running" {
        assert_eq!(own[0].booted, Some(vm.compose_hash), "and booted them");
    }
    for changes_with_others in [
        "compose_hash",
        "compose_file",
        "docker_compose_hash",
        "pre_launch_script_hash",
        "updated_at",
    ] {
        get.as_object_mut().unwrap().remove(changes_with_others);
    }
    let parsed: Value = serde_json::from_str(&document.text).unwrap();
    let mut network = world.get(&at("/network-config")).await.ok();
    network.as_object_mut().unwrap().remove("ports");
    let mut ports = world.get(&at("/ports")).await.ok();
    for port in ports.as_array_mut().unwrap() {
        port.as_object_mut().unwrap().remove("id");
    }
    json!({
        "GET": get, "document": parsed, "ports": ports, "network": network,
        "old": { "scheduled_delete_at": old["scheduled_delete_at"] }, "node": told(vm),
        "record": {
            "shutdown_timeout_s": spec.shutdown_timeout_s,
            "allow_force_stop": spec.allow_force_stop, "env_keys": spec.env_keys,
        },
    })
}

/// Runs of all guests that calls began.
pub fn starts(world: &World) -> usize {
    world.sim.host().audit().unwrap().marks.values().map(|mark| mark.starts).sum()
}

pub async fn world(node: TestNode, deploy: &Value) -> (World, String) {
    let world = World::fleet(vec![node], |_| {}).await;
    let reply = world.post("/cvms/provision", body("my-app", &[deploy])).await.ok();
    let request = json!({ "app_id": reply["app_id"], "compose_hash": reply["compose_hash"] });
    let committed = world.post("/cvms", request).await.ok();
    world.settle().await;
    let uuid = committed["vm_uuid"].as_str().unwrap().to_owned();
    (world, uuid)
}

async fn check(row: &Row, line: &Line) {
    for route in row.routes(line) {
        for is_docker in [false, true] {
            if is_docker && line.not_on_docker {
                continue;
            }
            for is_stopped in [false, true] {
                check_on(row, line, route, is_docker, is_stopped).await;
            }
        }
    }
}

async fn check_on(row: &Row, line: &Line, route: Route, is_docker: bool, is_stopped: bool) {
    let place = format!("{route:?}, docker {is_docker}, stopped {is_stopped}");
    let node = if is_docker { TestNode::docker() } else { TestNode::sim() };
    let (world, uuid) = world(node, &row.deploy).await;
    if let Some(before) = &row.before {
        let path = format!("/cvms/{uuid}");
        world.call("PATCH", &path, "2026-01-21", Some(before.clone())).await.ok();
        world.settle().await;
    }
    if is_stopped {
        world.post(&format!("/cvms/{uuid}/stop"), json!({})).await.ok();
        world.settle().await;
    }
    let (before, ran) = (state(&world, &uuid).await, starts(&world));
    let body = match row.send.get(row.field) {
        Some(text) if route.is_text() => json!({ row.field: text }),
        _ => row.send.clone(),
    };
    let reply = row.sent(route, body).to(&world, &uuid).await.ok();
    assert_eq!(reply["warnings"], Value::Null, "{place}: it is known");
    if let Some(effect) = reply.get("effect") {
        let expected = match line.restart {
            Restart::Yes => Some("restart"),
            Restart::No => Some("record"),
            Restart::NextStart => Some("next_start"),
            Restart::Nothing => None,
        };
        assert!(expected.is_none_or(|expected| effect == expected), "{place}: {reply}");
    }
    let promised = world.get(&format!("/cvms/{uuid}")).await.ok()["compose_hash"].clone();
    world.settle().await;
    let mut after = state(&world, &uuid).await;
    let expected = usize::from(line.restart == Restart::Yes && !is_stopped);
    if line.restart != Restart::Nothing {
        assert_eq!(starts(&world) - ran, expected, "{place}: restarts");
    }
    if line.restart == Restart::NextStart && !is_stopped {
        assert_eq!(after["node"], before["node"], "{place}: not yet");
        world.post(&format!("/cvms/{uuid}/restart"), json!({})).await.ok();
        world.settle().await;
        after = state(&world, &uuid).await;
    }
    assert_eq!(after["GET"]["status"], before["GET"]["status"], "{place}");
    let booted = hash(&world.get(&format!("/cvms/{uuid}/compose_file")).await.text);
    assert_eq!(promised, booted.to_string(), "{place}: what was promised");
    assert!(!row.seen.is_empty(), "it is looked for");
    for (at, value) in &row.seen {
        assert_eq!(after.pointer(at).unwrap_or(&Value::Null), value, "{place}: {at}");
    }
    assert_eq!(
        unasked(&before, &after, row),
        Vec::<String>::new(),
        "{place}: nothing else changed"
    );
    check_null(row, line, route, (&world, &uuid), (&before, &after)).await;
    if is_stopped && line.restart == Restart::Yes {
        world.post(&format!("/cvms/{uuid}/start"), json!({})).await.ok();
        world.settle().await;
        assert_eq!(state(&world, &uuid).await["GET"]["status"], "running", "{place}");
    }
}

/// Where two states differ and a row does not say so.
fn unasked(before: &Value, after: &Value, row: &Row) -> Vec<String> {
    let mut found = Vec::new();
    differences(before, after, String::new(), &mut found);
    let said: Vec<&str> =
        row.seen.iter().map(|(at, _)| *at).chain(row.unseen.iter().copied()).collect();
    let is_said = |place: &str| said.iter().any(|said| within(place, said) || within(said, place));
    found.retain(|place| !is_said(place));
    found
}

/// Whether a pointer is another one or leads into it.
fn within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Pointers to what is different, lists as one.
fn differences(a: &Value, b: &Value, at: String, found: &mut Vec<String>) {
    let (Value::Object(left), Value::Object(right)) = (a, b) else {
        if a != b {
            found.push(at);
        }
        return;
    };
    let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    for key in keys {
        differences(&a[key], &b[key], format!("{at}/{key}"), found);
    }
}

async fn check_null(
    row: &Row,
    line: &Line,
    route: Route,
    (world, uuid): (&World, &str),
    (before, after): (&Value, &Value),
) {
    let cannot = world.ctx.fleet.node(casemate_core::id::NodeId(1)).unwrap().kind
        == casemate_core::node::NodeKind::Sim
        && !line.refused.sim.is_empty();
    if route.is_text() || cannot {
        return;
    }
    let sent = row.null(route);
    let place = format!("{route:?} null: {}", sent.body);
    let reply = sent.to(world, uuid).await;
    let text = reply.text.clone();
    if let Null::Refused(what) = &line.null {
        let code = reply.status.as_u16().to_string();
        assert!(code == *what || reply.json()["error_code"] == what.as_str(), "{place}: {text}");
        world.settle().await;
        assert_eq!(&state(world, uuid).await, after, "{place}");
        return;
    }
    assert!(reply.status.is_success(), "{place}: {text}");
    world.settle().await;
    let now = state(world, uuid).await;
    match (&line.null, &row.after_null) {
        (_, Some((at, value))) => {
            assert_eq!(now.pointer(at).unwrap_or(&Value::Null), value, "{place}: {at}");
        }
        (Null::Kept, None) => assert_eq!(&now, after, "{place}"),
        (_, None) => assert_eq!(&now, before, "{place}"),
    }
}

/// Runs rows and names all that fail.
pub async fn check_all(rows: Vec<Row>) {
    let mut failed: BTreeMap<String, String> = BTreeMap::new();
    for row in rows {
        let what = format!("{:?} {} {}", row.at, row.field, row.send);
        let mut line = row.line();
        line.restart = row.restart.unwrap_or(line.restart);
        if let Some(why) = failure(Box::pin(async move { check(&row, &line).await })).await {
            failed.insert(what.chars().take(200).collect(), why);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
