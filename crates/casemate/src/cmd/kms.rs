use casemate_api::reply::KmsList;
use clap::Subcommand;

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// List key management services.
#[derive(Debug, Subcommand)]
pub enum Kms {
    /// List key management services.
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  casemate kms ls\n  casemate kms ls --json"
    )]
    Ls,
}

pub async fn run(global: &Global, command: Kms) -> Result<(), Fail> {
    let Kms::Ls = command;
    let found = connect::client(global)?.kms_list(None, Some(100)).await?;
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    let rows = match &found {
        KmsList::Contracts(page) => page
            .items
            .iter()
            .map(|kms| {
                vec![
                    kms.id.clone(),
                    table::or_none(kms.slug.as_ref()),
                    kms.contract_address.clone(),
                    kms.chain_id.to_string(),
                ]
            })
            .collect(),
        KmsList::Nodes(page) => page
            .items
            .iter()
            .map(|kms| {
                vec![
                    kms.id.clone(),
                    table::or_none(kms.slug.as_ref()),
                    table::or_none(kms.kms_contract_address.as_ref()),
                    table::or_none(kms.chain_id),
                ]
            })
            .collect(),
    };
    table::print(&["id", "slug", "contract", "chain"], rows, "no KMS");
    Ok(())
}
