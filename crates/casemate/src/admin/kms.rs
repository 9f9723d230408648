//! `casemate admin kms`: every KMS of a service, and contract-governed ones of its configuration.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use casemate_api::{kms_admin::ManagedKms, reply::KmsList};
use casemate_core::id::Address;
use casemate_server::{
    config::{Config, Overrides},
    serve::chains::{self, Listed, NodeFacts, Report},
};
use clap::{Args, Subcommand};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::{cli::Global, connect, fail::Fail, serve::load, table, ui};

/// Manage the KMS.
#[derive(Debug, Subcommand)]
pub enum Kms {
    /// List every KMS of a running server: whether it gives keys, and which nodes use it.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  casemate admin kms list\n  casemate admin kms list --json"
    )]
    List,
    Add(AddArgs),
    Check(CheckArgs),
}

/// Add a contract-governed KMS to the configuration.
///
/// The command checks the contract first. Then it appends the new sections to the file given with --config,
/// or prints them. The service reads them when it starts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin kms add --config casemate.toml --slug kms-base-1 --address 0x… \\
    --chain base --rpc-url https://mainnet.base.org --rpc-url @/etc/casemate/base-rpc
  casemate admin kms add --config casemate.toml --slug kms-base-2 --address 0x… --chain base
  casemate admin kms add --slug kms-eth-1 --address 0x… --chain ethereum --rpc-url https://… > more.toml")]
pub struct AddArgs {
    /// Name of the KMS in URLs and lists.
    #[arg(long)]
    slug: String,
    /// Address of the DstackKms contract.
    #[arg(long, value_name = "0x…")]
    address: Address,
    /// Name of the chain. A chain that is not configured yet is added and needs --rpc-url.
    #[arg(long, value_name = "NAME")]
    chain: String,
    /// App id of the gateway that the KMS's CVMs trust.
    #[arg(long, value_name = "ID")]
    gateway_app_id: Option<String>,
    /// New chain: chain id [default: 8453 for base, 1 for ethereum].
    #[arg(long)]
    chain_id: Option<u64>,
    /// New chain: kind of KMS shown to clients, base or ethereum [default: name of the chain].
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// New chain: RPC endpoint, or @FILE with one endpoint per line, which hides them from `ps`. Repeatable;
    /// endpoints are tried in order.
    #[arg(long, value_name = "URL")]
    rpc_url: Vec<String>,
    /// New chain: confirmations that a transaction needs.
    #[arg(long)]
    confirmations: Option<u64>,
    /// New chain: URL of its block explorer.
    #[arg(long, value_name = "URL")]
    explorer: Option<String>,
    /// Configuration file to append to; created if it does not exist.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Skip the check of the chain and the contract.
    #[arg(long)]
    unchecked: bool,
}

/// Check all configured chains and KMS contracts.
///
/// Every endpoint of a chain is checked separately. If a server is running, the contracts are also checked
/// for the keys of its KMS and the OS images of its nodes. Exit 1 if there is a problem.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin kms check --config casemate.toml
  casemate admin kms check --config casemate.toml --json")]
pub struct CheckArgs {
    /// Configuration file, in the format of config.default.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub async fn run(global: &Global, command: Kms) -> Result<(), Fail> {
    match command {
        Kms::List => list_kms(global).await,
        Kms::Add(args) => add(global, args).await,
        Kms::Check(args) => check(global, args).await,
    }
}

async fn list_kms(global: &Global) -> Result<(), Fail> {
    let all = connect::client(global)?.managed_kms().await?;
    if global.json {
        ui::json(&json!({ "kms": all }));
        return Ok(());
    }
    let row = |kms: &ManagedKms| {
        vec![
            kms.slug.clone(),
            kms.kind.clone(),
            kms.kms_type.clone(),
            kms.url.clone(),
            if kms.reachable { "yes" } else { "no" }.to_owned(),
            table::or_none(kms.cause.as_ref().or(kms.note.as_ref())),
            kms.nodes.join(" "),
        ]
    };
    let rows = all.iter().map(row).collect();
    let columns = ["slug", "kind", "type", "url", "reachable", "cause", "nodes"];
    table::print(&columns, rows, "no KMS");
    Ok(())
}

async fn add(global: &Global, args: AddArgs) -> Result<(), Fail> {
    let before = match &args.config {
        None => String::new(),
        Some(file) => read_or_empty(file)?,
    };
    let known = read(global, args.config.clone().filter(|_| !before.is_empty()))?;
    let sections = sections(&args, &known)?;
    let joint = if before.is_empty() || before.ends_with("\n\n") { "" } else { "\n" };
    let draft = draft(args.config.as_deref(), &format!("{before}{joint}{sections}"))?;
    let config = read(global, Some(draft.path().to_owned()))?;
    if !args.unchecked {
        check_new_kms(&retain_new_kms(config, &args)).await?;
    }
    match &args.config {
        None => {
            ui::raw(sections.as_bytes());
        }
        Some(file) => {
            draft.persist(file).map_err(|error| file_error(file, &error.error))?;
            let text = format!(
                "Added {1} to {0}. Restart the server to apply it.",
                file.display(),
                args.slug
            );
            if global.json {
                ui::json(&json!({ "config": file, "slug": args.slug }));
            } else {
                ui::line(text);
            }
        }
    }
    Ok(())
}

/// Checks the chain and the contract, but not the images of the nodes.
async fn check_new_kms(config: &Config) -> Result<(), Fail> {
    let report = check_chains(config, &NodeFacts::default()).await?;
    match report.problems.first() {
        None => Ok(()),
        Some(problem) => Err(Fail::new("kms", problem.clone()).suggest(
            "Nothing was written. Correct the problem, or skip the check with --unchecked.",
        )),
    }
}

