//! `casemate cvms ls`, `get` and `logs`.

use casemate_client::Client;
use serde_json::json;

use super::{log_stream, show};
use crate::{cli::Global, connect, fail::Fail, table, ui};

pub(super) async fn list(global: &Global) -> Result<(), Fail> {
    let cvms = connect::client(global)?.all_cvms().await?;
    if global.json {
        ui::json(&cvms);
    } else {
        table::print(&show::HEADER, cvms.iter().map(show::row).collect(), "no CVMs");
    }
    Ok(())
}

pub(super) async fn get(global: &Global, cvm: &str) -> Result<(), Fail> {
    let client = connect::client(global)?;
    if global.json {
        ui::json(&client.cvm_json(cvm).await?);
        return Ok(());
    }
    let info = client.cvm_info(cvm).await?;
    show::print_details(&info);
    if let Some(warning) = show::warning(&info) {
        ui::print_note(warning);
    }
    Ok(())
}

pub(super) async fn logs(global: &Global, cvm: &str, follow: bool, tail: u32) -> Result<(), Fail> {
    let client = connect::client(global)?;
    match (follow, global.json) {
        (true, true) => {
            Err(Fail::usage("--follow and --json cannot be used together")
                .suggest("Omit one of them."))
        }
        (true, false) => {
            if let log_stream::End::Silent(status) = log_stream::follow(&client, cvm, tail).await? {
                ui::print_note(format!("{cvm} is {status}"));
            }
            Ok(())
        }
        (false, as_json) => once(&client, cvm, tail, as_json).await,
    }
}

async fn once(client: &Client, cvm: &str, tail: u32, as_json: bool) -> Result<(), Fail> {
    if as_json {
        let text = log_stream::last_lines(client, cvm, tail).await?;
        let lines: Vec<_> = text.lines().collect();
        ui::json(&json!({ "cvm": cvm, "lines": lines }));
        return Ok(());
    }
    let mut stream = client.logs(cvm, false, tail).await?;
    while let Some(bytes) = stream.next().await? {
        if !ui::raw(&bytes) {
            break;
        }
    }
    Ok(())
}
