//! An update of a CVM; where contracts have to allow it, in two phases.

use casemate_api::{cvm_patch::CvmPatch, governance::GovernancePlanRequest, reply::Accepted};
use casemate_client::{ApprovalRequired, Client, EnvGuard, Error, onchain::Key};
use casemate_core::{
    change::{Change, Effect},
    governance::plan::{Call, Transaction, checksummed},
    id::{Address, TxHash},
};
use secrecy::ExposeSecret;
use serde_json::json;

use super::{Deploy, finish};
use crate::{
    cli::Global,
    cmd::{
        cvms::change::{
            self, ChangeOptions, CurrentCvm, Diff, check_dropped_env, confirm_restart, patch, warn,
        },
        governance::{
            chain::{carry_out, not_owner, wait_for_earlier},
            plan::{ask, show, stop_if_blocked, write_batch},
        },
    },
    fail::Fail,
    ui,
    up::project::Project,
    vars,
};

/// A change, and what it comes to.
struct PlannedUpdate<'a> {
    current: &'a CurrentCvm,
    diff: &'a Diff,
    patch: CvmPatch,
    guard: EnvGuard,
}

pub async fn update(
    global: &Global,
    client: &Client,
    args: &Deploy,
    project: &Project,
    key: Option<&Key>,
    cvm: &str,
) -> Result<(), Fail> {
    let current = CurrentCvm::read(client, cvm).await?;
    let mut wanted =
        Change { docker_compose_file: Some(project.compose.clone()), ..Change::default() };
    // Values are sealed on the server, so variables stay as they are unless they are given anew.
    if !args.env.is_empty() || args.env_file.is_some() {
        let vars = vars::collect(&project.dir, args.env_file.as_deref(), &args.env)?;
        current.seal_into(&mut wanted, &vars)?;
    }
    let diff = current.diff(client, &wanted).await?;
    check_dropped_env(&diff, args.drop_env.drop_env)?;
    let id = current.info.id.as_str();
    if !global.json {
        diff.show(&current.info.name);
    }
    if diff.effect == Effect::Nothing && !current.info.in_progress {
        let reply = json!({
            "outcome": "unchanged", "id": id, "name": current.info.name,
            "compose_hash": diff.new_hash.to_string(),
        });
        return finish(global, client, args, id, reply).await;
    }
    let manner = ChangeOptions {
        yes: args.signing.yes,
        prepare_only: false,
        no_wait: true,
        timeout: args.timeout,
    };
    confirm_restart(global, &current, &diff, &manner)?;
    let planned = PlannedUpdate {
        current: &current,
        diff: &diff,
        patch: patch(&wanted, diff.restart),
        guard: if args.drop_env.drop_env { EnvGuard::Report } else { EnvGuard::Refuse },
    };
    let governed = current.info.kms_info.as_ref().is_some_and(|kms| kms.chain_id.is_some());
    match key {
        _ if !governed => {
            let accepted = client.patch_cvm(id, &planned.patch, planned.guard).await?;
            finish_accepted(global, client, args, &planned, accepted, None).await
        }
        Some(key) => approve(global, client, args, &planned, key).await,
        None => prepare(global, client, args, &planned).await,
    }
}

/// What a 465 asks for; another error is one.
fn approval_required(error: Error) -> Result<ApprovalRequired, Fail> {
    match ApprovalRequired::of(&error) {
        Some(required) => Ok(required?),
        None => Err(error.into()),
    }
}

/// With a key: the first phase, what the contract has to be told, the second phase.
async fn approve(
    global: &Global,
    client: &Client,
    args: &Deploy,
    planned: &PlannedUpdate<'_>,
    key: &Key,
) -> Result<(), Fail> {
    let id = planned.current.info.id.as_str();
    let required = match client.patch_cvm(id, &planned.patch, planned.guard).await {
        Ok(accepted) => {
            return finish_accepted(global, client, args, planned, accepted, None).await;
        }
        Err(error) => approval_required(error)?,
    };
    let asked = GovernancePlanRequest {
        cvm_id: Some(id.to_owned()),
        compose_hash: Some(required.compose_hash),
        allow_any_device: args.allow_any_device.then_some(true),
        ..GovernancePlanRequest::default()
    };
    stop_if_blocked(client, &asked).await?;
    let transaction = allow_document(global, args, key, &required).await?;
    let confirmed = client.confirm_cvm_patch(id, required.compose_hash, transaction).await;
    let accepted = confirmed.map_err(|error| {
        Fail::from(error).suggest(
            "The contract keeps what it allows. Run the command again; nothing is paid twice.",
        )
    })?;
    finish_accepted(global, client, args, planned, accepted, transaction).await
}

