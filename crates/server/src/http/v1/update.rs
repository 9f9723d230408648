//! Changing a CVM's configuration: everything at once, one thing at a time, or its compose file in
//! two phases.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    http::{HeaderMap, request::Parts},
};
use casemate_api::{
    compose_file::ComposeFile,
    compose_update::{ComposeCommitRequest, ComposeReplaceRequest},
    cvm_patch::CvmPatch,
    cvm_settings::{
        EnvsRequest, ListedRequest, NameRequest, OsImageRequest, ResourcesRequest,
        ScheduledDeleteRequest, UserConfigRequest, VisibilityRequest,
    },
    error::{ErrorBody, ErrorCode},
    network::{NetworkConfigRequest, PortsRequest},
    patch::Patch,
    preview::PreviewRequest,
    reply::{
        Accepted, ChangePreview, ComposeProvisioned, CvmFlat, EnvsUpdateResult, HostPort,
        NetworkConfig, UpdateResult, Vm,
    },
};

use crate::{
    app::{
        Caller, Ctx, Error,
        approval::{
            ApprovalHeaders,
            change_flow::{self, Asked, ChangeFlow, ChangeOptions},
        },
        cvms,
        mutation::{IdempotencyKey, Written},
        update::{self, ChangeRequest, EnvGuard, network, request},
        views,
    },
    http::{
        error::ApiError,
        extract::{Auth, Body, Raw, Version},
        render,
    },
};

impl<S: Send + Sync> FromRequestParts<S> for ChangeOptions {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(read_headers(&parts.headers)?)
    }
}

/// Whether a request says that it is only to be prepared.
pub(super) fn prepares_only(headers: &HeaderMap) -> bool {
    let value = headers.get("x-prepare-only").map(|value| value.to_str().unwrap_or("?"));
    value.is_some_and(|word| !word.is_empty() && !word.eq_ignore_ascii_case("false"))
}

fn read_headers(headers: &HeaderMap) -> Result<ChangeOptions, Error> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let hash = match text("x-compose-hash").filter(|text| !text.is_empty()) {
        None => None,
        Some(hash) => Some(hash.parse().map_err(|why| {
            Error::field(ErrorCode::HashInvalidOrExpired, "X-Compose-Hash", format!("is {why}"))
                .suggest("Send the compose_hash of the answer 465, with or without 0x.")
        })?),
    };
    let transaction = text("x-transaction-hash").filter(|text| !text.is_empty());
    let approval = ApprovalHeaders {
        prepare_only: prepares_only(headers),
        hash,
        transaction: transaction.map(str::to_owned),
    };
    let guard = match text("x-casemate-env-guard") {
        None => None,
        Some(word) if word.eq_ignore_ascii_case("refuse") => Some(EnvGuard::Refuse),
        Some(word) if word.eq_ignore_ascii_case("report") => Some(EnvGuard::Report),
        Some(_) => {
            let why = "must be refuse or report";
            return Err(Error::field(ErrorCode::InvalidRequest, "X-Casemate-Env-Guard", why)
                .suggest("Leave it out for the workspace's policy."));
        }
    };
    Ok(ChangeOptions { guard, approval })
}

/// Begins, accepts, and answers with the usual result.
async fn usual(
    ctx: &Ctx,
    caller: &Caller,
    headers: ChangeOptions,
    cvm: &str,
    (key, unknown): (Option<IdempotencyKey>, Vec<String>),
    change_request: Result<ChangeRequest, Error>,
) -> Result<Written<UpdateResult, 202>, ApiError> {
    let flow = ChangeFlow { ctx, caller, options: headers, cvm, key, unknown };
    let turn = flow.accept(Asked::change(change_request)).await?;
    let reply = render::update_result(&turn.view());
    Ok(turn.mutation.finish(&reply).await?)
}

/// Tells what a change would come to: the configuration before and after it, and whether the guest would go
/// down for it.
///
/// Nothing is changed. The change is applied after all that wait.
#[utoipa::path(
    post,
    path = "/cvms/{cvm_id}/preview",
    operation_id = "preview_change",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    extensions(("x-casemate" = json!(true))),
    request_body = PreviewRequest,
    responses(
        (status = 200, body = ChangePreview),
        (status = 400, description = "Something does not fit.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 422, description = "A field cannot be read.", body = ErrorBody),
    ),
)]
pub async fn preview(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    body: Body<PreviewRequest>,
) -> Result<Json<ChangePreview>, ApiError> {
    Ok(Json(Box::pin(update::show(&ctx, &caller, &cvm, body.value)).await?))
}

