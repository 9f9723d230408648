//! Which transactions are missing before a boot, who can sign them, and which obstacles no transaction
//! removes.
//!
//! From [`Facts`] (read from contracts and hosts) and [`ApprovalGoal`], [`plan`] computes a list of transactions.
//! Executed in order by their signers, they make the contracts allow the boot, or [`Plan::obstacles`] says
//! why not. Optional transactions are listed separately. Each transaction is simulated on the chain before
//! anybody pays for it; [`Plan::tried`] adds the results.
//!
//! Nothing is signed or sent here. All facts are read at one block and may differ at the next.

mod call;
mod facts;
mod messages;
mod safe;
#[cfg(test)]
mod tests;

pub use self::{
    call::{Call, Input, Transaction, checksummed},
    facts::{AppFacts, ApprovalGoal, Facts, Host, KmsFacts, Subject},
    safe::{batch, multisend},
};
use super::{Account, Epochs};
use crate::id::{Address, AppId, DeviceId};

/// The only TCB status accepted by an app that requires an up-to-date TCB.
const UP_TO_DATE: &str = "UpToDate";

/// The result of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Allowed,
    /// Transactions are missing.
    Missing,
    /// Transactions are missing that another account must sign.
    NotYours,
    /// The owner's transactions are not sufficient.
    Blocked,
}

/// Missing transactions, obstacles and notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Required transactions, in order.
    pub steps: Vec<Step>,
    /// Optional transactions of the owner.
    pub optional: Vec<Step>,
    /// Why the steps are not sufficient.
    pub obstacles: Vec<Obstacle>,
    pub notes: Vec<Note>,
    /// The required signer, if it is another account.
    pub not_yours: Option<Address>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub transaction: Transaction,
    pub why: Purpose,
    pub signer: Signer,
    /// Index of the step that must be executed before.
    pub after: Option<usize>,
    /// The result of its simulation.
    pub trial: SimulationOutcome,
}

/// The purpose of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Creates and registers the app with document and device.
    Deploy,
    /// Registers the app with the KMS.
    Register,
    /// The new owner accepts the ownership.
    Accept,
    /// Allows the document.
    Document,
    /// Allows the device of this host.
    Device(String),
    /// Allows every device.
    AnyDevice,
    /// Optional: disallows an older document.
    ForgetDocument,
    /// Optional: allows hosts with an outdated TCB.
    AcceptTcb,
}

/// Who must sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// Any account that pays.
    Anyone,
    /// Only this account.
    Account(Address, Account),
}

impl Signer {
    /// The account, if it must be a certain one.
    #[must_use]
    pub const fn address(&self) -> Option<Address> {
        match self {
            Self::Anyone => None,
            Self::Account(address, _) => Some(*address),
        }
    }
}

/// The result of simulating a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SimulationOutcome {
    /// Not simulated, or not possible before another step.
    Untried,
    Succeeds,
    /// With the reason.
    Reverts(String),
}

/// Why the steps are not sufficient. `Display` is for the user and includes the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// No KMS contract at the configured address.
    NoKms { contract: Address, chain_id: u64 },
    /// No contract at the app's address.
    NoApp { app: AppId, chain_id: u64 },
    /// The app has no lists, and its own rules refuse this.
    OwnRules { app: AppId },
    /// The app has no owner any more.
    OwnerGone { app: AppId },
    /// A host has no device id.
    NoDevice { host: String },
    /// A new app lists one device, but there are several hosts.
    OneDevice {
        /// Number of their devices.
        devices: usize,
    },
    /// The KMS refuses a host's OS image.
    OsImage {
        host: String,
        image: [u8; 32],
        /// The account that could allow it.
        kms_owner: Option<Address>,
    },
    /// The app requires an up-to-date TCB, but that of a host is not.
    Tcb { host: String, status: String },
    /// A step would revert.
    Reverts {
        /// Its index.
        step: usize,
        reason: String,
        /// Whether the contract's code can never be replaced.
        for_good: bool,
    },
}

/// A note on a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The ownership was offered but not accepted: the current owner still signs.
    Offered {
        /// The current owner.
        from: Address,
        /// The pending owner.
        to: Address,
    },
    /// Several owners of a Safe must sign.
    Safe {
        safe: Address,
        /// Number of signatures.
        threshold: u64,
        /// Number of owners.
        owners: usize,
    },
    /// A contract must send the transaction, by its own rules.
    Contract { contract: Address },
    /// The app contract's code can never be replaced.
    UpgradesDisabled,
    /// The hash of a host's image is unknown, so the KMS was not asked about it.
    ImageUnknown { host: String },
    /// The app allows every device, so hosts need not be listed.
    AnyDevice,
    /// The app has no lists: what it allows is decided by rules of its own.
    OwnRules,
    /// The app approves by epoch, and what was asked covers epoch 0 only. `old`: as of dstack 0.6.4.
    Epochs { old: bool },
}

