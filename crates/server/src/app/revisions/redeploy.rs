//! Putting a revision in force again, on one CVM or on several of its app in one transaction.
//!
//! The document is the revision's. Everything else stays as the CVM has it now: resources, user config,
//! and the sealed environment, unless another one is given. An environment whose variables are not
//! those of the revision is only kept where the request says so.

use std::collections::BTreeSet;

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    patch::Patch,
    revision::{AppRedeployRequest, MAX_TARGETS, RedeployRequest},
};
use casemate_core::{
    change::{Change, known_names},
    cvm::Power,
    governance::Question,
    id::{CvmId, VmUuid},
};
use casemate_store::{
    Tx,
    cvms::{self as stored, Cvm},
    revisions::RevisionContent,
};

use super::{app, document, find, parse};
use crate::{
    app::{
        Caller, Ctx, Error,
        approval::{self, ApprovalHeaders, Clearance, Contracts, Prepared, TokenRejection},
        cvms, governance,
        mutation::{IdempotencyKey, Mutation, WriteError},
        update::{self, ChangeRequest, EnvGuard, Outcome, request as read},
        views,
    },
    view::RedeployView,
};

/// The change that puts a revision in force on a CVM, which must be taken.
pub async fn change_request(
    ctx: &Ctx,
    tx: &mut Tx,
    cvm: &Cvm,
    revision: &RevisionContent,
    request: &RedeployRequest,
) -> Result<ChangeRequest, Error> {
    let text = document(ctx, &revision.revision.compose_hash).await?;
    let names = known_names(&revision.env_keys, &parse(&text)?);
    let given = request.encrypted_env.clone().map_or(Patch::Absent, Patch::Value);
    let change = Change {
        document: Some(revision.revision.compose_hash),
        revision: Some(revision.revision.id.clone()),
        sealed_env: read::sealed_env(&given)?,
        ..Change::default()
    };
    if !change.sealed_env.is_keep() {
        let given = read::env_keys(request.env_keys.as_ref())?;
        let env_keys = Some(given.unwrap_or_else(|| names.into_iter().collect()));
        return Ok(Change { env_keys, ..change }.into());
    }
    if request.env_keys.is_some() {
        let why = "names what is in encrypted_env, which is left out";
        return Err(Error::field(ErrorCode::InvalidRequest, "env_keys", why)
            .suggest("Leave it out, or seal the variables anew."));
    }
    let (base, next, _) = update::preview(ctx, tx, cvm, &change).await?;
    let present = known_names(&base.spec.env_keys, &base.document);
    let sealed = base.sealed_env.is_some() || revision.sealed_env.is_some();
    if !sealed || names == present {
        return Ok(change.into());
    }
    if request.allow_env_mismatch != Some(true) {
        return Err(mismatch(&names, &present));
    }
    let allowed = &next.document.allowed_envs;
    let left = present.into_iter().filter(|name| allowed.contains(name)).collect();
    let guard = Some(EnvGuard::Report);
    Ok(ChangeRequest { named: Some(left), guard, ..change.into() })
}

fn mismatch(revision: &BTreeSet<String>, present: &BTreeSet<String>) -> Error {
    let list =
        |names: Vec<&String>| names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let lacking: Vec<&String> = revision.difference(present).collect();
    let surplus: Vec<&String> = present.difference(revision).collect();
    let mut words = Vec::new();
    if !lacking.is_empty() {
        words.push(format!("the revision has {}", list(lacking.clone())));
    }
    if !surplus.is_empty() {
        words.push(format!("the CVM has {}", list(surplus.clone())));
    }
    let code = ErrorCode::RevisionEnvKeysDiffer;
    let mut error = Error::because(code, format!("{}: {}", code.message(), words.join("; ")));
    for name in lacking {
        error = error.detail(ErrorDetail::message("env_keys", format!("lacks {name}")));
    }
    for name in surplus {
        error = error.detail(ErrorDetail::message("env_keys", format!("drops {name}")));
    }
    error.suggest(
        "Seal the revision's variables anew as encrypted_env, or send allow_env_mismatch true to keep \
         those that there are.",
    )
}

/// The change that puts a revision of a CVM's app in force on the CVM.
pub async fn on_cvm(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    id: CvmId,
    revision: &str,
    request: &RedeployRequest,
) -> Result<ChangeRequest, Error> {
    let cvm = update::lock_cvm(tx, caller, id).await?;
    let revision = find(ctx, &cvm.spec.app_id, revision).await?;
    change_request(ctx, tx, &cvm, &revision, request).await
}

/// What becomes of a revision on several CVMs.
#[derive(Debug)]
enum OnApp {
    /// What became of it on each.
    Accepted(Vec<RedeployView>),
    /// It is prepared for those for which contracts have to allow it; none is changed.
    Prepared(Box<Prepared>),
}

/// A revision of an app for the CVMs that a request names.
#[derive(Debug)]
pub struct AppRedeploy<'a> {
    /// Texts of the app and the revision, as they stand in the path.
    pub path: (&'a str, &'a str),
    /// Which CVMs.
    pub request: &'a AppRedeployRequest,
    /// What the request says of the guard.
    pub guard: Option<EnvGuard>,
}

