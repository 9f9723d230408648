//! `casemate cvms ports`: ports of the node that are forwarded to a CVM.

use casemate_api::{network::PortRule, reply::HostPort};
use casemate_client::OperationsQuery;
use clap::Subcommand;
use serde_json::json;

use super::{
    CvmArg,
    change::{self, ChangeOptions, CurrentCvm},
};
use crate::{
    cli::Global,
    connect,
    fail::Fail,
    table::{self, or_none},
    ui,
};

#[derive(Debug, Subcommand)]
pub enum Ports {
    /// List the host ports of a CVM.
    #[command(visible_alias = "list", after_help = "Examples:\n  casemate cvms ports ls hello")]
    Ls(CvmArg),
    /// Replace all host ports of a CVM.
    #[command(after_help = "Examples:
  casemate cvms ports set hello 8443:443 5353:53/udp
  casemate cvms ports set hello 22                  the server chooses the host port
  casemate cvms ports set hello 22 --from 203.0.113.0/24 --yes
  casemate cvms ports set hello --none")]
    Set {
        #[command(flatten)]
        one: CvmArg,
        /// `HOST_PORT:CVM_PORT/udp`; the server chooses a host port that is left out, and tcp is the default.
        #[arg(value_name = "[HOST:]PORT[/PROTOCOL]", value_parser = parse_rule, required_unless_present = "none")]
        ports: Vec<PortRule>,
        /// Remove all host ports.
        #[arg(long, conflicts_with = "ports")]
        none: bool,
        /// Networks (CIDR) that may connect [default: all]; needs a node with a firewall.
        #[arg(long, value_name = "CIDR", requires = "ports")]
        from: Vec<String>,
        #[command(flatten)]
        manner: ChangeOptions,
    },
}

fn parse_rule(text: &str) -> Result<PortRule, String> {
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, protocol)) => (ports, Some(protocol.to_owned())),
        None => (text, None),
    };
    let number = |text: &str| {
        text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(|| {
            format!(
                "{text:?} is not a port rule: use PORT, HOST:PORT or HOST:PORT/udp, from 1 to 65535"
            )
        })
    };
    let (host, vm) = match ports.split_once(':') {
        Some((host, vm)) => (Some(number(host)?), number(vm)?),
        None => (None, number(ports)?),
    };
    Ok(PortRule { vm_port: Some(vm), host_port: host, protocol, ..PortRule::default() })
}

pub(super) async fn run(global: &Global, command: Ports) -> Result<(), Fail> {
    match command {
        Ports::Ls(one) => {
            let found = connect::client(global)?.ports(&one.cvm).await?;
            show(global, &found);
            Ok(())
        }
        Ports::Set { one, mut ports, none: _, from, manner } => {
            for rule in &mut ports {
                rule.source_cidrs = (!from.is_empty()).then(|| from.clone());
            }
            set(global, &one.cvm, ports, &manner).await
        }
    }
}

fn show(global: &Global, ports: &[HostPort]) {
    if global.json {
        ui::json(&ports);
        return;
    }
    let rows = ports.iter().map(|port| {
        let address = Some(&port.host_address).filter(|text| !text.is_empty());
        let from = Some(port.source_cidrs.join(" ")).filter(|text| !text.is_empty());
        vec![
            port.host_port.to_string(),
            port.vm_port.to_string(),
            port.protocol.clone(),
            or_none(address),
            from.unwrap_or_else(|| "everywhere".to_owned()),
        ]
    });
    table::print(&["host", "cvm", "protocol", "address", "from"], rows.collect(), "no host ports");
}

async fn set(
    global: &Global,
    cvm: &str,
    rules: Vec<PortRule>,
    manner: &ChangeOptions,
) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let current = CurrentCvm::read(&client, cvm).await?;
    let diff = current.diff_ports(&client, &rules).await?;
    let (id, name) = (&current.info.id, &current.info.name);
    if !global.json {
        diff.show(name);
    }
    change::confirm_restart(global, &current, &diff, manner)?;
    let ports = client.set_ports(id, rules).await?;
    // The reply names no operation, so this reads the newest one.
    let query = OperationsQuery { limit: Some(1), ..OperationsQuery::default() };
    let newest = client.operations(id, &query).await?.items.pop();
    if let Some(newest) = newest.filter(|_| !manner.no_wait) {
        let operation = &newest.correlation_id;
        change::follow(global, &client, id, name, operation, manner.timeout).await?;
    }
    if global.json {
        ui::json(&json!({
            "id": id,
            "name": name,
            "restart": diff.restart,
            "diff": diff.json(),
            "ports": ports,
        }));
        return Ok(());
    }
    show(global, &ports);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_written() {
        let ports = |text| {
            let rule = parse_rule(text).unwrap();
            (rule.host_port, rule.vm_port, rule.protocol)
        };
        assert_eq!(ports("22"), (None, Some(22), None));
        assert_eq!(ports("8443:443"), (Some(8443), Some(443), None));
        assert_eq!(ports("53:53/udp"), (Some(53), Some(53), Some("udp".to_owned())));
        for text in ["", "0", "a", "1:2:3", "70000", ":1", "1:"] {
            assert!(parse_rule(text).is_err(), "{text}");
        }
    }
}
