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

pub(super) mod target;
mod template;

use async_trait::async_trait;
use casemate_api::{
    error::ErrorCode,
    replicate::{InstanceRequest, ReplicateRequest},
};
use casemate_core::{
    change::{Change, Configuration, Set, apply},
    compose::AppCompose,
    id::{ComposeHash, NodeId, WorkspaceId},
    name,
    stored::{self, Stored},
};
use casemate_store::{
    Error as StoreError, Tx,
    commit_tokens::{Kind, Preparation},
    cvms::Cvm,
};
use serde::{Deserialize, Serialize};

use self::{target::TargetRequest, template::Template};
use super::{
    Caller, Ctx, Error,
    approval::{
        self, ApprovalHeaders, TokenRejection,
        confirm::{self, LockedPreparation, Path},
        flow::{self, Consent, Decision, Proposal},
    },
    commit,
    events::{self, CvmEvent, EventScope, Verified},
    fleet::FleetNode,
    mutation::{IdempotencyKey, Mutation, WriteError},
    provision, update, views,
};
use crate::{crash, view::CvmView};

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

impl Stored for ReplicaOverrides {}

/// What is to be different. `None`: as the template has it. Of what is prepared it is kept, as JSON in
/// `commit_tokens.request`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplicaOverrides {
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

impl From<ReplicateRequest> for ReplicaOverrides {
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

impl ReplicaOverrides {
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

impl From<InstanceRequest> for ReplicaOverrides {
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
    wanted: &ReplicaOverrides,
    headers: &ApprovalHeaders,
) -> Result<(Mutation, CvmView), WriteError> {
    if let Some(name) = &wanted.name {
        name::check(name).map_err(|why| Error::invalid("name", why))?;
    }
    if let Some(keys) = &wanted.env_keys {
        provision::check_env_keys(keys)?;
    }
    let new = NewMachine { ctx, caller, of, wanted, headers };
    flow::run(ctx, caller, key, headers, new).await
}

struct NewMachine<'a> {
    ctx: &'a Ctx,
    caller: &'a Caller,
    of: &'a Of,
    wanted: &'a ReplicaOverrides,
    headers: &'a ApprovalHeaders,
}

#[async_trait]
impl Proposal for NewMachine<'_> {
    type Done = CvmView;

    async fn decide(&mut self, tx: &mut Tx, consent: &Consent) -> Result<Decision<CvmView>, Error> {
        let Self { ctx, caller, of, wanted, headers } = *self;
        tx.lock_workspace(caller.workspace.id).await?;
        let template = template::choose(ctx, tx, caller, of, wanted).await?;
        let attempt = Attempt { ctx, caller, wanted, headers, consent };
        attempt.like(tx, template, of.kind()).await
    }
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
    let commit = CommitMachine { ctx, caller: &caller, row: &row, headers: &headers };
    flow::run(ctx, &caller, key, &headers, commit).await
}

struct CommitMachine<'a> {
    ctx: &'a Ctx,
    caller: &'a Caller,
    row: &'a Preparation,
    headers: &'a ApprovalHeaders,
}

#[async_trait]
impl Proposal for CommitMachine<'_> {
    type Done = CvmView;

    async fn decide(&mut self, tx: &mut Tx, consent: &Consent) -> Result<Decision<CvmView>, Error> {
        let Self { ctx, caller, row, headers } = *self;
        tx.lock_workspace(caller.workspace.id).await?;
        let (template, row) = match confirm::lock_preparation(ctx, tx, row, headers).await? {
            LockedPreparation::Live(template, row) => (template, row),
            LockedPreparation::Before(_, row, _) => {
                return Ok(Decision::Done(made_before(ctx, tx, caller, row.made).await?));
            }
        };
        let wanted = confirm::machine(&row)?;
        let says = ApprovalHeaders::default();
        // It is prepared already, so it is asked about.
        let consent = Consent { prepare: false, ..consent.clone() };
        let attempt = Attempt { ctx, caller, wanted: &wanted, headers: &says, consent: &consent };
        let template = Template { beside: template.node, cvm: template };
        let decision = attempt.like(tx, template, row.kind).await?;
        if let Decision::Done(made) = &decision {
            let (operation, cvm) = (made.operation.as_ref(), made.id);
            let operation =
                operation.map(|operation| operation.correlation_id).ok_or_else(|| {
                    Error::Internal("a machine is made without an operation".to_owned())
                })?;
            if !tx.use_preparation(&row.hash, operation, Some(cvm), ctx.now()).await? {
                return Err(StoreError::Stale.into());
            }
        }
        Ok(decision)
    }

    fn is_prepared(&self) -> bool {
        true
    }
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

/// An attempt to make a machine, in a transaction. [`StoreError::Stale`], [`StoreError::Conflict`]:
/// something is not as it was read; the transaction is to be dropped.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    ctx: &'a Ctx,
    caller: &'a Caller,
    wanted: &'a ReplicaOverrides,
    headers: &'a ApprovalHeaders,
    consent: &'a Consent,
}

impl Attempt<'_> {
    /// Like this CVM, which is taken.
    async fn like(
        &self,
        tx: &mut Tx,
        Template { cvm: template, beside }: Template,
        kind: Kind,
    ) -> Result<Decision<CvmView>, Error> {
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
            without: None,
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
                let question = approval::boot_question(contracts.governed, &next.spec, &node);
                match self.consent.clearance.of(&question, &template) {
                    Some(verified) => Some(verified),
                    None if self.consent.prepare => {
                        let settled = wanted.settled(node.id, hash);
                        let new = approval::New {
                            kind,
                            cvm: &template,
                            base: &present,
                            next: &next,
                            contracts,
                            question,
                            request: stored::write(&settled),
                            prepare_only: self.consent.prepare_only,
                        };
                        let prepared = approval::prepare(ctx, tx, caller, new).await?;
                        return Ok(Decision::Prepared(Box::new(prepared)));
                    }
                    None => {
                        return Ok(Decision::Asks(vec![(contracts.governed.clone(), question)]));
                    }
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
    ) -> Result<Decision<CvmView>, Error> {
        let Self { ctx, caller, .. } = *self;
        let document = next.document.document();
        if next.spec.compose_hash != present.spec.compose_hash {
            tx.keep_document(&next.spec.compose_hash, &document, ctx.now()).await?;
        }
        let spec = next.spec.clone();
        let place = (node.id, template.kms.clone());
        let new = commit::new_cvm(ctx, caller, place, spec, next.sealed_env.clone());
        let inserted = tx.insert_cvm(new, ctx.now()).await?;
        let mut cvm = inserted.cvm;
        target::still_fits(tx, node, &cvm.spec, cvm.id, &inserted.before).await?;
        commit::begin(ctx, tx, caller, &mut cvm).await?;
        if let Some(verified) = verified {
            let operation = cvm.operation.map(|open| open.id);
            let scope = EventScope { workspace: cvm.workspace, cvm: cvm.id, operation };
            let told = [CvmEvent::Verified(verified)];
            events::write(tx, scope, &told, ctx.now()).await?;
        }
        let view = views::with_document(views::cvm(ctx, caller, &cvm), &document);
        crash::point(|| "accept.replicate.before_commit".to_owned());
        Ok(Decision::Done(view))
    }
}

/// The configuration of the machine, apart from its name. It is the first one its node is told.
fn configuration(
    present: &Configuration,
    wanted: &ReplicaOverrides,
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
