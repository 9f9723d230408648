//! Web pages: HTML rendered here, without JavaScript but for the verifier. Like the API, the pages call use cases of
//! [`crate::app`] and use neither store nor engine.

mod login;

use askama::Template;
use axum::{
    Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use casemate_api::{error::ErrorCode, page::SeekRequest, reply::Directory};
use serde::Deserialize;

use crate::{
    app::{
        Ctx, Error,
        about::{About, about},
        approval::show,
        directory,
    },
    http::error::ApiError,
    view::{PreparationState, PreparationView},
};

/// Pages load styles from this server, run no scripts, and send nothing to other sites.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// `/` and its assets.
pub fn router(ctx: Ctx) -> Router {
    Router::new()
        .route("/", get(landing).with_state(ctx.clone()))
        .route("/directory", get(directory).with_state(ctx.clone()))
        .route("/verify", get(verify_page).with_state(ctx.clone()))
        .route("/confirm", get(confirm).with_state(ctx.clone()))
        .route("/invite", get(login::invite).with_state(ctx.clone()))
        .route("/device", get(login::show).post(login::decide).with_state(ctx))
        .route("/console.css", get(async || asset("text/css", include_str!("console.css"))))
}

#[derive(Template)]
#[template(path = "landing.html")]
struct Landing {
    about: About,
}

impl Landing {
    /// Warnings for nodes without protection, without duplicates.
    fn unprotected(&self) -> Vec<&'static str> {
        let open = self.about.nodes.iter().filter(|nodes| !nodes.is_protected);
        let mut words: Vec<_> = open.map(|nodes| nodes.tee).collect();
        words.sort_unstable();
        words.dedup();
        words
    }
}

async fn landing(State(ctx): State<Ctx>) -> Result<Response, ApiError> {
    html(Landing { about: about(&ctx) }.render())
}

#[derive(Template)]
#[template(path = "directory.html")]
struct DirectoryPage {
    about: About,
    directory: Directory,
    is_first: bool,
}

/// The page where no verifier is configured.
#[derive(Template)]
#[template(path = "no_verify.html")]
struct NoVerifier {
    about: About,
}

async fn verify_page(State(ctx): State<Ctx>) -> Result<Response, ApiError> {
    match ctx.attestation.verify_page() {
        Some(page) => Ok(with_policy("text/html; charset=utf-8", &page.policy, page.text.clone())),
        None => html(NoVerifier { about: about(&ctx) }.render()),
    }
}

/// Cursor of the directory.
#[derive(Deserialize)]
struct DirectoryQuery {
    cursor: Option<String>,
}

async fn directory(
    State(ctx): State<Ctx>,
    Query(from): Query<DirectoryQuery>,
) -> Result<Response, ApiError> {
    let cursor = from.cursor.as_deref().filter(|cursor| !cursor.is_empty());
    let request = SeekRequest::from_query(None, None, cursor, 50, 50)
        .map_err(|item| Error::Invalid(vec![item]))?;
    let directory = directory::page(&ctx, &request).await?;
    let page = DirectoryPage { about: about(&ctx), directory, is_first: cursor.is_none() };
    html(page.render())
}

/// The prepared change that a commit token confirms.
#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage {
    about: About,
    prepared: PreparationView,
    /// Target URL of the form.
    commit_path: String,
}

impl ConfirmPage {
    /// The lines of a unified diff, each with its CSS class.
    fn lines(diff: &str) -> impl Iterator<Item = (&'static str, &str)> {
        diff.lines().map(|line| match line.as_bytes().first() {
            Some(b'+') => ("added", line),
            Some(b'-') => ("removed", line),
            Some(b'@') => ("place", line),
            _ => ("same", line),
        })
    }

    /// A time for display, to the second: `2026-01-31 12:00:00 UTC`.
    fn moment(time: &str) -> String {
        let whole = time.split(['.', 'Z']).next().unwrap_or(time);
        format!("{} UTC", whole.replace('T', " "))
    }

    /// A value of the document on one line.
    fn value(value: Option<&serde_json::Value>) -> String {
        value.map_or_else(|| "nothing".to_owned(), ToString::to_string)
    }

    fn is_pending(&self) -> bool {
        self.prepared.state == PreparationState::Pending
    }

    /// Whether contracts allow everything that is needed.
    fn is_allowed(&self) -> bool {
        self.prepared.onchain.is_some_and(|(_, _, all)| all)
    }
}

/// The page for an unknown or expired token.
#[derive(Template)]
#[template(path = "unknown_token.html")]
struct UnknownToken {
    about: About,
}

#[derive(Deserialize)]
struct TokenQuery {
    token: Option<String>,
}

async fn confirm(
    State(ctx): State<Ctx>,
    Query(TokenQuery { token }): Query<TokenQuery>,
) -> Result<Response, ApiError> {
    let shown = match token.as_deref().filter(|token| !token.is_empty()) {
        None => Err(Error::code(ErrorCode::HashInvalidOrExpired)),
        Some(token) => show::of_token(&ctx, token).await,
    };
    let about = about(&ctx);
    let (status, page) = match shown {
        Ok(prepared) => {
            let commit_path = commit_path(&prepared);
            (StatusCode::OK, ConfirmPage { about, prepared, commit_path }.render())
        }
        Err(Error::Refused(no)) if no.code == ErrorCode::HashInvalidOrExpired => {
            (StatusCode::NOT_FOUND, UnknownToken { about }.render())
        }
        Err(error) => return Err(error.into()),
    };
    let mut response = html(page)?;
    *response.status_mut() = status;
    // The page shows what only the token's holder may see.
    let never = header::HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, never);
    Ok(response)
}

fn commit_path(prepared: &PreparationView) -> String {
    let cvm = prepared.cvm.as_ref().map(|(_, reference, _)| reference.to_string());
    let cvm = cvm.unwrap_or_default();
    match prepared.kind {
        "update" => format!("/api/v1/cvms/{cvm}/commit-update"),
        "replica" => format!("/api/v1/cvms/{cvm}/commit-replica"),
        _ => format!("/api/v1/apps/{}/instances", prepared.app_id),
    }
}

fn html(page: Result<String, askama::Error>) -> Result<Response, ApiError> {
    let page = page.map_err(|error| Error::Internal(format!("the page was not made: {error}")))?;
    Ok(asset("text/html; charset=utf-8", page))
}

fn asset(content_type: &'static str, text: impl IntoResponse) -> Response {
    with_policy(content_type, POLICY, text)
}

fn with_policy(content_type: &'static str, policy: &str, text: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
