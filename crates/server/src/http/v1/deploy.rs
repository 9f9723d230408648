//! The two phases of a deployment.

use axum::extract::State;
use casemate_api::{
    error::ErrorBody,
    provision::{ProvisionOrCommit, ProvisionRequest, discriminate},
    reply::Provisioned,
};

use crate::{
    app::{
        Caller, Ctx, commit,
        mutation::{Mutation, Written},
        provision,
    },
    http::{
        error::ApiError,
        extract::{Auth, Body, Raw, Version},
        openapi::{CreateReply, CreateRequest},
        render,
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
    request: Body<ProvisionRequest>,
) -> Result<Written<Provisioned>, ApiError> {
    let (mutation, reply) = prepare(&ctx, &caller, version, request).await?;
    Ok(mutation.finish(&reply).await?)
}

async fn prepare(
    ctx: &Ctx,
    caller: &Caller,
    version: Version,
    request: Body<ProvisionRequest>,
) -> Result<(Mutation, Provisioned), ApiError> {
    // Asked outside of the transaction.
    let images = provision::AllowedImages::ask(ctx, &request.value).await;
    let mut mutation = ctx.begin_mutation(caller, request.key).await?;
    let Body { value, unknown, .. } = request;
    let view =
        provision::provision(ctx, &mut mutation.tx, caller, value, &unknown, &images).await?;
    Ok((mutation, render::provision(&view, version.version)))
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
    request_body = CreateRequest,
    responses(
        (status = 200, body = CreateReply),
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
) -> Result<Written<CreateReply>, ApiError> {
    let body = serde_json::from_slice(&raw.bytes).unwrap_or_default();
    let (mutation, reply) = match discriminate(&body) {
        ProvisionOrCommit::Provision => {
            let (mutation, reply) = prepare(&ctx, &caller, version, Body::parse(raw)?).await?;
            (mutation, CreateReply::Provision(Box::new(reply)))
        }
        ProvisionOrCommit::Commit => {
            let Body { value, key, .. } = Body::parse(raw)?;
            let (mutation, view) = commit::commit(&ctx, &caller, key, &value).await?;
            (mutation, CreateReply::Commit(Box::new(render::cvm_commit(&view, version.version))))
        }
    };
    Ok(mutation.finish(&reply).await?)
}
