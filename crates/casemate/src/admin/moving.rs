//! `casemate admin cvm move` and `casemate admin node move`: CVMs to other nodes.

use std::time::Duration;

use casemate_api::fleet::{MoveReply, MoveRequest, NodeCvm, PlacedCvm};
use casemate_client::Client;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// How often a move is looked at.
const POLL: Duration = Duration::from_millis(500);

/// Work on CVMs of any workspace.
#[derive(Debug, Subcommand)]
pub enum Cvm {
    Move(CvmArgs),
}

/// Move a CVM to another node: same app, document, variables and KMS; new VM, instance id and empty disk.
///
/// Its VM is shut down and removed on its node before one is made on the other. If its node does not answer, say
/// with --given-up that the host does not come back with it running; if it does, the VM is removed there first. An
/// app whose keys are those of the local key provider of its host cannot move.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").required(true).args(["to", "auto"]), after_help = "Examples:
  casemate admin cvm move 17 --auto --dry-run
  casemate admin cvm move 17 --to rack-2
  casemate admin cvm move 17 --auto --given-up --yes")]
pub struct CvmArgs {
    /// Number, reference or vm_uuid of the CVM; see `casemate admin node cvms`.
    cvm: String,
    /// The node that takes it.
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
    /// The node with most room of those that can take it.
    #[arg(long)]
    auto: bool,
    #[command(flatten)]
    how: How,
}

/// Move the CVMs of a node to other nodes, one after the other. The node is cordoned first.
///
/// Each CVM gets a new VM with another instance id and an empty disk: its data on the node are lost. Its app id,
/// document, variables, KMS, name and number stay. Before anything is done, one line per CVM says where it goes and what
/// it loses, and the command asks; --yes answers, --dry-run ends there.
///
/// What cannot move stays, and is listed with its reason; exit 1 then. Run it again to go on. A dry run looks at each
/// CVM alone: whether all fit together is for `casemate admin node simulate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin node move rack-1 --dry-run
  casemate admin node move rack-1 --yes
  casemate admin node move rack-1 --to rack-2 --given-up --yes

What it says before it asks:
  Move my-app from rack-1 to rack-2, which loses its disk and its instance id
  Move 1 CVMs? [y/N]")]
pub struct NodeArgs {
    /// Name of the node; see `casemate admin node list`.
    name: String,
    /// The node that takes them.
    #[arg(long, value_name = "NODE", conflicts_with = "auto")]
    to: Option<String>,
    /// For each the node with most room of those that can take it. This is the default.
    #[arg(long)]
    auto: bool,
    #[command(flatten)]
    how: How,
}

/// How CVMs leave their node.
#[derive(Debug, Args)]
struct How {
    /// The node does not answer, and its host does not come back with the VM running.
    #[arg(long)]
    given_up: bool,
    /// Show what would be done and lost.
    #[arg(long)]
    dry_run: bool,
    /// Skip the confirmation: data may be lost.
    #[arg(long, short = 'y')]
    yes: bool,
}

pub async fn run(global: &Global, command: Cvm) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let Cvm::Move(CvmArgs { cvm, to, auto: _, how }) = command;
    let request = MoveRequest { to, given_up: how.given_up, dry_run: true, ..Default::default() };
    let planned = client.move_cvm(&cvm, &request).await?;
    if how.dry_run {
        show(global, &planned);
        return Ok(());
    }
    if !how.yes && !ui::confirm(&format!("{}?", sentence(&planned))) {
        return Err(not_confirmed(&[sentence(&planned)]));
    }
    let moved = carry_out(&client, &planned, how.given_up).await?;
    if global.json {
        ui::json(&moved);
    } else {
        ui::line(format!("{} is on {}: {}", moved.cvm.name, moved.node, moved.cvm.status));
    }
    arrived(&moved, &planned)
}

fn not_confirmed(what: &[String]) -> Fail {
    Fail::usage(format!("not confirmed: {}", what.join("; ")))
        .suggest("Use --yes to skip the confirmation.")
}

fn show(global: &Global, planned: &MoveReply) {
    if global.json {
        ui::json(planned);
    } else {
        ui::line(format!("{}.", sentence(planned)));
    }
}

/// What would be done and lost.
fn sentence(planned: &MoveReply) -> String {
    let MoveReply { name, from, to, .. } = planned;
    let loses = match planned.loses.as_slice() {
        [] => String::new(),
        lost => format!(", which loses its {}", lost.join(" and its ").replace('_', " ")),
    };
    let left = if planned.way == "leave_behind" { ", leaving its VM behind" } else { "" };
    format!("Move {name} from {from} to {to}{left}{loses}")
}

