//! One request that changes a CVM, from its beginning to its answer: begin, decide, let the transaction go, ask
//! contracts, begin and decide again. Every route that changes a configuration goes through here, so that no route
//! asks a chain within a transaction or accepts what a contract has not allowed.

use casemate_api::{
    compose_file::ComposeFile,
    compose_update::{ComposeCommitRequest, ComposeReplaceRequest},
    error::ErrorCode,
    revision::RedeployRequest,
};
use casemate_core::id::{ComposeHash, CvmId};
use casemate_store::cvms::Cvm;

use super::{
    ApprovalHeaders, Clearance, TokenRejection,
    confirm::{self, Found},
    contracts, needs, question,
};
use crate::{
    app::{
        Caller, Ctx, Error, cvms, governance,
        mutation::{IdempotencyKey, Mutation, WriteError},
        revisions,
        update::{self, ChangeRequest, EnvGuard, compose},
        views,
    },
    view::{ComposeProvisionView, UpdateView},
};

/// What a request says of its change beside the change itself.
#[derive(Debug)]
pub struct ChangeOptions {
    /// What becomes of a change that drops a variable which the compose file uses.
    pub guard: Option<EnvGuard>,
    /// What it says to the contracts that govern the app.
    pub approval: ApprovalHeaders,
}

impl ChangeOptions {
    /// The same with what the body says of approval where options say nothing.
    pub fn or(self, hash: Option<ComposeHash>, transaction: Option<&str>) -> Self {
        Self { approval: self.approval.or(hash, transaction), ..self }
    }
}

/// A request for a change, until its answer.
#[derive(Debug)]
pub struct ChangeFlow<'a> {
    ctx: &'a Ctx,
    caller: &'a Caller,
    options: ChangeOptions,
    /// The CVM that it changes.
    pub cvm: CvmId,
    key: Option<IdempotencyKey>,
    /// Its transaction.
    pub mutation: Mutation,
    /// What it confirms, where contracts have allowed that.
    confirmed: Option<Found>,
    unknown: Vec<String>,
}

/// A flow whose change is accepted: it is to be answered.
type Turn<'a> = (Box<ChangeFlow<'a>>, Box<update::Accepted>);

/// A change whose document the client has named beforehand.
#[derive(Debug, Clone, Copy)]
pub enum Named<'a> {
    /// One that was provisioned.
    Provisioned(&'a ComposeCommitRequest),
    /// One that comes with its hash.
    Hashed(&'a ComposeReplaceRequest),
    Revision(&'a str, &'a RedeployRequest),
}

impl Named<'_> {
    async fn change_request(self, flow: &mut ChangeFlow<'_>) -> Result<ChangeRequest, Error> {
        let ChangeFlow { ctx, caller, cvm, mutation, .. } = flow;
        let tx = &mut mutation.tx;
        match self {
            Self::Provisioned(request) => compose::commit(ctx, tx, caller, *cvm, request).await,
            Self::Hashed(request) => compose::replace(ctx, tx, caller, *cvm, request).await,
            Self::Revision(revision, request) => {
                revisions::on_cvm(ctx, tx, caller, *cvm, revision, request).await
            }
        }
    }

    /// Whether the client may have registered the document before it says so: its hash was told, or is
    /// the client's own.
    const fn may_be_registered(self) -> bool {
        matches!(self, Self::Provisioned(_) | Self::Hashed(_))
    }
}

impl<'a> ChangeFlow<'a> {
    /// Begins. A request that confirms what was prepared has contracts asked first.
    pub async fn start(
        ctx: &'a Ctx,
        caller: &'a Caller,
        options: ChangeOptions,
        cvm: &str,
        key: Option<IdempotencyKey>,
        unknown: Vec<String>,
    ) -> Result<Box<Self>, WriteError> {
        let (cvm, flow) = Self::open(ctx, caller, options, cvm, key, unknown).await?;
        if !flow.options.approval.confirms() {
            return Ok(flow);
        }
        if contracts(ctx, &cvm.kms)?.is_none() {
            flow.options.approval.refuse_where_nothing_governs()?;
            return Ok(flow);
        }
        // Contracts are asked outside of the transaction.
        let Self { options, key, mutation, unknown, .. } = *flow;
        drop(mutation);
        let confirmed = Some(confirm::of_cvm(ctx, &cvm, &options.approval).await?);
        let mutation = ctx.begin_mutation(caller, key.clone()).await?;
        let cvm = cvm.id;
        Ok(Box::new(Self { ctx, caller, options, cvm, key, mutation, confirmed, unknown }))
    }

    /// Begins without a look at what may have been prepared.
    pub async fn open(
        ctx: &'a Ctx,
        caller: &'a Caller,
        options: ChangeOptions,
        cvm: &str,
        key: Option<IdempotencyKey>,
        unknown: Vec<String>,
    ) -> Result<(Cvm, Box<Self>), WriteError> {
        // The JavaScript SDK repeats in the body how it names the CVM.
        let unknown = unknown
            .into_iter()
            .filter(|name| !matches!(name.as_str(), "id" | "uuid" | "app_id" | "instance_id"))
            .collect();
        let mutation = ctx.begin_mutation(caller, key.clone()).await?;
        let found = cvms::find(ctx, caller, cvm).await?;
        let (cvm, confirmed) = (found.id, None);
        let flow = Self { ctx, caller, options, cvm, key, mutation, confirmed, unknown };
        Ok((found, Box::new(flow)))
    }

