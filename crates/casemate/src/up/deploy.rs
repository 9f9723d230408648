//! Creates the CVM, or finds the existing one of that name and updates it if its file changed and the user
//! agrees.

use std::time::Duration;

use casemate_api::{
    commit::CommitRequest,
    compose_file::ComposeFile,
    provision::ProvisionRequest,
    reply::{CvmInfo, Provisioned},
};
use casemate_client::Client;
use casemate_core::change::Change;

use super::{UpArgs, boot::RESUME, project::Project};
use crate::{
    cli::Global,
    cmd::cvms::{
        change::{self, CurrentCvm, Diff},
        wait::{progress_printer, wait},
    },
    fail::Fail,
    ui,
    vars::{Vars, names, sealed},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Created,
    /// It existed with the same document; started if it was down.
    Adopted {
        /// It was down.
        started: bool,
    },
    /// It existed with another document; started if it was down.
    Updated,
}

impl Outcome {
    /// The value in JSON output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Adopted { started: true } => "started",
            Self::Adopted { started: false } => "unchanged",
            Self::Updated => "updated",
        }
    }
}

/// A CVM that is running or starting.
#[derive(Debug)]
pub struct Deployed {
    pub cvm: String,
    pub outcome: Outcome,
}

/// Ensures that a CVM of the project's name runs its document.
pub async fn deploy(
    global: &Global,
    client: &Client,
    project: &Project,
    vars: &Vars,
    args: &UpArgs,
    within: Duration,
) -> Result<Deployed, Fail> {
    if let Some(cvm) = existing(client, &project.name, within).await? {
        let current = CurrentCvm::read(client, &cvm.id).await?;
        let asked = wanted(&current, project, vars);
        if current.diff(client, &asked).await?.hash_changed {
            return update(global, client, &current, asked, vars, args, within).await;
        }
        return adopt(client, &cvm).await;
    }
    let provisioned = client.provision(&request(project, vars)).await?;
    for warning in &provisioned.warnings {
        ui::print_note(format!("note: {warning}"));
    }
    create(client, &provisioned, vars).await
}

/// The change from the CVM's configuration to the project's; names of variables, not values.
fn wanted(current: &CurrentCvm, project: &Project, vars: &Vars) -> Change {
    let names = current.allowed(vars);
    Change {
        docker_compose_file: Some(project.compose.clone()),
        allowed_envs: Some(names.clone()),
        env_keys: Some(names),
        ..Change::default()
    }
}

/// Updates the CVM to the project's file and variables, and starts it if it is down.
async fn update(
    global: &Global,
    client: &Client,
    current: &CurrentCvm,
    mut asked: Change,
    vars: &Vars,
    args: &UpArgs,
    within: Duration,
) -> Result<Deployed, Fail> {
    // Without variables there is nothing to seal, and the app may have no key.
    if !(vars.is_empty() && current.document.allowed_envs.is_empty()) {
        current.seal_into(&mut asked, vars)?;
    }
    let diff = current.diff(client, &asked).await?;
    let drop_env = args.drop_env.drop_env;
    change::check_dropped_env(&diff, drop_env)?;
    let (id, name) = (&current.info.id, &current.info.name);
    if !global.json {
        diff.show(name);
    }
    let verb = if diff.restart { "Update and restart" } else { "Update" };
    if !args.yes && (global.json || !ui::confirm(&format!("{verb} {name}?"))) {
        return Err(not_confirmed(current, &diff));
    }
    let (operation, course) = change::send(client, current, &asked, &diff, drop_env).await?;
    change::warn(global, &course);
    change::follow(global, client, id, name, &operation, within.as_secs()).await?;
    adopt(client, &client.cvm_info(id).await?).await?;
    Ok(Deployed { cvm: id.clone(), outcome: Outcome::Updated })
}

fn not_confirmed(current: &CurrentCvm, diff: &Diff) -> Fail {
    let name = &current.info.name;
    let what = if diff.restart { "an update restarts it" } else { "the update was not confirmed" };
    Fail::new("compose-changed", format!("{name} runs another document, and {what}"))
        .detail("compose hash of the CVM", diff.old_hash.to_string())
        .detail("compose hash of the file", diff.new_hash.to_string())
        .suggest("Use --yes to update it without confirmation.")
        .suggest(format!("Or deploy a second CVM: casemate up --name {name}-2."))
}

