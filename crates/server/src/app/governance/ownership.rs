//! Proofs of the owner of a contract that a workspace is to have the app, and what they do: an app of nobody becomes the
//! workspace's, one of another workspace is transferred, unless it has live CVMs there.

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    ownership::{AppOwnership, OwnershipMessage, OwnershipProof},
};
use casemate_core::{
    governance::{
        Question, State,
        ownership::{OwnershipClaim, prove},
    },
    id::{AppId, ComposeHash, DeviceId},
    time::Timestamp,
};
use casemate_store::{Error as StoreError, app_ownership::Holder};

use super::{state, unanswered};
use crate::app::{
    Caller, Ctx, Error, audit,
    cvms::{app_id, app_not_found},
    fleet::{FleetKms, Governed},
    kms,
    mutation::{IdempotencyKey, Mutation, WriteError},
    views,
};

/// The contract of an app, as its chain has it now.
struct Contract<'a> {
    app: AppId,
    kms: &'a FleetKms,
    governed: &'a Governed,
    state: State,
}

impl<'a> Contract<'a> {
    async fn read(ctx: &'a Ctx, text: &str, kms_id: &str) -> Result<Self, Error> {
        let kms = kms::called(ctx, "kms_id", kms_id)?;
        let governed = kms.governed.as_ref().ok_or_else(|| {
            let why = "names a KMS without a contract, so its apps have no contract either";
            Error::field(ErrorCode::IncompatibleConfiguration, "kms_id", why)
                .suggest("Name one that a contract governs: casemate kms ls.")
        })?;
        let app = app_id(text).ok_or_else(|| app_not_found(text))?;
        // Only owner and registration are read off the answer.
        let question = Question {
            kms: governed.contract,
            app,
            hash: ComposeHash::from_bytes([0; 32]),
            device: DeviceId::from_bytes([0; 32]),
            os_image: None,
            transaction: None,
        };
        let state = state(governed, &question).await.map_err(|fault| unanswered(&fault))?;
        if state.registered && state.app_exists {
            return Ok(Self { app, kms, governed, state });
        }
        let why = format!(
            "The KMS {} knows no app with a contract at {}",
            kms.slug,
            views::contract(app)
        );
        Err(Error::because(ErrorCode::HashNotAllowed, why)
            .suggest("Register it: registerApp of the KMS contract."))
    }

    fn claim(&self, caller: &Caller, issued_at: Timestamp) -> OwnershipClaim {
        OwnershipClaim {
            app: self.app,
            chain_id: self.governed.chain.chain_id(),
            workspace: caller.workspace.id,
            wallet: caller.workspace.wallet,
            issued_at,
        }
    }
}

/// The text that the owner signs.
pub async fn message(
    ctx: &Ctx,
    caller: &Caller,
    app: &str,
    kms_id: &str,
) -> Result<OwnershipMessage, Error> {
    let contract = Contract::read(ctx, app, kms_id).await?;
    let seconds = i64::try_from(ctx.now().unix_seconds()).unwrap_or(0);
    let issued_at = Timestamp::from_micros(seconds.saturating_mul(1_000_000));
    let claim = contract.claim(caller, issued_at);
    Ok(OwnershipMessage {
        app_id: contract.app.to_string(),
        kms_id: contract.kms.id.to_string(),
        chain_id: claim.chain_id,
        owner: contract.state.owner.map(|owner| format!("0x{owner}")),
        issued_at: issued_at.to_string(),
        message: claim.to_string(),
    })
}

/// Gives the app to the workspace, if the owner of its contract signed so.
pub async fn claim(
    ctx: &Ctx,
    caller: &Caller,
    key: Option<IdempotencyKey>,
    app: &str,
    proof: &OwnershipProof,
) -> Result<(Mutation, AppOwnership), WriteError> {
    let issued_at: Timestamp =
        proof.issued_at.parse().map_err(|why| Error::invalid("issued_at", why))?;
    let contract = Contract::read(ctx, app, &proof.kms_id).await?;
    let (app, claimed) = (contract.app, contract.claim(caller, issued_at));
    let mut mutation = ctx.begin_mutation(caller, key).await?;
    let holder = mutation.tx.lock_holder(&app).await?;
    let newest = holder.as_ref().and_then(|holder| holder.proven_at);
    prove(&claimed, &proof.signature, contract.state.owner, newest, ctx.now()).map_err(|why| {
        Error::field(ErrorCode::OwnerProofMissing, "signature", why.to_string())
            .suggest("Sign the message of GET …/ownership with the key of the contract's owner.")
    })?;
    let transferred = take(ctx, &mut mutation, caller, &contract, holder, issued_at).await?;
    let reply = AppOwnership {
        app_id: app.to_string(),
        kms_id: contract.kms.id.to_string(),
        workspace: caller.workspace.slug.clone(),
        transferred,
        proven_at: issued_at.to_string(),
    };
    Ok((mutation, reply))
}

/// Makes the app the workspace's; whether it was another one's.
async fn take(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    contract: &Contract<'_>,
    holder: Option<Holder>,
    proven_at: Timestamp,
) -> Result<bool, Error> {
    let (app, kms, mine, now) = (&contract.app, &contract.kms.id, caller.workspace.id, ctx.now());
    let tx = &mut mutation.tx;
    let Some(holder) = holder else {
        // Its first CVM names it.
        if !tx.bind_app_id(app, mine, None, &app.to_string(), kms, now).await? {
            return Err(StoreError::Stale.into());
        }
        tx.record_proof(app, proven_at).await?;
        return Ok(false);
    };
    audit::before(&serde_json::json!({ "own": holder.workspace == mine }));
    if holder.workspace == mine {
        tx.record_proof(app, proven_at).await?;
        return Ok(false);
    }
    if holder.live > 0 {
        let why = format!(
            "The app {} has {} live CVMs in another workspace",
            views::contract(*app),
            holder.live
        );
        return Err(Error::because(ErrorCode::CvmAppIdConflict, why)
            .detail(ErrorDetail::value("cvms", holder.live))
            .suggest("Have them deleted there, or ask an operator: casemate admin cvm."));
    }
    tx.transfer_app(app, mine, kms, (proven_at, now)).await?;
    Ok(true)
}
