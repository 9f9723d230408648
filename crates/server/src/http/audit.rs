//! Which requests the audit log has, and what they act on; from the table of routes.

use std::{collections::HashMap, sync::LazyLock};

use axum::{
    extract::MatchedPath,
    http::{Method, request::Parts},
    response::{IntoResponse, Response},
};
use casemate_core::{
    access::Need,
    audit::TargetKind::{
        self, App, Cvm, DeviceLogin, Gateway, GatewayDomain, GatewayInstance, Invitation, Key,
        Member, Node, Policy, Profile, Quota, SshKey, User, Webhook, Workspace,
    },
};

use super::{
    client_address::ClientAddress,
    error::{ApiError, Pending},
    middleware::RequestId,
    openapi,
};
use crate::app::{
    Ctx,
    audit::{AuditedRequest, Origin},
};

/// Routes with a method of a change that change nothing: they compute or look, and have a body because a query is too
/// short. Any other route that is not GET or HEAD is in the log.
pub const READING: &[&str] = &[
    "/admin/placement/simulate",
    "/apps/{app_id}/cvms/is-allowed",
    "/apps/{app_id}/is-allowed",
    "/attestations/verify",
    "/cvms/{cvm_id}/customize-domain-diagnose",
    "/cvms/{cvm_id}/is-allowed",
    "/cvms/{cvm_id}/preview",
    "/governance/plan",
    "/status/batch",
    "/workspaces/check-slug",
];

/// What routes act on, by how their paths begin; the first row that fits counts. The last parameter of the beginning
/// is the id.
const TARGETS: &[(&str, TargetKind)] = &[
    ("/admin/cvms/{cvm}", Cvm),
    ("/admin/gateways/{name}/domains/{domain}", GatewayDomain),
    ("/admin/gateways/{name}/instances/{instance_id}", GatewayInstance),
    ("/admin/gateways/{name}", Gateway),
    ("/admin/keys/{key_id}", Key),
    ("/admin/keys", Key),
    ("/admin/nodes/{name}", Node),
    ("/admin/nodes", Node),
    ("/admin/users/{username}", User),
    ("/admin/users", User),
    ("/admin/workspaces/{slug}/members/{username}", Member),
    ("/admin/workspaces/{slug}/quota", Quota),
    ("/admin/workspaces", Workspace),
    ("/apps/{app_id}/cvms/{vm_uuid}", Cvm),
    ("/apps/{app_id}", App),
    ("/auth/device", DeviceLogin),
    ("/casemate/apps/{app_id}", App),
    ("/casemate/auth/device", DeviceLogin),
    ("/casemate/cvms/{cvm_id}", Cvm),
    ("/casemate/invitations", Invitation),
    ("/casemate/tokens/{token_id}", Key),
    ("/cvms/{cvm_id}", Cvm),
    ("/cvms", Cvm),
    ("/profiles/{entity_type}/{entity_id}", Profile),
    ("/profiles/me", Profile),
    ("/tokens/{token_id}", Key),
    ("/tokens", Key),
    ("/user/ssh-keys/{key_id}", SshKey),
    ("/user/ssh-keys", SshKey),
    ("/workspace/policy", Policy),
    ("/workspace/webhooks/{webhook_id}", Webhook),
    ("/workspace/webhooks", Webhook),
    ("/workspaces/{slug}/invitations/{invitation_id}", Invitation),
    ("/workspaces/{slug}/invitations", Invitation),
    ("/workspaces/{slug}/members/{user_id}", Member),
    ("/workspaces/{slug}", Workspace),
];

/// Whether the log has requests of this route.
pub fn is_audited(method: &str, route: &str) -> bool {
    !matches!(method, "GET" | "HEAD") && !READING.contains(&route)
}

/// What a route acts on, and which segment of its path is the id; `None`: [`TARGETS`] lacks a row.
pub fn target(route: &str) -> Option<(TargetKind, Option<usize>)> {
    let &(prefix, kind) = TARGETS.iter().find(|(prefix, _)| route.starts_with(prefix))?;
    let id = prefix.split('/').enumerate().filter(|(_, part)| part.starts_with('{')).last();
    Some((kind, id.map(|(place, _)| place)))
}

/// Operation ids by method and path below `/api/v1`.
static ACTIONS: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let document = openapi::document();
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(path, methods)| {
        let path = path.strip_prefix(super::access::PREFIX).unwrap_or(path);
        methods.as_object().into_iter().flatten().filter_map(move |(method, operation)| {
            let id = operation["operationId"].as_str()?;
            Some((format!("{} {path}", method.to_uppercase()), id.to_owned()))
        })
    });
    operations.collect()
});

/// The id of an operation in the description of the API.
pub fn action(method: &str, route: &str) -> Option<&'static str> {
    ACTIONS.get(&format!("{method} {route}")).map(String::as_str)
}

/// The request, if the log has it. `route`: its path in the table.
pub fn request(
    parts: &Parts,
    route: &MatchedPath,
    need: Need,
) -> Option<std::sync::Arc<AuditedRequest>> {
    if matches!(parts.method, Method::GET | Method::HEAD) {
        return None;
    }
    let route = route.as_str().strip_prefix(super::access::PREFIX)?;
    // The router that these routes are in has taken the prefix off the path.
    let path = parts.uri.path();
    let path = path.strip_prefix(super::access::PREFIX).unwrap_or(path);
    if !is_audited(parts.method.as_str(), route) {
        return None;
    }
    let (target, place) = target(route)?;
    let origin = Origin {
        action: action(parts.method.as_str(), route)?,
        target,
        target_id: place.and_then(|place| path.split('/').nth(place)).map(str::to_owned),
        address: parts.extensions.get::<ClientAddress>().map(|address| address.0),
        request_id: parts.extensions.get::<RequestId>().map(|id| id.0.to_string()),
        of_installation: need == Need::Operator,
    };
    Some(AuditedRequest::new(origin))
}

/// The response, once the row of its request is certain.
pub async fn finish(ctx: &Ctx, request: &AuditedRequest, response: Response) -> Response {
    let pending = response.extensions().get::<Pending>();
    let code = pending.and_then(|pending| pending.body.structured());
    let code = code.map(|body| body.error_code.clone());
    match request.finish(ctx, response.status().as_u16(), code).await {
        Ok(()) => response,
        Err(error) => ApiError::from(error).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::access::ROUTES;

    #[test]
    fn each_route_of_a_change_has_a_target_and_an_action() {
        for (method, route, _) in ROUTES {
            if is_audited(method, route) {
                assert!(target(route).is_some(), "{method} {route}: add a row to TARGETS");
                assert!(action(method, route).is_some(), "{method} {route} has no operation id");
            }
        }
        for route in READING {
            assert!(ROUTES.iter().any(|(_, path, _)| path == route), "{route}: no such route");
        }
        assert!(READING.is_sorted());
        let place = |route| target(route).and_then(|(_, place)| place);
        assert_eq!(place("/apps/{app_id}/cvms/{vm_uuid}/replicas"), Some(4));
        assert_eq!(place("/cvms/batch-stop"), None);
    }
}