#[must_use]
pub fn plan(wanted: &ApprovalGoal, facts: &Facts) -> Plan {
    let mut plan = Plan {
        steps: Vec::new(),
        optional: Vec::new(),
        obstacles: Vec::new(),
        notes: Vec::new(),
        not_yours: None,
    };
    if !facts.kms.exists {
        let (contract, chain_id) = (facts.kms.contract, facts.chain_id);
        plan.obstacles.push(Obstacle::NoKms { contract, chain_id });
        return plan;
    }
    match &facts.app {
        Subject::New(owner) => plan.plan_new_app(wanted, facts, *owner),
        Subject::App(app) if !app.exists => {
            plan.obstacles.push(Obstacle::NoApp { app: app.id, chain_id: facts.chain_id });
        }
        Subject::App(app) => plan.plan_changes(wanted, facts, app),
    }
    plan
}

impl Plan {
    #[must_use]
    pub const fn standing(&self) -> Standing {
        if !self.obstacles.is_empty() {
            Standing::Blocked
        } else if self.steps.is_empty() {
            Standing::Allowed
        } else if self.not_yours.is_some() {
            Standing::NotYours
        } else {
            Standing::Missing
        }
    }

    /// Adds simulation results, for required steps first and then optional ones. A required step that would
    /// revert becomes an obstacle.
    #[must_use]
    pub fn tried(mut self, trials: impl IntoIterator<Item = SimulationOutcome>) -> Self {
        let all = self.steps.iter_mut().chain(&mut self.optional);
        for (step, trial) in all.zip(trials) {
            step.trial = trial;
        }
        let for_good = self.notes.contains(&Note::UpgradesDisabled);
        let failing = self.steps.iter().enumerate().filter_map(|(place, step)| match &step.trial {
            SimulationOutcome::Reverts(reason) => {
                Some(Obstacle::Reverts { step: place, reason: reason.clone(), for_good })
            }
            SimulationOutcome::Untried | SimulationOutcome::Succeeds => None,
        });
        self.obstacles.extend(failing.collect::<Vec<_>>());
        self
    }

    /// The required transactions of an account, for one batch.
    #[must_use]
    pub fn batch_of(&self, account: Address) -> Vec<&Transaction> {
        let its = |step: &&Step| step.signer.address().is_none_or(|signer| signer == account);
        self.steps.iter().filter(its).map(|step| &step.transaction).collect()
    }

    /// The account that must sign, if there is one.
    #[must_use]
    pub fn signer(&self) -> Option<Address> {
        self.steps.iter().find_map(|step| step.signer.address())
    }

    /// A new app: one transaction that any account can send; the owner is an argument.
    fn plan_new_app(&mut self, wanted: &ApprovalGoal, facts: &Facts, owner: Address) {
        self.check_hosts(wanted, facts, None);
        let device = match devices(facts).as_slice() {
            _ if wanted.any_device => None,
            [] => None,
            [device] => Some(*device),
            several => {
                self.obstacles.push(Obstacle::OneDevice { devices: several.len() });
                return;
            }
        };
        let any_device = wanted.any_device;
        let call = Call::DeployAndRegisterApp { owner, any_device, device, hash: wanted.hash };
        self.step(facts.kms.contract, call, Purpose::Deploy, Signer::Anyone, None);
    }

    fn plan_changes(&mut self, wanted: &ApprovalGoal, facts: &Facts, app: &AppFacts) {
        self.check_hosts(wanted, facts, Some(app));
        if app.upgrades_disabled == Some(true) {
            self.notes.push(Note::UpgradesDisabled);
        }
        if !app.registered {
            let call = Call::RegisterApp(app.id);
            self.step(facts.kms.contract, call, Purpose::Register, Signer::Anyone, None);
        }
        match app.epochs {
            Epochs::None => {}
            Epochs::Old => self.notes.push(Note::Epochs { old: true }),
            Epochs::Current => self.notes.push(Note::Epochs { old: false }),
        }
        if !app.has_lists {
            self.notes.push(Note::OwnRules);
            if !app.hash_allowed {
                self.obstacles.push(Obstacle::OwnRules { app: app.id });
            }
            return;
        }
        let missing = required_calls(wanted, facts, app);
        let spare = optional_calls(wanted, app, &self.obstacles);
        let Some(owner) = app.owner else {
            if !missing.is_empty() {
                self.obstacles.push(Obstacle::OwnerGone { app: app.id });
            }
            return;
        };
        let (signer, after) = match (app.pending_owner, wanted.signer) {
            (Some(heir), Some(me)) if me == heir && !missing.is_empty() => {
                let place = self.steps.len();
                self.step(
                    app.id.into(),
                    Call::AcceptOwnership,
                    Purpose::Accept,
                    account(facts, heir),
                    None,
                );
                (heir, Some(place))
            }
            (Some(heir), _) => {
                self.notes.push(Note::Offered { from: owner, to: heir });
                (owner, None)
            }
            (None, _) => (owner, None),
        };
        let by = account(facts, signer);
        if !missing.is_empty() {
            self.add_signer_notes(&by, wanted.signer);
        }
        for (call, why) in missing {
            self.step(app.id.into(), call, why, by.clone(), after);
        }
        let optional = |(call, why)| step(app.id.into(), call, why, by.clone(), after);
        self.optional = spare.into_iter().map(optional).collect();
    }

