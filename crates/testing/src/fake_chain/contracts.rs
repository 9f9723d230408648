//! KMS and app contracts as a small state machine: the same calls, events and reverts, without an EVM.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address as Raw, B256, Bytes, U256};
use alloy_sol_types::{Revert, SolError, SolEvent, SolInterface, SolValue};
use casemate_core::{
    create_address::create_address,
    governance::{
        EPOCH_AUTH, Epochs, KmsSettings, OLD_EPOCH_AUTH,
        interface::{
            AppBootInfo,
            AppContract::{self, AppContractCalls as AppCall},
            KmsContract::{self, KmsContractCalls as KmsCall},
            SafeContract::SafeContractCalls as SafeCall,
        },
        judge::Log,
        returned::is_key,
    },
    id::{Address, Wallet},
};

/// Any code, where only its existence matters.
pub(super) const SOME_CODE: [u8; 1] = [0xfe];

/// The result of a call: return data and logs, or the revert data.
pub(super) type Outcome = Result<Run, Vec<u8>>;

/// A successful call.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    pub returned: Vec<u8>,
    pub logs: Vec<Log>,
}

/// Versions of the app contract that exist on real chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Ownership is transferred immediately; without `pendingOwner`, `requireTcbUpToDate` and `version`.
    SingleStep,
    /// Ownership is transferred in two steps.
    TwoStep,
    /// Answers `isAppAllowed` and nothing else: what the interface of apps requires.
    JudgeOnly,
}

#[derive(Debug, Clone)]
pub(super) struct App {
    pub generation: Generation,
    pub owner: Option<Address>,
    pub pending_owner: Option<Address>,
    pub hashes: BTreeSet<B256>,
    pub devices: BTreeSet<B256>,
    pub any_device: bool,
    pub tcb_up_to_date: bool,
    pub upgrades_disabled: bool,
    pub epochs: Epochs,
}

