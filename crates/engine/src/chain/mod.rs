//! A chain whose contracts govern apps, asked over JSON-RPC. Nothing is ever sent to it but questions.
//!
//! What is asked, and what follows from the answers, is `casemate_core::governance`. The crate
//! `casemate-testing` has a chain in memory and one on a real EVM.

pub mod rpc;

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use casemate_core::{
    governance::{
        Account, Block, BootInfo, BootVerdict, Epochs, KmsSettings, Question, State, Verdict,
    },
    id::{Address, AppId, DeviceId},
};

#[async_trait]
pub trait Chain: Send + Sync + Debug {
    /// Its id, as configured; an endpoint that says another one is not asked.
    fn chain_id(&self) -> u64;

    /// Answers a question. Waits for a named transaction to be mined and confirmed, at most for `within`.
    async fn verify(&self, question: &Question, within: Duration) -> Result<Verdict, Fault>;

    /// What contracts say now, at the newest block.
    async fn state(&self, question: &Question) -> Result<State, Fault>;

    /// What the contract of the KMS would say to a boot now.
    async fn boot(&self, boot: &BootInfo) -> Result<BootVerdict, Fault>;

    /// Which of these devices and OS images (their hashes) the contract of a KMS allows, in their order.
    async fn kms_allows(
        &self,
        kms: &Address,
        devices: &[DeviceId],
        images: &[[u8; 32]],
    ) -> Result<(Vec<bool>, Vec<bool>), Fault>;

    /// Whether a block is, or still is, part of the chain.
    async fn is_canonical(&self, block: &Block) -> Result<bool, Fault>;

    /// What would come of a call by `from` now, without making it; `Err` is why it would revert. A call to
    /// an address without code does nothing and succeeds.
    async fn simulate(
        &self,
        from: Address,
        to: Address,
        data: Vec<u8>,
    ) -> Result<Result<(), String>, Fault>;

    /// What is behind an address.
    async fn account(&self, address: &Address) -> Result<Account, Fault>;

    /// Whether the code of an app can never be replaced again. No view says so: this reads where the
    /// stock contract keeps it, so another contract may mean something else by it. Advisory, and `None`
    /// where there is no contract.
    async fn upgrades_disabled(&self, app: &AppId) -> Result<Option<bool>, Fault>;

    /// Whether an app approves by epoch.
    async fn epochs(&self, app: &AppId) -> Result<Epochs, Fault>;

    /// The settings of a KMS contract.
    async fn kms_settings(&self, kms: &Address) -> Result<KmsSettings, Fault>;
}

/// No answer: nothing follows from it but to ask again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No endpoint answered in time, or none with sense. The text names hosts, never whole addresses:
    /// they may hold keys.
    #[error("the chain does not answer: {0}")]
    Unavailable(String),
    /// An endpoint serves another chain than configured.
    #[error("{0}")]
    Misconfigured(String),
    /// Too much is asked already.
    #[error("too many questions to the chain are under way")]
    Busy,
}

/// Why a boot is denied where no contract of a KMS answers.
pub fn no_kms(kms: &Address, chain_id: u64) -> String {
    format!("no contract of a KMS answers at 0x{kms} on chain {chain_id}")
}