/// Changes any part of a CVM's configuration: all that is named, or nothing.
///
/// Needs at most one restart, and none where nothing needs it; a stopped CVM stays stopped. While
/// another operation is under way the change waits for its turn.
#[utoipa::path(
    patch,
    path = "/cvms/{cvm_id}",
    operation_id = "patch_cvm",
    tag = "CVMs",
    params(
        ("cvm_id" = String, Path),
        ("X-Casemate-Env-Guard" = Option<String>, Header, description = "`refuse` or `report`: what becomes of a change that drops a variable which the compose file uses (Casemate only)."),
    ),
    request_body = CvmPatch,
    responses(
        (status = 202, description = "Accepted; the operation tells how it goes on.", body = Accepted),
        (status = 400, description = "Something does not fit; nothing is changed.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "Too many changes wait: try again.", body = ErrorBody),
    ),
)]
pub async fn patch(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    headers: ChangeOptions,
    request: Body<CvmPatch>,
) -> Result<Written<Accepted, 202>, ApiError> {
    let Body { value, unknown, key } = request;
    let headers = headers.or(value.compose_hash, value.transaction_hash.as_deref());
    let flow = ChangeFlow { ctx: &ctx, caller: &caller, options: headers, cvm: &cvm, key, unknown };
    let turn = flow.accept(Asked::change(request::patch(&ctx, &value))).await?;
    let reply = render::accepted(&turn.view());
    Ok(turn.mutation.finish(&reply).await?)
}

/// Declares a route that changes one thing and answers the usual result.
macro_rules! one_thing {
    (
        $(#[doc = $doc:literal])* $name:ident, $method:ident, $path:literal, $operation:literal,
        $body:ty, |$ctx:ident, $value:ident| $change_request:expr
    ) => {
        $(#[doc = $doc])*
        #[utoipa::path(
            $method,
            path = $path,
            operation_id = $operation,
            tag = "CVMs",
            params(("cvm_id" = String, Path)),
            request_body = $body,
            responses(
                (status = 202, description = "Accepted; the operation tells how it goes on.", body = UpdateResult),
                (status = 400, description = "Something does not fit; nothing is changed.", body = ErrorBody),
                (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
                (status = 409, description = "Too many changes wait: try again.", body = ErrorBody),
            ),
        )]
        pub async fn $name(
            State($ctx): State<Ctx>,
            Auth(caller): Auth,
            Path(cvm): Path<String>,
            headers: ChangeOptions,
            request: Body<$body>,
        ) -> Result<Written<UpdateResult, 202>, ApiError> {
            let Body { value: $value, unknown, key } = request;
            let change_request = $change_request;
            usual(&$ctx, &caller, headers, &cvm, (key, unknown), change_request).await
        }
    };
}

one_thing!(
    /// Changes CPU, memory, disk or instance type. A disk can only grow.
    resources, patch, "/cvms/{cvm_id}/resources", "update_cvm_resources",
    ResourcesRequest, |ctx, value| request::resources(&ctx, &value)
);
one_thing!(
    /// Changes the OS image.
    os_image, patch, "/cvms/{cvm_id}/os-image", "update_cvm_os_image",
    OsImageRequest, |ctx, value| request::os_image(&value)
);
one_thing!(
    /// Changes the text that the guest reads as its user config.
    user_config, patch, "/cvms/{cvm_id}/user_config", "update_cvm_user_config",
    UserConfigRequest, |ctx, value| request::user_config_only(&value)
);

fn text(raw: Raw, what: &str) -> Result<(String, Option<IdempotencyKey>), Error> {
    match String::from_utf8(raw.bytes.to_vec()) {
        Ok(text) => Ok((text, raw.key)),
        Err(_) => Err(Error::invalid(what, "must be UTF-8 text")),
    }
}

/// Replaces the Docker Compose file. The body is the YAML itself.
#[utoipa::path(
    patch,
    path = "/cvms/{cvm_id}/docker-compose",
    operation_id = "update_docker_compose",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body(content = String, content_type = "text/yaml"),
    responses(
        (status = 202, body = UpdateResult),
        (status = 400, description = "The text is no compose file; nothing is changed.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "Too many changes wait: try again.", body = ErrorBody),
    ),
)]
pub async fn docker_compose(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    headers: ChangeOptions,
    raw: Raw,
) -> Result<Written<UpdateResult, 202>, ApiError> {
    let (text, key) = text(raw, "docker_compose_file")?;
    let change_request = Ok(request::docker_compose(text));
    usual(&ctx, &caller, headers, &cvm, (key, Vec::new()), change_request).await
}

