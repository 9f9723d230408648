//! The API's description. Handlers describe themselves; what all of them have in common is said here
//! once, and so are the few types that only the description has.

use std::sync::LazyLock;

use casemate_api::{
    commit::CommitRequest,
    error::ErrorBody,
    page::Page,
    provision::ProvisionRequest,
    reply::{OsImage, Provisioned, Vm},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::v1;

/// The description as JSON text, made when first asked for.
pub static JSON: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", document()));

/// Body of `POST /cvms`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum CreateRequest {
    /// The second phase.
    Commit(CommitRequest),
    /// The first one, as the newest Go SDK posts it here.
    Provision(Box<ProvisionRequest>),
}

/// Reply of `POST /cvms`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum CreateReply {
    /// The CVM.
    Commit(Box<Vm>),
    /// What was prepared.
    Provision(Box<Provisioned>),
}

/// Reply of `GET /os-images`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum OsImagesReply {
    /// Where `X-Phala-Version` is sent.
    Page(Page<OsImage>),
    /// Where it is not.
    Array(Vec<OsImage>),
}

const ABOUT: &str = "\
Control plane for confidential VMs, wire-compatible with Phala Cloud: its CLI, SDKs and Terraform \
provider work unchanged.

Replies depend on the header `X-Phala-Version`: 2025-10-28, 2026-01-21, 2026-05-22 or 2026-06-23. \
Without it, it is 2026-01-21; a later date means the newest version; anything else is a 400. Where a \
reply has one shape per version, its type lists them.

What is marked `x-casemate` is an addition of ours, which other servers do not have. Unknown fields of \
a request are ignored.

A CVM is accepted, then brought about: a reply that says so does not wait for it. Watch its state.";

#[derive(OpenApi)]
#[openapi(
    info(title = "Casemate API", description = ABOUT, license(name = "Apache-2.0", identifier = "Apache-2.0")),
    tags(
        (name = "CVMs", description = "Confidential VMs: deploy, look, start, stop, delete."),
        (name = "Apps", description = "What CVMs run; replicas share an app."),
        (name = "KMS", description = "Keys that environments are sealed to."),
        (name = "Nodes", description = "Where CVMs run, and the OS images there."),
        (name = "Instance Types", description = "Sizes on offer."),
        (name = "Webhooks", description = "URLs that are sent what happens in a workspace."),
        (name = "SSH Keys", description = "Public keys of a user."),
        (name = "Account", description = "Who a key belongs to."),
    ),
    components(schemas(ErrorBody)),
    security(("ApiKey" = []), ("Bearer" = [])),
)]
struct Frame;

/// The whole description.
pub fn document() -> Value {
    let router = OpenApiRouter::with_openapi(Frame::openapi()).nest("/api/v1", v1::router());
    let mut document = serde_json::to_value(router.into_openapi()).unwrap_or_default();
    add_components(&mut document["components"]);
    mark_own_fields(&mut document["components"]["schemas"]);
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, methods) in paths {
            for (method, operation) in methods.as_object_mut().into_iter().flatten() {
                complete(operation, method, path);
            }
        }
    }
    document
}

fn add_components(components: &mut Value) {
    components["securitySchemes"] = json!({
        "ApiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
        "Bearer": { "type": "http", "scheme": "bearer", "description": "The same key as a bearer token." },
    });
    components["parameters"] = json!({
        "Version": {
            "name": "X-Phala-Version", "in": "header", "required": false,
            "description": "Version of the API to answer in.",
            "schema": { "type": "string", "format": "date", "default": "2026-01-21" },
        },
        "IdempotencyKey": {
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "Repeated with the same key, a request gets the first answer again, with \
                `Idempotent-Replayed: true`.",
            "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
        },
    });
    let error = |description: &str| {
        let schema = json!({ "$ref": "#/components/schemas/ErrorBody" });
        json!({ "description": description, "content": { "application/json": { "schema": schema } } })
    };
    components["responses"] = json!({
        "Unauthenticated": error("The key is missing, wrong, expired or revoked."),
        "Error": error("Any other error. With `Retry-After` it may go better next time."),
    });
}

/// Our fields in upstream's types say so in their documentation; clients of the description look for
/// a mark.
fn mark_own_fields(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let text = fields.get("description").and_then(Value::as_str);
            if text.is_some_and(|text| text.contains("(Casemate only)")) {
                fields.insert("x-casemate".to_owned(), json!(true));
            }
            fields.values_mut().for_each(mark_own_fields);
        }
        Value::Array(items) => items.iter_mut().for_each(mark_own_fields),
        _ => {}
    }
}

/// Adds what every operation has: headers, errors, and words for the ids in its path.
fn complete(operation: &mut Value, method: &str, path: &str) {
    let mut parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    for parameter in parameters.iter_mut().filter(|parameter| parameter["in"] == "path") {
        parameter["description"] = json!(id_forms(parameter["name"].as_str().unwrap_or_default()));
    }
    parameters.push(json!({ "$ref": "#/components/parameters/Version" }));
    // `cargo xtask edges` compares this with what handlers return.
    let keeps_no_reply = [
        "/status/batch",
        "/attestations/verify",
        "/governance/plan",
        "/customize-domain-diagnose",
        "/is-allowed",
        "/check",
        "/preview",
        "/simulate",
        // What a cluster of dstack-gateway is told is kept there.
        "/admin/gateways/{name}/domains",
        "/admin/gateways/{name}/domains/{domain}",
        "/port-policy",
        "/check-slug",
        // Replies with secrets, which are not kept.
        "/tokens",
        "/rotate",
        "/admin/keys",
        "/invitations",
        "/invitations/shareable",
        "/invitations/accept",
        "/auth/device/code",
        "/auth/device/token",
        "/reveal-secret",
    ];
    if !["get", "head"].contains(&method) && !keeps_no_reply.iter().any(|end| path.ends_with(end)) {
        parameters.push(json!({ "$ref": "#/components/parameters/IdempotencyKey" }));
    }
    operation["parameters"] = json!(parameters);
    for reply in operation["responses"].as_object_mut().into_iter().flat_map(|all| all.values_mut())
    {
        if reply["description"].as_str().is_none_or(str::is_empty) {
            reply["description"] = json!("OK.");
        }
    }
    // `[{}]`: no key is asked for.
    if operation["security"].is_null() {
        operation["responses"]["401"] = json!({ "$ref": "#/components/responses/Unauthenticated" });
    }
    operation["responses"]["default"] = json!({ "$ref": "#/components/responses/Error" });
}

fn id_forms(name: &str) -> &'static str {
    match name {
        "cvm_id" => {
            "`cvm_…`, UUID with or without dashes, integer id, app id (where the app has one CVM), \
             `instance_…` or bare instance id, or name."
        }
        "vm_uuid" => "UUID with or without dashes, or another form of the id of a CVM.",
        "app_id" => "40 hex digits, bare or after `app_` or `0x`.",
        "kms_id" => "Id or slug, its contract, or its kind where only one is of it.",
        "chain" => "`ethereum` or `base`.",
        _ => "As the list of them says it.",
    }
}
