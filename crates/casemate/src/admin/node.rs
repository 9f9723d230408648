//! `casemate admin node`: manage the nodes of the fleet.

use std::time::Duration;

use casemate_api::{
    node_admin::{AddNodeRequest, DstackAccess, ManagedNode, NodeLimits},
    reply::Tee,
};
use casemate_client::Client;
use casemate_core::{
    node::{NodeKind, NodeState},
    preflight::{Check, Level},
};
use clap::{Args, Subcommand, ValueEnum};
use tokio::time::Instant;

use super::{fleet, moving};
use crate::{cli::Global, connect, fail::Fail, table, ui};

/// How long to wait for the server to check a node. Longer than the timeout of one call to it.
const PATIENCE: Duration = Duration::from_secs(45);
const POLL: Duration = Duration::from_millis(100);

/// Manage the nodes of the fleet.
#[derive(Debug, Subcommand)]
pub enum Node {
    Add(Box<AddArgs>),
    /// List nodes with their state, capacity and usage.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  casemate admin node list\n  casemate admin node list --json"
    )]
    List,
    /// Show a node, including why it is unreachable.
    #[command(after_help = "Examples:\n  casemate admin node show rack-1")]
    Show(NameArgs),
    /// Check a node now, with one line per finding; exit 1 if it is unreachable or has a problem.
    #[command(
        after_help = "Examples:\n  casemate admin node check rack-1\n  casemate admin node check rack-1 --json"
    )]
    Check(NameArgs),
    /// Mark a node as unschedulable. Its CVMs keep running.
    #[command(after_help = "Examples:\n  casemate admin node cordon rack-1")]
    Cordon(NameArgs),
    /// Mark a node as schedulable.
    #[command(after_help = "Examples:\n  casemate admin node uncordon rack-1")]
    Uncordon(NameArgs),
    Label(fleet::LabelArgs),
    Device(fleet::DeviceArgs),
    Cvms(fleet::CvmsArgs),
    Move(moving::NodeArgs),
    Drift(fleet::DriftArgs),
    AcceptHost(fleet::AcceptHostArgs),
    Simulate(Box<fleet::SimulateArgs>),
    #[command(visible_alias = "rm")]
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
pub struct NameArgs {
    /// Name of the node; see `casemate admin node list`.
    name: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Kind {
    /// Containers on a Docker-compatible container engine; no TEE.
    Docker,
    /// A simulated dstack host.
    Sim,
    /// A host with dstack-vmm.
    Dstack,
}

/// The TEEs of a host.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum TeeArg {
    /// Intel TDX.
    Tdx,
    /// AMD SEV-SNP.
    SevSnp,
    /// A simulated one: the host can read everything.
    Simulated,
    /// None: the host can read everything.
    None,
}

/// Add a node to the fleet.
///
/// The server connects to the node, and the command waits for its first answer. A node that does not answer
/// yet is added anyway and retried every few seconds.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin node add rack-1 --kind docker --host tcp://10.0.0.3:2375
  casemate admin node add rack-2 --kind dstack --url https://rack-2:9080 --tee tdx \\
      --token-file /var/lib/casemate/credentials/rack-2.token --disk-gb 2000
  casemate admin node add spare --kind sim --slots 8 --vcpu 16
  casemate admin node add shared --kind sim --dir /srv/casemate/sim")]
