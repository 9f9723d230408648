//! Changes of a CVM's configuration: accepted, queued, begun, and taken back.
//!
//! A request accepts a change ([`accept`]): it is checked against the configuration that will be in
//! force when its turn comes, written down as an operation, and begun at once where nothing else is
//! under way. Otherwise it waits; when an operation ends, the reconciler begins what waits
//! ([`begin_queued`]), all that fits together in one restart. A change that fails is taken back
//! ([`roll_back`]): the configuration from before is a new desired state, in an operation of its own.
//!
//! Promises: of an accepted change everything takes effect or nothing; accepted changes take effect
//! in the order of acceptance; a change that does not apply any more ends with its cause and takes no
//! other with it; what needs no restart makes none; what is off stays off.

mod check;
pub mod compose;
pub mod network;
pub mod older_cli;
pub mod request;
pub mod schedule;
mod show;

pub use self::show::show;
use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    reply::Cancelled,
};
pub use casemate_core::change::Effect;
use casemate_core::{
    change::{
        Before, Change, Configuration, EnvReport, NotApplicable, Withdrawn, apply, env_report,
        withdraw,
    },
    compose::{AppCompose, Reason},
    cvm::{DesiredState, Failure, FailureCode, Phase, Power, Spec, Status, StopMode},
    id::{ComposeHash, CvmId, EventSeq, OperationId},
    operation::OperationKind,
    stored::{self, Stored},
};
use casemate_store::{
    Tx,
    commit_tokens::Kind,
    cvms::{Cvm, Intent},
    operations::{
        Ending,
        queue::{NewChange, Queued},
    },
};

use serde::{Deserialize, Serialize};

use super::{
    Caller, Ctx, Error,
    approval::{
        self,
        flow::{Consent, Decision},
    },
    events::{self, CvmEvent, EventScope},
    revisions,
};
use crate::crash;

/// What becomes of a change that drops a variable which the compose file uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvGuard {
    /// It is applied, and the reply says so.
    Report,
    /// It is refused.
    Refuse,
}

impl Stored for ChangeRequest {}

/// A change as a request asks for it. What contracts have to allow first is kept as this, as JSON in
/// `commit_tokens.request`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    pub change: Change,
    /// Names of the fields the request changes, as clients call them.
    pub fields: Vec<String>,
    /// The names of variables the request names, if any: its `env_keys`, else its `allowed_envs`.
    pub named: Option<Vec<String>>,
    /// Whether a running guest may be brought down for it.
    pub may_restart: bool,
    /// What the request says of the guard; else the workspace's policy counts.
    pub guard: Option<EnvGuard>,
}

impl From<Change> for ChangeRequest {
    fn from(change: Change) -> Self {
        let named = change.env_keys.clone().or_else(|| change.allowed_envs.clone());
        let fields = change.fields().into_iter().map(str::to_owned).collect();
        Self { change, fields, named, may_restart: true, guard: None }
    }
}

/// An accepted change.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The CVM as it is now.
    pub cvm: Cvm,
    /// `correlation_id`.
    pub operation: OperationId,
    /// What it comes to.
    pub effect: Effect,
    /// The configuration that is in force once it has had its turn.
    pub promised: Spec,
    /// How many changes go before it, where it waits for another operation to end.
    pub waits_behind: Option<u32>,
    /// Whether the list of allowed variables is another one.
    pub allowed_envs_changed: bool,
    /// What it does to the names of variables, where the request named some.
    pub report: Option<EnvReport>,
}

impl Decision<Box<Accepted>> {
    /// Of a change that is known to need nothing of contracts.
    pub fn accepted(self) -> Result<Accepted, Error> {
        match self {
            Self::Done(accepted) => Ok(*accepted),
            Self::Prepared(_) | Self::Asks(_) => {
                Err(Error::Internal("a change made another document unasked".to_owned()))
            }
        }
    }
}

