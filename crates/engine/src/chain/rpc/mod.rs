//! A chain over JSON-RPC.
//!
//! One look at a question happens at one endpoint: the newest block is asked for, and everything is read at
//! that block by its hash. An endpoint that fails is left, and the look begins anew at the next; one that
//! fails again and again is left alone for a while. An endpoint that lags is asked again a moment later. What
//! contracts say, reverts included, is an answer and never a failure; what endpoints say about themselves is
//! never an answer.

mod breaker;
mod coalescer;
mod config;
mod endpoint;
mod failover;
mod read;
mod reply;
mod wire;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use casemate_core::{
    governance::{
        Account, Block, BootInfo, BootVerdict, Epochs, KmsSettings, Question, State, Verdict,
    },
    id::{Address, AppId, DeviceId},
    time::{Clock, Timestamp},
};
use tokio::sync::Semaphore;

pub use self::config::{Config, ConfigError, Tip};
use self::{coalescer::Coalescer, failover::Failover};
use super::{Chain, Fault};

/// States that are kept at most.
const KEPT: usize = 1024;

/// A chain over JSON-RPC.
#[derive(Debug)]
pub struct RpcChain {
    failover: Arc<Failover>,
    keep: Duration,
    kept: Mutex<HashMap<Question, (Timestamp, State)>>,
    coalescers: Coalescers,
}

/// Devices and OS images of a KMS.
type Lists = (Address, Vec<DeviceId>, Vec<[u8; 32]>);

/// Questions that may wait for a transaction have places of their own: the others do not wait for them.
#[derive(Debug)]
struct Coalescers {
    verify: Coalescer<(Question, Duration), Verdict>,
    state: Coalescer<Question, State>,
    boot: Coalescer<BootInfo, BootVerdict>,
    kms_allows: Coalescer<Lists, (Vec<bool>, Vec<bool>)>,
    is_canonical: Coalescer<Block, bool>,
    simulate: Coalescer<(Address, Address, Vec<u8>), Result<(), String>>,
    account: Coalescer<Address, Account>,
    upgrades_disabled: Coalescer<AppId, Option<bool>>,
    epochs: Coalescer<AppId, Epochs>,
    kms_settings: Coalescer<Address, KmsSettings>,
}

impl Coalescers {
    fn new(at_once: usize) -> Self {
        let waiting = Arc::new(Semaphore::new(at_once));
        let reading = Arc::new(Semaphore::new(at_once));
        Self {
            verify: Coalescer::new(waiting),
            state: Coalescer::new(Arc::clone(&reading)),
            boot: Coalescer::new(Arc::clone(&reading)),
            kms_allows: Coalescer::new(Arc::clone(&reading)),
            is_canonical: Coalescer::new(Arc::clone(&reading)),
            simulate: Coalescer::new(Arc::clone(&reading)),
            account: Coalescer::new(Arc::clone(&reading)),
            upgrades_disabled: Coalescer::new(Arc::clone(&reading)),
            epochs: Coalescer::new(Arc::clone(&reading)),
            kms_settings: Coalescer::new(reading),
        }
    }
}

impl RpcChain {
    /// Nothing is asked yet. Questions run in tasks of the runtime they are asked in.
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let failover = Arc::new(Failover::new(config, clock)?);
        Ok(Self {
            failover,
            keep: config.keep,
            kept: Mutex::default(),
            coalescers: Coalescers::new(config.at_once),
        })
    }

    fn kept(&self, question: &Question) -> Option<State> {
        let now = self.failover.now();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(question).filter(|(read, _)| now.since(*read) < self.keep).map(|(_, state)| *state)
    }

    fn keep(&self, question: Question, asked: Timestamp, state: State) {
        let keep = self.keep;
        if keep.is_zero() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.retain(|_, (read, _)| asked.since(*read) < keep);
        }
        if kept.len() < KEPT {
            kept.insert(question, (asked, state));
        }
    }
}

#[async_trait]
impl Chain for RpcChain {
    fn chain_id(&self) -> u64 {
        self.failover.chain_id()
    }

    async fn verify(&self, question: &Question, within: Duration) -> Result<Verdict, Fault> {
        let (failover, question) = (Arc::clone(&self.failover), *question);
        let work = async move { failover.verify(&question, within).await };
        self.coalescers.verify.ask((question, within), work).await
    }

    async fn state(&self, question: &Question) -> Result<State, Fault> {
        let question = Question { transaction: None, ..*question };
        if let Some(state) = self.kept(&question) {
            return Ok(state);
        }
        let (failover, asked) = (Arc::clone(&self.failover), self.failover.now());
        let work = async move { failover.state(&question).await };
        let state = self.coalescers.state.ask(question, work).await?;
        self.keep(question, asked, state);
        Ok(state)
    }

    async fn boot(&self, boot: &BootInfo) -> Result<BootVerdict, Fault> {
        let (failover, asked) = (Arc::clone(&self.failover), boot.clone());
        let work = async move { failover.boot(&asked).await };
        self.coalescers.boot.ask(boot.clone(), work).await
    }

    async fn kms_allows(
        &self,
        kms: &Address,
        devices: &[DeviceId],
        images: &[[u8; 32]],
    ) -> Result<(Vec<bool>, Vec<bool>), Fault> {
        let asked = (*kms, devices.to_vec(), images.to_vec());
        let (failover, (kms, devices, images)) = (Arc::clone(&self.failover), asked.clone());
        let work = async move { failover.kms_allows(&kms, &devices, &images).await };
        self.coalescers.kms_allows.ask(asked, work).await
    }

    async fn is_canonical(&self, block: &Block) -> Result<bool, Fault> {
        let (failover, block) = (Arc::clone(&self.failover), *block);
        let work = async move { failover.is_canonical(&block).await };
        self.coalescers.is_canonical.ask(block, work).await
    }

    async fn simulate(
        &self,
        from: Address,
        to: Address,
        data: Vec<u8>,
    ) -> Result<Result<(), String>, Fault> {
        let (failover, call) = (Arc::clone(&self.failover), data.clone());
        let work = async move { failover.simulate(&from, &to, &call).await };
        self.coalescers.simulate.ask((from, to, data), work).await
    }

    async fn account(&self, address: &Address) -> Result<Account, Fault> {
        let (failover, address) = (Arc::clone(&self.failover), *address);
        let work = async move { failover.account(&address).await };
        self.coalescers.account.ask(address, work).await
    }

    async fn upgrades_disabled(&self, app: &AppId) -> Result<Option<bool>, Fault> {
        let (failover, app) = (Arc::clone(&self.failover), *app);
        let work = async move { failover.upgrades_disabled(&app).await };
        self.coalescers.upgrades_disabled.ask(app, work).await
    }

    async fn epochs(&self, app: &AppId) -> Result<Epochs, Fault> {
        let (failover, app) = (Arc::clone(&self.failover), *app);
        let work = async move { failover.epochs(&app).await };
        self.coalescers.epochs.ask(app, work).await
    }

    async fn kms_settings(&self, kms: &Address) -> Result<KmsSettings, Fault> {
        let (failover, kms) = (Arc::clone(&self.failover), *kms);
        let work = async move { failover.kms_settings(&kms).await };
        self.coalescers.kms_settings.ask(kms, work).await
    }
}
