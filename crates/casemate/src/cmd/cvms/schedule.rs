//! `casemate cvms schedule-delete`.

use std::time::Duration;

use casemate_core::time::Timestamp;
use casemate_server::system;
use clap::Args;
use serde_json::json;

use super::CvmArg;
use crate::{cli::Global, connect, fail::Fail, ui};

#[derive(Debug, Args)]
pub struct Schedule {
    #[command(flatten)]
    one: CvmArg,
    #[command(flatten)]
    when: When,
    /// Skip the confirmation.
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct When {
    /// Delete at this time, for example 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Delete after this time: 30m, 12h, 7d.
    #[arg(long = "in", value_name = "DURATION", value_parser = duration)]
    after: Option<Duration>,
    /// Cancel the scheduled deletion.
    #[arg(long)]
    never: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let why = || "must be a number followed by m, h or d: 30m, 12h, 7d".to_owned();
    let unit = text.chars().next_back().ok_or_else(why)?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(why()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| why())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(why)
}

pub(super) async fn run(global: &Global, args: Schedule) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let info = client.cvm_info(&args.one.cvm).await?;
    let name = &info.name;
    let at =
        args.when.at.or_else(|| args.when.after.map(|after| system::clock().now().plus(after)));
    if let Some(at) = at {
        let question = format!("Delete {name} ({}) and its data at {at}?", info.id);
        if !args.yes && (global.json || !ui::confirm(&question)) {
            return Err(Fail::new("not-confirmed", format!("no deletion of {name} was scheduled"))
                .suggest("Use --yes to skip the confirmation."));
        }
    }
    client.schedule_delete(&info.id, at).await?;
    let at = at.map(|at| at.to_string());
    if global.json {
        ui::json(&json!({ "id": info.id, "name": name, "scheduled_delete_at": at }));
        return Ok(());
    }
    ui::line(match at {
        Some(at) => format!("{name}: deletion with its data scheduled for {at}"),
        None => format!("{name}: no deletion scheduled"),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("30m"), Ok(Duration::from_mins(30)));
        assert_eq!(duration("12h"), Ok(Duration::from_hours(12)));
        assert_eq!(duration("7d"), Ok(Duration::from_hours(7 * 24)));
        for text in ["", "7", "d", "-1d", "1w", "1é", "99999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
