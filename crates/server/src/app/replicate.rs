//! More machines of an app: a replica of one of its CVMs, or an instance of the app itself.
//!
//! A template, which is a live CVM of the app, gives its configuration: document, sealed env, resources,
//! image, flags and all. The request changes some of it ([`casemate_core::change::apply`], as an update
//! does); name, ids, disk and node are the replica's own. What is written then is a new CVM like any
//! other: its life is a create.
//!
//! Names, templates and room are read in the transaction that writes, after the workspace's row is
//! taken; what can still be otherwise (room and host ports of the node, a name taken by a commit) is
//! checked by the writes, and then it is decided anew.

mod target;
mod template;

use casemate_api::{
    error::ErrorCode,
    replicate::{CommitReplicaRequest, InstanceRequest, ReplicateRequest},
    view::CvmView,
};
use casemate_core::{
    change::{Change, Configuration, Set, apply},
    id::{ComposeHash, EventSeq, NodeId, WorkspaceId},
    name,
};
use casemate_store::{Error as StoreError, Tx};

use self::{target::Wish, template::Template};
use super::{
    Caller, Ctx, Error, commit, provision, update, views,
    work::{Answer, Begun, IdempotencyKey, Work},
};
use crate::crash;

/// How often it is decided anew before the client is asked to try again.
const ATTEMPTS: usize = 8;
/// Numbers that are tried for a name.
const MAX_NUMBER: u32 = 10_000;
/// Names that are looked up at once.
const NAMES: usize = 100;

/// Of what another machine is wanted. Texts are as they stand in the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    /// A CVM.
    Cvm {
        /// Any of its names.
        cvm: String,
        /// The app that the path says it is of.
        app: Option<String>,
    },
    /// An app.
    App(String),
}

/// What is to be different. `None`: as the template has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    name: Option<String>,
    node: Option<NodeId>,
    compose_hash: Option<ComposeHash>,
    image: Option<String>,
    sealed_env: Option<String>,
    env_keys: Option<Vec<String>>,
    docker_compose_file: Option<String>,
    pre_launch_script: Option<String>,
}

impl From<ReplicateRequest> for Wanted {
    fn from(request: ReplicateRequest) -> Self {
        Self {
            name: request.name,
            node: request.node_id,
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
    /// What a request for an instance of an app wants.
    pub fn instance(request: InstanceRequest) -> Result<Self, Error> {
        if request.token.is_some() {
            return Err(unknown_token("token"));
        }
        update::request::refuse_confirmation(None::<&str>, request.transaction_hash.as_deref())?;
        Ok(Self {
            name: request.name,
            node: request.node_id,
            compose_hash: request.compose_hash,
            image: request.os_image,
            sealed_env: request.encrypted_env,
            env_keys: request.env_keys,
            docker_compose_file: request.docker_compose_file,
            pre_launch_script: request.pre_launch_script,
        })
    }

    const fn makes_a_document(&self) -> bool {
        self.docker_compose_file.is_some() || self.pre_launch_script.is_some()
    }
}

/// The second phase of a replica that a contract has to approve. Contracts govern no app here, so there
/// is no token that could be known; nothing is looked up.
pub fn commit_prepared(request: &CommitReplicaRequest, query: Option<&str>) -> Error {
    match request.token.as_deref().or(query.filter(|token| !token.is_empty())) {
        Some(_) => unknown_token("token"),
        None => Error::field(ErrorCode::HashInvalidOrExpired, "token", "is missing")
            .suggest("Send the token that the preparation gave, in the body or as ?token=."),
    }
}

fn unknown_token(field: &str) -> Error {
    let why =
        "is not known: tokens are given for apps governed by contracts, and there are none here";
    Error::field(ErrorCode::HashInvalidOrExpired, field, why)
        .suggest("Send the request itself: it needs no token.")
}

/// A machine that was accepted.
#[derive(Debug)]
pub struct Replicated {
    /// The CVM, with its document.
    pub view: CvmView,
    /// The event to announce after the transaction.
    pub news: EventSeq,
}

/// How a request for another machine ends.
#[derive(Debug)]
pub enum Outcome {
    /// Written, and to be committed with the answer.
    Done(Box<Work>, Box<Replicated>),
    /// It was answered before.
    Answered(Answer),
}

/// Makes another machine of an app.
pub async fn replicate(
    ctx: &Ctx,
    caller: &Caller,
    key: Option<IdempotencyKey>,
    of: &Of,
    wanted: &Wanted,
) -> Result<Outcome, Error> {
    if let Some(name) = &wanted.name {
        name::check(name).map_err(|why| Error::invalid("name", why))?;
    }
    if let Some(keys) = &wanted.env_keys {
        provision::check_env_keys(keys)?;
    }
    let mut lost = StoreError::Stale;
    for _ in 0..ATTEMPTS {
        let mut work = match ctx.begin_work(caller, key.clone()).await? {
            Begun::Fresh(work) => work,
            Begun::Answered(before) => return Ok(Outcome::Answered(before)),
        };
        match Box::pin(attempt(ctx, &mut work.tx, caller, of, wanted)).await {
            Ok(done) => return Ok(Outcome::Done(work, Box::new(done))),
            Err(Error::Store(error @ (StoreError::Stale | StoreError::Conflict(_)))) => {
                lost = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(lost.into())
}

/// Writes the machine. [`StoreError::Stale`], [`StoreError::Conflict`]: something is not as it was read;
/// the transaction is to be dropped.
async fn attempt(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    of: &Of,
    wanted: &Wanted,
) -> Result<Replicated, Error> {
    let workspace = caller.workspace.id;
    tx.take_workspace(workspace).await?;
    let Template { cvm: template, beside } = template::choose(ctx, tx, caller, of, wanted).await?;
    let present = update::configuration(tx, &template).await?;
    let mut next = configuration(&present, wanted)?;
    next.spec.name = name_of(tx, workspace, &present.spec.name, wanted.name.as_deref()).await?;
    let wish = Wish { named: wanted.node, beside, image: wanted.image.as_deref(), next: &next };
    let node = target::choose(ctx, tx, &wish).await?;

    let document = next.document.document();
    if next.spec.compose_hash != present.spec.compose_hash {
        tx.keep_document(&next.spec.compose_hash, &document, ctx.now()).await?;
    }
    let spec = next.spec.clone();
    let place = (node.id, template.kms.clone());
    let new = commit::new_cvm(ctx, caller, place, spec, next.sealed_env.clone());
    let inserted = tx.insert_cvm(new, ctx.now()).await?;
    target::still_fits(tx, &node, &inserted).await?;
    let mut cvm = inserted.cvm;
    let news = commit::begin(ctx, tx, caller, &mut cvm).await?;
    let view = views::with_document(views::cvm(ctx, caller, &cvm), &document);
    crash::point(|| "accept.replicate.before_commit".to_owned());
    Ok(Replicated { view, news })
}

/// The configuration of the machine, apart from its name. It is the first one its node is told.
fn configuration(present: &Configuration, wanted: &Wanted) -> Result<Configuration, Error> {
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
        docker_compose_file: wanted.docker_compose_file.clone(),
        pre_launch_script: wanted.pre_launch_script.clone(),
        sealed_env: sealed_env.map_or(Set::Keep, Set::To),
        env_keys: wanted.env_keys.clone(),
        image: wanted.image.clone(),
        ..Change::default()
    };
    let (mut next, _) = apply(present, &change, None).map_err(update::not_applicable)?;
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