/// Replaces the pre-launch script. The body is the script itself; an empty one takes it away.
#[utoipa::path(
    patch,
    path = "/cvms/{cvm_id}/pre-launch-script",
    operation_id = "update_pre_launch_script",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body(content = String, content_type = "text/plain"),
    responses(
        (status = 202, body = UpdateResult),
        (status = 400, description = "The script is too long; nothing is changed.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "Too many changes wait: try again.", body = ErrorBody),
    ),
)]
pub async fn pre_launch_script(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    headers: ChangeOptions,
    raw: Raw,
) -> Result<Written<UpdateResult, 202>, ApiError> {
    let (text, key) = text(raw, "pre_launch_script")?;
    let change_request = Ok(request::pre_launch_script(text));
    usual(&ctx, &caller, headers, &cvm, (key, Vec::new()), change_request).await
}

/// Replaces the sealed environment. The names, where they are given, become the allowed ones.
#[utoipa::path(
    patch,
    path = "/cvms/{cvm_id}/envs",
    operation_id = "update_cvm_envs",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body = EnvsRequest,
    responses(
        (status = 202, body = EnvsUpdateResult),
        (status = 400, description = "The environment cannot be taken; nothing is changed.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "Too many changes wait: try again.", body = ErrorBody),
    ),
)]
pub async fn envs(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    headers: ChangeOptions,
    request: Body<EnvsRequest>,
) -> Result<Written<EnvsUpdateResult, 202>, ApiError> {
    let Body { value, unknown, key } = request;
    let headers = headers.or(value.compose_hash, value.transaction_hash.as_deref());
    let flow = ChangeFlow { ctx: &ctx, caller: &caller, options: headers, cvm: &cvm, key, unknown };
    let turn = flow.accept(Asked::change(request::envs(&value))).await?;
    let reply = render::envs_update_result(&turn.view());
    Ok(turn.mutation.finish(&reply).await?)
}

/// Changes what is readable without a key, and whether the CVM is listed.
#[utoipa::path(
    patch,
    path = "/cvms/{cvm_id}/visibility",
    operation_id = "update_cvm_visibility",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body = VisibilityRequest,
    responses(
        (status = 200, body = CvmFlat),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "Too many changes wait: try again.", body = ErrorBody),
    ),
)]
pub async fn visibility(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(cvm): Path<String>,
    headers: ChangeOptions,
    request: Body<VisibilityRequest>,
) -> Result<Written<CvmFlat>, ApiError> {
    let Body { value, unknown, key } = request;
    let flow = ChangeFlow { ctx: &ctx, caller: &caller, options: headers, cvm: &cvm, key, unknown };
    let mut turn = flow.accept(Asked::change(Ok(request::visibility(value)))).await?;
    let view = views::cvm(&ctx, &caller, &turn.accepted.cvm);
    let document = turn.mutation.tx.document(&turn.accepted.cvm.spec.compose_hash).await?;
    let view = views::with_document(view, &document.unwrap_or_default());
    Ok(turn.mutation.finish(&render::cvm_visibility(&view, version.version)).await?)
}

