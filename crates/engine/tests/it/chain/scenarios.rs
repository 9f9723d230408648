//! What can become of a hash that is to be registered, and the right answer to each: the whole table of
//! events and states, and what people get wrong. Each is played with all rules and, in `rules`, without one.

use casemate_core::{
    governance::{
        Refusal, Verdict, calldata,
        calldata::NewApp,
        rules::{self, Rule},
    },
    id::{Address, TxHash},
};
use casemate_engine::chain::{Chain, Fault, rpc::Tip};
use casemate_testing::fake_chain::Generation;
use futures_util::future::BoxFuture;

use super::stage::{DEVICE, HASH, NOW, OTHER_HASH, PLENTY, Stage};

/// What is expected of an answer, or what it was.
pub type Outcome = Result<(), String>;
type Answer = Result<Verdict, Fault>;
type Scenario = for<'s> fn(&'s Stage) -> BoxFuture<'s, Outcome>;

macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        &[$((stringify!($name), |stage| Box::pin($name(stage)))),+]
    };
}

/// All of them.
pub const SCENARIOS: &[(&str, Scenario)] = scenarios![
    a_key_adds_the_hash,
    the_factory_deploys_with_the_hash,
    a_safe_adds_the_hash,
    a_safe_adds_device_and_hash_in_one_batch,
    a_timelock_adds_the_hash,
    an_old_app_adds_the_hash,
    the_inner_call_of_a_safe_fails,
    a_safe_adds_and_removes_in_one_batch,
    the_hash_is_added_on_another_app,
    another_hash_is_added,
    a_stranger_tries_to_add_the_hash,
    a_reorganisation_takes_the_transaction,
    a_stranger_registers_an_address_without_code,
    the_hash_was_never_added,
    an_old_transaction_is_sent_again,
    the_device_is_not_allowed,
    every_device_is_allowed,
    the_app_is_not_registered,
    the_kms_is_another_contract,
    confirmations_are_wanted,
    a_safe_block_is_wanted,
    the_transaction_is_unknown,
    the_transaction_is_still_pending,
    the_owner_has_offered_the_app,
    the_chain_is_another,
];

/// The scenarios that do not come out right.
pub async fn failures(stage: &Stage) -> Vec<(&'static str, String)> {
    let mut failed = Vec::new();
    for (name, scenario) in SCENARIOS {
        if let Err(what) = scenario(stage).await {
            failed.push((*name, what));
        }
    }
    failed
}

fn allowed(answer: &Answer) -> Outcome {
    match answer {
        Ok(Verdict::Allowed(_)) => Ok(()),
        other => Err(format!("should be allowed: {other:?}")),
    }
}

/// Not allowed because of the transaction, in these words among others.
fn not_by_this(answer: &Answer, words: &str) -> Outcome {
    match answer {
        Ok(Verdict::Refused(Refusal::Transaction(text))) if text.contains(words) => Ok(()),
        other => Err(format!("should be refused, {words}: {other:?}")),
    }
}

fn not_allowed(answer: &Answer, words: &str) -> Outcome {
    match answer {
        Ok(Verdict::Refused(Refusal::State(text))) if text.contains(words) => Ok(()),
        other => Err(format!("should not be allowed, {words}: {other:?}")),
    }
}

fn add() -> Vec<u8> {
    calldata::add_compose_hash(HASH)
}

async fn a_key_adds_the_hash(stage: &Stage) -> Outcome {
    let (app, _) = stage.app(stage.owner(), None).await;
    let transaction = stage.send(stage.owner(), app.into(), add()).await;
    let chain = stage.chain(|_| ());
    let answer = chain.verify(&stage.question(app, Some(transaction)), NOW).await;
    allowed(&answer)?;
    let Ok(Verdict::Allowed(proof)) = answer else { return Err("checked above".to_owned()) };
    // The same without the transaction, which is what `already-registered` asks.
    allowed(&chain.verify(&stage.question(app, None), NOW).await)?;
    match (proof.owner, proof.transaction, proof.chain_id) {
        (Some(owner), Some(tx), 8453) if owner == stage.owner() && tx == transaction => Ok(()),
        _ => Err(format!("not the proof of that: {proof:?}")),
    }
}