pub struct AddArgs {
    /// Unique name of the node: 1 to 40 characters of a-z, 0-9 and -.
    name: String,
    /// Kind of node.
    #[arg(long)]
    kind: Kind,
    /// Region of the node; clients can filter by it.
    #[arg(long)]
    region: Option<String>,
    /// Docker: address of the container engine, as in DOCKER_HOST.
    #[arg(long, value_name = "URL")]
    host: Option<String>,
    /// Sim: directory for its files. Share it to let several servers take over the node.
    #[arg(long, value_name = "PATH")]
    dir: Option<String>,
    /// Dstack: address of dstack-vmm: https://HOST:PORT, http://HOST:PORT or unix:/PATH.
    #[arg(long, value_name = "URL", required_if_eq("kind", "dstack"))]
    url: Option<String>,
    /// Dstack: TEE of the host.
    #[arg(long, required_if_eq("kind", "dstack"))]
    tee: Option<TeeArg>,
    /// Dstack: file on the server with the token of dstack-vmm (mode 0600), in its admin.credentials_dir.
    #[arg(long, value_name = "PATH", requires = "url")]
    token_file: Option<String>,
    /// Dstack: user of the VMM's htpasswd file; --token-file then has its password.
    #[arg(long, requires = "token_file")]
    user: Option<String>,
    /// Dstack: file on the server with CA certificates, PEM.
    #[arg(long, value_name = "PATH", requires = "url")]
    ca_file: Option<String>,
    /// Dstack 0.6.3 and later: file on the server with a guest API token, for logs (mode 0600).
    #[arg(long, value_name = "PATH", requires = "url")]
    guest_token_file: Option<String>,
    /// Dstack: a gateway cluster of the server's configuration that leads to its CVMs; may be repeated.
    #[arg(long = "gateway", value_name = "NAME", requires = "url")]
    gateways: Vec<String>,
    /// Dstack: identity of the host, 64 hex digits [default: as guests tell it; those on TDX do not].
    #[arg(long, value_name = "HEX", requires = "url")]
    device_id: Option<String>,
    /// Dstack: slug of the dstack-kms of its guests; see `casemate admin kms list` [default: not known, so
    /// variables are refused].
    #[arg(long, value_name = "SLUG", requires = "url")]
    kms: Option<String>,
    /// Maximum number of CVMs.
    #[arg(long)]
    slots: Option<u32>,
    /// Maximum number of virtual CPUs.
    #[arg(long)]
    vcpu: Option<u32>,
    /// Maximum memory in MiB.
    #[arg(long, value_name = "MIB")]
    memory_mb: Option<u32>,
    /// Maximum disk space in GB.
    #[arg(long, value_name = "GB", required_if_eq("kind", "dstack"))]
    disk_gb: Option<u32>,
    /// A label that placement can ask for; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = fleet::label)]
    labels: Vec<(String, String)>,
    /// Price of the node, text for people, for example "0.40 USD/h".
    #[arg(long)]
    price: Option<String>,
}

/// Remove a node from the fleet.
///
/// A node with CVMs cannot be removed. If its host is lost, --give-up removes it anyway: pending deletions of
/// its CVMs succeed, and the other CVMs fail with node_given_up. Guests that are still running on the host
/// are not stopped.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin node remove rack-1
  casemate admin node remove rack-1 --give-up")]
pub struct RemoveArgs {
    /// Name of the node; see `casemate admin node list`.
    name: String,
    /// Remove the node even if it has CVMs, because its host is lost.
    #[arg(long)]
    give_up: bool,
    /// Skip the confirmation.
    #[arg(long, short = 'y')]
    yes: bool,
}

pub async fn run(global: &Global, command: Node) -> Result<(), Fail> {
    let client = connect::client(global)?;
    match command {
        Node::Add(args) => add(global, &client, *args).await,
        Node::List => list(global, &client).await,
        Node::Show(args) => {
            show(global, &client.managed_node(&args.name).await?);
            Ok(())
        }
        Node::Check(args) => {
            let before = client.check_node(&args.name).await?;
            let looks = before.looks;
            // Another process checks its own nodes on its own schedule.
            let node = if before.served_here {
                poll_node(&client, &args.name, |node| node.looks > looks).await?
            } else {
                before
            };
            show_findings(global, &node);
            answers(&node)?;
            no_problems(&node)
        }
        Node::Label(args) => fleet::change_labels(global, &client, args).await,
        Node::Device(args) => fleet::set_device(global, &client, args).await,
        Node::Cvms(args) => fleet::cvms(global, &client, args).await,
        Node::Move(args) => moving::node(global, &client, args).await,
        Node::Drift(args) => fleet::drift(global, &client, args).await,
        Node::AcceptHost(args) => fleet::accept_host(global, &client, args).await,
        Node::Simulate(args) => fleet::simulate(global, &client, *args).await,
        Node::Cordon(args) => {
            let node = client.cordon_node(&args.name).await?;
            print_state(global, &node, "is cordoned");
            Ok(())
        }
        Node::Uncordon(args) => {
            let node = client.uncordon_node(&args.name).await?;
            print_state(global, &node, "is uncordoned");
            Ok(())
        }
        Node::Remove(args) => remove(global, &client, args).await,
    }
}

