//! Provision and commit, or adoption of the CVM that is there already: as it is if its file is the
//! same, else updated, once that was agreed to.

use std::time::Duration;

use casemate_api::{
    commit::CommitRequest,
    compose_file::ComposeFile,
    provision::ProvisionRequest,
    reply::{CvmInfo, Provisioned},
};
use casemate_client::Client;
use casemate_core::change::Change;

use super::{UpArgs, boot::AGAIN, project::Project};
use crate::{
    cli::Global,
    cmd::cvms::{
        change::{self, Diff, Present},
        wait::{progress_printer, wait},
    },
    fail::Fail,
    ui,
    vars::{Vars, names, sealed},
};

/// How the CVM came to be the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was made.
    Created,
    /// It was there; started if it was down.
    Adopted {
        /// It was down.
        started: bool,
    },
    /// It was there, with another file; started if it was down.
    Updated,
}

impl Outcome {
    /// For programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Adopted { started: true } => "started",
            Self::Adopted { started: false } => "unchanged",
            Self::Updated => "updated",
        }
    }
}

/// A CVM that is, or is about to be, running.
#[derive(Debug)]
pub struct Deployed {
    /// Its id.
    pub cvm: String,
    /// How it came to be.
    pub outcome: Outcome,
}

/// Makes sure that there is a CVM of the project's name with its document.
pub async fn deploy(
    global: &Global,
    client: &Client,
    project: &Project,
    vars: &Vars,
    args: &UpArgs,
    within: Duration,
) -> Result<Deployed, Fail> {
    if let Some(cvm) = existing(client, &project.name, within).await? {
        let present = Present::read(client, &cvm.id).await?;
        let asked = wanted(&present, project, vars);
        if present.diff(client, &asked).await?.hash_changed {
            return update(global, client, &present, asked, vars, args, within).await;
        }
        return adopt(client, &cvm).await;
    }
    let provisioned = client.provision(&request(project, vars)).await?;
    for warning in &provisioned.warnings {
        ui::print_note(format!("note: {warning}"));
    }
    create(client, &provisioned, vars).await
}

/// What a project says of a CVM; names of variables, not their values.
fn wanted(present: &Present, project: &Project, vars: &Vars) -> Change {
    let names = present.allowed(vars);
    Change {
        docker_compose_file: Some(project.compose.clone()),
        allowed_envs: Some(names.clone()),
        env_keys: Some(names),
        ..Change::default()
    }
}

/// Gives the CVM the project's file and variables, and starts it if it is down.
async fn update(
    global: &Global,
    client: &Client,
    present: &Present,
    mut asked: Change,
    vars: &Vars,
    args: &UpArgs,
    within: Duration,
) -> Result<Deployed, Fail> {
    // Without variables before and now there is nothing to seal, and maybe no key to seal it to.
    if !(vars.is_empty() && present.document.allowed_envs.is_empty()) {
        present.seal_into(&mut asked, vars)?;
    }
    let diff = present.diff(client, &asked).await?;
    let drop_env = args.drop_env.drop_env;
    change::guard(&diff, drop_env)?;
    let (id, name) = (&present.info.id, &present.info.name);
    if !global.json {
        diff.show(name);
    }
    let verb = if diff.restart { "Update and restart" } else { "Update" };
    if !args.yes && (global.json || !ui::confirm(&format!("{verb} {name}?"))) {
        return Err(not_agreed(present, &diff));
    }
    let (operation, course) = change::send(client, present, &asked, &diff, drop_env).await?;
    change::warn(global, &course);
    change::follow(global, client, id, name, &operation, within.as_secs()).await?;
    adopt(client, &client.cvm_info(id).await?).await?;
    Ok(Deployed { cvm: id.clone(), outcome: Outcome::Updated })
}

fn not_agreed(present: &Present, diff: &Diff) -> Fail {
    let name = &present.info.name;
    let what = if diff.restart { "updating restarts it" } else { "nobody agreed to update it" };
    Fail::new("compose-changed", format!("{name} runs another document, and {what}"))
        .detail("compose hash of the CVM", diff.old_hash.to_string())
        .detail("compose hash of the file", diff.new_hash.to_string())
        .suggest("Say --yes to update it without being asked.")
        .suggest(format!("Or deploy it beside the old one: casemate up --name {name}-2."))
}

/// The CVM of this name, once one that is being deleted is gone.
async fn existing(client: &Client, name: &str, within: Duration) -> Result<Option<CvmInfo>, Fail> {
    let cvm = match client.cvm_info(name).await {
        // A name of 40 hex digits is an app id first.
        Ok(cvm) if cvm.name == name => cvm,
        Ok(_) => return Ok(None),
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let target = cvm.progress.as_ref().and_then(|progress| progress.target.as_deref());
    if target != Some("deleted") {
        return Ok(Some(cvm));
    }
    ui::print_note(format!("{name} is being deleted; waiting for its end …"));
    wait(client, &cvm.id, "deleted", within, progress_printer(true)).await?;
    Ok(None)
}

pub fn request(project: &Project, vars: &Vars) -> ProvisionRequest {
    ProvisionRequest {
        name: project.name.clone(),
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
        Fail::new("not-understood", format!("provision answered with a {what} that is none: {why}"))
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
        if lost { Fail { suggestions: vec![AGAIN.to_owned()], ..fail } } else { fail }
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
