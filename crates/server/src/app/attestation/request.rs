//! Requests for new evidence. A worker of the node answers them.

use casemate_api::{
    attestation::{EvidenceRequest, EvidenceRequestState, EvidenceState},
    error::ErrorCode,
};
use casemate_core::{cvm::Phase, time::Timestamp};
use casemate_store::{
    Tx,
    evidence::{self, Request},
};

use crate::app::{Caller, Ctx, Error, cvms};

/// Open requests about one CVM.
const OPEN: i64 = 8;

/// Records a request about a CVM of the caller.
pub async fn request(
    ctx: &Ctx,
    caller: &Caller,
    tx: &mut Tx,
    text: &str,
    asked: &EvidenceRequest,
) -> Result<EvidenceRequestState, Error> {
    let nonce = asked.nonce.as_deref().map(padded).transpose()?;
    let cvm = cvms::find(ctx, caller, text).await?;
    if cvm.phase != Phase::Running {
        let why = "the CVM does not run, so its guest shows no evidence";
        return Err(
            Error::because(ErrorCode::StateConflict, why).suggest("Start it: casemate cvms start.")
        );
    }
    let node = crate::app::provision::node(ctx, cvm.node)?;
    if nonce.is_some() && !node.observed().0.capabilities.quotes_nonce {
        let why = "cannot be honoured on this node: its guests make quotes for a nonce only for the app inside";
        return Err(Error::invalid("nonce", why).suggest(
            "Leave it out, or have the app ask its guest agent (GetQuote) and pass the quote on.",
        ));
    }
    if tx.open_evidence_requests(cvm.id).await? >= OPEN {
        let why = format!("{OPEN} requests about this CVM are open");
        return Err(Error::because(ErrorCode::RateLimited, why));
    }
    let new = Request {
        id: ctx.entropy.uuid_v7(ctx.now()).to_string(),
        cvm_id: cvm.id.0,
        node_id: cvm.node.0,
        nonce,
        requested_at: ctx.now().micros(),
        answered_at: None,
        checksum: None,
        message: None,
    };
    tx.request_evidence(&new).await?;
    ctx.evidence_asked.notify_one();
    Ok(state(new))
}

/// How far a request about a CVM of the caller is.
pub async fn request_state(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
    id: &str,
) -> Result<EvidenceRequestState, Error> {
    let cvm = cvms::find(ctx, caller, text).await?;
    let found = evidence::request(&ctx.db, id).await?.filter(|found| found.cvm_id == cvm.id.0);
    let unknown =
        || Error::because(ErrorCode::NotFound, "there is no such request; they are kept for a day");
    found.map(state).ok_or_else(unknown)
}

fn state(request: Request) -> EvidenceRequestState {
    let time = |micros| Timestamp::from_micros(micros).to_string();
    EvidenceRequestState {
        state: match (request.answered_at, &request.checksum) {
            (None, _) => EvidenceState::Pending,
            (Some(_), Some(_)) => EvidenceState::Collected,
            (Some(_), None) => EvidenceState::Failed,
        },
        id: request.id,
        nonce: request.nonce,
        requested_at: time(request.requested_at),
        answered_at: request.answered_at.map(time),
        checksum: request.checksum,
        message: request.message,
    }
}

/// 1 to 64 bytes of hex, with zeros at the end, as 128 hex digits.
fn padded(text: &str) -> Result<String, Error> {
    let wrong = || Error::invalid("nonce", "must be 1 to 64 bytes, as hex digits");
    let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).map_err(|_| wrong())?;
    if bytes.is_empty() || bytes.len() > 64 {
        return Err(wrong());
    }
    let mut padded = [0; 64];
    padded[..bytes.len()].copy_from_slice(&bytes);
    Ok(hex::encode(padded))
}
