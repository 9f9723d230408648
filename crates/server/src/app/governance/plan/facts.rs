//! What contracts say that a plan depends on.

use std::collections::BTreeMap;

use casemate_core::{
    governance::{
        BootInfo, BootVerdict, Question, State,
        plan::{AppFacts, ApprovalGoal, Facts, Host, KmsFacts, Subject},
    },
    id::{Address, AppId, ComposeHash, DeviceId},
};
use casemate_engine::chain::Fault;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::target::{Spot, Target};

/// Questions under way at once.
const AT_ONCE: usize = 8;
/// In place of an app that there is not.
const NO_APP: AppId = AppId::from_bytes([0; 20]);
/// What is said of the TCB of hosts, of which nothing is known here: none is behind.
const CURRENT: &str = "UpToDate";
/// What is said to learn whether an app would mind.
const BEHIND: &str = "OutOfDate";
/// What the contract of an app says then.
const MINDS: &str = "TCB status is not up to date";
/// What it says to a document that it does not allow.
const NO_DOCUMENT: &str = "Compose hash not allowed";
/// What it says to a device that it does not allow, once it allows the document.
const NO_DEVICE: &str = "Device not allowed";

/// Asks for all of it.
pub async fn facts(target: &Target, wanted: &ApprovalGoal) -> Result<Facts, Fault> {
    let chain = &target.governed.chain;
    let devices: Vec<DeviceId> =
        target.spots.iter().map(|spot| spot.node.observed().0.device_id).collect();
    let first = devices.first().copied().unwrap_or(DeviceId::from_bytes([0; 32]));
    let os_image = target.spots.first().and_then(|spot| spot.image);
    let state = chain.state(&question(target, wanted.hash, first, os_image)).await?;
    let images = images(target).await?;
    let hosts = stream::iter(target.spots.iter().cloned().zip(devices))
        .map(|spot| host(target, wanted, spot, &state, &images))
        .buffered(AT_ONCE);
    let hosts: Vec<Host> = hosts.try_collect().await?;
    let state = newest(state, &hosts);
    let refused = images.values().any(|allowed| !allowed);
    let kms_owner = if refused { kms_owner(target).await? } else { None };
    let mut accounts = BTreeMap::new();
    for address in [state.owner, state.pending_owner, target.owner].into_iter().flatten() {
        accounts.insert(address, chain.account(&address).await?);
    }
    let app = match (target.app, target.owner) {
        (None, Some(owner)) => Subject::New(owner),
        (app, _) => Subject::App(app_facts(target, app.unwrap_or(NO_APP), wanted, &state).await?),
    };
    Ok(Facts {
        chain_id: chain.chain_id(),
        block: state.block,
        kms: KmsFacts {
            contract: target.governed.contract,
            exists: state.kms_exists,
            owner: kms_owner,
        },
        app,
        hosts,
        accounts,
    })
}

/// What a chain says of state may be kept for a moment, what it says to a boot is not: so the latter decides
/// where they differ.
fn newest(mut state: State, hosts: &[Host]) -> State {
    for host in hosts {
        match &host.boot {
            Some(BootVerdict::Allowed(_)) => state.hash_allowed = true,
            Some(BootVerdict::Denied(_, reason)) if reason == NO_DOCUMENT => {
                state.hash_allowed = false;
            }
            Some(BootVerdict::Denied(_, reason)) if reason == NO_DEVICE => {
                (state.hash_allowed, state.any_device) = (true, false);
            }
            Some(BootVerdict::Denied(..)) | None => {}
        }
    }
    state
}

/// Whether the app lists a device, by the newer of its words.
fn listed(state: &State, boot: Option<&BootVerdict>) -> bool {
    match boot {
        Some(BootVerdict::Allowed(_)) => !state.any_device || state.device_listed,
        Some(BootVerdict::Denied(_, reason)) if reason == NO_DEVICE => false,
        _ => state.device_listed,
    }
}

fn question(
    target: &Target,
    hash: ComposeHash,
    device: DeviceId,
    os_image: Option<[u8; 32]>,
) -> Question {
    let (kms, app) = (target.governed.contract, target.app.unwrap_or(NO_APP));
    Question { kms, app, hash, device, os_image, transaction: None }
}

