//! `casemate cvms operations` and `cancel`.

use casemate_api::reply::OperationRecord;
use casemate_client::OperationsQuery;
use casemate_core::id::OperationId;
use clap::Args;

use super::{
    CvmArg,
    change::{elapsed, follow, line},
};
use crate::{
    cli::Global,
    connect,
    fail::Fail,
    table::{self, or_none},
    ui,
};

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    one: CvmArg,
    /// Include the steps of each operation.
    #[arg(long)]
    steps: bool,
    /// Only these kinds: create, start, stop, shutdown, restart, update, rollback, delete.
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Maximum number of operations.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    /// Cursor of the next page, as printed by the previous call.
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Debug, Args)]
pub struct Cancel {
    #[command(flatten)]
    one: CvmArg,
    /// Operation id [default: the current operation].
    #[arg(value_name = "OPERATION")]
    operation: Option<OperationId>,
    /// Return before the CVM is rolled back.
    #[arg(long)]
    no_wait: bool,
    /// Timeout in seconds.
    #[arg(long, default_value_t = 1800, value_name = "SECONDS")]
    timeout: u64,
}

pub(super) async fn list(global: &Global, args: List) -> Result<(), Fail> {
    let query = OperationsQuery {
        cursor: args.cursor,
        limit: Some(args.limit),
        kinds: args.kind,
        ..OperationsQuery::default()
    };
    let found = connect::client(global)?.operations(&args.one.cvm, &query).await?;
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    let header = ["operation", "what", "state", "started", "took", "by", "cause"];
    if args.steps {
        for record in &found.items {
            table::print(&header, vec![row(record)], "");
            for step in &record.steps {
                ui::line(format!("  {}", line(step)));
            }
        }
    } else {
        table::print(&header, found.items.iter().map(row).collect(), "no operations");
    }
    if let Some(cursor) = &found.next_cursor {
        ui::print_note(format!(
            "{} operations in total; next page: --cursor {cursor}",
            found.total
        ));
    }
    Ok(())
}

fn row(record: &OperationRecord) -> Vec<String> {
    let waits = record.queue_position.map(|place| format!(" (behind {place})"));
    let state = record.state.as_ref().map_or(record.status.as_str(), |state| state.as_str());
    let took = elapsed(&record.started_at, record.completed_at.as_deref());
    vec![
        record.correlation_id.clone(),
        record.operation_type.to_string(),
        format!("{state}{}", waits.unwrap_or_default()),
        record.started_at.clone(),
        or_none(Some(took).filter(|text| !text.is_empty())),
        or_none(record.triggered_by_username.as_ref()),
        or_none(record.error_message.as_ref()),
    ]
}

pub(super) async fn cancel(global: &Global, args: Cancel) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let info = client.cvm_info(&args.one.cvm).await?;
    let done = client.cancel_operation(&info.id, args.operation).await?;
    if !done.cancelled {
        return Err(Fail::new(
            "nothing-to-cancel",
            format!("{}: no operation is in progress", info.name),
        )
        .suggest(format!("List past operations: casemate cvms operations {}", info.name)));
    }
    let back = done.rollback_correlation_id.as_ref();
    if let Some(operation) = back.filter(|_| !args.no_wait) {
        follow(global, &client, &info.id, &info.name, operation, args.timeout).await?;
    }
    if global.json {
        ui::json(&done);
        return Ok(());
    }
    ui::line(match back {
        None => format!("{}: cancelled", info.name),
        Some(_) if !args.no_wait => format!("{}: cancelled and rolled back", info.name),
        Some(operation) => format!("{}: cancelled, rolling back ({operation})", info.name),
    });
    Ok(())
}
