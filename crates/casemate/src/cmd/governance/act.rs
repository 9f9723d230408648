//! Commands of the app's owner that change what its contract allows.

use casemate_client::{
    Client,
    onchain::{Rpc, hex0x},
};
use casemate_core::{
    governance::plan::{Call, Transaction, batch, checksummed, multisend},
    id::{Address, AppId, ComposeHash, DeviceId},
    time::Clock,
};
use casemate_server::system::SystemClock;
use clap::Args;
use serde_json::json;

use super::chain::{Signing, carry_out, not_owner, wait_for_earlier};
use crate::{cli::Global, connect, fail::Fail, ui};

#[derive(Debug, Args)]
pub struct Document {
    /// App id; see `casemate apps ls`.
    #[arg(value_name = "APP")]
    app: String,
    /// Compose hash, 64 hex digits.
    #[arg(value_name = "HASH")]
    hash: ComposeHash,
    #[command(flatten)]
    signing: Signing,
}

#[derive(Debug, Args)]
pub struct Device {
    /// App id; see `casemate apps ls`.
    #[arg(value_name = "APP")]
    app: String,
    /// Device id of a host, 64 hex digits; see `casemate governance show`.
    #[arg(value_name = "DEVICE")]
    id: DeviceId,
    #[command(flatten)]
    signing: Signing,
}

#[derive(Debug, Args)]
pub struct AnyDevice {
    /// App id; see `casemate apps ls`.
    #[arg(value_name = "APP")]
    app: String,
    /// Allow only listed devices again.
    #[arg(long)]
    off: bool,
    #[command(flatten)]
    signing: Signing,
}

#[derive(Debug, Args)]
pub struct Accept {
    /// App id.
    #[arg(value_name = "APP")]
    app: String,
    #[command(flatten)]
    signing: Signing,
}

pub async fn add_document(global: &Global, args: Document) -> Result<(), Fail> {
    act(global, &args.app, &args.signing, Call::AddComposeHash(args.hash)).await
}

pub async fn remove_document(global: &Global, args: Document) -> Result<(), Fail> {
    act(global, &args.app, &args.signing, Call::RemoveComposeHash(args.hash)).await
}

pub async fn add_device(global: &Global, args: Device) -> Result<(), Fail> {
    act(global, &args.app, &args.signing, Call::AddDevice(args.id)).await
}

pub async fn remove_device(global: &Global, args: Device) -> Result<(), Fail> {
    act(global, &args.app, &args.signing, Call::RemoveDevice(args.id)).await
}

pub async fn any_device(global: &Global, args: AnyDevice) -> Result<(), Fail> {
    act(global, &args.app, &args.signing, Call::SetAllowAnyDevice(!args.off)).await
}

pub async fn accept(global: &Global, args: Accept) -> Result<(), Fail> {
    act(global, &args.app, &args.signing, Call::AcceptOwnership).await
}

/// An app and the contracts that govern it.
#[derive(Debug, Clone, Copy)]
pub struct Governed {
    pub app: AppId,
    pub chain_id: u64,
    /// Address of the KMS contract.
    pub kms: Address,
}

impl Governed {
    /// Asks the server which contracts govern an app.
    pub async fn read(client: &Client, said: &str) -> Result<Self, Fail> {
        let info = client.app_kms_info(said).await?;
        let chain_id = info.chain_id.and_then(|id| u64::try_from(id).ok());
        let app = address(info.app_contract_address.as_deref());
        let kms = address(info.kms_contract_address.as_deref());
        match (chain_id, app, kms) {
            (Some(chain_id), Some(app), Some(kms)) => {
                Ok(Self { app: AppId::from_bytes(*app.as_bytes()), chain_id, kms })
            }
            _ => Err(Fail::new("not-governed", format!("{said} is not contract-governed"))
                .suggest(
                    "Nothing has to be allowed on a chain. Its workspace decides what boots.",
                )),
        }
    }
}

fn address(text: Option<&str>) -> Option<Address> {
    text?.parse().ok()
}