/// Has a CVM moved as it was planned, and waits for its end.
async fn carry_out(
    client: &Client,
    planned: &MoveReply,
    given_up: bool,
) -> Result<PlacedCvm, Fail> {
    let request = MoveRequest {
        to: Some(planned.to.clone()),
        given_up,
        allow_data_loss: true,
        dry_run: false,
    };
    client.move_cvm(&planned.vm_uuid, &request).await?;
    loop {
        let cvm = client.placed_cvm(&planned.vm_uuid).await?;
        if !cvm.in_progress {
            return Ok(cvm);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether it is where it was to be, and well.
fn arrived(moved: &PlacedCvm, planned: &MoveReply) -> Result<(), Fail> {
    if moved.node == planned.to && moved.cvm.status != "error" {
        return Ok(());
    }
    let why = moved.cvm.failure.clone().unwrap_or_else(|| "something else was asked of it".into());
    let at = format!("{} is on {}, {}: {why}", moved.cvm.name, moved.node, moved.cvm.status);
    Err(Fail::new("not_moved", at))
}

async fn all_cvms(client: &Client, node: &str) -> Result<Vec<NodeCvm>, Fail> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = client.node_cvms(node, after).await?;
        all.extend(page.cvms);
        match page.next {
            Some(next) => after = next,
            None => return Ok(all),
        }
    }
}

pub async fn node(global: &Global, client: &Client, args: NodeArgs) -> Result<(), Fail> {
    let NodeArgs { name, to, auto: _, how } = args;
    let plan = |cvm: &NodeCvm| {
        let uuid = cvm.vm_uuid.clone();
        let (to, given_up) = (to.clone(), how.given_up);
        let request = MoveRequest { to, given_up, dry_run: true, ..Default::default() };
        async move { client.move_cvm(&uuid, &request).await.map_err(Fail::from) }
    };
    let (mut moves, mut stays) = (Vec::new(), Vec::new());
    for cvm in all_cvms(client, &name).await? {
        match plan(&cvm).await {
            Ok(planned) => moves.push((cvm, planned)),
            Err(why) => stays.push((cvm.name, why.text())),
        }
    }
    if how.dry_run {
        let planned: Vec<&MoveReply> = moves.iter().map(|(_, planned)| planned).collect();
        return report(global, &name, &planned, &[], &stays);
    }
    let lines: Vec<String> = moves.iter().map(|(_, planned)| sentence(planned)).collect();
    if !moves.is_empty() && !how.yes {
        for line in &lines {
            ui::print_note(line);
        }
        if !ui::confirm(&format!("Move {} CVMs?", moves.len())) {
            return Err(not_confirmed(&lines));
        }
    }
    if client.managed_node(&name).await?.state == casemate_core::node::NodeState::Active {
        client.cordon_node(&name).await?;
    }
    let mut moved = Vec::new();
    for (cvm, _) in moves {
        // The one before has taken room.
        let done = match plan(&cvm).await {
            Ok(planned) => match carry_out(client, &planned, how.given_up).await {
                Ok(placed) => arrived(&placed, &planned).map(|()| placed),
                Err(why) => Err(why),
            },
            Err(why) => Err(why),
        };
        match done {
            Ok(placed) => {
                if !global.json {
                    ui::print_note(format!("{} is on {}", placed.cvm.name, placed.node));
                }
                moved.push(placed);
            }
            Err(why) => stays.push((cvm.name, why.text())),
        }
    }
    report(global, &name, &[], &moved, &stays)
}

fn report(
    global: &Global,
    name: &str,
    planned: &[&MoveReply],
    moved: &[PlacedCvm],
    stays: &[(String, String)],
) -> Result<(), Fail> {
    if global.json {
        let stays: Vec<_> =
            stays.iter().map(|(cvm, why)| json!({ "name": cvm, "reason": why })).collect();
        ui::json(&json!({ "planned": planned, "moved": moved, "stays": stays }));
    } else {
        let rows = planned.iter().map(|one| {
            vec![one.name.clone(), one.to.clone(), one.way.clone(), one.loses.join(" ")]
        });
        if !planned.is_empty() {
            table::print(&["cvm", "to", "way", "loses"], rows.collect(), "");
        }
        for (cvm, why) in stays {
            ui::line(format!("{cvm} stays: {why}"));
        }
        if planned.is_empty() && stays.is_empty() {
            ui::line(format!("{} CVMs left {name}.", moved.len()));
        }
    }
    match stays.len() {
        0 => Ok(()),
        some => Err(Fail::new("cvms_stay", format!("{some} CVMs stay on {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_said_before() {
        let planned = |way: &str, loses: &[&str]| MoveReply {
            name: "my-app".to_owned(),
            vm_uuid: String::new(),
            from: "rack-1".to_owned(),
            to: "rack-2".to_owned(),
            way: way.to_owned(),
            loses: loses.iter().map(|&word| word.to_owned()).collect(),
            correlation_id: None,
        };
        assert_eq!(
            sentence(&planned("leave_behind", &["disk", "instance_id"])),
            "Move my-app from rack-1 to rack-2, leaving its VM behind, which loses its disk and its instance id"
        );
        assert_eq!(sentence(&planned("remove_first", &[])), "Move my-app from rack-1 to rack-2");
    }
}