    /// Accepts the change, or what it confirms.
    pub async fn accept(
        mut self: Box<Self>,
        change_request: ChangeRequest,
    ) -> Result<Turn<'a>, Error> {
        let change_request =
            ChangeRequest { guard: self.options.guard.or(change_request.guard), ..change_request };
        let Self { ctx, caller, .. } = *self;
        match self.confirmed.take() {
            None => self.accept_with(change_request, &Clearance::default()).await,
            Some(Found::Before(operation, _)) => {
                let cvm = update::lock_cvm(&mut self.mutation.tx, caller, self.cvm).await?;
                let before = confirm::before(&mut self.mutation.tx, &cvm, operation).await?;
                Ok((self, Box::new(before)))
            }
            Some(Found::Now(confirmed)) => {
                let tx = &mut self.mutation.tx;
                let accepted =
                    confirm::begin(ctx, tx, caller, &confirmed, Some(&change_request)).await?;
                Ok((self, Box::new(accepted)))
            }
        }
    }

    /// Accepts the change with what contracts have allowed; what is missing is prepared, and the client
    /// told of it.
    async fn accept_with(
        mut self: Box<Self>,
        change_request: ChangeRequest,
        clearance: &Clearance,
    ) -> Result<Turn<'a>, Error> {
        let change_request =
            ChangeRequest { guard: self.options.guard.or(change_request.guard), ..change_request };
        let Self { ctx, caller, cvm, .. } = *self;
        match update::accept(ctx, &mut self.mutation.tx, caller, cvm, &change_request, clearance)
            .await?
        {
            update::Outcome::Accepted(accepted) => Ok((self, accepted)),
            update::Outcome::Prepared(prepared) => {
                self.mutation.finish_refused().await?;
                Err(prepared.refusal(ctx, self.options.approval.prepare_only).await)
            }
        }
    }

    /// Accepts a change whose document the client has named beforehand: contracts are asked at once
    /// where it confirms that, or may have had it registered already.
    pub async fn accept_named(
        mut self: Box<Self>,
        named: Named<'_>,
    ) -> Result<Turn<'a>, WriteError> {
        let Self { ctx, caller, cvm, .. } = *self;
        let change_request = named.change_request(&mut self).await?;
        let taken = update::lock_cvm(&mut self.mutation.tx, caller, cvm).await?;
        let says = self.options.approval.clone();
        let Some((contracts, mut question)) =
            needs(ctx, &mut self.mutation.tx, &taken, &change_request).await?
        else {
            if contracts(ctx, &taken.kms)?.is_none() {
                says.refuse_where_nothing_governs()?;
            }
            return Ok(self.accept_with(change_request, &Clearance::default()).await?);
        };
        if says.prepare_only || !(says.confirms() || named.may_be_registered()) {
            return Ok(self.accept_with(change_request, &Clearance::default()).await?);
        }
        if says.hash.is_some_and(|hash| hash != question.hash) {
            return Err(TokenRejection::OtherHash(question.hash).into());
        }
        question.transaction = governance::transaction(says.transaction.as_deref())?;
        // Contracts are asked outside of the transaction.
        let Self { options, key, mutation, unknown, .. } = *self;
        drop(mutation);
        let mut clearance = Clearance::default();
        match clearance.ask(contracts.governed, &question).await {
            // It was not said that they do, so the client is told what to register.
            Err(Error::Refused(no)) if no.code == ErrorCode::HashNotAllowed && !says.confirms() => {
            }
            answer => answer?,
        }
        let mutation = ctx.begin_mutation(caller, key.clone()).await?;
        let confirmed = None;
        let mut again =
            Box::new(Self { ctx, caller, options, cvm, key, mutation, confirmed, unknown });
        let change_request = named.change_request(&mut again).await?;
        Ok(again.accept_with(change_request, &clearance).await?)
    }

    pub fn view(&self, accepted: &update::Accepted) -> UpdateView {
        let mut view = views::update(accepted);
        if !self.unknown.is_empty() {
            view.warnings.push(format!("ignored, because unknown: {}", self.unknown.join(", ")));
        }
        view
    }
}

/// Prepares a compose update of a CVM. Where a contract governs the app it is asked, outside of any transaction,
/// whether the document is registered; a chain that does not answer leaves that unknown.
pub async fn provision(
    ctx: &Ctx,
    caller: &Caller,
    cvm: &str,
    request: &ComposeFile,
    unknown: &[String],
    key: Option<IdempotencyKey>,
) -> Result<(Mutation, ComposeProvisionView), WriteError> {
    let mut registered = None;
    loop {
        let mut mutation = ctx.begin_mutation(caller, key.clone()).await?;
        let found = cvms::find(ctx, caller, cvm).await?;
        let tx = &mut mutation.tx;
        let mut prepared = compose::prepare(ctx, tx, caller, found.id, request, unknown).await?;
        let Some((contracts, device)) = contracts(ctx, &found.kms)?.zip(prepared.device_id) else {
            return Ok((mutation, prepared));
        };
        let hash = prepared.compose_hash;
        match registered {
            // Asked about this document a moment ago.
            Some((asked, is_registered)) if asked == hash => {
                prepared.compose_hash_registered = is_registered;
                return Ok((mutation, prepared));
            }
            _ => {
                drop(mutation);
                let question = question(contracts.governed, &found, hash, device);
                let state = governance::glance(contracts.governed, &question).await;
                registered = Some((hash, state.is_some_and(|state| state.hash_allowed)));
            }
        }
    }
}
