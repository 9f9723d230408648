//! Evidence of guests, and quotes by their checksum.

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Multipart, Path, Query, Request, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use casemate_api::{
    attestation::{
        AppAttestations, AttestedNode, CvmAttestation, DevelopmentRoot, EvidencePolicy,
        EvidenceRequest, EvidenceRequestState, QuoteCollateral, TcbEvaluation, VerifiedQuote,
    },
    error::ErrorBody,
    page::query_number,
};
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::{Ctx, Error, attestation, mutation::Written},
    http::{
        error::ApiError,
        extract::{Auth, Body, MaybeAuth},
        middleware::MAX_BODY,
    },
};

/// The routes about evidence.
pub(super) fn router() -> OpenApiRouter<Ctx> {
    OpenApiRouter::new()
        .routes(routes!(cvm))
        .routes(routes!(request))
        .routes(routes!(request_state))
        .routes(routes!(bundle))
        .routes(routes!(root))
        .routes(routes!(policy, set_policy))
        .routes(routes!(app))
        .routes(routes!(tcb_evaluation))
        .routes(routes!(verify))
        .routes(routes!(recent))
        .routes(routes!(view))
        .routes(routes!(collateral))
        .routes(routes!(raw, raw_head))
        .routes(routes!(ppids))
        .routes(routes!(device_ids))
        .routes(routes!(nodes))
}

