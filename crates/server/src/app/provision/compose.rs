//! From what clients say of the compose file to the document that is hashed.

use casemate_api::{
    compose_file::{ComposeFile, StorageFs},
    error::{ErrorCode, ErrorDetail},
    patch::Patch,
    provision::ProvisionRequest,
};
use casemate_core::{
    compose::{
        AppCompose, ComposeError, ComposeInput, Reason,
        problem::{Place, Problem},
    },
    seal,
};
use serde_json::{Value, json};

use crate::app::Error;

/// The normalised document of a request.
///
/// Go says some things beside the compose file instead of in it. Client libraries write defaults out,
/// so of two statements the one that differs from the default counts, wherever it stands.
pub fn document(request: &ProvisionRequest) -> Result<AppCompose, Error> {
    let Some(file) = &request.compose_file else {
        return Err(Error::field(ErrorCode::ComposeFileRequired, "compose_file", "is required")
            .suggest("Send the compose file as compose_file.docker_compose_file."));
    };
    let env_keys = request.env_keys.as_deref().unwrap_or_default();
    check_env_keys(env_keys)?;
    let keys_off = keys_off(request, file)?;
    let input = ComposeInput {
        allowed_envs: file.allowed_envs.clone().unwrap_or_default(),
        bash_script: file.bash_script.clone(),
        default_gateway_domain: file.default_gateway_domain.clone(),
        docker_compose_file: file.docker_compose_file.clone(),
        features: file.features.clone(),
        gateway_enabled: if request.skip_gateway == Some(true) {
            Some(false)
        } else {
            file.gateway()
        },
        init_script: file.init_script.clone(),
        kms_enabled: if keys_off { Some(false) } else { file.kms_enabled },
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
        secure_time: [file.secure_time, request.secure_time].contains(&Some(true)).then_some(true),
        storage_fs: storage_fs(file.storage_fs, request.storage_fs.value())
            .map(|fs| fs.as_str().to_owned())
            .change(),
        tproxy_enabled: None,
    };
    AppCompose::new(input, &request.name, env_keys)
        .map_err(|error| refusal(error).within("compose_file"))
}

/// Whether a word says that the app gets no keys; other words than `kms` and `none` are refused.
fn keys_off(request: &ProvisionRequest, file: &ComposeFile) -> Result<bool, Error> {
    let mut off = false;
    for (field, word) in [
        ("compose_file.key_provider", &file.key_provider),
        ("key_provider_mode", &request.key_provider_mode),
    ] {
        match word.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("kms") => {}
            Some("none") if file.local_key_provider_enabled == Some(true) => {
                let why = "= none contradicts compose_file.local_key_provider_enabled";
                return Err(Error::field(ErrorCode::IncompatibleConfiguration, field, why)
                    .suggest("Leave out one of the two."));
            }
            Some("none") => off = true,
            Some(_) => {
                return Err(Error::field(ErrorCode::FieldNotServed, field, "must be kms or none")
                    .suggest("Leave it out for keys from the KMS."));
            }
        }
    }
    Ok(off)
}

/// Names of variables that the guest would not take, under the name of the list they stand in.
pub fn check_env_keys(env_keys: &[String]) -> Result<(), Error> {
    match env_keys.iter().find(|name| !seal::valid_env_name(name)) {
        None => Ok(()),
        Some(name) => {
            let why = format!("holds {name:?}, which is not the name of a variable");
            Err(Error::field(ErrorCode::InvalidRequest, "env_keys", why)
                .suggest("Use letters, digits and _, not a digit first."))
        }
    }
}

/// What is said in the compose file, unless that is the default and something else is said beside it.
const fn storage_fs(inner: Patch<StorageFs>, outer: Option<StorageFs>) -> Patch<StorageFs> {
    match (inner, outer) {
        (Patch::Absent | Patch::Value(StorageFs::Zfs), Some(fs)) => Patch::Value(fs),
        (inner, _) => inner,
    }
}

/// A compose file that is no good, in upstream's code, naming its field.
pub fn refusal(error: ComposeError) -> Error {
    let code = match error.field {
        "docker_compose_file" if error.reason == Reason::Required => ErrorCode::ComposeFileRequired,
        "docker_compose_file" => ErrorCode::InvalidComposeFile,
        _ => ErrorCode::InvalidRequest,
    };
    let way_out = match error.field {
        "docker_compose_file" if error.reason == Reason::NoEffect => {
            "Leave it out, or use runner docker-compose."
        }
        "docker_compose_file" => "Send a compose file with a `services:` mapping, at most 200 KiB.",
        "bash_script" => {
            "Send bash_script with runner bash, docker_compose_file with runner docker-compose."
        }
        "runner" => "Use runner docker-compose or bash.",
        "allowed_envs" => "Use letters, digits and _, not a digit first.",
        "manifest_version" => "Leave it out for 2.",
        _ => "Leave it out.",
    };
    let mut refused = Error::because(code, format!("{} {}", error.field, error.message));
    if error.problems.is_empty() {
        refused = refused.detail(ErrorDetail::message(error.field, error.message));
        return refused.suggest(way_out);
    }
    for problem in &error.problems {
        refused = refused.detail(problem_detail(error.field, problem));
    }
    refused.suggest("Correct the compose file: each line says what to write instead.")
}

/// A problem of a compose file with its place in `value`.
fn problem_detail(field: &str, problem: &Problem) -> ErrorDetail {
    ErrorDetail {
        field: field.to_owned(),
        value: Some(place_value(&problem.place)),
        message: Some(problem.to_string()),
    }
}

/// A place in a compose file, for programs.
pub fn place_value(place: &Place) -> Value {
    json!({
        "service": place.service,
        "field": place.field,
        "line": (place.line > 0).then_some(place.line),
    })
}