impl App {
    pub fn new(owner: Address, generation: Generation) -> Self {
        Self {
            generation,
            owner: Some(owner),
            pending_owner: None,
            hashes: BTreeSet::new(),
            devices: BTreeSet::new(),
            any_device: false,
            tcb_up_to_date: false,
            upgrades_disabled: false,
            epochs: Epochs::None,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Kms {
    pub apps: BTreeSet<Address>,
    pub devices: BTreeSet<B256>,
    pub images: BTreeSet<B256>,
    pub settings: KmsSettings,
    created: u64,
}

/// A contract that only answers the Safe functions, if it is a Safe.
#[derive(Debug, Clone, Default)]
pub(super) struct Other {
    pub code: Vec<u8>,
    /// Threshold and owners.
    pub safe: Option<(u64, Vec<Address>)>,
}

/// All contracts at one block.
#[derive(Debug, Clone, Default)]
pub(super) struct Contracts {
    pub kms: BTreeMap<Address, Kms>,
    pub apps: BTreeMap<Address, App>,
    pub others: BTreeMap<Address, Other>,
}

impl Contracts {
    /// The code at an address; one byte for the contracts simulated here.
    pub fn code(&self, at: &Address) -> Vec<u8> {
        if self.kms.contains_key(at) || self.apps.contains_key(at) {
            return SOME_CODE.to_vec();
        }
        self.others.get(at).map(|other| other.code.clone()).unwrap_or_default()
    }

    /// A storage slot, as far as it is used.
    pub fn storage(&self, at: &Address, slot: u64) -> [u8; 32] {
        let mut word = [0; 32];
        if let (Some(app), 1) = (self.apps.get(at), slot) {
            (word[30], word[31]) = (app.any_device.into(), app.upgrades_disabled.into());
        }
        word
    }

    /// Executes a call; a revert changes nothing.
    pub fn call(&mut self, from: Address, to: Address, data: &[u8]) -> Outcome {
        let before = self.clone();
        let outcome = self.run(from, to, data);
        if outcome.is_err() {
            *self = before;
        }
        outcome
    }

    fn run(&mut self, from: Address, to: Address, data: &[u8]) -> Outcome {
        if let Some(app) = self.apps.get_mut(&to) {
            app.run(from, to, data)
        } else if self.kms.contains_key(&to) {
            self.run_kms(from, to, data)
        } else {
            self.others.get(&to).map_or_else(|| Ok(Run::default()), |other| other.run(data))
        }
    }

    fn run_kms(&mut self, from: Address, at: Address, data: &[u8]) -> Outcome {
        let call = KmsCall::abi_decode(data).map_err(|_| Vec::new())?;
        let kms = self.kms.entry(at).or_default();
        match call {
            KmsCall::registeredApps(call) => Ok(returns(kms.apps.contains(&ours(call.app)))),
            KmsCall::allowedOsImages(call) => Ok(returns(kms.images.contains(&call.hash))),
            KmsCall::kmsAllowedDeviceIds(call) => Ok(returns(kms.devices.contains(&call.device))),
            KmsCall::addKmsDevice(call) => Ok(silent(kms.devices.insert(call.device))),
            KmsCall::addOsImageHash(call) => Ok(silent(kms.images.insert(call.hash))),
            KmsCall::removeOsImageHash(call) => Ok(silent(kms.images.remove(&call.hash))),
            KmsCall::registerApp(call) => register(kms, at, call.app),
            KmsCall::deployAndRegisterApp(call) => self.deploy(from, at, &call),
            KmsCall::isAppAllowed(call) => Ok(self.kms_allows(at, &call.boot)),
            other => settings(&kms.settings, &other),
        }
    }

    fn deploy(
        &mut self,
        from: Address,
        at: Address,
        call: &KmsContract::deployAndRegisterAppCall,
    ) -> Outcome {
        let kms = self.kms.entry(at).or_default();
        kms.created += 1;
        let id = create_address(&Wallet::from_bytes(*at.as_bytes()), kms.created);
        let mut logs = register(kms, at, raw(id.into()))?.logs;
        let mut app = App::new(ours(call.owner), Generation::TwoStep);
        app.upgrades_disabled = call.disableUpgrades;
        app.any_device = call.allowAnyDevice;
        if !call.deviceId.is_zero() {
            app.devices.insert(call.deviceId);
            logs.push(log(id.into(), &AppContract::DeviceAdded { device: call.deviceId }));
        }
        if !call.composeHash.is_zero() {
            app.hashes.insert(call.composeHash);
            logs.push(log(id.into(), &AppContract::ComposeHashAdded { hash: call.composeHash }));
        }
        self.apps.insert(id.into(), app);
        let deployed =
            KmsContract::AppDeployedViaFactory { appId: raw(id.into()), deployer: raw(from) };
        logs.push(log(at, &deployed));
        Ok(Run { returned: raw(id.into()).abi_encode(), logs })
    }

    fn kms_allows(&self, at: Address, boot: &AppBootInfo) -> Run {
        let app = ours(boot.appId);
        let known = self.kms.get(&at).filter(|kms| kms.apps.contains(&app));
        let refusal = match (known, self.apps.get(&app)) {
            (None, _) => "App not registered",
            (Some(kms), _) if !kms.images.contains(&boot.osImageHash) => "OS image is not allowed",
            (Some(_), None) => "App not deployed or invalid address",
            (Some(_), Some(app)) => app.refusal(boot),
        };
        Run { returned: (refusal.is_empty(), refusal).abi_encode_params(), logs: Vec::new() }
    }
}

/// What a KMS contract says of itself.
fn settings(settings: &KmsSettings, call: &KmsCall) -> Outcome {
    let address = |of: Option<Address>| of.map_or(Raw::ZERO, raw).abi_encode();
    let returned = match call {
        KmsCall::owner(_) => address(settings.owner),
        KmsCall::appImplementation(_) => address(settings.app_implementation),
        KmsCall::gatewayAppId(_) => {
            settings.gateway_app_id.clone().unwrap_or_default().abi_encode()
        }
        KmsCall::kmsInfo(_) => {
            let (k256, ca) = settings
                .keys
                .as_ref()
                .map_or_else(Default::default, |keys| (keys.k256.clone(), keys.ca.clone()));
            let none = Bytes::new();
            (Bytes::from(k256), Bytes::from(ca), none.clone(), none).abi_encode_params()
        }
        _ => return Err(Vec::new()),
    };
    Ok(Run { returned, logs: Vec::new() })
}

impl Other {
    fn run(&self, data: &[u8]) -> Outcome {
        let Some((threshold, owners)) = &self.safe else {
            return if is_key(&self.code) { Ok(Run::default()) } else { Err(Vec::new()) };
        };
        let returned = match SafeCall::abi_decode(data).map_err(|_| Vec::new())? {
            SafeCall::getThreshold(_) => U256::from(*threshold).abi_encode(),
            SafeCall::getOwners(_) => {
                owners.iter().map(|owner| raw(*owner)).collect::<Vec<Raw>>().abi_encode()
            }
            SafeCall::execTransaction(_) => return Err(Vec::new()),
        };
        Ok(Run { returned, logs: Vec::new() })
    }
}

impl App {
    fn run(&mut self, from: Address, at: Address, data: &[u8]) -> Outcome {
        let call = AppCall::abi_decode(data).map_err(|_| Vec::new())?;
        match self.view(&call)? {
            Some(returned) => Ok(Run { returned, logs: Vec::new() }),
            None => self.change(from, at, call),
        }
    }

    /// The result of a view; `None` if the call is not a view.
    fn view(&self, call: &AppCall) -> Result<Option<Vec<u8>>, Vec<u8>> {
        let old = self.generation == Generation::SingleStep;
        let has_lists = self.generation != Generation::JudgeOnly;
        Ok(Some(match call {
            AppCall::isAppAllowed(call) => {
                let refusal = self.refusal(&call.boot);
                (refusal.is_empty(), refusal).abi_encode_params()
            }
            _ if !has_lists => return Err(Vec::new()),
            AppCall::supportsInterface(call) => {
                let id = call.id.0;
                match self.epochs {
                    Epochs::None => false,
                    Epochs::Old => id == OLD_EPOCH_AUTH,
                    Epochs::Current => id == EPOCH_AUTH,
                }
                .abi_encode()
            }
            AppCall::requireTcbUpToDate(_) | AppCall::version(_) | AppCall::pendingOwner(_)
                if old =>
            {
                return Err(Vec::new());
            }
            AppCall::allowedComposeHashes(call) => self.hashes.contains(&call.hash).abi_encode(),
            AppCall::allowedDeviceIds(call) => self.devices.contains(&call.device).abi_encode(),
            AppCall::allowAnyDevice(_) => self.any_device.abi_encode(),
            AppCall::requireTcbUpToDate(_) => self.tcb_up_to_date.abi_encode(),
            AppCall::version(_) => U256::from(2).abi_encode(),
            AppCall::owner(_) => self.owner.map_or(Raw::ZERO, raw).abi_encode(),
            AppCall::pendingOwner(_) => self.pending_owner.map_or(Raw::ZERO, raw).abi_encode(),
            _ => return Ok(None),
        }))
    }

    fn change(&mut self, from: Address, at: Address, call: AppCall) -> Outcome {
        if let AppCall::acceptOwnership(_) = call {
            return self.accept(from);
        }
        if self.owner != Some(from) {
            return Err(unauthorized(from));
        }
        match call {
            AppCall::addComposeHash(AppContract::addComposeHashCall { hash }) => {
                self.hashes.insert(hash);
                Ok(says(at, &AppContract::ComposeHashAdded { hash }))
            }
            AppCall::removeComposeHash(AppContract::removeComposeHashCall { hash }) => {
                self.hashes.remove(&hash);
                Ok(says(at, &AppContract::ComposeHashRemoved { hash }))
            }
            AppCall::addDevice(AppContract::addDeviceCall { device }) => {
                self.devices.insert(device);
                Ok(says(at, &AppContract::DeviceAdded { device }))
            }
            AppCall::removeDevice(AppContract::removeDeviceCall { device }) => {
                self.devices.remove(&device);
                Ok(says(at, &AppContract::DeviceRemoved { device }))
            }
            AppCall::setAllowAnyDevice(AppContract::setAllowAnyDeviceCall { allow }) => {
                self.any_device = allow;
                Ok(says(at, &AppContract::AllowAnyDeviceSet { allow }))
            }
            other => self.govern(other),
        }
    }

    fn govern(&mut self, call: AppCall) -> Outcome {
        match call {
            AppCall::setRequireTcbUpToDate(call) if self.generation == Generation::TwoStep => {
                self.tcb_up_to_date = call.require;
            }
            AppCall::disableUpgrades(_) => self.upgrades_disabled = true,
            AppCall::transferOwnership(call) if self.generation == Generation::TwoStep => {
                self.pending_owner = Some(ours(call.owner));
            }
            AppCall::transferOwnership(call) => self.owner = Some(ours(call.owner)),
            AppCall::renounceOwnership(_) => (self.owner, self.pending_owner) = (None, None),
            _ => return Err(Vec::new()),
        }
        Ok(Run::default())
    }

    fn accept(&mut self, from: Address) -> Outcome {
        match self.generation {
            Generation::SingleStep | Generation::JudgeOnly => Err(Vec::new()),
            Generation::TwoStep if self.pending_owner != Some(from) => Err(unauthorized(from)),
            Generation::TwoStep => {
                (self.owner, self.pending_owner) = (Some(from), None);
                Ok(Run::default())
            }
        }
    }

    /// Why a boot is refused; empty if it is allowed.
    fn refusal(&self, boot: &AppBootInfo) -> &'static str {
        if self.tcb_up_to_date && boot.tcbStatus != "UpToDate" {
            "TCB status is not up to date"
        } else if !self.hashes.contains(&boot.composeHash) {
            "Compose hash not allowed"
        } else if !self.any_device && !self.devices.contains(&boot.deviceId) {
            "Device not allowed"
        } else {
            ""
        }
    }
}

fn register(kms: &mut Kms, at: Address, app: Raw) -> Outcome {
    if app.is_zero() {
        return Err(Revert { reason: "Invalid app ID".to_owned() }.abi_encode());
    }
    kms.apps.insert(ours(app));
    Ok(says(at, &KmsContract::AppRegistered { appId: app }))
}

fn unauthorized(from: Address) -> Vec<u8> {
    AppContract::OwnableUnauthorizedAccount { account: raw(from) }.abi_encode()
}

fn returns(flag: bool) -> Run {
    Run { returned: flag.abi_encode(), logs: Vec::new() }
}

/// A change whose event does not matter here.
fn silent(_changed: bool) -> Run {
    Run::default()
}

fn says(at: Address, event: &impl SolEvent) -> Run {
    Run { returned: Vec::new(), logs: vec![log(at, event)] }
}

pub(super) fn log(at: Address, event: &impl SolEvent) -> Log {
    let data = event.encode_log_data();
    Log {
        address: at,
        topics: data.topics().iter().map(|topic| topic.0).collect(),
        data: data.data.to_vec(),
        removed: false,
    }
}

pub(super) fn raw(address: Address) -> Raw {
    Raw::from(*address.as_bytes())
}

pub(super) fn ours(address: Raw) -> Address {
    Address::from_bytes(address.into_array())
}