impl AppRedeploy<'_> {
    async fn targets(&self, ctx: &Ctx, caller: &Caller) -> Result<Vec<Cvm>, Error> {
        let (text, revision) = self.path;
        let app = app(ctx, caller, text).await?;
        find(ctx, &app, revision).await?;
        let mut targets = if self.request.vm_uuids.is_empty() {
            all_or_the_one(ctx, caller, &app, self.request.all == Some(true)).await?
        } else {
            named(ctx, caller, &app, self.request).await?
        };
        // In the order in which every transaction takes CVMs.
        targets.sort_unstable_by_key(|cvm| cvm.id);
        Ok(targets)
    }

    async fn change_request(
        &self,
        ctx: &Ctx,
        tx: &mut Tx,
        caller: &Caller,
        target: &Cvm,
    ) -> Result<ChangeRequest, Error> {
        let one = RedeployRequest {
            allow_env_mismatch: self.request.allow_env_mismatch,
            ..RedeployRequest::default()
        };
        let change_request =
            on_cvm(ctx, tx, caller, target.id, self.path.1, &one).await.map_err(of(target))?;
        Ok(ChangeRequest { guard: self.guard.or(change_request.guard), ..change_request })
    }

    /// What contracts have to allow for it, each thing once.
    pub async fn needs<'c>(
        &self,
        ctx: &'c Ctx,
        tx: &mut Tx,
        caller: &Caller,
    ) -> Result<Vec<(Contracts<'c>, Question)>, Error> {
        let mut needs: Vec<(Contracts<'c>, Question)> = Vec::new();
        for target in self.targets(ctx, caller).await? {
            let change_request = self.change_request(ctx, tx, caller, &target).await?;
            let cvm = update::lock_cvm(tx, caller, target.id).await?;
            let need = approval::needs(ctx, tx, &cvm, &change_request).await?;
            needs.extend(need.filter(|(_, one)| needs.iter().all(|(_, other)| other != one)));
        }
        Ok(needs)
    }

    /// Refuses to confirm what no contract governs.
    pub async fn refuse_where_nothing_governs(
        &self,
        ctx: &Ctx,
        caller: &Caller,
        headers: &ApprovalHeaders,
    ) -> Result<(), Error> {
        match self.targets(ctx, caller).await?.first() {
            Some(first) if approval::contracts(ctx, &first.kms)?.is_none() => {
                headers.refuse_where_nothing_governs()
            }
            _ => Ok(()),
        }
    }

    /// Puts it in force on all of them, or prepares it for those for which contracts have to allow it:
    /// then nothing is changed. `prepare_only`: a token commits one CVM, so there must be one.
    async fn accept(
        &self,
        ctx: &Ctx,
        tx: &mut Tx,
        caller: &Caller,
        clearance: &Clearance,
        prepare_only: bool,
    ) -> Result<OnApp, Error> {
        let targets = self.targets(ctx, caller).await?;
        if let Some(prepared) =
            self.prepare(ctx, tx, caller, &targets, clearance, prepare_only).await?
        {
            return Ok(OnApp::Prepared(Box::new(prepared)));
        }
        let mut done = Vec::with_capacity(targets.len());
        for target in targets {
            let change_request = self.change_request(ctx, tx, caller, &target).await?;
            let outcome =
                update::accept(ctx, tx, caller, target.id, &change_request, clearance).await;
            let accepted = outcome.and_then(Outcome::accepted).map_err(of(&target))?;
            done.push(RedeployView {
                vm_uuid: target.uuid,
                cvm_name: accepted.cvm.spec.name.clone(),
                update: views::update(&accepted),
            });
        }
        Ok(OnApp::Accepted(done))
    }

    async fn prepare(
        &self,
        ctx: &Ctx,
        tx: &mut Tx,
        caller: &Caller,
        targets: &[Cvm],
        clearance: &Clearance,
        prepare_only: bool,
    ) -> Result<Option<Prepared>, Error> {
        let mut first: Option<Prepared> = None;
        for target in targets {
            let change_request = self.change_request(ctx, tx, caller, target).await?;
            let cvm = update::lock_cvm(tx, caller, target.id).await?;
            let need = approval::needs(ctx, tx, &cvm, &change_request).await.map_err(of(target))?;
            let Some((_, question)) = need.filter(|(_, one)| !clearance.covers(one)) else {
                continue;
            };
            if prepare_only && targets.len() > 1 {
                let why = "needs one CVM: a token commits one";
                return Err(Error::field(ErrorCode::InvalidRequest, "X-Prepare-Only", why)
                    .suggest("Name one in vm_uuids, or leave the header out."));
            }
            let nothing = Clearance::default();
            let outcome =
                update::accept(ctx, tx, caller, target.id, &change_request, &nothing).await;
            let Outcome::Prepared(prepared) = outcome.map_err(of(target))? else {
                return Err(Error::Internal("a document came in force unasked".to_owned()));
            };
            let also = first.get_or_insert(*prepared);
            also.also.push(ErrorDetail {
                message: Some(format!("needs device {}", question.device)),
                ..ErrorDetail::value("vm_uuid", target.uuid.to_string())
            });
        }
        Ok(first)
    }
}

