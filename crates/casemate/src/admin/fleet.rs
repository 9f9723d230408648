//! `casemate admin node simulate`, `drift`, `cvms`, `label`, `device`, `accept-host`: questions about the fleet, and what its
//! operator answers.

use std::collections::BTreeMap;

use casemate_api::{
    fleet::{NodeDrift, SimulatedGpus, SimulatedNeed, SimulationReply, SimulationRequest},
    node_admin::ChangeNodeRequest,
};
use casemate_client::Client;
use clap::{Args, ValueEnum};

use crate::{cli::Global, fail::Fail, table, ui};

/// Show how many CVMs would fit, and where. Nothing is reserved or changed.
///
/// The usage of now counts. CVMs of a node that is left out with --without are not among --count. Exit 1 if not
/// all fit.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin node simulate --type tdx.large --count 12
  casemate admin node simulate --type tdx.large --count 12 --without rack-3
  casemate admin node simulate --count 4 --kms rack-kms --needs env --needs ports
  casemate admin node simulate --count 4 --label disk=nvme --tee tdx --gpu 10de:2335 --json")]
pub struct SimulateArgs {
    /// Instance type of each CVM [default: that of the server].
    #[arg(long = "type", value_name = "TYPE")]
    instance_type: Option<String>,
    /// Number of CVMs, 1 to 1000.
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// Leave out this node, as if it had died; may be repeated.
    #[arg(long, value_name = "NODE")]
    without: Vec<String>,
    /// Only this region.
    #[arg(long)]
    region: Option<String>,
    /// OS image [default: the one that most fit with].
    #[arg(long)]
    image: Option<String>,
    /// Only nodes with this label; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Only nodes with this TEE: tdx, sev-snp, simulated or none.
    #[arg(long)]
    tee: Option<String>,
    /// Product of the GPUs of each CVM, for example 10de:2335.
    #[arg(long, value_name = "PRODUCT")]
    gpu: Option<String>,
    /// Number of GPUs of each CVM.
    #[arg(long, default_value_t = 1, requires = "gpu")]
    gpus: u32,
    /// KMS of their keys [default: any that no contract governs].
    #[arg(long, value_name = "KMS")]
    kms: Option<String>,
    /// What each CVM asks of its node; may be repeated.
    #[arg(long = "needs", value_name = "WHAT")]
    needs: Vec<Need>,
}

/// Something that not every node can do.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Need {
    /// Sealed variables.
    Env,
    /// Host ports.
    Ports,
    /// Memory on huge pages.
    Hugepages,
    /// One NUMA node.
    PinNuma,
    /// KMS or gateway addresses of its own.
    OwnUrls,
    /// Keys of the local key provider of its host.
    LocalKeyProvider,
}

impl From<Need> for SimulatedNeed {
    fn from(need: Need) -> Self {
        match need {
            Need::Env => Self::Env,
            Need::Ports => Self::Ports,
            Need::Hugepages => Self::Hugepages,
            Need::PinNuma => Self::PinNuma,
            Need::OwnUrls => Self::OwnUrls,
            Need::LocalKeyProvider => Self::LocalKeyProvider,
        }
    }
}

/// List what nodes show and nobody wanted.
///
/// Kinds: lost (the VM is gone), changed (started, stopped or reconfigured on the host), unknown_vm (a VM with
/// Casemate's mark and no CVM here), wrong_image, host_replaced (another device id). The section [drift] of the
/// configuration says what is done about each. A node that does not answer shows nothing new.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin node drift
  casemate admin node drift rack-1 --json")]
pub struct DriftArgs {
    /// Name of a node [default: all].
    name: Option<String>,
}

/// List the CVMs of a node, of all workspaces; also of a node that was given up.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin node cvms rack-1
  casemate admin node cvms rack-1 --json")]
pub struct CvmsArgs {
    /// Name of the node; see `casemate admin node list`.
    name: String,
}

/// Set or remove labels of a node, and its price. Its CVMs stay where they are.
///
/// A node of `[[nodes]]` gets the labels of the configuration again when the server starts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin node label rack-1 disk=nvme rack=7
  casemate admin node label rack-1 rack-              remove the label rack
  casemate admin node label rack-1 --price \"0.40 USD/h\"")]
pub struct LabelArgs {
    /// Name of the node; see `casemate admin node list`.
    name: String,
    /// KEY=VALUE sets a label, KEY- removes it.
    #[arg(value_name = "LABEL", value_parser = change)]
    labels: Vec<(String, Option<String>)>,
    /// Price of the node, text for people; empty: none.
    #[arg(long)]
    price: Option<String>,
}

/// Set which host a dstack node is.
///
/// A KMS that asks Casemate gives the guests of a node keys only on its device; its first denial names the device
/// that asked. Take the value from a way that you trust. A node of `[[nodes]]` gets that of the configuration again
/// when the server starts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin node device rack-1 374708fff7719dd5979ec875d56cd2286f6d3cf7ec317a3b25632aab28ec37bb")]
pub struct DeviceArgs {
    /// Name of the node; see `casemate admin node list`.
    name: String,
    /// SHA-256 of the PPID (TDX) or of the chip id (SEV-SNP), 64 hex digits.
    device_id: String,
}

/// Accept that another host answers under the address of a node. It ends the drift host_replaced.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  casemate admin node accept-host rack-1")]
pub struct AcceptHostArgs {
    /// Name of the node; see `casemate admin node list`.
    name: String,
}

