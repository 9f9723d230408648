//! Changes one CVM, in five steps:
//!
//! 1. [`current`]: read the current configuration from the server
//! 2. [`diff`]: ask the server for the difference and whether it needs a restart
//! 3. [`confirm_restart`]: ask for confirmation before a restart
//! 4. [`send`]: send one PATCH, which may restart the guest only if that was confirmed
//! 5. [`mod@follow`]: show the steps until the operation ends

mod current;
mod diff;
pub mod follow;
mod request;

use casemate_api::{error::ErrorCode, reply::Course};
use casemate_client::{ApprovalRequired, Client, EnvGuard, Error};
use casemate_core::change::{Change, Effect};
use clap::Args;
use serde_json::{Value, json};

pub use self::{
    current::CurrentCvm,
    diff::{Diff, shown, unified},
    follow::{elapsed, follow, line},
    request::patch,
};
use super::approval;
use crate::{cli::Global, fail::Fail, ui};

#[derive(Debug, Clone, Args)]
pub struct ChangeOptions {
    /// Skip the confirmation of a restart.
    #[arg(long, short)]
    pub yes: bool,
    /// Only prepare the change for approval by the app's contract, and print the commit token.
    #[arg(long)]
    pub prepare_only: bool,
    /// Return once the change is accepted.
    #[arg(long)]
    pub no_wait: bool,
    /// Timeout in seconds.
    #[arg(long, default_value_t = 1800, value_name = "SECONDS")]
    pub timeout: u64,
}

#[derive(Debug, Clone, Copy, Args)]
pub struct DropEnv {
    /// Allow the update to drop variables that the compose file uses.
    #[arg(long)]
    pub drop_env: bool,
}

/// Applies a change to a CVM and prints the result.
pub async fn apply_change(
    global: &Global,
    client: &Client,
    current: &CurrentCvm,
    change: &Change,
    manner: &ChangeOptions,
    drop_env: bool,
) -> Result<(), Fail> {
    let diff = current.diff(client, change).await?;
    check_dropped_env(&diff, drop_env)?;
    if !global.json {
        diff.show(&current.info.name);
    }
    // A queued change can make this one effective.
    if diff.effect == Effect::Nothing && !current.info.in_progress {
        return print_outcome(global, client, current, &diff, None).await;
    }
    let sent = if manner.prepare_only {
        let (id, name) = (current.info.id.as_str(), current.info.name.as_str());
        let patch = patch(change, true);
        let prepared = approval::prepare(global, client, (id, name), &patch, env_guard(drop_env));
        match prepared.await? {
            Some(applied) => (applied.correlation_id, applied.course),
            None => return Ok(()),
        }
    } else {
        confirm_restart(global, current, &diff, manner)?;
        let sent = send(client, current, change, &diff, drop_env).await?;
        warn(global, &sent.1);
        sent
    };
    if manner.no_wait {
        return print_outcome(global, client, current, &diff, Some((sent, Value::Null))).await;
    }
    let id = &current.info.id;
    let record = follow(global, client, id, &current.info.name, &sent.0, manner.timeout).await?;
    let record = serde_json::to_value(record).unwrap_or_default();
    print_outcome(global, client, current, &diff, Some((sent, record))).await
}

/// Refuses to drop variables that the compose file uses.
pub fn check_dropped_env(diff: &Diff, drop_env: bool) -> Result<(), Fail> {
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
    fail.suggest("Give all variables, not only the new ones. The current values are encrypted.")
        .suggest("Or use --drop-env to drop them.")
}

/// Asks for confirmation before a restart. Without a terminal the answer is no.
pub fn confirm_restart(
    global: &Global,
    current: &CurrentCvm,
    diff: &Diff,
    manner: &ChangeOptions,
) -> Result<(), Fail> {
    let name = &current.info.name;
    if !diff.restart || manner.yes {
        return Ok(());
    }
    if !global.json && ui::confirm(&format!("Restart {name} to apply this?")) {
        return Ok(());
    }
    Err(Fail::new(
        "not-confirmed",
        format!("{name} was not changed, because the change restarts it"),
    )
    .suggest("Use --yes to restart it without confirmation."))
}

/// Sends a change. Returns the operation and its course.
pub async fn send(
    client: &Client,
    current: &CurrentCvm,
    change: &Change,
    diff: &Diff,
    drop_env: bool,
) -> Result<(String, Course), Fail> {
    let patch = patch(change, diff.restart);
    match client.patch_cvm(&current.info.id, &patch, env_guard(drop_env)).await {
        Ok(accepted) => Ok((accepted.correlation_id, accepted.course)),
        Err(error) if error.code() == Some(ErrorCode::EnvKeysMissing) => {
            Err(ways_to_keep(error.into()))
        }
        Err(error) if error.code() == Some(ErrorCode::RestartNotAllowed) => {
            Err(restart_now_needed(&error))
        }
        Err(error) => Err(match ApprovalRequired::of(&error) {
            Some(required) => approval::approval_needed(&current.info.name, &required?),
            None => error.into(),
        }),
    }
}

const fn env_guard(drop_env: bool) -> EnvGuard {
    if drop_env { EnvGuard::Report } else { EnvGuard::Refuse }
}

/// The preview needed no restart, but the CVM has changed since and now needs one.
fn restart_now_needed(error: &Error) -> Fail {
    Fail::new("overtaken", "the CVM changed in the meantime, and the update now needs a restart")
        .detail("server", error.to_string())
        .suggest("Run the same command again to see the current difference.")
}

/// Prints the server's warnings.
pub fn warn(global: &Global, course: &Course) {
    if global.json {
        return;
    }
    for warning in &course.warnings {
        ui::print_note(format!("note: {warning}"));
    }
    if let Some(place) = course.queue_position {
        ui::print_note(format!("queued behind {place} changes"));
    }
}

/// Prints the result. `sent` has the operation, its course, and its record if the command waited.
async fn print_outcome(
    global: &Global,
    client: &Client,
    current: &CurrentCvm,
    diff: &Diff,
    sent: Option<((String, Course), Value)>,
) -> Result<(), Fail> {
    let (id, name) = (&current.info.id, &current.info.name);
    let waited = sent.as_ref().is_some_and(|(_, record)| !record.is_null());
    let status =
        if waited { client.cvm_state(id).await?.status } else { current.info.status.clone() };
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
