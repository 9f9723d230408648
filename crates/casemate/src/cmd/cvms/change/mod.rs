//! A change to a CVM, from what was asked to its end:
//!
//! 1. [`present`]: the configuration it has, as the server shows it
//! 2. [`diff`]: what would be different, which the server is asked, and whether the guest has to be
//!    restarted for it
//! 3. [`agree`]: shown, and asked where it restarts
//! 4. [`send`]: as one PATCH, which may restart the guest only if that was agreed to
//! 5. [`mod@follow`]: its steps until it has ended

mod diff;
pub mod follow;
mod present;
mod request;

use casemate_api::{error::ErrorCode, reply::Course};
use casemate_client::{Client, EnvGuard, Error, Required};
use casemate_core::change::{Change, Effect};
use clap::Args;
use serde_json::{Value, json};

pub use self::{
    diff::{Diff, shown, unified},
    follow::{follow, line, took},
    present::Present,
    request::patch,
};
use super::approval;
use crate::{cli::Global, fail::Fail, ui};

/// How a change is made.
#[derive(Debug, Clone, Args)]
pub struct Manner {
    /// Do not ask before a restart.
    #[arg(long, short)]
    pub yes: bool,
    /// Only prepare what the app's contract has to allow, and tell the token that commits it.
    #[arg(long)]
    pub prepare_only: bool,
    /// Do not wait for its end.
    #[arg(long)]
    pub no_wait: bool,
    /// Wait this many seconds at most.
    #[arg(long, default_value_t = 1800, value_name = "SECONDS")]
    pub timeout: u64,
}

/// Whether variables may go that the compose file uses.
#[derive(Debug, Clone, Copy, Args)]
pub struct DropEnv {
    /// Let variables go that the compose file uses.
    #[arg(long)]
    pub drop_env: bool,
}

/// Makes a change of a CVM and tells what came of it.
pub async fn make(
    global: &Global,
    client: &Client,
    present: &Present,
    change: &Change,
    manner: &Manner,
    drop_env: bool,
) -> Result<(), Fail> {
    let diff = present.diff(client, change).await?;
    guard(&diff, drop_env)?;
    if !global.json {
        diff.show(&present.info.name);
    }
    // What waits may make a difference of it.
    if diff.effect == Effect::Nothing && !present.info.in_progress {
        return told(global, client, present, &diff, None).await;
    }
    let sent = if manner.prepare_only {
        let (id, name) = (present.info.id.as_str(), present.info.name.as_str());
        let patch = patch(change, true);
        let prepared = approval::prepare(global, client, (id, name), &patch, env_guard(drop_env));
        match prepared.await? {
            Some(applied) => (applied.correlation_id, applied.course),
            None => return Ok(()),
        }
    } else {
        agree(global, present, &diff, manner)?;
        let sent = send(client, present, change, &diff, drop_env).await?;
        warn(global, &sent.1);
        sent
    };
    if manner.no_wait {
        return told(global, client, present, &diff, Some((sent, Value::Null))).await;
    }
    let id = &present.info.id;
    let record = follow(global, client, id, &present.info.name, &sent.0, manner.timeout).await?;
    let record = serde_json::to_value(record).unwrap_or_default();
    told(global, client, present, &diff, Some((sent, record))).await
}

/// Refuses to let go what the compose file uses.
pub fn guard(diff: &Diff, drop_env: bool) -> Result<(), Fail> {
    let missing = diff.env.as_ref().map(|env| env.missing.as_slice()).unwrap_or_default();
    if drop_env || missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(", ");
    let why = format!("the compose file uses {names}, which this change drops");
    let fail = Fail::new(ErrorCode::EnvKeysMissing.code(), why);
    let fail = missing.iter().fold(fail, |fail, name| fail.detail("env", format!("drops {name}")));
    Err(ways_to_keep(fail))
}

fn ways_to_keep(mut fail: Fail) -> Fail {
    fail.suggestions.clear();
    fail.suggest("Give every variable again, not only the new ones: the values here are sealed.")
        .suggest("Or say --drop-env to let them go.")
}

/// Asks before a guest is restarted; nobody there to be asked is a no.
pub fn agree(global: &Global, present: &Present, diff: &Diff, manner: &Manner) -> Result<(), Fail> {
    let name = &present.info.name;
    if !diff.restart || manner.yes {
        return Ok(());
    }
    if !global.json && ui::confirm(&format!("Restart {name} for this?")) {
        return Ok(());
    }
    Err(Fail::new("not-confirmed", format!("{name} was not changed: it would be restarted"))
        .suggest("Say --yes to restart it without being asked."))
}

/// Sends a change. Returns the operation, and how it goes on.
pub async fn send(
    client: &Client,
    present: &Present,
    change: &Change,
    diff: &Diff,
    drop_env: bool,
) -> Result<(String, Course), Fail> {
    let patch = patch(change, diff.restart);
    match client.patch_cvm(&present.info.id, &patch, env_guard(drop_env)).await {
        Ok(accepted) => Ok((accepted.correlation_id, accepted.course)),
        Err(error) if error.code() == Some(ErrorCode::EnvKeysMissing) => {
            Err(ways_to_keep(error.into()))
        }
        Err(error) if error.code() == Some(ErrorCode::RestartNotAllowed) => Err(overtaken(&error)),
        Err(error) => Err(match Required::of(&error) {
            Some(required) => approval::needed(&present.info.name, &required?),
            None => error.into(),
        }),
    }
}

const fn env_guard(drop_env: bool) -> EnvGuard {
    if drop_env { EnvGuard::Report } else { EnvGuard::Refuse }
}

/// What was shown needed no restart; what the CVM is now does.
fn overtaken(error: &Error) -> Fail {
    Fail::new("overtaken", "the CVM was changed meanwhile, and now it would have to be restarted")
        .detail("server", error.to_string())
        .suggest("Run the same command again: it shows the difference to what there is now.")
}

/// Says what a server noted.
pub fn warn(global: &Global, course: &Course) {
    if global.json {
        return;
    }
    for warning in &course.warnings {
        ui::print_note(format!("note: {warning}"));
    }
    if let Some(place) = course.queue_position {
        ui::print_note(format!("waits for its turn; {place} changes go before it"));
    }
}

/// The last word: `sent` is the operation, how it went on, and its record where it was waited for.
async fn told(
    global: &Global,
    client: &Client,
    present: &Present,
    diff: &Diff,
    sent: Option<((String, Course), Value)>,
) -> Result<(), Fail> {
    let (id, name) = (&present.info.id, &present.info.name);
    let waited = sent.as_ref().is_some_and(|(_, record)| !record.is_null());
    let status =
        if waited { client.cvm_state(id).await?.status } else { present.info.status.clone() };
    if global.json {
        let course = sent.as_ref().map(|((_, course), _)| course);
        ui::json(&json!({
            "id": id,
            "name": name,
            "status": status,
            "correlation_id": sent.as_ref().map(|((operation, _), _)| operation),
            "effect": course.and_then(|course| course.effect.as_deref()).unwrap_or(diff.effect_word()),
            "restart": diff.restart,
            "diff": diff.json(),
            "env_report": course.and_then(|course| course.env_report.as_ref()),
            "warnings": course.map(|course| &course.warnings),
            "operation": sent.as_ref().map(|(_, record)| record),
        }));
        return Ok(());
    }
    ui::line(match sent {
        None => format!("{name}: nothing to change"),
        Some(((operation, _), _)) if !waited => format!("{name}: accepted ({operation})"),
        Some(_) => format!("{name}: updated, {status}"),
    });
    Ok(())
}
