//! The KMS and its keys.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    error::ErrorCode,
    page::{PageRequest, query_number},
    render,
    reply::{KmsContractNodes, KmsList, KmsOne, KmsPubkey, NextAppIds},
};
use serde::{Deserialize, Serialize};

use crate::{
    app::{Ctx, Error, catalogue, views},
    http::{
        error::ApiError,
        extract::{Auth, Version},
    },
};

/// Query of `GET /kms`.
#[derive(Debug, Deserialize)]
pub struct ListQuery {
    page: Option<String>,
    page_size: Option<String>,
    is_onchain: Option<bool>,
}

/// `GET /kms`.
pub async fn list(
    State(ctx): State<Ctx>,
    _: Auth,
    version: Version,
    Query(query): Query<ListQuery>,
) -> Result<Json<KmsList>, ApiError> {
    let request =
        PageRequest::from_query(query.page.as_deref(), query.page_size.as_deref(), 20, 100)
            .map_err(|item| Error::Invalid(vec![item]))?;
    let all: Vec<_> = std::iter::once(views::kms(&ctx))
        .filter(|kms| query.is_onchain.is_none_or(|wanted| wanted == kms.chain_id.is_some()))
        .collect();
    Ok(Json(render::kms_list(&all, request, version.version)))
}

fn missing(reference: &str) -> ApiError {
    Error::because(ErrorCode::NotFound, format!("no KMS {reference} here"))
        .suggest("List them with GET /api/v1/kms.")
        .into()
}

/// `GET /kms/{kms}`.
pub async fn one(
    State(ctx): State<Ctx>,
    _: Auth,
    version: Version,
    Path(reference): Path<String>,
) -> Result<Json<KmsOne>, ApiError> {
    let found = render::kms_info(&[views::kms(&ctx)], &reference, version.version);
    found.map(Json).ok_or_else(|| missing(&reference))
}

/// `GET /kms/{kms}/nodes`.
pub async fn nodes(
    State(ctx): State<Ctx>,
    _: Auth,
    Path(reference): Path<String>,
) -> Result<Json<KmsContractNodes>, ApiError> {
    let found = render::kms_contract_nodes(&[views::kms(&ctx)], &reference);
    found.map(Json).ok_or_else(|| missing(&reference))
}

/// `GET /kms/{kms}/pubkey/{app}`; strict: these two keys and no other.
pub async fn pubkey(
    State(ctx): State<Ctx>,
    _: Auth,
    Path((kms, app)): Path<(String, String)>,
) -> Result<Json<KmsPubkey>, ApiError> {
    let key = catalogue::env_key(&ctx, &kms, &app).await?;
    Ok(Json(render::kms_pubkey(key.public_key.as_bytes(), &key.signature)))
}

/// The key with the signature that cannot be replayed for ever.
#[derive(Debug, Serialize)]
pub struct TimestampedPubkey {
    public_key: String,
    signature: String,
    /// Seconds since 1970 UTC.
    timestamp: u64,
    signature_v1: String,
}

/// `GET /kms/{kms}/pubkey/{app}/timestamped`, ours.
pub async fn timestamped_pubkey(
    State(ctx): State<Ctx>,
    _: Auth,
    Path((kms, app)): Path<(String, String)>,
) -> Result<Json<TimestampedPubkey>, ApiError> {
    let key = catalogue::env_key(&ctx, &kms, &app).await?;
    Ok(Json(TimestampedPubkey {
        public_key: key.public_key.to_string(),
        signature: hex::encode(key.signature),
        timestamp: key.timestamp,
        signature_v1: hex::encode(key.signature_v1),
    }))
}

/// Query of `GET /kms/phala/next_app_id`.
#[derive(Debug, Deserialize)]
pub struct NextQuery {
    counts: Option<String>,
}

/// `GET /kms/phala/next_app_id?counts=1..20`.
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
