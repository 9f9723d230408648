//! The second phase of a deployment: one transaction consumes the provision, admits the CVM, and
//! writes its desired state, its operation and its event. Committing twice gives the same CVM.
//!
//! Writers wait for one another, so what can be read is read before: [`ready`] looks for the one
//! provision that nearly every commit means, [`create`] writes, and its writes check what was read. Where
//! anything is otherwise, [`decide`] decides from the beginning, within a transaction of its own.
//!
//! Where a contract is to be the app ([`governed`]), its chain is asked between two transactions: the
//! first says what is to be asked, the second decides again and writes, if the answer is to what it
//! would ask.

mod governed;

use casemate_api::{
    commit::CommitRequest,
    error::{ErrorCode, ErrorDetail},
};
use casemate_core::{
    compose::AppCompose,
    cvm::{Power, Spec, StopMode},
    id::{AppId, CvmId, CvmRef, KmsId, NodeId, VmUuid},
    node::{NodeState, Requirements, unsupported},
    operation::OperationKind,
    place::admit,
    seal::EnvPublicKey,
    time::Timestamp,
};
use casemate_store::{
    Error as StoreError, Tx,
    cvms::{Cvm, Inserted, NewCvm, OpenOperation},
    provisions::{self, Provision},
};

use self::governed::{CommitQuestions, Evidence};
use super::{
    Caller, Ctx, Error,
    events::{self, CvmEvent, EventScope},
    fleet::{self, FleetKms, FleetNode},
    kms,
    mutation::{IdempotencyKey, Mutation, WriteError},
    provision::{self, check_sealed_env, node},
    quota, views,
};
use crate::{crash, view::CvmView};

/// How often a contract is asked anew because something else was committed meanwhile.
const ATTEMPTS: usize = 4;

/// Commits the newest open provision that fits the request. The CVM comes with its document.
pub async fn commit(
    ctx: &Ctx,
    caller: &Caller,
    key: Option<IdempotencyKey>,
    request: &CommitRequest,
) -> Result<(Mutation, CvmView), WriteError> {
    if let Some(ready) = ready(ctx, caller, request).await? {
        let mut mutation = ctx.begin_mutation(caller, key.clone()).await?;
        if let Some(view) = create(ctx, &mut mutation.tx, caller, ready).await? {
            return Ok((mutation, view));
        }
    }
    let mut evidence = None;
    for _ in 0..ATTEMPTS {
        let mut mutation = ctx.begin_mutation(caller, key.clone()).await?;
        let step = decide(ctx, &mut mutation.tx, caller, request, evidence.take());
        match Box::pin(step).await? {
            Step::Done(view) => return Ok((mutation, *view)),
            Step::Ask(questions) => {
                drop(mutation);
                evidence = Some(questions.answer(ctx).await?);
            }
        }
    }
    Err(StoreError::Stale.into())
}

/// What comes of deciding.
enum Step {
    /// It is written.
    Done(Box<CvmView>),
    /// Nothing is written: a contract is to be asked first.
    Ask(CommitQuestions),
}

/// Everything a new CVM is made of, read beside the transaction that is to write it.
#[derive(Debug)]
struct Ready {
    provision: Provision,
    spec: Spec,
    sealed_env: Option<String>,
    document: String,
    /// How many live CVMs its app had.
    live: usize,
    /// What its contract said, if it has one.
    evidence: Option<Evidence>,
}

/// The new CVM that this request means, if it plainly means one that no contract governs. What is refused
/// is refused by [`decide`], in its order.
async fn ready(
    ctx: &Ctx,
    caller: &Caller,
    request: &CommitRequest,
) -> Result<Option<Ready>, Error> {
    let Some(app) = &request.app_id else { return Ok(None) };
    let Ok(wanted) = wanted_kms(ctx, request) else { return Ok(None) };
    if refuse_chain_fields(request).is_err() {
        return Ok(None);
    }
    let (workspace, hash) = (caller.workspace.id, &request.compose_hash);
    let open = provisions::first_open(&ctx.db, workspace, hash, app, ctx.now()).await?;
    let Some(provision) = open.filter(|provision| is_wanted(wanted.as_deref(), &provision.kms))
    else {
        return Ok(None);
    };
    let kms = ctx.fleet.kms_of(&provision.kms).filter(|kms| kms.governed.is_none());
    let Some(kms) = kms else { return Ok(None) };
    Ok(prepare(ctx, provision, (request, app, kms), 0, None).await.ok())
}