async fn act(global: &Global, said: &str, signing: &Signing, call: Call) -> Result<(), Fail> {
    let key = signing.key()?;
    let client = connect::client(global)?;
    let governed = Governed::read(&client, said).await?;
    let rpc = signing.open(governed.chain_id).await?;
    if let Some(key) = &key {
        wait_for_earlier(global, &rpc, key.address()).await?;
    }
    let seen = rpc.overview(governed.kms, governed.app).await?;
    let contract = Address::from(governed.app);
    if !seen.exists {
        let why = format!("no app contract at {}", checksummed(contract));
        return Err(
            Fail::new("no-app-contract", why).detail("chain", governed.chain_id.to_string())
        );
    }
    if !seen.has_lists {
        let why = format!("{} keeps no lists: its own isAppAllowed decides", checksummed(contract));
        return Err(Fail::new("own-rules", why)
            .suggest("Only whoever maintains the contract knows how to change what it allows."));
    }
    let running = match call {
        Call::RemoveComposeHash(hash) => runs(&client, governed.app, hash).await?,
        _ => Vec::new(),
    };
    if !running.is_empty() && !global.json {
        ui::print_note(format!(
            "warning: {} runs this compose hash and does not boot again once it is removed",
            running.join(", ")
        ));
    }
    let signer = match call {
        Call::AcceptOwnership => seen.pending_owner,
        _ => seen.owner,
    };
    let transaction = Transaction { to: contract, call };
    let Some(key) = key else {
        return print(global, &rpc, governed, signer, transaction, &running).await;
    };
    let me = key.address();
    if is_already_done(&rpc, governed.app, &call, me).await? {
        print_outcome(global, governed, &call, None, &running);
        return Ok(());
    }
    if signer != Some(me) {
        return Err(not_owner(contract, seen.owner, seen.pending_owner, me));
    }
    let mined = carry_out(global, signing, &rpc, &key, transaction).await?;
    if !is_already_done(&rpc, governed.app, &call, me).await? {
        return Err(Fail::new("undone", format!("{call} was mined, but its effect was undone"))
            .detail("transaction", format!("0x{}", mined.hash)));
    }
    print_outcome(global, governed, &call, Some(format!("0x{}", mined.hash)), &running);
    Ok(())
}

/// Whether the contract is already in the state that the call would produce.
async fn is_already_done(rpc: &Rpc, app: AppId, call: &Call, me: Address) -> Result<bool, Fail> {
    Ok(match *call {
        Call::AddComposeHash(hash) => rpc.allows_document(app, hash).await? == Some(true),
        Call::RemoveComposeHash(hash) => rpc.allows_document(app, hash).await? == Some(false),
        Call::AddDevice(device) => rpc.lists_device(app, device).await? == Some(true),
        Call::RemoveDevice(device) => rpc.lists_device(app, device).await? == Some(false),
        Call::SetAllowAnyDevice(allow) => rpc.allows_any_device(app).await? == Some(allow),
        Call::AcceptOwnership => rpc.owner(app).await? == Some(me),
        Call::SetRequireTcbUpToDate(_)
        | Call::RegisterApp(_)
        | Call::DeployAndRegisterApp { .. } => false,
    })
}

/// Names of the app's CVMs that run a document.
async fn runs(client: &Client, app: AppId, hash: ComposeHash) -> Result<Vec<String>, Fail> {
    let hash = hash.to_string();
    let cvms = client.app_cvm_infos(&app.to_string()).await?;
    let runs = cvms.into_iter().filter(|cvm| cvm.compose_hash.as_deref() == Some(&*hash));
    Ok(runs.map(|cvm| cvm.name).collect())
}

fn print_outcome(
    global: &Global,
    governed: Governed,
    call: &Call,
    transaction: Option<String>,
    running: &[String],
) {
    let app = checksummed(governed.app.into());
    if global.json {
        ui::json(&json!({
            "outcome": if transaction.is_some() { "done" } else { "unchanged" },
            "chain_id": governed.chain_id,
            "app_contract": app,
            "call": call.to_string(),
            "transaction_hash": transaction,
            "does_not_boot_again": running,
        }));
        return;
    }
    ui::line(match transaction {
        Some(hash) => format!("{call} on {app}: done in {hash}"),
        None => format!("{call} on {app}: nothing to do"),
    });
}

/// Prints the transaction for another signer, and whether it would succeed.
async fn print(
    global: &Global,
    rpc: &Rpc,
    governed: Governed,
    signer: Option<Address>,
    transaction: Transaction,
    running: &[String],
) -> Result<(), Fail> {
    let signer = signer.ok_or_else(|| {
        let app = checksummed(governed.app.into());
        let why = match transaction.call {
            Call::AcceptOwnership => format!("the ownership of {app} is not offered to anyone"),
            _ => format!("{app} has no owner"),
        };
        Fail::new("not-owner", why)
    })?;
    let calldata = transaction.call.calldata();
    let reverts = rpc.would_revert(signer, transaction.to, &calldata).await?;
    let now = SystemClock.now().micros() / 1000;
    let one = [&transaction];
    if global.json {
        ui::json(&json!({
            "outcome": "to_be_signed",
            "chain_id": governed.chain_id,
            "signer": checksummed(signer),
            "to": checksummed(transaction.to),
            "method": transaction.call.signature(),
            "call": transaction.call.to_string(),
            "calldata": hex0x(&calldata),
            "reverts": reverts,
            "does_not_boot_again": running,
            "safe_batch": batch(governed.chain_id, Some(signer), &transaction.call.to_string(), now, &one),
            "multisend": hex0x(&multisend(&one)),
        }));
        return Ok(());
    }
    crate::table::facts(&[
        ("chain", governed.chain_id.to_string()),
        ("signer", checksummed(signer)),
        ("to", checksummed(transaction.to)),
        ("call", transaction.call.to_string()),
        ("calldata", hex0x(&calldata)),
        ("tried", reverts.map_or_else(|| "succeeds".to_owned(), |why| format!("fails: {why}"))),
    ]);
    Ok(())
}
