//! `casemate governance plan`, and the output of plans.

use std::{
    fs,
    path::{Path, PathBuf},
};

use casemate_api::{
    cvm_patch::CvmPatch,
    governance::GovernancePlanRequest,
    patch::Patch,
    provision::ProvisionRequest,
    reply::{GovernancePlan, PlanStep},
};
use casemate_client::Client;
use casemate_core::id::{Address, ComposeHash, NodeId};
use clap::Args;
use serde_json::Value;

use crate::{
    cli::Global, cmd::replicas::node, connect, fail::Fail, table, ui, up::project::Project,
};

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// CVM, by name, id or UUID.
    #[arg(value_name = "CVM", conflicts_with = "app")]
    cvm: Option<String>,
    /// App id, instead of a CVM.
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// KMS of a new app, by id, slug, contract address or kind.
    #[arg(long, value_name = "KMS")]
    kms: Option<String>,
    /// Compose hash to boot [default: that of the CVM or app].
    #[arg(long, value_name = "HASH", conflicts_with = "compose")]
    compose_hash: Option<ComposeHash>,
    /// New compose file for the CVM, or the compose file of a new app.
    #[arg(short, long, value_name = "FILE")]
    compose: Option<PathBuf>,
    /// Names of all variables, if they change; repeatable.
    #[arg(long, value_name = "NAME", requires = "compose")]
    env_key: Vec<String>,
    /// Name of the new app.
    #[arg(long, requires = "compose")]
    name: Option<String>,
    /// OS image of the new app, by name.
    #[arg(long, value_name = "NAME", requires = "compose", conflicts_with_all = ["cvm", "app"])]
    image: Option<String>,
    /// Node to boot on, by name or id; repeatable.
    #[arg(long, value_name = "NAME|ID")]
    node: Vec<String>,
    /// Allow every device, not only those of the nodes.
    #[arg(long)]
    allow_any_device: bool,
    /// Account that would sign; it becomes the owner of a new app.
    #[arg(long, value_name = "ADDRESS")]
    signer: Option<Address>,
    /// Write the transactions to a file for the Safe Transaction Builder.
    #[arg(long, value_name = "FILE")]
    safe_batch: Option<PathBuf>,
}

pub async fn run(global: &Global, args: PlanArgs) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let safe_batch = args.safe_batch.clone();
    let request = request(&client, args).await?;
    let plan = ask(&client, &request).await?;
    if let Some(file) = &safe_batch {
        write_batch(file, plan.safe_batch.as_ref())?;
    }
    if global.json {
        ui::json(&plan);
    } else {
        show(&plan);
        if let Some(file) = &safe_batch {
            ui::print_note(format!("written: {}", file.display()));
        }
    }
    Ok(())
}

/// Requests a plan.
pub async fn ask(client: &Client, request: &GovernancePlanRequest) -> Result<GovernancePlan, Fail> {
    client.governance_plan(request).await.map_err(|error| {
        let unknown = error.is_not_found() && error.code().is_none();
        let fail = Fail::from(error);
        if unknown { fail.suggest("Only Casemate servers support plans.") } else { fail }
    })
}

/// Ends the command where transactions alone do not help: nobody pays for something that does not boot. A server
/// that has no plans is not asked.
pub async fn stop_if_blocked(client: &Client, request: &GovernancePlanRequest) -> Result<(), Fail> {
    let plan = match client.governance_plan(request).await {
        Ok(plan) if plan.standing == "blocked" => plan,
        Err(error) if !error.is_not_found() || error.code().is_some() => return Err(error.into()),
        Ok(_) | Err(_) => return Ok(()),
    };
    let mut obstacles = plan.obstacles.into_iter();
    let first =
        obstacles.next().map_or_else(|| "transactions do not help".to_owned(), |one| one.message);
    let fail =
        Fail::new("blocked", first).suggest("Nothing was signed. See casemate governance plan.");
    Err(obstacles.fold(fail, |fail, other| fail.detail("and", other.message)))
}

async fn request(client: &Client, args: PlanArgs) -> Result<GovernancePlanRequest, Fail> {
    let mut nodes: Vec<NodeId> = Vec::new();
    for said in &args.node {
        nodes.extend(node(client, Some(said)).await?);
    }
    let is_new = args.cvm.is_none() && args.app.is_none();
    let mut request = GovernancePlanRequest {
        cvm_id: args.cvm,
        app_id: args.app,
        compose_hash: args.compose_hash,
        allow_any_device: args.allow_any_device.then_some(true),
        signer: args.signer,
        ..GovernancePlanRequest::default()
    };
    match args.compose {
        Some(file) if is_new => {
            let project = Project::read(&file, args.name.as_deref())?;
            let names = args.env_key.iter().map(|name| (name.clone(), "".into())).collect();
            let mut wanted = crate::up::deploy::request(&project, &names);
            choose_kms(&mut wanted, args.kms.as_deref());
            wanted.image = args.image;
            wanted.node_id = only_node(&nodes)?;
            request.provision = Some(Box::new(wanted));
            return Ok(request);
        }
        Some(file) => {
            let text = fs::read_to_string(&file)
                .map_err(|error| Fail::usage(format!("{}: {error}", file.display())))?;
            let names = (!args.env_key.is_empty()).then_some(args.env_key);
            request.patch = Some(Box::new(CvmPatch {
                docker_compose_file: Some(text),
                allowed_envs: names.map_or(Patch::Absent, Patch::Value),
                ..CvmPatch::default()
            }));
        }
        None => {}
    }
    request.kms = args.kms;
    request.node_ids = (!nodes.is_empty()).then_some(nodes);
    Ok(request)
}

