//! Signing options, the connection to a chain, and sending a transaction: simulate, show, confirm, sign,
//! wait.

use std::{path::PathBuf, time::Duration};

use casemate_client::onchain::{ChainError, Key, KeyError, Mined, Rpc, secret_file, well_known};
use casemate_core::{
    governance::plan::{Transaction, checksummed},
    id::Address,
};
use casemate_server::config::variable;
use clap::{Args, ValueEnum};
use secrecy::SecretString;

use crate::{cli::Global, fail::Fail, ui};

/// How long to wait for a transaction to be mined and confirmed.
const MINED_WITHIN: Duration = Duration::from_mins(3);

#[derive(Debug, Clone, Args)]
pub struct ChainEndpoint {
    /// RPC endpoint of the chain [env: ETH_RPC_URL; default: a public endpoint for chains 1 and 8453,
    /// http://127.0.0.1:8545 for 31337].
    #[arg(long, value_name = "URL")]
    rpc_url: Option<String>,
}

/// How transactions are signed. A private key stays in this process.
#[derive(Debug, Clone, Args)]
pub struct Signing {
    /// File with a private key, readable only by you (mode 0600) [env: PRIVATE_KEY, the key itself].
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keystore", "sign_with"])]
    private_key_file: Option<PathBuf>,
    /// Encrypted keystore file, as created by `cast wallet` or geth.
    #[arg(long, value_name = "FILE", requires = "password_file", conflicts_with = "sign_with")]
    keystore: Option<PathBuf>,
    /// File with the password of the keystore, readable only by you.
    #[arg(long, value_name = "FILE", requires = "keystore")]
    password_file: Option<PathBuf>,
    /// `print`: do not sign, print the transactions for a multisig instead.
    #[arg(long, value_name = "HOW")]
    sign_with: Option<SignWith>,
    #[command(flatten)]
    reach: ChainEndpoint,
    /// Number of confirmations to wait for, counting the transaction's own block.
    #[arg(long, default_value_t = 1, value_name = "N")]
    confirmations: u64,
    /// Skip the confirmation before signing.
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SignWith {
    /// Print the transactions for another signer.
    Print,
}

impl Signing {
    /// The signing key; `None` if transactions are only printed.
    pub fn key(&self) -> Result<Option<Key>, Fail> {
        if self.sign_with == Some(SignWith::Print) {
            return Ok(None);
        }
        if let Some(file) = &self.private_key_file {
            return Ok(Some(Key::from_file(file)?));
        }
        if let (Some(keystore), Some(password)) = (&self.keystore, &self.password_file) {
            return Ok(Some(Key::from_keystore(keystore, &secret_file(password)?)?));
        }
        let given = variable("PRIVATE_KEY").map(SecretString::from);
        given.map(|key| Key::parse(&key)).transpose().map_err(Into::into)
    }

