//! App templates of the operator, and the routes of the reference that deploy one.

use axum::{
    Json,
    extract::{Path, State},
};
use casemate_api::{
    commit::CommitRequest,
    compose_file::ComposeFile,
    error::ErrorBody,
    patch::Patch,
    provision::ProvisionRequest,
    reply::{Provisioned, Vm},
    template::{ElizaRequest, Template, Templates, WorkloadRequest},
};

use crate::{
    app::{
        Ctx, commit,
        mutation::Written,
        provision,
        templates::{self, NamedTemplate},
        update, views,
    },
    http::{
        error::ApiError,
        extract::{Auth, Body, Version},
        render,
    },
};

/// Lists the app templates of the operator.
#[utoipa::path(
    get,
    path = "/casemate/templates",
    operation_id = "list_templates",
    tag = "Templates",
    responses((status = 200, body = Templates)),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn list(State(ctx): State<Ctx>, Auth(caller): Auth) -> Json<Templates> {
    Json(templates::list(&ctx, &caller))
}

/// One app template: its compose file, parameters and readme.
#[utoipa::path(
    get,
    path = "/casemate/templates/{template}",
    operation_id = "get_template",
    tag = "Templates",
    params(("template" = String, Path)),
    responses(
        (status = 200, body = Template),
        (status = 404, description = "No such template.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn detail(
    State(ctx): State<Ctx>,
    _: Auth,
    Path(slug): Path<String>,
) -> Result<Json<Template>, ApiError> {
    Ok(Json(templates::detail(&ctx, &slug)?))
}

/// Prepares a deployment of the template that the operator named for Eliza.
///
/// The characterfile becomes a text in its compose file. Commit it with `POST /cvms/eliza`.
#[utoipa::path(
    post,
    path = "/cvms/provision/eliza",
    operation_id = "provision_eliza",
    tag = "CVMs",
    request_body = ElizaRequest,
    responses(
        (status = 200, body = Provisioned),
        (status = 400, description = "A field is refused; `details` names it.", body = ErrorBody),
        (status = 501, description = "No template is configured for it.", body = ErrorBody),
    ),
)]
pub async fn provision_eliza(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    request: Body<ElizaRequest>,
) -> Result<Written<Provisioned>, ApiError> {
    let Body { value, unknown, key } = request;
    let compose = NamedTemplate::Eliza.compose(&ctx, &value.characterfile, &value.env_keys)?;
    let request = ProvisionRequest {
        name: value.name,
        compose_file: Some(ComposeFile {
            docker_compose_file: Some(compose),
            allowed_envs: Some(value.env_keys),
            ..ComposeFile::default()
        }),
        node_id: value.teepod_id,
        image: value.image,
        kms_id: value.kms_id,
        ..ProvisionRequest::default()
    };
    let (mutation, view) = provision::provision(&ctx, &caller, key, &request, &unknown).await?;
    Ok(mutation.finish(&render::provision(&view, version.version)).await?)
}

/// Commits what `POST /cvms/provision/eliza` prepared, as `POST /cvms` does.
#[utoipa::path(
    post,
    path = "/cvms/eliza",
    operation_id = "create_eliza",
    tag = "CVMs",
    request_body = CommitRequest,
    responses(
        (status = 200, body = Vm),
        (status = 409, description = "The name or the app is taken, or the node is full.", body = ErrorBody),
        (status = 501, description = "No template is configured for it.", body = ErrorBody),
    ),
)]
pub async fn create_eliza(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    request: Body<CommitRequest>,
) -> Result<Written<Vm>, ApiError> {
    NamedTemplate::Eliza.require(&ctx)?;
    let (mutation, view) = commit::commit(&ctx, &caller, request.key, &request.value).await?;
    Ok(mutation.finish(&render::cvm_commit(&view, version.version)).await?)
}

/// Deploys the template that the operator named for workloads: prepares and commits in one request.
///
/// A process that dies in between leaves a prepared deployment, which nobody sees and which expires.
#[utoipa::path(
    post,
    path = "/cvms/workload",
    operation_id = "create_workload",
    tag = "CVMs",
    request_body = WorkloadRequest,
    responses(
        (status = 200, body = Vm),
        (status = 400, description = "A field is refused; `details` names it.", body = ErrorBody),
        (status = 409, description = "The name is taken, or the node is full.", body = ErrorBody),
        (status = 501, description = "No template is configured for it.", body = ErrorBody),
    ),
)]
pub async fn create_workload(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    request: Body<WorkloadRequest>,
) -> Result<Written<Vm>, ApiError> {
    let Body { value, unknown, key } = request;
    // A repetition prepares nothing.
    drop(ctx.begin_mutation(&caller, key.clone()).await?);
    let compose = NamedTemplate::Workload.compose(&ctx, &value.model_id, &[])?;
    let request = ProvisionRequest {
        name: value.name,
        instance_type: Some(value.instance_type),
        compose_file: Some(ComposeFile {
            docker_compose_file: Some(compose),
            ..ComposeFile::default()
        }),
        ..ProvisionRequest::default()
    };
    let (prepared, view) = provision::provision(&ctx, &caller, None, &request, &unknown).await?;
    prepared.finish_part().await?;
    let commit = CommitRequest {
        app_id: view.app_id,
        compose_hash: view.compose_hash,
        encrypted_env: None,
        env_keys: None,
        kms_id: None,
        contract_address: None,
        deployer_address: None,
        transaction_hash: None,
    };
    let (mut mutation, view) = commit::commit(&ctx, &caller, key, &commit).await?;
    let view = if let Patch::Value(at) = value.scheduled_delete_at {
        let id = view.id;
        let cvm =
            update::schedule::set(&ctx, &mut mutation.tx, &caller, id, Some(Some(at))).await?;
        views::cvm(&ctx, &caller, &cvm)
    } else {
        view
    };
    Ok(mutation.finish(&render::cvm_commit(&view, version.version)).await?)
}