async fn add(global: &Global, client: &Client, args: AddArgs) -> Result<(), Fail> {
    let tee = args.tee.map(|tee| match tee {
        TeeArg::Tdx => Tee::Tdx,
        TeeArg::SevSnp => Tee::SevSnp,
        TeeArg::Simulated => Tee::Simulated,
        TeeArg::None => Tee::None,
    });
    let dstack = args.url.zip(tee).map(|(url, tee)| DstackAccess {
        url,
        tee,
        token_file: args.token_file,
        user: args.user,
        ca_file: args.ca_file,
        guest_token_file: args.guest_token_file,
        gateways: args.gateways,
        device_id: args.device_id,
        kms: args.kms,
    });
    let request = AddNodeRequest {
        name: args.name,
        kind: match args.kind {
            Kind::Docker => NodeKind::Docker,
            Kind::Sim => NodeKind::Sim,
            Kind::Dstack => NodeKind::Dstack,
        },
        region: args.region,
        host: args.host,
        dir: args.dir,
        dstack,
        limits: NodeLimits {
            slots: args.slots,
            vcpu: args.vcpu,
            memory_mb: args.memory_mb,
            disk_gb: args.disk_gb,
        },
        labels: args.labels.into_iter().collect(),
        price: args.price,
    };
    let added = client.add_node(&request).await?;
    if !global.json {
        ui::print_note(format!("Added {}; waiting for it to answer", added.name));
    }
    // A new node counts its initial `unreachable` as one look. What is asked of a dstack host beyond its
    // inventory comes with a later one.
    let has_probe = |node: &ManagedNode| {
        node.dstack.is_none() || node.findings.iter().any(|line| line.check == Check::Credential)
    };
    let looked_at =
        |node: &ManagedNode| if node.reachable { has_probe(node) } else { node.looks > 1 };
    let node = poll_node(client, &added.name, looked_at).await?;
    show(global, &node);
    if !global.json {
        print_findings(&node, Level::Warning);
    }
    answers(&node)
}

/// Prints the findings of a node that are at least this bad.
fn print_findings(node: &ManagedNode, least: Level) {
    for line in node.findings.iter().filter(|line| line.level >= least) {
        ui::line(format!("{:7}  {:12}  {}", line.level, line.check.as_str(), line.message));
        if let Some(remedy) = &line.remedy {
            ui::line(format!("{:7}  {:12}  try: {remedy}", "", ""));
        }
    }
}

fn show_findings(global: &Global, node: &ManagedNode) {
    if global.json {
        ui::json(node);
        return;
    }
    print_findings(node, Level::Ok);
}

fn no_problems(node: &ManagedNode) -> Result<(), Fail> {
    let problems = node.findings.iter().filter(|line| line.level == Level::Problem).count();
    match problems {
        0 => Ok(()),
        1 => Err(Fail::new("node_has_problems", format!("{} has a problem", node.name))),
        many => Err(Fail::new("node_has_problems", format!("{} has {many} problems", node.name))),
    }
}

