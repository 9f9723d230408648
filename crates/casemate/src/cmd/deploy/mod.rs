//! `casemate deploy`: a compose file to a server that runs, also where contracts decide what boots.
//!
//! | | a new app ([`new`]) | a CVM there is ([`update`]) |
//! |---|---|---|
//! | no contract | provision, commit | change |
//! | with a key | provision, `deployAndRegisterApp`, commit | change, 465, `addDevice` and `addComposeHash` where needed, confirmation |
//! | without one | what has to be signed is printed | the change is prepared, and what has to be signed is printed with its commit URL |
//!
//! A private key signs in this process; it is in no request, and nothing is signed that would fail, cannot be
//! paid, or was not agreed to. What was done before a failure is done: the failure says how to go on, and
//! nothing is paid twice.

mod new;
mod update;

use std::{path::PathBuf, time::Duration};

use casemate_client::Client;
use casemate_core::id::{Address, AppId};
use clap::Args;
use secrecy::SecretString;
use serde_json::Value;

use super::{
    cvms::{
        change::DropEnv,
        wait::{progress_printer, wait},
    },
    governance::chain::Signing,
};
use crate::{cli::Global, connect, fail::Fail, ui, up::project::Project};

/// Deploy a compose file to a server, or update what is there; also where contracts decide.
///
/// With a key, transactions are signed here, each after it was tried, shown and agreed to. Without one,
/// what a multisig has to sign is printed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate deploy                                       the compose file of this directory
  casemate deploy --kms base --private-key-file key --wait
  casemate deploy --kms base --sign-with print --owner 0x…   what a Safe has to sign
  casemate deploy --kms base --app-id 0x…                    once it has
  casemate deploy --cvm-id my-shop --keystore k.json --password-file pw --yes
  casemate deploy --cvm-id my-shop --sign-with print")]
pub struct Deploy {
    /// A directory with a compose file, or the file itself.
    #[arg(default_value = ".", value_name = "DIR|FILE", hide_default_value = true)]
    path: PathBuf,
    /// Name of the CVM; the file's own `name:`, else the directory's if left out.
    #[arg(long, conflicts_with = "cvm_id")]
    name: Option<String>,
    /// Update this CVM instead: name, id, uuid.
    #[arg(long, value_name = "CVM")]
    cvm_id: Option<String>,
    /// KMS: phala, base, ethereum, or one by id or slug; see `casemate kms ls`.
    #[arg(long, value_name = "KMS", conflicts_with = "cvm_id")]
    kms: Option<String>,
    /// A variable; may be given several times.
    #[arg(short = 'e', long = "env", value_name = "KEY=VALUE")]
    env: Vec<SecretString>,
    /// A file with variables; `.env` beside the compose file if left out, for a new app.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    #[command(flatten)]
    drop_env: DropEnv,
    /// Node, by name or id; see `casemate nodes ls`.
    #[arg(long, value_name = "NAME|ID", conflicts_with = "cvm_id")]
    node: Option<String>,
    /// Size, by name; see `casemate sizes ls`.
    #[arg(long, value_name = "NAME", conflicts_with = "cvm_id")]
    instance_type: Option<String>,
    /// The contract of the app is there already, at this address.
    #[arg(long, value_name = "APP", conflicts_with = "cvm_id", value_parser = app_id)]
    app_id: Option<AppId>,
    /// Who is to own a new app; the account that signs if left out.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["cvm_id", "app_id"])]
    owner: Option<Address>,
    /// Allow every device, not only that of the node.
    #[arg(long, conflicts_with = "app_id")]
    allow_any_device: bool,
    #[command(flatten)]
    signing: Signing,
    /// Write what has to be signed to a file that the Transaction Builder of a Safe imports.
    #[arg(long, value_name = "FILE")]
    safe_batch: Option<PathBuf>,
    /// Wait until it runs.
    #[arg(long, short)]
    wait: bool,
    /// Wait this many seconds at most.
    #[arg(long, default_value_t = 1800, value_name = "SECONDS")]
    timeout: u64,
}

fn app_id(text: &str) -> Result<AppId, String> {
    let bare = text.strip_prefix("app_").unwrap_or(text);
    bare.parse().map_err(|why: casemate_core::id::InvalidId| why.to_string())
}

/// Does what was said.
pub async fn run(global: &Global, args: Deploy) -> Result<(), Fail> {
    // Before anything is sent anywhere: a key that cannot be used ends it.
    let key = args.signing.key()?;
    let client = connect::client(global)?;
    let project = Project::read(&args.path, args.name.as_deref())?;
    match args.cvm_id.clone() {
        Some(cvm) => {
            Box::pin(update::update(global, &client, &args, &project, key.as_ref(), &cvm)).await
        }
        None => Box::pin(new::deploy(global, &client, &args, &project, key.as_ref())).await,
    }
}

/// Waits if that was asked for, and says what came of it.
async fn finish(
    global: &Global,
    client: &Client,
    args: &Deploy,
    cvm: &str,
    mut reply: Value,
) -> Result<(), Fail> {
    if args.wait {
        let within = Duration::from_secs(args.timeout);
        wait(client, cvm, "running", within, progress_printer(global.json)).await?;
    }
    let info = client.cvm_info(cvm).await?;
    reply["status"] = info.status.clone().into();
    if global.json {
        ui::json(&reply);
        return Ok(());
    }
    let app = info.app_id.unwrap_or_default();
    ui::line(format!("{} is {} (app {app})", info.name, info.status));
    if !args.wait {
        ui::print_note(format!("follow it: casemate cvms logs {} -f", info.name));
    }
    Ok(())
}
