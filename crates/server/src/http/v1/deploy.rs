//! The two phases of a deployment.

use axum::{extract::State, response::Response};
use casemate_api::{
    commit::CommitRequest,
    error::ErrorBody,
    provision::{ProvisionOrCommit, ProvisionRequest, discriminate},
    reply::Provisioned,
};

use crate::{
    app::{
        Caller, Ctx,
        commit::{self, Outcome},
        mutation::Begun,
        provision,
    },
    http::{
        error::ApiError,
        extract::{Auth, Json, Raw, Version, answer},
        openapi, render,
    },
};

/// Prepares a deployment: checks it, normalises and hashes its document, chooses node and KMS.
///
/// Nothing is reserved; what was prepared can be committed for 14 days.
#[utoipa::path(
    post,
    path = "/cvms/provision",
    operation_id = "provision_cvm",
    tag = "CVMs",
    request_body = ProvisionRequest,
    responses(
        (status = 200, body = Provisioned),
        (status = 400, description = "A field is refused; `details` names it.", body = ErrorBody),
    ),
)]
pub async fn provision(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    request: Json<ProvisionRequest>,
) -> Result<Response, ApiError> {
    do_provision(&ctx, &caller, version, request).await
}

async fn do_provision(
    ctx: &Ctx,
    caller: &Caller,
    version: Version,
    request: Json<ProvisionRequest>,
) -> Result<Response, ApiError> {
    let mut mutation = match ctx.begin_mutation(caller, request.key).await? {
        Begun::Fresh(mutation) => mutation,
        Begun::Answered(before) => return Ok(answer(before)),
    };
    let view = provision::provision(ctx, &mut mutation.tx, caller, request.value, &request.unknown)
        .await?;
    let reply = render::provision(&view, version.version);
    Ok(answer(mutation.finish(200, &reply, None).await?))
}

/// Commits a provision: from here on the CVM exists and is being started.
///
/// Committing twice gives the same CVM. A body with a compose file is a provision, as the newest Go SDK
/// posts it here.
#[utoipa::path(
    post,
    path = "/cvms",
    operation_id = "create_cvm",
    tag = "CVMs",
    request_body = openapi::CreateRequest,
    responses(
        (status = 200, body = openapi::CreateReply),
        (status = 404, description = "No open provision fits.", body = ErrorBody),
        (status = 409, description = "The name or the app is taken, or the node is full.", body = ErrorBody),
        (status = 467, description = "The transaction is not what it is said to be.", body = ErrorBody),
        (status = 468, description = "The contract of the app does not allow the document or the host.", body = ErrorBody),
        (status = 503, description = "The chain does not answer: nothing was used up.", body = ErrorBody),
    ),
)]
pub async fn provision_or_commit(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    raw: Raw,
) -> Result<Response, ApiError> {
    let body = serde_json::from_slice(&raw.bytes).unwrap_or_default();
    match discriminate(&body) {
        ProvisionOrCommit::Provision => {
            do_provision(&ctx, &caller, version, Json::parse(raw)?).await
        }
        ProvisionOrCommit::Commit => do_commit(&ctx, &caller, version, Json::parse(raw)?).await,
    }
}

async fn do_commit(
    ctx: &Ctx,
    caller: &Caller,
    version: Version,
    request: Json<CommitRequest>,
) -> Result<Response, ApiError> {
    let (mutation, done) = match commit::commit(ctx, caller, request.key, &request.value).await? {
        Outcome::Done(mutation, done) => (mutation, done),
        Outcome::Answered(before) => return Ok(answer(before)),
    };
    let reply = render::cvm_commit(&done.view, version.version);
    Ok(answer(mutation.finish(200, &reply, done.last_event).await?))
}
