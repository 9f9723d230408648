//! `casemate deploy`: deploys a compose file to a running server, contract-governed or not.
//!
//! | | new app ([`new`]) | existing CVM ([`update`]) |
//! |---|---|---|
//! | no contract | provision, commit | change |
//! | with a key | provision, `deployAndRegisterApp`, commit | change, 465, `addDevice` and `addComposeHash` where needed, confirmation |
//! | without a key | prints the transactions to sign | prepares the change, prints the transactions to sign and the commit URL |
//!
//! A private key signs in this process and is never sent. A transaction is signed only if it would succeed,
//! can be paid and was confirmed, and if nothing else stands in the way of the boot. After a failure, repeating the
//! command continues where it stopped and pays nothing twice: it waits for what the account has sent, and finds
//! the app that it deployed.

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
use crate::{admin::label, cli::Global, connect, fail::Fail, ui, up::project::Project};

/// Deploy a compose file, or update an existing CVM.
///
/// With a private key, transactions are simulated, shown, confirmed and signed here. Without one, the command
/// prints the transactions for a multisig to sign.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate deploy                                       the compose file in this directory
  casemate deploy --node-label disk=nvme --tee tdx
  casemate deploy --kms base --private-key-file key --wait
  casemate deploy --kms base --sign-with print --owner 0x…   print the transaction for a Safe
  casemate deploy --kms base --app-id 0x…                    after it was executed
  casemate deploy --cvm-id my-shop --keystore k.json --password-file pw --yes
  casemate deploy --cvm-id my-shop --sign-with print")]
pub struct Deploy {
    /// Compose file, or a directory that contains one.
    #[arg(default_value = ".", value_name = "DIR|FILE", hide_default_value = true)]
    path: PathBuf,
    /// Name of the CVM [default: `name:` of the compose file, else the directory's name].
    #[arg(long, conflicts_with = "cvm_id")]
    name: Option<String>,
    /// Update this CVM instead of creating one, by name, id or UUID.
    #[arg(long, value_name = "CVM")]
    cvm_id: Option<String>,
    /// KMS: phala, base, ethereum, an id or a slug; see `casemate kms ls`.
    #[arg(long, value_name = "KMS", conflicts_with = "cvm_id")]
    kms: Option<String>,
    /// Variable; repeatable.
    #[arg(short = 'e', long = "env", value_name = "KEY=VALUE")]
    env: Vec<SecretString>,
    /// File with variables [default for a new app: .env beside the compose file].
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    #[command(flatten)]
    drop_env: DropEnv,
    /// Node, by name or id; see `casemate nodes ls`.
    #[arg(long, value_name = "NAME|ID", conflicts_with = "cvm_id")]
    node: Option<String>,
    /// Only a node with this label; repeatable. See `casemate admin node list --json`.
    #[arg(long = "node-label", value_name = "KEY=VALUE", value_parser = label,
          conflicts_with_all = ["cvm_id", "node"])]
    node_labels: Vec<(String, String)>,
    /// Only a node with this TEE: tdx, sev-snp, simulated or none.
    #[arg(long, conflicts_with_all = ["cvm_id", "node"])]
    tee: Option<String>,
    /// Instance type; see `casemate sizes ls`.
    #[arg(long, value_name = "NAME", conflicts_with = "cvm_id")]
    instance_type: Option<String>,
    /// OS image, by name; see `casemate images ls` [default: the best that the KMS's contract allows].
    #[arg(long, value_name = "NAME", conflicts_with = "cvm_id")]
    image: Option<String>,
    /// Address of an app contract that exists already.
    #[arg(long, value_name = "APP", conflicts_with = "cvm_id", value_parser = app_id)]
    app_id: Option<AppId>,
    /// Owner of a new app [default: the signing account].
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["cvm_id", "app_id"])]
    owner: Option<Address>,
    /// Deploy another contract even if this account deployed one lately that allows the same.
    #[arg(long, conflicts_with_all = ["cvm_id", "app_id"])]
    new_app: bool,
    /// Allow every device, not only the node's.
    #[arg(long, conflicts_with = "app_id")]
    allow_any_device: bool,
    #[command(flatten)]
    signing: Signing,
    /// Write the transactions to a file for the Safe Transaction Builder.
    #[arg(long, value_name = "FILE")]
    safe_batch: Option<PathBuf>,
    /// Wait until the CVM is running.
    #[arg(long, short)]
    wait: bool,
    /// Timeout in seconds.
    #[arg(long, default_value_t = 1800, value_name = "SECONDS")]
    timeout: u64,
}

fn app_id(text: &str) -> Result<AppId, String> {
    let bare = text.strip_prefix("app_").unwrap_or(text);
    bare.parse().map_err(|why: casemate_core::id::InvalidId| why.to_string())
}

pub async fn run(global: &Global, args: Deploy) -> Result<(), Fail> {
    // Before any request: an unusable key ends the command.
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

/// Waits if asked to, and prints the result.
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
    reply["status"] = info.status.as_str().into();
    if global.json {
        ui::json(&reply);
        return Ok(());
    }
    let app = info.app_id.unwrap_or_default();
    ui::line(format!("{} is {} (app {app})", info.name, info.status));
    if !args.wait {
        ui::print_note(format!("Follow the logs: casemate cvms logs {} -f", info.name));
    }
    Ok(())
}
