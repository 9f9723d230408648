//! `casemate admin quota`: what workspaces may take.

use casemate_api::quota::{QuotaOverride, WorkspaceQuota};
use clap::{Args, Subcommand};

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// Show and set what the live CVMs of a workspace may take together.
#[derive(Debug, Subcommand)]
pub enum Quota {
    /// Show what a workspace takes and may take.
    #[command(after_help = "Examples:\n  casemate admin quota show default")]
    Show(WorkspaceArg),
    /// Set what a workspace may take. What is not given stays as it is.
    ///
    /// CVMs that are there stay, also where they take more than that.
    #[command(after_help = "Examples:
  casemate admin quota set team-a --cvms 20 --vcpu 64
  casemate admin quota set team-a --memory-mb default    as configured for all
  casemate admin quota set team-a --cvms 0               no CVM at all")]
    Set(SetArgs),
}

#[derive(Debug, Args)]
pub struct WorkspaceArg {
    /// Slug of the workspace.
    #[arg(value_name = "SLUG")]
    slug: String,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("limit").required(true).multiple(true))]
pub struct SetArgs {
    #[command(flatten)]
    workspace: WorkspaceArg,
    /// Number of CVMs.
    #[arg(long, value_name = "NUMBER|default", value_parser = parse_limit, group = "limit")]
    cvms: Option<Limit>,
    /// Virtual CPUs.
    #[arg(long, value_name = "NUMBER|default", value_parser = parse_limit, group = "limit")]
    vcpu: Option<Limit>,
    /// Memory in MiB.
    #[arg(long, value_name = "NUMBER|default", value_parser = parse_limit, group = "limit")]
    memory_mb: Option<Limit>,
    /// Disk in GB.
    #[arg(long, value_name = "NUMBER|default", value_parser = parse_limit, group = "limit")]
    disk_gb: Option<Limit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// As configured for all workspaces.
    Default,
    Own(u32),
}

impl Limit {
    fn value(self) -> Option<i64> {
        match self {
            Self::Default => None,
            Self::Own(limit) => Some(limit.into()),
        }
    }
}

fn parse_limit(text: &str) -> Result<Limit, String> {
    if text == "default" {
        return Ok(Limit::Default);
    }
    text.parse()
        .map(Limit::Own)
        .map_err(|_| format!("{text:?} is no number from 0 on, nor default"))
}

pub async fn run(global: &Global, command: Quota) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let shown = match command {
        Quota::Show(WorkspaceArg { slug }) => client.workspace_quota(&slug).await?,
        Quota::Set(args) => {
            let slug = &args.workspace.slug;
            let own = client.workspace_quota(slug).await?.own;
            let limit = |given: Option<Limit>, own| given.map_or(own, Limit::value);
            let quota = QuotaOverride {
                cvms: limit(args.cvms, own.cvms),
                vcpu: limit(args.vcpu, own.vcpu),
                memory_mb: limit(args.memory_mb, own.memory_mb),
                disk_gb: limit(args.disk_gb, own.disk_gb),
            };
            client.set_workspace_quota(slug, &quota).await?
        }
    };
    show(global, &shown);
    Ok(())
}

fn show(global: &Global, quota: &WorkspaceQuota) {
    if global.json {
        ui::json(quota);
        return;
    }
    let row = |name: &str, of: fn(&QuotaOverride) -> Option<i64>| {
        let limit = of(&quota.limit).map_or_else(|| "none".to_owned(), |limit| limit.to_string());
        let source = match (of(&quota.own), of(&quota.limit)) {
            (Some(_), _) => "set for this workspace",
            (None, Some(_)) => "configured for all",
            (None, None) => "",
        };
        vec![name.to_owned(), of(&quota.taken).unwrap_or(0).to_string(), limit, source.to_owned()]
    };
    let rows = vec![
        row("CVMs", |amount| amount.cvms),
        row("vCPU", |amount| amount.vcpu),
        row("memory (MiB)", |amount| amount.memory_mb),
        row("disk (GB)", |amount| amount.disk_gb),
    ];
    table::print(&["resource", "taken", "limit", ""], rows, "");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_the_default() {
        assert_eq!(parse_limit("0"), Ok(Limit::Own(0)));
        assert_eq!(parse_limit("default"), Ok(Limit::Default));
        assert!(parse_limit("-1").is_err() && parse_limit("many").is_err());
    }
}
