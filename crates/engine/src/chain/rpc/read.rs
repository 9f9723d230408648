//! What is read of one endpoint for one question. Everything that belongs together is read at one block,
//! and at one endpoint.

use casemate_core::{
    governance::{
        Account, Block, BootInfo, BootVerdict, EPOCH_AUTH, Epochs, KmsSettings, OLD_EPOCH_AUTH,
        Question, State, Verdict,
        judge::{self, Policy, Receipt, ReceiptEvaluation},
        returned::{self, CallResult},
        view,
    },
    id::{Address, AppId, DeviceId, TxHash},
};
use futures_util::{StreamExt, TryStreamExt, future, stream};

use super::{super::no_kms, config::Tip, endpoint::Endpoint, reply::Failure};

/// Views of a list that are asked at once.
const SIDE_BY_SIDE: usize = 16;
/// Where stock contracts of apps keep whether they can be upgraded, in the last byte.
const UPGRADES_SLOT: u64 = 1;

/// What one look at a question comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    Answer(Verdict),
    /// The answer if there is no time to look again.
    NotYet(Verdict),
}

/// One look: at the transaction, if one is named, and at the state.
pub(super) async fn look(
    endpoint: &Endpoint,
    question: &Question,
    policy: &Policy,
    tip: Tip,
) -> Result<Look, Failure> {
    if let Some(transaction) = question.transaction {
        return look_at_both(endpoint, (question, transaction), policy, tip).await;
    }
    let state = state(endpoint, question).await?;
    Ok(match judge::decide(question, &state, policy) {
        allowed @ Verdict::Allowed(_) => Look::Answer(allowed),
        // Nothing says up to which block this endpoint has to know: another one may know more.
        refused @ Verdict::Refused(_) => Look::NotYet(refused),
    })
}

async fn look_at_both(
    endpoint: &Endpoint,
    (question, transaction): (&Question, TxHash),
    policy: &Policy,
    tip: Tip,
) -> Result<Look, Failure> {
    let (receipt, head) =
        future::try_join(endpoint.receipt(&transaction), endpoint.tip(Tip::Latest)).await?;
    let settled = match tip {
        Tip::Latest => head,
        further => endpoint.tip(further).await?,
    };
    let Some(receipt) = receipt else {
        let refusal = judge::not_found(transaction, policy);
        return Ok(Look::NotYet(Verdict::Refused(refusal)));
    };
    let (receipt, state) =
        future::try_join(placed(endpoint, receipt, &head), state_at(endpoint, question, head))
            .await?;
    Ok(match judge::evaluate_receipt(question, transaction, &receipt, settled.number, policy) {
        ReceiptEvaluation::Holds => Look::Answer(judge::decide(question, &state, policy)),
        ReceiptEvaluation::Refused(refusal) => Look::Answer(Verdict::Refused(refusal)),
        ReceiptEvaluation::NotYet(refusal) => Look::NotYet(Verdict::Refused(refusal)),
    })
}

/// A receipt, and whether the chain up to `head` has its block.
async fn placed(endpoint: &Endpoint, receipt: Receipt, head: &Block) -> Result<Receipt, Failure> {
    let canonical = is_canonical(endpoint, &receipt.block, head).await?;
    Ok(Receipt { canonical, ..receipt })
}

async fn is_canonical(endpoint: &Endpoint, block: &Block, head: &Block) -> Result<bool, Failure> {
    if block.number == head.number {
        return Ok(block == head);
    }
    Ok(endpoint.block_at(block.number).await? == Some(*block))
}

/// Whether a block is in the chain. A height that is not reached is no answer.
pub(super) async fn canonical(endpoint: &Endpoint, block: &Block) -> Result<bool, Failure> {
    let there = endpoint.block_at(block.number).await?.ok_or(Failure::Behind)?;
    Ok(there == *block)
}

/// What contracts say at the newest block.
pub(super) async fn state(endpoint: &Endpoint, question: &Question) -> Result<State, Failure> {
    let head = endpoint.tip(Tip::Latest).await?;
    state_at(endpoint, question, head).await
}

async fn state_at(
    endpoint: &Endpoint,
    question: &Question,
    block: Block,
) -> Result<State, Failure> {
    let app = Address::from(question.app);
    let ask = async |to: Address, data: Vec<u8>| endpoint.eth_call(None, &to, &data, &block).await;
    let (registered, hash, any, device, (owner, pending)) = future::try_join5(
        ask(question.kms, view::registered_app(app)),
        ask(app, view::compose_hash(question.hash)),
        ask(app, view::any_device()),
        ask(app, view::device(question.device)),
        future::try_join(ask(app, view::owner()), ask(app, view::pending_owner())),
    )
    .await?;
    let (registered, hash) = (returned::flag(&registered), returned::flag(&hash));
    // A contract needs no lists: the KMS asks it only this.
    let judges = if hash.is_some() {
        None
    } else {
        let boot = BootInfo::new(question, question.os_image.unwrap_or_default());
        returned::boot(&ask(app, view::boot(&boot)).await?).map(|(allowed, _)| allowed)
    };
    endpoint.still(&block).await?;
    Ok(State {
        block,
        kms_exists: registered.is_some(),
        registered: registered.unwrap_or(false),
        app_exists: hash.or(judges).is_some(),
        has_lists: hash.is_some(),
        hash_allowed: hash.or(judges).unwrap_or(false),
        any_device: judges.or_else(|| returned::flag(&any)).unwrap_or(false),
        device_listed: returned::flag(&device).unwrap_or(false),
        owner: returned::account(&owner),
        pending_owner: returned::account(&pending),
    })
}

