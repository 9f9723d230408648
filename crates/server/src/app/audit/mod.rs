//! The audit log: one row for each change that was asked for (docs/audit.md).
//!
//! A changing request runs inside [`AuditedRequest::run`]. The transaction of its change writes the row
//! ([`write()`], called by `app::mutation`), so no committed change lacks one. When the reply is known,
//! [`AuditedRequest::finish`] sees to requests that committed nothing: a change made elsewhere is written before the reply
//! is sent, a refusal by a task, from a bounded queue.

pub mod read;
mod refusals;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use casemate_core::{
    audit::{ActorKind, TargetKind, kept},
    id::{KeyId, UserId, WorkspaceId},
    time::{Entropy, Timestamp},
};
use casemate_store::{
    Db, Tx,
    audit::{AuditRange, AuditRow, NewAuditEntry, newest},
    cvms::Cvm,
};
use serde::Serialize;
use serde_json::{Value, json};

pub use self::refusals::{Refusals, run, write_refusals};
use super::{Caller, Ctx, Error};

tokio::task_local! {
    static CURRENT: Arc<AuditedRequest>;
}

/// What is known of a request before it is decided.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The operation's id in the description of the API.
    pub action: &'static str,
    pub target: TargetKind,
    /// As the path has it.
    pub target_id: Option<String>,
    pub address: Option<IpAddr>,
    pub request_id: Option<String>,
    /// Whether it is about the installation: its row is for operators only.
    pub of_installation: bool,
}

/// One changing request.
#[derive(Debug)]
pub struct AuditedRequest {
    origin: Origin,
    state: Mutex<RequestState>,
}

#[derive(Debug, Default)]
struct RequestState {
    actor: Option<Actor>,
    /// CVMs that it acts on.
    cvms: Vec<String>,
    before: Option<String>,
    is_written: bool,
    is_replayed: bool,
}

#[derive(Debug, Clone)]
struct Actor {
    user: UserId,
    username: String,
    workspace: WorkspaceId,
    key: Option<KeyId>,
}

impl AuditedRequest {
    pub fn new(origin: Origin) -> Arc<Self> {
        Arc::new(Self { origin, state: Mutex::default() })
    }

    /// Runs the request.
    pub async fn run<F: Future>(self: Arc<Self>, request: F) -> F::Output {
        CURRENT.scope(self, request).await
    }

    fn state(&self) -> MutexGuard<'_, RequestState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who asks; the first one that is known stays.
    pub fn is_by(&self, caller: &Caller) {
        self.state().actor.get_or_insert_with(|| Actor {
            user: caller.user.id,
            username: caller.user.username.clone(),
            workspace: caller.workspace.id,
            key: caller.key,
        });
    }

    fn entry(&self, ctx: &Ctx, status: u16, after: Option<&Value>) -> NewAuditEntry {
        let (state, now) = (self.state(), ctx.now());
        let actor = state.actor.as_ref();
        let (target_id, before) = match &*state.cvms {
            [] => (self.origin.target_id.clone(), state.before.clone()),
            [one] => (Some(one.clone()), state.before.clone()),
            several => (None, Some(json!({ "cvms": several }).to_string())),
        };
        let made = || after.filter(|_| state.cvms.is_empty()).and_then(made_id);
        NewAuditEntry {
            id: ctx.entropy.uuid_v7(now).to_string(),
            at: now,
            workspace: actor.map(|by| by.workspace).filter(|_| !self.origin.of_installation),
            actor: if actor.is_some() { ActorKind::User } else { ActorKind::None },
            user: actor.map(|by| by.user),
            username: actor.map(|by| by.username.clone()).unwrap_or_default(),
            key: actor.and_then(|by| by.key),
            address: self.origin.address.map(|address| address.to_string()),
            request_id: self.origin.request_id.clone(),
            action: self.origin.action.to_owned(),
            target: self.origin.target,
            target_id: target_id.or_else(made).map(|id| shortened(&id)),
            before,
            after: after.and_then(kept),
            status,
            error_code: None,
            replayed: state.is_replayed,
        }
    }

    /// Sees to a request whose transaction wrote no row. An error: the row of a change is missing, and the change must
    /// not be acknowledged.
    pub async fn finish(
        &self,
        ctx: &Ctx,
        status: u16,
        error_code: Option<String>,
    ) -> Result<(), Error> {
        let (is_written, is_known, is_replayed) = {
            let state = self.state();
            (state.is_written, state.actor.is_some(), state.is_replayed)
        };
        let is_change = (200..300).contains(&status) && !is_replayed;
        if is_written || !(is_known || is_change) {
            return Ok(());
        }
        let entry = NewAuditEntry { error_code, ..self.entry(ctx, status, None) };
        if !is_change {
            ctx.audit.push(entry);
            return Ok(());
        }
        let mut tx = ctx.begin().await?;
        tx.append_audit(&entry).await?;
        ctx.commit(tx).await
    }
}