    fn step(
        &mut self,
        to: Address,
        call: Call,
        why: Purpose,
        signer: Signer,
        after: Option<usize>,
    ) {
        self.steps.push(step(to, call, why, signer, after));
    }

    /// Adds obstacles that no transaction of the app's owner removes.
    fn check_hosts(&mut self, wanted: &ApprovalGoal, facts: &Facts, app: Option<&AppFacts>) {
        let any_device = wanted.any_device || app.is_some_and(|app| app.any_device);
        let tcb_required = app.is_some_and(|app| app.tcb_required == Some(true));
        if app.is_some_and(|app| app.any_device && app.has_lists) {
            self.notes.push(Note::AnyDevice);
        }
        for host in &facts.hosts {
            let name = || host.name.clone();
            match host.os_image {
                Some((image, false)) => {
                    let kms_owner = facts.kms.owner;
                    self.obstacles.push(Obstacle::OsImage { host: name(), image, kms_owner });
                }
                Some((_, true)) => {}
                None => self.notes.push(Note::ImageUnknown { host: name() }),
            }
            let behind = host.tcb_status.as_ref().filter(|status| *status != UP_TO_DATE);
            if let Some(status) = behind.filter(|_| tcb_required) {
                self.obstacles.push(Obstacle::Tcb { host: name(), status: status.clone() });
            }
            if !any_device && has_no_device(host) {
                self.obstacles.push(Obstacle::NoDevice { host: name() });
            }
        }
    }

    /// Adds notes about the signer, and whether the caller is it.
    fn add_signer_notes(&mut self, signer: &Signer, me: Option<Address>) {
        let Signer::Account(address, kind) = signer else { return };
        let mut has_part = me.is_none_or(|me| me == *address);
        match kind {
            Account::Safe { threshold, owners } => {
                has_part |= me.is_some_and(|me| owners.contains(&me));
                self.notes.push(Note::Safe {
                    safe: *address,
                    threshold: *threshold,
                    owners: owners.len(),
                });
            }
            Account::Contract => self.notes.push(Note::Contract { contract: *address }),
            Account::Eoa => {}
        }
        if !has_part {
            self.not_yours = Some(*address);
        }
    }
}

fn step(to: Address, call: Call, why: Purpose, signer: Signer, after: Option<usize>) -> Step {
    Step {
        transaction: Transaction { to, call },
        why,
        signer,
        after,
        trial: SimulationOutcome::Untried,
    }
}

/// An unknown account counts as a key, which is the weakest assumption about a signer.
fn account(facts: &Facts, address: Address) -> Signer {
    let kind = facts.accounts.get(&address).cloned().unwrap_or(Account::Eoa);
    Signer::Account(address, kind)
}

fn has_no_device(host: &Host) -> bool {
    *host.device.as_bytes() == [0; 32]
}

/// The unique devices of all hosts.
fn devices(facts: &Facts) -> Vec<DeviceId> {
    let mut devices: Vec<DeviceId> = Vec::new();
    for host in facts.hosts.iter().filter(|host| !has_no_device(host)) {
        if !devices.contains(&host.device) {
            devices.push(host.device);
        }
    }
    devices
}

/// The required calls of an app's owner.
fn required_calls(wanted: &ApprovalGoal, facts: &Facts, app: &AppFacts) -> Vec<(Call, Purpose)> {
    let mut missing: Vec<(Call, Purpose)> = Vec::new();
    if wanted.any_device && !app.any_device {
        missing.push((Call::SetAllowAnyDevice(true), Purpose::AnyDevice));
    }
    let any_device = wanted.any_device || app.any_device;
    let unlisted = facts.hosts.iter().filter(|host| !host.listed && !has_no_device(host));
    for host in unlisted.filter(|_| !any_device) {
        let call = Call::AddDevice(host.device);
        if !missing.iter().any(|(known, _)| *known == call) {
            missing.push((call, Purpose::Device(host.name.clone())));
        }
    }
    if !app.hash_allowed {
        missing.push((Call::AddComposeHash(wanted.hash), Purpose::Document));
    }
    missing
}

/// The optional calls of an app's owner.
fn optional_calls(
    wanted: &ApprovalGoal,
    app: &AppFacts,
    obstacles: &[Obstacle],
) -> Vec<(Call, Purpose)> {
    let mut spare = Vec::new();
    if obstacles.iter().any(|obstacle| matches!(obstacle, Obstacle::Tcb { .. })) {
        spare.push((Call::SetRequireTcbUpToDate(false), Purpose::AcceptTcb));
    }
    let old = app.other_hashes.iter().filter(|hash| **hash != wanted.hash);
    spare.extend(old.map(|hash| (Call::RemoveComposeHash(*hash), Purpose::ForgetDocument)));
    spare
}
