//! Who governs an app, and whether something gets its keys. Where no contract governs it, its workspace
//! decides what boots, and the KMS gives keys to that, on any host.
//!
//! Contracts are asked when somebody looks; what they say may be a moment old, and nobody acts on it.

use std::collections::BTreeMap;

use casemate_api::{allowed::IsAllowedRequest, error::ErrorCode, reply::AppKmsInfo};
use casemate_core::{
    governance::{Account, Question, State},
    id::{Address, AppId, ComposeHash, DeviceId, InvalidId, KmsId},
};
use casemate_engine::chain::Fault;
use casemate_store::cvms::Cvm;
use futures_util::{StreamExt, stream};

use crate::{
    app::{
        Caller, Ctx, Error, cvms,
        fleet::{FleetKms, Governed},
        governance, kms, views,
    },
    view::{AllowedView, AllowlistDeviceView, AllowlistView, ContractSays, CvmsAllowedView},
};

/// Questions to a chain that one request has under way.
const AT_ONCE: usize = 8;
/// In the place of a host where none is named.
const NO_DEVICE: DeviceId = DeviceId::from_bytes([0; 32]);

/// Who governs an app.
pub async fn kms_info(ctx: &Ctx, caller: &Caller, text: &str) -> Result<AppKmsInfo, Error> {
    let app = cvms::app_record(ctx, caller, text).await?;
    let kms = kms::of(ctx, &app.kms)?;
    let Some(governed) = &kms.governed else { return Ok(AppKmsInfo::default()) };
    let newest = app.cvms.first();
    let state = match newest {
        None => None,
        Some(cvm) => {
            let question = question(governed, app.app_id, cvm.spec.compose_hash, host(ctx, cvm));
            governance::state(governed, &question).await.ok()
        }
    };
    let deployer = newest.and_then(|cvm| cvm.spec.deployer);
    let account = match &deployer {
        None => None,
        Some(deployer) => governance::account(governed, deployer).await.ok(),
    };
    let safe = deployer.filter(|_| matches!(account, Some(Account::Safe { .. })));
    Ok(AppKmsInfo {
        is_onchain_kms: true,
        chain_id: i64::try_from(governed.chain.chain_id()).ok(),
        kms_contract_address: Some(views::contract(governed.contract)),
        app_contract_address: Some(views::contract(app.app_id)),
        deployer_address: deployer.map(views::contract),
        deployer_type: account.as_ref().map(|account| kind(account).to_owned()),
        is_contract: matches!(account, Some(Account::Contract | Account::Safe { .. })),
        safe_app_url: safe.and_then(|safe| safe_app(governed.chain.chain_id(), safe)),
        owner_address: state.and_then(|state| state.owner).map(views::contract),
        pending_owner_address: state.and_then(|state| state.pending_owner).map(views::contract),
    })
}

const fn kind(account: &Account) -> &'static str {
    match account {
        Account::Eoa => "eoa",
        Account::Contract => "contract",
        Account::Safe { .. } => "safe",
    }
}

/// Where a Safe is operated, on the chains that the public page of Safes knows.
fn safe_app(chain_id: u64, safe: Address) -> Option<String> {
    let chain = match chain_id {
        1 => "eth",
        8453 => "base",
        _ => return None,
    };
    Some(format!("https://app.safe.global/home?safe={chain}:{}", views::contract(safe)))
}

/// Whether a CVM gets its app's keys with this document on this host.
pub async fn cvm_is_allowed(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
    request: &IsAllowedRequest,
) -> Result<AllowedView, Error> {
    let cvm = cvms::find(ctx, caller, text).await?;
    let query = StatusQuery::new(ctx, request, Some(cvm.spec.compose_hash), host(ctx, &cvm))?;
    let allowed = query.answer(ctx, &cvm.kms, cvm.spec.app_id).await?;
    Ok(AllowedView { cvm: Some((cvm.id, cvm.reference)), ..allowed })
}

