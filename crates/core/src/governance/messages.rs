//! Texts of refusals. Each names the chain, the contract and the next step, and says which address is the KMS
//! and which the app, because they are often confused.

use std::fmt::Write;

use super::{Block, BootInfo, Question, Refusal, State, judge::Log, judge::is_addition};
use crate::id::{Address, TxHash};

/// What KMS contracts say to an OS image that they do not list.
const OS_IMAGE_REFUSED: &str = "OS image is not allowed";

pub(super) fn not_found(transaction: TxHash, chain: u64) -> Refusal {
    Refusal::Transaction(format!(
        "transaction 0x{transaction} was not found on chain {chain}. If it is still pending, repeat this \
         when it is mined; if this is the hash of a Safe transaction, send the hash of the executed \
         Ethereum transaction instead"
    ))
}

pub(super) fn reverted(question: &Question, transaction: TxHash, chain: u64) -> Refusal {
    Refusal::Transaction(format!(
        "transaction 0x{transaction} on chain {chain} reverted, so it changed nothing. Only the owner of app \
         contract 0x{} may call addComposeHash on it; send the hash of a transaction that succeeded",
        question.app
    ))
}

pub(super) fn unconfirmed(transaction: TxHash, seen: u64, wanted: u64, chain: u64) -> Refusal {
    Refusal::Transaction(format!(
        "transaction 0x{transaction} on chain {chain} has {seen} of {wanted} confirmations. Repeat this in \
         a moment"
    ))
}

pub(super) fn no_event(
    question: &Question,
    transaction: TxHash,
    logs: &[Log],
    chain: u64,
) -> Refusal {
    let mut text = format!(
        "transaction 0x{transaction} on chain {chain} succeeded, but app contract 0x{} did not add compose \
         hash 0x{} in it",
        question.app, question.hash
    );
    text.push_str(&observed_instead(question, logs));
    Refusal::Transaction(text)
}

/// What the events show instead.
fn observed_instead(question: &Question, logs: &[Log]) -> String {
    let mut added = logs.iter().filter(|log| is_addition(log));
    let app = Address::from(question.app);
    match added.find(|log| log.address == app || log.data == question.hash.as_bytes()) {
        Some(log) if log.address == app => format!(
            ": it added 0x{}. Register the hash that was asked for, byte for byte",
            hex::encode(&log.data)
        ),
        Some(log) => format!(
            ": contract 0x{} did. Register it on the contract of this app",
            log.address
        ),
        None => ": it has no event ComposeHashAdded of that. If a Safe or a timelock executed it, its inner \
                 call failed; look at it there, and send the hash of one that succeeded"
            .to_owned(),
    }
}

pub(super) fn no_kms(question: &Question, state: &State, chain: u64) -> Refusal {
    Refusal::State(format!(
        "no contract of a KMS answers at 0x{} on chain {chain} (block {}). Its operator has to correct the \
         address or the chain of this KMS",
        question.kms, state.block.number
    ))
}

pub(super) fn not_registered(question: &Question, state: &State, chain: u64) -> Refusal {
    let Question { kms, app, .. } = question;
    Refusal::State(format!(
        "app contract 0x{app} is not registered with KMS contract 0x{kms} on chain {chain} (block {}). \
         Deploy apps with deployAndRegisterApp of the KMS contract, or call registerApp(0x{app}) on it",
        state.block.number
    ))
}

pub(super) fn no_app(question: &Question, state: &State, chain: u64) -> Refusal {
    let Question { kms, app, .. } = question;
    Refusal::State(format!(
        "there is no app contract at 0x{app} on chain {chain} (block {}), though KMS contract 0x{kms} lists \
         that address. Deploy the app with deployAndRegisterApp of the KMS contract and use the app id of \
         its event AppDeployedViaFactory",
        state.block.number
    ))
}

pub(super) fn boot_refused(boot: &BootInfo, block: &Block, reason: &str, chain: u64) -> Refusal {
    let mut text = format!(
        "the KMS would give no keys: {reason} (KMS contract 0x{}, chain {chain}, block {})",
        boot.kms, block.number
    );
    if reason == OS_IMAGE_REFUSED {
        // Infallible: writing to a String cannot fail.
        let _ = write!(
            text,
            ". Take another OS image than 0x{}, or have the owner of the KMS contract call addOsImageHash on it",
            hex::encode(boot.os_image_hash)
        );
    }
    Refusal::Boot(text)
}

/// Of an app contract without lists.
pub(super) fn judged(question: &Question, state: &State, chain: u64) -> Refusal {
    let Question { app, hash, device, .. } = question;
    Refusal::State(format!(
        "app contract 0x{app} on chain {chain} does not allow compose hash 0x{hash} on device 0x{device} \
         (block {}). It keeps no lists: its own isAppAllowed decides, by rules that only whoever maintains \
         the contract knows",
        state.block.number
    ))
}

/// `allowed`: the hash and the device; at least one is not.
pub(super) fn not_allowed(
    question: &Question,
    state: &State,
    allowed: (bool, bool),
    chain: u64,
) -> Refusal {
    let Question { app, hash, device, .. } = question;
    let (what, calls) = match allowed {
        (false, true) => {
            (format!("compose hash 0x{hash}"), format!("call addComposeHash(0x{hash}) on it"))
        }
        (true, _) => (
            format!("device 0x{device}, the host this is to boot on"),
            format!("call addDevice(0x{device}) or setAllowAnyDevice(true) on it"),
        ),
        (false, false) => (
            format!("compose hash 0x{hash} and device 0x{device}, the host this is to boot on"),
            format!(
                "call addComposeHash(0x{hash}) and addDevice(0x{device}) on it; both fit in one batch of a Safe"
            ),
        ),
    };
    let mut text = format!(
        "app contract 0x{app} on chain {chain} does not allow {what} (block {})",
        state.block.number
    );
    if let (Some(transaction), false) = (question.transaction, allowed.0) {
        // Infallible: writing to a String cannot fail.
        let _ =
            write!(text, ": transaction 0x{transaction} added the hash, but it was removed again");
    }
    let _ = write!(text, ". {} has to {calls}", owner(state));
    Refusal::State(text)
}

fn owner(state: &State) -> String {
    match (state.owner, state.pending_owner) {
        (Some(owner), Some(pending)) => {
            format!("Its owner 0x{owner} (until 0x{pending} accepts the ownership it was offered)")
        }
        (Some(owner), None) => format!("Its owner 0x{owner}"),
        (None, _) => "Its owner (it names none, so perhaps nobody can any more)".to_owned(),
    }
}