/// Accepts a change of a CVM of the caller's workspace. Where contracts have to allow its document and are not
/// known to, it is prepared, or they are to be asked, as `consent` says.
pub async fn accept(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    id: CvmId,
    change_request: &ChangeRequest,
    consent: &Consent,
) -> Result<Decision<Box<Accepted>>, Error> {
    let cvm = lock_cvm(tx, caller, id).await?;
    let queued = queued(ctx, tx, &cvm).await?;
    let base = projected(ctx, tx, &cvm, &queued).await?;
    let (next, effect) = change(ctx, tx, &cvm, &base, &change_request.change).await?;
    check_restart(&cvm, effect, change_request)?;
    let report = env_report(&base, &next, change_request.named.as_deref());
    guard(tx, caller, change_request, report.as_ref()).await?;
    let needs = approval::needs_between(ctx, &cvm, &base, &next)?;
    // From here on it leads to this document and no other.
    let bound = needs.as_ref().map(|(_, question)| change_request.change.bound_to(question.hash));
    let verified = match needs {
        None => None,
        Some((contracts, question)) => {
            let Some(verified) = consent.clearance.of(&question, &cvm) else {
                if !consent.prepare {
                    return Ok(Decision::Asks(vec![(contracts.governed.clone(), question)]));
                }
                let change_request =
                    ChangeRequest { change: bound.unwrap_or_default(), ..change_request.clone() };
                let new = approval::New {
                    kind: Kind::Update,
                    cvm: &cvm,
                    base: &base,
                    next: &next,
                    contracts,
                    question,
                    request: stored::write(&change_request),
                    prepare_only: consent.prepare_only,
                };
                let prepared = approval::prepare(ctx, tx, caller, new).await?;
                return Ok(Decision::Prepared(Box::new(prepared)));
            };
            Some(verified)
        }
    };
    if queued.len() >= usize::from(ctx.config.work.queue) {
        return Err(Error::code(ErrorCode::QueueFull));
    }
    let now = ctx.now();
    if bound.is_some() {
        tx.keep_document(&next.spec.compose_hash, &next.document.document(), now).await?;
    }
    let wanted = bound.as_ref().unwrap_or(&change_request.change);
    if let Some(hash) = &wanted.document {
        tx.keep_for_good(hash).await?;
    }
    let operation = ctx.operation_id();
    let fields: Vec<&str> = change_request.fields.iter().map(String::as_str).collect();
    let new = NewChange {
        id: operation,
        cvm: cvm.id,
        by: caller.user.id,
        change: wanted,
        fields: &fields,
        report: report.as_ref(),
        generation: cvm.desired.generation,
    };
    tx.enqueue_change(&new, now).await?;
    let scope = scope(&cvm, operation);
    let mut told = vec![CvmEvent::Accepted(OperationKind::Update)];
    told.extend(verified.map(CvmEvent::Verified));
    if let Some(report) = report.as_ref().filter(|report| **report != EnvReport::default()) {
        told.push(CvmEvent::EnvNames(report.clone()));
    }
    let waits = cvm.operation.is_some();
    events::write(tx, scope, &told, now).await?;
    if !waits {
        begin_queued(ctx, tx, &cvm).await?;
    }
    let after = tx.cvm(cvm.id).await?.ok_or_else(super::cvms::not_found)?;
    crash::point(|| "accept.update.before_commit".to_owned());
    Ok(Decision::Done(Box::new(Accepted {
        cvm: after,
        operation,
        effect,
        waits_behind: waits.then(|| u32::try_from(queued.len()).unwrap_or(u32::MAX)),
        allowed_envs_changed: base.document.allowed_envs != next.document.allowed_envs,
        promised: next.spec,
        report,
    })))
}

async fn queued(ctx: &Ctx, tx: &mut Tx, cvm: &Cvm) -> Result<Vec<Queued>, Error> {
    Ok(tx.queued_changes(cvm.id, i64::from(ctx.config.work.queue)).await?)
}

/// The configuration of a CVM that will be in force once everything that waits has had its turn.
pub async fn in_force_next(ctx: &Ctx, tx: &mut Tx, cvm: &Cvm) -> Result<Configuration, Error> {
    let queued = queued(ctx, tx, cvm).await?;
    projected(ctx, tx, cvm, &queued).await
}

/// A live CVM of the caller, taken until commit.
pub async fn lock_cvm(tx: &mut Tx, caller: &Caller, id: CvmId) -> Result<Cvm, Error> {
    let cvm = tx
        .lock_cvm(id)
        .await?
        .filter(|cvm| cvm.workspace == caller.workspace.id && cvm.desired.power != Power::Deleted)
        .ok_or_else(super::cvms::not_found)?;
    super::audit::before_cvm(&cvm);
    Ok(cvm)
}

