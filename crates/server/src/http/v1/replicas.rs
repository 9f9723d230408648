//! More machines of an app: replicas of a CVM, instances of an app.

use axum::{
    extract::{FromRequestParts, Path, Query, State},
    http::request::Parts,
    response::Response,
};
use casemate_api::{
    error::{ErrorBody, ErrorCode},
    render,
    replicate::{CommitReplicaRequest, InstanceRequest, ReplicateRequest},
    reply::{NewInstance, Vm},
    version::ApiVersion,
    view::CvmView,
};
use serde::{Deserialize, Serialize};

use super::update::prepares_only;
use crate::{
    app::{
        Caller, Ctx, Error,
        replicate::{self, Of, Outcome, Wanted},
        work::IdempotencyKey,
    },
    http::{
        error::ApiError,
        extract::{Auth, Json, Version, answer},
    },
};

/// A request that does not only prepare: contracts govern no app here.
#[derive(Debug)]
pub struct AtOnce;

impl<S: Send + Sync> FromRequestParts<S> for AtOnce {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        if !prepares_only(&parts.headers) {
            return Ok(Self);
        }
        let why = "is for a KMS governed by contracts, and this app's KMS is not";
        Err(Error::field(ErrorCode::FieldNotServed, "X-Prepare-Only", why)
            .suggest("Leave it out: nothing has to be approved.")
            .into())
    }
}

async fn make<T: Serialize>(
    ctx: &Ctx,
    caller: &Caller,
    key: Option<IdempotencyKey>,
    (of, wanted): (Of, Wanted),
    render: impl FnOnce(&CvmView) -> T,
) -> Result<Response, ApiError> {
    match replicate::replicate(ctx, caller, key, &of, &wanted).await? {
        Outcome::Answered(before) => Ok(answer(before)),
        Outcome::Done(work, done) => {
            let reply = render(&done.view);
            Ok(answer(work.finish(200, &reply, Some(done.news)).await?))
        }
    }
}

fn vm(version: ApiVersion) -> impl FnOnce(&CvmView) -> Vm {
    move |view| render::vm_action(view, version)
}

/// Makes another CVM of the same app, with the configuration and the sealed environment of this one.
///
/// Name, instance id and disk are its own. Without a body it goes beside the source, or to another node
/// that fits where there is no room.
#[utoipa::path(
    post,
    path = "/cvms/{cvm_id}/replicas",
    operation_id = "replicate_cvm",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body(content = Option<ReplicateRequest>),
    responses(
        (status = 200, description = "Accepted; the replica is being started.", body = Vm),
        (status = 400, description = "A field is refused, the app runs several documents, or the node does not take it.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "The name or a host port is taken, or the id means several CVMs.", body = ErrorBody),
    ),
)]
pub async fn of_cvm(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(cvm): Path<String>,
    _: AtOnce,
    request: Json<ReplicateRequest>,
) -> Result<Response, ApiError> {
    let what = (Of::Cvm { cvm, app: None }, request.value.into());
    make(&ctx, &caller, request.key, what, vm(version.version)).await
}

/// Makes another CVM of the same app, as `POST /cvms/{cvm_id}/replicas` does.
#[utoipa::path(
    post,
    path = "/apps/{app_id}/cvms/{vm_uuid}/replicas",
    operation_id = "replicate_app_cvm",
    tag = "Apps",
    params(("app_id" = String, Path), ("vm_uuid" = String, Path)),
    request_body(content = Option<ReplicateRequest>),
    responses(
        (status = 200, description = "Accepted; the replica is being started.", body = Vm),
        (status = 400, description = "The CVM is of another app, or as at `POST /cvms/{cvm_id}/replicas`.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "The name or a host port is taken, or the id means several CVMs.", body = ErrorBody),
    ),
)]
pub async fn of_app_cvm(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path((app, cvm)): Path<(String, String)>,
    _: AtOnce,
    request: Json<ReplicateRequest>,
) -> Result<Response, ApiError> {
    let what = (Of::Cvm { cvm, app: Some(app) }, request.value.into());
    make(&ctx, &caller, request.key, what, vm(version.version)).await
}

/// Makes another CVM of an app, with the configuration of its newest one, or with another compose file.
#[utoipa::path(
    post,
    path = "/apps/{app_id}/instances",
    operation_id = "create_app_instance",
    tag = "Apps",
    params(("app_id" = String, Path)),
    request_body = InstanceRequest,
    responses(
        (status = 200, description = "Accepted; the CVM is being started. Nested from 2026-05-22 on, flat before.", body = NewInstance),
        (status = 400, description = "A field is refused, the app has no live CVM or runs several documents, or the node does not take it.", body = ErrorBody),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
        (status = 409, description = "The name or a host port is taken.", body = ErrorBody),
        (status = 466, description = "The commit token is not known.", body = ErrorBody),
    ),
)]
pub async fn of_app(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(app): Path<String>,
    _: AtOnce,
    request: Json<InstanceRequest>,
) -> Result<Response, ApiError> {
    let what = (Of::App(app), Wanted::instance(request.value)?);
    let render = |view: &CvmView| render::new_instance(view, version.version);
    make(&ctx, &caller, request.key, what, render).await
}

/// Query of `POST /cvms/{cvm_id}/commit-replica`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TokenQuery {
    /// The token, instead of the one in the body.
    token: Option<String>,
}

/// Commits a replica that was prepared for the approval of a contract. Needs no key: the token is it.
///
/// Contracts govern no app here, so no token is known.
#[utoipa::path(
    post,
    path = "/cvms/{cvm_id}/commit-replica",
    operation_id = "commit_replica",
    tag = "CVMs",
    params(("cvm_id" = String, Path), TokenQuery),
    request_body(content = Option<CommitReplicaRequest>),
    responses((status = 466, description = "The token is not known.", body = ErrorBody)),
    security(()),
)]
pub async fn commit(
    Query(query): Query<TokenQuery>,
    request: Json<CommitReplicaRequest>,
) -> ApiError {
    replicate::commit_prepared(&request.value, query.token.as_deref()).into()
}
