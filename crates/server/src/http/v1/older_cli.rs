//! Routes that only older command-line clients and the newest Go SDK call.

use axum::{
    Json,
    extract::{Path, State},
};
use casemate_api::{
    error::ErrorBody,
    older_cli::{ComposeUpgradeRequest, ComposeUpgraded, ScriptUpgradeStatus},
};
use sha2::{Digest, Sha256};

use crate::{
    app::{
        Ctx,
        approval::change_flow::{Asked, ChangeFlow, ChangeOptions},
        cvms,
        mutation::Written,
        update::older_cli,
    },
    http::{
        error::ApiError,
        extract::{Auth, Body},
    },
};

/// Replaces what a document says of its containers, its script and what is public, as `phala cvms upgrade` does.
///
/// Without a sealed environment, the present one and the names of its variables stay.
#[utoipa::path(
    put,
    path = "/cvms/{cvm_id}/compose",
    operation_id = "upgrade_compose",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body = ComposeUpgradeRequest,
    responses(
        (status = 200, description = "Accepted; the CVM's state tells how it goes on.", body = ComposeUpgraded),
        (status = 400, description = "Something does not fit; nothing is changed.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "Too many changes wait: try again.", body = ErrorBody),
    ),
)]
pub async fn compose(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    options: ChangeOptions,
    request: Body<ComposeUpgradeRequest>,
) -> Result<Written<ComposeUpgraded>, ApiError> {
    let Body { value, unknown, key } = request;
    let flow = ChangeFlow { ctx: &ctx, caller: &caller, options, cvm: &cvm, key, unknown };
    let turn = flow.accept(Asked::change(older_cli::compose(&value))).await?;
    let detail = format!("Upgrade accepted: operation {}", turn.accepted.operation);
    Ok(turn.mutation.finish(&ComposeUpgraded { detail }).await?)
}

/// Whether there is a newer official pre-launch script: never, because Casemate issues none.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/pre-launch-script/upgrade-status",
    operation_id = "get_pre_launch_script_upgrade_status",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    responses(
        (status = 200, body = ScriptUpgradeStatus),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn script_upgrade(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Json<ScriptUpgradeStatus>, ApiError> {
    let (_, compose) = cvms::compose(&ctx, &caller, &cvm).await?;
    let script = compose.pre_launch_script.filter(|script| !script.is_empty());
    Ok(Json(ScriptUpgradeStatus {
        current_hash: script.map(|script| hex::encode(Sha256::digest(script))),
        latest_official_hash: String::new(),
        is_official: false,
        is_latest: false,
        can_upgrade: false,
    }))
}
