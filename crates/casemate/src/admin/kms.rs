//! `casemate admin kms`: the KMS that contracts govern.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use casemate_core::id::Address;
use casemate_server::{
    config::{Config, Overrides},
    serve::chains::{self, Listed, OfNodes, Report},
};
use clap::{Args, Subcommand};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::{cli::Global, connect, fail::Fail, serve::load, table, ui};

/// KMS that contracts govern.
#[derive(Debug, Subcommand)]
pub enum Kms {
    /// Add one, after its chain and contract were asked.
    Add(AddArgs),
    /// Ask every chain and contract of the configuration.
    Check(CheckArgs),
}

/// Add a KMS that a contract governs to the configuration.
///
/// The contract is asked first. Then the sections are written at the end of the file given with --config, or
/// printed, if none is. The service reads them when it starts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin kms add --config casemate.toml --slug kms-base-1 --address 0x… \\
    --chain base --rpc-url https://mainnet.base.org --rpc-url @/etc/casemate/base-rpc
  casemate admin kms add --config casemate.toml --slug kms-base-2 --address 0x… --chain base
  casemate admin kms add --slug kms-eth-1 --address 0x… --chain ethereum --rpc-url https://… > more.toml")]
pub struct AddArgs {
    /// Its name in paths and lists.
    #[arg(long)]
    slug: String,
    /// The DstackKms contract.
    #[arg(long, value_name = "0x…")]
    address: Address,
    /// Name of its chain. One that is not configured yet is added, which needs --rpc-url.
    #[arg(long, value_name = "NAME")]
    chain: String,
    /// App id of the gateway that its CVMs trust.
    #[arg(long, value_name = "ID")]
    gateway_app_id: Option<String>,
    /// Of a chain to add: its id [default: 8453 for base, 1 for ethereum].
    #[arg(long)]
    chain_id: Option<u64>,
    /// Of a chain to add: what its KMS are called by clients, base or ethereum [default: its name].
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Of a chain to add: an endpoint, or @FILE with one a line, which `ps` does not show; several are asked
    /// in their order.
    #[arg(long, value_name = "URL")]
    rpc_url: Vec<String>,
    /// Of a chain to add: blocks that a transaction needs to count.
    #[arg(long)]
    confirmations: Option<u64>,
    /// Of a chain to add: where people look at it.
    #[arg(long, value_name = "URL")]
    explorer: Option<String>,
    /// The file to add it to; it is made if it is not there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do not ask the chain.
    #[arg(long)]
    unchecked: bool,
}

/// Ask every chain and every contract of a KMS in the configuration.
///
/// Each endpoint of a chain is asked on its own. Contracts are asked which hosts and OS images of the nodes
/// they allow, where an instance runs that can say what it has. Exit 1 if anything is wrong.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin kms check --config casemate.toml
  casemate admin kms check --config casemate.toml --json")]
pub struct CheckArgs {
    /// Settings, in the form of config.default.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Does what was said.
pub async fn run(global: &Global, command: Kms) -> Result<(), Fail> {
    match command {
        Kms::Add(args) => add(global, args).await,
        Kms::Check(args) => check(global, args).await,
    }
}

async fn add(global: &Global, args: AddArgs) -> Result<(), Fail> {
    let before = match &args.config {
        None => String::new(),
        Some(file) => text_of(file)?,
    };
    let known = read(global, args.config.clone().filter(|_| !before.is_empty()))?;
    let sections = sections(&args, &known)?;
    let joint = if before.is_empty() || before.ends_with("\n\n") { "" } else { "\n" };
    let draft = draft(args.config.as_deref(), &format!("{before}{joint}{sections}"))?;
    let config = read(global, Some(draft.path().to_owned()))?;
    if !args.unchecked {
        asked(&only(config, &args)).await?;
    }
    match &args.config {
        None => {
            ui::raw(sections.as_bytes());
        }
        Some(file) => {
            draft.persist(file).map_err(|error| cannot(file, &error.error))?;
            let text = format!("{} has {} now: start the service again", file.display(), args.slug);
            if global.json {
                ui::json(&json!({ "config": file, "slug": args.slug }));
            } else {
                ui::line(text);
            }
        }
    }
    Ok(())
}

/// Asks chain and contract; the hosts and images of nodes are not asked about.
async fn asked(config: &Config) -> Result<(), Fail> {
    let report = said(config, &OfNodes::default()).await?;
    match report.problems.first() {
        None => Ok(()),
        Some(problem) => Err(Fail::new("kms", problem.clone())
            .suggest("Nothing was written. Correct it, or say --unchecked.")),
    }
}

/// A configuration with the new KMS and its chain only.
fn only(mut config: Config, args: &AddArgs) -> Config {
    config.kms.contracts.retain(|contract| contract.slug == args.slug);
    config.chains.retain(|chain| chain.name == args.chain);
    config
}

fn read(global: &Global, file: Option<PathBuf>) -> Result<Config, Fail> {
    let overrides = Overrides { data_dir: global.data_dir.clone(), ..Overrides::default() };
    load(file, &overrides)
}

/// The text of a file; empty where there is none.
fn text_of(file: &Path) -> Result<String, Fail> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(cannot(file, &error)),
    }
}

