//! Commits of apps that contracts are: what is asked of a contract, and to whom the app belongs then.

use casemate_api::{
    commit::CommitRequest,
    error::{ErrorCode, ErrorDetail},
};
use casemate_core::{
    cvm::Spec,
    governance::{Proof, Question},
    id::{Address, AppId, KmsId, ProvisionId},
    seal::EnvPublicKey,
};
use casemate_store::{Error as StoreError, Tx, provisions::Provision};

use crate::app::{
    Caller, Ctx, Error,
    events::Verified,
    fleet::FleetKms,
    governance, kms,
    provision::{env_key, node},
    views,
};
use crate::config::OwnerProof;

/// Provisions of one document on so many hosts are asked about, the newest first.
const HOSTS: usize = 4;

/// What is to be asked before a commit: about one host after another, until one is allowed.
#[derive(Debug)]
pub(super) struct CommitQuestions {
    kms: KmsId,
    app: AppId,
    about: Vec<(ProvisionId, Question)>,
}

/// That a contract allows what a provision needs.
#[derive(Debug)]
pub(super) struct Evidence {
    provision: ProvisionId,
    kms: KmsId,
    question: Question,
    /// What it said.
    pub(super) proof: Proof,
    /// The key of the app, where the KMS is another program.
    pub(super) env_key: Option<EnvPublicKey>,
}

impl CommitQuestions {
    /// The question for each of these open provisions that is for another host than those before it.
    pub(super) fn new<'a>(
        ctx: &Ctx,
        request: &CommitRequest,
        kms: &FleetKms,
        app: AppId,
        open: impl Iterator<Item = &'a Provision>,
    ) -> Result<Self, Error> {
        let governed = kms.governed.as_ref();
        let contract = governed
            .ok_or_else(|| Error::Internal("a KMS without a contract".to_owned()))?
            .contract;
        let transaction = governance::transaction(request.transaction_hash.as_deref())?;
        let hash = request.compose_hash;
        let mut about: Vec<(ProvisionId, Question)> = Vec::new();
        for provision in open {
            let node = node(ctx, provision.node)?;
            let device = node.observed().0.device_id;
            if about.len() < HOSTS && about.iter().all(|(_, asked)| asked.device != device) {
                let os_image = node.image_hash(&provision.spec.image);
                let question = Question { kms: contract, app, hash, device, os_image, transaction };
                about.push((provision.id, question));
            }
        }
        Ok(Self { kms: kms.id.clone(), app, about })
    }

    /// Asks. Of several refusals the one for the newest provision is told.
    pub(super) async fn answer(self, ctx: &Ctx) -> Result<Evidence, Error> {
        let kms = kms::of(ctx, &self.kms)?;
        let governed = kms
            .governed
            .as_ref()
            .ok_or_else(|| Error::Internal("a KMS without a contract".to_owned()))?;
        let mut refused = None;
        for (provision, question) in self.about {
            match governance::verify(governed, &question).await {
                Ok(proof) => {
                    let env_key = if kms.kms.is_remote() {
                        Some(env_key(ctx, kms, &self.app).await?)
                    } else {
                        None
                    };
                    return Ok(Evidence { provision, kms: self.kms, question, proof, env_key });
                }
                Err(why) => {
                    let error = Error::from(why);
                    if !error.is(ErrorCode::HashNotAllowed) {
                        return Err(error);
                    }
                    refused = refused.or(Some(error));
                }
            }
        }
        Err(refused.unwrap_or_else(|| StoreError::Stale.into()))
    }
}

impl Evidence {
    /// Whether it is about this provision for this app under this KMS.
    pub(super) fn is_about(&self, provision: &ProvisionId, app: &AppId, kms: &KmsId) -> bool {
        self.provision == *provision && self.question.app == *app && self.kms == *kms
    }

    /// It as the record has it.
    pub(super) fn verified(&self, spec: &Spec) -> Verified {
        Verified { question: self.question, proof: self.proof, deployer: spec.deployer }
    }
}

/// The app that a request names: by its id, or by the address of its contract, which is the same.
pub(super) fn named(request: &CommitRequest) -> Option<AppId> {
    let contract = || request.contract_address.as_deref()?.parse().ok();
    request.app_id.or_else(contract)
}

