//! What a change would come to, told before it is made. Nothing is written.

use casemate_api::{
    error::ErrorCode,
    network::PortsRequest,
    preview::PreviewRequest,
    reply::{self, ChangePreview, HostPort, PreviewedConfiguration},
    revision::RedeployRequest,
};
use casemate_core::{
    change::{Configuration, Effect, EnvReport, env_report},
    cvm::Power,
    id::CvmId,
};

use super::{lock_cvm, network, request};
use crate::app::{Caller, Ctx, Error, cvms, revisions};

/// What a change of a CVM would come to, after all that waits.
pub async fn show(
    ctx: &Ctx,
    caller: &Caller,
    cvm: &str,
    asked: PreviewRequest,
) -> Result<ChangePreview, Error> {
    let id = cvms::find(ctx, caller, cvm).await?.id;
    // Dropped at the end.
    let mut tx = ctx.begin().await?;
    let change_request = match asked {
        PreviewRequest { patch: Some(patch), ports: None, revision: None } => {
            request::patch(ctx, &patch).map_err(|error| error.within("patch"))?
        }
        PreviewRequest { patch: None, ports: Some(ports), revision: None } => {
            network::ports(&mut tx, caller, id, &PortsRequest { ports }).await?
        }
        PreviewRequest { patch: None, ports: None, revision: Some(revision) } => {
            let request = RedeployRequest { allow_env_mismatch: Some(true), ..Default::default() };
            revisions::on_cvm(ctx, &mut tx, caller, id, &revision, &request).await?
        }
        _ => {
            let why = "one of patch, ports and revision must say which change";
            return Err(Error::because(ErrorCode::InvalidRequest, why));
        }
    };
    let cvm = lock_cvm(&mut tx, caller, id).await?;
    let (before, after, effect) =
        super::preview(ctx, &mut tx, &cvm, &change_request.change).await?;
    let report = env_report(&before, &after, change_request.named.as_deref());
    Ok(ChangePreview {
        effect,
        restart: effect == Effect::Restart && cvm.desired.power == Power::Running,
        before: configuration(id, &before),
        after: configuration(id, &after),
        unset_variables: after.document.unset_variables(),
        env_report: report.map(|report| {
            let EnvReport { added, removed, missing } = report;
            reply::EnvReport { added, removed, missing }
        }),
    })
}

fn configuration(cvm: CvmId, configuration: &Configuration) -> PreviewedConfiguration {
    let Configuration { spec, document, sealed_env: _ } = configuration;
    PreviewedConfiguration {
        compose_hash: spec.compose_hash,
        docker_compose_file: document.docker_compose_file.clone(),
        pre_launch_script: document.pre_launch_script.clone(),
        allowed_envs: document.allowed_envs.clone(),
        public_logs: document.public_logs,
        public_sysinfo: document.public_sysinfo,
        public_tcbinfo: document.public_tcbinfo,
        gateway_enabled: document.gateway_enabled,
        secure_time: document.secure_time,
        user_config: spec.user_config.clone(),
        instance_type: spec.resources.instance_type.clone(),
        vcpu: spec.resources.vcpu,
        memory: spec.resources.memory_mb,
        disk_size: spec.resources.disk_gb,
        image: spec.image.clone(),
        ports: network::config(spec, cvm).ports.iter().map(HostPort::from).collect(),
        listed: spec.listed,
        shutdown_timeout: spec.shutdown_timeout_s,
        allow_force_stop: spec.allow_force_stop,
    }
}