/// Reads `KEY=VALUE`.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn change(text: &str) -> Result<(String, Option<String>), String> {
    if let Some((key, value)) = text.split_once('=') {
        return Ok((key.to_owned(), Some(value.to_owned())));
    }
    let key = text.strip_suffix('-').ok_or("expected KEY=VALUE, or KEY- to remove it")?;
    Ok((key.to_owned(), None))
}

pub async fn simulate(global: &Global, client: &Client, args: SimulateArgs) -> Result<(), Fail> {
    let gpus = args.gpus;
    let request = SimulationRequest {
        instance_type: args.instance_type,
        count: args.count,
        without: args.without,
        region: args.region,
        image: args.image,
        labels: args.labels.into_iter().collect(),
        tee: args.tee,
        gpus: args.gpu.map(|product_id| SimulatedGpus { product_id, count: gpus }),
        kms: args.kms,
        needs: args.needs.into_iter().map(Into::into).collect(),
    };
    let reply = client.simulate_placement(&request).await?;
    if global.json {
        ui::json(&reply);
    } else {
        show_simulation(&reply);
    }
    if reply.fits == reply.count {
        return Ok(());
    }
    Err(Fail::new("does_not_fit", format!("{} of {} fit", reply.fits, reply.count)))
}

fn show_simulation(reply: &SimulationReply) {
    ui::line(format!("{} of {} fit, with image {}", reply.fits, reply.count, reply.image));
    if reply.displaced > 0 {
        ui::line(format!(
            "The nodes left out have {} CVMs, which are not among them.",
            reply.displaced
        ));
    }
    let placed = reply.placed.iter().map(|node| {
        vec![node.node.clone(), node.count.to_string(), table::or_none(node.price.as_ref())]
    });
    table::print(&["node", "cvms", "price"], placed.collect(), "no node takes one");
    for refused in &reply.refused {
        ui::line(format!("{} {}", refused.node, refused.reason));
    }
}

pub async fn drift(global: &Global, client: &Client, args: DriftArgs) -> Result<(), Fail> {
    let report = client.drift(args.name.as_deref()).await?;
    if global.json {
        ui::json(&report);
        return Ok(());
    }
    let row = |drift: &NodeDrift| {
        vec![
            drift.node.clone(),
            drift.kind.as_str().to_owned(),
            table::or_none(drift.cvm_id),
            drift.since.clone(),
            drift.what.clone(),
        ]
    };
    let rows = report.drift.iter().map(row).collect();
    table::print(&["node", "kind", "cvm", "since", "what"], rows, "no drift");
    if report.truncated {
        ui::print_note("There is more than is listed; name a node.");
    }
    for node in &report.unreachable {
        ui::print_note(format!("{node} does not answer: its part is as it was when it did."));
    }
    Ok(())
}

pub async fn cvms(global: &Global, client: &Client, args: CvmsArgs) -> Result<(), Fail> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = client.node_cvms(&args.name, after).await?;
        all.extend(page.cvms);
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    if global.json {
        ui::json(&serde_json::json!({ "cvms": all }));
        return Ok(());
    }
    let rows = all.iter().map(|cvm| {
        vec![
            cvm.id.to_string(),
            cvm.name.clone(),
            cvm.status.clone(),
            cvm.app_id.clone(),
            cvm.image.clone(),
            format!("{} vCPU {} MB {} GB", cvm.vcpu, cvm.memory_mb, cvm.disk_gb),
            table::or_none(cvm.failure.as_ref()),
        ]
    });
    let header = ["id", "name", "status", "app", "image", "size", "failure"];
    table::print(&header, rows.collect(), "no CVMs on this node");
    Ok(())
}

pub async fn change_labels(global: &Global, client: &Client, args: LabelArgs) -> Result<(), Fail> {
    if args.labels.is_empty() && args.price.is_none() {
        return Err(Fail::usage("name a label or a price to change"));
    }
    let labels = args.labels.into_iter().collect();
    let change = ChangeNodeRequest { labels, price: args.price, ..ChangeNodeRequest::default() };
    let node = client.change_node(&args.name, &change).await?;
    if global.json {
        ui::json(&node);
    } else {
        ui::line(format!("{}: {}", node.name, labels_text(&node.labels)));
    }
    Ok(())
}

pub async fn set_device(global: &Global, client: &Client, args: DeviceArgs) -> Result<(), Fail> {
    let device_id = Some(args.device_id);
    let change = ChangeNodeRequest { device_id, ..ChangeNodeRequest::default() };
    let node = client.change_node(&args.name, &change).await?;
    if global.json {
        ui::json(&node);
    } else {
        ui::line(format!("The device id of {} was set.", node.name));
    }
    Ok(())
}

/// `disk=nvme rack=7`, or the sign for nothing.
pub fn labels_text(labels: &BTreeMap<String, String>) -> String {
    let words: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    table::or_none(Some(words.join(" ")).filter(|words| !words.is_empty()))
}

pub async fn accept_host(
    global: &Global,
    client: &Client,
    args: AcceptHostArgs,
) -> Result<(), Fail> {
    client.accept_host(&args.name).await?;
    if global.json {
        ui::json(&serde_json::json!({ "name": args.name }));
    } else {
        ui::line(format!("The host of {} was accepted.", args.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_and_removed() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(change("disk=nvme"), Ok(("disk".to_owned(), some("nvme"))));
        assert_eq!(change("disk-"), Ok(("disk".to_owned(), None)));
        assert_eq!(change("a=b-"), Ok(("a".to_owned(), some("b-"))));
        assert!(change("disk").is_err() && label("disk").is_err());
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(labels_text(&BTreeMap::new()), "-");
    }
}
