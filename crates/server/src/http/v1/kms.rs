//! The KMS and its keys.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    error::ErrorBody,
    page::{PageRequest, query_number},
    reply::{KmsContractNodes, KmsInspection, KmsList, KmsOne, KmsPubkey, NextAppIds, OnchainKms},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::{Ctx, Error, catalogue, kms},
    http::{
        error::ApiError,
        extract::{Auth, Version},
        render,
    },
};

/// Query of `GET /kms`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Which page, from 1.
    #[param(value_type = Option<u32>, minimum = 1)]
    page: Option<String>,
    /// KMS per page, 20 if left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    page_size: Option<String>,
    /// With (`true`) or without a chain only.
    is_onchain: Option<bool>,
}

/// KMS: contracts from 2026-06-23 on, machines before. Strict.
#[utoipa::path(
    get,
    path = "/kms",
    operation_id = "list_kms",
    tag = "KMS",
    params(ListQuery),
    responses((status = 200, body = KmsList)),
)]
pub async fn list(
    State(ctx): State<Ctx>,
    _: Auth,
    version: Version,
    Query(query): Query<ListQuery>,
) -> Result<Json<KmsList>, ApiError> {
    let request =
        PageRequest::from_query(query.page.as_deref(), query.page_size.as_deref(), 20, 100)
            .map_err(|item| Error::Invalid(vec![item]))?;
    let all: Vec<_> = kms::all(&ctx)
        .into_iter()
        .filter(|kms| query.is_onchain.is_none_or(|wanted| wanted == kms.chain_id.is_some()))
        .collect();
    Ok(Json(render::kms_list(&all, request, version.version)))
}

/// One KMS.
#[utoipa::path(
    get,
    path = "/kms/{kms_id}",
    operation_id = "get_kms",
    tag = "KMS",
    params(("kms_id" = String, Path)),
    responses(
        (status = 200, body = KmsOne),
        (status = 404, description = "No such KMS.", body = ErrorBody),
    ),
)]
pub async fn one(
    State(ctx): State<Ctx>,
    _: Auth,
    version: Version,
    Path(reference): Path<String>,
) -> Result<Json<KmsOne>, ApiError> {
    let found = render::kms_info(&kms::all(&ctx), &reference, version.version);
    found.map(Json).ok_or_else(|| kms::missing(&reference).into())
}

/// The machines of a KMS contract.
#[utoipa::path(
    get,
    path = "/kms/{kms_id}/nodes",
    operation_id = "list_kms_nodes",
    tag = "KMS",
    params(("kms_id" = String, Path)),
    responses(
        (status = 200, body = KmsContractNodes),
        (status = 404, description = "No such KMS.", body = ErrorBody),
    ),
)]
pub async fn nodes(
    State(ctx): State<Ctx>,
    _: Auth,
    Path(reference): Path<String>,
) -> Result<Json<KmsContractNodes>, ApiError> {
    let found = render::kms_contract_nodes(&kms::all(&ctx), &reference);
    found.map(Json).ok_or_else(|| kms::missing(&reference).into())
}

/// A KMS from every side: itself, the nodes it serves, its contract.
#[utoipa::path(
    get,
    path = "/kms/{kms_id}/info",
    operation_id = "inspect_kms",
    tag = "KMS",
    params(("kms_id" = String, Path)),
    responses(
        (status = 200, body = KmsInspection),
        (status = 404, description = "No such KMS.", body = ErrorBody),
    ),
)]
pub async fn info(
    State(ctx): State<Ctx>,
    _: Auth,
    Path(reference): Path<String>,
) -> Result<Json<KmsInspection>, ApiError> {
    Ok(Json(kms::inspect(&ctx, &reference).await?))
}

/// The contracts of KMS on a chain, and which hosts and OS images of the nodes here they allow; `null`
/// where the chain does not answer.
#[utoipa::path(
    get,
    path = "/kms/on-chain/{chain}",
    operation_id = "get_kms_on_chain",
    tag = "KMS",
    params(("chain" = String, Path)),
    responses(
        (status = 200, body = OnchainKms),
        (status = 400, description = "No such chain.", body = ErrorBody),
    ),
)]
pub async fn on_chain(
    State(ctx): State<Ctx>,
    _: Auth,
    Path(chain): Path<String>,
) -> Result<Json<OnchainKms>, ApiError> {
    Ok(Json(kms::on_chain(&ctx, &chain).await?))
}

/// The key that the environment of an app is sealed to. Strict.
#[utoipa::path(
    get,
    path = "/kms/{kms_id}/pubkey/{app_id}",
    operation_id = "get_app_env_encrypt_pubkey",
    tag = "KMS",
    params(("kms_id" = String, Path), ("app_id" = String, Path)),
    responses(
        (status = 200, body = KmsPubkey),
        (status = 404, description = "No such KMS or app.", body = ErrorBody),
    ),
)]
pub async fn pubkey(
    State(ctx): State<Ctx>,
    _: Auth,
    Path((reference, app)): Path<(String, String)>,
) -> Result<Json<KmsPubkey>, ApiError> {
    let key = kms::env_key(&ctx, &reference, &app).await?;
    Ok(Json(render::kms_pubkey(key.public_key.as_bytes(), &key.signature)))
}

/// The key with the signature that cannot be replayed for ever.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimestampedPubkey {
    /// X25519 key, 64 hex digits.
    public_key: String,
    /// The KMS's signature over it, 65 bytes as hex.
    signature: String,
    /// Seconds since 1970 UTC.
    timestamp: u64,
    /// The KMS's signature over key and timestamp, 65 bytes as hex.
    signature_v1: String,
}

/// The same key with a signature that carries a time, so that it cannot be replayed for ever.
#[utoipa::path(
    get,
    path = "/kms/{kms_id}/pubkey/{app_id}/timestamped",
    operation_id = "get_app_env_encrypt_pubkey_timestamped",
    tag = "KMS",
    params(("kms_id" = String, Path), ("app_id" = String, Path)),
    responses(
        (status = 200, body = TimestampedPubkey),
        (status = 404, description = "No such KMS or app.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn timestamped_pubkey(
    State(ctx): State<Ctx>,
    _: Auth,
    Path((reference, app)): Path<(String, String)>,
) -> Result<Json<TimestampedPubkey>, ApiError> {
    let key = kms::env_key(&ctx, &reference, &app).await?;
    Ok(Json(TimestampedPubkey {
        public_key: key.public_key.to_string(),
        signature: hex::encode(key.signature),
        timestamp: key.timestamp,
        signature_v1: hex::encode(key.signature_v1),
    }))
}

/// Query of `GET /kms/phala/next_app_id`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct NextQuery {
    /// How many, 1 if left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 20)]
    counts: Option<String>,
}

/// The next app ids with their nonces. Strict.
#[utoipa::path(
    get,
    path = "/kms/phala/next_app_id",
    operation_id = "get_next_app_ids",
    tag = "KMS",
    params(NextQuery),
    responses((status = 200, body = NextAppIds)),
)]
pub async fn next_app_ids(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Query(query): Query<NextQuery>,
) -> Result<Json<NextAppIds>, ApiError> {
    let count = query_number("counts", query.counts.as_deref(), 1, 20)
        .map_err(|item| Error::Invalid(vec![item]))?
        .unwrap_or(1);
    let ids = catalogue::next_app_ids(&ctx, &caller, usize::try_from(count).unwrap_or(1)).await?;
    Ok(Json(render::next_app_ids(&ids)))
}
