//! The current configuration of a CVM, as far as the server shows it.

use casemate_api::{
    network::PortRule,
    preview::PreviewRequest,
    reply::{ChangePreview, CvmInfo},
};
use casemate_client::{Client, OsEntropy, seal_env};
use casemate_core::{
    change::{Change, Set},
    compose::AppCompose,
};

use super::{
    diff::{ANY_PORT, Diff},
    request::patch,
};
use crate::{fail::Fail, vars::Vars};

#[derive(Debug)]
pub struct CurrentCvm {
    pub info: CvmInfo,
    pub document: AppCompose,
}

impl CurrentCvm {
    pub async fn read(client: &Client, cvm: &str) -> Result<Self, Fail> {
        let info = client.cvm_info(cvm).await?;
        let document = client.compose_file(&info.id).await?;
        Self::of(info, &document)
    }

    fn of(info: CvmInfo, document: &str) -> Result<Self, Fail> {
        let document = AppCompose::parse(document).map_err(|why| {
            Fail::new("not-understood", format!("the server sent an invalid compose file: {why}"))
        })?;
        Ok(Self { info, document })
    }

    /// Asks the server for the difference that a change would make.
    pub async fn diff(&self, client: &Client, change: &Change) -> Result<Diff, Fail> {
        let patch = Some(Box::new(patch(change, true)));
        let names = change.env_keys.clone().unwrap_or_default();
        self.ask(client, PreviewRequest { patch, ..PreviewRequest::default() }, names).await
    }

    /// The difference if these host ports replace all others.
    pub async fn diff_ports(&self, client: &Client, rules: &[PortRule]) -> Result<Diff, Fail> {
        let request = PreviewRequest { ports: Some(rules.to_vec()), ..PreviewRequest::default() };
        let mut preview = self.preview(client, &request).await?;
        // The server may choose another port when the change is made.
        for (port, rule) in preview.after.ports.iter_mut().zip(rules) {
            port.host_port = rule.host_port.unwrap_or(ANY_PORT);
        }
        Ok(Diff::of(preview, Vec::new()))
    }

    /// The difference if an earlier revision is redeployed.
    pub async fn diff_revision(&self, client: &Client, revision: &str) -> Result<Diff, Fail> {
        let revision = Some(revision.to_owned());
        self.ask(client, PreviewRequest { revision, ..PreviewRequest::default() }, Vec::new()).await
    }

    async fn ask(
        &self,
        client: &Client,
        request: PreviewRequest,
        names: Vec<String>,
    ) -> Result<Diff, Fail> {
        Ok(Diff::of(self.preview(client, &request).await?, names))
    }

    /// The CVM exists, so a 404 means that the server has no such route. Only Casemate has it.
    async fn preview(
        &self,
        client: &Client,
        request: &PreviewRequest,
    ) -> Result<ChangePreview, Fail> {
        match client.preview(&self.info.id, request).await {
            Err(error) if error.is_not_found() => Err(Fail::new(
                "no-preview",
                "this server cannot preview changes, and the CLI makes no change without a preview",
            )
            .suggest("Update the server to this version of Casemate.")
            .suggest("On Phala Cloud, use the phala CLI.")),
            other => Ok(other?),
        }
    }

    /// The names to allow for these variables. If the set of names does not change, their order does not
    /// either, because the order is part of the hashed document.
    pub fn allowed(&self, vars: &Vars) -> Vec<String> {
        let names: Vec<String> = vars.iter().map(|(name, _)| name.clone()).collect();
        let allowed = &self.document.allowed_envs;
        let same = allowed.len() == names.len() && names.iter().all(|name| allowed.contains(name));
        if same { allowed.clone() } else { names }
    }

    /// Seals variables into a change. They replace all current ones.
    pub fn seal_into(&self, change: &mut Change, vars: &Vars) -> Result<(), Fail> {
        let names = self.allowed(vars);
        change.sealed_env = Set::To(self.seal(vars)?);
        change.allowed_envs = Some(names.clone());
        change.env_keys = Some(names);
        Ok(())
    }

    /// Seals variables to the app's key; returns hex.
    pub fn seal(&self, vars: &Vars) -> Result<String, Fail> {
        let key = env_key(&self.info).ok_or_else(|| {
            Fail::new(
                "no-keys",
                "the app has no encryption key for variables, because it was created without a KMS",
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

#[cfg(test)]
mod tests {
    use casemate_core::compose::ComposeInput;

    use super::*;

    #[test]
    fn variables_leave_sealed_and_in_the_order_they_are_allowed_in() {
        let input = ComposeInput {
            docker_compose_file: Some("services:\n  web:\n    image: nginx\n".to_owned()),
            allowed_envs: vec!["A".to_owned(), "B".to_owned()],
            ..ComposeInput::default()
        };
        let document = AppCompose::new(input, "my-app", &[]).unwrap().document();
        let info = serde_json::from_value(serde_json::json!({
            "id": "cvm_1", "name": "my-app", "status": "running", "app_id": "07".repeat(20),
            "resource": {"instance_type": "tdx.small", "vcpu": 1, "memory_in_gb": 2.0, "disk_in_gb": 20},
            "os": {"name": "dstack-0.5.4"}, "listed": true,
            "kms_info": {"encrypted_env_pubkey": casemate_core::seal::EnvSecretKey::from_bytes([7; 32]).public().to_string()},
        }))
        .unwrap();
        let current = CurrentCvm::of(info, &document).unwrap();
        let names = |names: &[&str]| {
            let vars: Vars =
                names.iter().map(|name| ((*name).to_owned(), "hunter2".into())).collect();
            let mut change = Change::default();
            current.seal_into(&mut change, &vars).unwrap();
            assert!(!format!("{change:?}").contains("hunter2"));
            assert_eq!(change.allowed_envs, change.env_keys);
            change.allowed_envs.unwrap()
        };
        assert_eq!(names(&["B", "A"]), ["A", "B"], "the order is not a change");
        assert_eq!(names(&["A", "C"]), ["A", "C"]);
    }
}
