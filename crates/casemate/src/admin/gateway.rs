//! `casemate admin gateway`: clusters of dstack-gateway, as the server last saw them.

use casemate_api::gateway_admin::{GatewayDomain, ManagedGateway};
use clap::{Args, Subcommand};

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// Most instances in the text form; `--json` has more.
const SHOWN: usize = 20;

/// Show clusters of dstack-gateway.
#[derive(Debug, Subcommand)]
pub enum Gateway {
    /// List the configured clusters with their domains and instances.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  casemate admin gateway list\n  casemate admin gateway list --json"
    )]
    List,
    /// Show a cluster with its instances; exit 1 if it did not answer.
    #[command(after_help = "Examples:\n  casemate admin gateway show eu-1\n  \
        casemate admin gateway show eu-1 --json")]
    Show(NameArgs),
}

#[derive(Debug, Args)]
pub struct NameArgs {
    /// Name of the cluster; see `casemate admin gateway list`.
    name: String,
}

pub async fn run(global: &Global, command: Gateway) -> Result<(), Fail> {
    let client = connect::client(global)?;
    match command {
        Gateway::List => {
            let gateways = client.managed_gateways().await?;
            if global.json {
                ui::json(&serde_json::json!({ "gateways": gateways }));
                return Ok(());
            }
            table::print(
                &[
                    "name",
                    "reachable",
                    "version",
                    "domains",
                    "registered",
                    "online",
                    "last handshake",
                ],
                gateways.iter().map(row).collect(),
                "no gateways; configure one with [[gateways]]",
            );
            Ok(())
        }
        Gateway::Show(args) => {
            let gateway = client.managed_gateway(&args.name).await?;
            show(global, &gateway);
            answers(&gateway)
        }
    }
}

fn answers(gateway: &ManagedGateway) -> Result<(), Fail> {
    if gateway.reachable {
        return Ok(());
    }
    let why = gateway.cause.clone().unwrap_or_else(|| "no answer yet".to_owned());
    Err(Fail::new("gateway_unreachable", format!("{} does not answer: {why}", gateway.name))
        .suggest("The server looks again every few seconds."))
}

fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn row(gateway: &ManagedGateway) -> Vec<String> {
    vec![
        gateway.name.clone(),
        yes_or_no(gateway.reachable),
        table::or_none(gateway.version.as_ref()),
        gateway.base_domains.join(" "),
        gateway.registered.to_string(),
        gateway.online.to_string(),
        table::or_none(gateway.latest_handshake.as_ref()),
    ]
}

fn show(global: &Global, gateway: &ManagedGateway) {
    if global.json {
        ui::json(gateway);
        return;
    }
    let mut facts = vec![
        ("name", gateway.name.clone()),
        ("address", gateway.admin_url.clone()),
        ("reachable", yes_or_no(gateway.reachable)),
    ];
    if let Some(cause) = &gateway.cause {
        facts.push(("cause", cause.clone()));
        facts.push(("silent since", table::or_none(gateway.silent_since.as_ref())));
    }
    facts.extend([
        ("seen", table::or_none(gateway.seen_at.as_ref())),
        ("version", table::or_none(gateway.version.as_ref())),
        ("base domains", gateway.base_domains.join(" ")),
        ("nodes", gateway.nodes.join(" ")),
        ("instances", format!("{} registered, {} online", gateway.registered, gateway.online)),
        ("connections", gateway.connections.to_string()),
        ("last handshake", table::or_none(gateway.latest_handshake.as_ref())),
    ]);
    if let Some(features) = &gateway.features {
        facts.push(("can drain", yes_or_no(features.rotation)));
    }
    facts.extend(gateway.domains.iter().map(|domain| ("serves", served(domain))));
    facts.extend(gateway.notes.iter().map(|note| ("note", note.clone())));
    facts.extend(gateway.instances.iter().take(SHOWN).map(|instance| {
        let seen = table::or_none(instance.latest_handshake.as_ref());
        let gate = if instance.ready == Some(false) { ", out of rotation" } else { "" };
        ("instance", format!("{}, last handshake {seen}{gate}", instance.instance_id))
    }));
    table::facts(&facts);
}

fn served(domain: &GatewayDomain) -> String {
    let certificate = match (&domain.certificate_until, domain.has_certificate) {
        (Some(until), _) => format!("certificate until {until}"),
        (None, true) => "with a certificate".to_owned(),
        (None, false) => "without a certificate".to_owned(),
    };
    format!("*.{}:{}, {certificate}", domain.domain, domain.port)
}