fn cannot(file: &Path, error: &std::io::Error) -> Fail {
    Fail::new("config", format!("{}: {error}", file.display()))
}

/// The new sections.
fn sections(args: &AddArgs, known: &Config) -> Result<String, Fail> {
    let mut text = String::new();
    // Infallible: a String takes everything.
    let mut key = |name: &str, value: String| {
        let _ = writeln!(text, "{name} = {value}");
    };
    let is_known = known.chains.iter().any(|chain| chain.name == args.chain);
    let of_chain = args.chain_id.is_some()
        || args.kind.is_some()
        || !args.rpc_url.is_empty()
        || args.confirmations.is_some()
        || args.explorer.is_some();
    if is_known && of_chain {
        return Err(Fail::usage(format!("the chain {} is configured already", args.chain))
            .suggest("Leave out --rpc-url and what else is about the chain, or edit the file."));
    }
    let mut chain = String::new();
    if !is_known {
        key("name", quoted(&args.chain));
        if let Some(kind) = &args.kind {
            key("kind", quoted(kind));
        }
        key("chain_id", chain_id(args)?.to_string());
        key("rpc_urls", list(&endpoints(&args.rpc_url)?));
        if let Some(confirmations) = args.confirmations {
            key("confirmations", confirmations.to_string());
        }
        if let Some(explorer) = &args.explorer {
            key("explorer", quoted(explorer));
        }
        chain = format!("[[chains]]\n{}\n", std::mem::take(&mut text));
    }
    let mut key = |name: &str, value: String| {
        let _ = writeln!(text, "{name} = {value}");
    };
    key("slug", quoted(&args.slug));
    key("chain", quoted(&args.chain));
    key("address", quoted(&format!("0x{}", args.address)));
    if let Some(gateway) = &args.gateway_app_id {
        key("gateway_app_id", quoted(gateway));
    }
    Ok(format!("{chain}[[kms.contracts]]\n{text}"))
}

fn chain_id(args: &AddArgs) -> Result<u64, Fail> {
    match (args.chain_id, args.chain.as_str()) {
        (Some(id), _) => Ok(id),
        (None, "base") => Ok(8453),
        (None, "ethereum") => Ok(1),
        (None, other) => Err(Fail::usage(format!("the chain {other} needs --chain-id"))),
    }
}

/// Addresses, with those of files in the place of their files.
fn endpoints(given: &[String]) -> Result<Vec<String>, Fail> {
    let mut all = Vec::new();
    for text in given {
        match text.strip_prefix('@') {
            None => all.push(text.clone()),
            Some(file) => {
                let file = Path::new(file);
                let lines = fs::read_to_string(file).map_err(|error| cannot(file, &error))?;
                let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
                all.extend(lines.map(str::to_owned));
            }
        }
    }
    if all.is_empty() {
        return Err(Fail::usage("a chain that is not configured yet needs --rpc-url"));
    }
    Ok(all)
}