async fn the_factory_deploys_with_the_hash(stage: &Stage) -> Outcome {
    let (app, transaction) = stage.app(stage.owner(), Some(HASH)).await;
    let question = stage.question(app, Some(transaction));
    allowed(&stage.chain(|_| ()).verify(&question, NOW).await)
}

async fn a_safe_adds_the_hash(stage: &Stage) -> Outcome {
    let safe = stage.safe().await;
    let (app, _) = stage.app(safe.address, None).await;
    let transaction = stage.through(safe, app.into(), add()).await;
    let question = stage.question(app, Some(transaction));
    allowed(&stage.chain(|_| ()).verify(&question, NOW).await)
}

async fn a_safe_adds_device_and_hash_in_one_batch(stage: &Stage) -> Outcome {
    let safe = stage.safe().await;
    let new = NewApp {
        owner: safe.address,
        disable_upgrades: false,
        allow_any_device: false,
        device: None,
        hash: None,
    };
    let (app, _) = stage.deploy(&new).await;
    let chain = stage.chain(|_| ());
    let missing = chain.verify(&stage.question(app, None), NOW).await;
    if rules::all_apply() {
        not_allowed(&missing, "both fit in one batch")?;
    }
    let calls = vec![(app.into(), calldata::add_device(DEVICE)), (app.into(), add())];
    let transaction = stage.batch(safe, calls).await;
    allowed(&chain.verify(&stage.question(app, Some(transaction)), NOW).await)
}

async fn a_timelock_adds_the_hash(stage: &Stage) -> Outcome {
    let timelock = stage.timelock().await;
    let (app, _) = stage.app(timelock, None).await;
    let transaction = stage.timed(timelock, app.into(), add()).await;
    let question = stage.question(app, Some(transaction));
    allowed(&stage.chain(|_| ()).verify(&question, NOW).await)
}

async fn an_old_app_adds_the_hash(stage: &Stage) -> Outcome {
    let app = stage.unregistered(stage.owner(), Generation::SingleStep).await;
    stage.send(stage.stranger(), stage.kms, calldata::register_app(app.into())).await;
    stage.send(stage.owner(), app.into(), calldata::add_device(DEVICE)).await;
    let transaction = stage.send(stage.owner(), app.into(), add()).await;
    let chain = stage.chain(|_| ());
    let state = chain.state(&stage.question(app, None)).await.map_err(|fault| fault.to_string())?;
    if (state.owner, state.pending_owner) != (Some(stage.owner()), None) {
        return Err(format!("not its owners: {state:?}"));
    }
    allowed(&chain.verify(&stage.question(app, Some(transaction)), NOW).await)
}

async fn the_inner_call_of_a_safe_fails(stage: &Stage) -> Outcome {
    let safe = stage.safe().await;
    let (app, _) = stage.app(stage.stranger(), None).await;
    let transaction = stage.failing_inside(safe, app.into(), add()).await;
    let question = stage.question(app, Some(transaction));
    not_by_this(&stage.chain(|_| ()).verify(&question, NOW).await, "inner call failed")
}

async fn a_safe_adds_and_removes_in_one_batch(stage: &Stage) -> Outcome {
    let safe = stage.safe().await;
    let (app, _) = stage.app(safe.address, None).await;
    let calls = vec![(app.into(), add()), (app.into(), calldata::remove_compose_hash(HASH))];
    let transaction = stage.batch(safe, calls).await;
    let question = stage.question(app, Some(transaction));
    not_allowed(&stage.chain(|_| ()).verify(&question, NOW).await, "removed again")
}

async fn the_hash_is_added_on_another_app(stage: &Stage) -> Outcome {
    let (app, _) = stage.app(stage.owner(), None).await;
    let (other, _) = stage.app(stage.owner(), None).await;
    let transaction = stage.send(stage.owner(), other.into(), add()).await;
    let question = stage.question(app, Some(transaction));
    let words = format!("contract 0x{other} did");
    not_by_this(&stage.chain(|_| ()).verify(&question, NOW).await, &words)
}

async fn another_hash_is_added(stage: &Stage) -> Outcome {
    let (app, _) = stage.app(stage.owner(), None).await;
    let other = calldata::add_compose_hash(OTHER_HASH);
    let transaction = stage.send(stage.owner(), app.into(), other).await;
    let question = stage.question(app, Some(transaction));
    let words = format!("it added 0x{OTHER_HASH}");
    not_by_this(&stage.chain(|_| ()).verify(&question, NOW).await, &words)
}

