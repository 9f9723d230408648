//! Changes that contracts have to allow, in two phases.
//!
//! A change that brings another document in force on a CVM whose KMS a contract governs is not accepted
//! at once. It is prepared ([`prepare`]): its document is made, hashed and kept, the change is bound to
//! that hash and written down under a token, and the client is told what to register
//! ([`Prepared::refusal`], status 465). Nothing else is changed. Later it is confirmed, by its hash with
//! an API key or by its token without one ([`confirm`]): contracts are asked, and what was prepared is
//! accepted as it was written down. What they allow already needs no first phase. [`flow`] is the way of all of
//! it, and [`Clearance`] what contracts were found to allow on that way.
//!
//! Promises: what boots is, byte for byte, what was hashed when it was prepared; contracts are asked
//! outside of any transaction, and what they said is written down with what follows from it; a chain
//! that does not answer uses nothing up; a token is committed once, and whoever repeats that within an
//! hour hears the same.
//!
//! Of updates that are prepared for one CVM with a token, the newest counts, as two of them would be built on one
//! base, and only one could be approved without making the other void. What is prepared without telling a token
//! leaves it alone. Machines that are prepared
//! beside a CVM do not touch it, so they do not stand in each other's way either.

pub mod change_flow;
pub mod confirm;
pub mod flow;
pub mod show;
pub mod token_rate_limit;
mod token_rejection;

use std::time::Duration;

use casemate_api::error::{ErrorCode, ErrorDetail};
use casemate_core::{
    change::Configuration,
    cvm::Spec,
    governance::{Proof, Question},
    id::{ComposeHash, CvmRef, DeviceId, KmsId},
};
use casemate_store::{
    Tx,
    commit_tokens::{Kind, NewPreparation, TokenHash},
    cvms::Cvm,
};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

pub use token_rejection::TokenRejection;

use super::{
    Caller, Ctx, Error,
    events::{self, CvmEvent, EventScope, Verified},
    fleet::{FleetKms, FleetNode, Governed},
    governance::{self, NotAllowed},
    update::{self, ChangeRequest, request},
};

/// What a request says of approval, in headers or in its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalHeaders {
    /// It is only to be prepared, and its token told.
    pub prepare_only: bool,
    /// The document that was approved.
    pub hash: Option<ComposeHash>,
    /// The transaction that is said to have approved it, or `already-registered`; never empty.
    pub transaction: Option<String>,
}

impl ApprovalHeaders {
    /// Whether it confirms what was prepared.
    pub const fn confirms(&self) -> bool {
        self.hash.is_some() || self.transaction.is_some()
    }

    /// The same with what the body says where headers say nothing.
    #[must_use]
    pub fn or(self, hash: Option<ComposeHash>, transaction: Option<&str>) -> Self {
        let transaction = transaction.filter(|text| !text.is_empty()).map(str::to_owned);
        Self { hash: self.hash.or(hash), transaction: self.transaction.or(transaction), ..self }
    }

    /// Refuses to confirm what no contract governs.
    pub fn refuse_where_nothing_governs(&self) -> Result<(), Error> {
        request::refuse_confirmation(self.hash.as_ref(), self.transaction.as_deref())
    }
}

/// The contracts that govern an app.
#[derive(Debug, Clone, Copy)]
pub struct Contracts<'a> {
    /// The KMS that holds its keys.
    pub kms: &'a FleetKms,
    /// The contract of that.
    pub governed: &'a Governed,
}

/// The contracts that govern what has its keys from this KMS; `None`: none do.
pub fn contracts<'a>(ctx: &'a Ctx, id: &KmsId) -> Result<Option<Contracts<'a>>, Error> {
    match ctx.fleet.kms_of(id) {
        Some(kms) => Ok(kms.governed.as_ref().map(|governed| Contracts { kms, governed })),
        // Whether a contract governs it cannot be told.
        None => Err(Error::because(
            ErrorCode::KmsUnreachable,
            format!("the KMS of this CVM, {id}, is not configured here"),
        )
        .suggest("Ask the operator: it was configured when the CVM was deployed.")),
    }
}

/// What contracts say of a document on a device, whatever the OS image.
pub fn question(governed: &Governed, cvm: &Cvm, hash: ComposeHash, device: DeviceId) -> Question {
    Question {
        kms: governed.contract,
        app: cvm.spec.app_id,
        hash,
        device,
        os_image: None,
        transaction: None,
    }
}

