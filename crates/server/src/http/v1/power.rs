//! Start, stop, shutdown, restart, delete.

use axum::extract::{Path, State};
use casemate_api::{error::ErrorBody, power::RestartRequest, reply::Vm};

use crate::{
    app::{
        Caller, Ctx, cvms,
        mutation::{IdempotencyKey, Mutation, WriteError, Written},
        power::{Verb, apply},
    },
    http::{
        error::ApiError,
        extract::{Auth, Body, Raw, Version},
        render,
    },
    view::CvmView,
};

async fn act(
    ctx: &Ctx,
    caller: &Caller,
    cvm: &str,
    verb: Verb,
    key: Option<IdempotencyKey>,
) -> Result<(Mutation, CvmView), WriteError> {
    let mut mutation = ctx.begin_mutation(caller, key).await?;
    let id = cvms::find(ctx, caller, cvm).await?.id;
    let done = apply(ctx, &mut mutation.tx, caller, id, verb).await?;
    Ok((mutation, done.view))
}

/// Declares a route that applies a verb and takes no body.
macro_rules! bodiless_verb {
    ($(#[doc = $doc:literal])* $name:ident, $path:literal, $operation:literal, $verb:expr) => {
        $(#[doc = $doc])*
        #[utoipa::path(
            post,
            path = $path,
            operation_id = $operation,
            tag = "CVMs",
            params(("cvm_id" = String, Path)),
            responses(
                (status = 200, description = "Accepted; the CVM is on its way.", body = Vm),
                (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
                (status = 409, description = "Not in this state.", body = ErrorBody),
            ),
        )]
        pub async fn $name(
            State(ctx): State<Ctx>,
            Auth(caller): Auth,
            version: Version,
            Path(cvm): Path<String>,
            raw: Raw,
        ) -> Result<Written<Vm>, ApiError> {
            let (mutation, view) = act(&ctx, &caller, &cvm, $verb, raw.key).await?;
            Ok(mutation.finish(&render::vm_action(&view, version.version)).await?)
        }
    };
}

bodiless_verb!(
    /// Starts a CVM with its newest accepted configuration.
    start, "/cvms/{cvm_id}/start", "start_cvm", Verb::Start
);
bodiless_verb!(
    /// Stops a CVM at once.
    stop, "/cvms/{cvm_id}/stop", "stop_cvm", Verb::Stop
);
bodiless_verb!(
    /// Shuts the guest down; forced after the timeout.
    shutdown, "/cvms/{cvm_id}/shutdown", "shutdown_cvm", Verb::Shutdown
);

/// Deletes a CVM with its disk.
#[utoipa::path(
    delete,
    path = "/cvms/{cvm_id}",
    operation_id = "delete_cvm",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    responses(
        (status = 204, description = "Accepted; the CVM is on its way out."),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn delete(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    _: Version,
    Path(cvm): Path<String>,
    raw: Raw,
) -> Result<Written<(), 204>, ApiError> {
    let (mutation, _) = act(&ctx, &caller, &cvm, Verb::Delete, raw.key).await?;
    Ok(mutation.finish_empty().await?)
}

/// Restarts a CVM: shut down, or with `force` stopped, then started.
#[utoipa::path(
    post,
    path = "/cvms/{cvm_id}/restart",
    operation_id = "restart_cvm",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body(content = Option<RestartRequest>),
    responses(
        (status = 200, description = "Accepted; the CVM is on its way.", body = Vm),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "Not in this state.", body = ErrorBody),
    ),
)]
pub async fn restart(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(cvm): Path<String>,
    request: Body<RestartRequest>,
) -> Result<Written<Vm>, ApiError> {
    let verb = Verb::Restart { force: request.value.force };
    let (mutation, view) = act(&ctx, &caller, &cvm, verb, request.key).await?;
    Ok(mutation.finish(&render::vm_action(&view, version.version)).await?)
}
