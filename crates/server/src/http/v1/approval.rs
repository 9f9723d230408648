//! What was prepared for contracts to allow, by its token: no API key is needed, the token is it.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    approval::CommitTokenRequest,
    error::{ErrorBody, ErrorCode},
    reply::{CommitInfo, Committed},
};
use serde::Deserialize;

use crate::{
    app::{
        Ctx, Error,
        approval::{ApprovalHeaders, confirm, show},
        mutation::Written,
    },
    http::{error::ApiError, extract::Body, render},
};

/// Query of the routes that take a token.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TokenQuery {
    /// The token, instead of the one in the body.
    token: Option<String>,
}

/// The token of a request, from its body or its query, and what it says else, which is looked at only
/// where the token is known. Empty texts say nothing.
pub(super) fn credential<'a>(
    body: &'a CommitTokenRequest,
    query: &'a TokenQuery,
) -> Result<(&'a str, Result<ApprovalHeaders, Error>), Error> {
    let filled = |text: &'a Option<String>| text.as_deref().filter(|text| !text.is_empty());
    let token = filled(&body.token).or_else(|| filled(&query.token)).ok_or_else(|| {
        Error::field(ErrorCode::HashInvalidOrExpired, "token", "is missing")
            .suggest("Send the token that the preparation gave, in the body or as ?token=.")
    })?;
    let hash = filled(&body.compose_hash).map(str::parse).transpose().map_err(|why| {
        Error::field(ErrorCode::HashInvalidOrExpired, "compose_hash", format!("is {why}"))
            .suggest("Leave it out: the token knows it.")
    });
    let transaction = filled(&body.transaction_hash);
    Ok((token, hash.map(|hash| ApprovalHeaders::default().or(hash, transaction))))
}

/// What was prepared: what has to be registered, what the chain says, what would be different.
///
/// Holds no secret. A token that is too old is answered as one that was never given.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/commit-update",
    operation_id = "get_commit_update",
    tag = "CVMs",
    params(("cvm_id" = String, Path), TokenQuery),
    responses(
        (status = 200, body = CommitInfo),
        (status = 466, description = "The token is not known.", body = ErrorBody),
    ),
    security(()),
)]
pub async fn info(
    State(ctx): State<Ctx>,
    Path(cvm): Path<String>,
    Query(query): Query<TokenQuery>,
) -> Result<Json<CommitInfo>, ApiError> {
    let nothing = CommitTokenRequest::default();
    let (token, _) = credential(&nothing, &query)?;
    let (row, _) = confirm::of_path(&ctx, token, &confirm::ANY, &confirm::Path::Cvm(&cvm)).await?;
    Ok(Json(render::commit_info(&show::preparation(&ctx, &row).await?)))
}

/// Commits an update that was prepared for the approval of a contract. Needs no key: the token is it.
///
/// The contract is asked whether it allows the document and the CVM's device; a transaction that is
/// named has to have allowed the document. Repeated within an hour it answers the same.
#[utoipa::path(
    post,
    path = "/cvms/{cvm_id}/commit-update",
    operation_id = "commit_cvm_update",
    tag = "CVMs",
    params(("cvm_id" = String, Path), TokenQuery),
    request_body(content = Option<CommitTokenRequest>),
    responses(
        (status = 202, description = "Accepted; the operation tells how it goes on.", body = Committed),
        (status = 409, description = "Too many changes wait: try again. The token is not used up.", body = ErrorBody),
        (status = 466, description = "The token is not known, or what it stands for cannot be committed any more.", body = ErrorBody),
        (status = 467, description = "The transaction did not allow the document.", body = ErrorBody),
        (status = 468, description = "The contract does not allow the document or the device.", body = ErrorBody),
        (status = 503, description = "The chain does not answer; the token is not used up.", body = ErrorBody),
    ),
    security(()),
)]
pub async fn commit(
    State(ctx): State<Ctx>,
    Path(cvm): Path<String>,
    Query(query): Query<TokenQuery>,
    request: Body<CommitTokenRequest>,
) -> Result<Written<Committed, 202>, ApiError> {
    let Body { value, key, .. } = request;
    let (token, headers) = credential(&value, &query)?;
    let path = confirm::Path::Cvm(&cvm);
    let (mutation, reply) =
        Box::pin(confirm::commit_update(&ctx, token, &path, headers, key)).await?;
    Ok(mutation.finish(&reply).await?)
}