/// An error of one CVM among several.
fn of(target: &Cvm) -> impl FnOnce(Error) -> Error {
    let uuid = target.uuid.to_string();
    move |error| error.detail(ErrorDetail::value("vm_uuid", uuid))
}

fn too_many(why: String) -> Error {
    Error::field(ErrorCode::InvalidRequest, "vm_uuids", why).suggest("Send several requests.")
}

async fn named(
    ctx: &Ctx,
    caller: &Caller,
    app: &casemate_core::id::AppId,
    request: &AppRedeployRequest,
) -> Result<Vec<Cvm>, Error> {
    if request.all == Some(true) {
        let why = "says which CVMs, and all says every one";
        return Err(Error::field(ErrorCode::InvalidRequest, "vm_uuids", why)
            .suggest("Send one of the two."));
    }
    let texts: BTreeSet<&String> = request.vm_uuids.iter().collect();
    if texts.len() > MAX_TARGETS {
        return Err(too_many(format!(
            "names {} CVMs, and the limit is {MAX_TARGETS}",
            texts.len()
        )));
    }
    let unknown = |text: &str| cvms::not_found().detail(ErrorDetail::value("vm_uuid", text));
    let mut uuids = BTreeSet::new();
    for text in &texts {
        let uuid: VmUuid = text.parse().map_err(|_| unknown(text))?;
        uuids.insert(uuid);
    }
    let uuids: Vec<VmUuid> = uuids.into_iter().collect();
    let mut found = stored::by_uuids(&ctx.db, caller.workspace.id, &uuids).await?;
    found.retain(|cvm| cvm.spec.app_id == *app);
    match uuids.iter().find(|uuid| found.iter().all(|cvm| cvm.uuid != **uuid)) {
        None => Ok(found),
        Some(missing) => Err(unknown(&missing.to_string())),
    }
}

async fn all_or_the_one(
    ctx: &Ctx,
    caller: &Caller,
    app: &casemate_core::id::AppId,
    all: bool,
) -> Result<Vec<Cvm>, Error> {
    let found = stored::app(&ctx.db, caller.workspace.id, app).await?;
    let Some(found) = found else { return Err(cvms::not_found()) };
    let is_part = usize::try_from(found.live).is_ok_and(|live| live > found.cvms.len());
    let mut live = found.cvms;
    live.retain(|cvm| cvm.desired.power != Power::Deleted);
    match live.len() {
        0 => Err(cvms::not_found()),
        1 if !is_part => Ok(live),
        _ if !all => {
            let why = "must say which CVMs: the app has several";
            let error = Error::field(ErrorCode::InvalidRequest, "vm_uuids", why)
                .suggest("Name them, or send all true for every one.");
            Err(live.iter().fold(error, |error, cvm| {
                error.detail(ErrorDetail::value("vm_uuid", cvm.uuid.to_string()))
            }))
        }
        _ if is_part => Err(too_many(format!(
            "must say which CVMs: the app has {}, and the limit is {MAX_TARGETS}",
            found.live
        ))),
        _ => Ok(live),
    }
}

impl AppRedeploy<'_> {
    /// Accepts the redeploy, or prepares it and refuses with what contracts have to allow. Contracts are asked
    /// between two transactions, never within one.
    pub async fn run(
        &self,
        ctx: &Ctx,
        caller: &Caller,
        approval: &ApprovalHeaders,
        key: Option<IdempotencyKey>,
    ) -> Result<(Mutation, Vec<RedeployView>), WriteError> {
        let mut mutation = ctx.begin_mutation(caller, key.clone()).await?;
        let mut clearance = Clearance::default();
        if approval.confirms() {
            let needs = Box::pin(self.needs(ctx, &mut mutation.tx, caller)).await?;
            drop(mutation);
            if needs.is_empty() {
                self.refuse_where_nothing_governs(ctx, caller, approval).await?;
            }
            let transaction = governance::transaction(approval.transaction.as_deref())?;
            for (contracts, question) in needs {
                if approval.hash.is_some_and(|hash| hash != question.hash) {
                    return Err(TokenRejection::OtherHash(question.hash).into());
                }
                clearance.ask(contracts.governed, &Question { transaction, ..question }).await?;
            }
            mutation = ctx.begin_mutation(caller, key).await?;
        }
        let only = approval.prepare_only;
        match Box::pin(self.accept(ctx, &mut mutation.tx, caller, &clearance, only)).await? {
            OnApp::Accepted(views) => Ok((mutation, views)),
            OnApp::Prepared(prepared) => {
                mutation.finish_refused().await?;
                Err(prepared.refusal(ctx, only).await.into())
            }
        }
    }
}
