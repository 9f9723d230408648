//! The pages for people: HTML made here, readable without JavaScript, which there is none of. A page
//! calls use cases of [`crate::app`], as the API does, and knows neither store nor engine.

use askama::Template;
use axum::{
    Router,
    extract::{Query, State},
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use casemate_api::{page::SeekRequest, reply::Directory};
use serde::Deserialize;

use crate::app::{
    Ctx, Error,
    about::{About, about},
    directory,
};
use crate::http::error::ApiError;

/// Pages load their style from here, run nothing, and send nothing anywhere.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// `/` and what it loads.
pub fn router(ctx: Ctx) -> Router {
    Router::new()
        .route("/", get(landing).with_state(ctx.clone()))
        .route("/directory", get(directory).with_state(ctx))
        .route("/console.css", get(async || asset("text/css", include_str!("console.css"))))
}

#[derive(Template)]
#[template(path = "landing.html")]
struct Landing {
    about: About,
}

impl Landing {
    /// The words for nodes that protect nothing, each once.
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

/// Which part of the directory.
#[derive(Deserialize)]
struct From {
    cursor: Option<String>,
}

async fn directory(State(ctx): State<Ctx>, Query(from): Query<From>) -> Result<Response, ApiError> {
    let cursor = from.cursor.as_deref().filter(|cursor| !cursor.is_empty());
    let request = SeekRequest::from_query(None, None, cursor, 50, 50)
        .map_err(|item| Error::Invalid(vec![item]))?;
    let directory = directory::page(&ctx, &request).await?;
    let page = DirectoryPage { about: about(&ctx), directory, is_first: cursor.is_none() };
    html(page.render())
}

fn html(page: Result<String, askama::Error>) -> Result<Response, ApiError> {
    let page = page.map_err(|error| Error::Internal(format!("the page was not made: {error}")))?;
    Ok(asset("text/html; charset=utf-8", page))
}

fn asset(content_type: &'static str, text: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