/// What a change would come to now, without accepting it: the configuration in force when its turn
/// came, what would be in force after it, and the effect.
pub async fn preview(
    ctx: &Ctx,
    tx: &mut Tx,
    cvm: &Cvm,
    change_request: &Change,
) -> Result<(Configuration, Configuration, Effect), Error> {
    let base = in_force_next(ctx, tx, cvm).await?;
    let (next, effect) = change(ctx, tx, cvm, &base, change_request).await?;
    Ok((base, next, effect))
}

fn check_restart(cvm: &Cvm, effect: Effect, change_request: &ChangeRequest) -> Result<(), Error> {
    let is_on = cvm.desired.power == Power::Running;
    if effect < Effect::Restart || change_request.may_restart || !is_on {
        return Ok(());
    }
    Err(Error::field(
        ErrorCode::RestartNotAllowed,
        "allow_restart",
        "is false, and this change brings the CVM down and up again",
    )
    .suggest("Send allow_restart true, or stop the CVM first: it then counts from the next start."))
}

async fn guard(
    tx: &mut Tx,
    caller: &Caller,
    change_request: &ChangeRequest,
    report: Option<&EnvReport>,
) -> Result<(), Error> {
    let missing = report.map(|report| report.missing.as_slice()).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    let refuse = match change_request.guard {
        Some(said) => said == EnvGuard::Refuse,
        None => tx.refuses_dropped_env(caller.workspace.id).await?,
    };
    if !refuse {
        return Ok(());
    }
    let mut error = Error::because(
        ErrorCode::EnvKeysMissing,
        format!("the compose file uses {}, which this change drops", missing.join(", ")),
    );
    for name in missing {
        error = error.detail(ErrorDetail::message("env_keys", format!("drops {name}")));
    }
    Err(error.suggest(
        "Seal all variables again and name them all, or send X-Casemate-Env-Guard: report to drop them.",
    ))
}

/// The configuration that a CVM has been given last.
pub(super) async fn configuration(tx: &mut Tx, cvm: &Cvm) -> Result<Configuration, Error> {
    Ok(Configuration {
        document: document(tx, &cvm.spec.compose_hash).await?,
        spec: cvm.spec.clone(),
        sealed_env: cvm.sealed_env.clone(),
    })
}

/// A document that is kept.
pub(super) async fn document(tx: &mut Tx, hash: &ComposeHash) -> Result<AppCompose, Error> {
    let text = tx
        .document(hash)
        .await?
        .ok_or_else(|| Error::Internal(format!("document {hash} is missing")))?;
    AppCompose::parse(&text).map_err(|error| Error::Internal(format!("document {hash}: {error}")))
}