/// Whether an app's keys are given for this document on this host.
pub async fn app_is_allowed(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
    request: &IsAllowedRequest,
) -> Result<AllowedView, Error> {
    let app = cvms::app_record(ctx, caller, text).await?;
    StatusQuery::new(ctx, request, None, None)?.answer(ctx, &app.kms, app.app_id).await
}

/// What is asked about.
#[derive(Debug, Clone, Copy)]
struct StatusQuery {
    hash: ComposeHash,
    device: Option<DeviceId>,
    chain: Option<u64>,
}

impl StatusQuery {
    /// What a request asks; what it leaves out is as the CVM has it, if it is about one.
    fn new(
        ctx: &Ctx,
        request: &IsAllowedRequest,
        own: Option<ComposeHash>,
        here: Option<DeviceId>,
    ) -> Result<Self, Error> {
        let hash = request
            .compose_hash
            .or(own)
            .ok_or_else(|| Error::invalid("compose_hash", "is required"))?;
        let device = match (request.node_id, request.device_id.as_deref()) {
            (_, Some(text)) => {
                Some(text.parse().map_err(|why: InvalidId| Error::invalid("device_id", why))?)
            }
            (Some(id), None) => {
                let node = ctx.fleet.node(id).ok_or_else(|| {
                    Error::field(ErrorCode::NodeNotFound, "node_id", "names no node here")
                        .suggest("List them with GET /api/v1/teepods/available.")
                })?;
                Some(node.observed().0.device_id)
            }
            (None, None) => here,
        };
        Ok(Self { hash, device, chain: request.chain_id })
    }

    /// What the contract of an app says, if it has one. A chain that does not answer is no answer.
    async fn answer(self, ctx: &Ctx, kms: &KmsId, app: AppId) -> Result<AllowedView, Error> {
        let kms = kms::of(ctx, kms)?;
        self.check_chain(kms)?;
        let contract = match &kms.governed {
            None => None,
            Some(governed) => {
                let question = question(governed, app, self.hash, self.device);
                let state = governance::state(governed, &question).await;
                let state = state.map_err(|fault| governance::unanswered(&fault))?;
                Some(says(governed, &question, &state, self.device.is_some()))
            }
        };
        Ok(AllowedView { cvm: None, compose_hash: self.hash, device: self.device, contract })
    }

    fn check_chain(&self, kms: &FleetKms) -> Result<(), Error> {
        let own = kms.governed.as_ref().map(|governed| governed.chain.chain_id());
        match (self.chain, own) {
            (None, _) => Ok(()),
            (Some(_), None) => {
                let why = "names a chain, and no contract governs this app";
                Err(Error::field(ErrorCode::FieldNotServed, "chain_id", why)
                    .suggest("Leave it out."))
            }
            (Some(requested), Some(own)) if requested == own => Ok(()),
            (Some(_), Some(own)) => {
                let why = format!("names another chain than that of the app's contract, {own}");
                Err(Error::field(ErrorCode::InvalidRequest, "chain_id", why)
                    .suggest("Leave it out."))
            }
        }
    }
}

/// The host of a CVM, as far as it is known.
fn host(ctx: &Ctx, cvm: &Cvm) -> Option<DeviceId> {
    ctx.fleet.node(cvm.node).map(|node| node.observed().0.device_id)
}

fn question(
    governed: &Governed,
    app: AppId,
    hash: ComposeHash,
    device: Option<DeviceId>,
) -> Question {
    let device = device.unwrap_or(NO_DEVICE);
    Question { kms: governed.contract, app, hash, device, os_image: None, transaction: None }
}

/// What follows from the state of contracts for a document on a host, or, where none is named, on any.
fn says(governed: &Governed, question: &Question, state: &State, named: bool) -> ContractSays {
    let (kms, app) = (views::contract(question.kms), views::contract(question.app));
    let chain = governed.chain.chain_id();
    let error = if !state.kms_exists {
        Some(format!("there is no contract of a KMS at {kms} on chain {chain}"))
    } else if !state.app_exists {
        Some(format!("there is no contract of an app at {app} on chain {chain}"))
    } else if !state.registered {
        Some(format!(
            "the contract of the KMS, {kms} on chain {chain}, does not know the app {app}"
        ))
    } else if !named && !state.any_device {
        Some("not every host is allowed: name one by node_id or device_id".to_owned())
    } else {
        None
    };
    ContractSays {
        contract: app,
        hash: state.hash_allowed,
        any_device: state.any_device,
        device: named.then_some(state.device_listed),
        all: error.is_none() && state.allowed(),
        error,
    }
}

