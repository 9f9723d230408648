//! One set-up for both chains.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use casemate_core::{
    governance::{Account, Question, calldata::NewApp},
    id::{Address, AppId, ComposeHash, DeviceId, TxHash},
};
use casemate_engine::chain::rpc::{Config, RpcChain};
use casemate_testing::{
    anvil::Anvil,
    clock::MockClock,
    fake_chain::{FakeChain, FakeNode, Generation},
};
use secrecy::SecretString;

pub const CHAIN_ID: u64 = 8453;
pub const DEVICE: DeviceId = DeviceId::from_bytes([0x22; 32]);
pub const HASH: ComposeHash = ComposeHash::from_bytes([0x11; 32]);
pub const OTHER_HASH: ComposeHash = ComposeHash::from_bytes([0x12; 32]);
/// For what has to happen; nothing waits so long but a test that fails.
pub const PLENTY: Duration = Duration::from_secs(20);
pub const NOW: Duration = Duration::ZERO;

/// How tests ask: like the server, but without waiting for long.
pub fn config(endpoints: Vec<SecretString>) -> Config {
    Config {
        poll: Duration::from_millis(20),
        keep: Duration::ZERO,
        call_timeout: Duration::from_secs(10),
        ..Config::new(CHAIN_ID, endpoints)
    }
}

/// A contract of a KMS on a chain.
pub struct Stage {
    pub kms: Address,
    pub ground: Ground,
}

pub enum Ground {
    Fake { chain: FakeChain, node: FakeNode, made: AtomicU64 },
    Anvil(Anvil),
}

impl Stage {
    pub async fn fake() -> Self {
        let chain = FakeChain::new(CHAIN_ID);
        let kms = Address::from_bytes([0x33; 20]);
        chain.add_kms(kms);
        let node = FakeNode::start(&chain).await;
        Self { kms, ground: Ground::Fake { chain, node, made: AtomicU64::new(0) } }
    }

    pub async fn anvil() -> Self {
        // Then the safe block is one below the newest, and the final one two, as on the other chain.
        let anvil = Anvil::start(CHAIN_ID, &["--slots-in-an-epoch", "1"]).await;
        let kms = anvil.deploy_kms().await;
        Self { kms, ground: Ground::Anvil(anvil) }
    }

    pub fn url(&self) -> SecretString {
        match &self.ground {
            Ground::Fake { node, .. } => node.url(),
            Ground::Anvil(anvil) => anvil.url(),
        }
    }

    /// The chain as the server sees it.
    pub fn chain(&self, adjust: impl FnOnce(&mut Config)) -> RpcChain {
        let mut config = config(vec![self.url()]);
        adjust(&mut config);
        RpcChain::new(&config, Arc::new(MockClock::default())).unwrap()
    }

    pub fn owner(&self) -> Address {
        self.somebody(1)
    }

    pub fn stranger(&self) -> Address {
        self.somebody(2)
    }

    fn somebody(&self, index: u8) -> Address {
        match &self.ground {
            Ground::Fake { .. } => Address::from_bytes([0xa0 + index; 20]),
            Ground::Anvil(anvil) => anvil.account(usize::from(index)),
        }
    }

    /// An app of `owner` that allows the device, and the hash if it is given.
    pub async fn app(&self, owner: Address, hash: Option<ComposeHash>) -> (AppId, TxHash) {
        let new = NewApp {
            owner,
            disable_upgrades: false,
            allow_any_device: false,
            device: Some(DEVICE),
            hash,
        };
        self.deploy(&new).await
    }

    pub async fn deploy(&self, new: &NewApp) -> (AppId, TxHash) {
        match &self.ground {
            Ground::Fake { chain, .. } => chain.deploy(self.kms, new),
            Ground::Anvil(anvil) => anvil.deploy_app(self.kms, new).await,
        }
    }

    /// The contract of an app that the KMS does not know.
    pub async fn unregistered(&self, owner: Address, generation: Generation) -> AppId {
        match &self.ground {
            Ground::Fake { chain, .. } => {
                let app = AppId::from_bytes(*self.made_up().as_bytes());
                chain.place_app(app, owner, generation);
                app
            }
            Ground::Anvil(anvil) => anvil.place_app(owner, generation).await,
        }
    }

