//! The two phases of a deployment.

use axum::{extract::State, response::Response};
use casemate_api::{
    commit::CommitRequest,
    provision::{ProvisionOrCommit, ProvisionRequest, discriminate},
    render,
};

use crate::{
    app::{Caller, Ctx, commit, provision, work::Begun},
    http::{
        error::ApiError,
        extract::{Auth, Json, Raw, Version, answer},
    },
};

/// `POST /cvms/provision`.
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
    let mut work = match ctx.begin_work(caller, request.key).await? {
        Begun::Fresh(work) => work,
        Begun::Answered(before) => return Ok(answer(before)),
    };
    let view =
        provision::provision(ctx, &mut work.tx, caller, request.value, &request.unknown).await?;
    let reply = render::provision(&view, version.version);
    Ok(answer(work.finish(200, &reply, None).await?))
}

/// `POST /cvms`: commits a provision; with a compose file it is a provision, as newest Go posts it.
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
    let mut work = match ctx.begin_work(caller, request.key).await? {
        Begun::Fresh(work) => work,
        Begun::Answered(before) => return Ok(answer(before)),
    };
    let done = commit::commit(ctx, &mut work.tx, caller, &request.value).await?;
    let reply = render::cvm_commit(&done.view, version.version);
    Ok(answer(work.finish(200, &reply, done.news).await?))
}