/// CVMs of one row; as many as one request may change.
const MOST_CVMS: usize = 500;

/// Ids of clients in paths are as long as they like.
fn shortened(id: &str) -> String {
    id.chars().filter(|char| !char.is_control()).take(128).collect()
}

/// The id of what a reply says was made.
fn made_id(reply: &Value) -> Option<String> {
    let fields = ["vm_uuid", "id", "app_id", "slug", "username", "name", "client"];
    fields.iter().find_map(|field| match &reply[*field] {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

fn with_current(act: impl FnOnce(&AuditedRequest)) {
    let _ = CURRENT.try_with(|request| act(request));
}

/// Notes who asks.
pub fn is_by(caller: &Caller) {
    with_current(|request| request.is_by(caller));
}

/// Notes that the request is answered as before.
pub fn is_replayed() {
    with_current(|request| request.state().is_replayed = true);
}

/// Notes what is acted on, as the API shows it, before it is changed. The first one stays.
pub fn before(shown: &impl Serialize) {
    with_current(|request| {
        let mut state = request.state();
        if state.before.is_none() {
            state.before = serde_json::to_value(shown).ok().as_ref().and_then(kept);
        }
    });
}

/// Notes the CVM that is acted on, before it is changed. The first one stays.
pub fn before_cvm(cvm: &Cvm) {
    with_current(|request| {
        let (mut state, id) = (request.state(), cvm.uuid.to_string());
        if !state.cvms.contains(&id) && state.cvms.len() < MOST_CVMS {
            state.cvms.push(id);
        }
    });
    before(&cvm_state(cvm));
}

/// What a row says of a CVM.
fn cvm_state(cvm: &Cvm) -> Value {
    let (spec, facts) = (&cvm.spec, &cvm.spec.facts);
    let ports = spec.ports.iter().map(|port| port.host_port).collect::<Vec<_>>();
    json!({
        "name": spec.name,
        "app_id": spec.app_id.to_string(),
        "compose_hash": spec.compose_hash.to_string(),
        "image": spec.image,
        "instance_type": spec.resources.instance_type,
        "vcpu": spec.resources.vcpu,
        "memory_mb": spec.resources.memory_mb,
        "disk_gb": spec.resources.disk_gb,
        "listed": spec.listed,
        "public_logs": facts.public_logs,
        "public_sysinfo": facts.public_sysinfo,
        "public_tcbinfo": facts.public_tcbinfo,
        "ports": ports,
        "node_id": cvm.node.0,
        "status": cvm.phase.as_str(),
        "generation": cvm.desired.generation,
        "scheduled_delete_at": cvm.delete_at.map(|at| at.to_string()),
    })
}

/// Writes the row of the request under way into the transaction of its change. Nothing outside of a request.
pub async fn write(
    ctx: &Ctx,
    tx: &mut Tx,
    status: u16,
    after: Option<&Value>,
) -> Result<(), Error> {
    let Ok(request) = CURRENT.try_with(Arc::clone) else { return Ok(()) };
    let entry = request.entry(ctx, status, after);
    tx.append_audit(&entry).await?;
    Ok(())
}

/// Notes that the transaction of [`write()`] was committed.
pub fn written() {
    with_current(|request| request.state().is_written = true);
}

/// A command of the host that changes something, with what it changed.
pub async fn of_host(
    tx: &mut Tx,
    entropy: &dyn Entropy,
    now: Timestamp,
    (action, target, target_id): (&str, TargetKind, String),
    after: &Value,
) -> Result<(), Error> {
    let entry = NewAuditEntry {
        id: entropy.uuid_v7(now).to_string(),
        at: now,
        workspace: None,
        actor: ActorKind::Host,
        user: None,
        username: String::new(),
        key: None,
        address: None,
        request_id: None,
        action: action.to_owned(),
        target,
        target_id: Some(target_id),
        before: None,
        after: kept(after),
        status: 0,
        error_code: None,
        replayed: false,
    };
    Ok(tx.append_audit(&entry).await?)
}

/// The newest rows of all workspaces and the installation.
pub async fn newest_rows(db: &Db, limit: i64) -> Result<Vec<AuditRow>, Error> {
    let range = AuditRange { workspace: None, from: String::new(), before: read::END.to_owned() };
    Ok(newest(db, &range, limit).await?)
}
