//! More machines of an app: a replica of one of its CVMs, or an instance of the app itself.
//!
//! A template, which is a live CVM of the app, gives its configuration: document, sealed env, resources,
//! image, flags and all. The request changes some of it ([`casemate_core::change::apply`], as an update
//! does); name, ids, disk and node are the replica's own. What is written then is a new CVM like any
//! other: its life is a create.
//!
//! Where a contract governs the app it is asked, outside of the transaction, whether it allows the document
//! and the device of the node; if it does not, the machine is prepared ([`super::approval`]) with its node
//! and its document settled, and made when its token is committed.
//!
//! Names, templates and room are read in the transaction that writes, after the workspace's row is
//! taken; what can still be otherwise (room and host ports of the node, a name taken by a commit) is
//! checked by the writes, and then it is decided anew.

mod target;
mod template;

use casemate_api::{
    error::ErrorCode,
    replicate::{InstanceRequest, ReplicateRequest},
};
use casemate_core::{
    change::{Change, Configuration, Set, apply},
    compose::AppCompose,
    governance::Question,
    id::{ComposeHash, NodeId, WorkspaceId},
    name,
    stored::{self, Stored},
};
use casemate_store::{Error as StoreError, Tx, commit_tokens::Kind, cvms::Cvm};
use serde::{Deserialize, Serialize};

use self::{target::TargetRequest, template::Template};
use super::{
    Caller, Ctx, Error,
    approval::{
        self, ApprovalHeaders, Clearance, Contracts, Prepared, TokenRejection,
        confirm::{self, Confirmation, Found, Path},
    },
    commit,
    events::{self, CvmEvent, EventScope, Verified},
    fleet::FleetNode,
    governance,
    mutation::{IdempotencyKey, Mutation, WriteError},
    provision, update, views,
};
use crate::{crash, view::CvmView};

/// How often it is decided anew before the client is asked to try again.
const ATTEMPTS: usize = 8;
/// Numbers that are tried for a name.
const MAX_NUMBER: u32 = 10_000;
/// Names that are looked up at once.
const NAMES: usize = 100;

/// Of what another machine is wanted. Texts are as they stand in the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    Cvm {
        /// Any of its names.
        cvm: String,
        /// The app that the path says it is of.
        app: Option<String>,
    },
    App(String),
}

impl Of {
    const fn kind(&self) -> Kind {
        match self {
            Self::Cvm { .. } => Kind::Replica,
            Self::App(_) => Kind::Instance,
        }
    }
}

impl Stored for Wanted {}

/// What is to be different. `None`: as the template has it. Of what is prepared it is kept, as JSON in
/// `commit_tokens.request`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    name: Option<String>,
    /// Where it is to run.
    pub node: Option<NodeId>,
    /// Exactly this document, which is kept already.
    document: Option<ComposeHash>,
    compose_hash: Option<ComposeHash>,
    image: Option<String>,
    sealed_env: Option<String>,
    /// Names of the sealed variables.
    pub env_keys: Option<Vec<String>>,
    docker_compose_file: Option<String>,
    pre_launch_script: Option<String>,
}

impl From<ReplicateRequest> for Wanted {
    fn from(request: ReplicateRequest) -> Self {
        Self {
            name: request.name,
            node: request.node_id,
            document: None,
            compose_hash: request.compose_hash,
            image: request.os_image,
            sealed_env: request.encrypted_env,
            env_keys: request.env_keys,
            docker_compose_file: None,
            pre_launch_script: None,
        }
    }
}

impl Wanted {
    /// Whether a sealed environment comes with it.
    pub const fn seals(&self) -> bool {
        self.sealed_env.is_some()
    }

    /// The same on this node, with exactly this document.
    fn settled(&self, node: NodeId, document: ComposeHash) -> Self {
        Self {
            node: Some(node),
            document: Some(document),
            compose_hash: None,
            docker_compose_file: None,
            pre_launch_script: None,
            ..self.clone()
        }
    }

    const fn makes_a_document(&self) -> bool {
        self.docker_compose_file.is_some() || self.pre_launch_script.is_some()
    }
}

