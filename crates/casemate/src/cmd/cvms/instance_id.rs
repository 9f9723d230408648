//! `casemate cvms new-instance-id`.

use casemate_api::instance_id::RefreshInstanceIdRequest;
use clap::Args;

use super::{CvmArg, change::follow::follow};
use crate::{cli::Global, connect, fail::Fail, ui};

#[derive(Debug, Args)]
pub struct NewInstanceId {
    #[command(flatten)]
    one: CvmArg,
    /// Proceed although the disk key depends on the instance id, which means that the data is lost.
    #[arg(long)]
    allow_data_loss: bool,
    /// Skip the confirmation.
    #[arg(long, short)]
    yes: bool,
    /// Return once the change is accepted.
    #[arg(long)]
    no_wait: bool,
    /// Timeout in seconds.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
}

pub(super) async fn run(global: &Global, args: NewInstanceId) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let info = client.cvm_info(&args.one.cvm).await?;
    let data = if args.allow_data_loss { " and may lose its data" } else { "" };
    let question = format!("Change the instance id of {}? The CVM restarts{data}.", info.name);
    if !args.yes && (global.json || !ui::confirm(&question)) {
        return Err(Fail::new("not-confirmed", format!("{} was not changed", info.name))
            .suggest("Use --yes to skip the confirmation."));
    }
    let request =
        RefreshInstanceIdRequest { dry_run: false, allow_data_loss: args.allow_data_loss };
    let mut done = client.replace_instance_id(&info.id, &request).await?;
    if let Some(operation) = done.correlation_id.as_ref().filter(|_| !args.no_wait) {
        follow(global, &client, &info.id, &info.name, operation, args.timeout).await?;
        done.new_instance_id = client.cvm_info(&info.id).await?.instance_id;
    }
    if global.json {
        ui::json(&done);
        return Ok(());
    }
    let new = done.new_instance_id.as_deref().or(done.reason.as_deref()).unwrap_or_default();
    ui::line(format!("{}: {new}", info.name));
    Ok(())
}