/// The configuration that will be in force once everything that waits has had its turn.
async fn projected(
    ctx: &Ctx,
    tx: &mut Tx,
    cvm: &Cvm,
    queued: &[Queued],
) -> Result<Configuration, Error> {
    let mut base = configuration(tx, cvm).await?;
    for waiting in queued {
        match in_turn(ctx, tx, cvm, &base, &waiting.change).await {
            Ok((next, _)) => base = next,
            // It will end with this as its cause.
            Err(Error::Refused(_) | Error::Invalid(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(base)
}

/// Applies a change and asks whether the CVM's node can honour the outcome.
async fn change(
    ctx: &Ctx,
    tx: &mut Tx,
    cvm: &Cvm,
    base: &Configuration,
    change: &Change,
) -> Result<(Configuration, Effect), Error> {
    let prepared = match &change.document {
        Some(hash) => Some(document(tx, hash).await?),
        None => None,
    };
    let (next, effect) = apply(base, change, prepared.as_ref()).map_err(not_applicable)?;
    check::on_node(ctx, tx, cvm, base, &next, change).await?;
    Ok((next, effect))
}

/// The same for a change whose turn comes: of a document that contracts govern it leads to no other
/// than the one it was accepted with.
async fn in_turn(
    ctx: &Ctx,
    tx: &mut Tx,
    cvm: &Cvm,
    base: &Configuration,
    waiting: &Change,
) -> Result<(Configuration, Effect), Error> {
    let (next, effect) = change(ctx, tx, cvm, base, waiting).await?;
    let (from, to) = (&base.spec.compose_hash, &next.spec.compose_hash);
    if !waiting.matches_approval(from, to) && approval::contracts(ctx, &cvm.kms)?.is_some() {
        return Err(approval::unapproved(to));
    }
    Ok((next, effect))
}

/// A change that does not fit, in upstream's code, naming its field.
pub(super) fn not_applicable(why: NotApplicable) -> Error {
    let NotApplicable { field, reason, message } = why;
    let code = match field {
        "docker_compose_file" if reason == Reason::Required => ErrorCode::ComposeFileRequired,
        "docker_compose_file" => ErrorCode::InvalidComposeFile,
        "disk_size" if reason == Reason::CanOnlyGrow => ErrorCode::DiskCannotShrink,
        "env_keys" => ErrorCode::EnvKeyNotAllowed,
        "vcpu" | "memory" | "disk_size" => return Error::invalid(field, message),
        _ if reason == Reason::LosesData => ErrorCode::DataLossRefused,
        "encrypted_env" => ErrorCode::IncompatibleConfiguration,
        _ => ErrorCode::ChangeNotApplicable,
    };
    let way_out = match code {
        ErrorCode::DiskCannotShrink => "Ask for at least as much as there is.",
        ErrorCode::EnvKeyNotAllowed => "Name it in allowed_envs too.",
        ErrorCode::DataLossRefused => "Leave it as it is, or deploy another CVM.",
        ErrorCode::InvalidComposeFile | ErrorCode::ComposeFileRequired => {
            "Send a compose file with a `services:` mapping, at most 200 KiB."
        }
        _ => "Leave it out.",
    };
    Error::field(code, field, message).suggest(way_out)
}

fn scope(cvm: &Cvm, operation: OperationId) -> EventScope {
    EventScope { workspace: cvm.workspace, cvm: cvm.id, operation: Some(operation) }
}

/// What goes in one: the longest beginning of the queue of which no member was told to go with fewer.
fn batch(queued: &[Queued]) -> usize {
    let mut most = i64::MAX;
    let fits = |(index, waiting): &(usize, &Queued)| {
        most = most.min(waiting.batch);
        i64::try_from(*index).is_ok_and(|index| index < most)
    };
    queued.iter().enumerate().take_while(fits).count()
}

/// Begins what waits for a CVM on which nothing is under way. Returns the place of the last event.
pub async fn begin_queued(ctx: &Ctx, tx: &mut Tx, cvm: &Cvm) -> Result<EventSeq, Error> {
    let mut last_event = EventSeq(0);
    let mut cvm = cvm.clone();
    loop {
        let queued = tx.queued_changes(cvm.id, i64::from(ctx.config.work.queue)).await?;
        let Some(batch) = queued.get(..batch(&queued)).filter(|batch| !batch.is_empty()) else {
            return Ok(last_event);
        };
        let (seq, under_way) = begin(ctx, tx, &cvm, batch).await?;
        last_event = last_event.max(seq);
        if under_way {
            return Ok(last_event);
        }
        cvm = tx
            .cvm(cvm.id)
            .await?
            .ok_or_else(|| Error::Internal("a CVM vanished in its transaction".to_owned()))?;
    }
}

/// Begins a batch. Says whether an operation is under way from now on; otherwise all of it is closed.
async fn begin(
    ctx: &Ctx,
    tx: &mut Tx,
    cvm: &Cvm,
    batch: &[Queued],
) -> Result<(EventSeq, bool), Error> {
    let now = ctx.now();
    let mut last_event = EventSeq(0);
    let old = configuration(tx, cvm).await?;
    let (mut next, mut effect) = (old.clone(), Effect::Nothing);
    let mut taken = Vec::new();
    for waiting in batch {
        match in_turn(ctx, tx, cvm, &next, &waiting.change).await {
            Ok((after, its)) => {
                next = after;
                effect = effect.max(its);
                taken.push(waiting.id);
            }
            Err(error @ (Error::Store(_) | Error::Internal(_))) => return Err(error),
            Err(error) => {
                let ending = Ending::Failed(FailureCode::NotApplicable, error.words());
                last_event = last_event.max(close(ctx, tx, cvm, waiting.id, &ending).await?);
            }
        }
    }
    // A guest that is off is told at once, so that a refusal comes now and not at the next start.
    let tell = effect == Effect::Restart
        || effect == Effect::NextStart && cvm.desired.power == Power::Stopped;
    if next.spec.compose_hash != old.spec.compose_hash {
        tx.keep_document(&next.spec.compose_hash, &next.document.document(), now).await?;
    }
    let Some((leader, others)) = taken.split_last().filter(|_| tell) else {
        let told = close_without_node(ctx, tx, cvm, &old, next, &taken).await?;
        return Ok((last_event.max(told), false));
    };
    let settled = matches!(cvm.phase, Phase::Running | Phase::Stopped);
    let before = settled.then(|| Before {
        spec: old.spec.clone(),
        sealed_env: old.sealed_env.clone(),
        generation: cvm.desired.generation,
    });
    let desired = DesiredState {
        generation: next.spec.revision,
        stop: StopMode::Graceful {
            timeout_s: next.spec.shutdown_timeout_s,
            force: next.spec.allow_force_stop,
        },
        vm: next.spec.vm,
        ..cvm.desired
    };
    let status = Status {
        failure: None,
        attempts: 0,
        stopping: None,
        drains_until: None,
        boot_until: None,
        ..cvm.status.clone()
    };
    let phase = OperationKind::Update.phase();
    let intent = Intent {
        spec: &next.spec,
        sealed_env: next.sealed_env.as_deref(),
        desired: &desired,
        status: &status,
        phase,
        due: true,
    };
    tx.set_intent(cvm, &intent, now).await?;
    tx.run_changes(*leader, others, desired.generation, before.as_ref(), now).await?;
    let mut told = vec![CvmEvent::Begun { with: others.len() }];
    if phase != cvm.phase {
        told.push(CvmEvent::Phase(cvm.phase, phase));
    }
    last_event = last_event.max(events::write(tx, scope(cvm, *leader), &told, now).await?);
    Ok((last_event, true))
}

/// Ends changes that no node has to be told of now. Returns the place of the last event.
async fn close_without_node(
    ctx: &Ctx,
    tx: &mut Tx,
    cvm: &Cvm,
    old: &Configuration,
    next: Configuration,
    taken: &[OperationId],
) -> Result<EventSeq, Error> {
    if next != *old {
        let intent = Intent {
            spec: &next.spec,
            sealed_env: next.sealed_env.as_deref(),
            desired: &cvm.desired,
            status: &cvm.status,
            phase: cvm.phase,
            due: false,
        };
        tx.set_intent(cvm, &intent, ctx.now()).await?;
    }
    // A guest that is off comes up with it later.
    if let Some(operation) = taken.last()
        && cvm.phase == Phase::Running
        && next.spec.env_keys != old.spec.env_keys
    {
        let after = Cvm { spec: next.spec, ..cvm.clone() };
        let what = (*operation, OperationKind::Update);
        revisions::record(ctx, tx, &after, &cvm.status, what).await?;
    }
    let mut last_event = EventSeq(0);
    for operation in taken {
        last_event = last_event.max(close(ctx, tx, cvm, *operation, &Ending::Succeeded).await?);
    }
    Ok(last_event)
}

async fn close(
    ctx: &Ctx,
    tx: &mut Tx,
    cvm: &Cvm,
    operation: OperationId,
    ending: &Ending,
) -> Result<EventSeq, Error> {
    let what = (operation, OperationKind::Update);
    let newest = events::close(tx, scope(cvm, operation), what, ending, ctx.now()).await?;
    Ok(newest.unwrap_or(EventSeq(0)))
}

/// Why a change is taken back.
#[derive(Debug, Clone)]
pub enum RollbackReason {
    /// It did not work.
    Failed(FailureCode, String),
    /// Its user called it off.
    Cancelled(OperationId),
}

/// Takes back the change under way on a CVM: closes it, or sends its batch back to be tried one
/// by one, and makes the configuration from before the desired one. `None`: there is nothing to go back to, and
/// nothing was done. Returns the operation that leads back and the place of the last event.
pub async fn roll_back(
    ctx: &Ctx,
    tx: &mut Tx,
    cvm: &Cvm,
    rollback_reason: &RollbackReason,
) -> Result<Option<(OperationId, EventSeq)>, Error> {
    let Some(open) = cvm.operation.filter(|open| open.kind == OperationKind::Update) else {
        return Ok(None);
    };
    let Some(before) = tx.before(open.id).await? else { return Ok(None) };
    let now = ctx.now();
    let by = tx.asked_by(open.id).await?.unwrap_or(cvm.created_by);
    let split = tx.retry_singly(open.id).await?;
    let mut last_event = EventSeq(0);
    match rollback_reason {
        RollbackReason::Failed(..) if split => {
            let again = [CvmEvent::Split];
            last_event = events::write(tx, scope(cvm, open.id), &again, now).await?;
        }
        RollbackReason::Failed(code, cause) => {
            let ending = Ending::Failed(*code, cause.clone());
            last_event = last_event.max(close(ctx, tx, cvm, open.id, &ending).await?);
        }
        RollbackReason::Cancelled(which) => {
            last_event = last_event.max(close(ctx, tx, cvm, *which, &Ending::Cancelled).await?);
        }
    }
    let now_there = (&cvm.spec, cvm.sealed_env.as_deref());
    // A node that is not known any more is taken for one that removes nothing.
    let node = ctx.fleet.node(cvm.node).map(|node| node.observed().0.capabilities.clone());
    let Withdrawn { spec, sealed_env, desired, status } =
        withdraw(now_there, &cvm.desired, &cvm.status, &before, &node.unwrap_or_default());
    let failure = match rollback_reason {
        RollbackReason::Failed(code, cause) if !split => {
            Some(Failure { code: *code, cause: cause.clone(), at: now, rolled_back: true })
        }
        RollbackReason::Failed(..) | RollbackReason::Cancelled(_) => None,
    };
    let status = Status { failure, ..status };
    let phase = OperationKind::Rollback.phase();
    let intent = Intent {
        spec: &spec,
        sealed_env: sealed_env.as_deref(),
        desired: &desired,
        status: &status,
        phase,
        due: true,
    };
    tx.set_intent(cvm, &intent, now).await?;
    let operation = ctx.operation_id();
    tx.open_operation(operation, cvm.id, OperationKind::Rollback, desired.generation, by, now)
        .await?;
    let told = [CvmEvent::Accepted(OperationKind::Rollback)];
    last_event = last_event.max(events::write(tx, scope(cvm, operation), &told, now).await?);
    Ok(Some((operation, last_event)))
}

const NOTHING: Cancelled =
    Cancelled { cancelled: false, correlation_id: None, rollback_correlation_id: None };

fn cancelled(operation: OperationId, rollback: Option<OperationId>) -> Cancelled {
    Cancelled {
        cancelled: true,
        correlation_id: Some(operation.to_string()),
        rollback_correlation_id: rollback.map(|id| id.to_string()),
    }
}

/// Calls off a change: the one under way, or the named one, waiting or under way. Only changes of the
/// configuration can be called off.
pub async fn cancel(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    id: CvmId,
    which: Option<OperationId>,
) -> Result<Cancelled, Error> {
    let cvm = lock_cvm(tx, caller, id).await?;
    let Some(which) = which.or(cvm.operation.map(|open| open.id)) else {
        return Ok(NOTHING);
    };
    let open = cvm.operation.filter(|open| open.id == which);
    if let Some(open) = open.filter(|open| open.kind != OperationKind::Update) {
        return Err(Error::because(
            ErrorCode::OperationNotCancellable,
            format!("a {} cannot be cancelled", open.kind.as_str()),
        )
        .suggest(
            "Stop or delete the CVM: both end what is under way. Only updates can be cancelled.",
        ));
    }
    let waits = tx.queued_changes(cvm.id, i64::from(ctx.config.work.queue)).await?;
    if waits.iter().any(|waiting| waiting.id == which) {
        close(ctx, tx, &cvm, which, &Ending::Cancelled).await?;
        crash::point(|| "accept.cancel.before_commit".to_owned());
        return Ok(cancelled(which, None));
    }
    let joined = tx.open_changes(cvm.id).await?.contains(&which);
    if open.is_none() && !joined {
        return Ok(NOTHING);
    }
    match roll_back(ctx, tx, &cvm, &RollbackReason::Cancelled(which)).await? {
        Some((rollback, _)) => {
            crash::point(|| "accept.cancel.before_commit".to_owned());
            Ok(cancelled(which, Some(rollback)))
        }
        None => Err(Error::because(
            ErrorCode::OperationNotCancellable,
            "the CVM was not well before this update, so there is nothing to go back to",
        )
        .suggest("Stop the CVM, or send another update.")),
    }
}
