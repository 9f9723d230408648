//! Who signs, how the chain is reached, and how a transaction is done: tried, shown, asked about, signed,
//! waited for.

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

/// How long a transaction may take to be mined and confirmed.
const MINED_WITHIN: Duration = Duration::from_mins(3);

/// How to reach the chain.
#[derive(Debug, Clone, Args)]
pub struct Reach {
    /// Endpoint of the chain [env: ETH_RPC_URL; else a public one for chains 1 and 8453, and
    /// http://127.0.0.1:8545 for 31337].
    #[arg(long, value_name = "URL")]
    rpc_url: Option<String>,
}

/// Who signs. A private key stays in this process: it is in no request to any server.
#[derive(Debug, Clone, Args)]
pub struct Signing {
    /// File that holds a private key and that only you can read (mode 0600) [env: PRIVATE_KEY, the key
    /// itself].
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keystore", "sign_with"])]
    private_key_file: Option<PathBuf>,
    /// Encrypted keystore, as `cast wallet` and geth make it.
    #[arg(long, value_name = "FILE", requires = "password_file", conflicts_with = "sign_with")]
    keystore: Option<PathBuf>,
    /// File that holds the password of the keystore and that only you can read.
    #[arg(long, value_name = "FILE", requires = "keystore")]
    password_file: Option<PathBuf>,
    /// `print`: sign nothing, and print what has to be signed, for a multisig.
    #[arg(long, value_name = "HOW")]
    sign_with: Option<SignWith>,
    #[command(flatten)]
    reach: Reach,
    /// Blocks that must have a transaction beneath them, its own included.
    #[arg(long, default_value_t = 1, value_name = "N")]
    confirmations: u64,
    /// Do not ask before something is signed.
    #[arg(long, short)]
    pub yes: bool,
}

/// Ways to sign that need no key here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SignWith {
    /// Somebody else signs what is printed.
    Print,
}

impl Signing {
    /// The key that signs; `None`: nothing is signed here, only printed.
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

    /// The chain of this id, if its endpoint serves it.
    pub async fn open(&self, chain_id: u64) -> Result<Rpc, Fail> {
        self.reach.open(chain_id).await
    }
}

impl Reach {
    /// The chain of this id, if its endpoint serves it.
    pub async fn open(&self, chain_id: u64) -> Result<Rpc, Fail> {
        let given = self.rpc_url.clone().or_else(|| variable("ETH_RPC_URL"));
        let url = given.or_else(|| well_known(chain_id).map(str::to_owned)).ok_or_else(|| {
            Fail::usage(format!("no endpoint is known for chain {chain_id}"))
                .suggest("Name one with --rpc-url or ETH_RPC_URL.")
        })?;
        Ok(Rpc::open(&url, chain_id).await?)
    }
}

/// Does a transaction. Nothing is signed that would fail or cannot be paid, or to which nobody agreed.
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
            .suggest("Say --yes to sign without being asked."));
    }
    let hash = rpc.send(key, &prepared).await?;
    if !global.json {
        ui::print_note(format!("sent 0x{hash}"));
    }
    let mined = rpc.mined(hash, signing.confirmations, MINED_WITHIN).await.map_err(|error| {
        // It may be on its way; whoever does it again should know.
        Fail::from(error).detail("transaction", format!("0x{hash}"))
    })?;
    if !global.json {
        ui::print_note(format!("mined in block {}, {} gas", mined.block, mined.gas_used));
    }
    Ok(mined)
}

/// Wei as ether, eight places.
fn ether(wei: u128) -> String {
    let small = wei.div_ceil(10_000_000_000);
    format!("{}.{:08}", small / 100_000_000, small % 100_000_000)
}

/// An account that is not the one that has to sign.
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
        None => Fail::new("not-owner", format!("nobody owns {app} any more")),
    };
    match pending {
        Some(pending) if pending == me => fail.suggest(
            "It was offered to this account: casemate governance accept-ownership takes it.",
        ),
        Some(pending) => fail
            .detail("offered to", checksummed(pending))
            .suggest("Until that account accepts it, the owner signs."),
        None => fail,
    }
    .suggest("Print what the owner has to sign: --sign-with print, or casemate governance plan.")
}

impl From<ChainError> for Fail {
    fn from(error: ChainError) -> Self {
        let text = error.to_string();
        match error {
            ChainError::Url(_) => Self::usage(text),
            ChainError::Unanswered { .. } => Self::new("chain-unreachable", text)
                .suggest("Name another endpoint with --rpc-url or ETH_RPC_URL."),
            ChainError::WrongChain { .. } => Self::new("wrong-chain", text).suggest(
                "Name an endpoint of that chain with --rpc-url or ETH_RPC_URL; nothing was signed.",
            ),
            ChainError::Refused(_) => Self::new("chain-refused", text),
            ChainError::Reverts(_) => {
                Self::new("would-revert", text).suggest("Nothing was signed or paid.")
            }
            ChainError::Funds { .. } => Self::new("insufficient-funds", text)
                .suggest("Send it some, and repeat this: nothing was signed or paid."),
            ChainError::Failed(_) => Self::new("transaction-failed", text).suggest(
                "Look at it in an explorer; the state may have changed since it was tried.",
            ),
            ChainError::NotMined { .. } => Self::new("not-mined", text)
                .suggest("Repeat this once it is mined: what is done already is not done again."),
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
