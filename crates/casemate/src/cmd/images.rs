use clap::Subcommand;

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// List OS images.
#[derive(Debug, Subcommand)]
pub enum Images {
    /// List the OS images that CVMs can boot.
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  casemate images ls\n  casemate images ls --json"
    )]
    Ls,
}

pub async fn run(global: &Global, command: Images) -> Result<(), Fail> {
    let Images::Ls = command;
    let found = connect::client(global)?.os_images(None, Some(100), None).await?;
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    let rows = found.items.iter().map(|image| {
        let kind = if image.is_dev { "dev" } else { "prod" };
        let hash = table::or_none(image.os_image_hash.as_ref());
        vec![image.name.clone(), image.version.clone(), kind.to_owned(), hash]
    });
    table::print(&["name", "version", "kind", "hash"], rows.collect(), "no images");
    Ok(())
}
