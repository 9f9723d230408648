//! Start, stop, shutdown, restart, delete.

use axum::{
    extract::{Path, State},
    response::Response,
};
use casemate_api::{error::ErrorBody, power::RestartRequest, reply::Vm};

use crate::{
    app::{
        Caller, Ctx, cvms,
        mutation::{Begun, IdempotencyKey},
        power::{Verb, apply},
    },
    http::{
        error::ApiError,
        extract::{Auth, Json, Raw, Version, answer},
        render,
    },
};

async fn act(
    ctx: &Ctx,
    caller: &Caller,
    version: Version,
    cvm: &str,
    verb: Verb,
    key: Option<IdempotencyKey>,
) -> Result<Response, ApiError> {
    let mut mutation = match ctx.begin_mutation(caller, key).await? {
        Begun::Fresh(mutation) => mutation,
        Begun::Answered(before) => return Ok(answer(before)),
    };
    let id = cvms::find(ctx, caller, cvm).await?.id;
    let done = apply(ctx, &mut mutation.tx, caller, id, verb).await?;
    if verb == Verb::Delete {
        return Ok(answer(mutation.finish_empty(204, done.last_event).await?));
    }
    let reply = render::vm_action(&done.view, version.version);
    Ok(answer(mutation.finish(200, &reply, done.last_event).await?))
}

macro_rules! bodiless_verb {
    ($(#[$doc:meta])* $name:ident, $verb:expr) => {
        $(#[$doc])*
        pub async fn $name(
            State(ctx): State<Ctx>,
            Auth(caller): Auth,
            version: Version,
            Path(cvm): Path<String>,
            raw: Raw,
        ) -> Result<Response, ApiError> {
            act(&ctx, &caller, version, &cvm, $verb, raw.key).await
        }
    };
}

bodiless_verb!(
    /// Starts a CVM with its newest accepted configuration.
    #[utoipa::path(
        post,
        path = "/cvms/{cvm_id}/start",
        operation_id = "start_cvm",
        tag = "CVMs",
        params(("cvm_id" = String, Path)),
        responses(
            (status = 200, description = "Accepted; the CVM is on its way.", body = Vm),
            (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
            (status = 409, description = "Not in this state.", body = ErrorBody),
        ),
    )]
    start,
    Verb::Start
);
bodiless_verb!(
    /// Stops a CVM at once.
    #[utoipa::path(
        post,
        path = "/cvms/{cvm_id}/stop",
        operation_id = "stop_cvm",
        tag = "CVMs",
        params(("cvm_id" = String, Path)),
        responses(
            (status = 200, description = "Accepted; the CVM is on its way.", body = Vm),
            (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
            (status = 409, description = "Not in this state.", body = ErrorBody),
        ),
    )]
    stop,
    Verb::Stop
);
bodiless_verb!(
    /// Shuts the guest down; forced after the timeout.
    #[utoipa::path(
        post,
        path = "/cvms/{cvm_id}/shutdown",
        operation_id = "shutdown_cvm",
        tag = "CVMs",
        params(("cvm_id" = String, Path)),
        responses(
            (status = 200, description = "Accepted; the CVM is on its way.", body = Vm),
            (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
            (status = 409, description = "Not in this state.", body = ErrorBody),
        ),
    )]
    shutdown,
    Verb::Shutdown
);
bodiless_verb!(
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
    delete,
    Verb::Delete
);

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
    request: Json<RestartRequest>,
) -> Result<Response, ApiError> {
    let verb = Verb::Restart { force: request.value.force };
    act(&ctx, &caller, version, &cvm, verb, request.key).await
}
