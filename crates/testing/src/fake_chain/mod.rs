//! A chain in memory for tests: KMS and app contracts, blocks, reorganisations, faults on demand.
//!
//! [`FakeChain`] is a [`Chain`]. It judges with the same pure code as the real one, so tests with it cover
//! the handling of verdicts and faults, not JSON-RPC. A [`FakeNode`] is a JSON-RPC endpoint of such a chain.
//! A wrong set-up panics.

mod contracts;
mod ledger;
mod node;

pub use self::{
    contracts::Generation,
    node::{Behaviour, FakeNode},
};

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::B256;
use async_trait::async_trait;
use casemate_core::{
    governance::{
        Account, Block, BootInfo, BootVerdict, Epochs, KmsSettings, Question, State, Verdict,
        calldata::{self, NewApp},
        judge::{self, Policy, ReceiptEvaluation},
        returned::{self, CallResult},
        view,
    },
    id::{Address, AppId, ComposeHash, DeviceId, TxHash},
};
use casemate_engine::chain::{Chain, Fault, no_kms};
use tokio::sync::watch;

use self::{
    contracts::{App, Contracts, Kms, Other, SOME_CODE},
    ledger::Ledger,
};

/// Default sender.
const SOMEBODY: Address = Address::from_bytes([0x5b; 20]);

/// Number of questions by kind, including those that got a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub verify: usize,
    pub state: usize,
    pub boot: usize,
    pub kms_allows: usize,
    pub is_canonical: usize,
    pub simulate: usize,
    pub account: usize,
    pub upgrades_disabled: usize,
    pub epochs: usize,
    pub kms_settings: usize,
}

/// A chain in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct FakeChain {
    policy: Policy,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    /// Notifies about changes of the chain or of its faults.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct World {
    ledger: Ledger,
    faults: VecDeque<Fault>,
    held: bool,
    counts: Counts,
}

impl FakeChain {
    /// An empty chain with one block that requires one confirmation.
    #[must_use]
    pub fn new(chain_id: u64) -> Self {
        let world = World {
            ledger: Ledger::new(chain_id),
            faults: VecDeque::new(),
            held: false,
            counts: Counts::default(),
        };
        let changed = watch::channel(()).0;
        let shared = Arc::new(Shared { world: Mutex::new(world), changed });
        Self { policy: Policy::new(chain_id, 1), shared }
    }

    /// The same chain with this number of required confirmations.
    #[must_use]
    pub fn with_confirmations(mut self, confirmations: u64) -> Self {
        self.policy.confirmations = confirmations;
        self
    }

    /// Adds a KMS contract.
    pub fn add_kms(&self, kms: Address) {
        self.edit(|contracts| {
            contracts.kms.insert(kms, Kms::default());
        });
    }

    /// Allows the KMS to run on a device.
    pub fn allow_kms_device(&self, kms: Address, device: DeviceId) {
        self.edit_kms(kms, |kms| {
            kms.devices.insert(B256::from(*device.as_bytes()));
        });
    }

    /// Sets whether apps of a KMS may run on an OS image.
    pub fn allow_os_image(&self, kms: Address, image: [u8; 32], allow: bool) {
        self.edit_kms(kms, |kms| {
            if allow {
                kms.images.insert(B256::from(image));
            } else {
                kms.images.remove(&B256::from(image));
            }
        });
    }

    /// Deploys an app through the KMS contract, as clients do.
    pub fn deploy(&self, kms: Address, app: &NewApp) -> (AppId, TxHash) {
        let data = calldata::deploy_and_register_app(app);
        let made = self.dry(app.owner, kms, &data).unwrap_or_else(|revert| {
            panic!("no app can be deployed: {}", returned::reason(&revert))
        });
        let Some(id) = returned::deployed_app(&CallResult::Data(made)) else {
            panic!("no contract of a KMS at 0x{kms}")
        };
        (AppId::from_bytes(*id.as_bytes()), self.send(app.owner, kms, data))
    }

    /// Adds an app contract with this id, registered with the KMS.
    pub fn add_app(&self, kms: Address, app: AppId, owner: Address) {
        self.place_app(app, owner, Generation::TwoStep);
        self.register(kms, app.into());
    }

    /// Adds an app contract that is not registered with a KMS.
    pub fn place_app(&self, app: AppId, owner: Address, generation: Generation) {
        self.edit(|contracts| {
            contracts.apps.insert(app.into(), App::new(owner, generation));
        });
    }

    /// Sets whether an app approves by epoch.
    pub fn set_epochs(&self, app: AppId, epochs: Epochs) {
        self.edit_app(app, |app| app.epochs = epochs);
    }

