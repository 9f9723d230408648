//! More machines of an app: replicas of a CVM, instances of an app.

use axum::{
    extract::{FromRequestParts, Path, Query, State},
    http::request::Parts,
};
use casemate_api::{
    approval::CommitTokenRequest,
    error::{ErrorBody, ErrorCode},
    replicate::{InstanceRequest, ReplicateRequest},
    reply::{NewInstance, Vm},
};

use super::{
    approval::{TokenQuery, credential},
    update::prepares_only,
};
use crate::{
    app::{
        Ctx, Error,
        approval::{ApprovalHeaders, confirm},
        mutation::Written,
        replicate::{self, Of},
    },
    http::{
        error::ApiError,
        extract::{Auth, Body, MaybeAuth, Version},
        render,
    },
};

/// What a request says to the contracts that govern the app.
#[derive(Debug)]
pub struct ReplicaHeaders(ApprovalHeaders);

impl<S: Send + Sync> FromRequestParts<S> for ReplicaHeaders {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self(ApprovalHeaders {
            prepare_only: prepares_only(&parts.headers),
            ..ApprovalHeaders::default()
        }))
    }
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
        (status = 465, description = "A contract has to allow it first; the details say what, and hold a commit token.", body = ErrorBody),
    ),
)]
pub async fn of_cvm(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(cvm): Path<String>,
    ReplicaHeaders(headers): ReplicaHeaders,
    request: Body<ReplicateRequest>,
) -> Result<Written<Vm>, ApiError> {
    let of = Of::Cvm { cvm, app: None };
    let Body { value, key, .. } = request;
    let (mutation, view) =
        replicate::replicate(&ctx, &caller, key, &of, &value.into(), &headers).await?;
    Ok(mutation.finish(&render::vm_action(&view, version.version)).await?)
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
        (status = 465, description = "A contract has to allow it first; the details say what, and hold a commit token.", body = ErrorBody),
    ),
)]
pub async fn of_app_cvm(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path((app, cvm)): Path<(String, String)>,
    ReplicaHeaders(headers): ReplicaHeaders,
    request: Body<ReplicateRequest>,
) -> Result<Written<Vm>, ApiError> {
    let of = Of::Cvm { cvm, app: Some(app) };
    let Body { value, key, .. } = request;
    let (mutation, view) =
        replicate::replicate(&ctx, &caller, key, &of, &value.into(), &headers).await?;
    Ok(mutation.finish(&render::vm_action(&view, version.version)).await?)
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
        (status = 465, description = "A contract has to allow it first; the details say what, and hold a commit token.", body = ErrorBody),
        (status = 466, description = "The commit token is not known, or what it stands for cannot be committed any more.", body = ErrorBody),
    ),
)]
pub async fn of_app(
    State(ctx): State<Ctx>,
    MaybeAuth(caller): MaybeAuth,
    version: Version,
    Path(app): Path<String>,
    ReplicaHeaders(headers): ReplicaHeaders,
    request: Body<InstanceRequest>,
) -> Result<Written<NewInstance>, ApiError> {
    let Body { value, key, .. } = request;
    let headers = headers.or(None, value.transaction_hash.as_deref());
    let (mutation, view) = if let Some(token) = &value.token {
        let headers = headers.or(value.compose_hash, None);
        let path = confirm::Path::App(&app);
        Box::pin(replicate::commit_prepared(&ctx, token, &path, Ok(headers), key)).await?
    } else {
        let caller = caller.ok_or_else(|| Error::code(ErrorCode::Unauthenticated))?;
        replicate::replicate(&ctx, &caller, key, &Of::App(app), &value.into(), &headers).await?
    };
    Ok(mutation.finish(&render::new_instance(&view, version.version)).await?)
}

/// Commits a replica that was prepared for the approval of a contract. Needs no key: the token is it.
///
/// The contract is asked whether it allows the document and the device of the node; a transaction that
/// is named has to have allowed the document. Repeated within an hour it answers the same replica.
#[utoipa::path(
    post,
    path = "/cvms/{cvm_id}/commit-replica",
    operation_id = "commit_replica",
    tag = "CVMs",
    params(("cvm_id" = String, Path), TokenQuery),
    request_body(content = Option<CommitTokenRequest>),
    responses(
        (status = 200, description = "Accepted; the replica is being started.", body = Vm),
        (status = 466, description = "The token is not known, or what it stands for cannot be committed any more.", body = ErrorBody),
        (status = 467, description = "The transaction did not allow the document.", body = ErrorBody),
        (status = 468, description = "The contract does not allow the document or the device.", body = ErrorBody),
        (status = 503, description = "The chain does not answer; the token is not used up.", body = ErrorBody),
    ),
    security(()),
)]
pub async fn commit(
    State(ctx): State<Ctx>,
    version: Version,
    Path(cvm): Path<String>,
    Query(query): Query<TokenQuery>,
    request: Body<CommitTokenRequest>,
) -> Result<Written<Vm>, ApiError> {
    let Body { value, key, .. } = request;
    let (token, headers) = credential(&value, &query)?;
    let path = confirm::Path::Cvm(&cvm);
    let (mutation, view) =
        Box::pin(replicate::commit_prepared(&ctx, token, &path, headers, key)).await?;
    Ok(mutation.finish(&render::vm_action(&view, version.version)).await?)
}
