//! The audit log.

use axum::{
    Json,
    body::Body,
    extract::{Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use casemate_api::{audit::AuditPage, error::ErrorBody, page::query_number};
use casemate_core::{id::WorkspaceId, time::Timestamp};
use serde::Deserialize;

use crate::{
    app::{
        Ctx, Error,
        audit::read::{self, AuditFilter},
    },
    http::{error::ApiError, extract::Auth},
};

/// Which rows.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct AuditQuery {
    /// A username, a `usr_…` id, or `host`.
    actor: Option<String>,
    /// An operation id, for example `restart_cvm`.
    action: Option<String>,
    /// The id of a target, its kind, or `kind/id`.
    target: Option<String>,
    /// At or after this time, RFC 3339.
    from: Option<String>,
    /// Before this time, RFC 3339.
    to: Option<String>,
    /// `ok` or `refused`.
    result: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// At most so many, 50 if left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
}

impl AuditQuery {
    fn filter(&self, workspace: Option<WorkspaceId>) -> Result<AuditFilter, Error> {
        let time = |name, text: &Option<String>| {
            let read = |text: &String| text.parse().map_err(|why| Error::invalid(name, why));
            text.as_ref().map(read).transpose()
        };
        let succeeded = match self.result.as_deref() {
            None => None,
            Some("ok") => Some(true),
            Some("refused") => Some(false),
            Some(_) => return Err(Error::invalid("result", "must be ok or refused")),
        };
        Ok(AuditFilter {
            workspace,
            actor: self.actor.clone(),
            action: self.action.clone(),
            target: self.target.clone(),
            from: time("from", &self.from)? as Option<Timestamp>,
            to: time("to", &self.to)?,
            succeeded,
        })
    }

    async fn page(&self, ctx: &Ctx, workspace: Option<WorkspaceId>) -> Result<AuditPage, Error> {
        let limit = query_number("limit", self.limit.as_deref(), 1, 200)
            .map_err(|item| Error::Invalid(vec![item]))?
            .unwrap_or(50);
        let limit = usize::try_from(limit).unwrap_or(200);
        read::page(ctx, &self.filter(workspace)?, self.cursor.as_deref(), limit).await
    }

    fn export(&self, ctx: &Ctx, workspace: Option<WorkspaceId>) -> Result<Response, Error> {
        if self.cursor.is_some() || self.limit.is_some() {
            return Err(Error::invalid("cursor", "is for pages; an export has all rows"));
        }
        let lines = read::export(ctx.clone(), self.filter(workspace)?);
        let text = [(header::CONTENT_TYPE, "application/x-ndjson")];
        Ok((text, Body::from_stream(lines)).into_response())
    }
}

/// The audit log of the workspace, newest first.
#[utoipa::path(
    get,
    path = "/casemate/audit",
    operation_id = "list_audit_log",
    tag = "Workspaces",
    params(AuditQuery),
    responses(
        (status = 200, body = AuditPage),
        (status = 422, description = "A filter or cursor is not valid.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn list(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditPage>, ApiError> {
    Ok(Json(query.page(&ctx, Some(caller.workspace.id)).await?))
}

/// The audit log of the workspace: one JSON object a line, newest first.
#[utoipa::path(
    get,
    path = "/casemate/audit/export",
    operation_id = "export_audit_log",
    tag = "Workspaces",
    params(AuditQuery),
    responses(
        (status = 200, body = String, content_type = "application/x-ndjson"),
        (status = 422, description = "A filter is not valid.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn export(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Query(query): Query<AuditQuery>,
) -> Result<Response, ApiError> {
    Ok(query.export(&ctx, Some(caller.workspace.id))?)
}

/// The audit log of all workspaces and of the installation, newest first.
#[utoipa::path(
    get,
    path = "/admin/audit",
    operation_id = "admin_list_audit_log",
    tag = "Account",
    params(AuditQuery),
    responses(
        (status = 200, body = AuditPage),
        (status = 422, description = "A filter or cursor is not valid.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn list_all(
    State(ctx): State<Ctx>,
    _: Auth,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditPage>, ApiError> {
    Ok(Json(query.page(&ctx, None).await?))
}

/// The audit log of all workspaces and of the installation: one JSON object a line, newest first.
#[utoipa::path(
    get,
    path = "/admin/audit/export",
    operation_id = "admin_export_audit_log",
    tag = "Account",
    params(AuditQuery),
    responses(
        (status = 200, body = String, content_type = "application/x-ndjson"),
        (status = 422, description = "A filter is not valid.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn export_all(
    State(ctx): State<Ctx>,
    _: Auth,
    Query(query): Query<AuditQuery>,
) -> Result<Response, ApiError> {
    Ok(query.export(&ctx, None)?)
}
