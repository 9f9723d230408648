//! The table of routes: what each needs of the caller, and the layer that decides by it.
//!
//! A route of `/api/v1` without a row is refused, and `it/access.rs` fails for it. A row needs nothing else: the test
//! of every route, role and scope is generated from the table.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{HeaderMap, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use casemate_api::error::ErrorCode;
use casemate_core::access::{Need, Scope};

use super::{audit, client_address::ClientAddress, error::ApiError, extract::Auth};
use crate::app::{Ctx, Error};

const KEY: Need = Need::Key;
const KEYS: Need = Need::Scope(Scope::Keys);
/// The token of an invitation in the body is enough.
const KEYS_OR_NO_KEY: Need = Need::KeyOrNothing(Scope::Keys);
const LOGS: Need = Need::Scope(Scope::LogsRead);
const NOTHING: Need = Need::Nothing;
const OPERATOR: Need = Need::Operator;
const READ: Need = Need::Scope(Scope::CvmsRead);
/// Public, but with a key more is shown.
const READ_OR_NO_KEY: Need = Need::KeyOrNothing(Scope::CvmsRead);
const SSH_KEYS: Need = Need::Scope(Scope::SshKeys);
const WEBHOOKS: Need = Need::Scope(Scope::Webhooks);
const SECRETS: Need = Need::Scope(Scope::SecretsWrite);
const WORKSPACE: Need = Need::Scope(Scope::Workspace);
const WRITE: Need = Need::Scope(Scope::CvmsWrite);
/// A commit token in the body is enough.
const WRITE_OR_NO_KEY: Need = Need::KeyOrNothing(Scope::CvmsWrite);