/// Shows a CVM in the public directory, or no longer.
#[utoipa::path(
    patch,
    path = "/cvms/{cvm_id}/listed",
    operation_id = "update_cvm_listed",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body = ListedRequest,
    responses(
        (status = 200, body = Vm),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "Too many changes wait: try again.", body = ErrorBody),
    ),
)]
pub async fn listed(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(cvm): Path<String>,
    headers: ChangeOptions,
    request: Body<ListedRequest>,
) -> Result<Written<Vm>, ApiError> {
    let Body { value, unknown, key } = request;
    let flow = ChangeFlow { ctx: &ctx, caller: &caller, options: headers, cvm: &cvm, key, unknown };
    let turn = flow.accept(Asked::change(request::listed(value))).await?;
    let view = views::cvm(&ctx, &caller, &turn.accepted.cvm);
    Ok(turn.mutation.finish(&render::vm_action(&view, version.version)).await?)
}

/// Renames a CVM.
#[utoipa::path(
    patch,
    path = "/cvms/{cvm_id}/name",
    operation_id = "update_cvm_name",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body = NameRequest,
    responses(
        (status = 204, description = "Renamed, or renamed as soon as what is under way has ended."),
        (status = 400, description = "The name is in use.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "Too many changes wait: try again.", body = ErrorBody),
    ),
)]
pub async fn name(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    headers: ChangeOptions,
    request: Body<NameRequest>,
) -> Result<Written<(), 204>, ApiError> {
    let Body { value, unknown, key } = request;
    let flow = ChangeFlow { ctx: &ctx, caller: &caller, options: headers, cvm: &cvm, key, unknown };
    let turn = flow.accept(Asked::change(request::rename(&value))).await?;
    Ok(turn.mutation.finish_empty().await?)
}

/// Sets or clears the time at which a CVM is deleted by itself.
#[utoipa::path(
    patch,
    path = "/cvms/{cvm_id}/scheduled-delete",
    operation_id = "update_cvm_scheduled_delete",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body = ScheduledDeleteRequest,
    responses(
        (status = 200, body = Vm),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 422, description = "The time is past.", body = ErrorBody),
    ),
)]
pub async fn scheduled_delete(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(cvm): Path<String>,
    request: Body<ScheduledDeleteRequest>,
) -> Result<Written<Vm>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let id = cvms::find(&ctx, &caller, &cvm).await?.id;
    let at = match request.value.scheduled_delete_at {
        Patch::Absent => None,
        Patch::Null => Some(None),
        Patch::Value(at) => Some(Some(at)),
    };
    let cvm = update::schedule::set(&ctx, &mut mutation.tx, &caller, id, at).await?;
    let view = views::cvm(&ctx, &caller, &cvm);
    Ok(mutation.finish(&render::vm_action(&view, version.version)).await?)
}

/// Changes the addresses that the guest is told: at its next start, or with `restart` now.
#[utoipa::path(
    patch,
    path = "/cvms/{cvm_id}/network-config",
    operation_id = "update_network_config",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body = NetworkConfigRequest,
    responses(
        (status = 200, body = NetworkConfig),
        (status = 400, description = "The node cannot do that.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "Too many changes wait: try again.", body = ErrorBody),
    ),
)]
pub async fn network_config(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    headers: ChangeOptions,
    request: Body<NetworkConfigRequest>,
) -> Result<Written<NetworkConfig>, ApiError> {
    let Body { value, unknown, key } = request;
    let flow = ChangeFlow { ctx: &ctx, caller: &caller, options: headers, cvm: &cvm, key, unknown };
    let turn = flow.accept(Asked::change(Ok(request::network_config(&value)))).await?;
    let reply = render::network_config(&network::config(&turn.accepted.promised, turn.cvm));
    Ok(turn.mutation.finish(&reply).await?)
}

/// Replaces all host ports of a CVM.
#[utoipa::path(
    put,
    path = "/cvms/{cvm_id}/ports",
    operation_id = "set_cvm_ports",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body = PortsRequest,
    responses(
        (status = 200, body = Vec<HostPort>),
        (status = 400, description = "The node cannot do that.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "A port is taken on the node.", body = ErrorBody),
    ),
)]
pub async fn ports(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    headers: ChangeOptions,
    request: Body<PortsRequest>,
) -> Result<Written<Vec<HostPort>>, ApiError> {
    let Body { value, unknown, key } = request;
    let flow = ChangeFlow { ctx: &ctx, caller: &caller, options: headers, cvm: &cvm, key, unknown };
    let turn = flow.accept(Asked::Ports(&value)).await?;
    let reply = render::ports(&network::config(&turn.accepted.promised, turn.cvm).ports);
    Ok(turn.mutation.finish(&reply).await?)
}

