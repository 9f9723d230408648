//! `casemate cvms replicate` and `casemate instances`.

use std::{fs, path::PathBuf, time::Duration};

use casemate_api::{
    replicate::{InstanceRequest, ReplicateRequest},
    reply::{CvmInfo, NewInstance},
};
use casemate_client::Client;
use casemate_core::{
    change::{Change, Set},
    id::{ComposeHash, NodeId},
};
use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::json;

use super::cvms::{
    CvmArg,
    change::{CurrentCvm, DropEnv, check_dropped_env},
    wait::{progress_printer, wait},
};
use crate::{
    cli::Global,
    connect,
    fail::Fail,
    table::{self, or_none},
    ui, vars,
};

/// Settings of the new CVM that differ from its template.
#[derive(Debug, Args)]
pub struct ReplicaOptions {
    /// Name [default: the template's name with a number].
    #[arg(long)]
    name: Option<String>,
    /// Node, by name or id; see `casemate nodes ls` [default: the template's node].
    #[arg(long, value_name = "NAME|ID")]
    node: Option<String>,
    /// KEY=VALUE, or a file with variables; replaces all variables. Repeatable, later values override earlier
    /// ones.
    #[arg(short = 'e', long = "env", visible_alias = "env-file", value_name = "FILE|KEY=VALUE")]
    env: Vec<SecretString>,
    #[command(flatten)]
    drop_env: DropEnv,
    /// Compose hash to run, if the app's CVMs run several.
    #[arg(long, value_name = "HASH")]
    compose_hash: Option<ComposeHash>,
    /// OS image; see `casemate images ls`.
    #[arg(long)]
    image: Option<String>,
    /// Wait until the CVM is running.
    #[arg(long, short)]
    wait: bool,
    /// Timeout in seconds.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
}

#[derive(Debug, Args)]
pub struct Replicate {
    #[command(flatten)]
    one: CvmArg,
    #[command(flatten)]
    own: ReplicaOptions,
}

/// Manage the CVMs of an app. APP is an app id, with or without `app_`.
#[derive(Debug, Subcommand)]
pub enum Instances {
    /// List the CVMs of an app.
    #[command(
        visible_alias = "list",
        after_help = "Examples:
  casemate instances ls 3a1f…
  casemate instances ls app_3a1f… --json | jq '.[].status'"
    )]
    Ls {
        /// App id; see `casemate apps ls`.
        #[arg(value_name = "APP")]
        app: String,
    },
    /// Add a CVM to an app: a copy of its newest one, or with another compose file.
    #[command(after_help = "Examples:
  casemate instances add 3a1f… --wait
  casemate instances add 3a1f… --node sim-2 --name shop-eu
  casemate instances add 3a1f… -c docker-compose.yml -e prod.env --json")]
    Add(Box<Add>),
    /// Delete CVMs of an app and their data.
    #[command(
        visible_alias = "remove",
        after_help = "Examples:
  casemate instances rm 3a1f… shop-2
  casemate instances rm 3a1f… shop-2 shop-3 --yes --wait"
    )]
    Rm {
        /// App id.
        #[arg(value_name = "APP")]
        app: String,
        /// Names, ids, UUIDs or instance ids of CVMs of the app.
        #[arg(value_name = "CVM", required = true)]
        cvms: Vec<String>,
        /// Skip the confirmation.
        #[arg(long, short)]
        yes: bool,
        /// Wait until they are deleted.
        #[arg(long, short)]
        wait: bool,
        /// Timeout in seconds for each CVM.
        #[arg(long, default_value_t = 600, value_name = "SECONDS")]
        timeout: u64,
    },
}

#[derive(Debug, Args)]
pub struct Add {
    /// App id; see `casemate apps ls`.
    #[arg(value_name = "APP")]
    app: String,
    /// Another compose file.
    #[arg(short = 'c', long = "compose", value_name = "FILE")]
    compose: Option<PathBuf>,
    /// Script to run before the containers start; an empty file means none.
    #[arg(long, value_name = "FILE")]
    pre_launch_script: Option<PathBuf>,
    #[command(flatten)]
    own: ReplicaOptions,
}

pub async fn run(global: &Global, command: Instances) -> Result<(), Fail> {
    match command {
        Instances::Ls { app } => list(global, &app).await,
        Instances::Add(args) => Box::pin(add(global, *args)).await,
        Instances::Rm { app, cvms, yes, wait, timeout } => {
            let within = wait.then(|| Duration::from_secs(timeout));
            remove(global, &app, &cvms, yes, within).await
        }
    }
}