/// Below `/api/v1`: method, path and need of every route, sorted by path.
pub const ROUTES: &[(&str, &str, Need)] = &[
    ("GET", "/admin/audit", OPERATOR),
    ("GET", "/admin/audit/export", OPERATOR),
    ("GET", "/admin/cvms/{cvm}", OPERATOR),
    ("POST", "/admin/cvms/{cvm}/move", OPERATOR),
    ("GET", "/admin/drift", OPERATOR),
    ("GET", "/admin/gateways", OPERATOR),
    ("GET", "/admin/gateways/{name}", OPERATOR),
    ("POST", "/admin/gateways/{name}/domains", OPERATOR),
    ("DELETE", "/admin/gateways/{name}/domains/{domain}", OPERATOR),
    ("GET", "/admin/gateways/{name}/instances/{instance_id}", OPERATOR),
    ("POST", "/admin/gateways/{name}/instances/{instance_id}/port-policy", OPERATOR),
    ("DELETE", "/admin/gateways/{name}/instances/{instance_id}/port-policy", OPERATOR),
    ("GET", "/admin/keys", OPERATOR),
    ("POST", "/admin/keys", OPERATOR),
    ("DELETE", "/admin/keys/{key_id}", OPERATOR),
    ("GET", "/admin/kms", OPERATOR),
    ("GET", "/admin/nodes", OPERATOR),
    ("POST", "/admin/nodes", OPERATOR),
    ("GET", "/admin/nodes/{name}", OPERATOR),
    ("PATCH", "/admin/nodes/{name}", OPERATOR),
    ("DELETE", "/admin/nodes/{name}", OPERATOR),
    ("POST", "/admin/nodes/{name}/accept-host", OPERATOR),
    ("POST", "/admin/nodes/{name}/check", OPERATOR),
    ("POST", "/admin/nodes/{name}/cordon", OPERATOR),
    ("GET", "/admin/nodes/{name}/cvms", OPERATOR),
    ("POST", "/admin/nodes/{name}/uncordon", OPERATOR),
    ("POST", "/admin/placement/simulate", OPERATOR),
    ("GET", "/admin/users", OPERATOR),
    ("POST", "/admin/users", OPERATOR),
    ("PATCH", "/admin/users/{username}", OPERATOR),
    ("GET", "/admin/workspaces", OPERATOR),
    ("POST", "/admin/workspaces", OPERATOR),
    ("PUT", "/admin/workspaces/{slug}/members/{username}", OPERATOR),
    ("DELETE", "/admin/workspaces/{slug}/members/{username}", OPERATOR),
    ("GET", "/admin/workspaces/{slug}/quota", OPERATOR),
    ("PUT", "/admin/workspaces/{slug}/quota", OPERATOR),
    ("GET", "/apps", READ_OR_NO_KEY),
    ("GET", "/apps/filter-options", READ),
    ("GET", "/apps/{app_id}", READ),
    ("GET", "/apps/{app_id}/attestations", READ_OR_NO_KEY),
    ("GET", "/apps/{app_id}/attestations/tcb-evaluation", READ_OR_NO_KEY),
    ("GET", "/apps/{app_id}/cvms", READ),
    ("POST", "/apps/{app_id}/cvms/is-allowed", READ),
    ("POST", "/apps/{app_id}/cvms/{vm_uuid}/replicas", WRITE),
    ("GET", "/apps/{app_id}/device-allowlist", READ),
    ("GET", "/apps/{app_id}/events", READ),
    ("POST", "/apps/{app_id}/instances", WRITE_OR_NO_KEY),
    ("POST", "/apps/{app_id}/is-allowed", READ),
    ("GET", "/apps/{app_id}/kms-info", READ),
    ("GET", "/apps/{app_id}/pending-updates", READ),
    ("GET", "/apps/{app_id}/pending-updates/{vm_uuid}/{compose_hash}/preview", READ),
    ("GET", "/apps/{app_id}/readiness", READ),
    ("PUT", "/apps/{app_id}/readiness", WRITE),
    ("DELETE", "/apps/{app_id}/readiness", WRITE),
    ("GET", "/apps/{app_id}/revisions", READ),
    ("GET", "/apps/{app_id}/revisions/{revision_id}", READ),
    ("GET", "/apps/{app_id}/revisions/{revision_id}/diff/{other_id}", READ),
    ("POST", "/apps/{app_id}/revisions/{revision_id}/redeploy", WRITE),
    ("GET", "/apps/{app_id}/usage", READ),
    ("GET", "/attestations/collateral/{checksum}", READ_OR_NO_KEY),
    ("GET", "/attestations/device_ids", NOTHING),
    ("GET", "/attestations/nodes", NOTHING),
    ("GET", "/attestations/ppids", NOTHING),
    ("GET", "/attestations/raw/{checksum}", READ_OR_NO_KEY),
    ("HEAD", "/attestations/raw/{checksum}", READ_OR_NO_KEY),
    ("GET", "/attestations/recent", NOTHING),
    ("POST", "/attestations/verify", NOTHING),
    ("GET", "/attestations/view/{checksum}", READ_OR_NO_KEY),
    ("POST", "/auth/device/code", NOTHING),
    ("POST", "/auth/device/token", NOTHING),
    ("GET", "/auth/me", KEY),
    ("GET", "/casemate/apps/{app_id}/evidence-policy", READ),
    ("PUT", "/casemate/apps/{app_id}/evidence-policy", WORKSPACE),
    ("GET", "/casemate/apps/{app_id}/ownership", READ),
    ("POST", "/casemate/apps/{app_id}/ownership", WORKSPACE),
    ("GET", "/casemate/attestation/root", NOTHING),
    ("GET", "/casemate/audit", WORKSPACE),
    ("GET", "/casemate/audit/export", WORKSPACE),
    ("POST", "/casemate/auth/device/decide", KEYS),
    ("GET", "/casemate/cvms/{cvm_id}/attestation/bundle", READ),
    ("POST", "/casemate/cvms/{cvm_id}/attestation/requests", WRITE),
    ("GET", "/casemate/cvms/{cvm_id}/attestation/requests/{request_id}", READ),
    ("GET", "/casemate/cvms/{cvm_id}/logs", LOGS),
    ("POST", "/casemate/invitations/accept", KEYS_OR_NO_KEY),
    ("GET", "/casemate/templates", READ),
    ("GET", "/casemate/templates/{template}", READ),
    ("POST", "/casemate/tokens/{token_id}/rotate", KEYS),
    ("GET", "/cvms", READ),
    ("POST", "/cvms", WRITE),
    ("POST", "/cvms/batch-stop", WRITE),
    ("POST", "/cvms/eliza", WRITE),
    ("PATCH", "/cvms/instance-ids", WRITE),
    ("GET", "/cvms/paginated", READ),
    ("POST", "/cvms/provision", WRITE),
    ("POST", "/cvms/provision/eliza", WRITE),
    ("POST", "/cvms/refresh-instance-ids", WRITE),
    ("POST", "/cvms/workload", WRITE),
    ("GET", "/cvms/{cvm_id}", READ),
    ("PATCH", "/cvms/{cvm_id}", WRITE),
    ("DELETE", "/cvms/{cvm_id}", WRITE),
    ("GET", "/cvms/{cvm_id}/attestation", READ),
    ("GET", "/cvms/{cvm_id}/available-os-images", READ),
    ("POST", "/cvms/{cvm_id}/commit-replica", NOTHING),
    ("GET", "/cvms/{cvm_id}/commit-update", NOTHING),
    ("POST", "/cvms/{cvm_id}/commit-update", NOTHING),
    ("PUT", "/cvms/{cvm_id}/compose", WRITE),
    ("GET", "/cvms/{cvm_id}/compose_file", READ),
    ("POST", "/cvms/{cvm_id}/compose_file", WRITE),
    ("PATCH", "/cvms/{cvm_id}/compose_file", WRITE),
    ("POST", "/cvms/{cvm_id}/compose_file/commit", WRITE),
    ("POST", "/cvms/{cvm_id}/compose_file/provision", WRITE),
    ("GET", "/cvms/{cvm_id}/composition", READ),
    ("POST", "/cvms/{cvm_id}/customize-domain-diagnose", READ),
    ("PATCH", "/cvms/{cvm_id}/docker-compose", WRITE),
    ("GET", "/cvms/{cvm_id}/docker-compose.yml", READ),
    ("PATCH", "/cvms/{cvm_id}/envs", SECRETS),
    ("GET", "/cvms/{cvm_id}/firewall-status", READ),
    ("PATCH", "/cvms/{cvm_id}/instance-id", WRITE),
    ("POST", "/cvms/{cvm_id}/is-allowed", READ),
    ("PATCH", "/cvms/{cvm_id}/listed", WRITE),
    ("PATCH", "/cvms/{cvm_id}/name", WRITE),
    ("GET", "/cvms/{cvm_id}/network", READ),
    ("GET", "/cvms/{cvm_id}/network-config", READ),
    ("PATCH", "/cvms/{cvm_id}/network-config", WRITE),
    ("GET", "/cvms/{cvm_id}/operation-status", READ),
    ("GET", "/cvms/{cvm_id}/operations", READ),
    ("POST", "/cvms/{cvm_id}/operations/cancel", WRITE),
    ("PATCH", "/cvms/{cvm_id}/os-image", WRITE),
    ("GET", "/cvms/{cvm_id}/ports", READ),
    ("PUT", "/cvms/{cvm_id}/ports", WRITE),
    ("GET", "/cvms/{cvm_id}/pre-launch-script", READ),
    ("PATCH", "/cvms/{cvm_id}/pre-launch-script", WRITE),
    ("GET", "/cvms/{cvm_id}/pre-launch-script/upgrade-status", READ),
    ("POST", "/cvms/{cvm_id}/preview", READ),
    ("POST", "/cvms/{cvm_id}/refresh-instance-id", WRITE),
    ("POST", "/cvms/{cvm_id}/replicas", WRITE),
    ("PATCH", "/cvms/{cvm_id}/resources", WRITE),
    ("POST", "/cvms/{cvm_id}/restart", WRITE),
    ("POST", "/cvms/{cvm_id}/revisions/{revision_id}/redeploy", WRITE),
    ("PATCH", "/cvms/{cvm_id}/scheduled-delete", WRITE),
    ("POST", "/cvms/{cvm_id}/shutdown", WRITE),
    ("POST", "/cvms/{cvm_id}/start", WRITE),
    ("GET", "/cvms/{cvm_id}/state", READ),
    ("GET", "/cvms/{cvm_id}/stats", READ),
    ("POST", "/cvms/{cvm_id}/stop", WRITE),
    ("GET", "/cvms/{cvm_id}/user_config", READ),
    ("PATCH", "/cvms/{cvm_id}/user_config", WRITE),
    ("PATCH", "/cvms/{cvm_id}/visibility", WRITE),
    ("POST", "/governance/plan", READ),
    ("GET", "/instance-types", READ),
    ("GET", "/instance-types/{family}", READ),
    ("GET", "/kms", READ),
    ("GET", "/kms/on-chain/{chain}", READ),
    ("GET", "/kms/phala/next_app_id", READ),
    ("GET", "/kms/{kms_id}", READ),
    ("GET", "/kms/{kms_id}/info", READ),
    ("GET", "/kms/{kms_id}/nodes", READ),
    ("GET", "/kms/{kms_id}/pubkey/{app_id}", READ),
    ("GET", "/kms/{kms_id}/pubkey/{app_id}/timestamped", READ),
    ("GET", "/os-images", READ),
    ("GET", "/profiles/me", KEY),
    ("PUT", "/profiles/me", KEYS),
    ("GET", "/profiles/{entity_type}/{entity_id}", KEY),
    ("PUT", "/profiles/{entity_type}/{entity_id}", KEYS),
    ("DELETE", "/profiles/{entity_type}/{entity_id}", KEYS),
    ("POST", "/status/batch", READ),
    ("GET", "/teepods/available", READ),
    ("GET", "/teepods/cvm-create-resources", READ),
    ("GET", "/tokens", KEYS),
    ("POST", "/tokens", KEYS),
    ("DELETE", "/tokens/{token_id}", KEYS),
    ("POST", "/tokens/{token_id}/refresh", KEYS),
    ("GET", "/user/ssh-keys", SSH_KEYS),
    ("POST", "/user/ssh-keys", SSH_KEYS),
    ("POST", "/user/ssh-keys/github-profile", SSH_KEYS),
    ("POST", "/user/ssh-keys/github-sync", SSH_KEYS),
    ("DELETE", "/user/ssh-keys/{key_id}", SSH_KEYS),
    ("GET", "/workspace/policy", READ),
    ("PATCH", "/workspace/policy", WORKSPACE),
    ("GET", "/workspace/webhooks", WEBHOOKS),
    ("POST", "/workspace/webhooks", WEBHOOKS),
    ("GET", "/workspace/webhooks/{webhook_id}", WEBHOOKS),
    ("PUT", "/workspace/webhooks/{webhook_id}", WEBHOOKS),
    ("DELETE", "/workspace/webhooks/{webhook_id}", WEBHOOKS),
    ("GET", "/workspace/webhooks/{webhook_id}/deliveries", WEBHOOKS),
    ("POST", "/workspace/webhooks/{webhook_id}/deliveries/{event_id}/resend", WEBHOOKS),
    ("POST", "/workspace/webhooks/{webhook_id}/reveal-secret", WEBHOOKS),
    ("POST", "/workspace/webhooks/{webhook_id}/rotate-secret", WEBHOOKS),
    ("GET", "/workspace/webhooks/{webhook_id}/stats", WEBHOOKS),
    ("POST", "/workspace/webhooks/{webhook_id}/test", WEBHOOKS),
    ("GET", "/workspaces", KEY),
    ("POST", "/workspaces/check-slug", KEY),
    ("GET", "/workspaces/{slug}", KEY),
    ("GET", "/workspaces/{slug}/invitations", WORKSPACE),
    ("POST", "/workspaces/{slug}/invitations", WORKSPACE),
    ("POST", "/workspaces/{slug}/invitations/shareable", WORKSPACE),
    ("DELETE", "/workspaces/{slug}/invitations/{invitation_id}", WORKSPACE),
    ("POST", "/workspaces/{slug}/leave", KEYS),
    ("GET", "/workspaces/{slug}/members", READ),
    ("PATCH", "/workspaces/{slug}/members/{user_id}", WORKSPACE),
    ("DELETE", "/workspaces/{slug}/members/{user_id}", WORKSPACE),
    ("GET", "/workspaces/{slug}/nodes", READ),
    ("GET", "/workspaces/{slug}/quotas", KEY),
];

