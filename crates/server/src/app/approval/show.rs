//! What was prepared, as it is shown: what has to be called on which contract, what the chain says, and
//! what would be different.

use casemate_api::reply::KmsNode;
use casemate_core::{
    change::{Configuration, known_names},
    compose::AppCompose,
    governance::{Question, State, calldata},
    id::NodeId,
};
use casemate_store::{
    accounts,
    commit_tokens::{Kind, Preparation},
    cvms::{self, Cvm},
    provisions,
};
use serde_json::{Value, json};

use super::{
    Contracts, TokenRejection, confirm, contracts, digest, question, token_rejection::Standing,
};
use crate::{
    app::{Ctx, Error, fleet::FleetKms, governance, revisions::diff, views},
    view::{self, CallView, DocumentChangeView, EnvReportView, PreparationState, PreparationView},
};

/// The page that shows a person what to approve.
pub fn commit_url(ctx: &Ctx, token: &str) -> String {
    format!("{}/confirm?token={token}", ctx.addresses.api)
}

/// The KMS as clients want it beside something to register. `with_chain`: with what viem wants to know of
/// the chain, where clients read that.
pub fn kms_info(kms: &FleetKms, with_chain: bool) -> Value {
    let mut info = json!(KmsNode::from(&views::kms(kms)));
    let chain = kms.governed.as_ref().map(|governed| governed.chain.chain_id());
    if let (Some(info), Some(chain), true) = (info.as_object_mut(), chain, with_chain) {
        info.insert("chain".to_owned(), viem_chain(chain));
    }
    info
}

/// A chain as viem describes one. Its RPC is the public one that viem itself knows, never ours: that
/// address may hold a key.
fn viem_chain(id: u64) -> Value {
    let (name, rpc) = match id {
        1 => ("Ethereum", Some("https://eth.merkle.io")),
        8453 => ("Base", Some("https://mainnet.base.org")),
        31_337 => ("Anvil", Some("http://127.0.0.1:8545")),
        _ => ("Ethereum-compatible chain", None),
    };
    let rpc: Vec<&str> = rpc.into_iter().collect();
    json!({
        "id": id,
        "name": name,
        "nativeCurrency": { "name": "Ether", "symbol": "ETH", "decimals": 18 },
        "rpcUrls": { "default": { "http": rpc } },
        "contracts": { "multicall3": { "address": "0xca11bde05977b3631167028862be2a173976ca11" } },
    })
}

/// What contracts say, in the three words of official clients.
pub fn onchain_status(state: &State) -> Value {
    json!(view::onchain_status(words(state)))
}

const fn words(state: &State) -> (bool, bool, bool) {
    (state.hash_allowed, state.device_allowed(), state.allowed())
}

/// What was prepared under a token.
pub async fn of_token(ctx: &Ctx, token: &str) -> Result<PreparationView, Error> {
    preparation(ctx, &confirm::of_token(ctx, token).await?).await
}

/// Everything of it that whoever holds its token may see; nothing of it is secret. Not of one that is
/// too old: that reads as one that was never given.
pub async fn preparation(ctx: &Ctx, row: &Preparation) -> Result<PreparationView, Error> {
    let standing = super::token_rejection::standing(row, None, ctx.now());
    if standing == Err(TokenRejection::Unknown) {
        return Err(TokenRejection::Unknown.into());
    }
    let cvm = cvms::by_id(&ctx.db, row.workspace, row.cvm).await?.filter(confirm::is_live);
    let base = match &cvm {
        None => None,
        Some(cvm) => {
            let mut tx = ctx.begin().await?;
            Some(confirm::base(ctx, &mut tx, row, cvm).await?)
        }
    };
    let state = match (&standing, &base) {
        (Ok(Standing::Before(..)) | Err(TokenRejection::Used), _) => PreparationState::Used,
        (Err(TokenRejection::Superseded), _) => PreparationState::Superseded,
        (_, None) => PreparationState::Deleted,
        (_, Some(base)) if digest(base) != row.base => PreparationState::Outdated,
        _ => PreparationState::Pending,
    };
    let is_pending = state == PreparationState::Pending;
    let node = match &cvm {
        Some(cvm) if is_pending => Some(confirm::node(row, cvm)?),
        _ => None,
    };
    let change = match &base {
        Some(base) if is_pending => Some(change(ctx, row, base).await?),
        _ => None,
    };
    let contracts = match &cvm {
        Some(cvm) => contracts(ctx, &cvm.kms)?,
        None => None,
    };
    let by = accounts::author(&ctx.db, row.created_by, row.workspace).await?;
    let chain = match (contracts, &cvm) {
        (Some(contracts), Some(cvm)) => chain(ctx, row, contracts, cvm, node).await,
        _ => Chain::default(),
    };
    let node = node.and_then(|id| ctx.fleet.node(id));
    Ok(PreparationView {
        kind: row.kind.as_str(),
        state,
        cvm: cvm.as_ref().map(|cvm| (cvm.id, cvm.reference.clone(), cvm.spec.name.clone())),
        app_id: row.app,
        compose_hash: row.compose_hash,
        device_id: node.as_ref().map(|node| node.observed().0.device_id),
        node: node.as_ref().map(|node| node.name.clone()),
        kms: contracts.map(|contracts| views::kms(contracts.kms)),
        chain_id: row.chain_id,
        explorer_url: contracts.and_then(|contracts| {
            let explorer = contracts.governed.explorer.as_ref()?;
            Some(format!("{explorer}/address/0x{}", row.app))
        }),
        owner: chain.state.and_then(|state| state.owner).map(|owner| format!("0x{owner}")),
        pending_owner: chain
            .state
            .and_then(|state| state.pending_owner)
            .map(|owner| format!("0x{owner}")),
        onchain: chain.state.as_ref().map(words),
        calls: chain.calls,
        change,
        prepared_by: by.map(|principal| principal.user.username),
        created_at: row.created_at.to_string(),
        expires_at: row.expires_at.to_string(),
    })
}

