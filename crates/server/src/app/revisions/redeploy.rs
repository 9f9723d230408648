//! Putting a revision in force again, on one CVM or on several of its app in one transaction.
//!
//! The document is the revision's. Everything else stays as the CVM has it now: resources, user config,
//! and the sealed environment, unless another one is given. An environment whose variables are not
//! those of the revision is only kept where the request says so.

use std::collections::BTreeSet;

use async_trait::async_trait;
use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    patch::Patch,
    revision::{AppRedeployRequest, MAX_TARGETS, RedeployRequest},
};
use casemate_core::{
    change::{Change, known_names},
    cvm::Power,
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
        approval::{
            self, ApprovalHeaders, Prepared,
            flow::{self, Consent, Decision, Need, Proposal},
        },
        cvms,
        mutation::{IdempotencyKey, Mutation, WriteError},
        update::{self, ChangeRequest, EnvGuard, request as read},
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

    /// Prepares it for those for which contracts are not known to allow it, or has them asked about each thing
    /// once; `None`: they allow it for all. `prepare_only`: a token commits one CVM, so there must be one.
    async fn missing(
        &self,
        ctx: &Ctx,
        tx: &mut Tx,
        caller: &Caller,
        targets: &[Cvm],
        consent: &Consent,
        prepare_only: bool,
    ) -> Result<Option<Decision<Vec<RedeployView>>>, Error> {
        let mut asks: Vec<Need> = Vec::new();
        let mut first: Option<Box<Prepared>> = None;
        for target in targets {
            let change_request = self.change_request(ctx, tx, caller, target).await?;
            let cvm = update::lock_cvm(tx, caller, target.id).await?;
            let need = approval::needs(ctx, tx, &cvm, &change_request).await.map_err(of(target))?;
            let Some((contracts, question)) =
                need.filter(|(_, one)| !consent.clearance.covers(one))
            else {
                continue;
            };
            if !consent.prepare {
                if asks.iter().all(|(_, other)| *other != question) {
                    asks.push((contracts.governed.clone(), question));
                }
                continue;
            }
            if prepare_only && targets.len() > 1 {
                let why = "needs one CVM: a token commits one";
                return Err(Error::field(ErrorCode::InvalidRequest, "X-Prepare-Only", why)
                    .suggest("Name one in vm_uuids, or leave the header out."));
            }
            let decision =
                update::accept(ctx, tx, caller, target.id, &change_request, consent).await;
            let Decision::Prepared(prepared) = decision.map_err(of(target))? else {
                return Err(Error::Internal("a document came in force unasked".to_owned()));
            };
            let also = first.get_or_insert(prepared);
            also.also.push(ErrorDetail {
                message: Some(format!("needs device {}", question.device)),
                ..ErrorDetail::value("vm_uuid", target.uuid.to_string())
            });
        }
        Ok(match first {
            Some(prepared) => Some(Decision::Prepared(prepared)),
            None => (!asks.is_empty()).then_some(Decision::Asks(asks)),
        })
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
    /// Puts it in force on all of them. Where contracts do not allow it for each, it is prepared for those, and
    /// nothing is changed.
    pub async fn run(
        &self,
        ctx: &Ctx,
        caller: &Caller,
        approval: &ApprovalHeaders,
        key: Option<IdempotencyKey>,
    ) -> Result<(Mutation, Vec<RedeployView>), WriteError> {
        let proposal = AppProposal { redeploy: self, ctx, caller, approval };
        flow::run(ctx, caller, key, approval, proposal).await
    }
}

struct AppProposal<'a> {
    redeploy: &'a AppRedeploy<'a>,
    ctx: &'a Ctx,
    caller: &'a Caller,
    approval: &'a ApprovalHeaders,
}

#[async_trait]
impl Proposal for AppProposal<'_> {
    type Done = Vec<RedeployView>;

    async fn decide(
        &mut self,
        tx: &mut Tx,
        consent: &Consent,
    ) -> Result<Decision<Vec<RedeployView>>, Error> {
        let Self { redeploy, ctx, caller, approval } = *self;
        let targets = redeploy.targets(ctx, caller).await?;
        if let Some(first) = targets.first()
            && approval::contracts(ctx, &first.kms)?.is_none()
        {
            approval.refuse_where_nothing_governs()?;
        }
        let only = approval.prepare_only;
        if let Some(missing) = redeploy.missing(ctx, tx, caller, &targets, consent, only).await? {
            return Ok(missing);
        }
        let mut done = Vec::with_capacity(targets.len());
        for target in targets {
            let change_request = redeploy.change_request(ctx, tx, caller, &target).await?;
            let decision =
                update::accept(ctx, tx, caller, target.id, &change_request, consent).await;
            let accepted = decision.and_then(Decision::accepted).map_err(of(&target))?;
            done.push(RedeployView {
                vm_uuid: target.uuid,
                cvm_name: accepted.cvm.spec.name.clone(),
                update: views::update(&accepted),
            });
        }
        Ok(Decision::Done(done))
    }

    fn needs_answer(&self) -> bool {
        false
    }
}