async fn a_stranger_tries_to_add_the_hash(stage: &Stage) -> Outcome {
    let (app, _) = stage.app(stage.owner(), None).await;
    let transaction = stage.send(stage.stranger(), app.into(), add()).await;
    let question = stage.question(app, Some(transaction));
    not_by_this(&stage.chain(|_| ()).verify(&question, NOW).await, "reverted")
}

async fn a_reorganisation_takes_the_transaction(stage: &Stage) -> Outcome {
    let (app, _) = stage.app(stage.owner(), None).await;
    let transaction = stage.send(stage.owner(), app.into(), add()).await;
    let chain = stage.chain(|_| ());
    let question = stage.question(app, Some(transaction));
    let before = chain.verify(&question, NOW).await;
    allowed(&before)?;
    stage.reorg(1).await;
    not_by_this(&chain.verify(&question, NOW).await, "was not found")?;
    // What was proven is noticed to be gone.
    let Ok(Verdict::Allowed(proof)) = before else { return Err("checked above".to_owned()) };
    match chain.is_canonical(&proof.block).await {
        Ok(false) => Ok(()),
        other => Err(format!("the block is gone: {other:?}")),
    }
}

async fn a_stranger_registers_an_address_without_code(stage: &Stage) -> Outcome {
    let nobody = Address::from_bytes([0xee; 20]);
    stage.send(stage.stranger(), stage.kms, calldata::register_app(nobody)).await;
    let app = casemate_core::id::AppId::from_bytes(*nobody.as_bytes());
    let answer = stage.chain(|_| ()).verify(&stage.question(app, None), NOW).await;
    not_allowed(&answer, "there is no app contract")
}

async fn the_hash_was_never_added(stage: &Stage) -> Outcome {
    let (app, _) = stage.app(stage.owner(), Some(OTHER_HASH)).await;
    let answer = stage.chain(|_| ()).verify(&stage.question(app, None), NOW).await;
    not_allowed(&answer, &format!("0x{} has to call addComposeHash(0x{HASH})", stage.owner()))
}

async fn an_old_transaction_is_sent_again(stage: &Stage) -> Outcome {
    let (app, transaction) = stage.app(stage.owner(), Some(HASH)).await;
    stage.send(stage.owner(), app.into(), calldata::remove_compose_hash(HASH)).await;
    let question = stage.question(app, Some(transaction));
    not_allowed(&stage.chain(|_| ()).verify(&question, NOW).await, "removed again")
}

async fn the_device_is_not_allowed(stage: &Stage) -> Outcome {
    let (app, transaction) = stage.app(stage.owner(), Some(HASH)).await;
    stage.send(stage.owner(), app.into(), calldata::remove_device(DEVICE)).await;
    let question = stage.question(app, Some(transaction));
    let answer = stage.chain(|_| ()).verify(&question, NOW).await;
    not_allowed(&answer, &format!("addDevice(0x{DEVICE})"))
}

async fn every_device_is_allowed(stage: &Stage) -> Outcome {
    let (app, _) = stage.app(stage.owner(), Some(HASH)).await;
    stage.send(stage.owner(), app.into(), calldata::remove_device(DEVICE)).await;
    stage.send(stage.owner(), app.into(), calldata::set_allow_any_device(true)).await;
    allowed(&stage.chain(|_| ()).verify(&stage.question(app, None), NOW).await)
}

async fn the_app_is_not_registered(stage: &Stage) -> Outcome {
    let app = stage.unregistered(stage.owner(), Generation::TwoStep).await;
    stage.send(stage.owner(), app.into(), calldata::add_device(DEVICE)).await;
    let transaction = stage.send(stage.owner(), app.into(), add()).await;
    let question = stage.question(app, Some(transaction));
    let answer = stage.chain(|_| ()).verify(&question, NOW).await;
    not_allowed(&answer, &format!("registerApp(0x{app})"))
}

