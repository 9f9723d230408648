//! When instances of an app take requests: what the workspace declares, else what the labels of the
//! compose file say. The gateway reads it with every request, so a change counts at once.

use casemate_api::{
    error::ErrorCode,
    readiness::ReadinessRequest,
    reply::{CheckKind, Readiness, ReadinessCheck, ReadinessSource},
};
use casemate_core::{id::AppId, ready::Check};
use casemate_store::{cvms as stored, cvms::Cvm, readiness};

use super::{
    Caller, Ctx, Error, audit,
    cvms::{app_id, app_not_found},
    mutation::Mutation,
};

/// What is declared for an app of the caller.
pub async fn get(ctx: &Ctx, caller: &Caller, text: &str) -> Result<Readiness, Error> {
    let (app, cvms) = find(ctx, caller, text).await?;
    let declared = readiness::of_app(&ctx.db, &app).await?;
    Ok(reply(app, &cvms, declared))
}

/// Declares a check, or takes the declaration back; what counts from then on.
pub async fn declare(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    text: &str,
    check: Option<Check>,
) -> Result<Readiness, Error> {
    let (app, cvms) = find(ctx, caller, text).await?;
    if let Some(check) = &check {
        published(&cvms, check.port)?;
    }
    let declared = readiness::of_app(&ctx.db, &app).await?;
    audit::before(&reply(app, &cvms, declared));
    if !mutation.tx.declare_readiness(caller.workspace.id, &app, check.as_ref()).await? {
        return Err(app_not_found(text));
    }
    Ok(reply(app, &cvms, check))
}

/// The check that a request asks for. Names nobody knows are refused: a check that looks slower than it
/// is would be worse than none.
pub fn check(request: ReadinessRequest, unknown: &[String]) -> Result<Check, Error> {
    if let Some(name) = unknown.first() {
        return Err(Error::invalid(name, "is unknown; leave it out"));
    }
    let default = Check::tcp(request.port);
    let check = Check {
        port: request.port,
        path: request.path,
        interval_s: request.interval_s.unwrap_or(default.interval_s),
        timeout_s: request.timeout_s.unwrap_or(default.timeout_s),
        threshold: request.threshold.unwrap_or(default.threshold),
    };
    check.checked().map_err(|why| Error::invalid(why.part, why.reason))
}

async fn find(ctx: &Ctx, caller: &Caller, text: &str) -> Result<(AppId, Vec<Cvm>), Error> {
    let id = app_id(text).ok_or_else(|| app_not_found(text))?;
    let app = stored::app(&ctx.db, caller.workspace.id, &id).await?;
    app.map(|app| (id, app.cvms)).ok_or_else(|| app_not_found(text))
}

/// A port that no instance publishes is refused, unless one of them says none in numbers.
fn published(cvms: &[Cvm], port: u16) -> Result<(), Error> {
    let ports = |cvm: &Cvm| super::views::published(cvm).to_vec();
    if cvms.iter().any(|cvm| ports(cvm).is_empty() || ports(cvm).contains(&port)) {
        return Ok(());
    }
    let known = cvms.first().map(ports).unwrap_or_default();
    let why = format!("is not published by the compose file, which publishes {known:?}");
    Err(Error::field(ErrorCode::InvalidRequest, "port", why)
        .suggest("Name a port on the left side of `ports:`."))
}

fn reply(app: AppId, cvms: &[Cvm], declared: Option<Check>) -> Readiness {
    let label = || cvms.first().and_then(|newest| newest.spec.facts.readiness.clone());
    let (source, check) = match declared {
        Some(check) => (ReadinessSource::Api, Some(check)),
        None => match label() {
            Some(check) => (ReadinessSource::Label, Some(check)),
            None => (ReadinessSource::None, None),
        },
    };
    let check = check.map(|check| ReadinessCheck {
        kind: if check.path.is_some() { CheckKind::Http } else { CheckKind::Tcp },
        port: check.port,
        path: check.path,
        interval_s: check.interval_s,
        timeout_s: check.timeout_s,
        threshold: check.threshold,
    });
    Readiness { app_id: app.to_string(), source, check }
}
