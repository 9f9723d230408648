//! A request that changes the configuration of a CVM, as routes send it, through [`super::flow`].

use async_trait::async_trait;
use casemate_api::{
    compose_file::ComposeFile,
    compose_update::{ComposeCommitRequest, ComposeReplaceRequest},
    network::PortsRequest,
    revision::RedeployRequest,
};
use casemate_core::id::{ComposeHash, CvmId};
use casemate_store::Tx;

use super::{
    ApprovalHeaders, confirm, contracts,
    flow::{self, Consent, Decision, Proposal},
    question,
};
use crate::{
    app::{
        Caller, Ctx, Error, cvms, governance,
        mutation::{IdempotencyKey, Mutation, WriteError},
        revisions,
        update::{self, Accepted, ChangeRequest, EnvGuard, compose, network},
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

/// A request for a change of a CVM.
#[derive(Debug)]
pub struct ChangeFlow<'a> {
    /// The application.
    pub ctx: &'a Ctx,
    /// Who asks.
    pub caller: &'a Caller,
    /// What the request says beside the change.
    pub options: ChangeOptions,
    /// Any name of the CVM.
    pub cvm: &'a str,
    /// Of the request.
    pub key: Option<IdempotencyKey>,
    /// Its fields that nobody knows.
    pub unknown: Vec<String>,
}

/// What a request asks for.
#[derive(Debug)]
pub enum Asked<'a> {
    /// This, or what was prepared, if it confirms that.
    Change(Box<Result<ChangeRequest, Error>>),
    /// These host ports.
    Ports(&'a PortsRequest),
    /// A document that was provisioned.
    Provisioned(&'a ComposeCommitRequest),
    /// A document that comes with its hash.
    Hashed(&'a ComposeReplaceRequest),
    Revision(&'a str, &'a RedeployRequest),
}

impl Asked<'_> {
    /// A change, or why what was sent is none.
    pub fn change(asked: Result<ChangeRequest, Error>) -> Self {
        Self::Change(Box::new(asked))
    }
}

/// A change that is accepted: its request is to be answered.
#[derive(Debug)]
pub struct Turn {
    /// Its transaction.
    pub mutation: Mutation,
    /// The CVM that it changes.
    pub cvm: CvmId,
    /// What was accepted.
    pub accepted: Box<Accepted>,
    unknown: Vec<String>,
}

impl ChangeFlow<'_> {
    /// Accepts the change, or what it confirms.
    pub async fn accept(self, asked: Asked<'_>) -> Result<Turn, WriteError> {
        let Self { ctx, caller, options, cvm, key, unknown } = self;
        // The JavaScript SDK repeats in the body how it names the CVM.
        let unknown = unknown
            .into_iter()
            .filter(|name| !matches!(name.as_str(), "id" | "uuid" | "app_id" | "instance_id"))
            .collect();
        let says = options.approval.clone();
        let proposal = ChangeProposal { ctx, caller, options: &options, cvm, asked };
        let (mutation, accepted) = flow::run(ctx, caller, key, &says, proposal).await?;
        Ok(Turn { mutation, cvm: accepted.cvm.id, accepted, unknown })
    }
}

impl Turn {
    /// It as clients are told.
    pub fn view(&self) -> UpdateView {
        let mut view = views::update(&self.accepted);
        if !self.unknown.is_empty() {
            view.warnings.push(format!("ignored, because unknown: {}", self.unknown.join(", ")));
        }
        view
    }
}

struct ChangeProposal<'a> {
    ctx: &'a Ctx,
    caller: &'a Caller,
    options: &'a ChangeOptions,
    cvm: &'a str,
    asked: Asked<'a>,
}

impl ChangeProposal<'_> {
    async fn change_request(&mut self, tx: &mut Tx, cvm: CvmId) -> Result<ChangeRequest, Error> {
        let Self { ctx, caller, .. } = *self;
        let change_request = match &mut self.asked {
            Asked::Change(asked) => match &mut **asked {
                Ok(change_request) => change_request.clone(),
                refused => {
                    let told = Err(Error::Internal("told twice".to_owned()));
                    return std::mem::replace(refused, told);
                }
            },
            Asked::Ports(request) => network::ports(tx, caller, cvm, request).await?,
            Asked::Provisioned(request) => compose::commit(ctx, tx, caller, cvm, request).await?,
            Asked::Hashed(request) => compose::replace(ctx, tx, caller, cvm, request).await?,
            Asked::Revision(revision, request) => {
                revisions::on_cvm(ctx, tx, caller, cvm, revision, request).await?
            }
        };
        let guard = self.options.guard.or(change_request.guard);
        Ok(ChangeRequest { guard, ..change_request })
    }

    /// Whether a confirmation means what was prepared. One that names a document by itself means that.
    const fn confirms_what_was_prepared(&self) -> bool {
        matches!(self.asked, Asked::Change(_) | Asked::Ports(_))
    }
}

#[async_trait]
impl Proposal for ChangeProposal<'_> {
    type Done = Box<Accepted>;

    async fn decide(
        &mut self,
        tx: &mut Tx,
        consent: &Consent,
    ) -> Result<Decision<Box<Accepted>>, Error> {
        let Self { ctx, caller, .. } = *self;
        let says = &self.options.approval;
        let found = cvms::find(ctx, caller, self.cvm).await?;
        let is_governed = contracts(ctx, &found.kms)?.is_some();
        if says.confirms() && is_governed && self.confirms_what_was_prepared() {
            let row = confirm::of_cvm(ctx, &found, says).await?;
            let change_request = self.change_request(tx, found.id).await?;
            return confirm::begin(ctx, tx, caller, &row, says, consent, Some(&change_request))
                .await;
        }
        if !is_governed {
            says.refuse_where_nothing_governs()?;
        }
        let change_request = self.change_request(tx, found.id).await?;
        update::accept(ctx, tx, caller, found.id, &change_request, consent).await
    }

    /// The hash of a document that was provisioned, or comes with its hash, may be registered: nobody is told
    /// to do that again for a chain that is silent. Of others the client only learns the hash.
    fn needs_answer(&self) -> bool {
        matches!(self.asked, Asked::Provisioned(_) | Asked::Hashed(_))
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
