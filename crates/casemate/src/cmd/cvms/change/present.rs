//! The configuration that a CVM has, as far as the server shows it.

use casemate_api::{error::ErrorCode, reply::CvmInfo};
use casemate_client::{Client, OsEntropy, seal_env};
use casemate_core::{
    change::{Change, Configuration, NotApplicable, Set, apply, env_report},
    compose::{AppCompose, Reason, hash},
    cvm::{PortMap, Resources, Spec},
    id::AppId,
};

use super::diff::Diff;
use crate::{fail::Fail, vars::Vars};

/// States in which a guest is off, or goes off.
const OFF: [&str; 4] = ["stopped", "stopping", "shutting_down", "deleted"];

/// A CVM and its configuration.
#[derive(Debug)]
pub struct Present {
    /// As the server shows it.
    pub info: CvmInfo,
    /// What a change is applied to. The server does not show everything: names of variables are the
    /// allowed ones; the sealed environment, user config, addresses, time for a shutdown and its force
    /// are unknown, and so look changed whenever they are named.
    pub now: Configuration,
}

impl Present {
    /// Reads it.
    pub async fn read(client: &Client, cvm: &str) -> Result<Self, Fail> {
        let info = client.cvm_info(cvm).await?;
        let document = client.compose_file(&info.id).await?;
        Self::of(info, &document)
    }

    /// With the host ports it has.
    pub async fn with_ports(mut self, client: &Client) -> Result<Self, Fail> {
        let ports = client.ports(&self.info.id).await?;
        let map = |port: &casemate_api::reply::HostPort| PortMap {
            protocol: port.protocol.clone(),
            host_port: port.host_port,
            vm_port: port.vm_port,
            host_address: Some(port.host_address.clone()).filter(|text| !text.is_empty()),
        };
        self.now.spec.ports = ports.iter().map(map).collect();
        Ok(self)
    }

    fn of(info: CvmInfo, document: &str) -> Result<Self, Fail> {
        let broken = |what: &str, why: String| {
            Fail::new("not-understood", format!("the server's {what} is none: {why}"))
        };
        let document =
            AppCompose::parse(document).map_err(|why| broken("compose file", why.to_string()))?;
        let id = info.app_id.as_deref().unwrap_or_default();
        let app_id: AppId = id
            .strip_prefix("app_")
            .unwrap_or(id)
            .parse()
            .map_err(|why: casemate_core::id::InvalidId| broken("app id", why.to_string()))?;
        let key = env_key(&info).map(str::parse).transpose();
        let env_public_key =
            key.map_err(|why: casemate_core::id::InvalidId| broken("env key", why.to_string()))?;
        let resource = &info.resource;
        let resources = Resources {
            instance_type: resource.instance_type.clone(),
            vcpu: resource.vcpu.unwrap_or_default(),
            memory_mb: megabytes(resource.memory_in_gb.unwrap_or_default()),
            disk_gb: resource.disk_in_gb.or(info.disk_size).unwrap_or_default(),
            hugepages: false,
            pin_numa: false,
            gpus: None,
        };
        let image = info.os.as_ref().and_then(|os| os.name.clone()).unwrap_or_default();
        let spec = Spec {
            revision: 1,
            name: info.name.clone(),
            app_id,
            compose_hash: hash(&document.document()),
            facts: document.facts(),
            env_public_key,
            resources,
            image,
            ports: Vec::new(),
            user_config: None,
            kms_urls: Vec::new(),
            gateway_urls: Vec::new(),
            vpc_server_app_id: None,
            listed: info.listed,
            env_keys: document.allowed_envs.clone(),
            shutdown_timeout_s: 0,
            allow_force_stop: false,
            vm: 1,
            instance_seed: None,
            deployer: None,
        };
        Ok(Self { info, now: Configuration { spec, document, sealed_env: None } })
    }

    /// Whether the guest is on, or about to be.
    pub fn is_on(&self) -> bool {
        !OFF.contains(&self.info.status.as_str())
    }

    /// What a change would come to.
    pub fn diff(&self, change: &Change) -> Result<Diff, Fail> {
        self.diff_with(change, None)
    }

    /// The same of a change that names a whole other document, which is this.
    pub fn diff_with(&self, change: &Change, prepared: Option<&AppCompose>) -> Result<Diff, Fail> {
        let mut now = self.now.clone();
        // Unknown: whatever is asked for is taken for a change.
        now.spec.allow_force_stop = change.allow_force_stop.is_none_or(|wanted| !wanted);
        let (next, effect) = apply(&now, change, prepared).map_err(refused)?;
        let named = change.env_keys.as_ref().or(change.allowed_envs.as_ref());
        let env = env_report(&now, &next, named.map(Vec::as_slice));
        let names = change.env_keys.clone().unwrap_or_default();
        Ok(Diff::of(&now, &next, effect, self.is_on(), env, names, change))
    }

    /// The allowed names that go with these variables, in the order in which they are already allowed
    /// where they are the same: the order is part of the document.
    pub fn allowed(&self, vars: &Vars) -> Vec<String> {
        let names: Vec<String> = vars.iter().map(|(name, _)| name.clone()).collect();
        let allowed = &self.now.document.allowed_envs;
        let same = allowed.len() == names.len() && names.iter().all(|name| allowed.contains(name));
        if same { allowed.clone() } else { names }
    }

