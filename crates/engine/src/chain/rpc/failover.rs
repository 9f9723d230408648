//! Asks endpoints, in their order, until one answers.

use std::{sync::Arc, time::Duration};

use casemate_core::{
    governance::{
        Account, Block, BootInfo, BootVerdict, Epochs, KmsSettings, Question, State, Verdict,
        judge::Policy,
    },
    id::{Address, AppId, DeviceId},
    time::{Clock, Timestamp},
};
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep, timeout};

use super::{
    super::Fault,
    config::{Config, ConfigError, Tip},
    endpoint::{Endpoint, Trouble},
    read::{self, Look},
    reply::Failure,
};

/// How often a look begins anew at an endpoint that lags.
const LAGS: u32 = 3;
/// How many calls of a look, which are more, may take as long as one call may.
const CALLS: u32 = 2;
/// How often a state that refuses is looked at, where no transaction says from which block on it holds.
const LOOKS: usize = 2;

/// Who asks.
#[derive(Debug)]
pub(super) struct Failover {
    endpoints: Vec<Endpoint>,
    policy: Policy,
    tip: Tip,
    poll: Duration,
    /// How long one endpoint may take for one look, however many calls that is.
    patience: Duration,
    clock: Arc<dyn Clock>,
}

impl Failover {
    pub fn new(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        if config.endpoints.is_empty() {
            return Err(ConfigError::NoEndpoint(config.chain_id));
        }
        let addresses = config.endpoints.iter().map(ExposeSecret::expose_secret).enumerate();
        let endpoints: Result<Vec<Endpoint>, ConfigError> = addresses
            .map(|(index, address)| Endpoint::new(config, (index + 1, address), Arc::clone(&clock)))
            .collect();
        let policy = Policy::new(config.chain_id, config.confirmations);
        let patience = config.call_timeout * CALLS + config.poll * LAGS;
        let (tip, poll) = (config.tip, config.poll);
        Ok(Self { endpoints: endpoints?, policy, tip, poll, patience, clock })
    }

    pub fn chain_id(&self) -> u64 {
        self.policy.chain_id
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Looks until there is an answer or no time, each time at another endpoint first.
    pub async fn verify(&self, question: &Question, within: Duration) -> Result<Verdict, Fault> {
        let until = Instant::now() + within;
        let mut looks = 0;
        loop {
            let look = self
                .ask(looks, |at| Box::pin(read::look(at, question, &self.policy, self.tip)))
                .await?;
            looks += 1;
            match look {
                Look::NotYet(_) if self.looks_again(question, looks, until) => {
                    sleep(self.poll).await;
                }
                Look::Answer(verdict) | Look::NotYet(verdict) => return Ok(verdict),
            }
        }
    }

    /// A transaction is waited for. A state alone is looked at twice: an endpoint may be a block behind the
    /// one at which the user saw it.
    fn looks_again(&self, question: &Question, looks: usize, until: Instant) -> bool {
        let in_time = Instant::now() + self.poll <= until;
        in_time && (question.transaction.is_some() || looks < LOOKS)
    }

    pub async fn state(&self, question: &Question) -> Result<State, Fault> {
        self.ask(0, |at| Box::pin(read::state(at, question))).await
    }

    pub async fn boot(&self, boot: &BootInfo) -> Result<BootVerdict, Fault> {
        self.ask(0, |at| Box::pin(read::boot(at, boot, self.policy.chain_id))).await
    }

    pub async fn kms_allows(
        &self,
        kms: &Address,
        devices: &[DeviceId],
        images: &[[u8; 32]],
    ) -> Result<(Vec<bool>, Vec<bool>), Fault> {
        self.ask(0, |at| Box::pin(read::kms_allows(at, kms, devices, images))).await
    }

    pub async fn is_canonical(&self, block: &Block) -> Result<bool, Fault> {
        self.ask(0, |at| Box::pin(read::canonical(at, block))).await
    }

    pub async fn simulate(
        &self,
        from: &Address,
        to: &Address,
        data: &[u8],
    ) -> Result<Result<(), String>, Fault> {
        self.ask(0, |at| Box::pin(read::simulate(at, from, to, data))).await
    }

    pub async fn account(&self, address: &Address) -> Result<Account, Fault> {
        self.ask(0, |at| Box::pin(read::account(at, address))).await
    }

    pub async fn upgrades_disabled(&self, app: &AppId) -> Result<Option<bool>, Fault> {
        self.ask(0, |at| Box::pin(read::upgrades_disabled(at, app))).await
    }

    pub async fn epochs(&self, app: &AppId) -> Result<Epochs, Fault> {
        self.ask(0, |at| Box::pin(read::epochs(at, app))).await
    }

    pub async fn kms_settings(&self, kms: &Address) -> Result<KmsSettings, Fault> {
        self.ask(0, |at| Box::pin(read::kms_settings(at, kms))).await
    }

    /// Asks endpoints in their order, beginning with number `first`, until one answers.
    async fn ask<'a, T>(
        &'a self,
        first: usize,
        look: impl Fn(&'a Endpoint) -> BoxFuture<'a, Result<T, Failure>>,
    ) -> Result<T, Fault> {
        let mut troubles = Vec::new();
        for offset in 0..self.endpoints.len() {
            let endpoint = &self.endpoints[(first + offset) % self.endpoints.len()];
            if let Some(trouble) = endpoint.left_alone() {
                troubles.push(trouble);
                continue;
            }
            let outcome = timeout(self.patience, self.ask_one(endpoint, &look)).await;
            match outcome.unwrap_or_else(|_| Err(Failure::down("timed out"))) {
                Ok(answer) => {
                    endpoint.succeeded();
                    return Ok(answer);
                }
                Err(failure) => troubles.push(endpoint.failed(&failure)),
            }
        }
        Err(fault(&troubles, self.policy.chain_id))
    }

    async fn ask_one<'a, T>(
        &self,
        endpoint: &'a Endpoint,
        look: &impl Fn(&'a Endpoint) -> BoxFuture<'a, Result<T, Failure>>,
    ) -> Result<T, Failure> {
        endpoint.check_chain().await?;
        for _ in 0..LAGS {
            match look(endpoint).await {
                Err(Failure::Behind) => sleep(self.poll).await,
                outcome => return outcome,
            }
        }
        look(endpoint).await
    }
}

/// Nobody answered. If all serve other chains the configuration is wrong, and asking again is of no use.
fn fault(troubles: &[Trouble], chain_id: u64) -> Fault {
    let said: Vec<String> =
        troubles.iter().map(|trouble| format!("{}: {}", trouble.host, trouble.what)).collect();
    let said = said.join("; ");
    if troubles.iter().all(|trouble| trouble.other_chain) {
        return Fault::Misconfigured(format!("no endpoint serves chain {chain_id}: {said}"));
    }
    Fault::Unavailable(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(host: &str, what: &str, other_chain: bool) -> Trouble {
        Trouble { host: host.to_owned(), what: what.to_owned(), other_chain }
    }

    #[test]
    fn only_if_all_serve_other_chains_the_configuration_is_wrong() {
        let (other, down) =
            (trouble("a", "serves chain 1", true), trouble("b", "timed out", false));
        assert_eq!(
            fault(std::slice::from_ref(&other), 8453),
            Fault::Misconfigured("no endpoint serves chain 8453: a: serves chain 1".to_owned())
        );
        assert_eq!(
            fault(&[other, down], 8453),
            Fault::Unavailable("a: serves chain 1; b: timed out".to_owned())
        );
    }
}
