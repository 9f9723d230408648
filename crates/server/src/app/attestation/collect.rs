//! Asks a guest for evidence, verifies and records it.

use casemate_core::{
    attestation::ReportData,
    cvm::{Boot, EngineState, VmPower},
    id::EngineVmId,
    stored,
};
use casemate_engine::node::CallError;
use casemate_store::{
    Error as StoreError, Tx,
    cvms::Cvm,
    evidence::{Collected, Judged, NewestBoot, boot_of},
};

use super::bundle;
use crate::app::{
    Ctx,
    events::{self, CvmEvent, EventScope},
    fleet::FleetNode,
};

/// Evidence of a CVM that are kept.
const KEPT: i64 = 3;

/// Evidence that was collected, with what was found in it.
#[derive(Debug)]
pub struct Collection {
    pub collected: Collected,
    /// A sentence for each claim that failed or is missing.
    why_not: Vec<String>,
}

impl Collection {
    pub fn is_accepted(&self) -> bool {
        self.collected.verdict.as_ref().is_some_and(|judged| judged.accepted)
    }
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The CVM is down, or boots.
    #[error("the CVM does not run")]
    Down,
    #[error("{0}")]
    Call(CallError),
}

/// The VM whose guest can be asked; `None`: the CVM is down, or boots.
fn running(cvm: &Cvm) -> Option<&EngineVmId> {
    let EngineState::Present { vm } = &cvm.status.engine else { return None };
    let observed = cvm.status.observed.as_ref()?;
    (observed.power == VmPower::Running && observed.boot == Boot::Done).then_some(vm)
}

/// Asks the guest of a CVM, in at most the time of a call to a node, and verifies what it shows.
pub async fn collect(
    ctx: &Ctx,
    node: &FleetNode,
    cvm: &Cvm,
    nonce: Option<&ReportData>,
) -> Result<Collection, CollectError> {
    let vm = running(cvm).ok_or(CollectError::Down)?;
    let limit = std::time::Duration::from_secs(ctx.config.work.call_timeout_s);
    let silence = |_| Err(CallError::Unknown("no answer in time".to_owned()));
    let asked = tokio::time::timeout(limit, node.node.evidence(vm, nonce)).await;
    let evidence = asked.unwrap_or_else(silence).map_err(CollectError::Call)?;
    let mut collected = Collected {
        checksum: evidence.checksum(),
        cvm: Some(cvm.id),
        boot: boot_of(cvm),
        collected_at: ctx.now(),
        nonce: nonce.map(hex::encode),
        evidence,
        verdict: None,
    };
    let quote = collected.evidence.quote.as_deref().and_then(|quote| hex::decode(quote).ok());
    let collateral = match quote {
        Some(quote) => match ctx.attestation.collateral(&quote, ctx.now()).await {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::warn!(node = %node.name, cvm = %cvm.reference, %error, "no collateral");
                None
            }
        },
        None => None,
    };
    let verdict = bundle::stored(&bundle::judge(ctx, cvm, &collected, collateral));
    collected.verdict = stored::write(&verdict).ok().map(|text| Judged {
        verdict: text,
        accepted: verdict.accepted,
        at: ctx.now(),
    });
    Ok(Collection { collected, why_not: verdict.why_not() })
}

/// Records evidence. `before`: the CVM's newest until now. An event tells that it is refused, and that it is
/// accepted again.
pub async fn record(
    tx: &mut Tx,
    cvm: &Cvm,
    collection: &Collection,
    before: Option<&NewestBoot>,
) -> Result<(), StoreError> {
    let collected = &collection.collected;
    tx.insert_evidence(collected, KEPT).await?;
    let was_refused = before.is_some_and(|before| before.accepted == Some(false));
    if collection.is_accepted() != was_refused {
        return Ok(());
    }
    let scope = EventScope { workspace: cvm.workspace, cvm: cvm.id, operation: None };
    let event =
        CvmEvent::Evidence { accepted: collection.is_accepted(), why: collection.why_not.clone() };
    events::write(tx, scope, &[event], collected.collected_at).await.map(drop)
}
