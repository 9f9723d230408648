//! `casemate governance show`: what the contracts say about an app, read from the chain.

use std::collections::BTreeSet;

use casemate_client::onchain::{Overview, Rpc};
use casemate_core::{
    governance::{Account, Epochs, plan::checksummed},
    id::{Address, ComposeHash, DeviceId},
};
use clap::Args;
use serde_json::{Value, json};

use super::{act::Governed, chain::ChainEndpoint};
use crate::{cli::Global, connect, fail::Fail, table, ui};

#[derive(Debug, Args)]
pub struct Show {
    /// App id; see `casemate apps ls`.
    #[arg(value_name = "APP")]
    app: String,
    #[command(flatten)]
    reach: ChainEndpoint,
}

/// A document or device: its id, its local name, and whether it is allowed.
type Listed = (String, String, bool);

pub async fn run(global: &Global, args: Show) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let governed = Governed::read(&client, &args.app).await?;
    let rpc = args.reach.open(governed.chain_id).await?;
    let seen = rpc.overview(governed.kms, governed.app).await?;
    let cvms = client.app_cvm_infos(&args.app).await?;
    let hashes: BTreeSet<ComposeHash> =
        cvms.iter().filter_map(|cvm| cvm.compose_hash.as_deref()?.parse().ok()).collect();
    let mut documents: Vec<Listed> = Vec::new();
    for hash in hashes {
        let text = hash.to_string();
        let of = |cvm: &&casemate_api::reply::CvmInfo| cvm.compose_hash.as_deref() == Some(&text);
        let names: Vec<&str> = cvms.iter().filter(of).map(|cvm| cvm.name.as_str()).collect();
        let allowed = rpc.allows_document(governed.app, hash).await? == Some(true);
        documents.push((hash.to_string(), names.join(", "), allowed));
    }
    let mut devices: Vec<Listed> = Vec::new();
    for device in client.device_allowlist(&args.app).await?.devices {
        let Ok(id) = device.device_id.parse::<DeviceId>() else { continue };
        let listed = rpc.lists_device(governed.app, id).await? == Some(true);
        devices.push((id.to_string(), device.node_name.unwrap_or_default(), listed));
    }
    if global.json {
        ui::json(&document(&rpc, governed, &seen, &documents, &devices));
    } else {
        print_overview(&rpc, governed, &seen, &documents, &devices);
    }
    Ok(())
}

fn document(
    rpc: &Rpc,
    governed: Governed,
    seen: &Overview,
    documents: &[Listed],
    devices: &[Listed],
) -> Value {
    let (kind, threshold, owners) = match &seen.owner_kind {
        None => (None, None, Vec::new()),
        Some(Account::Eoa) => (Some("eoa"), None, Vec::new()),
        Some(Account::Contract) => (Some("contract"), None, Vec::new()),
        Some(Account::Safe { threshold, owners }) => {
            (Some("safe"), Some(threshold), owners.iter().copied().map(checksummed).collect())
        }
    };
    let hashes: Vec<Value> = documents
        .iter()
        .map(|(hash, cvms, allowed)| json!({ "compose_hash": hash, "cvms": cvms, "allowed": allowed }))
        .collect();
    let devices: Vec<Value> = devices
        .iter()
        .map(
            |(device, node, listed)| json!({ "device_id": device, "node": node, "listed": listed }),
        )
        .collect();
    json!({
        "chain_id": rpc.chain_id(),
        "kms_contract": checksummed(governed.kms),
        "kms_exists": seen.kms_exists,
        "app_contract": checksummed(governed.app.into()),
        "exists": seen.exists,
        "registered": seen.registered,
        "owner": seen.owner.map(checksummed),
        "owner_kind": kind,
        "threshold": threshold,
        "owners": owners,
        "pending_owner": seen.pending_owner.map(checksummed),
        "allow_any_device": seen.any_device,
        "require_tcb_up_to_date": seen.tcb_required,
        "has_lists": seen.has_lists,
        "approves_by_epoch": seen.epochs != Epochs::None,
        "compose_hashes": hashes,
        "devices": devices,
    })
}

fn print_overview(
    rpc: &Rpc,
    governed: Governed,
    seen: &Overview,
    documents: &[Listed],
    devices: &[Listed],
) {
    let yes = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
    let kms = checksummed(governed.kms);
    table::facts(&[
        ("app", checksummed(governed.app.into())),
        ("there", yes(seen.exists)),
        ("kms", if seen.kms_exists { kms } else { format!("{kms}: not a KMS contract") }),
        ("chain", rpc.chain_id().to_string()),
        ("registered", yes(seen.registered)),
        ("owner", owner(seen.owner, seen.owner_kind.as_ref())),
        ("offered to", table::or_none(seen.pending_owner.map(checksummed))),
        (
            "lists",
            if seen.has_lists { "yes" } else { "no: its own isAppAllowed decides" }.to_owned(),
        ),
        ("epochs", epochs(seen.epochs).to_owned()),
        ("any device", yes(seen.any_device)),
        ("needs new TCB", seen.tcb_required.map_or_else(|| "unknown".to_owned(), yes)),
    ]);
    let rows = |listed: &[Listed]| {
        let row = |(id, what, allowed): &Listed| vec![id.clone(), what.clone(), yes(*allowed)];
        listed.iter().map(row).collect::<Vec<_>>()
    };
    table::print(&["compose hash", "cvms", "allowed"], rows(documents), "no CVMs");
    table::print(&["device", "node", "listed"], rows(devices), "no nodes");
}

const fn epochs(epochs: Epochs) -> &'static str {
    match epochs {
        Epochs::None => "none",
        Epochs::Old => "by epoch, as of dstack 0.6.4: what follows covers epoch 0 only",
        Epochs::Current => "by epoch: what follows covers epoch 0 only",
    }
}

fn owner(owner: Option<Address>, kind: Option<&Account>) -> String {
    let Some(owner) = owner.map(checksummed) else { return "none".to_owned() };
    match kind {
        Some(Account::Safe { threshold, owners }) => {
            format!("{owner} (Safe, {threshold} of {})", owners.len())
        }
        Some(Account::Contract) => format!("{owner} (contract)"),
        Some(Account::Eoa) | None => owner,
    }
}
