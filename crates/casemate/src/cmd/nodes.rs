use casemate_api::reply::{AvailableNode, Tee};
use clap::Subcommand;

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// List nodes.
#[derive(Debug, Subcommand)]
pub enum Nodes {
    /// List nodes with their TEE and free capacity.
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  casemate nodes ls\n  casemate nodes ls --json"
    )]
    Ls,
}

pub async fn run(global: &Global, command: Nodes) -> Result<(), Fail> {
    let Nodes::Ls = command;
    let found = connect::client(global)?.nodes().await?;
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    table::print(
        &["id", "name", "region", "tee", "vcpu left", "memory left", "slots left", "images"],
        found.nodes.iter().map(row).collect(),
        "no nodes",
    );
    Ok(())
}

fn row(node: &AvailableNode) -> Vec<String> {
    let images: Vec<&str> = node.images.iter().map(|image| image.name.as_str()).collect();
    vec![
        node.teepod_id.to_string(),
        node.name.clone(),
        table::or_none(node.region_identifier.as_ref()),
        table::or_none(node.tee.map(Tee::as_str)),
        node.remaining_vcpu.to_string(),
        format!("{} MB", node.remaining_memory),
        node.remaining_cvm_slots.to_string(),
        images.join(" "),
    ]
}