pub async fn replicate(global: &Global, args: Replicate) -> Result<(), Fail> {
    let Replicate { one, own } = args;
    let client = connect::client(global)?;
    let node_id = node(&client, own.node.as_deref()).await?;
    let sealed = match own.env.as_slice() {
        [] => None,
        env => {
            let current = CurrentCvm::read(&client, &one.cvm).await?;
            Some(seal(&client, &current, Change::default(), env, own.drop_env).await?)
        }
    };
    let (encrypted_env, env_keys) = sealed.unzip();
    let request = ReplicateRequest {
        node_id,
        encrypted_env,
        env_keys,
        compose_hash: own.compose_hash,
        os_image: own.image.clone(),
        name: own.name.clone(),
    };
    let vm = client.replicate(&one.cvm, &request).await?;
    print_replica(global, &client, &own, &vm.id.to_string(), &vm).await
}

async fn add(global: &Global, args: Add) -> Result<(), Fail> {
    let Add { app, compose, pre_launch_script, own } = args;
    let read = |file: Option<PathBuf>| {
        file.map(|file| {
            fs::read_to_string(&file)
                .map_err(|error| Fail::usage(format!("{}: {error}", file.display())))
        })
        .transpose()
    };
    let (docker_compose_file, pre_launch_script) = (read(compose)?, read(pre_launch_script)?);
    let client = connect::client(global)?;
    let node_id = node(&client, own.node.as_deref()).await?;
    let sealed = match own.env.as_slice() {
        [] => None,
        env => {
            let current = template(&client, &app, own.compose_hash.as_ref()).await?;
            let change = Change {
                docker_compose_file: docker_compose_file.clone(),
                pre_launch_script: pre_launch_script.clone(),
                ..Change::default()
            };
            Some(seal(&client, &current, change, env, own.drop_env).await?)
        }
    };
    let (encrypted_env, env_keys) = sealed.unzip();
    let request = InstanceRequest {
        name: own.name.clone(),
        node_id,
        docker_compose_file,
        pre_launch_script,
        encrypted_env,
        env_keys,
        compose_hash: own.compose_hash,
        os_image: own.image.clone(),
        token: None,
        transaction_hash: None,
    };
    match client.create_instance(&app, &request).await? {
        NewInstance::Nested(made) => print_replica(global, &client, &own, &made.id, &*made).await,
        NewInstance::Flat(made) => {
            print_replica(global, &client, &own, &made.id.to_string(), &*made).await
        }
    }
}

/// The CVM whose configuration the server copies.
async fn template(
    client: &Client,
    app: &str,
    hash: Option<&ComposeHash>,
) -> Result<CurrentCvm, Fail> {
    let hash = hash.map(ToString::to_string);
    let cvms = client.app_cvm_infos(app).await?;
    let runs = |cvm: &&CvmInfo| hash.is_none() || cvm.compose_hash == hash;
    match cvms.iter().find(runs) {
        Some(cvm) => CurrentCvm::read(client, &cvm.id).await,
        None => Err(Fail::new("no-template", format!("no CVM of {app} runs this document"))
            .suggest(format!("List its CVMs: casemate instances ls {app}."))),
    }
}

/// Seals the variables, after a check that the document allows them all and that the compose file gets those
/// it uses. Returns hex, and the names.
async fn seal(
    client: &Client,
    current: &CurrentCvm,
    change: Change,
    env: &[SecretString],
    drop_env: DropEnv,
) -> Result<(String, Vec<String>), Fail> {
    let vars = vars::from_flags(env)?;
    let sealed = current.seal(&vars)?;
    let names: Vec<String> = vars.into_iter().map(|(name, _)| name).collect();
    let change =
        Change { sealed_env: Set::To(sealed.clone()), env_keys: Some(names.clone()), ..change };
    check_dropped_env(&current.diff(client, &change).await?, drop_env.drop_env)?;
    Ok((sealed, names))
}

/// The id of a node, from its name (case-insensitive) or its id.
pub async fn node(client: &Client, said: Option<&str>) -> Result<Option<NodeId>, Fail> {
    let Some(said) = said else { return Ok(None) };
    if let Ok(id) = said.parse() {
        return Ok(Some(NodeId(id)));
    }
    let nodes = client.nodes().await?.nodes;
    let found = nodes.iter().find(|node| node.name.eq_ignore_ascii_case(said));
    found.map(|node| Some(NodeId(node.teepod_id))).ok_or_else(|| {
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        Fail::new("no-such-node", format!("there is no node {said}"))
            .suggest(format!("Use one of these: {}.", names.join(", ")))
    })
}