/// Whether an app approves by epoch.
pub(super) async fn epochs(endpoint: &Endpoint, app: &AppId) -> Result<Epochs, Failure> {
    let app = Address::from(*app);
    let block = endpoint.tip(Tip::Latest).await?;
    let (current, old) =
        (view::supports_interface(EPOCH_AUTH), view::supports_interface(OLD_EPOCH_AUTH));
    let (current, old) = future::try_join(
        endpoint.eth_call(None, &app, &current, &block),
        endpoint.eth_call(None, &app, &old, &block),
    )
    .await?;
    endpoint.still(&block).await?;
    Ok(Epochs::of(&current, &old))
}

/// The settings of a KMS contract.
pub(super) async fn kms_settings(
    endpoint: &Endpoint,
    kms: &Address,
) -> Result<KmsSettings, Failure> {
    let block = endpoint.tip(Tip::Latest).await?;
    let ask = async |data: Vec<u8>| endpoint.eth_call(None, kms, &data, &block).await;
    let (owner, implementation, gateway, keys) = future::try_join4(
        ask(view::owner()),
        ask(view::app_implementation()),
        ask(view::gateway_app_id()),
        ask(view::kms_info()),
    )
    .await?;
    endpoint.still(&block).await?;
    Ok(KmsSettings {
        owner: returned::account(&owner),
        app_implementation: returned::account(&implementation),
        gateway_app_id: returned::gateway_app_id(&gateway),
        keys: returned::kms_keys(&keys),
    })
}

/// What the contract of the KMS says to a boot, at the newest block.
pub(super) async fn boot(
    endpoint: &Endpoint,
    boot: &BootInfo,
    chain_id: u64,
) -> Result<BootVerdict, Failure> {
    let block = endpoint.tip(Tip::Latest).await?;
    let returned = endpoint.eth_call(None, &boot.kms, &view::boot(boot), &block).await?;
    endpoint.still(&block).await?;
    Ok(match (&returned, returned::boot(&returned)) {
        (_, Some((true, _))) => BootVerdict::Allowed(block),
        (_, Some((false, reason))) => BootVerdict::Denied(block, reason),
        (CallResult::Reverted(data), None) => BootVerdict::Denied(block, returned::reason(data)),
        (CallResult::Data(_), None) => BootVerdict::Denied(block, no_kms(&boot.kms, chain_id)),
    })
}

/// Which devices and OS images the contract of a KMS allows, at the newest block.
pub(super) async fn kms_allows(
    endpoint: &Endpoint,
    kms: &Address,
    devices: &[DeviceId],
    images: &[[u8; 32]],
) -> Result<(Vec<bool>, Vec<bool>), Failure> {
    let block = endpoint.tip(Tip::Latest).await?;
    let devices = devices.iter().map(|device| view::kms_device(*device)).collect();
    let images = images.iter().map(|image| view::os_image(*image)).collect();
    let allowed =
        (flags(endpoint, kms, devices, &block).await?, flags(endpoint, kms, images, &block).await?);
    endpoint.still(&block).await?;
    Ok(allowed)
}

async fn flags(
    endpoint: &Endpoint,
    of: &Address,
    views: Vec<Vec<u8>>,
    block: &Block,
) -> Result<Vec<bool>, Failure> {
    let ask = |view: Vec<u8>| async move {
        let returned = endpoint.eth_call(None, of, &view, block).await?;
        Ok(returned::flag(&returned).unwrap_or(false))
    };
    stream::iter(views).map(ask).buffered(SIDE_BY_SIDE).try_collect().await
}

/// What a call would come to.
pub(super) async fn simulate(
    endpoint: &Endpoint,
    from: &Address,
    to: &Address,
    data: &[u8],
) -> Result<Result<(), String>, Failure> {
    let block = endpoint.tip(Tip::Latest).await?;
    let returned = endpoint.eth_call(Some(from), to, data, &block).await?;
    endpoint.still(&block).await?;
    Ok(match returned {
        CallResult::Data(_) => Ok(()),
        CallResult::Reverted(data) => Err(returned::reason(&data)),
    })
}

/// What is behind an address.
pub(super) async fn account(endpoint: &Endpoint, address: &Address) -> Result<Account, Failure> {
    let block = endpoint.tip(Tip::Latest).await?;
    let code = endpoint.code(address, &block).await?;
    if returned::is_key(&code) {
        endpoint.still(&block).await?;
        return Ok(Account::Eoa);
    }
    let (threshold, owners) = (view::safe_threshold(), view::safe_owners());
    let (threshold, owners) = future::try_join(
        endpoint.eth_call(None, address, &threshold, &block),
        endpoint.eth_call(None, address, &owners, &block),
    )
    .await?;
    endpoint.still(&block).await?;
    Ok(returned::contract(&threshold, &owners))
}

/// Whether an app can never be upgraded again, where stock contracts keep it.
pub(super) async fn upgrades_disabled(
    endpoint: &Endpoint,
    app: &AppId,
) -> Result<Option<bool>, Failure> {
    let app = Address::from(*app);
    let block = endpoint.tip(Tip::Latest).await?;
    let (code, slot) = future::try_join(
        endpoint.code(&app, &block),
        endpoint.storage(&app, UPGRADES_SLOT, &block),
    )
    .await?;
    endpoint.still(&block).await?;
    Ok((!code.is_empty()).then(|| slot.last().is_some_and(|byte| *byte != 0)))
}