/// The newest evidence of a CVM: measurements, event log, certificates and quote.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/attestation",
    operation_id = "get_cvm_attestation",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    responses(
        (status = 200, description = "`error` says what is missing, for example of a CVM that is down.", body = CvmAttestation),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn cvm(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Json<CvmAttestation>, ApiError> {
    Ok(Json(attestation::cvm(&ctx, &caller, &cvm).await?))
}

/// Asks the guest for new evidence, with a nonce if there is one. A worker of its node answers.
#[utoipa::path(
    post,
    path = "/casemate/cvms/{cvm_id}/attestation/requests",
    operation_id = "request_cvm_evidence",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body = EvidenceRequest,
    responses(
        (status = 202, body = EvidenceRequestState),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "The CVM does not run.", body = ErrorBody),
        (status = 422, description = "The nonce is not 1 to 64 bytes of hex, or guests of the node cannot be asked for it.", body = ErrorBody),
        (status = 429, description = "Too many requests about this CVM are open.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn request(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    request: Body<EvidenceRequest>,
) -> Result<Written<EvidenceRequestState, 202>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let state = attestation::request(&ctx, &caller, &mut mutation.tx, &cvm, &request.value).await?;
    Ok(mutation.finish(&state).await?)
}

/// How far a request for evidence is.
#[utoipa::path(
    get,
    path = "/casemate/cvms/{cvm_id}/attestation/requests/{request_id}",
    operation_id = "get_cvm_evidence_request",
    tag = "CVMs",
    params(("cvm_id" = String, Path), ("request_id" = String, Path)),
    responses(
        (status = 200, body = EvidenceRequestState),
        (status = 404, description = "No such CVM in the workspace, or no such request.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn request_state(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path((cvm, request)): Path<(String, String)>,
) -> Result<Json<EvidenceRequestState>, ApiError> {
    Ok(Json(attestation::request_state(&ctx, &caller, &cvm, &request).await?))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct BundleQuery {
    /// Of the evidence; the newest if left out.
    checksum: Option<String>,
}

/// Evidence of a CVM with everything that an offline verifier needs: `casemate verify`, docs/bundle.md.
#[utoipa::path(
    get,
    path = "/casemate/cvms/{cvm_id}/attestation/bundle",
    operation_id = "get_cvm_attestation_bundle",
    tag = "CVMs",
    params(("cvm_id" = String, Path), BundleQuery),
    responses(
        (status = 200, body = serde_json::Value),
        (status = 404, description = "No such CVM in the workspace, or it has shown no such evidence.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn bundle(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    Query(query): Query<BundleQuery>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let bundle = attestation::export(&ctx, &caller, &cvm, query.checksum.as_deref()).await?;
    let json = serde_json::to_value(&bundle)
        .map_err(|error| Error::Internal(format!("a bundle does not serialise: {error}")))?;
    Ok(Json(json))
}

/// Whether instances of an app need accepted evidence to get its requests.
#[utoipa::path(
    get,
    path = "/casemate/apps/{app_id}/evidence-policy",
    operation_id = "get_app_evidence_policy",
    tag = "Apps",
    params(("app_id" = String, Path)),
    responses(
        (status = 200, body = EvidencePolicy),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn policy(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(app): Path<String>,
) -> Result<Json<EvidencePolicy>, ApiError> {
    Ok(Json(attestation::policy(&ctx, &caller, &app).await?))
}

/// Has the gateway give requests for an app only to instances whose evidence is accepted, or to any.
///
/// It counts from the next request on. Requests by instance id are not held back.
#[utoipa::path(
    put,
    path = "/casemate/apps/{app_id}/evidence-policy",
    operation_id = "set_app_evidence_policy",
    tag = "Apps",
    params(("app_id" = String, Path)),
    request_body = EvidencePolicy,
    responses(
        (status = 200, body = EvidencePolicy),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn set_policy(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(app): Path<String>,
    request: Body<EvidencePolicy>,
) -> Result<Written<EvidencePolicy>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    attestation::set_policy(&ctx, &caller, &mut mutation.tx, &app, &request.value).await?;
    Ok(mutation.finish(&request.value).await?)
}

/// The certificate under which guests without a TEE sign their quotes. Public.
#[utoipa::path(
    get,
    path = "/casemate/attestation/root",
    operation_id = "get_development_root",
    tag = "Attestations",
    responses((status = 200, body = DevelopmentRoot)),
    extensions(("x-casemate" = json!(true))),
    security(()),
)]
pub async fn root(State(ctx): State<Ctx>) -> Result<Json<DevelopmentRoot>, ApiError> {
    let certificate = ctx.attestation.development_certificate();
    let unwritten = || Error::Internal("the development root cannot be written".to_owned());
    Ok(Json(DevelopmentRoot { certificate: certificate.ok_or_else(unwritten)? }))
}

/// The newest evidence of each CVM of an app. Without a key, of those that show it to anybody.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/attestations",
    operation_id = "get_app_attestations",
    tag = "Apps",
    params(("app_id" = String, Path)),
    responses(
        (status = 200, body = AppAttestations),
        (status = 404, description = "No such app, or it does not show its measurements.", body = ErrorBody),
    ),
    security(()),
)]
pub async fn app(
    State(ctx): State<Ctx>,
    MaybeAuth(caller): MaybeAuth,
    Path(app): Path<String>,
) -> Result<Json<AppAttestations>, ApiError> {
    Ok(Json(attestation::app(&ctx, caller.as_deref(), &app).await?))
}

/// How the platforms of an app stand against the newest data of their vendor.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/attestations/tcb-evaluation",
    operation_id = "get_app_tcb_evaluation",
    tag = "Apps",
    params(("app_id" = String, Path)),
    responses(
        (status = 200, body = TcbEvaluation),
        (status = 404, description = "No such app, or it does not show its measurements.", body = ErrorBody),
    ),
    security(()),
)]
pub async fn tcb_evaluation(
    State(ctx): State<Ctx>,
    MaybeAuth(caller): MaybeAuth,
    Path(app): Path<String>,
) -> Result<Json<TcbEvaluation>, ApiError> {
    Ok(Json(attestation::tcb_evaluation(&ctx, caller.as_deref(), &app).await?))
}

/// A quote as a file (`file`), or its hex digits (`hex`).
#[derive(Debug, utoipa::ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub struct QuoteUpload {
    #[schema(value_type = Option<String>, format = Binary)]
    file: Option<String>,
    hex: Option<String>,
}