/// What the chain says, and what has to be called.
#[derive(Debug, Default)]
struct Chain {
    state: Option<State>,
    calls: Vec<CallView>,
}

async fn chain(
    ctx: &Ctx,
    row: &Preparation,
    Contracts { governed, .. }: Contracts<'_>,
    cvm: &Cvm,
    node: Option<NodeId>,
) -> Chain {
    let node = node.unwrap_or(cvm.node);
    let Some(device) = ctx.fleet.node(node).map(|node| node.observed().0.device_id) else {
        return Chain::default();
    };
    let asked = question(governed, cvm, row.compose_hash, device);
    let state = governance::glance(governed, &asked).await;
    Chain { state, calls: calls(&asked, state.as_ref()) }
}

/// The calls that allow something; that of the device only where it is not known to be allowed.
fn calls(asked: &Question, state: Option<&State>) -> Vec<CallView> {
    let call = |method, argument: String, calldata: Vec<u8>, done| CallView {
        method,
        argument: format!("0x{argument}"),
        to: format!("0x{}", asked.app),
        calldata: format!("0x{}", hex::encode(calldata)),
        done,
    };
    let hash = call(
        "addComposeHash(bytes32)",
        asked.hash.to_string(),
        calldata::add_compose_hash(asked.hash),
        state.map(|state| state.hash_allowed),
    );
    let device = call(
        "addDevice(bytes32)",
        asked.device.to_string(),
        calldata::add_device(asked.device),
        state.map(State::device_allowed),
    );
    let needs_device = state.is_none_or(|state| !state.device_allowed());
    std::iter::once(hash).chain(needs_device.then_some(device)).collect()
}

async fn change(
    ctx: &Ctx,
    row: &Preparation,
    base: &Configuration,
) -> Result<DocumentChangeView, Error> {
    let text = provisions::document(&ctx.db, &row.compose_hash).await?;
    let text = text.ok_or_else(|| Error::Internal("a prepared document is missing".to_owned()))?;
    let next = AppCompose::parse(&text)
        .map_err(|error| Error::Internal(format!("prepared document: {error}")))?;
    let (keys, sealed, asked) = match row.kind {
        Kind::Update => {
            let asked = confirm::update(row)?;
            (asked.change.env_keys, !asked.change.sealed_env.is_keep(), asked.fields)
        }
        Kind::Replica | Kind::Instance => {
            let wanted = confirm::machine(row)?;
            (wanted.env_keys.clone(), wanted.seals(), Vec::new())
        }
    };
    let old = &base.document;
    let before = known_names(&base.spec.env_keys, old);
    let kept = || {
        let left = base.spec.env_keys.iter().filter(|name| next.allowed_envs.contains(name));
        left.cloned().collect()
    };
    let after = known_names(&keys.unwrap_or_else(kept), &next);
    let texts = |of: fn(&AppCompose) -> Option<&str>| diff::lines(of(old), of(&next));
    Ok(DocumentChangeView {
        docker_compose_file: texts(|document| document.docker_compose_file.as_deref()),
        pre_launch_script: texts(|document| document.pre_launch_script.as_deref()),
        fields: diff::fields(&old.document(), &text)?,
        env: EnvReportView::between(&before, &after, &next),
        encrypted_env_changed: sealed,
        asked,
    })
}