/// A text as TOML has it: its escapes are those of JSON.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A file with this text, gone again unless it is kept: beside another, or, without one, in the directory
/// for temporary files. It gets the mode of the one it may replace; else nobody but its owner reads it.
fn draft(beside: Option<&Path>, text: &str) -> Result<NamedTempFile, Fail> {
    let dir = match beside.and_then(Path::parent) {
        Some(dir) if dir.as_os_str().is_empty() => PathBuf::from("."),
        Some(dir) => dir.to_owned(),
        None => std::env::temp_dir(),
    };
    let write = || {
        let mut draft =
            tempfile::Builder::new().prefix(".casemate-kms-").suffix(".toml").tempfile_in(&dir)?;
        draft.write_all(text.as_bytes())?;
        if let Some(known) = beside.and_then(|file| fs::metadata(file).ok()) {
            draft.as_file().set_permissions(known.permissions())?;
        }
        draft.as_file().sync_all()?;
        Ok(draft)
    };
    write().map_err(|error| cannot(&dir, &error))
}

async fn said(config: &Config, nodes: &OfNodes) -> Result<Report, Fail> {
    chains::check(config, nodes).await.map_err(|error| Fail::new("chains", error.to_string()))
}

async fn check(global: &Global, args: CheckArgs) -> Result<(), Fail> {
    let config = read(global, args.config)?;
    if config.kms.contracts.is_empty() {
        ui::print_note("no KMS is governed by a contract: casemate admin kms add adds one");
    }
    let nodes = match of_nodes(global).await {
        Ok(nodes) => nodes,
        Err(why) => {
            ui::print_note(format!("hosts and OS images are not asked about: {}", why.message));
            OfNodes::default()
        }
    };
    let report = said(&config, &nodes).await?;
    if global.json {
        ui::json(&report);
    } else {
        tell(&report);
    }
    match report.problems.as_slice() {
        [] => Ok(()),
        [only] => Err(Fail::new("kms", only.clone())),
        [first, rest @ ..] => {
            Err(Fail::new("kms", format!("{first}; and {} more problems", rest.len())))
        }
    }
}

fn tell(report: &Report) {
    let chains = report.chains.iter().flat_map(|chain| {
        chain.endpoints.iter().map(|endpoint| {
            vec![
                chain.name.clone(),
                chain.chain_id.to_string(),
                endpoint.host.clone(),
                table::or_none(endpoint.block),
                endpoint.error.clone().unwrap_or_else(|| "ok".to_owned()),
            ]
        })
    });
    table::print(&["chain", "id", "endpoint", "block", "state"], chains.collect(), "no chains");
    let said = |allowed: Option<bool>, yes: &str, no: &str| match allowed {
        Some(true) => yes.to_owned(),
        Some(false) => no.to_owned(),
        None => "not known".to_owned(),
    };
    let rows = report.contracts.iter().flat_map(|kms| {
        let row = |what: String, id: &str, state: String| {
            vec![kms.slug.clone(), what, id.to_owned(), state]
        };
        let listed = |kind: &'static str| {
            move |one: &Listed| {
                let what = format!("{kind} {}", one.name);
                row(what, &one.id, said(one.allowed, "allowed", "not allowed"))
            }
        };
        let exists = said(kms.exists, "ok", "no contract of a KMS");
        let first = row(format!("contract on {}", kms.chain), &kms.address, exists);
        std::iter::once(first)
            .chain(kms.devices.iter().map(listed("host")))
            .chain(kms.os_images.iter().map(listed("image")))
            .collect::<Vec<_>>()
    });
    table::print(&["kms", "what", "id", "state"], rows.collect(), "no KMS with a contract");
}

/// What the nodes of a running instance have.
async fn of_nodes(global: &Global) -> Result<OfNodes, Fail> {
    let found = connect::client(global)?.nodes().await?;
    let mut all = OfNodes::default();
    let mut seen = BTreeSet::new();
    for node in found.nodes {
        if let Some(Ok(device)) = node.device_id.as_deref().map(str::parse) {
            all.devices.push((node.name.clone(), device));
        }
        for image in node.images {
            let hash = image.os_image_hash.as_deref().and_then(digest);
            if let Some(hash) = hash.filter(|_| seen.insert(image.name.clone())) {
                all.os_images.push((image.name, hash));
            }
        }
    }
    Ok(all)
}

/// 64 hex digits.
fn digest(text: &str) -> Option<[u8; 32]> {
    let digest: casemate_core::id::ComposeHash = text.parse().ok()?;
    Some(*digest.as_bytes())
}