impl From<InstanceRequest> for Wanted {
    fn from(request: InstanceRequest) -> Self {
        Self {
            name: request.name,
            node: request.node_id,
            document: None,
            compose_hash: request.compose_hash,
            image: request.os_image,
            sealed_env: request.encrypted_env,
            env_keys: request.env_keys,
            docker_compose_file: request.docker_compose_file,
            pre_launch_script: request.pre_launch_script,
        }
    }
}

/// Makes another machine of an app. Where contracts do not allow it yet, it is prepared, and the client told
/// what to register. The CVM comes with its document.
pub async fn replicate(
    ctx: &Ctx,
    caller: &Caller,
    key: Option<IdempotencyKey>,
    of: &Of,
    wanted: &Wanted,
    headers: &ApprovalHeaders,
) -> Result<(Mutation, CvmView), WriteError> {
    if let Some(name) = &wanted.name {
        name::check(name).map_err(|why| Error::invalid("name", why))?;
    }
    if let Some(keys) = &wanted.env_keys {
        provision::check_env_keys(keys)?;
    }
    let mut prepare = headers.prepare_only;
    let mut clearance = Clearance::default();
    let mut lost = StoreError::Stale;
    for _ in 0..ATTEMPTS {
        let mut mutation = ctx.begin_mutation(caller, key.clone()).await?;
        let attempt = Attempt { ctx, caller, wanted, headers, clearance: &clearance };
        let (contracts, question) = match Box::pin(attempt.of(&mut mutation.tx, of, prepare)).await
        {
            Ok(Tried::Made(view)) => return Ok((mutation, *view)),
            Ok(Tried::Prepared(prepared)) => {
                mutation.finish_refused().await?;
                return Err(prepared.refusal(ctx, headers.prepare_only).await.into());
            }
            Ok(Tried::Asks(contracts, question)) => (contracts, question),
            Err(Error::Store(error @ (StoreError::Stale | StoreError::Conflict(_)))) => {
                lost = error;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        // Contracts are asked outside of the transaction.
        drop(mutation);
        let transaction = governance::transaction(headers.transaction.as_deref())?;
        match clearance.ask(contracts.governed, &Question { transaction, ..question }).await {
            Ok(()) => {}
            // Nobody said that they do, so the client is told what to register.
            Err(Error::Refused(no))
                if no.code == ErrorCode::HashNotAllowed && transaction.is_none() =>
            {
                prepare = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(lost.into())
}

/// Makes a machine that was prepared, once contracts allow it.
pub async fn commit_prepared(
    ctx: &Ctx,
    token: &str,
    path: &Path<'_>,
    headers: Result<ApprovalHeaders, Error>,
    key: Option<IdempotencyKey>,
) -> Result<(Mutation, CvmView), WriteError> {
    let kinds = match path {
        Path::Cvm(_) => [Kind::Replica],
        Path::App(_) => [Kind::Instance],
    };
    let (row, caller) = confirm::of_path(ctx, token, &kinds, path).await?;
    let headers = headers?;
    let mut lost = StoreError::Stale;
    for _ in 0..ATTEMPTS {
        let found = confirm::find(ctx, row.clone(), &headers).await?;
        let mut mutation = ctx.begin_mutation(&caller, key.clone()).await?;
        let made = match &found {
            Found::Before(_, made) => {
                Box::pin(made_before(ctx, &mut mutation.tx, &caller, *made)).await
            }
            Found::Now(confirmed) => {
                Box::pin(begin_prepared(ctx, &mut mutation.tx, &caller, confirmed)).await
            }
        };
        match made {
            Ok(view) => return Ok((mutation, view)),
            Err(Error::Store(error @ (StoreError::Stale | StoreError::Conflict(_)))) => {
                lost = error;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(lost.into())
}

/// The machine that a token became, as it is now.
async fn made_before(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    made: Option<casemate_core::id::CvmId>,
) -> Result<CvmView, Error> {
    let made =
        made.ok_or_else(|| Error::Internal("a machine was made and not noted".to_owned()))?;
    let cvm = tx.cvm(made).await?.ok_or(TokenRejection::Used)?;
    let document = tx.document(&cvm.spec.compose_hash).await?.unwrap_or_default();
    Ok(views::with_document(views::cvm(ctx, caller, &cvm), &document))
}

/// [`StoreError::Stale`]: something came in between.
async fn begin_prepared(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    confirmed: &Confirmation,
) -> Result<CvmView, Error> {
    let hash = &confirmed.row.hash;
    tx.lock_workspace(caller.workspace.id).await?;
    let template = tx.lock_cvm(confirmed.row.cvm).await?;
    let template = template.filter(confirm::is_live).ok_or(TokenRejection::Gone)?;
    let row = tx.preparation(hash).await?.ok_or(TokenRejection::Unknown)?;
    // Otherwise another request was first: the next attempt finds what it made.
    if row.used_at.is_some() {
        return Err(StoreError::Stale.into());
    }
    if approval::digest(&confirm::base(ctx, tx, &row, &template).await?) != row.base {
        return Err(TokenRejection::Moved.into());
    }
    let wanted = confirm::machine(&row)?;
    let headers = ApprovalHeaders::default();
    let clearance = &confirmed.clearance;
    let attempt = Attempt { ctx, caller, wanted: &wanted, headers: &headers, clearance };
    let template = Template { beside: template.node, cvm: template };
    let Tried::Made(made) = attempt.like(tx, template, row.kind, false).await? else {
        // The device of its node is another one than contracts were asked about.
        return Err(StoreError::Stale.into());
    };
    let (operation, cvm) = (made.operation.as_ref(), made.id);
    let operation = operation
        .map(|operation| operation.correlation_id)
        .ok_or_else(|| Error::Internal("a machine is made without an operation".to_owned()))?;
    if !tx.use_preparation(hash, operation, Some(cvm), ctx.now()).await? {
        return Err(StoreError::Stale.into());
    }
    Ok(*made)
}

/// What comes of an attempt.
enum Tried<'a> {
    /// The machine is written.
    Made(Box<CvmView>),
    Prepared(Box<Prepared>),
    /// Contracts are to be asked first; nothing is written.
    Asks(Contracts<'a>, Question),
}

/// An attempt to make a machine, in a transaction. [`StoreError::Stale`], [`StoreError::Conflict`]:
/// something is not as it was read; the transaction is to be dropped.
#[derive(Clone, Copy)]
struct Attempt<'c, 'a> {
    ctx: &'c Ctx,
    caller: &'a Caller,
    wanted: &'a Wanted,
    headers: &'a ApprovalHeaders,
    clearance: &'a Clearance,
}

impl<'c> Attempt<'c, '_> {
    async fn of(&self, tx: &mut Tx, of: &Of, prepare: bool) -> Result<Tried<'c>, Error> {
        tx.lock_workspace(self.caller.workspace.id).await?;
        let template = template::choose(self.ctx, tx, self.caller, of, self.wanted).await?;
        self.like(tx, template, of.kind(), prepare).await
    }

    /// Like this CVM, which is taken.
    async fn like(
        &self,
        tx: &mut Tx,
        Template { cvm: template, beside }: Template,
        kind: Kind,
        prepare: bool,
    ) -> Result<Tried<'c>, Error> {
        let Self { ctx, caller, wanted, .. } = *self;
        let workspace = caller.workspace.id;
        let present = update::configuration(tx, &template).await?;
        let prepared = match &wanted.document {
            Some(hash) => Some(update::document(tx, hash).await?),
            None => None,
        };
        let mut next = configuration(&present, wanted, prepared.as_ref())?;
        next.spec.name = name_of(tx, workspace, &present.spec.name, wanted.name.as_deref()).await?;
        let target_request = TargetRequest {
            named: wanted.node,
            beside,
            kms: &template.kms,
            image: wanted.image.as_deref(),
            next: &next,
        };
        let node = target::choose(ctx, tx, &target_request).await?;
        let verified = match approval::contracts(ctx, &template.kms)? {
            None => {
                self.headers.refuse_where_nothing_governs()?;
                None
            }
            Some(contracts) => {
                let hash = next.spec.compose_hash;
                let device = node.observed().0.device_id;
                let question = approval::question(contracts.governed, &template, hash, device);
                match self.clearance.of(&question, &template) {
                    Some(verified) => Some(verified),
                    None if prepare => {
                        let settled = wanted.settled(node.id, hash);
                        let new = approval::New {
                            kind,
                            cvm: &template,
                            base: &present,
                            next: &next,
                            contracts,
                            question,
                            request: stored::write(&settled),
                        };
                        let prepared = approval::prepare(ctx, tx, caller, new).await?;
                        return Ok(Tried::Prepared(Box::new(prepared)));
                    }
                    None => return Ok(Tried::Asks(contracts, question)),
                }
            }
        };
        self.write(tx, &template, &present, next, &node, verified).await
    }

    async fn write(
        &self,
        tx: &mut Tx,
        template: &Cvm,
        present: &Configuration,
        next: Configuration,
        node: &FleetNode,
        verified: Option<Box<Verified>>,
    ) -> Result<Tried<'c>, Error> {
        let Self { ctx, caller, .. } = *self;
        let document = next.document.document();
        if next.spec.compose_hash != present.spec.compose_hash {
            tx.keep_document(&next.spec.compose_hash, &document, ctx.now()).await?;
        }
        let spec = next.spec.clone();
        let place = (node.id, template.kms.clone());
        let new = commit::new_cvm(ctx, caller, place, spec, next.sealed_env.clone());
        let inserted = tx.insert_cvm(new, ctx.now()).await?;
        target::still_fits(tx, node, &inserted).await?;
        let mut cvm = inserted.cvm;
        commit::begin(ctx, tx, caller, &mut cvm).await?;
        if let Some(verified) = verified {
            let operation = cvm.operation.map(|open| open.id);
            let scope = EventScope { workspace: cvm.workspace, cvm: cvm.id, operation };
            let told = [CvmEvent::Verified(verified)];
            events::write(tx, scope, &told, ctx.now()).await?;
        }
        let view = views::with_document(views::cvm(ctx, caller, &cvm), &document);
        crash::point(|| "accept.replicate.before_commit".to_owned());
        Ok(Tried::Made(Box::new(view)))
    }
}

/// The configuration of the machine, apart from its name. It is the first one its node is told.
fn configuration(
    present: &Configuration,
    wanted: &Wanted,
    prepared: Option<&AppCompose>,
) -> Result<Configuration, Error> {
    let allowed = &present.document.allowed_envs;
    let foreign = wanted.env_keys.iter().flatten().find(|key| !allowed.contains(key));
    if let Some(key) = foreign {
        let why =
            format!("holds {key}, which is not among the allowed ones: {}", allowed.join(", "));
        return Err(Error::field(ErrorCode::EnvKeyNotAllowed, "env_keys", why)
            .suggest("Allow it first: PATCH /api/v1/cvms/{id} with allowed_envs."));
    }
    let has_keys = present.spec.env_public_key.is_some();
    let sealed_env = provision::check_sealed_env(wanted.sealed_env.as_deref(), has_keys)?;
    let change = Change {
        document: wanted.document,
        docker_compose_file: wanted.docker_compose_file.clone(),
        pre_launch_script: wanted.pre_launch_script.clone(),
        sealed_env: sealed_env.map_or(Set::Keep, Set::To),
        env_keys: wanted.env_keys.clone(),
        image: wanted.image.clone(),
        ..Change::default()
    };
    let (mut next, _) = apply(present, &change, prepared).map_err(update::not_applicable)?;
    // Its VM, and with it its instance id, is its own.
    (next.spec.revision, next.spec.vm, next.spec.instance_seed) = (1, 1, None);
    Ok(next)
}

/// The name that was given, or the template's with the least number that is free.
async fn name_of(
    tx: &mut Tx,
    workspace: WorkspaceId,
    template: &str,
    given: Option<&str>,
) -> Result<String, Error> {
    if let Some(given) = given {
        return match tx.cvm_of_name(workspace, given).await? {
            None => Ok(given.to_owned()),
            Some(holder) => Err(commit::name_held(given, holder)),
        };
    }
    let numbers: Vec<u32> = (2..MAX_NUMBER).collect();
    for numbers in numbers.chunks(NAMES) {
        let names: Vec<String> =
            numbers.iter().map(|number| name::numbered(template, *number)).collect();
        let held = tx.names_held(workspace, &names).await?;
        if let Some(free) = names.into_iter().find(|name| !held.contains(name)) {
            return Ok(free);
        }
    }
    let why = format!("must be given: {template} with a number up to {MAX_NUMBER} is taken");
    Err(Error::field(ErrorCode::InvalidRequest, "name", why).suggest("Choose a name."))
}