    pub async fn send(&self, from: Address, to: Address, data: Vec<u8>) -> TxHash {
        match &self.ground {
            Ground::Fake { chain, .. } => chain.send(from, to, data),
            Ground::Anvil(anvil) => anvil.send(from, to, data).await,
        }
    }

    /// Several calls in one transaction of a Safe.
    pub async fn batch(&self, safe: Safe, calls: Vec<(Address, Vec<u8>)>) -> TxHash {
        match &self.ground {
            Ground::Fake { chain, .. } => {
                let calls = calls.into_iter().map(|(to, data)| (safe.address, to, data));
                chain.send_batch(calls.collect())
            }
            Ground::Anvil(anvil) => anvil.through_batch((safe.address, safe.signer), &calls).await,
        }
    }

    /// A call through a Safe which reverts inside, in a transaction that succeeds.
    pub async fn failing_inside(&self, safe: Safe, to: Address, data: Vec<u8>) -> TxHash {
        match &self.ground {
            Ground::Fake { chain, .. } => chain.send_nothing(),
            Ground::Anvil(anvil) => {
                anvil.through_safe((safe.address, safe.signer), (to, data), 1_000_000).await
            }
        }
    }

    /// A call through a Safe.
    pub async fn through(&self, safe: Safe, to: Address, data: Vec<u8>) -> TxHash {
        match &self.ground {
            Ground::Fake { chain, .. } => chain.send(safe.address, to, data),
            Ground::Anvil(anvil) => {
                anvil.through_safe((safe.address, safe.signer), (to, data), 0).await
            }
        }
    }

    /// A Safe with one signer.
    pub async fn safe(&self) -> Safe {
        let signer = self.owner();
        let address = match &self.ground {
            Ground::Fake { chain, .. } => {
                let safe = self.made_up();
                chain.set_account(safe, Account::Safe { threshold: 1, owners: vec![signer] });
                safe
            }
            Ground::Anvil(anvil) => anvil.deploy_safe(&[signer], 1).await,
        };
        Safe { address, signer }
    }

    pub async fn timelock(&self) -> Address {
        match &self.ground {
            Ground::Fake { chain, .. } => {
                let timelock = self.made_up();
                chain.set_account(timelock, Account::Contract);
                timelock
            }
            Ground::Anvil(anvil) => anvil.deploy_timelock(self.owner()).await,
        }
    }

    /// A call that a timelock makes.
    pub async fn timed(&self, timelock: Address, to: Address, data: Vec<u8>) -> TxHash {
        match &self.ground {
            Ground::Fake { chain, .. } => chain.send(timelock, to, data),
            Ground::Anvil(anvil) => {
                anvil.through_timelock((timelock, self.owner()), (to, data)).await
            }
        }
    }

    /// A transaction that waits for [`Self::mine`].
    pub async fn submit(&self, from: Address, to: Address, data: Vec<u8>) -> TxHash {
        match &self.ground {
            Ground::Fake { chain, .. } => chain.submit(vec![(from, to, data)]),
            Ground::Anvil(anvil) => anvil.submit(from, to, data).await,
        }
    }

    pub async fn mine(&self, blocks: u8) {
        match &self.ground {
            Ground::Fake { chain, .. } => chain.mine(blocks.into()),
            Ground::Anvil(anvil) => anvil.mine(blocks.into()).await,
        }
    }

    pub async fn reorg(&self, depth: u8) {
        match &self.ground {
            Ground::Fake { chain, .. } => chain.reorg(depth.into()),
            Ground::Anvil(anvil) => anvil.reorg(depth.into()).await,
        }
    }

    pub fn question(&self, app: AppId, transaction: Option<TxHash>) -> Question {
        Question { kms: self.kms, app, hash: HASH, device: DEVICE, os_image: None, transaction }
    }

    /// An address at which there is nothing on the chain in memory.
    fn made_up(&self) -> Address {
        match &self.ground {
            Ground::Fake { made, .. } => {
                let mut bytes = [0xc0; 20];
                bytes[12..].copy_from_slice(&made.fetch_add(1, Ordering::SeqCst).to_be_bytes());
                Address::from_bytes(bytes)
            }
            Ground::Anvil(_) => unreachable!("a real chain makes its addresses itself"),
        }
    }
}

#[derive(Clone, Copy)]
pub struct Safe {
    pub address: Address,
    pub signer: Address,
}
