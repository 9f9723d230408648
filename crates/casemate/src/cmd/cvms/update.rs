//! `casemate cvms update`, `resize` and `rename`.

use std::{fs, path::PathBuf};

use casemate_client::{Client, OperationsQuery};
use casemate_core::change::{Change, Set, Size};
use clap::Args;
use secrecy::SecretString;
use serde_json::json;

use super::{
    CvmArg,
    change::{self, ChangeOptions, CurrentCvm, DropEnv},
};
use crate::{cli::Global, connect, fail::Fail, ui, vars};

#[derive(Debug, Args)]
pub struct Update {
    #[command(flatten)]
    one: CvmArg,
    /// New Docker Compose file.
    #[arg(short, long, value_name = "FILE")]
    compose: Option<PathBuf>,
    /// Replace all variables: KEY=VALUE, or a file with variables; repeatable.
    #[arg(short = 'e', long = "env", value_name = "FILE|KEY=VALUE")]
    env: Vec<SecretString>,
    #[command(flatten)]
    drop_env: DropEnv,
    /// New script to run before the containers start; an empty file removes it.
    #[arg(long, value_name = "FILE")]
    pre_launch_script: Option<PathBuf>,
    /// File with the new user config, which the guest can read.
    #[arg(long, value_name = "FILE")]
    user_config: Option<PathBuf>,
    /// New OS image; see `casemate images ls`.
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    #[command(flatten)]
    size: SizeArgs,
    #[command(flatten)]
    flags: Flags,
    /// Timeout of a graceful shutdown in seconds, 10 to 1200.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(10..=1200))]
    shutdown_timeout: Option<u32>,
    #[command(flatten)]
    manner: ChangeOptions,
}

/// Options with a boolean value; without a value: true.
#[derive(Debug, Args)]
struct Flags {
    /// List the app in the public directory.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    listed: Option<bool>,
    /// Make logs public.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    public_logs: Option<bool>,
    /// Make system information public.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    public_sysinfo: Option<bool>,
    /// Make TCB measurements public.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    public_tcbinfo: Option<bool>,
    /// Make the CVM reachable through the gateway.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    gateway: Option<bool>,
    /// Wait for secure time at boot.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    secure_time: Option<bool>,
    /// Force a stop if the graceful shutdown times out.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_force_stop: Option<bool>,
}

#[derive(Debug, Args)]
struct SizeArgs {
    /// Instance type; see `casemate sizes ls`.
    #[arg(long, value_name = "NAME")]
    instance_type: Option<String>,
    /// Number of virtual CPUs.
    #[arg(long)]
    vcpu: Option<u32>,
    /// Memory in MB, or with a unit: 512M, 4G.
    #[arg(long, value_parser = megabytes)]
    memory: Option<u32>,
    /// Disk in GB; can only grow.
    #[arg(long, value_parser = gigabytes)]
    disk: Option<u32>,
}

#[derive(Debug, Args)]
pub struct Resize {
    #[command(flatten)]
    one: CvmArg,
    #[command(flatten)]
    size: SizeArgs,
    #[command(flatten)]
    manner: ChangeOptions,
}

#[derive(Debug, Args)]
pub struct Rename {
    #[command(flatten)]
    one: CvmArg,
    /// New name: 5 to 63 letters, digits and hyphens, starting with a letter.
    #[arg(value_name = "NAME")]
    name: String,
    /// Return once the change is accepted.
    #[arg(long)]
    no_wait: bool,
}

fn megabytes(text: &str) -> Result<u32, String> {
    let number = |text: &str, factor: u32| {
        let number = text.parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
        number.ok_or_else(|| "must be a number of MB, or have a unit, for example 4G".to_owned())
    };
    let upper = text.to_ascii_uppercase();
    let text = upper.strip_suffix('B').unwrap_or(&upper);
    match (text.strip_suffix('G'), text.strip_suffix('M')) {
        (Some(text), _) => number(text, 1024),
        (_, Some(text)) => number(text, 1),
        _ => number(text, 1),
    }
}

fn gigabytes(text: &str) -> Result<u32, String> {
    let upper = text.to_ascii_uppercase();
    let text = upper.strip_suffix('B').unwrap_or(&upper);
    let text = text.strip_suffix('G').unwrap_or(text);
    text.parse().map_err(|_| "must be a number of GB".to_owned())
}