/// Polls until the node satisfies the condition. After [`PATIENCE`] it returns the node as it is.
async fn poll_node(
    client: &Client,
    name: &str,
    holds: impl Fn(&ManagedNode) -> bool,
) -> Result<ManagedNode, Fail> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let node = client.managed_node(name).await?;
        if holds(&node) || Instant::now() > deadline {
            return Ok(node);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn answers(node: &ManagedNode) -> Result<(), Fail> {
    if node.reachable {
        return Ok(());
    }
    let why = node.cause.clone().unwrap_or_else(|| "no answer yet".to_owned());
    Err(Fail::new("node_unreachable", format!("{} does not answer: {why}", node.name))
        .suggest("The node stays in the fleet and is retried every few seconds.")
        .suggest(format!("To remove it: casemate admin node remove {}.", node.name)))
}

async fn list(global: &Global, client: &Client) -> Result<(), Fail> {
    let nodes = client.managed_nodes().await?;
    if global.json {
        ui::json(&serde_json::json!({ "nodes": nodes }));
        return Ok(());
    }
    table::print(
        &["id", "name", "kind", "state", "reachable", "tee", "region", "cvms", "vcpu", "memory"],
        nodes.iter().map(row).collect(),
        "no nodes; add one with casemate admin node add",
    );
    Ok(())
}

fn row(node: &ManagedNode) -> Vec<String> {
    let of = |taken: i64, all: i64| format!("{taken}/{all}");
    vec![
        node.id.to_string(),
        node.name.clone(),
        node.kind.clone(),
        node.state.as_str().to_owned(),
        if node.reachable { "yes" } else { "no" }.to_owned(),
        node.tee.clone(),
        node.region.clone(),
        of(node.taken.slots, node.capacity.slots),
        of(node.taken.vcpu, node.capacity.vcpu),
        format!("{} MB", of(node.taken.memory_mb, node.capacity.memory_mb)),
    ]
}

fn show(global: &Global, node: &ManagedNode) {
    if global.json {
        ui::json(node);
        return;
    }
    let of = |taken: i64, all: i64| format!("{taken} of {all}");
    let (taken, capacity) = (&node.taken, &node.capacity);
    let mut facts = vec![
        ("name", node.name.clone()),
        ("id", node.id.to_string()),
        ("kind", node.kind.clone()),
        ("state", node.state.as_str().to_owned()),
        ("reachable", if node.reachable { "yes" } else { "no" }.to_owned()),
    ];
    if let (Some(cause), since) = (&node.cause, &node.silent_since) {
        facts.push(("cause", cause.clone()));
        facts.push(("silent since", table::or_none(since.as_ref())));
    }
    facts.extend([
        ("tee", node.tee.clone()),
        ("region", node.region.clone()),
        ("version", table::or_none(Some(&node.version).filter(|version| !version.is_empty()))),
        ("address", {
            let url = node.dstack.as_ref().map(|access| &access.url);
            table::or_none(url.or(node.host.as_ref()).or(node.dir.as_ref()))
        }),
        ("kms", table::or_none(node.dstack.as_ref().and_then(|access| access.kms.as_ref()))),
        ("cvms", of(taken.slots, capacity.slots)),
        ("vcpu", of(taken.vcpu, capacity.vcpu)),
        ("memory", format!("{} MB", of(taken.memory_mb, capacity.memory_mb))),
        ("disk", format!("{} GB", of(taken.disk_gb, capacity.disk_gb))),
        ("images", node.images.join(" ")),
        ("labels", fleet::labels_text(&node.labels)),
        ("price", table::or_none(node.price.as_ref())),
    ]);
    facts.extend(node.notes.iter().map(|note| ("note", note.clone())));
    table::facts(&facts);
}

fn print_state(global: &Global, node: &ManagedNode, what: &str) {
    if global.json {
        ui::json(node);
    } else {
        ui::line(format!("{} {what}.", node.name));
    }
}

async fn remove(global: &Global, client: &Client, args: RemoveArgs) -> Result<(), Fail> {
    let RemoveArgs { name, give_up, yes } = args;
    if give_up && !yes {
        let node = client.managed_node(&name).await?;
        let question = format!(
            "Remove {name} although it has {} CVMs? Guests that are still running are not stopped.",
            node.taken.slots
        );
        if !ui::confirm(&question) {
            return Err(Fail::usage("not confirmed").suggest("Use --yes to skip the confirmation."));
        }
    }
    client.remove_node(&name, give_up).await?;
    if global.json {
        ui::json(&serde_json::json!({ "name": name, "state": NodeState::Removed }));
    } else {
        ui::line(format!("{name} was removed."));
    }
    Ok(())
}
