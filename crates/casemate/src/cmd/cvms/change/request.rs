//! Converts a change to the body of a PATCH.

use casemate_api::{cvm_patch::CvmPatch, patch::Patch};
use casemate_core::change::{Change, Set};

/// The body of `PATCH /cvms/{id}` for a change. Names, host ports, instance ids and GPUs have routes of their
/// own or none here.
pub fn patch(change: &Change, may_restart: bool) -> CvmPatch {
    let Change {
        docker_compose_file,
        pre_launch_script,
        allowed_envs,
        public_logs,
        public_sysinfo,
        public_tcbinfo,
        gateway_enabled,
        secure_time,
        sealed_env,
        env_keys,
        user_config,
        instance_type,
        vcpu,
        memory_mb,
        disk_gb,
        image,
        shutdown_timeout_s,
        allow_force_stop,
        listed,
        // These have routes of their own, or none here.
        document: _,
        revision: _,
        gpus: _,
        name: _,
        ports: _,
        kms_urls: _,
        gateway_urls: _,
        renew: _,
        at_next_start: _,
    } = change;
    CvmPatch {
        docker_compose_file: docker_compose_file.clone(),
        pre_launch_script: patch_value(pre_launch_script.as_ref()),
        allowed_envs: patch_value(allowed_envs.as_ref()),
        public_logs: *public_logs,
        public_sysinfo: *public_sysinfo,
        public_tcbinfo: *public_tcbinfo,
        gateway_enabled: *gateway_enabled,
        secure_time: *secure_time,
        encrypted_env: set(sealed_env),
        env_keys: env_keys.clone(),
        user_config: set(user_config),
        instance_type: instance_type.as_ref().map(|size| size.id.clone()),
        vcpu: *vcpu,
        memory: *memory_mb,
        disk_size: *disk_gb,
        image: image.clone(),
        shutdown_timeout: patch_value(shutdown_timeout_s.as_ref()),
        allow_force_stop: *allow_force_stop,
        listed: *listed,
        allow_restart: Some(may_restart),
        ..CvmPatch::default()
    }
}

fn patch_value<T: Clone>(value: Option<&T>) -> Patch<T> {
    value.cloned().map_or(Patch::Absent, Patch::Value)
}

fn set(value: &Set<String>) -> Patch<String> {
    match value {
        Set::Keep => Patch::Absent,
        Set::Clear => Patch::Null,
        Set::To(text) => Patch::Value(text.clone()),
    }
}

#[cfg(test)]
mod tests {
    use casemate_core::change::Size;

    use super::*;

    #[test]
    fn what_is_asked_is_said_and_nothing_else() {
        let json = |change: &Change| serde_json::to_string(&patch(change, false)).unwrap();
        assert_eq!(json(&Change::default()), r#"{"allow_restart":false}"#);
        let change = Change {
            pre_launch_script: Some(String::new()),
            sealed_env: Set::To("00".to_owned()),
            env_keys: Some(Vec::new()),
            user_config: Set::Clear,
            instance_type: Some(Size { id: "tdx.small".to_owned(), vcpu: 1, memory_mb: 2048 }),
            shutdown_timeout_s: Some(30),
            listed: Some(false),
            ..Change::default()
        };
        let expected = r#"{"pre_launch_script":"","encrypted_env":"00","env_keys":[],"user_config":null,"instance_type":"tdx.small","shutdown_timeout":30,"listed":false,"allow_restart":false}"#;
        assert_eq!(json(&change), expected);
    }
}
