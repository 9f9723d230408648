//! `casemate cvms envs`: names are shown, values never.

use casemate_core::{change::Change, compose::docker};
use clap::Subcommand;
use secrecy::SecretString;
use serde_json::json;

use super::{
    CvmArg,
    change::{self, ChangeOptions, CurrentCvm, DropEnv},
};
use crate::{cli::Global, connect, fail::Fail, table, ui, vars};

#[derive(Debug, Subcommand)]
pub enum Envs {
    /// List variable names and whether the compose file uses them.
    #[command(visible_alias = "list", after_help = "Examples:\n  casemate cvms envs ls hello")]
    Ls(CvmArg),
    /// Replace all variables. Values are encrypted before they are sent.
    ///
    /// Variables that are not given are removed, because only the guest can read the current values. Removing
    /// a variable that the compose file uses needs --drop-env.
    #[command(after_help = "Examples:
  casemate cvms envs update hello -e .env
  casemate cvms envs update hello -e prod.env -e TOKEN=secret --yes")]
    Update {
        #[command(flatten)]
        one: CvmArg,
        /// KEY=VALUE, or a file with variables; repeatable, later values override earlier ones.
        #[arg(short = 'e', long = "env", value_name = "FILE|KEY=VALUE", required = true)]
        env: Vec<SecretString>,
        #[command(flatten)]
        drop_env: DropEnv,
        #[command(flatten)]
        manner: ChangeOptions,
    },
}

pub(super) async fn run(global: &Global, command: Envs) -> Result<(), Fail> {
    match command {
        Envs::Ls(one) => list(global, &one.cvm).await,
        Envs::Update { one, env, drop_env, manner } => {
            let vars = vars::from_flags(&env)?;
            let client = connect::client(global)?;
            let current = CurrentCvm::read(&client, &one.cvm).await?;
            let mut change = Change::default();
            current.seal_into(&mut change, &vars)?;
            change::apply_change(global, &client, &current, &change, &manner, drop_env.drop_env)
                .await
        }
    }
}

async fn list(global: &Global, cvm: &str) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let current = CurrentCvm::read(&client, cvm).await?;
    let document = &current.document;
    let text = document.docker_compose_file.as_deref().unwrap_or_default();
    let used = docker::inspect(text).map(|seen| seen.variables.names()).unwrap_or_default();
    let names = &document.allowed_envs;
    if global.json {
        let all = names.iter().map(|name| json!({ "name": name, "used": used.contains(name) }));
        ui::json(&all.collect::<Vec<_>>());
        return Ok(());
    }
    let rows = names.iter().map(|name| {
        let word = if used.contains(name) { "yes" } else { "no" };
        vec![name.clone(), word.to_owned()]
    });
    table::print(&["name", "used by the compose file"], rows.collect(), "no variables");
    Ok(())
}
