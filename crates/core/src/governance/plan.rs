//! What contracts still have to be told before something boots, who can tell them, and where nobody can.
//!
//! From [`Facts`], which contracts and hosts say, and what is [`Wanted`], [`plan`] makes a list of
//! transactions. Carried out in their order, each by its signer, they make contracts allow what is wanted;
//! where they would not, [`Plan::obstacles`] says why. What an owner may also want, and what is not needed
//! for it, is marked as optional. Whether a transaction would succeed is tried on the chain before
//! anybody pays for it; what came of that is put in with [`Plan::tried`].
//!
//! Nothing is signed or sent here. What can be read is read at one block; it may be otherwise at the next.

mod call;
mod facts;
mod messages;
mod safe;
#[cfg(test)]
mod tests;

pub use self::{
    call::{Call, Input, Transaction, checksummed},
    facts::{AppFacts, Facts, Host, KmsFacts, Subject, Wanted},
    safe::{batch, multisend},
};
use super::Account;
use crate::id::{Address, AppId, DeviceId};

/// The only TCB status that an app accepts which demands that it is up to date.
const UP_TO_DATE: &str = "UpToDate";

/// How things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Allowed already.
    Allowed,
    /// Transactions are missing.
    Missing,
    /// Transactions are missing, and not all of them can be signed by the one who asks.
    NotYours,
    /// No transaction of the app's owner is enough.
    Blocked,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is missing, in the order in which it is to be done.
    pub steps: Vec<Step>,
    /// What an owner may want besides.
    pub optional: Vec<Step>,
    /// Why the steps are not enough.
    pub obstacles: Vec<Obstacle>,
    /// What is good to know.
    pub notes: Vec<Note>,
    /// Who signs, where the one who asks cannot.
    pub not_yours: Option<Address>,
}

/// One transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is sent where.
    pub transaction: Transaction,
    /// What it is good for.
    pub why: Why,
    /// Who signs.
    pub signer: Signer,
    /// The place of the step that must be done before.
    pub after: Option<usize>,
    /// Whether it would succeed now.
    pub trial: Trial,
}

/// What a transaction is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The app is made and registered, with document and device.
    Deploy,
    /// The KMS gets to know the app.
    Register,
    /// The app gets its new owner.
    Accept,
    /// The document is allowed.
    Document,
    /// The device of this host is allowed.
    Device(String),
    /// Every device is allowed.
    AnyDevice,
    /// Optional: an older document is allowed no more.
    ForgetDocument,
    /// Optional: hosts whose TCB is out of date are allowed.
    AcceptTcb,
}

/// Who signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// Anybody who pays.
    Anyone,
    /// This account only.
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

/// What came of trying a transaction, without sending it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// It was not tried yet, or cannot be before another step is done.
    Untried,
    /// It would succeed.
    Succeeds,
    /// It would fail, for this reason.
    Reverts(String),
}

/// Why the steps are not enough. `Display` says it to the user, with the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no contract of a KMS at the configured address.
    NoKms {
        /// The address.
        contract: Address,
        chain_id: u64,
    },
    /// There is no contract at the app's address.
    NoApp {
        /// The address.
        app: AppId,
        chain_id: u64,
    },
    /// Nobody owns the app any more.
    OwnerGone { app: AppId },
    /// A host has no device id.
    NoDevice { host: String },
    /// A new app lists one device, and there are several hosts.
    OneDevice {
        /// How many devices they have.
        devices: usize,
    },
    /// The KMS refuses the OS image of a host.
    OsImage {
        host: String,
        /// The hash of the image.
        image: [u8; 32],
        /// Who could change that.
        kms_owner: Option<Address>,
    },
    /// The app demands an up-to-date TCB, and that of a host is not.
    Tcb {
        host: String,
        /// What its TCB is.
        status: String,
    },
    /// A step would fail.
    Reverts {
        /// Its place.
        step: usize,
        /// Why.
        reason: String,
        /// Whether the code of the contract can never be replaced.
        for_good: bool,
    },
}

/// What is good to know about a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The app was offered to somebody who has not accepted: the present owner still signs.
    Offered {
        /// Who owns it.
        from: Address,
        /// To whom it was offered.
        to: Address,
    },
    /// Several owners of a Safe sign.
    Safe {
        safe: Address,
        /// How many.
        threshold: u64,
        /// Of whom.
        owners: usize,
    },
    /// A contract signs by rules of its own.
    Contract { contract: Address },
    /// The code of the app's contract can never be replaced.
    UpgradesDisabled,
    /// The image of a host is not known by its hash, so the KMS was not asked about it.
    ImageUnknown { host: String },
    /// The app allows every device, so hosts need not be listed.
    AnyDevice,
}

#[must_use]
pub fn plan(wanted: &Wanted, facts: &Facts) -> Plan {
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
        Subject::New(owner) => plan.make(wanted, facts, *owner),
        Subject::App(app) if !app.exists => {
            plan.obstacles.push(Obstacle::NoApp { app: app.id, chain_id: facts.chain_id });
        }
        Subject::App(app) => plan.change(wanted, facts, app),
    }
    plan
}

impl Plan {
    /// How things stand.
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

