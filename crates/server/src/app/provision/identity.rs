//! Which app id a provision gets.
//!
//! The same workspace, name, document and KMS get the same id until a CVM is made of it; the first
//! provision binds the nonce, in its transaction. Two names never share an id.

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    provision::ProvisionRequest,
};
use casemate_core::{
    create_address::create_address,
    id::{AppId, ComposeHash},
};
use casemate_store::Tx;

use crate::app::{Caller, Ctx, Error, fleet::FleetKms};

/// Nonces bound by hand ahead of the counter are skipped; so many in a row are not expected.
const MAX_SKIPPED: usize = 1000;
/// Where to get an app id with its nonce.
const PAIRS: &str = "GET /api/v1/kms/phala/next_app_id returns free pairs of both.";

pub async fn app_id(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    request: &ProvisionRequest,
    hash: &ComposeHash,
    kms: &FleetKms,
) -> Result<AppId, Error> {
    match (request.nonce, request.app_id) {
        (Some(nonce), Some(app)) => wanted(ctx, tx, caller, request, kms, nonce, app).await,
        (None, None) => next(ctx, tx, caller, request, hash, kms).await,
        (nonce, _) => {
            let (field, other) =
                if nonce.is_some() { ("nonce", "app_id") } else { ("app_id", "nonce") };
            Err(Error::field(ErrorCode::InvalidRequest, field, format!("needs {other} beside it"))
                .suggest(PAIRS))
        }
    }
}

async fn next(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    request: &ProvisionRequest,
    hash: &ComposeHash,
    kms: &FleetKms,
) -> Result<AppId, Error> {
    let (workspace, now) = (caller.workspace.id, ctx.now());
    if let Some(bound) = tx.bound_app_id(workspace, &request.name, hash, &kms.id, now).await? {
        return Ok(bound);
    }
    for _ in 0..MAX_SKIPPED {
        let nonce = tx.draw_nonce(workspace).await?;
        let app = create_address(&caller.workspace.wallet, nonce);
        if tx.bind_app_id(&app, workspace, Some(nonce), &request.name, &kms.id, now).await? {
            return Ok(app);
        }
    }
    Err(Error::Internal("no free nonce".to_owned()))
}

/// The id that the caller asks for: it must be the CREATE address of the workspace's wallet.
async fn wanted(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    request: &ProvisionRequest,
    kms: &FleetKms,
    nonce: u64,
    app: AppId,
) -> Result<AppId, Error> {
    if i64::try_from(nonce).is_err() {
        return Err(Error::field(ErrorCode::InvalidRequest, "nonce", "is too large").suggest(PAIRS));
    }
    let expected = create_address(&caller.workspace.wallet, nonce);
    if app != expected {
        return Err(Error::field(
            ErrorCode::InvalidRequest,
            "app_id",
            format!("does not belong to nonce {nonce} of this workspace; expected {expected}"),
        )
        .suggest(PAIRS));
    }
    let workspace = caller.workspace.id;
    if tx.bind_app_id(&app, workspace, Some(nonce), &request.name, &kms.id, ctx.now()).await? {
        return Ok(app);
    }
    let held = tx.held_app_id(&app).await?;
    match held {
        Some(held) if held.workspace_id == workspace.0 && held.name == request.name => Ok(app),
        _ => Err(Error::because(
            ErrorCode::CvmAppIdConflict,
            format!("nonce {nonce} of this workspace is bound to another name"),
        )
        .detail(ErrorDetail::message("app_id", format!("{app} is bound to another name")))
        .suggest(PAIRS)),
    }
}
