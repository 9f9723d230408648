//! Each KMS as its operator sees it.

use axum::{Json, extract::State};
use casemate_api::kms_admin::ManagedKmsList;

use crate::{
    app::{Ctx, kms_admin},
    http::extract::Auth,
};

/// Every KMS, with whether it gives keys and why not.
#[utoipa::path(
    get,
    path = "/admin/kms",
    operation_id = "admin_list_kms",
    tag = "KMS",
    responses((status = 200, body = ManagedKmsList)),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn list(State(ctx): State<Ctx>, _: Auth) -> Json<ManagedKmsList> {
    Json(ManagedKmsList { kms: kms_admin::all(&ctx) })
}