/// Refuses a request that does not say which contract is the app, or says two.
pub(super) fn check_names(request: &CommitRequest) -> Result<(), Error> {
    let contract = address("contract_address", request.contract_address.as_deref())?;
    match (request.app_id, contract) {
        (None, None) => {
            let why = "is required: the address of the app's contract";
            Err(Error::field(ErrorCode::InvalidRequest, "app_id", why).suggest(
                "Deploy it with deployAndRegisterApp of the KMS contract; its event \
                 AppDeployedViaFactory names it.",
            ))
        }
        (Some(app), Some(contract)) if Address::from(app) != contract => {
            let (app, contract) = (views::contract(app), views::contract(contract));
            let why = format!(
                "is {contract}, and app_id is {app}: the app id is the address of the app's contract"
            );
            Err(Error::field(ErrorCode::IncompatibleConfiguration, "contract_address", why)
                .detail(ErrorDetail::value("app_id", app))
                .suggest(
                    "Leave contract_address out, or send the address of the app's contract; that of \
                     the KMS is another one.",
                ))
        }
        _ => Ok(()),
    }
}

/// Who deployed the contract, as the client says.
pub(super) fn deployer(request: &CommitRequest) -> Result<Option<Address>, Error> {
    address("deployer_address", request.deployer_address.as_deref())
}

fn address(field: &str, text: Option<&str>) -> Result<Option<Address>, Error> {
    let Some(text) = text else { return Ok(None) };
    let bare = text.strip_prefix("app_").unwrap_or(text);
    bare.parse().map(Some).map_err(|why| {
        Error::field(ErrorCode::InvalidRequest, field, format!("is {why}"))
            .suggest("Send an address, or leave it out.")
    })
}

/// Binds an app to the first workspace that commits it. Otherwise whoever may read an approved document
/// could start it with an environment of his own and be given the app's keys.
pub(super) async fn bind(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    spec: &Spec,
    kms: &KmsId,
) -> Result<(), Error> {
    let (app, workspace) = (&spec.app_id, caller.workspace.id);
    if ctx.config.governance.owner_proof == OwnerProof::Required {
        require_proof(tx, caller, app).await?;
    }
    if tx.bind_app_id(app, workspace, None, &spec.name, kms, ctx.now()).await? {
        return Ok(());
    }
    // Forgotten in between: it is there to be bound at the next attempt.
    let Some(held) = tx.held_app_id(app).await? else { return Err(StoreError::Stale.into()) };
    let app = views::contract(*app);
    if held.workspace_id != workspace.0 {
        let why = format!("The app {app} cannot be committed in this workspace");
        return Err(Error::because(ErrorCode::CvmAppIdConflict, why)
            .detail(ErrorDetail::value("app_id", app))
            .suggest("Deploy a contract for it, and commit with that one's address."));
    }
    if held.kms_id != kms.as_ref() {
        let why = format!("The app {app} has its keys from another KMS");
        return Err(Error::because(ErrorCode::CvmAppIdConflict, why)
            .detail(ErrorDetail::value("kms_id", held.kms_id.as_str()))
            .suggest(format!("Provision again with kms_id {}.", held.kms_id)));
    }
    if held.committed_at.is_none() && held.name != spec.name {
        tx.name_unused_app(&spec.app_id, &spec.name).await?;
    }
    Ok(())
}

/// Refuses an app that no proof of its contract's owner gave to this workspace. One that the workspace committed before
/// proofs were required stays as it is.
async fn require_proof(tx: &mut Tx, caller: &Caller, app: &AppId) -> Result<(), Error> {
    let held = tx.held_app_id(app).await?;
    let is_mine = held.is_some_and(|held| held.workspace_id == caller.workspace.id.0);
    // Bound here only by an earlier commit or by a proof.
    if is_mine {
        return Ok(());
    }
    let app = views::contract(*app);
    let why = format!("The owner of the contract {app} has not said that it is this workspace's");
    Err(Error::because(ErrorCode::OwnerProofMissing, why)
        .detail(ErrorDetail::value("app_id", app.as_str()))
        .suggest(format!("casemate governance claim {app} --kms … --private-key-file key")))
}