    /// Seals variables, all that there are from now on, into a change.
    pub fn seal_into(&self, change: &mut Change, vars: &Vars) -> Result<(), Fail> {
        let names = self.allowed(vars);
        change.sealed_env = Set::To(self.seal(vars)?);
        change.allowed_envs = Some(names.clone());
        change.env_keys = Some(names);
        Ok(())
    }

    /// Seals variables to the app's key; as hex.
    pub fn seal(&self, vars: &Vars) -> Result<String, Fail> {
        let key = env_key(&self.info).ok_or_else(|| {
            Fail::new(
                "no-keys",
                "the app has no key to seal variables to: it was made without a KMS",
            )
        })?;
        let sealed = seal_env(vars, key, &OsEntropy)
            .map_err(|error| Fail::new("variables", error.to_string()))?;
        Ok(sealed.to_string())
    }
}

fn env_key(info: &CvmInfo) -> Option<&str> {
    let kms = info.kms_info.as_ref().and_then(|kms| kms.encrypted_env_pubkey.as_deref());
    kms.or(info.encrypted_env_pubkey.as_deref())
}

/// From GB as the API has them, which may be a fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "memory in MB fits; `as` takes what is below zero for zero"
)]
fn megabytes(gigabytes: f64) -> u32 {
    (gigabytes * 1024.0).round() as u32
}

fn refused(why: NotApplicable) -> Fail {
    let NotApplicable { field, reason, message } = why;
    let code = match field {
        "docker_compose_file" => ErrorCode::InvalidComposeFile,
        "disk_size" if reason == Reason::CanOnlyGrow => ErrorCode::DiskCannotShrink,
        _ => ErrorCode::ChangeNotApplicable,
    };
    let fail = Fail::new(code.code(), format!("{field} {message}"));
    fail.detail(field, message).suggest("Leave it out, or ask for something else.")
}

#[cfg(test)]
mod tests {
    use casemate_core::{change::Effect, compose::ComposeInput};

    use super::*;

    const COMPOSE: &str = "services:\n  web:\n    image: nginx\n    environment: [A, B]\n";

    pub fn present(status: &str) -> Present {
        let input = ComposeInput {
            docker_compose_file: Some(COMPOSE.to_owned()),
            allowed_envs: vec!["A".to_owned(), "B".to_owned()],
            ..ComposeInput::default()
        };
        let document = AppCompose::new(input, "my-app", &[]).unwrap().document();
        let info = serde_json::from_value(serde_json::json!({
            "id": "cvm_1", "name": "my-app", "status": status, "app_id": "07".repeat(20),
            "resource": {"instance_type": "tdx.small", "vcpu": 1, "memory_in_gb": 2.0, "disk_in_gb": 20},
            "os": {"name": "dstack-0.5.4"}, "listed": true,
            "kms_info": {"encrypted_env_pubkey": casemate_core::seal::EnvSecretKey::from_bytes([7; 32]).public().to_string()},
        }))
        .unwrap();
        Present::of(info, &document).unwrap()
    }

    #[test]
    fn the_verdict_is_the_servers() {
        let none = Change::default;
        let (on, off) = (present("running"), present("stopped"));
        for (change, effect) in [
            (none(), Effect::Nothing),
            (
                Change { vcpu: Some(1), memory_mb: Some(2048), listed: Some(true), ..none() },
                Effect::Nothing,
            ),
            (Change { docker_compose_file: Some(COMPOSE.to_owned()), ..none() }, Effect::Nothing),
            (Change { listed: Some(false), ..none() }, Effect::Record),
            (Change { shutdown_timeout_s: Some(60), ..none() }, Effect::Record),
            (Change { allow_force_stop: Some(true), ..none() }, Effect::Record),
            (Change { allow_force_stop: Some(false), ..none() }, Effect::Record),
            (Change { disk_gb: Some(40), ..none() }, Effect::Restart),
            (Change { public_logs: Some(false), ..none() }, Effect::Restart),
        ] {
            let diff = on.diff(&change).unwrap();
            assert_eq!(
                (diff.effect, diff.restart),
                (effect, effect == Effect::Restart),
                "{change:?}"
            );
            assert!(!off.diff(&change).unwrap().restart, "off: {change:?}");
        }
        let shrunk = Change { disk_gb: Some(10), ..none() };
        let fail = on.diff(&shrunk).unwrap_err();
        assert!(fail.message.starts_with("disk_size can only grow"), "{}", fail.text());
    }

    #[test]
    fn variables_are_compared_by_name_and_leave_sealed() {
        let present = present("running");
        let vars = |names: &[&str]| -> Vars {
            names.iter().map(|name| ((*name).to_owned(), "hunter2".into())).collect()
        };
        let diff = |names: &[&str]| {
            let mut change = Change::default();
            present.seal_into(&mut change, &vars(names)).unwrap();
            assert!(!format!("{change:?}").contains("hunter2"));
            present.diff(&change).unwrap()
        };
        let same = diff(&["B", "A"]);
        assert_eq!(same.effect, Effect::Restart, "the values may be other ones");
        assert!(!same.hash_changed, "the order is not a change");
        let dropped = diff(&["A", "C"]).env.unwrap();
        assert_eq!((dropped.added, dropped.missing), (vec!["C".to_owned()], vec!["B".to_owned()]));
    }
}