/// Where the paths of [`ROUTES`] begin.
pub const PREFIX: &str = "/api/v1";

static NEEDS: LazyLock<HashMap<(&str, &str), Need>> =
    LazyLock::new(|| ROUTES.iter().map(|&(method, path, need)| ((path, method), need)).collect());

/// What a route needs; `None` where it has no row. `HEAD` needs what `GET` does.
fn need(method: &Method, path: &str) -> Option<Need> {
    let path = path.strip_prefix(PREFIX)?;
    let row = |method: &str| NEEDS.get(&(path, method)).copied();
    row(method.as_str()).or_else(|| (method == Method::HEAD).then(|| row("GET")).flatten())
}

/// The caller of a request that [`decide`] let pass.
#[derive(Debug, Clone)]
pub struct Passed(pub Option<Auth>);

/// Finds out who asks and refuses what they may not do.
pub async fn decide(State(ctx): State<Ctx>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let route = MatchedPath::from_request_parts(&mut parts, &()).await.ok();
    let route = route.and_then(|route| Some((need(&parts.method, route.as_str())?, route)));
    let Some((need, route)) = route else {
        // The path has no such method, and its handler says so. Handlers of other routes without a row find no caller,
        // and refuse.
        return next.run(Request::from_parts(parts, body)).await;
    };
    let audited = audit::request(&parts, &route, need);
    let Some(audited) = audited else {
        return pass_on(&ctx, parts, body, need, next).await;
    };
    let response = audited.clone().run(pass_on(&ctx, parts, body, need, next)).await;
    audit::finish(&ctx, &audited, response).await
}