/// Prepares a compose update: checks the document, hashes it, and keeps it for 14 days.
#[utoipa::path(
    post,
    path = "/cvms/{cvm_id}/compose_file/provision",
    operation_id = "provision_compose_file_update",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body = ComposeFile,
    responses(
        (status = 200, body = ComposeProvisioned),
        (status = 400, description = "The compose file is missing or does not fit.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 422, description = "The compose file does not parse.", body = ErrorBody),
    ),
)]
pub async fn compose_provision(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    request: Body<ComposeFile>,
) -> Result<Written<ComposeProvisioned>, ApiError> {
    let Body { value, unknown, key } = request;
    let (mutation, prepared) =
        change_flow::provision(&ctx, &caller, &cvm, &value, &unknown, key).await?;
    Ok(mutation.finish(&render::compose_provision(&prepared)).await?)
}

async fn named(
    ctx: &Ctx,
    caller: &Caller,
    cvm: &str,
    headers: ChangeOptions,
    (key, unknown): (Option<IdempotencyKey>, Vec<String>),
    named: Asked<'_>,
) -> Result<Written<UpdateResult, 202>, ApiError> {
    let flow = ChangeFlow { ctx, caller, options: headers, cvm, key, unknown };
    let turn = flow.accept(named).await?;
    let reply = render::update_result(&turn.view());
    Ok(turn.mutation.finish(&reply).await?)
}

async fn commit(
    ctx: Ctx,
    caller: Arc<Caller>,
    cvm: String,
    headers: ChangeOptions,
    request: Body<ComposeCommitRequest>,
) -> Result<Written<UpdateResult, 202>, ApiError> {
    let Body { value, unknown, key } = request;
    let headers = headers.or(None, value.transaction_hash.as_deref());
    named(&ctx, &caller, &cvm, headers, (key, unknown), Asked::Provisioned(&value)).await
}

/// Puts a prepared compose update in force.
#[utoipa::path(
    patch,
    path = "/cvms/{cvm_id}/compose_file",
    operation_id = "commit_compose_file_update",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body = ComposeCommitRequest,
    responses(
        (status = 202, body = UpdateResult),
        (status = 400, description = "Nothing is prepared under this hash, or it expired.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "Too many changes wait: try again.", body = ErrorBody),
    ),
)]
pub async fn compose_commit(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    headers: ChangeOptions,
    request: Body<ComposeCommitRequest>,
) -> Result<Written<UpdateResult, 202>, ApiError> {
    commit(ctx, caller, cvm, headers, request).await
}

/// Puts a prepared compose update in force, as the written documentation has it.
#[utoipa::path(
    post,
    path = "/cvms/{cvm_id}/compose_file/commit",
    operation_id = "commit_compose_file_update_documented",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body = ComposeCommitRequest,
    responses(
        (status = 202, body = UpdateResult),
        (status = 400, description = "Nothing is prepared under this hash, or it expired.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "Too many changes wait: try again.", body = ErrorBody),
    ),
)]
pub async fn compose_commit_documented(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    headers: ChangeOptions,
    request: Body<ComposeCommitRequest>,
) -> Result<Written<UpdateResult, 202>, ApiError> {
    commit(ctx, caller, cvm, headers, request).await
}

/// Puts a document in force whose hash the client has computed already.
#[utoipa::path(
    post,
    path = "/cvms/{cvm_id}/compose_file",
    operation_id = "replace_compose_file",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body = ComposeReplaceRequest,
    responses(
        (status = 202, body = UpdateResult),
        (status = 400, description = "The hash is not the document's.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "Too many changes wait: try again.", body = ErrorBody),
    ),
)]
pub async fn compose_replace(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    headers: ChangeOptions,
    request: Body<ComposeReplaceRequest>,
) -> Result<Written<UpdateResult, 202>, ApiError> {
    let Body { value, unknown, key } = request;
    named(&ctx, &caller, &cvm, headers, (key, unknown), Asked::Hashed(&value)).await
}