/// The KMS that the request names, if it names one; several of a kind that no contract governs.
fn wanted_kms<'a>(
    ctx: &'a Ctx,
    request: &CommitRequest,
) -> Result<Option<Vec<&'a FleetKms>>, Error> {
    request.kms_id.as_deref().map(|id| kms::meant(ctx, "kms_id", id)).transpose()
}

fn is_wanted(wanted: Option<&[&FleetKms]>, id: &KmsId) -> bool {
    wanted.is_none_or(|wanted| wanted.iter().any(|kms| kms.id == *id))
}

/// The provision with what the request brings, for an app and its KMS. `env_key`: the key of the app, where a
/// contract is the app and its KMS was asked for it.
async fn prepare(
    ctx: &Ctx,
    provision: Provision,
    (request, app, kms): (&CommitRequest, &AppId, &FleetKms),
    live: usize,
    env_key: Option<EnvPublicKey>,
) -> Result<Ready, Error> {
    let document = provisions::document(&ctx.db, &provision.spec.compose_hash)
        .await?
        .ok_or_else(|| Error::Internal("a provision without its document".to_owned()))?;
    let mut spec = spec(&provision, request, &document)?;
    if kms.governed.is_some() {
        spec.app_id = *app;
        spec.env_public_key = match env_key {
            // It is asked with the contract.
            None if kms.kms.is_remote() => None,
            None => Some(provision::env_key(ctx, kms, app).await?),
            known => known,
        };
        spec.deployer = governed::deployer(request)?;
    }
    let has_keys = kms.governed.is_some() || spec.env_public_key.is_some();
    let sealed_env = check_sealed_env(request.encrypted_env.as_deref(), has_keys)?
        .or_else(|| provision.sealed_env.clone());
    let target = node(ctx, provision.node)?;
    if sealed_env.is_some() {
        refuse_unopened_env(&target)?;
    }
    if has_keys && !ctx.fleet.node_uses(&target, &kms.id) {
        return Err(moved_kms(ctx, &target, kms));
    }
    Ok(Ready { provision, spec, sealed_env, document, live, evidence: None })
}

/// Refuses variables on a node whose guests cannot open them.
fn refuse_unopened_env(node: &FleetNode) -> Result<(), Error> {
    let asks = Requirements { sealed_env: true, ..Requirements::default() };
    match unsupported(&asks, &node.observed().0.capabilities) {
        None => Ok(()),
        Some(refused) => Err(Error::field(ErrorCode::FieldNotServed, refused.field, refused.why)
            .suggest(refused.instead)),
    }
}

/// The node takes its keys from another KMS than when the deployment was prepared.
fn moved_kms(ctx: &Ctx, node: &FleetNode, kms: &FleetKms) -> Error {
    let now = ctx.fleet.key_source(node).label;
    let why =
        format!("{} takes keys from {now}, and this was prepared for {}", node.name, kms.slug);
    Error::because(ErrorCode::ResourceNotAvailable, why)
        .detail(ErrorDetail::value("kms_id", &*kms.slug))
        .suggest("Provision again: the variables have to be sealed to a key of that KMS.")
}

