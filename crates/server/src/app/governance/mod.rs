//! What contracts say, as use cases need it: a verdict as a refusal, silence as "try again".

pub mod ownership;
pub mod plan;
pub mod status;

use std::time::Duration;

use casemate_api::error::{ErrorCode, ErrorDetail};
use casemate_core::{
    governance::{
        Account, BootInfo, BootVerdict, Proof, Question, Refusal, State, Verdict,
        judge::boot_refused,
    },
    id::{Address, DeviceId, TxHash},
};
use casemate_engine::chain::Fault;

use super::{Error, fleet::Governed};

/// How long a request waits for a transaction to be mined and confirmed; clients wait 30 s for us.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a request waits for facts it can do without.
const GLANCE: Duration = Duration::from_secs(4);
/// What clients send for a transaction where nothing was left to register.
const NOTHING_TO_REGISTER: &str = "already-registered";

/// The transaction a client names; `None`: state alone decides.
pub fn transaction(text: Option<&str>) -> Result<Option<TxHash>, Error> {
    match text.map(str::trim).filter(|text| !text.is_empty() && *text != NOTHING_TO_REGISTER) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|why| {
            Error::field(ErrorCode::TxVerificationFailed, "transaction_hash", format!("is {why}"))
                .suggest("Send the hash of the executed transaction, or leave it out: then the contract's state decides.")
        }),
    }
}

/// Why something that contracts govern is not allowed.
#[derive(Debug)]
pub enum NotAllowed {
    /// The app's owner has not allowed it, and may.
    Yet(Error),
    /// The transaction is no evidence, the KMS would refuse the boot whatever the app allows, or the chain does
    /// not answer.
    Other(Error),
}

impl From<NotAllowed> for Error {
    fn from(why: NotAllowed) -> Self {
        match why {
            NotAllowed::Yet(error) | NotAllowed::Other(error) => error,
        }
    }
}

/// Whether contracts allow what is asked and the KMS would let it boot, which it is asked in the words of a
/// boot (`isAppAllowed`) where the OS image is known.
pub async fn verify(governed: &Governed, question: &Question) -> Result<Proof, NotAllowed> {
    let silent = |fault: Fault| NotAllowed::Other(unanswered(&fault));
    let proof = match governed.chain.verify(question, PATIENCE).await.map_err(silent)? {
        Verdict::Allowed(proof) => proof,
        Verdict::Refused(refusal @ Refusal::State(_)) => {
            return Err(NotAllowed::Yet(refused(governed, question, &refusal)));
        }
        Verdict::Refused(refusal) => {
            return Err(NotAllowed::Other(refused(governed, question, &refusal)));
        }
    };
    let Some(os_image) = question.os_image else { return Ok(proof) };
    let boot = BootInfo::new(question, os_image);
    match soon(governed.chain.boot(&boot)).await.map_err(silent)? {
        BootVerdict::Allowed(_) => Ok(proof),
        BootVerdict::Denied(block, reason) => {
            let refusal = boot_refused(&boot, &block, &reason, governed.chain.chain_id());
            let error = refused(governed, question, &refusal)
                .detail(ErrorDetail::value("os_image_hash", hex::encode(os_image)))
                .detail(ErrorDetail::value("reason", reason));
            Err(NotAllowed::Other(error))
        }
    }
}

/// What contracts say at the moment; `None` where the chain does not say it soon.
pub async fn glance(governed: &Governed, question: &Question) -> Option<State> {
    state(governed, question).await.ok()
}

/// What contracts say, or said a moment ago, if the chain says it soon. For those who look; whoever acts on
/// it asks by [`verify`].
pub async fn state(governed: &Governed, question: &Question) -> Result<State, Fault> {
    soon(governed.chain.state(question)).await
}

/// Which of these hosts and OS images the contract of a KMS allows, if its chain says it soon.
pub async fn kms_allows(
    governed: &Governed,
    devices: &[DeviceId],
    images: &[[u8; 32]],
) -> Result<(Vec<bool>, Vec<bool>), Fault> {
    soon(governed.chain.kms_allows(&governed.contract, devices, images)).await
}

/// What is behind an address, if the chain says it soon.
pub async fn account(governed: &Governed, address: &Address) -> Result<Account, Fault> {
    soon(governed.chain.account(address)).await
}

async fn soon<T>(answer: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let late = || Fault::Unavailable(format!("no answer within {} s", GLANCE.as_secs()));
    tokio::time::timeout(GLANCE, answer).await.unwrap_or_else(|_| Err(late()))
}

/// A chain that does not answer: nothing follows from it, and nothing was used up.
pub fn unanswered(fault: &Fault) -> Error {
    Error::because(ErrorCode::ChainUnreachable, fault.to_string())
        .suggest("Nothing was changed or used up: send the same request again.")
}

fn refused(governed: &Governed, question: &Question, refusal: &Refusal) -> Error {
    let code = match refusal {
        Refusal::Transaction(_) => ErrorCode::TxVerificationFailed,
        Refusal::State(_) | Refusal::Boot(_) => ErrorCode::HashNotAllowed,
    };
    let mut error = Error::because(code, refusal.to_string())
        .detail(ErrorDetail::value("chain_id", governed.chain.chain_id()))
        .detail(ErrorDetail::value("kms_contract", format!("0x{}", question.kms)))
        .detail(ErrorDetail::value("app_contract", format!("0x{}", question.app)))
        .detail(ErrorDetail::value("compose_hash", question.hash.to_string()))
        .detail(ErrorDetail::value("device_id", question.device.to_string()));
    if let Some(transaction) = question.transaction {
        error = error.detail(ErrorDetail::value("transaction_hash", format!("0x{transaction}")));
    }
    error
}