    /// The same, with what came of trying the steps, the needed ones before the optional ones. A needed
    /// step that would fail is an obstacle.
    #[must_use]
    pub fn tried(mut self, trials: impl IntoIterator<Item = Trial>) -> Self {
        let all = self.steps.iter_mut().chain(&mut self.optional);
        for (step, trial) in all.zip(trials) {
            step.trial = trial;
        }
        let for_good = self.notes.contains(&Note::UpgradesDisabled);
        let failing = self.steps.iter().enumerate().filter_map(|(place, step)| match &step.trial {
            Trial::Reverts(reason) => {
                Some(Obstacle::Reverts { step: place, reason: reason.clone(), for_good })
            }
            Trial::Untried | Trial::Succeeds => None,
        });
        self.obstacles.extend(failing.collect::<Vec<_>>());
        self
    }

    /// The needed transactions of an account, as they go into one batch.
    #[must_use]
    pub fn batch_of(&self, account: Address) -> Vec<&Transaction> {
        let its = |step: &&Step| step.signer.address().is_none_or(|signer| signer == account);
        self.steps.iter().filter(its).map(|step| &step.transaction).collect()
    }

    /// The account that has to sign, where one has to.
    #[must_use]
    pub fn signer(&self) -> Option<Address> {
        self.steps.iter().find_map(|step| step.signer.address())
    }

    /// A new app: one transaction, which anybody can send; whom it is to belong to is one of its arguments.
    fn make(&mut self, wanted: &Wanted, facts: &Facts, owner: Address) {
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
        self.step(facts.kms.contract, call, Why::Deploy, Signer::Anyone, None);
    }

    fn change(&mut self, wanted: &Wanted, facts: &Facts, app: &AppFacts) {
        self.check_hosts(wanted, facts, Some(app));
        if app.upgrades_disabled == Some(true) {
            self.notes.push(Note::UpgradesDisabled);
        }
        if !app.registered {
            let call = Call::RegisterApp(app.id);
            self.step(facts.kms.contract, call, Why::Register, Signer::Anyone, None);
        }
        let missing = missing(wanted, facts, app);
        let spare = spare(wanted, app, &self.obstacles);
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
                    Why::Accept,
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
            self.tell_signer(&by, wanted.signer);
        }
        for (call, why) in missing {
            self.step(app.id.into(), call, why, by.clone(), after);
        }
        let optional = |(call, why)| step(app.id.into(), call, why, by.clone(), after);
        self.optional = spare.into_iter().map(optional).collect();
    }

    fn step(&mut self, to: Address, call: Call, why: Why, signer: Signer, after: Option<usize>) {
        self.steps.push(step(to, call, why, signer, after));
    }

    /// What no transaction of the app's owner changes.
    fn check_hosts(&mut self, wanted: &Wanted, facts: &Facts, app: Option<&AppFacts>) {
        let any_device = wanted.any_device || app.is_some_and(|app| app.any_device);
        let tcb_required = app.is_some_and(|app| app.tcb_required == Some(true));
        if app.is_some_and(|app| app.any_device) {
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

    /// Says by whose rules is signed, and whether the one who asks has a part in it.
    fn tell_signer(&mut self, signer: &Signer, me: Option<Address>) {
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

fn step(to: Address, call: Call, why: Why, signer: Signer, after: Option<usize>) -> Step {
    Step { transaction: Transaction { to, call }, why, signer, after, trial: Trial::Untried }
}

/// What an account is taken for where nothing is known of it: one with a key, which is the least that
/// can be asked of a signer.
fn account(facts: &Facts, address: Address) -> Signer {
    let kind = facts.accounts.get(&address).cloned().unwrap_or(Account::Eoa);
    Signer::Account(address, kind)
}

fn has_no_device(host: &Host) -> bool {
    *host.device.as_bytes() == [0; 32]
}

/// The devices of all hosts, each once.
fn devices(facts: &Facts) -> Vec<DeviceId> {
    let mut devices: Vec<DeviceId> = Vec::new();
    for host in facts.hosts.iter().filter(|host| !has_no_device(host)) {
        if !devices.contains(&host.device) {
            devices.push(host.device);
        }
    }
    devices
}

/// What the owner of an app has to sign.
fn missing(wanted: &Wanted, facts: &Facts, app: &AppFacts) -> Vec<(Call, Why)> {
    let mut missing: Vec<(Call, Why)> = Vec::new();
    if wanted.any_device && !app.any_device {
        missing.push((Call::SetAllowAnyDevice(true), Why::AnyDevice));
    }
    let any_device = wanted.any_device || app.any_device;
    let unlisted = facts.hosts.iter().filter(|host| !host.listed && !has_no_device(host));
    for host in unlisted.filter(|_| !any_device) {
        let call = Call::AddDevice(host.device);
        if !missing.iter().any(|(known, _)| *known == call) {
            missing.push((call, Why::Device(host.name.clone())));
        }
    }
    if !app.hash_allowed {
        missing.push((Call::AddComposeHash(wanted.hash), Why::Document));
    }
    missing
}

/// What the owner of an app may also want.
fn spare(wanted: &Wanted, app: &AppFacts, obstacles: &[Obstacle]) -> Vec<(Call, Why)> {
    let mut spare = Vec::new();
    if obstacles.iter().any(|obstacle| matches!(obstacle, Obstacle::Tcb { .. })) {
        spare.push((Call::SetRequireTcbUpToDate(false), Why::AcceptTcb));
    }
    let old = app.other_hashes.iter().filter(|hash| **hash != wanted.hash);
    spare.extend(old.map(|hash| (Call::RemoveComposeHash(*hash), Why::ForgetDocument)));
    spare
}