    /// A contract without lists allows a document, by rules of its own.
    pub fn judge_hash(&self, app: AppId, hash: ComposeHash) {
        self.edit_app(app, |app| {
            app.hashes.insert(B256::from(*hash.as_bytes()));
            app.any_device = true;
        });
    }

    /// Sets what a KMS contract says of itself.
    pub fn set_kms_settings(&self, kms: Address, settings: KmsSettings) {
        self.edit_kms(kms, |kms| kms.settings = settings);
    }

    /// Registers an address without a check, as anybody may.
    pub fn register(&self, kms: Address, address: Address) -> TxHash {
        self.send(SOMEBODY, kms, calldata::register_app(address))
    }

    /// The owner allows a document.
    pub fn add_hash(&self, app: AppId, hash: ComposeHash) -> TxHash {
        self.send(self.owner(app), app.into(), calldata::add_compose_hash(hash))
    }

    /// The owner disallows a document.
    pub fn remove_hash(&self, app: AppId, hash: ComposeHash) -> TxHash {
        self.send(self.owner(app), app.into(), calldata::remove_compose_hash(hash))
    }

    /// The owner lists a device.
    pub fn add_device(&self, app: AppId, device: DeviceId) -> TxHash {
        self.send(self.owner(app), app.into(), calldata::add_device(device))
    }

    /// The owner removes a device from the list.
    pub fn remove_device(&self, app: AppId, device: DeviceId) -> TxHash {
        self.send(self.owner(app), app.into(), calldata::remove_device(device))
    }

    /// The owner allows every device, or only listed ones.
    pub fn set_any_device(&self, app: AppId, allow: bool) -> TxHash {
        self.send(self.owner(app), app.into(), calldata::set_allow_any_device(allow))
    }

    /// The app requires hosts with an up-to-date TCB, or not.
    pub fn require_tcb_up_to_date(&self, app: AppId, require: bool) -> TxHash {
        self.send(self.owner(app), app.into(), calldata::set_require_tcb_up_to_date(require))
    }

    /// Disables upgrades of the app's code permanently.
    pub fn disable_upgrades(&self, app: AppId) -> TxHash {
        self.send(self.owner(app), app.into(), calldata::disable_upgrades())
    }

    /// Sets or removes the owner of the app.
    pub fn set_owner(&self, app: AppId, owner: Option<Address>) {
        self.edit_app(app, |app| app.owner = owner);
    }

    /// Sets or removes the pending owner of the app.
    pub fn set_pending_owner(&self, app: AppId, pending: Option<Address>) {
        self.edit_app(app, |app| app.pending_owner = pending);
    }

    /// Sets the kind of account at an address. Transactions of a Safe are sent from its address.
    pub fn set_account(&self, address: Address, account: Account) {
        let other = match account {
            Account::Eoa => Other::default(),
            Account::Contract => Other { code: SOME_CODE.to_vec(), safe: None },
            Account::Safe { threshold, owners } => {
                Other { code: SOME_CODE.to_vec(), safe: Some((threshold, owners)) }
            }
        };
        self.edit(|contracts| {
            contracts.others.insert(address, other);
        });
    }

    /// Sets the code at an address. It reverts all calls.
    pub fn set_code(&self, address: Address, code: Vec<u8>) {
        self.edit(|contracts| {
            contracts.others.insert(address, Other { code, safe: None });
        });
    }

    /// Sends and mines a transaction with one call. It may revert.
    pub fn send(&self, from: Address, to: Address, data: Vec<u8>) -> TxHash {
        self.send_batch(vec![(from, to, data)])
    }

    /// Sends and mines a transaction with several calls, like a Safe: sender, contract, calldata.
    pub fn send_batch(&self, calls: Vec<(Address, Address, Vec<u8>)>) -> TxHash {
        let transaction = self.submit(calls);
        self.mine(1);
        transaction
    }

    /// Submits a transaction, which waits for [`Self::mine`].
    pub fn submit(&self, calls: Vec<(Address, Address, Vec<u8>)>) -> TxHash {
        self.world().ledger.submit(calls)
    }

    /// A transaction that succeeds without any log, like a Safe's when its inner call fails.
    pub fn send_nothing(&self) -> TxHash {
        self.send_batch(Vec::new())
    }

    /// Mines blocks; the first contains what was submitted.
    pub fn mine(&self, blocks: usize) {
        let mut world = self.world();
        for _ in 0..blocks {
            world.ledger.mine();
        }
        drop(world);
        self.tell();
    }

    /// Replaces the newest blocks by empty ones. Their transactions are lost.
    pub fn reorg(&self, depth: usize) {
        self.world().ledger.reorg(depth);
        self.tell();
    }

