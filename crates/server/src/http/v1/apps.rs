//! Apps.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    error::ErrorCode,
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

/// `GET /apps?page&page_size&search`. A filter that is not served is refused, not passed over: a list
/// that looks filtered and is not is worse than none.
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
    let foreign = query.iter().find(|(name, value)| !served.contains(&name.as_str()) && !value.is_empty());
    if let Some((name, _)) = foreign {
        return Err(Error::field(ErrorCode::FieldNotServed, name, "is not served as a filter yet").into());
    }
    let request = PageRequest::from_query(value("page"), value("page_size"), 20, 100)
        .map_err(|item| Error::Invalid(vec![item]))?;
    let search = value("search").unwrap_or_default();
    let part =
        cvms::apps(&ctx, &caller, search, request.page.into(), request.page_size.into()).await?;
    Ok(Json(render::apps(&Page::new(part.items, part.total, request), version.version)))
}

/// `GET /apps/{app}`.
pub async fn one(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(app): Path<String>,
) -> Result<Json<App>, ApiError> {
    Ok(Json(render::app_info(&cvms::app(&ctx, &caller, &app).await?, version.version)))
}

/// `GET /apps/{app}/cvms`: a plain array.
pub async fn cvms(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(app): Path<String>,
) -> Result<Json<AppCvms>, ApiError> {
    let app = cvms::app(&ctx, &caller, &app).await?;
    Ok(Json(render::app_cvms(&app.cvms, version.version)))
}