/// Whether the CVMs of an app get its keys, each with its document on its host.
pub async fn cvms_are_allowed(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
) -> Result<CvmsAllowedView, Error> {
    let app = cvms::app_record(ctx, caller, text).await?;
    let kms = kms::of(ctx, &app.kms)?;
    let Some(governed) = &kms.governed else {
        let skipped = app.cvms.into_iter().map(|cvm| (cvm.id, cvm.reference)).collect();
        return Ok(CvmsAllowedView { skipped, ..CvmsAllowedView::default() });
    };
    let ask = async |cvm: Cvm| {
        let (hash, device) = (cvm.spec.compose_hash, host(ctx, &cvm));
        let question = question(governed, cvm.spec.app_id, hash, device);
        let contract = match governance::state(governed, &question).await {
            Ok(state) => says(governed, &question, &state, device.is_some()),
            Err(fault) => unknown(question.app, &fault),
        };
        let contract = Some(contract);
        AllowedView { cvm: Some((cvm.id, cvm.reference)), compose_hash: hash, device, contract }
    };
    let results = stream::iter(app.cvms).map(ask).buffered(AT_ONCE).collect().await;
    Ok(CvmsAllowedView { is_onchain: true, results, skipped: Vec::new() })
}

/// One of several answers that is not there.
fn unknown(app: AppId, fault: &Fault) -> ContractSays {
    let error = Some(fault.to_string());
    ContractSays { contract: views::contract(app), error, ..ContractSays::default() }
}

/// The hosts of an app's CVMs and of the other nodes, and which of them its contract lists.
pub async fn device_allowlist(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
) -> Result<AllowlistView, Error> {
    let app = cvms::app_record(ctx, caller, text).await?;
    let kms = kms::of(ctx, &app.kms)?;
    let Some(governed) = &kms.governed else { return Ok(AllowlistView::default()) };
    let hash = app.cvms.first().map(|cvm| cvm.spec.compose_hash);
    let hash = hash.unwrap_or(ComposeHash::from_bytes([0; 32]));
    let ask = async |mut device: AllowlistDeviceView| {
        let question = question(governed, app.app_id, hash, Some(device.device));
        let state = governance::state(governed, &question).await.ok();
        device.listed = state.map(|state| state.device_listed);
        (device, state.map(|state| state.any_device))
    };
    let answers: Vec<_> =
        stream::iter(hosts(ctx, &app.cvms)).map(ask).buffered(AT_ONCE).collect().await;
    let any_device = answers.iter().find_map(|(_, any)| *any);
    Ok(AllowlistView {
        contract: Some((governed.chain.chain_id(), views::contract(app.app_id))),
        any_device,
        devices: answers.into_iter().map(|(device, _)| device).collect(),
    })
}

/// Every host once, those of these CVMs first; nothing is said of it yet.
fn hosts(ctx: &Ctx, cvms: &[Cvm]) -> Vec<AllowlistDeviceView> {
    let mut hosts: BTreeMap<DeviceId, AllowlistDeviceView> = BTreeMap::new();
    for node in ctx.fleet.all() {
        let device = node.observed().0.device_id;
        let host = hosts.entry(device).or_insert_with(|| AllowlistDeviceView {
            device,
            node: Some(node.name.clone()),
            cvms: Vec::new(),
            listed: None,
        });
        let own = cvms.iter().filter(|cvm| cvm.node == node.id);
        host.cvms.extend(own.map(|cvm| (cvm.id, cvm.reference.clone())));
    }
    let mut hosts: Vec<_> = hosts.into_values().collect();
    hosts.sort_by_key(|host| host.cvms.is_empty());
    hosts
}