/// What contracts have to allow before this boots on a node.
pub fn boot_question(governed: &Governed, spec: &Spec, node: &FleetNode) -> Question {
    Question {
        kms: governed.contract,
        app: spec.app_id,
        hash: spec.compose_hash,
        device: node.observed().0.device_id,
        os_image: node.image_hash(&spec.image),
        transaction: None,
    }
}

/// What contracts were found to allow just now.
#[derive(Debug, Clone, Default)]
pub struct Clearance(Vec<(Question, Proof)>);

impl Clearance {
    /// Asks contracts, waiting for the transaction if one is named. Never within a transaction of the
    /// database.
    pub async fn ask(
        &mut self,
        governed: &Governed,
        question: &Question,
    ) -> Result<(), NotAllowed> {
        let proof = governance::verify(governed, question).await?;
        self.0.push((Question { transaction: None, ..*question }, proof));
        Ok(())
    }

    /// Whether this was asked and is allowed.
    pub fn covers(&self, question: &Question) -> bool {
        self.0.iter().any(|(asked, _)| asked == question)
    }

    /// That this is allowed for a CVM or for another machine of its app, if it was asked and is.
    pub fn of(&self, question: &Question, cvm: &Cvm) -> Option<Box<Verified>> {
        let (question, proof) = *self.0.iter().find(|(asked, _)| asked == question)?;
        Some(Box::new(Verified { question, proof, deployer: cvm.spec.deployer }))
    }
}

/// What contracts have to allow before this change of a CVM can be accepted; `None`: nothing.
pub async fn needs<'a>(
    ctx: &'a Ctx,
    tx: &mut Tx,
    cvm: &Cvm,
    change_request: &ChangeRequest,
) -> Result<Option<(Contracts<'a>, Question)>, Error> {
    let (base, next, _) = update::preview(ctx, tx, cvm, &change_request.change).await?;
    needs_between(ctx, cvm, &base, &next)
}

/// What contracts have to allow before one configuration can follow the other; `None`: nothing.
pub fn needs_between<'a>(
    ctx: &'a Ctx,
    cvm: &Cvm,
    base: &Configuration,
    next: &Configuration,
) -> Result<Option<(Contracts<'a>, Question)>, Error> {
    let hash = next.spec.compose_hash;
    if hash == base.spec.compose_hash {
        return Ok(None);
    }
    let Some(contracts) = contracts(ctx, &cvm.kms)? else { return Ok(None) };
    let node = ctx.fleet.node(cvm.node).ok_or_else(|| {
        let why = "the node of this CVM is not known here, and with it its device id";
        Error::because(ErrorCode::NodeUnreachable, why)
    })?;
    Ok(Some((contracts, boot_question(contracts.governed, &next.spec, &node))))
}

/// A change whose turn has come and that would bring a document in force which no contract was asked
/// about: what it was accepted on did not come in force.
pub fn unapproved(hash: &ComposeHash) -> Error {
    Error::because(
        ErrorCode::HashRegistrationRequired,
        format!(
            "what this change was accepted on did not come in force, and without it the change leads to \
             compose hash {hash}, which the app's contract was not asked about"
        ),
    )
    .suggest("Send the change again.")
}

/// What a configuration comes to, as far as something that is prepared on it depends on that.
pub fn digest(base: &Configuration) -> String {
    let parts = (&base.spec.compose_hash, &base.sealed_env, &base.spec.user_config);
    hex::encode(Sha256::digest(serde_json::to_vec(&parts).unwrap_or_default()))
}

/// The hash that a token is kept by.
pub fn token_hash(token: &str) -> TokenHash {
    TokenHash(hex::encode(Sha256::digest(token.as_bytes())))
}

/// Something about to be prepared.
#[derive(Debug)]
pub struct New<'a> {
    pub kind: Kind,
    /// The CVM that changes, or the one whose configuration the machine gets; it is taken.
    pub cvm: &'a Cvm,
    /// What it is prepared on.
    pub base: &'a Configuration,
    /// What is to come in force.
    pub next: &'a Configuration,
    /// The contracts that have to allow it.
    pub contracts: Contracts<'a>,
    /// What they have to allow.
    pub question: Question,
    /// What is to be done once they do, as JSON.
    pub request: serde_json::Result<String>,
    /// Whether the client asked for its token.
    pub prepare_only: bool,
}

/// Something that was prepared, with its token.
#[derive(Debug)]
pub struct Prepared {
    kind: Kind,
    token: SecretString,
    /// Whether the client is told the token.
    told: bool,
    cvm: CvmRef,
    question: Question,
    kms: FleetKms,
    /// Facts besides those that clients look for.
    pub also: Vec<ErrorDetail>,
}