    /// The newest block.
    #[must_use]
    pub fn head(&self) -> Block {
        self.world().ledger.head().block
    }

    /// The next `n` questions get this fault.
    pub fn fail_next(&self, n: usize, fault: &Fault) {
        self.world().faults.extend(std::iter::repeat_n(fault.clone(), n));
    }

    /// Questions get answers again.
    pub fn heal(&self) {
        self.world().faults.clear();
    }

    /// Questions get no answer until [`Self::release`].
    pub fn hold(&self) {
        self.world().held = true;
    }

    /// Questions get their answers again.
    pub fn release(&self) {
        self.world().held = false;
        self.tell();
    }

    /// Number of questions by kind.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.world().counts
    }

    fn owner(&self, app: AppId) -> Address {
        let world = self.world();
        let app = world.ledger.head().contracts.apps.get(&app.into());
        app.and_then(|app| app.owner).unwrap_or(SOMEBODY)
    }

    fn edit(&self, change: impl FnOnce(&mut Contracts)) {
        self.world().ledger.edit(change);
        self.tell();
    }

    fn edit_kms(&self, kms: Address, change: impl FnOnce(&mut Kms)) {
        self.edit(|contracts| match contracts.kms.get_mut(&kms) {
            Some(kms) => change(kms),
            None => panic!("no contract of a KMS at 0x{kms}"),
        });
    }

    fn edit_app(&self, app: AppId, change: impl FnOnce(&mut App)) {
        self.edit(|contracts| match contracts.apps.get_mut(&app.into()) {
            Some(app) => change(app),
            None => panic!("no contract of an app at 0x{app}"),
        });
    }

    /// The result of a call at the newest block.
    fn dry(&self, from: Address, to: Address, data: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
        let mut contracts = Contracts::clone(&self.world().ledger.head().contracts);
        contracts.call(from, to, data).map(|run| run.returned)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.shared.changed.send_replace(());
    }

    /// Counts a question, waits while answers are held, and returns the fault, if any.
    async fn asked(&self, count: impl FnOnce(&mut Counts) -> &mut usize) -> Result<(), Fault> {
        *count(&mut self.world().counts) += 1;
        let mut changes = self.shared.changed.subscribe();
        while self.world().held {
            // Fails only when the chain is dropped, and `self` holds it.
            let _ = changes.changed().await;
        }
        self.world().faults.pop_front().map_or(Ok(()), Err)
    }

    fn read(&self, question: &Question) -> State {
        let world = self.world();
        let head = world.ledger.head();
        let mut contracts = Contracts::clone(&head.contracts);
        let block = head.block;
        drop(world);
        let mut ask = |to: Address, data: Vec<u8>| match contracts.call(SOMEBODY, to, &data) {
            Ok(run) => CallResult::Data(run.returned),
            Err(revert) => CallResult::Reverted(revert),
        };
        let app = Address::from(question.app);
        let flag = returned::flag;
        let registered = flag(&ask(question.kms, view::registered_app(app)));
        let hash = flag(&ask(app, view::compose_hash(question.hash)));
        let judges = if hash.is_some() {
            None
        } else {
            let boot = BootInfo::new(question, question.os_image.unwrap_or_default());
            returned::boot(&ask(app, view::boot(&boot))).map(|(allowed, _)| allowed)
        };
        State {
            block,
            kms_exists: registered.is_some(),
            registered: registered.unwrap_or(false),
            app_exists: hash.or(judges).is_some(),
            has_lists: hash.is_some(),
            hash_allowed: hash.or(judges).unwrap_or(false),
            any_device: judges.or_else(|| flag(&ask(app, view::any_device()))).unwrap_or(false),
            device_listed: flag(&ask(app, view::device(question.device))).unwrap_or(false),
            owner: returned::account(&ask(app, view::owner())),
            pending_owner: returned::account(&ask(app, view::pending_owner())),
        }
    }

    fn weigh(&self, question: &Question, transaction: TxHash) -> ReceiptEvaluation {
        let world = self.world();
        let head = world.ledger.head().block.number;
        match world.ledger.receipt(&transaction) {
            Some(receipt) => {
                judge::evaluate_receipt(question, transaction, &receipt, head, &self.policy)
            }
            None => ReceiptEvaluation::NotYet(judge::not_found(transaction, &self.policy)),
        }
    }

    async fn evidence(&self, question: &Question, within: Duration) -> ReceiptEvaluation {
        let Some(transaction) = question.transaction else { return ReceiptEvaluation::Holds };
        let until = tokio::time::Instant::now() + within;
        let mut changes = self.shared.changed.subscribe();
        loop {
            let weighed = self.weigh(question, transaction);
            if !matches!(weighed, ReceiptEvaluation::NotYet(_)) {
                return weighed;
            }
            if tokio::time::timeout_at(until, changes.changed()).await.is_err() {
                return weighed;
            }
        }
    }
}

