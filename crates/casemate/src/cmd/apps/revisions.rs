//! Revisions of an app: list, show, compare, redeploy.

use casemate_api::{
    error::ErrorCode,
    reply::{App, AppCvms, CvmInfo, Revision, RevisionDetail, RevisionDiff},
    revision::AppRedeployRequest,
};
use casemate_client::{AppsQuery, Client, EnvGuard};
use casemate_core::{change::Effect, id::AppId};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::Global,
    cmd::cvms::change::{self, ChangeOptions, CurrentCvm, Diff, unified},
    connect,
    fail::Fail,
    table::{self, or_none},
    ui,
};

#[derive(Debug, Args)]
pub struct AppArg {
    /// App id, or the name of an app that has CVMs.
    #[arg(value_name = "APP")]
    app: String,
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    one: AppArg,
    /// Page number.
    #[arg(long, default_value_t = 1)]
    page: u32,
    /// Revisions per page, at most 1000.
    #[arg(long, default_value_t = 50)]
    page_size: u32,
}

#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    one: AppArg,
    /// Revision id, `rev_…`.
    #[arg(value_name = "REVISION")]
    revision: String,
    /// Print only the document, byte for byte as it was hashed.
    #[arg(long)]
    raw: bool,
}

#[derive(Debug, Args)]
pub struct Compare {
    #[command(flatten)]
    one: AppArg,
    /// First revision.
    #[arg(value_name = "FROM")]
    from: String,
    /// Second revision.
    #[arg(value_name = "TO")]
    to: String,
}

#[derive(Debug, Args)]
pub struct Redeploy {
    #[command(flatten)]
    one: AppArg,
    /// Revision id, `rev_…`.
    #[arg(value_name = "REVISION")]
    revision: String,
    /// CVM to redeploy, by name or id; repeatable [default: the app's only CVM].
    #[arg(long, value_name = "CVM")]
    cvm: Vec<String>,
    /// Redeploy every CVM of the app.
    #[arg(long, conflicts_with = "cvm")]
    all: bool,
    /// Redeploy although the revision had other variables. The CVM keeps its current ones.
    #[arg(long)]
    allow_env_mismatch: bool,
    #[command(flatten)]
    manner: ChangeOptions,
}

/// The app id for an app id or a name.
async fn app_id(client: &Client, text: &str) -> Result<String, Fail> {
    let bare = text.strip_prefix("app_").unwrap_or(text);
    if let Ok(id) = bare.parse::<AppId>() {
        return Ok(id.to_string());
    }
    let query =
        AppsQuery { search: Some(text.to_owned()), page_size: Some(100), ..AppsQuery::default() };
    let mut found = client.apps(&query).await?.dstack_apps;
    found.retain(|app| app.name == text);
    match found.as_slice() {
        [one] => Ok(one.app_id.clone()),
        [] => Err(Fail::new("app", format!("no app named {text:?} has a CVM"))
            .suggest("List apps: casemate apps ls. Use the app id for an app without CVMs.")),
        several => Err(several.iter().fold(
            Fail::new("app", format!("several apps are named {text:?}")).suggest("Use the app id."),
            |fail, App { app_id, .. }| fail.detail("app id", app_id),
        )),
    }
}

pub(super) async fn list(global: &Global, args: List) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let app = app_id(&client, &args.one.app).await?;
    let found = client.revisions(&app, Some(args.page), Some(args.page_size)).await?;
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    table::print(
        &["revision", "how", "cvm", "compose hash", "since", "by"],
        found.revisions.iter().map(row).collect(),
        "no revisions",
    );
    if u64::from(found.page) < found.total_pages {
        ui::print_note(format!(
            "{} revisions in total; next page: --page {}",
            found.total,
            found.page + 1
        ));
    }
    Ok(())
}

fn row(one: &Revision) -> Vec<String> {
    let cvm = one.cvm.as_ref().and_then(|cvm| cvm.name.clone());
    let by = one.triggered_by.as_ref().and_then(|user| user.username.clone());
    vec![
        one.revision_id.clone(),
        one.operation_type.clone(),
        cvm.unwrap_or_else(|| one.vm_uuid.clone()),
        one.compose_hash.clone(),
        one.created_at.clone(),
        or_none(by),
    ]
}