/// The CVM of this name. Waits first if it is being deleted.
async fn existing(client: &Client, name: &str, within: Duration) -> Result<Option<CvmInfo>, Fail> {
    let cvm = match client.cvm_info(name).await {
        // The server reads a name of 40 hex digits as an app id.
        Ok(cvm) if cvm.name == name => cvm,
        Ok(_) => return Ok(None),
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let target = cvm.progress.as_ref().and_then(|progress| progress.target.as_deref());
    if target != Some("deleted") {
        return Ok(Some(cvm));
    }
    ui::print_note(format!("Waiting for the deletion of {name} …"));
    wait(client, &cvm.id, "deleted", within, progress_printer(true)).await?;
    Ok(None)
}

pub fn request(project: &Project, vars: &Vars) -> ProvisionRequest {
    ProvisionRequest {
        name: project.name.clone(),
        instance_type: project.instance_type.clone(),
        compose_file: Some(ComposeFile {
            docker_compose_file: Some(project.compose.clone()),
            allowed_envs: Some(names(vars)),
            ..ComposeFile::default()
        }),
        ..ProvisionRequest::default()
    }
}

async fn create(client: &Client, provisioned: &Provisioned, vars: &Vars) -> Result<Deployed, Fail> {
    let broken = |what: &str, why: String| {
        Fail::new("not-understood", format!("the server sent an invalid {what}: {why}"))
    };
    let app_id = provisioned
        .app_id
        .as_deref()
        .map(|id| id.strip_prefix("app_").unwrap_or(id).parse())
        .transpose()
        .map_err(|why: casemate_core::id::InvalidId| broken("app id", why.to_string()))?;
    let compose_hash = provisioned
        .compose_hash
        .parse()
        .map_err(|why: casemate_core::id::InvalidId| broken("compose hash", why.to_string()))?;
    let request = CommitRequest {
        app_id,
        compose_hash,
        encrypted_env: sealed(vars, provisioned.app_env_encrypt_pubkey.as_deref())?,
        env_keys: (!vars.is_empty()).then(|| names(vars)),
        kms_id: None,
        contract_address: None,
        deployer_address: None,
        transaction_hash: None,
    };
    let vm = client.commit(&request).await.map_err(|error| {
        let lost = error.is_transport();
        let fail = Fail::from(error);
        if lost { Fail { suggestions: vec![RESUME.to_owned()], ..fail } } else { fail }
    })?;
    Ok(Deployed { cvm: vm.id.to_string(), outcome: Outcome::Created })
}

async fn adopt(client: &Client, cvm: &CvmInfo) -> Result<Deployed, Fail> {
    let target = cvm.progress.as_ref().and_then(|progress| progress.target.as_deref());
    let comes_up = cvm.status == "running" || target == Some("running");
    let goes_down = cvm.in_progress && target != Some("running");
    let start = !comes_up || goes_down;
    if start {
        client.start(&cvm.id).await?;
    }
    Ok(Deployed { cvm: cvm.id.clone(), outcome: Outcome::Adopted { started: start } })
}

#[cfg(test)]
mod tests {
    use casemate_core::seal::{EnvSecretKey, SealedEnv, unseal};

    use super::*;

    #[test]
    fn variables_leave_sealed_and_their_names_are_part_of_the_document() {
        let vars: Vars = vec![("TOKEN".to_owned(), "hunter2".into())];
        let project = Project {
            dir: "/".into(),
            compose: "services: {a: {image: b}}".to_owned(),
            name: "my-app".to_owned(),
            instance_type: None,
        };
        let body = serde_json::to_string(&request(&project, &vars)).unwrap();
        assert!(
            body.contains(r#""allowed_envs":["TOKEN"]"#) && !body.contains("hunter2"),
            "{body}"
        );

        let key = EnvSecretKey::from_bytes([9; 32]);
        let public = key.public().to_string();
        let hex = sealed(&vars, Some(&public)).unwrap().unwrap();
        let opened = unseal(&hex.parse::<SealedEnv>().unwrap(), &key).unwrap();
        assert_eq!(opened[0].key, "TOKEN");
        assert_eq!(sealed(&[], None).unwrap(), None);
        assert_eq!(sealed(&vars, None).unwrap_err().code, "no-env-key");
    }
}