/// Writes the CVM. `None`: something is not as it was read, or is refused; the transaction is to be
/// dropped, and [`decide`] finds out what.
async fn create(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    ready: Ready,
) -> Result<Option<CvmView>, Error> {
    match write(ctx, tx, caller, ready).await {
        Ok(written) => Ok(Some(written)),
        Err(
            Error::Refused(_)
            | Error::Invalid(_)
            | Error::Store(StoreError::Stale | StoreError::Conflict(_)),
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Finds what the request means and writes it, or says what a contract is to be asked first.
async fn decide(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    request: &CommitRequest,
    evidence: Option<Evidence>,
) -> Result<Step, Error> {
    let wanted = wanted_kms(ctx, request)?;
    let named = governed::named(request);
    let mut found =
        tx.provisions_for(caller.workspace.id, &request.compose_hash, named.as_ref()).await?;
    found.retain(|provision| is_wanted(wanted.as_deref(), &provision.kms));
    // An app of ours is no contract: a provision without an app is not for it.
    let is_ours = |kms: &KmsId| ctx.fleet.kms_of(kms).is_some_and(|kms| kms.governed.is_none());
    if found.iter().any(|own| own.app.is_some() && is_ours(&own.kms)) && named.is_some() {
        found.retain(|own| own.app.is_some());
    }
    let now = ctx.now();
    let is_open = |provision: &&Provision| provision.cvm.is_none() && provision.expires_at > now;
    let open = found.iter().find(is_open);
    let kms = match open.or(found.first()) {
        Some(provision) => Some(kms::of(ctx, &provision.kms)?),
        None => wanted.and_then(|wanted| wanted.first().copied()),
    };
    let governor = kms.filter(|kms| kms.governed.is_some());
    match governor {
        Some(_) => governed::check_names(request)?,
        None if kms.is_some() => refuse_chain_fields(request)?,
        _ => {}
    }
    let app = named.or(open.and_then(|provision| provision.app));
    let of_app = match app {
        Some(app) => tx.cvms_of_app(&app).await?,
        None => Vec::new(),
    };
    let live = of_app.len();
    if let Some(cvm) = existing(tx, caller, request, of_app, &found, open).await? {
        let document = super::cvms::document(ctx, &cvm).await?;
        let view = views::with_document(views::cvm(ctx, caller, &cvm), &document);
        return Ok(Step::Done(Box::new(view)));
    }
    let (Some(newest), Some(kms), Some(app)) = (open, kms, app) else {
        return Err(missing(tx, caller, &found, request, now).await?);
    };
    let answered = evidence.as_ref().and_then(|evidence| {
        found.iter().filter(is_open).find(|open| evidence.is_about(&open.id, &app, &open.kms))
    });
    let provision = answered.unwrap_or(newest).clone();
    let env_key = evidence.as_ref().filter(|_| answered.is_some()).and_then(|said| said.env_key);
    let ready = prepare(ctx, provision, (request, &app, kms), live, env_key).await?;
    if let Some(taken) = tx.cvm_of_name(caller.workspace.id, &ready.spec.name).await? {
        return Err(name_held(&ready.spec.name, taken));
    }
    if governor.is_some() && answered.is_none() {
        let open = found.iter().filter(is_open).filter(|open| open.kms == kms.id);
        return Ok(Step::Ask(CommitQuestions::new(ctx, request, kms, app, open)?));
    }
    let evidence = evidence.filter(|_| answered.is_some());
    let written = write(ctx, tx, caller, Ready { evidence, ..ready }).await?;
    Ok(Step::Done(Box::new(written)))
}

async fn write(ctx: &Ctx, tx: &mut Tx, caller: &Caller, ready: Ready) -> Result<CvmView, Error> {
    let Ready { provision, mut spec, sealed_env, document, live, evidence } = ready;
    if let Some(evidence) = &evidence {
        spec.deployer = spec.deployer.or(evidence.proof.owner);
        governed::bind(ctx, tx, caller, &spec, &provision.kms).await?;
    }
    let app = spec.app_id;
    let inserted = insert(ctx, tx, caller, &provision, spec, sealed_env).await?;
    // Otherwise another commit for the same app came in between.
    if usize::try_from(inserted.of_app) != Ok(live + 1) {
        return Err(StoreError::Stale.into());
    }
    let mut cvm = inserted.cvm;
    if !tx.consume_provision(provision.id, &app, cvm.id).await? {
        return Err(StoreError::Stale.into());
    }
    begin(ctx, tx, caller, &mut cvm).await?;
    if let Some(evidence) = evidence {
        let operation = cvm.operation.map(|operation| operation.id);
        let scope = EventScope { workspace: cvm.workspace, cvm: cvm.id, operation };
        let verified = CvmEvent::Verified(Box::new(evidence.verified(&cvm.spec)));
        events::write(tx, scope, &[verified], ctx.now()).await?;
    }
    let view = views::with_document(views::cvm(ctx, caller, &cvm), &document);
    crash::point(|| "accept.create.before_commit".to_owned());
    Ok(view)
}

/// Opens the operation that brings a new CVM about, and tells of it.
pub(super) async fn begin(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    cvm: &mut Cvm,
) -> Result<(), Error> {
    let (id, kind, now) = (ctx.operation_id(), OperationKind::Create, ctx.now());
    tx.open_operation(id, cvm.id, kind, 1, caller.user.id, now).await?;
    let scope = EventScope { workspace: cvm.workspace, cvm: cvm.id, operation: Some(id) };
    events::write(tx, scope, &[CvmEvent::Accepted(kind)], now).await?;
    cvm.operation = Some(OpenOperation { id, kind, started_at: now });
    Ok(())
}

/// A CVM about to be written, with names of its own and everything else as it is said here.
pub(super) fn new_cvm(
    ctx: &Ctx,
    caller: &Caller,
    (node, kms): (NodeId, KmsId),
    spec: Spec,
    sealed_env: Option<String>,
) -> NewCvm {
    NewCvm {
        reference: CvmRef::from_random(ctx.entropy.u64()),
        uuid: VmUuid::from_uuid(ctx.entropy.uuid_v4()),
        workspace: caller.workspace.id,
        created_by: caller.user.id,
        node,
        kms,
        stop: StopMode::Graceful {
            timeout_s: spec.shutdown_timeout_s,
            force: spec.allow_force_stop,
        },
        spec,
        sealed_env,
    }
}

fn refuse_chain_fields(request: &CommitRequest) -> Result<(), Error> {
    // What clients send where nothing is left to register.
    let transaction =
        request.transaction_hash.as_deref().filter(|hash| *hash != "already-registered");
    let on_chain = [
        ("contract_address", request.contract_address.as_deref()),
        ("deployer_address", request.deployer_address.as_deref()),
        ("transaction_hash", transaction),
    ];
    for (field, given) in on_chain {
        if given.is_some_and(|text| !text.is_empty()) {
            let why = "is for a KMS governed by a contract, and this app's is not";
            return Err(
                Error::field(ErrorCode::FieldNotServed, field, why).suggest("Leave it out.")
            );
        }
    }
    Ok(())
}

/// The CVM that this commit means, if there is one already: committing twice gives the same CVM,
/// whether or not the app id is named, and also after that CVM got another configuration. A live CVM
/// of the app that this provision did not make, with another configuration, is a conflict. A CVM that
/// is being deleted is none.
async fn existing(
    tx: &mut Tx,
    caller: &Caller,
    request: &CommitRequest,
    mut live: Vec<Cvm>,
    found: &[Provision],
    open: Option<&Provision>,
) -> Result<Option<Cvm>, Error> {
    live.retain(|cvm| cvm.workspace == caller.workspace.id && cvm.desired.power != Power::Deleted);
    if let Some(same) = live.iter().position(|cvm| cvm.spec.compose_hash == request.compose_hash) {
        return Ok(Some(live.swap_remove(same)));
    }
    // Newest first; what is not consumed here has expired, and is what the commit means.
    let consumed = found.iter().map_while(|provision| provision.cvm);
    for id in consumed.filter(|_| open.is_none()) {
        let made = tx.cvm(id).await?;
        if let Some(cvm) = made.filter(|cvm| cvm.desired.power != Power::Deleted) {
            return Ok(Some(cvm));
        }
    }
    match live.first() {
        None => Ok(None),
        Some(first) => Err(Error::code(ErrorCode::CvmAppIdConflict)
            .detail(ErrorDetail::value("app_id", first.spec.app_id.to_string()))
            .detail(ErrorDetail::value("compose_hash", first.spec.compose_hash.to_string()))
            .suggest(format!("The app runs as {} ({}).", first.spec.name, first.reference))),
    }
}

/// Why no provision can be committed: expired, used up, of another app, or never made.
async fn missing(
    tx: &mut Tx,
    caller: &Caller,
    found: &[Provision],
    request: &CommitRequest,
    now: Timestamp,
) -> Result<Error, Error> {
    let hash = ErrorDetail::value("compose_hash", request.compose_hash.to_string());
    let again = "POST /api/v1/cvms/provision with the same compose file prepares it again.";
    if found.iter().any(|provision| provision.cvm.is_none() && provision.expires_at <= now) {
        return Ok(Error::code(ErrorCode::ProvisionExpired).detail(hash).suggest(again));
    }
    if !found.is_empty() {
        let why = "this provision was committed before and its CVM is deleted: provision again";
        return Ok(Error::because(ErrorCode::ProvisionNotFound, why).detail(hash).suggest(again));
    }
    let Some(app) = request.app_id else {
        return Ok(Error::code(ErrorCode::ProvisionNotFound).detail(hash).suggest(again));
    };
    let others = tx.provisions_for(caller.workspace.id, &request.compose_hash, None).await?;
    let why = format!("{app} was not provisioned with this hash");
    let error = match others.first().map(|other| other.app) {
        None => Error::code(ErrorCode::ProvisionNotFound).suggest(again),
        Some(Some(other)) => Error::because(
            ErrorCode::ProvisionNotFound,
            "This compose hash was provisioned with another app_id",
        )
        .suggest(format!("Commit it with app_id {other}, or provision again.")),
        Some(None) => Error::because(
            ErrorCode::ProvisionNotFound,
            "This compose hash was provisioned with another KMS",
        )
        .suggest("Name that KMS as kms_id, or provision again with this one."),
    };
    Ok(error.detail(hash).detail(ErrorDetail::message("app_id", why)))
}

/// The spec of the provision with the names that commit brings.
fn spec(provision: &Provision, request: &CommitRequest, document: &str) -> Result<Spec, Error> {
    let mut spec = provision.spec.clone();
    if let Some(keys) = &request.env_keys {
        let allowed = AppCompose::parse(document)
            .map_err(|error| Error::Internal(format!("stored document: {error}")))?
            .allowed_envs;
        if let Some(key) = keys.iter().find(|key| !allowed.contains(key)) {
            return Err(Error::field(
                ErrorCode::EnvKeyNotAllowed,
                "env_keys",
                format!("holds {key}, which is not among the allowed ones: {}", allowed.join(", ")),
            )
            .suggest("Provision again with it in allowed_envs."));
        }
        spec.env_keys.clone_from(keys);
    }
    Ok(spec)
}

async fn insert(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    provision: &Provision,
    spec: Spec,
    sealed_env: Option<String>,
) -> Result<Inserted, Error> {
    let target = node(ctx, provision.node)?;
    let wanted = provision::amount(&spec.resources);
    let name = spec.name.clone();
    let place = (provision.node, provision.kms.clone());
    let new = new_cvm(ctx, caller, place, spec, sealed_env);
    let inserted = match tx.insert_cvm(new, ctx.now()).await {
        Err(StoreError::Conflict(_)) => return Err(duplicate_name(&name)),
        other => other?,
    };
    if inserted.before.state != NodeState::Active {
        let why =
            format!("{} takes no new CVMs: it is {}", target.name, inserted.before.state.as_str());
        return Err(Error::because(ErrorCode::NodeNotAccessible, why)
            .suggest("Provision again: another node may take it."));
    }
    admit(target.capacity(), fleet::amount(inserted.before), wanted).map_err(|why| {
        let code = provision::refusal_code(&why);
        let field = provision::refused_field(&why);
        Error::because(code, format!("{} {why}", target.name))
            .detail(ErrorDetail::message(field, why.to_string()))
            .suggest("Provision again: another node may take it.")
    })?;
    quota::check_counted(ctx, &inserted.workspace, &wanted)?;
    Ok(inserted)
}

/// Refuses a name that this CVM holds.
pub(super) fn name_held(name: &str, by: CvmId) -> Error {
    duplicate_name(name)
        .detail(ErrorDetail::value("name", name))
        .detail(ErrorDetail::value("cvm_id", by.0))
}

fn duplicate_name(name: &str) -> Error {
    Error::because(
        ErrorCode::DuplicateCvmName,
        format!("A CVM with name '{name}' already exists in this workspace"),
    )
    .suggest(
        "To update that CVM, name it: casemate deploy --cvm-id NAME, or PATCH /api/v1/cvms/{id}.",
    )
    .suggest("Or choose another name, or delete that CVM first.")
}
