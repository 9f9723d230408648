//! Nodes, instance types and OS images.

use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    page::PageRequest,
    render,
    reply::{InstanceTypeFamily, InstanceTypes, AvailableNodes},
    view::CapacityView,
};
use serde::Deserialize;

use crate::{
    app::{Ctx, Error, catalogue, views},
    http::{
        error::ApiError,
        extract::{Auth, Version},
    },
};

/// `GET /teepods/available`.
pub async fn nodes(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    _: Version,
) -> Result<Json<AvailableNodes>, ApiError> {
    let nodes = catalogue::nodes(&ctx).await?;
    let workspace = super::account::workspace(&caller);
    let kms = [views::kms(&ctx)];
    Ok(Json(render::teepods_available(&workspace, &CapacityView::default(), &nodes, &kms)))
}

/// `GET /instance-types`.
pub async fn instance_types(State(ctx): State<Ctx>, _: Auth) -> Json<InstanceTypes> {
    Json(render::instance_types(&catalogue::instance_types(&ctx)))
}

/// `GET /instance-types/{family}`.
pub async fn instance_type_family(
    State(ctx): State<Ctx>,
    _: Auth,
    Path(family): Path<String>,
) -> Result<Json<InstanceTypeFamily>, ApiError> {
    let all = catalogue::instance_types(&ctx);
    if all.iter().all(|size| size.family != family) {
        return Err(Error::because(ErrorCode::NotFound, format!("no instance type family {family}"))
            .detail(ErrorDetail::value("family", family))
            .suggest("List them with GET /api/v1/instance-types.")
            .into());
    }
    Ok(Json(render::instance_type_family(&family, &all)))
}

/// Query of `GET /os-images`.
#[derive(Debug, Deserialize)]
pub struct OsImagesQuery {
    page: Option<String>,
    page_size: Option<String>,
    is_dev: Option<bool>,
}

/// `GET /os-images`: a page for the versions that expect one, and the documented array where no
/// version is named (DESIGN §9).
pub async fn os_images(
    State(ctx): State<Ctx>,
    _: Auth,
    version: Version,
    Query(query): Query<OsImagesQuery>,
) -> Result<Response, ApiError> {
    let mut images = catalogue::os_images(&ctx);
    if let Some(dev) = query.is_dev {
        images.retain(|image| image.is_dev == dev);
    }
    if !version.named {
        return Ok(Json(render::os_images_array(&images)).into_response());
    }
    let request =
        PageRequest::from_query(query.page.as_deref(), query.page_size.as_deref(), 20, 100)
            .map_err(|item| Error::Invalid(vec![item]))?;
    Ok(Json(render::os_images(&images, request)).into_response())
}
