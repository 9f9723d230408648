use clap::Subcommand;

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// List instance types.
#[derive(Debug, Subcommand)]
pub enum Sizes {
    /// List instance types.
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  casemate sizes ls\n  casemate sizes ls --json"
    )]
    Ls,
}

pub async fn run(global: &Global, command: Sizes) -> Result<(), Fail> {
    let Sizes::Ls = command;
    let found = connect::client(global)?.instance_types().await?;
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    let rows = found.result.iter().flat_map(|family| &family.items).map(|size| {
        vec![
            size.id.clone(),
            size.vcpu.to_string(),
            format!("{} MB", size.memory_mb),
            format!("{} GB", size.default_disk_size_gb),
            size.hourly_rate.clone(),
        ]
    });
    table::print(&["id", "vcpu", "memory", "disk", "per hour"], rows.collect(), "no sizes");
    Ok(())
}
