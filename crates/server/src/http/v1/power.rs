//! Start, stop, shutdown, restart, delete.

use axum::{
    extract::{Path, State},
    response::Response,
};
use casemate_api::{power::RestartRequest, render};

use crate::{
    app::{
        Caller, Ctx, cvms,
        power::{Verb, apply},
        work::{Begun, IdempotencyKey},
    },
    http::{
        error::ApiError,
        extract::{Auth, Json, Raw, Version, answer},
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
    let mut work = match ctx.begin_work(caller, key).await? {
        Begun::Fresh(work) => work,
        Begun::Answered(before) => return Ok(answer(before)),
    };
    let id = cvms::find(ctx, caller, cvm).await?.id;
    let done = apply(ctx, &mut work.tx, caller, id, verb).await?;
    if verb == Verb::Delete {
        return Ok(answer(work.finish_empty(204, done.news).await?));
    }
    let reply = render::vm_action(&done.view, version.version);
    Ok(answer(work.finish(200, &reply, done.news).await?))
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
    /// `POST /cvms/{cvm}/start`.
    start,
    Verb::Start
);
bodiless_verb!(
    /// `POST /cvms/{cvm}/stop`.
    stop,
    Verb::Stop
);
bodiless_verb!(
    /// `POST /cvms/{cvm}/shutdown`.
    shutdown,
    Verb::Shutdown
);
bodiless_verb!(
    /// `DELETE /cvms/{cvm}`.
    delete,
    Verb::Delete
);

/// `POST /cvms/{cvm}/restart`.
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