/// Waits if asked to, and prints the new CVM.
async fn print_replica(
    global: &Global,
    client: &Client,
    own: &ReplicaOptions,
    id: &str,
    reply: &impl Serialize,
) -> Result<(), Fail> {
    if !own.wait && global.json {
        ui::json(reply);
        return Ok(());
    }
    if own.wait {
        let within = Duration::from_secs(own.timeout);
        wait(client, id, "running", within, progress_printer(global.json)).await?;
    }
    let info = client.cvm_info(id).await?;
    if global.json {
        ui::json(&info);
    } else {
        let node = info.node_info.as_ref().and_then(|node| node.name.as_ref());
        ui::line(format!("{}: {} on {}", info.name, info.status, or_none(node)));
    }
    Ok(())
}

async fn list(global: &Global, app: &str) -> Result<(), Fail> {
    let cvms = connect::client(global)?.app_cvm_infos(app).await?;
    if global.json {
        ui::json(&cvms);
        return Ok(());
    }
    let row = |cvm: &CvmInfo| {
        vec![
            cvm.name.clone(),
            cvm.id.clone(),
            cvm.status.to_string(),
            or_none(cvm.node_info.as_ref().and_then(|node| node.name.as_ref())),
            or_none(cvm.instance_id.as_ref()),
            or_none(cvm.compose_hash.as_ref()),
        ]
    };
    table::print(
        &["name", "id", "status", "node", "instance id", "compose hash"],
        cvms.iter().map(row).collect(),
        "no instances",
    );
    Ok(())
}

/// Whether the text is the name or an id of this CVM.
fn matches_cvm(cvm: &CvmInfo, said: &str) -> bool {
    let bare = said.strip_prefix("instance_").unwrap_or(said);
    let same = |id: &Option<String>| id.as_deref().is_some_and(|id| id.eq_ignore_ascii_case(bare));
    cvm.name == said || cvm.id == said || same(&cvm.vm_uuid) || same(&cvm.instance_id)
}

async fn remove(
    global: &Global,
    app: &str,
    said: &[String],
    yes: bool,
    within: Option<Duration>,
) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let all = client.app_cvm_infos(app).await?;
    let mut meant: Vec<&CvmInfo> = Vec::new();
    for text in said {
        let found = all.iter().find(|cvm| matches_cvm(cvm, text)).ok_or_else(|| {
            Fail::new("not-an-instance", format!("{text} is not an instance of {app}"))
                .suggest(format!("List its instances: casemate instances ls {app}."))
        })?;
        if !meant.iter().any(|cvm| cvm.id == found.id) {
            meant.push(found);
        }
    }
    let names: Vec<&str> = meant.iter().map(|cvm| cvm.name.as_str()).collect();
    let names = names.join(", ");
    if !yes && (global.json || !ui::confirm(&format!("Delete {names} and their data?"))) {
        return Err(Fail::new("not-confirmed", format!("{names} was not deleted"))
            .suggest("Use --yes to delete without confirmation."));
    }
    for cvm in &meant {
        client.delete_cvm(&cvm.id).await?;
    }
    if let Some(within) = within {
        for cvm in &meant {
            wait(&client, &cvm.id, "deleted", within, progress_printer(global.json)).await?;
        }
    }
    let status = if within.is_some() { "deleted" } else { "deleting" };
    if global.json {
        let gone = |cvm: &&CvmInfo| json!({ "id": cvm.id, "name": cvm.name, "status": status });
        ui::json(&meant.iter().map(gone).collect::<Vec<_>>());
        return Ok(());
    }
    for cvm in meant {
        ui::line(format!("{}: {status}", cvm.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cvm_is_meant_by_any_of_its_names() {
        let cvm: CvmInfo = serde_json::from_value(json!({
            "id": "cvm_1", "name": "my-app", "status": "running", "resource": {},
            "vm_uuid": "6a2e3d4c-5b6f-4a1b-8c2d-0e1f2a3b4c5d", "instance_id": "ab".repeat(20),
        }))
        .unwrap();
        let instance = format!("instance_{}", "AB".repeat(20));
        for said in ["my-app", "cvm_1", "6A2E3D4C-5b6f-4a1b-8c2d-0e1f2a3b4c5d", &instance] {
            assert!(matches_cvm(&cvm, said), "{said}");
        }
        for other in ["my-app-2", "MY-APP", "", "cvm_2"] {
            assert!(!matches_cvm(&cvm, other), "{other}");
        }
    }
}