#[async_trait]
impl Chain for FakeChain {
    fn chain_id(&self) -> u64 {
        self.policy.chain_id
    }

    async fn verify(&self, question: &Question, within: Duration) -> Result<Verdict, Fault> {
        self.asked(|counts| &mut counts.verify).await?;
        match self.evidence(question, within).await {
            ReceiptEvaluation::Holds => {
                Ok(judge::decide(question, &self.read(question), &self.policy))
            }
            ReceiptEvaluation::NotYet(refusal) | ReceiptEvaluation::Refused(refusal) => {
                Ok(Verdict::Refused(refusal))
            }
        }
    }

    async fn state(&self, question: &Question) -> Result<State, Fault> {
        self.asked(|counts| &mut counts.state).await?;
        Ok(self.read(question))
    }

    async fn boot(&self, boot: &BootInfo) -> Result<BootVerdict, Fault> {
        self.asked(|counts| &mut counts.boot).await?;
        let block = self.head();
        let answer = match self.dry(SOMEBODY, boot.kms, &view::boot(boot)) {
            Ok(data) => returned::boot(&CallResult::Data(data)),
            Err(revert) => Some((false, returned::reason(&revert))),
        };
        Ok(match answer {
            Some((true, _)) => BootVerdict::Allowed(block),
            Some((false, reason)) => BootVerdict::Denied(block, reason),
            None => BootVerdict::Denied(block, no_kms(&boot.kms, self.policy.chain_id)),
        })
    }

    async fn kms_allows(
        &self,
        kms: &Address,
        devices: &[DeviceId],
        images: &[[u8; 32]],
    ) -> Result<(Vec<bool>, Vec<bool>), Fault> {
        self.asked(|counts| &mut counts.kms_allows).await?;
        let world = self.world();
        let Some(kms) = world.ledger.head().contracts.kms.get(kms) else {
            return Ok((vec![false; devices.len()], vec![false; images.len()]));
        };
        let device = |device: &DeviceId| kms.devices.contains(&B256::from(*device.as_bytes()));
        let image = |image: &[u8; 32]| kms.images.contains(&B256::from(*image));
        Ok((devices.iter().map(device).collect(), images.iter().map(image).collect()))
    }

    async fn is_canonical(&self, block: &Block) -> Result<bool, Fault> {
        self.asked(|counts| &mut counts.is_canonical).await?;
        let world = self.world();
        Ok(world.ledger.at(block.number).is_some_and(|mined| mined.block == *block))
    }

    async fn simulate(
        &self,
        from: Address,
        to: Address,
        data: Vec<u8>,
    ) -> Result<Result<(), String>, Fault> {
        self.asked(|counts| &mut counts.simulate).await?;
        let outcome = self.dry(from, to, &data);
        Ok(outcome.map(drop).map_err(|revert| returned::reason(&revert)))
    }

    async fn account(&self, address: &Address) -> Result<Account, Fault> {
        self.asked(|counts| &mut counts.account).await?;
        if returned::is_key(&self.world().ledger.head().contracts.code(address)) {
            return Ok(Account::Eoa);
        }
        let ask = |view: Vec<u8>| match self.dry(SOMEBODY, *address, &view) {
            Ok(data) => CallResult::Data(data),
            Err(revert) => CallResult::Reverted(revert),
        };
        Ok(returned::contract(&ask(view::safe_threshold()), &ask(view::safe_owners())))
    }

    async fn upgrades_disabled(&self, app: &AppId) -> Result<Option<bool>, Fault> {
        self.asked(|counts| &mut counts.upgrades_disabled).await?;
        let world = self.world();
        let app = world.ledger.head().contracts.apps.get(&Address::from(*app));
        Ok(app.map(|app| app.upgrades_disabled))
    }

    async fn epochs(&self, app: &AppId) -> Result<Epochs, Fault> {
        self.asked(|counts| &mut counts.epochs).await?;
        let world = self.world();
        let app = world.ledger.head().contracts.apps.get(&Address::from(*app));
        Ok(app.map(|app| app.epochs).unwrap_or_default())
    }

    async fn kms_settings(&self, kms: &Address) -> Result<KmsSettings, Fault> {
        self.asked(|counts| &mut counts.kms_settings).await?;
        let world = self.world();
        let kms = world.ledger.head().contracts.kms.get(kms);
        Ok(kms.map(|kms| kms.settings.clone()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