pub(super) async fn show(global: &Global, args: Show) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let app = app_id(&client, &args.one.app).await?;
    let found = client.revision(&app, &args.revision, args.raw).await?;
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    if args.raw {
        // No extra byte: the text must have this hash.
        ui::raw(text(&found).as_bytes());
        return Ok(());
    }
    let one = &found.revision;
    let sealed = if found.encrypted_env.is_empty() { "none" } else { "sealed" };
    table::facts(&[
        ("revision", one.revision_id.clone()),
        ("how", one.operation_type.clone()),
        ("operation", or_none(one.trace_id.as_ref())),
        ("cvm", row(one).swap_remove(2)),
        ("compose hash", one.compose_hash.clone()),
        ("since", one.created_at.clone()),
        ("variables", format!("{sealed} {}", found.env_keys.join(" ")).trim_end().to_owned()),
        ("user config", format!("{} bytes", found.user_config.len())),
    ]);
    let file = found.compose_file.as_ref().and_then(|file| file.get("docker_compose_file"));
    if let Some(file) = file.and_then(Value::as_str) {
        ui::line("");
        ui::raw(file.as_bytes());
    }
    Ok(())
}

fn text(found: &RevisionDetail) -> String {
    match &found.compose_file {
        Some(Value::String(text)) => text.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

pub(super) async fn compare(global: &Global, args: Compare) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let app = app_id(&client, &args.one.app).await?;
    let diff = client.revision_diff(&app, &args.from, &args.to).await?;
    if global.json {
        ui::json(&diff);
    } else if diff.identical {
        ui::print_note("nothing differs");
    } else {
        for line in diff_lines(&diff) {
            ui::line(line);
        }
    }
    Ok(())
}

/// The difference as lines of text.
fn diff_lines(diff: &RevisionDiff) -> Vec<String> {
    let mut lines = Vec::new();
    let texts = [
        ("docker-compose.yml", &diff.docker_compose_file),
        ("pre-launch script", &diff.pre_launch_script),
    ];
    for (title, text) in texts {
        if let Some(text) = text {
            lines.push(title.to_owned());
            lines.extend(text.lines().map(|line| format!("  {}", change::shown(line))));
        }
    }
    let value =
        |value: &Option<Value>| value.as_ref().map_or_else(|| "-".to_owned(), Value::to_string);
    if !diff.fields.is_empty() {
        lines.push("document".to_owned());
    }
    for one in &diff.fields {
        let (from, to) = (value(&one.from), value(&one.to));
        lines.push(format!("  {}  {} → {}", one.field, change::shown(&from), change::shown(&to)));
    }
    if diff.encrypted_env_changed || !(diff.env.added.is_empty() && diff.env.removed.is_empty()) {
        lines.push("variables (names only)".to_owned());
        lines.extend(diff.env.added.iter().map(|name| format!("  + {name}")));
        lines.extend(diff.env.removed.iter().map(|name| format!("  - {name}")));
        if diff.encrypted_env_changed {
            lines.push("  = new sealed values".to_owned());
        }
    }
    if let Some(config) = &diff.user_config {
        lines.push("user config".to_owned());
        let text = unified(config.from.as_deref(), config.to.as_deref());
        lines.extend(text.lines().map(|line| format!("  {}", change::shown(line))));
    }
    lines
}

/// The CVMs that a command selects.
async fn targets(client: &Client, app: &str, args: &Redeploy) -> Result<Vec<CvmInfo>, Fail> {
    let AppCvms::Nested(all) = client.app_cvms(app).await? else {
        return Err(Fail::new("not-understood", "the server uses API version 2025-10-28"));
    };
    if args.all {
        return Ok(all);
    }
    if args.cvm.is_empty() {
        if all.len() == 1 {
            return Ok(all);
        }
        let fail = Fail::usage(format!("the app has {} CVMs", all.len()))
            .suggest("Select CVMs with --cvm, or all with --all.");
        return Err(all.into_iter().fold(fail, |fail, cvm| fail.detail("cvm", cvm.name)));
    }
    let mut chosen: Vec<CvmInfo> = Vec::new();
    for text in &args.cvm {
        let is_it = |cvm: &&CvmInfo| {
            let ids = [Some(&cvm.id), cvm.vm_uuid.as_ref(), cvm.instance_id.as_ref()];
            cvm.name == *text || ids.into_iter().flatten().any(|id| id == text)
        };
        let Some(found) = all.iter().find(is_it) else {
            return Err(Fail::usage(format!("the app has no CVM {text:?}"))
                .suggest("List CVMs: casemate cvms ls."));
        };
        if chosen.iter().all(|cvm| cvm.id != found.id) {
            chosen.push(found.clone());
        }
    }
    Ok(chosen)
}

/// A CVM and the difference that the redeploy makes to it.
struct Target {
    current: CurrentCvm,
    diff: Diff,
}

pub(super) async fn redeploy(global: &Global, args: Redeploy) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let app = app_id(&client, &args.one.app).await?;
    let wanted = client.revision(&app, &args.revision, true).await?;
    let mut all = Vec::new();
    for cvm in targets(&client, &app, &args).await? {
        let current = CurrentCvm::read(&client, &cvm.id).await?;
        let diff = current.diff_revision(&client, &args.revision).await?;
        if !global.json {
            diff.show(&current.info.name);
        }
        all.push(Target { current, diff });
    }
    confirm_restart(global, &all, &args.manner)?;
    let request = AppRedeployRequest {
        vm_uuids: all.iter().filter_map(|one| one.current.info.vm_uuid.clone()).collect(),
        all: None,
        allow_env_mismatch: args.allow_env_mismatch.then_some(true),
    };
    let sent = client.redeploy_app(&app, &args.revision, &request, EnvGuard::Workspace).await;
    let sent = sent.map_err(|error| {
        let differ = error.code() == Some(ErrorCode::RevisionEnvKeysDiffer);
        let mut fail = Fail::from(error);
        if differ {
            fail.suggestions =
                vec!["Use --allow-env-mismatch to keep the CVM's current variables.".to_owned()];
        }
        fail
    })?;
    let mut rows = Vec::new();
    for Target { current, diff } in &all {
        let (id, name) = (&current.info.id, &current.info.name);
        let here = sent.cvms.iter().find(|cvm| Some(&cvm.vm_uuid) == current.info.vm_uuid.as_ref());
        // Other servers do not reply with the accepted operation. Treat the change as accepted.
        let update = here.map(|here| &here.update);
        if let Some(update) = update {
            change::warn(global, &update.course);
        }
        let done = update.filter(|_| !args.manner.no_wait);
        let record = match done {
            Some(update) if update.status != "no_change" => {
                let (operation, within) = (&update.correlation_id, args.manner.timeout);
                Some(change::follow(global, &client, id, name, operation, within).await?)
            }
            _ => None,
        };
        let status = client.cvm_state(id).await?.status;
        if !global.json {
            ui::line(match (update.map(|update| update.status.as_str()), &record) {
                (Some("no_change"), _) => format!("{name}: nothing to change"),
                (_, Some(_)) => format!("{name}: {}, {status}", args.revision),
                (_, None) => format!("{name}: accepted"),
            });
        }
        rows.push(json!({
            "id": id,
            "name": name,
            "vm_uuid": current.info.vm_uuid,
            "status": status,
            "correlation_id": update.map(|update| &update.correlation_id),
            "effect": update.and_then(|update| update.course.effect.as_ref()),
            "restart": diff.restart,
            "diff": diff.json(),
            "operation": record,
        }));
    }
    if global.json {
        ui::json(&json!({
            "app_id": app,
            "revision_id": args.revision,
            "compose_hash": wanted.revision.compose_hash,
            "status": sent.status,
            "cvms": rows,
        }));
    }
    Ok(())
}

/// Asks for confirmation once, before anything is restarted.
fn confirm_restart(global: &Global, all: &[Target], manner: &ChangeOptions) -> Result<(), Fail> {
    let restarts = all.iter().filter(|one| one.diff.restart && one.diff.effect != Effect::Nothing);
    let names: Vec<&str> = restarts.map(|one| one.current.info.name.as_str()).collect();
    if names.is_empty() || manner.yes {
        return Ok(());
    }
    let names = names.join(", ");
    if !global.json && ui::confirm(&format!("Restart {names} to apply this?")) {
        return Ok(());
    }
    Err(Fail::new(
        "not-confirmed",
        format!("nothing was changed, because the change restarts {names}"),
    )
    .suggest("Use --yes to restart without confirmation."))
}