async fn pass_on(ctx: &Ctx, mut parts: Parts, body: Body, need: Need, next: Next) -> Response {
    match pass(ctx, &parts, need).await {
        Ok(passed) => {
            parts.extensions.insert(passed);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(Stopped::Refused(error)) => ApiError::from(error).into_response(),
        Err(Stopped::TooMany(limit, wait)) => too_many(limit, wait),
    }
}

/// Why a request goes no further.
enum Stopped {
    Refused(Error),
    /// Whose limit it is, and when the next request may come.
    TooMany(&'static str, Duration),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

fn too_many(limit: &'static str, wait: Duration) -> Response {
    metrics::counter!("casemate_requests_limited_total", "limit" => limit).increment(1);
    let why = format!("too many requests of this {limit}");
    let error = Error::because(ErrorCode::RateLimited, why)
        .suggest("Wait as long as Retry-After says. The operator sets the limits: [limits].");
    let mut response = ApiError::from(error).into_response();
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.headers_mut().insert(header::RETRY_AFTER, seconds.max(1).into());
    response
}

async fn pass(ctx: &Ctx, parts: &Parts, need: Need) -> Result<Passed, Stopped> {
    let (limits, address) = (&ctx.rate_limits, parts.extensions.get::<ClientAddress>());
    let address = address.map(|address| address.0);
    limits.of_address(address).map_err(|wait| Stopped::TooMany("address", wait))?;
    let anonymous = || {
        let counted = limits.of_anonymous(address);
        counted.map_err(|wait| Stopped::TooMany("address without an API key", wait))
    };
    let token = token(&parts.headers).filter(|_| need != Need::Nothing);
    let Some(token) = token else {
        anonymous()?;
        if need.allows_no_key() {
            return Ok(Passed(None));
        }
        return Err(Error::code(ErrorCode::Unauthenticated).into());
    };
    let caller = match ctx.authenticate(token).await {
        Ok(caller) => caller,
        Err(error) => {
            anonymous()?;
            return Err(error.into());
        }
    };
    limits.of_key(caller.key).map_err(|wait| Stopped::TooMany("API key", wait))?;
    crate::app::audit::is_by(&caller);
    caller.may(need)?;
    Ok(Passed(Some(Auth(caller))))
}

/// `X-API-Key`, as official clients send it, or a bearer token.
fn token(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    text("x-api-key")
        .or_else(|| text("authorization").and_then(|value| value.strip_prefix("Bearer ")))
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_distinct() {
        let order = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
        let place = |method: &str| order.iter().position(|word| *word == method).unwrap();
        let keys: Vec<_> = ROUTES.iter().map(|(method, path, _)| (path, place(method))).collect();
        assert!(keys.is_sorted_by(|one, next| one < next), "sort the table of routes by path");
    }
}
