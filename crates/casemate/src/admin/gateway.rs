//! `casemate admin gateway`: clusters of dstack-gateway, as the server last saw them.

use std::collections::BTreeSet;

use casemate_api::gateway_admin::{
    GatewayDomain, GatewayInstanceDetail, GatewayPort, GatewayPortPolicy, ManagedGateway,
    NewGatewayDomain,
};
use clap::{Args, Subcommand};

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// Most instances in the text form; `--json` has more.
const SHOWN: usize = 20;

/// Show clusters of dstack-gateway, and set their domains and port policies.
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
    /// Have a cluster serve another domain, and issue its certificate.
    #[command(after_help = "Examples:\n  casemate admin gateway add-domain eu-1 apps.example.com")]
    AddDomain(AddDomainArgs),
    /// Have a cluster serve a domain no longer.
    #[command(
        after_help = "Examples:\n  casemate admin gateway remove-domain eu-1 old.example.com"
    )]
    RemoveDomain(DomainArgs),
    /// Show what a cluster tells of an instance now: handshakes and port policy.
    #[command(after_help = "Examples:\n  casemate admin gateway instance eu-1 5f4e…")]
    Instance(InstanceArgs),
    PortPolicy(PortPolicyArgs),
}

#[derive(Debug, Args)]
pub struct DomainArgs {
    /// Name of the cluster; see `casemate admin gateway list`.
    name: String,
    /// For example apps.example.com.
    domain: String,
}

#[derive(Debug, Args)]
pub struct AddDomainArgs {
    #[command(flatten)]
    of: DomainArgs,
    /// Port of its URLs [default: 443].
    #[arg(long)]
    port: Option<u16>,
    /// The highest is the cluster's own domain [default: 0].
    #[arg(long)]
    priority: Option<i32>,
    /// Id of the DNS credential for its certificate, as the cluster has it [default: its default].
    #[arg(long, value_name = "ID")]
    dns_credential: Option<String>,
}

#[derive(Debug, Args)]
pub struct InstanceArgs {
    /// Name of the cluster; see `casemate admin gateway list`.
    name: String,
    /// Instance id, 40 hex digits.
    instance: String,
}

/// Set who may reach the ports of an instance through a cluster, or take that back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin gateway port-policy eu-1 5f4e… --only 8080 --only 8443
  casemate admin gateway port-policy eu-1 5f4e… --proxy-protocol 8080
  casemate admin gateway port-policy eu-1 5f4e… --clear")]
pub struct PortPolicyArgs {
    #[command(flatten)]
    of: InstanceArgs,
    /// A port that is reached; no other one is, then. May be repeated.
    #[arg(long, value_name = "PORT", required_unless_present_any = ["clear", "proxy_protocol"])]
    only: Vec<u16>,
    /// A port whose connections begin with a PROXY protocol header. May be repeated.
    #[arg(long, value_name = "PORT")]
    proxy_protocol: Vec<u16>,
    /// The policy that the instance reports is in force again.
    #[arg(long, conflicts_with_all = ["only", "proxy_protocol"])]
    clear: bool,
}

impl PortPolicyArgs {
    /// `None`: that of the instance.
    fn policy(&self) -> Option<GatewayPortPolicy> {
        if self.clear {
            return None;
        }
        let ports: BTreeSet<u16> = self.only.iter().chain(&self.proxy_protocol).copied().collect();
        let rule = |port| GatewayPort { port, proxy_protocol: self.proxy_protocol.contains(&port) };
        Some(GatewayPortPolicy {
            ports: ports.into_iter().map(rule).collect(),
            restricted: !self.only.is_empty(),
        })
    }
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
        Gateway::AddDomain(AddDomainArgs { of, port, priority, dns_credential }) => {
            let domain = of.domain;
            let new = NewGatewayDomain { domain, port, priority, dns_credential };
            let added = client.add_gateway_domain(&of.name, &new).await?;
            if global.json {
                ui::json(&added);
            } else {
                ui::line(format!("{} serves {}.", of.name, served(&added)));
            }
            Ok(())
        }
        Gateway::RemoveDomain(DomainArgs { name, domain }) => {
            client.delete_gateway_domain(&name, &domain).await?;
            done(global, &name, &format!("{name} serves {domain} no longer."));
            Ok(())
        }
        Gateway::Instance(InstanceArgs { name, instance }) => {
            show_instance(global, &client.gateway_instance(&name, &instance).await?);
            Ok(())
        }
        Gateway::PortPolicy(args) => {
            let (name, instance) = (&args.of.name, &args.of.instance);
            let found = if let Some(policy) = args.policy() {
                client.set_gateway_port_policy(name, instance, &policy).await?
            } else {
                client.clear_gateway_port_policy(name, instance).await?;
                client.gateway_instance(name, instance).await?
            };
            show_instance(global, &found);
            Ok(())
        }
    }
}

fn done(global: &Global, name: &str, what: &str) {
    if global.json {
        ui::json(&serde_json::json!({ "name": name }));
    } else {
        ui::line(what);
    }
}

fn show_instance(global: &Global, found: &GatewayInstanceDetail) {
    if global.json {
        ui::json(found);
        return;
    }
    let mut facts = vec![("instance", found.instance_id.clone())];
    facts.extend(found.handshakes.iter().map(|one| {
        ("handshake", format!("node {}: {}", one.node, table::or_none(one.at.as_ref())))
    }));
    facts.push(("policy of", found.port_policy_source.clone()));
    if let Some(policy) = &found.port_policy {
        facts.push(("other ports", yes_or_no(!policy.restricted)));
        facts.extend(policy.ports.iter().map(|rule| {
            let proxy = if rule.proxy_protocol { ", with a PROXY header" } else { "" };
            ("port", format!("{}{proxy}", rule.port))
        }));
    }
    table::facts(&facts);
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