/// Somebody mixed up the two addresses.
async fn the_kms_is_another_contract(stage: &Stage) -> Outcome {
    let (app, _) = stage.app(stage.owner(), Some(HASH)).await;
    let mut question = stage.question(app, None);
    question.kms = app.into();
    let answer = stage.chain(|_| ()).verify(&question, NOW).await;
    not_allowed(&answer, "no contract of a KMS answers")
}

async fn confirmations_are_wanted(stage: &Stage) -> Outcome {
    let (app, transaction) = stage.app(stage.owner(), Some(HASH)).await;
    let chain = stage.chain(|config| config.confirmations = 3);
    let question = stage.question(app, Some(transaction));
    not_by_this(&chain.verify(&question, NOW).await, "1 of 3 confirmations")?;
    stage.mine(1).await;
    not_by_this(&chain.verify(&question, NOW).await, "2 of 3 confirmations")?;
    let (answer, ()) = tokio::join!(chain.verify(&question, PLENTY), stage.mine(1));
    allowed(&answer)
}

async fn a_safe_block_is_wanted(stage: &Stage) -> Outcome {
    let (app, transaction) = stage.app(stage.owner(), Some(HASH)).await;
    let chain = stage.chain(|config| config.tip = Tip::Safe);
    let question = stage.question(app, Some(transaction));
    if Rule::Confirmations.applies() {
        not_by_this(&chain.verify(&question, NOW).await, "0 of 1 confirmations")?;
    }
    // The state is that of the newest block, where the KMS reads it.
    allowed(&chain.verify(&stage.question(app, None), NOW).await)?;
    stage.mine(1).await;
    allowed(&chain.verify(&question, NOW).await)
}

async fn the_transaction_is_unknown(stage: &Stage) -> Outcome {
    let (app, _) = stage.app(stage.owner(), Some(HASH)).await;
    let question = stage.question(app, Some(TxHash::from_bytes([0x5a; 32])));
    let answer = stage.chain(|_| ()).verify(&question, NOW).await;
    not_by_this(&answer, "if this is the hash of a Safe transaction")
}

async fn the_transaction_is_still_pending(stage: &Stage) -> Outcome {
    let (app, _) = stage.app(stage.owner(), None).await;
    let transaction = stage.submit(stage.owner(), app.into(), add()).await;
    let chain = stage.chain(|_| ());
    let question = stage.question(app, Some(transaction));
    not_by_this(&chain.verify(&question, NOW).await, "was not found")?;
    let (answer, ()) = tokio::join!(chain.verify(&question, PLENTY), stage.mine(1));
    allowed(&answer)
}

async fn the_owner_has_offered_the_app(stage: &Stage) -> Outcome {
    let (app, _) = stage.app(stage.owner(), None).await;
    let safe = stage.safe().await;
    let offer = calldata::transfer_ownership(safe.address);
    stage.send(stage.owner(), app.into(), offer).await;
    // Until it accepts, what it sends changes nothing, and the old owner's word counts.
    let early = stage.failing_inside(safe, app.into(), add()).await;
    let chain = stage.chain(|_| ());
    let answer = chain.verify(&stage.question(app, Some(early)), NOW).await;
    not_by_this(&answer, "inner call failed")?;
    if Rule::State.applies() {
        let answer = chain.verify(&stage.question(app, None), NOW).await;
        not_allowed(&answer, &format!("until 0x{} accepts", safe.address))?;
    }
    stage.through(safe, app.into(), calldata::accept_ownership()).await;
    let transaction = stage.through(safe, app.into(), add()).await;
    allowed(&chain.verify(&stage.question(app, Some(transaction)), NOW).await)
}

async fn the_chain_is_another(stage: &Stage) -> Outcome {
    let (app, _) = stage.app(stage.owner(), Some(HASH)).await;
    let chain = stage.chain(|config| config.chain_id = 1);
    match chain.verify(&stage.question(app, None), NOW).await {
        Err(Fault::Misconfigured(text)) if text.contains("serves chain 8453") => Ok(()),
        other => Err(format!("should be no verdict at all: {other:?}")),
    }
}

#[tokio::test]
async fn every_row_comes_out_right_on_the_chain_in_memory() {
    assert_eq!(failures(&Stage::fake().await).await, []);
}

#[tokio::test]
async fn every_row_comes_out_right_on_anvil() {
    assert_eq!(failures(&Stage::anvil().await).await, []);
}
