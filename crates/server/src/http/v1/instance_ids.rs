//! Instance ids: one CVM's or many, in both spellings.

use axum::extract::{Path, State};
use casemate_api::{
    error::ErrorBody,
    instance_id::{
        InstanceIdRequest, InstanceIdsRequest, MAX_BATCH, RefreshInstanceIdRequest,
        RefreshInstanceIdsRequest,
    },
    reply::{InstanceIdResult, InstanceIdResults},
};

use crate::{
    app::{
        Caller, Ctx, Error,
        instance_ids::{self, InstanceIdOptions, Sieve},
        mutation::{IdempotencyKey, Written},
    },
    http::{
        error::ApiError,
        extract::{Auth, Body, Version},
        render,
    },
};

/// CVMs of a batch where the request does not say.
const DEFAULT_LIMIT: u16 = 100;

/// Looks for the instance id of a CVM whose guest has told none; with `overwrite`, replaces it.
///
/// Where the disk hangs on the id, replacing it needs `allow_data_loss`.
#[utoipa::path(
    patch,
    path = "/cvms/{cvm_id}/instance-id",
    operation_id = "refresh_cvm_instance_id",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body(content = Option<InstanceIdRequest>),
    responses(
        (status = 200, body = InstanceIdResult),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "Its data would be lost.", body = ErrorBody),
    ),
)]
pub async fn look_for(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(cvm): Path<String>,
    request: Body<InstanceIdRequest>,
) -> Result<Written<InstanceIdResult>, ApiError> {
    let InstanceIdRequest { overwrite, dry_run, allow_data_loss } = request.value;
    let wanted = InstanceIdOptions { replace: overwrite, dry_run, allow_data_loss };
    apply_to_cvm(&ctx, &caller, version, &cvm, wanted, request.key).await
}

/// Gives a CVM another instance id. The one it had leads nowhere any more.
///
/// Where the disk hangs on the id, it needs `allow_data_loss`.
#[utoipa::path(
    post,
    path = "/cvms/{cvm_id}/refresh-instance-id",
    operation_id = "replace_cvm_instance_id",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body(content = Option<RefreshInstanceIdRequest>),
    responses(
        (status = 200, body = InstanceIdResult),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "Its data would be lost.", body = ErrorBody),
    ),
)]
pub async fn replace(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(cvm): Path<String>,
    request: Body<RefreshInstanceIdRequest>,
) -> Result<Written<InstanceIdResult>, ApiError> {
    let RefreshInstanceIdRequest { dry_run, allow_data_loss } = request.value;
    let wanted = InstanceIdOptions { replace: true, dry_run, allow_data_loss };
    apply_to_cvm(&ctx, &caller, version, &cvm, wanted, request.key).await
}

async fn apply_to_cvm(
    ctx: &Ctx,
    caller: &Caller,
    version: Version,
    cvm: &str,
    wanted: InstanceIdOptions,
    key: Option<IdempotencyKey>,
) -> Result<Written<InstanceIdResult>, ApiError> {
    let mut mutation = ctx.begin_mutation(caller, key).await?;
    let view = instance_ids::replace_one(ctx, &mut mutation.tx, caller, cvm, wanted).await?;
    Ok(mutation.finish(&render::instance_id(&view, version.version)).await?)
}

/// Looks for missing instance ids; with `overwrite` and without `missing_only`, replaces those there
/// are.
#[utoipa::path(
    patch,
    path = "/cvms/instance-ids",
    operation_id = "refresh_cvm_instance_ids",
    tag = "CVMs",
    request_body(content = Option<InstanceIdsRequest>),
    responses((status = 200, body = InstanceIdResults)),
)]
pub async fn look_for_many(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    request: Body<InstanceIdsRequest>,
) -> Result<Written<InstanceIdResults>, ApiError> {
    let asked = request.value;
    let limit = asked.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_BATCH).contains(&limit) {
        return Err(Error::invalid("limit", "must be between 1 and 500").into());
    }
    let sieve = Sieve {
        running_only: asked.running_only.unwrap_or(true),
        missing_only: asked.missing_only.unwrap_or(true),
        limit,
    };
    let wanted = InstanceIdOptions {
        replace: asked.overwrite,
        dry_run: asked.dry_run,
        allow_data_loss: asked.allow_data_loss,
    };
    let names = asked.cvm_ids.as_deref();
    many(&ctx, &caller, version, (names, sieve, wanted), request.key).await
}

/// Gives several CVMs other instance ids.
#[utoipa::path(
    post,
    path = "/cvms/refresh-instance-ids",
    operation_id = "replace_cvm_instance_ids",
    tag = "CVMs",
    request_body = RefreshInstanceIdsRequest,
    responses((status = 200, body = InstanceIdResults)),
)]
pub async fn replace_many(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    request: Body<RefreshInstanceIdsRequest>,
) -> Result<Written<InstanceIdResults>, ApiError> {
    let RefreshInstanceIdsRequest { ids, dry_run, allow_data_loss } = request.value;
    let sieve = Sieve { running_only: false, missing_only: false, limit: MAX_BATCH };
    let wanted = InstanceIdOptions { replace: true, dry_run, allow_data_loss };
    many(&ctx, &caller, version, (Some(&ids), sieve, wanted), request.key).await
}

async fn many(
    ctx: &Ctx,
    caller: &Caller,
    version: Version,
    (names, sieve, wanted): (Option<&[String]>, Sieve, InstanceIdOptions),
    key: Option<IdempotencyKey>,
) -> Result<Written<InstanceIdResults>, ApiError> {
    let mut mutation = ctx.begin_mutation(caller, key).await?;
    let view = instance_ids::many(ctx, &mut mutation.tx, caller, names, sieve, wanted).await?;
    Ok(mutation.finish(&render::instance_ids(&view, version.version)).await?)
}
