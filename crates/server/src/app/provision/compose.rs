//! From what clients say of the compose file to the document that is hashed.

use casemate_api::{
    compose_file::StorageFs, error::ErrorCode, patch::Patch, provision::ProvisionRequest,
};
use casemate_core::compose::{AppCompose, ComposeError, ComposeInput};

use crate::app::Error;

/// The normalised document of a request.
pub fn document(request: &ProvisionRequest) -> Result<AppCompose, Error> {
    let Some(file) = &request.compose_file else {
        return Err(Error::field(ErrorCode::ComposeFileRequired, "compose_file", "is required"));
    };
    let key_provider = file.key_provider.as_deref();
    let kms_enabled = match key_provider {
        None => file.kms_enabled,
        Some("kms") => Some(true),
        Some("none") => Some(false),
        Some(_) => {
            return Err(Error::field(
                ErrorCode::FieldNotServed,
                "compose_file.key_provider",
                "must be kms or none",
            ));
        }
    };
    let no_keys = request.key_provider_mode.as_deref() == Some("none");
    let storage = match file.storage_fs {
        Patch::Absent => request.storage_fs,
        given => given,
    };
    let input = ComposeInput {
        allowed_envs: file.allowed_envs.clone().unwrap_or_default(),
        bash_script: file.bash_script.clone(),
        default_gateway_domain: file.default_gateway_domain.clone(),
        docker_compose_file: file.docker_compose_file.clone(),
        features: file.features.clone(),
        gateway_enabled: file.gateway().or_else(|| request.skip_gateway.map(|skip| !skip)),
        init_script: file.init_script.clone(),
        kms_enabled: kms_enabled.or_else(|| no_keys.then_some(false)),
        local_key_provider_enabled: file.local_key_provider_enabled,
        manifest_version: file.manifest_version,
        name: file.name.clone(),
        no_instance_id: file.no_instance_id,
        pre_launch_script: file.pre_launch_script.clone(),
        public_logs: file.public_logs,
        public_sysinfo: file.public_sysinfo,
        public_tcbinfo: file.public_tcbinfo,
        runner: file.runner.clone(),
        salt: file.salt.clone(),
        secure_time: file.secure_time.or(request.secure_time),
        storage_fs: storage_fs(storage),
        tproxy_enabled: None,
    };
    let env_keys = request.env_keys.as_deref().unwrap_or_default();
    AppCompose::new(input, &request.name, env_keys).map_err(refusal)
}

fn storage_fs(given: Patch<StorageFs>) -> Option<Option<String>> {
    match given {
        Patch::Absent => None,
        Patch::Null => Some(None),
        Patch::Value(fs) => Some(Some(fs.as_str().to_owned())),
    }
}

/// A compose file that is no good, in upstream's code, naming the field.
pub fn refusal(error: ComposeError) -> Error {
    let code = match error.field {
        "docker_compose_file" if error.reason.starts_with("is required") => {
            ErrorCode::ComposeFileRequired
        }
        "docker_compose_file" => ErrorCode::InvalidComposeFile,
        _ => ErrorCode::InvalidRequest,
    };
    Error::field(code, &format!("compose_file.{}", error.field), error.reason)
}