/// Has the contract allow what is missing. Returns the transaction that added the document; `None`: it was
/// allowed already.
async fn allow_document(
    global: &Global,
    args: &Deploy,
    key: &Key,
    required: &ApprovalRequired,
) -> Result<Option<TxHash>, Fail> {
    let rpc = args.signing.open(required.chain_id).await?;
    wait_for_earlier(global, &rpc, key.address()).await?;
    let app = required.app;
    let contract = Address::from(app);
    let seen = rpc.overview(required.kms_contract, app).await?;
    let allowed = rpc.allows_document(app, required.compose_hash).await? == Some(true);
    let listed = seen.any_device || rpc.lists_device(app, required.device).await? == Some(true);
    if !(seen.exists && seen.kms_exists && seen.registered) {
        let why = format!(
            "{} is not an app of this KMS on chain {}",
            checksummed(contract),
            required.chain_id
        );
        return Err(Fail::new("not-registered", why)
            .detail("kms contract", checksummed(required.kms_contract))
            .suggest("Show what is missing: casemate governance plan."));
    }
    if !seen.has_lists {
        let why = format!(
            "{} keeps no lists, and its own isAppAllowed refuses this",
            checksummed(contract)
        );
        return Err(Fail::new("own-rules", why)
            .suggest("Only whoever maintains the contract knows how to change what it allows."));
    }
    if !(allowed && listed) && seen.owner != Some(key.address()) {
        return Err(not_owner(contract, seen.owner, seen.pending_owner, key.address()));
    }
    if !listed {
        let call = if args.allow_any_device {
            Call::SetAllowAnyDevice(true)
        } else {
            Call::AddDevice(required.device)
        };
        carry_out(global, &args.signing, &rpc, key, Transaction { to: contract, call }).await?;
    }
    if allowed {
        return Ok(None);
    }
    let call = Call::AddComposeHash(required.compose_hash);
    let mined =
        carry_out(global, &args.signing, &rpc, key, Transaction { to: contract, call }).await?;
    Ok(Some(mined.hash))
}

async fn finish_accepted(
    global: &Global,
    client: &Client,
    args: &Deploy,
    planned: &PlannedUpdate<'_>,
    accepted: Accepted,
    transaction: Option<TxHash>,
) -> Result<(), Fail> {
    warn(global, &accepted.course);
    let info = &planned.current.info;
    let operation = &accepted.correlation_id;
    if args.wait {
        change::follow(global, client, &info.id, &info.name, operation, args.timeout).await?;
    }
    let reply = json!({
        "outcome": "updated",
        "id": info.id,
        "name": info.name,
        "correlation_id": operation,
        "compose_hash": planned.diff.new_hash.to_string(),
        "transaction_hash": transaction.map(|hash| format!("0x{hash}")),
    });
    finish(global, client, args, &info.id, reply).await
}

/// Without a key: the change is prepared, and what has to be signed is printed.
async fn prepare(
    global: &Global,
    client: &Client,
    args: &Deploy,
    planned: &PlannedUpdate<'_>,
) -> Result<(), Fail> {
    let info = &planned.current.info;
    let required = match client.prepare_cvm_patch(&info.id, &planned.patch, planned.guard).await {
        Ok(accepted) => {
            return finish_accepted(global, client, args, planned, accepted, None).await;
        }
        Err(error) => approval_required(error)?,
    };
    let plan = ask(
        client,
        &GovernancePlanRequest {
            cvm_id: Some(info.id.clone()),
            compose_hash: Some(required.compose_hash),
            allow_any_device: args.allow_any_device.then_some(true),
            ..GovernancePlanRequest::default()
        },
    )
    .await?;
    if let Some(file) = &args.safe_batch {
        write_batch(file, plan.safe_batch.as_ref())?;
    }
    let token = required.commit_token.as_ref().map(|token| token.expose_secret().to_owned());
    let url = required.commit_url.as_ref().map(|url| url.expose_secret().to_owned());
    if global.json {
        ui::json(&json!({
            "outcome": "to_be_signed",
            "id": info.id,
            "name": info.name,
            "compose_hash": required.compose_hash.to_string(),
            "chain_id": required.chain_id,
            "commit_token": token,
            "commit_url": url,
            "plan": plan,
        }));
        return Ok(());
    }
    show(&plan);
    ui::line("After it is executed, confirm the update within 14 days:");
    if let Some(url) = url {
        ui::line(format!("  {url}"));
    }
    let how = token.map_or_else(
        || format!("--compose-hash {}", required.compose_hash),
        |token| format!("--token {token}"),
    );
    ui::line(format!("  casemate cvms commit-update {} {how}", info.name));
    Ok(())
}
