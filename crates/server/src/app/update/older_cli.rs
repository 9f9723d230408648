//! `PUT /cvms/{id}/compose`, which `phala cvms upgrade` sends: from its body to a [`Change`].

use casemate_api::{
    compose_file::ComposeFile, error::ErrorCode, older_cli::ComposeUpgradeRequest, patch::Patch,
};
use casemate_core::change::{Change, Set};

use super::{ChangeRequest, request};
use crate::app::Error;

/// The change that the body asks for.
///
/// # Errors
/// A field that cannot be changed this way, by name, with the route that can.
pub fn compose(body: &ComposeUpgradeRequest) -> Result<ChangeRequest, Error> {
    let file = &body.compose_manifest;
    if let Some(field) = find_unserved(file) {
        let field = format!("compose_manifest.{field}");
        return Err(Error::field(ErrorCode::FieldNotServed, &field, "cannot be changed here")
            .suggest(
                "Use POST /api/v1/cvms/{id}/compose_file/provision, then PATCH compose_file.",
            ));
    }
    if body.update_ports == Some(true) {
        let why = "must be false or left out";
        return Err(Error::field(ErrorCode::FieldNotServed, "update_ports", why)
            .suggest("Set host ports with PUT /api/v1/cvms/{id}/ports."));
    }
    let sealed = body.encrypted_env.clone().or_else(|| file.encrypted_env.clone());
    let sealed_env = request::sealed_env(&sealed.map_or(Patch::Absent, Patch::Value))?;
    // Without an environment the client sends empty lists of names; they would take away the present ones.
    let names = if matches!(sealed_env, Set::To(_)) {
        let keys = request::env_keys(body.env_keys.as_ref())?;
        (file.allowed_envs.clone().or_else(|| keys.clone()), keys)
    } else {
        (None, None)
    };
    let change = Change {
        docker_compose_file: file.docker_compose_file.clone(),
        pre_launch_script: file.pre_launch_script.clone(),
        public_logs: file.public_logs,
        public_sysinfo: file.public_sysinfo,
        public_tcbinfo: file.public_tcbinfo,
        gateway_enabled: file.gateway(),
        secure_time: file.secure_time,
        allowed_envs: names.0,
        env_keys: names.1,
        sealed_env,
        user_config: request::user_config(&body.user_config)?,
        ..Change::default()
    };
    Ok(ChangeRequest { may_restart: body.allow_restart.unwrap_or(true), ..change.into() })
}

/// The first field that says something other than its default and that a [`Change`] does not have.
fn find_unserved(file: &ComposeFile) -> Option<&'static str> {
    let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    [
        ("bash_script", filled(&file.bash_script)),
        ("init_script", filled(&file.init_script)),
        ("salt", filled(&file.salt)),
        ("default_gateway_domain", filled(&file.default_gateway_domain)),
        ("kms_enabled", file.kms_enabled == Some(false)),
        ("local_key_provider_enabled", file.local_key_provider_enabled == Some(true)),
        ("no_instance_id", file.no_instance_id == Some(true)),
        ("storage_fs", matches!(file.storage_fs, Patch::Value(_))),
        ("key_provider", filled(&file.key_provider)),
    ]
    .into_iter()
    .find_map(|(field, said)| said.then_some(field))
}