/// Keeps the document and what is to be done with it. Nothing else is changed.
pub async fn prepare(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    new: New<'_>,
) -> Result<Prepared, Error> {
    let New { kind, cvm, base, next, contracts, question, request, prepare_only } = new;
    // Otherwise clients cannot go on.
    let told = prepare_only || kind != Kind::Update;
    let request = request.map_err(|error| {
        Error::Internal(format!("what is prepared does not serialise: {error}"))
    })?;
    let now = ctx.now();
    let days = u64::from(ctx.config.provision.ttl_days);
    let expires_at = now.plus(Duration::from_hours(24 * days));
    // 122 random bits; nobody but the client ever sees them again.
    let token = SecretString::from(ctx.entropy.uuid_v4().to_string());
    let chain_id = contracts.governed.chain.chain_id();
    tx.keep_document(&question.hash, &next.document.document(), now).await?;
    let new = NewPreparation {
        hash: &token_hash(token.expose_secret()),
        kind,
        workspace: cvm.workspace,
        cvm: cvm.id,
        app: cvm.spec.app_id,
        compose_hash: question.hash,
        chain_id,
        base: &digest(base),
        request: &request,
        by: caller.user.id,
        told,
        expires_at,
    };
    tx.keep_preparation(&new, now).await?;
    let scope = EventScope { workspace: cvm.workspace, cvm: cvm.id, operation: None };
    let what = kind.as_str();
    let event = CvmEvent::Prepared { what, hash: question.hash, chain_id, until: expires_at };
    events::write(tx, scope, &[event], now).await?;
    Ok(Prepared {
        kind,
        token,
        cvm: cvm.reference.clone(),
        told,
        question,
        kms: contracts.kms.clone(),
        also: Vec::new(),
    })
}

impl Prepared {
    /// What the client is told to register: status 465. Asks the chain what it knows, so never within a transaction.
    pub async fn refusal(&self, ctx: &Ctx) -> Error {
        let Some(governed) = &self.kms.governed else {
            return Error::Internal("something was prepared for no contract".to_owned());
        };
        let Question { app, hash, device, .. } = self.question;
        let state = governance::glance(governed, &self.question).await;
        let with_chain = self.kind == Kind::Instance;
        let mut error = Error::code(ErrorCode::HashRegistrationRequired)
            .detail(ErrorDetail::value("compose_hash", hash.to_string()))
            .detail(ErrorDetail::value("app_id", app.to_string()))
            .detail(ErrorDetail::value("device_id", device.to_string()))
            .detail(ErrorDetail::value("kms_info", show::kms_info(&self.kms, with_chain)));
        if self.told {
            let token = self.token.expose_secret();
            error = error
                .detail(ErrorDetail::value("commit_token", token))
                .detail(ErrorDetail::value("commit_url", show::commit_url(ctx, token)))
                .detail(ErrorDetail::value("api_commit_url", self.api_commit_url(ctx)));
        }
        if let Some(state) = &state {
            error = error.detail(ErrorDetail::value("onchain_status", show::onchain_status(state)));
        }
        for fact in &self.also {
            error = error.detail(fact.clone());
        }
        let chain = governed.chain.chain_id();
        error = error.suggest(format!(
            "Have the owner of app contract 0x{app} on chain {chain} call addComposeHash(0x{hash}) on it."
        ));
        if state.is_none_or(|state| !state.device_allowed()) {
            error = error.suggest(format!(
                "If the contract does not allow the device yet, addDevice(0x{device}) too."
            ));
        }
        error.suggest(match self.kind {
            Kind::Update if self.told => "Then POST the token to api_commit_url.".to_owned(),
            Kind::Update => format!(
                "Then PATCH /api/v1/cvms/{} with the body {{}} and the headers X-Compose-Hash and \
                 X-Transaction-Hash.",
                self.cvm
            ),
            Kind::Replica | Kind::Instance => "Then POST the token to api_commit_url.".to_owned(),
        })
    }

    fn api_commit_url(&self, ctx: &Ctx) -> String {
        let (api, cvm, token) = (&ctx.addresses.api, &self.cvm, self.token.expose_secret());
        match self.kind {
            Kind::Update => format!("{api}/api/v1/cvms/{cvm}/commit-update?token={token}"),
            Kind::Replica => format!("{api}/api/v1/cvms/{cvm}/commit-replica?token={token}"),
            // This route reads the token from the body only.
            Kind::Instance => format!("{api}/api/v1/apps/{}/instances", self.question.app),
        }
    }
}