/// Verifies a quote. Also takes JSON, `{"hex": "…"}`. One that is genuine is kept and can be read by anybody.
#[utoipa::path(
    post,
    path = "/attestations/verify",
    operation_id = "verify_attestation",
    tag = "Attestations",
    request_body(content = QuoteUpload, content_type = "multipart/form-data"),
    responses(
        (status = 200, body = VerifiedQuote),
        (status = 400, description = "This is no quote.", body = ErrorBody),
        (status = 503, description = "The data of its vendor cannot be had now; nothing is said about the quote.", body = ErrorBody),
    ),
    security(()),
)]
pub async fn verify(
    State(ctx): State<Ctx>,
    request: Request,
) -> Result<Json<VerifiedQuote>, ApiError> {
    let quote = uploaded(request).await?;
    Ok(Json(attestation::upload(&ctx, quote).await?))
}

#[derive(Deserialize)]
struct HexUpload {
    hex: String,
}

/// The quote in a form, in a part of one, or in JSON.
async fn uploaded(request: Request) -> Result<Vec<u8>, Error> {
    let wrong =
        || Error::invalid("file", "is required: a quote as a file, or its hex digits in hex");
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if kind.starts_with("multipart/form-data") {
        let mut form = Multipart::from_request(request, &()).await.map_err(|_| wrong())?;
        while let Some(part) = form.next_field().await.map_err(|_| wrong())? {
            let name = part.name().unwrap_or_default().to_owned();
            let bytes = part.bytes().await.map_err(|_| wrong())?;
            match name.as_str() {
                "file" if !bytes.is_empty() => return Ok(quote(&bytes)),
                "hex" if !bytes.is_empty() => return digits(&bytes),
                _ => {}
            }
        }
        return Err(wrong());
    }
    let body = axum::body::to_bytes(request.into_body(), MAX_BODY).await;
    let body = body.map_err(|_| Error::code(casemate_api::error::ErrorCode::BodyTooLarge))?;
    if kind.starts_with("application/x-www-form-urlencoded") {
        let text = body.strip_prefix(b"hex=").ok_or_else(wrong)?;
        return digits(text);
    }
    let json: HexUpload = serde_json::from_slice(&body).map_err(|_| wrong())?;
    digits(json.hex.as_bytes())
}

/// A file holds the bytes or their hex digits.
fn quote(bytes: &Bytes) -> Vec<u8> {
    digits(bytes).unwrap_or_else(|_| bytes.to_vec())
}

fn digits(text: &[u8]) -> Result<Vec<u8>, Error> {
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"0x").unwrap_or(text);
    hex::decode(text).map_err(|_| Error::invalid("hex", "must be hex digits"))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RecentQuery {
    /// How many to leave out, 0 to 1000.
    #[param(value_type = Option<u32>, maximum = 1000)]
    skip: Option<String>,
    /// 1 to 100; 20 if left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
}

/// Quotes that were uploaded last, newest first. Public.
#[utoipa::path(
    get,
    path = "/attestations/recent",
    operation_id = "list_recent_attestations",
    tag = "Attestations",
    params(RecentQuery),
    responses((status = 200, body = Vec<VerifiedQuote>)),
    security(()),
)]
pub async fn recent(
    State(ctx): State<Ctx>,
    Query(query): Query<RecentQuery>,
) -> Result<Json<Vec<VerifiedQuote>>, ApiError> {
    let number = |name: &str, text: &Option<String>, min, max, default| {
        let read = query_number(name, text.as_deref(), min, max);
        Ok::<_, Error>(read.map_err(|item| Error::Invalid(vec![item]))?.unwrap_or(default))
    };
    let skip = number("skip", &query.skip, 0, 1000, 0)?;
    let limit = number("limit", &query.limit, 1, 100, 20)?;
    Ok(Json(attestation::recent(&ctx, skip, limit).await?))
}

/// A quote with what was found in it. Public, unless its app does not show its measurements.
#[utoipa::path(
    get,
    path = "/attestations/view/{checksum}",
    operation_id = "view_attestation",
    tag = "Attestations",
    params(("checksum" = String, Path, description = "SHA-256 of the quote, hex")),
    responses(
        (status = 200, body = VerifiedQuote),
        (status = 404, description = "No such quote.", body = ErrorBody),
    ),
    security(()),
)]
pub async fn view(
    State(ctx): State<Ctx>,
    MaybeAuth(caller): MaybeAuth,
    Path(checksum): Path<String>,
) -> Result<Json<VerifiedQuote>, ApiError> {
    Ok(Json(attestation::view(&ctx, caller.as_deref(), &checksum).await?))
}