fn only_node(nodes: &[NodeId]) -> Result<Option<NodeId>, Fail> {
    match nodes {
        [] => Ok(None),
        [node] => Ok(Some(*node)),
        _ => Err(Fail::usage("a plan for a new app needs exactly one node")
            .suggest("Give one node. Plan the others once the app exists.")),
    }
}

/// Sets the KMS of a deployment, by kind, id or slug.
pub fn choose_kms(request: &mut ProvisionRequest, said: Option<&str>) {
    match said.map(|said| (said, said.parse())) {
        None => {}
        Some((_, Ok(kind))) => request.kms = Some(kind),
        Some((said, Err(_))) => request.kms_id = Some(said.to_owned()),
    }
}

/// Writes the steps of a plan as a Safe Transaction Builder file.
pub fn write_batch(file: &Path, batch: Option<&Value>) -> Result<(), Fail> {
    let batch = batch.ok_or_else(|| {
        Fail::new("nothing-to-sign", "no transaction is needed, so no file was written")
    })?;
    let text = serde_json::to_string_pretty(batch).unwrap_or_default();
    fs::write(file, text + "\n")
        .map_err(|error| Fail::new("file", format!("{}: {error}", file.display())))
}

/// Prints a plan.
pub fn show(plan: &GovernancePlan) {
    let owner = plan.owner.as_ref().map(|owner| match (owner.threshold, owner.owners.len()) {
        (Some(threshold), of) => format!("{} (Safe, {threshold} of {of})", owner.address),
        (None, _) => format!("{} ({})", owner.address, owner.kind),
    });
    table::facts(&[
        ("standing", standing(plan)),
        ("compose hash", plan.compose_hash.clone()),
        ("app", plan.app_contract.clone().unwrap_or_else(|| "none yet".to_owned())),
        ("owner", table::or_none(owner)),
        ("kms", format!("{} on chain {}", plan.kms_contract, plan.chain_id)),
        ("read at", format!("block {}", plan.block_number)),
    ]);
    for why in &plan.obstacles {
        ui::line(format!("blocked: {}", why.message));
    }
    steps("Required, in this order:", &plan.steps);
    steps("Optional:", &plan.optional);
    for note in plan.notes.iter().chain(&plan.warnings) {
        ui::line(format!("note: {note}"));
    }
    for host in &plan.hosts {
        let says = match (host.is_app_allowed, &host.reason) {
            (Some(true), _) => "allowed".to_owned(),
            (Some(false), Some(reason)) => reason.clone(),
            (Some(false), None) => "refused".to_owned(),
            (None, _) => "not asked".to_owned(),
        };
        ui::line(format!("current verdict of the KMS for {}: {says}", host.node));
    }
}

fn standing(plan: &GovernancePlan) -> String {
    match plan.standing.as_str() {
        "allowed" => "allowed".to_owned(),
        "transactions_missing" => "transactions are missing".to_owned(),
        "not_yours" => "transactions are missing; another account must sign".to_owned(),
        "blocked" => "blocked: transactions alone do not help".to_owned(),
        other => other.to_owned(),
    }
}

fn steps(title: &str, steps: &[PlanStep]) {
    if steps.is_empty() {
        return;
    }
    ui::line(title);
    for (place, step) in steps.iter().enumerate() {
        let signer = step.signer.as_ref().map_or("anyone", |signer| &signer.address);
        ui::line(format!(
            "{:>3}. {} on the {} contract {}",
            place + 1,
            step.method,
            step.contract,
            step.to
        ));
        for argument in &step.arguments {
            ui::line(format!("     {}: {}", argument.name, argument.value));
        }
        ui::line(format!("     signed by {signer}; {}", step.why));
        ui::line(format!("     calldata {}", step.calldata));
        match (step.simulation.as_str(), &step.revert_reason) {
            ("succeeds", _) => ui::line("     simulation: succeeds"),
            (_, Some(reason)) => ui::line(format!("     simulation: fails, {reason}")),
            _ => ui::line("     simulation: skipped, depends on an earlier step"),
        };
    }
}