    /// Connects to the chain of this id. Fails if the endpoint serves another chain.
    pub async fn open(&self, chain_id: u64) -> Result<Rpc, Fail> {
        self.reach.open(chain_id).await
    }
}

impl ChainEndpoint {
    /// Connects to the chain of this id. Fails if the endpoint serves another chain.
    pub async fn open(&self, chain_id: u64) -> Result<Rpc, Fail> {
        let given = self.rpc_url.clone().or_else(|| variable("ETH_RPC_URL"));
        let url = given.or_else(|| well_known(chain_id).map(str::to_owned)).ok_or_else(|| {
            Fail::usage(format!("no RPC endpoint for chain {chain_id}"))
                .suggest("Set --rpc-url or ETH_RPC_URL.")
        })?;
        Ok(Rpc::open(&url, chain_id).await?)
    }
}

/// Waits until everything that an account sent before is mined, so that what is read next includes it: a command
/// that was interrupted may have sent its transaction.
pub async fn wait_for_earlier(global: &Global, rpc: &Rpc, account: Address) -> Result<(), Fail> {
    let pending = rpc.pending_transactions(account).await?;
    if pending == 0 {
        return Ok(());
    }
    let from = checksummed(account);
    if !global.json {
        ui::print_note(format!("waiting for {pending} earlier transactions of {from}"));
    }
    if rpc.settled(account, MINED_WITHIN).await? {
        return Ok(());
    }
    let why = format!("earlier transactions of {from} are not mined");
    Err(Fail::new("transactions-pending", why)
        .suggest("Nothing was signed: one of them may be what this command would send.")
        .suggest("Run the command again when they are mined or replaced."))
}

/// Simulates, confirms, signs and sends a transaction. Nothing is signed that would revert, cannot be paid or
/// was not confirmed.
pub async fn carry_out(
    global: &Global,
    signing: &Signing,
    rpc: &Rpc,
    key: &Key,
    transaction: Transaction,
) -> Result<Mined, Fail> {
    let Transaction { to, call } = transaction;
    let prepared = rpc.prepare(key.address(), to, call.calldata()).await?;
    let what = format!("{call} on {}", checksummed(to));
    let from = checksummed(key.address());
    let cost = ether(prepared.cost);
    if !global.json {
        ui::print_note(format!(
            "{what}, chain {}, from {from}, at most {cost} ETH",
            rpc.chain_id()
        ));
    }
    if !signing.yes && (global.json || !ui::confirm("Sign and send it?")) {
        return Err(Fail::new("not-confirmed", format!("{what} was not signed"))
            .detail("from", from)
            .detail("at most", format!("{cost} ETH"))
            .suggest("Use --yes to sign without confirmation."));
    }
    let hash = rpc.send(key, &prepared).await?;
    if !global.json {
        ui::print_note(format!("sent 0x{hash}"));
    }
    let mined = rpc.mined(hash, signing.confirmations, MINED_WITHIN).await.map_err(|error| {
        // The transaction may still be mined, so the error names it.
        Fail::from(error).detail("transaction", format!("0x{hash}"))
    })?;
    if !global.json {
        ui::print_note(format!("mined in block {}, {} gas", mined.block, mined.gas_used));
    }
    Ok(mined)
}

/// Wei as ether, with eight decimal places.
fn ether(wei: u128) -> String {
    let small = wei.div_ceil(10_000_000_000);
    format!("{}.{:08}", small / 100_000_000, small % 100_000_000)
}

/// The error for an account that is not the required signer.
pub fn not_owner(
    app: Address,
    owner: Option<Address>,
    pending: Option<Address>,
    me: Address,
) -> Fail {
    let app = checksummed(app);
    let fail = match owner {
        Some(owner) => Fail::new("not-owner", format!("{app} is not owned by {}", checksummed(me)))
            .detail("owner", checksummed(owner)),
        None => Fail::new("not-owner", format!("{app} has no owner")),
    };
    match pending {
        Some(pending) if pending == me => fail.suggest(
            "The ownership was offered to this account. Accept it with casemate governance accept-ownership.",
        ),
        Some(pending) => fail
            .detail("offered to", checksummed(pending))
            .suggest("Until that account accepts, the owner must sign."),
        None => fail,
    }
    .suggest("Print the transactions for the owner with --sign-with print or casemate governance plan.")
}

impl From<ChainError> for Fail {
    fn from(error: ChainError) -> Self {
        let text = error.to_string();
        match error {
            ChainError::Url(_) => Self::usage(text),
            ChainError::Unanswered { .. } => Self::new("chain-unreachable", text)
                .suggest("Use another endpoint with --rpc-url or ETH_RPC_URL."),
            ChainError::WrongChain { .. } => Self::new("wrong-chain", text).suggest(
                "Nothing was signed. Set --rpc-url or ETH_RPC_URL to an endpoint of that chain.",
            ),
            ChainError::Refused(_) => Self::new("chain-refused", text),
            ChainError::Reverts(_) => {
                Self::new("would-revert", text).suggest("Nothing was signed or paid.")
            }
            ChainError::Funds { .. } => Self::new("insufficient-funds", text)
                .suggest("Nothing was signed or paid. Fund the account and run the command again."),
            ChainError::Failed(_) => Self::new("transaction-failed", text).suggest(
                "Look at it in a block explorer. The state may have changed since the simulation.",
            ),
            ChainError::NotMined { .. } => Self::new("not-mined", text).suggest(
                "Run the command again once it is mined. Finished steps are not repeated.",
            ),
            ChainError::Signing(_) => Self::new("signing", text),
        }
    }
}

impl From<KeyError> for Fail {
    fn from(error: KeyError) -> Self {
        let text = error.to_string();
        match error {
            KeyError::Open { file, .. } => {
                Self::usage(text).suggest(format!("chmod 600 {}", file.display()))
            }
            KeyError::Form | KeyError::File { .. } | KeyError::Keystore { .. } => Self::usage(text),
        }
    }
}
