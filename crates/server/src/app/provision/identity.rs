//! Which app id a provision gets.
//!
//! The same workspace, name, document and KMS get the same id until a CVM is made of it; the first
//! provision binds the nonce, in its transaction. Two names never share an id.

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    provision::ProvisionRequest,
};
use casemate_core::{
    compose::AppCompose,
    create_address::create_address,
    id::{AppId, ComposeHash},
};
use casemate_store::Tx;

use crate::app::{Caller, Ctx, Error, fleet::FleetKms};

/// Nonces bound by hand ahead of the counter are skipped; so many in a row are not expected.
const MAX_SKIPPED: usize = 1000;
/// Where to get an app id with its nonce.
const PAIRS: &str = "GET /api/v1/kms/phala/next_app_id returns free pairs of both.";

/// Refuses what cannot be said where a contract is to be the app: it decides the app id, and so the key
/// that an environment is sealed to.
pub fn refuse_what_a_contract_decides(
    request: &ProvisionRequest,
    compose: &AppCompose,
) -> Result<(), Error> {
    if request.nonce.is_some() {
        let why = "is for the KMS that no contract governs";
        return Err(Error::field(ErrorCode::InvalidRequest, "nonce", why)
            .suggest("Leave it out: the app id is the address of the app's contract."));
    }
    if !compose.kms_enabled {
        let why = "cannot be governed by a contract where the app takes no keys from it";
        return Err(Error::field(ErrorCode::IncompatibleConfiguration, "kms", why)
            .suggest("Leave compose_file.kms_enabled true, or use kms \"phala\"."));
    }
    let inner = request.compose_file.as_ref().and_then(|file| file.encrypted_env.as_ref());
    for (field, given) in
        [("encrypted_env", request.encrypted_env.as_ref()), ("compose_file.encrypted_env", inner)]
    {
        if given.is_some_and(|sealed| !sealed.is_empty()) {
            let why = "cannot be sealed yet: the key comes with the app's contract";
            return Err(Error::field(ErrorCode::IncompatibleConfiguration, field, why).suggest(
                "Send it at commit, sealed to GET /api/v1/kms/{kms_id}/pubkey/{app_id}.",
            ));
        }
    }
    Ok(())
}

/// What an app id is chosen for.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    pub request: &'a ProvisionRequest,
    /// Of its document.
    pub hash: &'a ComposeHash,
    /// The KMS of its keys.
    pub kms: &'a FleetKms,
    /// The app id that an earlier attempt of this request bound.
    pub known: Option<AppId>,
}

impl Identity<'_> {
    /// The app id.
    pub async fn app_id(self, ctx: &Ctx, tx: &mut Tx, caller: &Caller) -> Result<AppId, Error> {
        let Self { request, kms, .. } = self;
        match (request.nonce, request.app_id) {
            (Some(nonce), Some(app)) => wanted(ctx, tx, caller, request, kms, nonce, app).await,
            (None, None) => next(ctx, tx, caller, self).await,
            (nonce, _) => {
                let (field, other) =
                    if nonce.is_some() { ("nonce", "app_id") } else { ("app_id", "nonce") };
                let why = format!("needs {other} beside it");
                Err(Error::field(ErrorCode::InvalidRequest, field, why).suggest(PAIRS))
            }
        }
    }
}

async fn next(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    Identity { request, hash, kms, known }: Identity<'_>,
) -> Result<AppId, Error> {
    let (workspace, now) = (caller.workspace.id, ctx.now());
    if let Some(bound) = tx.bound_app_id(workspace, &request.name, hash, &kms.id, now).await? {
        return Ok(bound);
    }
    if let Some(app) = known
        && let Some(held) = tx.held_app_id(&app).await?
        && held.workspace_id == workspace.0
        && held.name == request.name
        && held.kms_id == kms.id.as_ref()
        && held.committed_at.is_none()
    {
        return Ok(app);
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
        Some(held) if held.workspace_id == workspace.0 && held.kms_id != kms.id.as_ref() => {
            let why = format!("{app} has its keys from the KMS {}, not {}", held.kms_id, kms.id);
            Err(Error::because(ErrorCode::CvmAppIdConflict, why)
                .detail(ErrorDetail::value("kms_id", held.kms_id.as_str()))
                .suggest(format!("Name that KMS: kms_id {}.", held.kms_id))
                .suggest(PAIRS))
        }
        Some(held) if held.workspace_id == workspace.0 && held.name == request.name => Ok(app),
        _ => Err(Error::because(
            ErrorCode::CvmAppIdConflict,
            format!("nonce {nonce} of this workspace is bound to another name"),
        )
        .detail(ErrorDetail::message("app_id", format!("{app} is bound to another name")))
        .suggest(PAIRS)),
    }
}