/// Which of the images the contract of the KMS allows.
async fn images(target: &Target) -> Result<BTreeMap<[u8; 32], bool>, Fault> {
    let mut images: Vec<[u8; 32]> = target.spots.iter().filter_map(|spot| spot.image).collect();
    images.sort_unstable();
    images.dedup();
    if images.is_empty() {
        return Ok(BTreeMap::new());
    }
    let kms = &target.governed.contract;
    let (_, allowed) = target.governed.chain.kms_allows(kms, &[], &images).await?;
    Ok(images.into_iter().zip(allowed).collect())
}

async fn host(
    target: &Target,
    wanted: &ApprovalGoal,
    (spot, device): (Spot, DeviceId),
    first: &State,
    images: &BTreeMap<[u8; 32], bool>,
) -> Result<Host, Fault> {
    let state = match target.app {
        Some(_) => {
            target.governed.chain.state(&question(target, wanted.hash, device, spot.image)).await?
        }
        None => *first,
    };
    let boot = match (spot.image, target.app) {
        (Some(image), Some(_)) => Some(boot(target, wanted, device, image, CURRENT).await?),
        _ => None,
    };
    Ok(Host {
        name: spot.node.name.clone(),
        device,
        listed: target.app.is_some() && listed(&state, boot.as_ref()),
        os_image: spot.image.map(|image| (image, images.get(&image).copied().unwrap_or(false))),
        tcb_status: None,
        boot,
    })
}

async fn boot(
    target: &Target,
    wanted: &ApprovalGoal,
    device: DeviceId,
    os_image_hash: [u8; 32],
    tcb_status: &str,
) -> Result<BootVerdict, Fault> {
    let question = question(target, wanted.hash, device, Some(os_image_hash));
    let info =
        BootInfo { tcb_status: tcb_status.to_owned(), ..BootInfo::new(&question, os_image_hash) };
    target.governed.chain.boot(&info).await
}

async fn app_facts(
    target: &Target,
    id: AppId,
    wanted: &ApprovalGoal,
    state: &State,
) -> Result<AppFacts, Fault> {
    let chain = &target.governed.chain;
    Ok(AppFacts {
        id,
        exists: state.app_exists,
        has_lists: state.has_lists,
        epochs: chain.epochs(&id).await?,
        registered: state.registered,
        owner: state.owner,
        pending_owner: state.pending_owner,
        hash_allowed: state.hash_allowed,
        any_device: state.any_device,
        tcb_required: tcb_required(target, wanted).await?,
        upgrades_disabled: if state.app_exists {
            chain.upgrades_disabled(&id).await?
        } else {
            None
        },
        other_hashes: still_allowed(target, state).await?,
    })
}

/// Whether the app would mind a host whose TCB is out of date. Contracts say it before they look at
/// document and device; `None` where something else comes first.
async fn tcb_required(target: &Target, wanted: &ApprovalGoal) -> Result<Option<bool>, Fault> {
    let spot = target.spots.iter().find_map(|spot| Some((spot, spot.image?)));
    let Some((spot, image)) = spot else { return Ok(None) };
    let device = spot.node.observed().0.device_id;
    Ok(match boot(target, wanted, device, image, BEHIND).await? {
        BootVerdict::Denied(_, reason) if reason == MINDS => Some(true),
        BootVerdict::Allowed(_) => Some(false),
        BootVerdict::Denied(..) => None,
    })
}

/// Older documents that the app still allows.
async fn still_allowed(target: &Target, state: &State) -> Result<Vec<ComposeHash>, Fault> {
    if !(state.app_exists && state.has_lists) {
        return Ok(Vec::new());
    }
    let ask = async |hash: ComposeHash| {
        let question = question(target, hash, DeviceId::from_bytes([0; 32]), None);
        let state = target.governed.chain.state(&question).await?;
        Ok::<_, Fault>(state.hash_allowed.then_some(hash))
    };
    let answers = stream::iter(target.old.iter().copied()).map(ask).buffered(AT_ONCE);
    answers.try_filter_map(async |hash| Ok(hash)).try_collect().await
}

/// Who owns the contract of the KMS.
async fn kms_owner(target: &Target) -> Result<Option<Address>, Fault> {
    Ok(target.governed.chain.kms_settings(&target.governed.contract).await?.owner)
}