/// The configuration reduced to the new KMS and its chain.
fn retain_new_kms(mut config: Config, args: &AddArgs) -> Config {
    config.kms.contracts.retain(|contract| contract.slug == args.slug);
    config.chains.retain(|chain| chain.name == args.chain);
    config
}

fn read(global: &Global, file: Option<PathBuf>) -> Result<Config, Fail> {
    let overrides = Overrides { data_dir: global.data_dir.clone(), ..Overrides::default() };
    load(file, &overrides)
}

/// The content of a file; empty if the file does not exist.
fn read_or_empty(file: &Path) -> Result<String, Fail> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(file_error(file, &error)),
    }
}

fn file_error(file: &Path, error: &std::io::Error) -> Fail {
    Fail::new("config", format!("{}: {error}", file.display()))
}

/// The TOML sections of the new KMS.
fn sections(args: &AddArgs, known: &Config) -> Result<String, Fail> {
    let mut text = String::new();
    // Infallible: writing to a String file_error fail.
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
        return Err(Fail::usage(format!("the chain {} is already configured", args.chain))
            .suggest("Leave out --rpc-url and the other chain options, or edit the file."));
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
        (None, other) => Err(Fail::usage(format!("a new chain {other} needs --chain-id"))),
    }
}

/// The endpoints, with `@FILE` replaced by the lines of the file.
fn endpoints(given: &[String]) -> Result<Vec<String>, Fail> {
    let mut all = Vec::new();
    for text in given {
        match text.strip_prefix('@') {
            None => all.push(text.clone()),
            Some(file) => {
                let file = Path::new(file);
                let lines = fs::read_to_string(file).map_err(|error| file_error(file, &error))?;
                let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
                all.extend(lines.map(str::to_owned));
            }
        }
    }
    if all.is_empty() {
        return Err(Fail::usage("a new chain needs --rpc-url"));
    }
    Ok(all)
}

/// A TOML string literal. TOML basic strings have the escapes of JSON.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A temporary file with this text, beside `beside` so that a rename can replace it, else in the temporary
/// directory. It has the mode of the file it may replace, else 0600. It is deleted unless persisted.
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
    write().map_err(|error| file_error(&dir, &error))
}

async fn check_chains(config: &Config, nodes: &NodeFacts) -> Result<Report, Fail> {
    chains::check(config, nodes).await.map_err(|error| Fail::new("chains", error.to_string()))
}

async fn check(global: &Global, args: CheckArgs) -> Result<(), Fail> {
    let config = read(global, args.config)?;
    if config.kms.contracts.is_empty() {
        ui::print_note(
            "no contract-governed KMS is configured; add one with casemate admin kms add",
        );
    }
    let nodes = match node_facts(global).await {
        Ok(nodes) => nodes,
        Err(why) => {
            ui::print_note(format!("keys and OS images were not checked: {}", why.message));
            NodeFacts::default()
        }
    };
    let report = check_chains(&config, &nodes).await?;
    if global.json {
        ui::json(&report);
    } else {
        print_report(&report);
    }
    match report.problems.as_slice() {
        [] => Ok(()),
        [only] => Err(Fail::new("kms", only.clone())),
        [first, rest @ ..] => {
            Err(Fail::new("kms", format!("{first}; and {} more problems", rest.len())))
        }
    }
}

fn print_report(report: &Report) {
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
    let state = |allowed: Option<bool>, yes: &str, no: &str| match allowed {
        Some(true) => yes.to_owned(),
        Some(false) => no.to_owned(),
        None => "not known".to_owned(),
    };
    let rows = report.contracts.iter().flat_map(|kms| {
        let row = |what: String, id: &str, state: String| {
            vec![kms.slug.clone(), what, id.to_owned(), state]
        };
        let image = |one: &Listed| {
            let what = format!("image {}", one.name);
            row(what, &one.id, state(one.allowed, "allowed", "not allowed"))
        };
        let setting = |what: &str, value: Option<&String>| {
            row(
                what.to_owned(),
                value.map_or("", String::as_str),
                value.map_or("none", |_| "ok").to_owned(),
            )
        };
        let exists = state(kms.exists, "ok", "not a KMS contract");
        let first = row(format!("contract on {}", kms.chain), &kms.address, exists);
        std::iter::once(first)
            .chain([
                setting("owner", kms.owner.as_ref()),
                setting("app implementation", kms.app_implementation.as_ref()),
                setting("gateway app", kms.gateway_app_id.as_ref()),
                row("key of the KMS".to_owned(), "", state(kms.key_matches, "ok", "another one")),
            ])
            .chain(kms.os_images.iter().map(image))
            .collect::<Vec<_>>()
    });
    table::print(&["kms", "what", "id", "state"], rows.collect(), "no contract-governed KMS");
}

/// The KMS and the images of the nodes of a running server.
async fn node_facts(global: &Global) -> Result<NodeFacts, Fail> {
    let client = connect::client(global)?;
    let found = client.nodes().await?;
    let mut all = NodeFacts::default();
    if let KmsList::Contracts(page) = client.kms_list(None, Some(100)).await? {
        for kms in page.items {
            all.kms_keys.extend(kms.contract_address.parse().ok().zip(kms.k256_pubkey));
        }
    }
    let mut seen = BTreeSet::new();
    for node in found.nodes {
        for image in node.images {
            let hash = image.os_image_hash.as_deref().and_then(digest);
            if let Some(hash) = hash.filter(|_| seen.insert(image.name.clone())) {
                all.os_images.push((image.name, hash));
            }
        }
    }
    Ok(all)
}

/// Parses 64 hex digits.
fn digest(text: &str) -> Option<[u8; 32]> {
    let digest: casemate_core::id::ComposeHash = text.parse().ok()?;
    Some(*digest.as_bytes())
}