/// The data of its vendor that a quote is verified with. Public, unless its app does not show its measurements.
#[utoipa::path(
    get,
    path = "/attestations/collateral/{checksum}",
    operation_id = "get_attestation_collateral",
    tag = "Attestations",
    params(("checksum" = String, Path, description = "SHA-256 of the quote, hex")),
    responses(
        (status = 200, body = QuoteCollateral),
        (status = 400, description = "The quote names no platform.", body = ErrorBody),
        (status = 404, description = "No such quote.", body = ErrorBody),
        (status = 503, description = "The data cannot be had now.", body = ErrorBody),
    ),
    security(()),
)]
pub async fn collateral(
    State(ctx): State<Ctx>,
    MaybeAuth(caller): MaybeAuth,
    Path(checksum): Path<String>,
) -> Result<Json<QuoteCollateral>, ApiError> {
    Ok(Json(attestation::collateral(&ctx, caller.as_deref(), &checksum).await?))
}

/// The bytes of a quote. Public, unless its app does not show its measurements.
#[utoipa::path(
    get,
    path = "/attestations/raw/{checksum}",
    operation_id = "get_attestation_raw",
    tag = "Attestations",
    params(("checksum" = String, Path, description = "SHA-256 of the quote, hex")),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "No such quote.", body = ErrorBody),
    ),
    security(()),
)]
pub async fn raw(
    State(ctx): State<Ctx>,
    MaybeAuth(caller): MaybeAuth,
    Path(checksum): Path<String>,
) -> Result<Response, ApiError> {
    let quote = attestation::raw(&ctx, caller.as_deref(), &checksum).await?;
    Ok(file(&checksum, quote).into_response())
}

/// Whether there is a quote, and its length.
#[utoipa::path(
    head,
    path = "/attestations/raw/{checksum}",
    operation_id = "check_attestation_raw",
    tag = "Attestations",
    params(("checksum" = String, Path, description = "SHA-256 of the quote, hex")),
    responses(
        (status = 200, description = "There is one."),
        (status = 404, description = "No such quote."),
    ),
    security(()),
)]
pub async fn raw_head(
    State(ctx): State<Ctx>,
    MaybeAuth(caller): MaybeAuth,
    Path(checksum): Path<String>,
) -> Result<Response, ApiError> {
    let quote = attestation::raw(&ctx, caller.as_deref(), &checksum).await?;
    Ok(file(&checksum, quote).into_response())
}

fn file(checksum: &str, quote: Vec<u8>) -> (HeaderMap, Vec<u8>) {
    let mut headers = HeaderMap::new();
    headers
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/octet-stream"));
    // A checksum is hex: it was looked up.
    let name = format!("attachment; filename=\"{checksum}.bin\"");
    if let Ok(value) = name.parse() {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    (headers, quote)
}

/// Platform ids of the hosts. Always empty: hosts tell only their hashes, `device_ids`.
#[utoipa::path(
    get,
    path = "/attestations/ppids",
    operation_id = "list_attestation_ppids",
    tag = "Attestations",
    responses((status = 200, body = Vec<String>)),
    security(()),
)]
pub async fn ppids(State(ctx): State<Ctx>) -> Json<Vec<String>> {
    Json(attestation::ppids(&ctx))
}

/// Device ids of the hosts, hex. Public.
#[utoipa::path(
    get,
    path = "/attestations/device_ids",
    operation_id = "list_attestation_device_ids",
    tag = "Attestations",
    responses((status = 200, body = Vec<String>)),
    security(()),
)]
pub async fn device_ids(State(ctx): State<Ctx>) -> Json<Vec<String>> {
    Json(attestation::device_ids(&ctx))
}

/// The hosts. Public.
#[utoipa::path(
    get,
    path = "/attestations/nodes",
    operation_id = "list_attestation_nodes",
    tag = "Attestations",
    responses((status = 200, body = Vec<AttestedNode>)),
    security(()),
)]
pub async fn nodes(State(ctx): State<Ctx>) -> Json<Vec<AttestedNode>> {
    Json(attestation::nodes(&ctx))
}