impl SizeArgs {
    async fn put(self, client: &Client, change: &mut Change) -> Result<(), Fail> {
        if let Some(name) = &self.instance_type {
            change.instance_type = Some(size(client, name).await?);
        }
        (change.vcpu, change.memory_mb, change.disk_gb) = (self.vcpu, self.memory, self.disk);
        Ok(())
    }
}

async fn size(client: &Client, name: &str) -> Result<Size, Fail> {
    let types = client.instance_types().await?;
    let found = types.result.iter().flat_map(|family| &family.items).find(|size| size.id == name);
    let Some(found) = found else {
        return Err(Fail::new("instance-type", format!("there is no instance type {name:?}"))
            .suggest("List instance types: casemate sizes ls."));
    };
    Ok(Size { id: found.id.clone(), vcpu: found.vcpu, memory_mb: found.memory_mb })
}

fn read(file: Option<PathBuf>) -> Result<Option<String>, Fail> {
    let Some(file) = file else { return Ok(None) };
    let text = fs::read_to_string(&file)
        .map_err(|error| Fail::usage(format!("{}: {error}", file.display())))?;
    Ok(Some(text))
}

fn no_change_given() -> Fail {
    Fail::usage("no change was given").suggest("List the options: casemate cvms update --help.")
}

pub(super) async fn update(global: &Global, args: Update) -> Result<(), Fail> {
    let flags = args.flags;
    let mut change = Change {
        docker_compose_file: read(args.compose)?,
        pre_launch_script: read(args.pre_launch_script)?,
        user_config: read(args.user_config)?.map_or(Set::Keep, Set::To),
        public_logs: flags.public_logs,
        public_sysinfo: flags.public_sysinfo,
        public_tcbinfo: flags.public_tcbinfo,
        gateway_enabled: flags.gateway,
        secure_time: flags.secure_time,
        listed: flags.listed,
        allow_force_stop: flags.allow_force_stop,
        image: args.image,
        shutdown_timeout_s: args.shutdown_timeout,
        ..Change::default()
    };
    let vars = vars::from_flags(&args.env)?;
    let client = connect::client(global)?;
    args.size.put(&client, &mut change).await?;
    if change == Change::default() && args.env.is_empty() {
        return Err(no_change_given());
    }
    let current = CurrentCvm::read(&client, &args.one.cvm).await?;
    if !args.env.is_empty() {
        current.seal_into(&mut change, &vars)?;
    }
    let drop_env = args.drop_env.drop_env;
    change::apply_change(global, &client, &current, &change, &args.manner, drop_env).await
}

pub(super) async fn resize(global: &Global, args: Resize) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let mut change = Change::default();
    args.size.put(&client, &mut change).await?;
    if change == Change::default() {
        return Err(no_change_given());
    }
    let current = CurrentCvm::read(&client, &args.one.cvm).await?;
    change::apply_change(global, &client, &current, &change, &args.manner, false).await
}

pub(super) async fn rename(global: &Global, args: Rename) -> Result<(), Fail> {
    const SECONDS: u64 = 600;
    let client = connect::client(global)?;
    let info = client.cvm_info(&args.one.cvm).await?;
    client.rename(&info.id, &args.name).await?;
    // The reply names no operation, so this reads the newest one.
    let query = OperationsQuery { limit: Some(1), ..OperationsQuery::default() };
    let newest = client.operations(&info.id, &query).await?.items.pop();
    if let Some(newest) = newest.filter(|_| !args.no_wait) {
        let id = &newest.correlation_id;
        change::follow(global, &client, &info.id, &info.name, id, SECONDS).await?;
        let name = client.cvm_info(&info.id).await?.name;
        if name != args.name {
            return Err(Fail::new("not-renamed", format!("the CVM is still named {name}"))
                .suggest(format!("Show the cause: casemate cvms operations {name}.")));
        }
    }
    if global.json {
        ui::json(&json!({ "id": info.id, "name": args.name, "name_before": info.name }));
    } else {
        ui::line(format!("{}: renamed, {}", info.name, args.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, expected) in [("512", 512), ("512m", 512), ("4G", 4096), ("4gb", 4096)] {
            assert_eq!(megabytes(text), Ok(expected), "{text}");
        }
        for text in ["", "G", "1.5G", "-1", "9999999G"] {
            assert!(megabytes(text).is_err(), "{text}");
        }
        assert_eq!((gigabytes("40"), gigabytes("40GB")), (Ok(40), Ok(40)));
        assert!(gigabytes("40T").is_err());
    }
}
