//! Apps.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    error::{ErrorBody, ErrorCode},
    page::{Page, PageRequest},
    render,
    reply::{App, AppCvms, AppsPage},
};

use crate::{
    app::{Ctx, Error, cvms},
    http::{
        error::ApiError,
        extract::{Auth, Version},
    },
};

/// Apps that have CVMs, newest first.
///
/// A filter that is not served is refused, not passed over: a list that looks filtered and is not is
/// worse than none.
#[utoipa::path(
    get,
    path = "/apps",
    operation_id = "list_apps",
    tag = "Apps",
    params(
        ("page" = Option<u32>, Query, minimum = 1, description = "Which page, from 1."),
        ("page_size" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Apps per page, 20 if left out."),
        ("search" = Option<String>, Query, description = "A part of the name, or of the app id."),
    ),
    responses((status = 200, body = AppsPage)),
)]
pub async fn page(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<AppsPage>, ApiError> {
    let value = |wanted: &str| {
        query.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    };
    let served = ["page", "page_size", "search"];
    let foreign =
        query.iter().find(|(name, value)| !served.contains(&name.as_str()) && !value.is_empty());
    if let Some((name, _)) = foreign {
        return Err(
            Error::field(ErrorCode::FieldNotServed, name, "is not served as a filter yet").into()
        );
    }
    let request = PageRequest::from_query(value("page"), value("page_size"), 20, 100)
        .map_err(|item| Error::Invalid(vec![item]))?;
    let search = value("search").unwrap_or_default();
    let part =
        cvms::apps(&ctx, &caller, search, request.page.into(), request.page_size.into()).await?;
    Ok(Json(render::apps(&Page::new(part.items, part.total, request), version.version)))
}

/// One app with its CVMs.
#[utoipa::path(
    get,
    path = "/apps/{app_id}",
    operation_id = "get_app",
    tag = "Apps",
    params(("app_id" = String, Path)),
    responses(
        (status = 200, body = App),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
    ),
)]
pub async fn one(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(app): Path<String>,
) -> Result<Json<App>, ApiError> {
    Ok(Json(render::app_info(&cvms::app(&ctx, &caller, &app).await?, version.version)))
}

/// The CVMs of an app: a plain array.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/cvms",
    operation_id = "list_app_cvms",
    tag = "Apps",
    params(("app_id" = String, Path)),
    responses(
        (status = 200, body = AppCvms),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
    ),
)]
pub async fn cvms(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(app): Path<String>,
) -> Result<Json<AppCvms>, ApiError> {
    let app = cvms::app(&ctx, &caller, &app).await?;
    Ok(Json(render::app_cvms(&app.cvms, version.version)))
}
