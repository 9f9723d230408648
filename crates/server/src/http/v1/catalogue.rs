//! Nodes, instance types and OS images.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    error::{ErrorBody, ErrorCode, ErrorDetail},
    page::{Page, PageRequest},
    reply::{
        AvailableNodes, AvailableOsImage, CreateResources, InstanceTypeFamily, InstanceTypes,
        NodeInfo,
    },
};
use serde::Deserialize;

use super::workspaces::PageQuery;
use crate::{
    app::{Ctx, Error, catalogue, kms},
    http::{
        error::ApiError,
        extract::{Auth, Version},
        openapi::OsImagesReply,
        render,
    },
    view::CapacityView,
};

/// Nodes with what is left on them, and KMS.
#[utoipa::path(
    get,
    path = "/teepods/available",
    operation_id = "list_available_nodes",
    tag = "Nodes",
    responses((status = 200, body = AvailableNodes)),
)]
pub async fn nodes(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    _: Version,
) -> Result<Json<AvailableNodes>, ApiError> {
    let nodes = catalogue::nodes(&ctx).await?;
    let workspace = super::account::workspace(&caller);
    let kms = kms::all(&ctx);
    Ok(Json(render::teepods_available(&workspace, &CapacityView::default(), &nodes, &kms)))
}

/// Everything that a client offers for a new CVM: nodes, KMS, gateways, sizes.
#[utoipa::path(
    get,
    path = "/teepods/cvm-create-resources",
    operation_id = "list_create_resources",
    tag = "Nodes",
    responses((status = 200, body = CreateResources)),
)]
pub async fn create_resources(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
) -> Result<Json<CreateResources>, ApiError> {
    let nodes = catalogue::nodes(&ctx).await?;
    let kms = kms::all(&ctx);
    let workspace = super::account::workspace(&caller);
    let shown = render::teepods_available(&workspace, &CapacityView::default(), &nodes, &kms);
    let (gateways, sizes) = (catalogue::gateways(&ctx), catalogue::instance_types(&ctx));
    let text_ids = version.version.ids_are_strings();
    Ok(Json(render::create_resources(shown, (&nodes, &kms), &gateways, &sizes, text_ids)))
}

/// Nodes that the workspace uses: all of them.
#[utoipa::path(
    get,
    path = "/workspaces/{slug}/nodes",
    operation_id = "list_workspace_nodes",
    tag = "Workspace",
    params(("slug" = String, Path), PageQuery),
    responses(
        (status = 200, body = Page<NodeInfo>),
        (status = 404, description = "Not the caller's workspace.", body = ErrorBody),
    ),
)]
pub async fn workspace_nodes(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(slug): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<NodeInfo>>, ApiError> {
    let request = query.request()?;
    let all = catalogue::workspace_nodes(&ctx, &caller, &slug)?;
    let items = request.slice(&all).iter().map(render::node_info).collect();
    Ok(Json(Page::new(items, u64::try_from(all.len()).unwrap_or(u64::MAX), request)))
}

/// Instance types by family. Strict: official clients refuse a key they do not know.
#[utoipa::path(
    get,
    path = "/instance-types",
    operation_id = "list_instance_types",
    tag = "Instance Types",
    responses((status = 200, body = InstanceTypes)),
)]
pub async fn instance_types(State(ctx): State<Ctx>, _: Auth) -> Json<InstanceTypes> {
    Json(render::instance_types(&catalogue::instance_types(&ctx)))
}

/// Instance types of one family. Strict.
#[utoipa::path(
    get,
    path = "/instance-types/{family}",
    operation_id = "list_instance_types_of_family",
    tag = "Instance Types",
    params(("family" = String, Path)),
    responses(
        (status = 200, body = InstanceTypeFamily),
        (status = 404, description = "No such family.", body = ErrorBody),
    ),
)]
pub async fn instance_type_family(
    State(ctx): State<Ctx>,
    _: Auth,
    Path(family): Path<String>,
) -> Result<Json<InstanceTypeFamily>, ApiError> {
    let all = catalogue::instance_types(&ctx);
    if all.iter().all(|size| size.family != family) {
        return Err(Error::because(
            ErrorCode::NotFound,
            format!("no instance type family {family}"),
        )
        .detail(ErrorDetail::value("family", family))
        .suggest("List them with GET /api/v1/instance-types.")
        .into());
    }
    Ok(Json(render::instance_type_family(&family, &all)))
}

/// Query of `GET /os-images`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OsImagesQuery {
    /// Which page, from 1.
    #[param(value_type = Option<u32>, minimum = 1)]
    page: Option<String>,
    /// Images per page, 20 if left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    page_size: Option<String>,
    /// With (`true`) or without login tools only.
    is_dev: Option<bool>,
}

/// OS images: a page where a version is named, a plain array where none is.
///
/// Shipped clients, which name a version, expect the page; the documentation promises the array.
#[utoipa::path(
    get,
    path = "/os-images",
    operation_id = "list_os_images",
    tag = "Nodes",
    params(OsImagesQuery),
    responses((status = 200, body = OsImagesReply)),
)]
pub async fn os_images(
    State(ctx): State<Ctx>,
    _: Auth,
    version: Version,
    Query(query): Query<OsImagesQuery>,
) -> Result<Json<OsImagesReply>, ApiError> {
    let mut images = catalogue::os_images(&ctx);
    if let Some(dev) = query.is_dev {
        images.retain(|image| image.is_dev == dev);
    }
    if !version.named {
        return Ok(Json(OsImagesReply::Array(render::os_images_array(&images))));
    }
    let request =
        PageRequest::from_query(query.page.as_deref(), query.page_size.as_deref(), 20, 100)
            .map_err(|item| Error::Invalid(vec![item]))?;
    Ok(Json(OsImagesReply::Page(render::os_images(&images, request))))
}

/// OS images that the CVM can have on its node: by version, newest first, with and without login tools.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/available-os-images",
    operation_id = "list_cvm_os_images",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    responses(
        (status = 200, body = Vec<AvailableOsImage>),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn available_os_images(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Json<Vec<AvailableOsImage>>, ApiError> {
    let (images, current) = catalogue::available_os_images(&ctx, &caller, &cvm).await?;
    Ok(Json(render::available_os_images(&images, &current)))
}
