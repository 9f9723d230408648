//! The newest evidence of CVMs, as replies show it.

use casemate_api::{
    attestation::{
        AppAttestations, AttestedKms, ClaimResult, ClaimState as WireState, CvmAttestation,
        InstanceAttestation, InstanceTcb, LoggedEvent, TcbEvaluation, TcbInfo, Verdict,
    },
    error::ErrorDetail,
};
use casemate_core::{
    attestation::{ClaimState, GuestEvidence, StoredVerdict},
    cvm::Phase,
    id::AppId,
    stored,
    time::Timestamp,
};
use casemate_engine::collateral::CollateralError;
use casemate_store::{
    cvms::{self as stored_cvms, Cvm},
    evidence::{self, Collected},
};
use casemate_verify::{ClaimId, Reason, State, claim::Evidence as Proof};
use futures_util::{StreamExt, stream};

use super::{bundle, certificates};
use crate::app::{Caller, Ctx, Error, app_facts, cvms, fleet::FleetKms, views};

/// Instances of an app that are shown or evaluated.
const INSTANCES: usize = 100;
/// Instances whose platforms are evaluated at one time.
const AT_ONCE: usize = 4;

/// The newest evidence of a CVM of the caller.
pub async fn cvm(ctx: &Ctx, caller: &Caller, text: &str) -> Result<CvmAttestation, Error> {
    let cvm = cvms::find(ctx, caller, text).await?;
    let found = evidence::newest(&ctx.db, &[cvm.id]).await?.pop();
    let document = cvms::document(ctx, &cvm).await?;
    let shown = Shown::of(&cvm, found);
    Ok(CvmAttestation {
        name: Some(cvm.spec.name.clone()),
        is_online: cvm.phase == Phase::Running,
        is_public: cvm.spec.facts.public_tcbinfo,
        error: shown.error,
        app_certificates: shown.certificates,
        tcb_info: shown.tcb_info,
        compose_file: Some(document),
        quote: shown.quote,
        checksum: shown.checksum,
        collected_at: shown.collected_at,
        simulated: shown.simulated,
        verdict: shown.verdict,
    })
}

/// Evidence of one CVM as far as it may be shown.
#[derive(Default)]
struct Shown {
    error: Option<String>,
    certificates: Option<Vec<casemate_api::attestation::Certificate>>,
    tcb_info: Option<TcbInfo>,
    quote: Option<String>,
    checksum: Option<String>,
    collected_at: Option<String>,
    simulated: bool,
    verdict: Option<Verdict>,
}

impl Shown {
    /// Evidence of a boot that has ended is not shown.
    fn of(cvm: &Cvm, found: Option<Collected>) -> Self {
        let error = |why: &str| Self { error: Some(why.to_owned()), ..Self::default() };
        if cvm.phase != Phase::Running {
            return error("the CVM does not run, so its guest shows no evidence");
        }
        let Some(found) = found.filter(|found| found.boot == evidence::boot_of(cvm)) else {
            return error(
                "the guest was not asked for evidence yet; it is within seconds of its boot",
            );
        };
        let evidence = &found.evidence;
        let certificates = certificates::chain(&evidence.certificates, evidence.quote.as_deref());
        let tcb_info = bundle::tcb_info(evidence).map(tcb);
        let missing = match (&tcb_info, &certificates) {
            (None, _) => Some("the guest does not show its measurements: public_tcbinfo is off"),
            (_, None) => Some("the certificate of the guest cannot be read"),
            (Some(_), Some(_)) => None,
        };
        Self {
            error: missing.map(str::to_owned),
            certificates,
            tcb_info,
            quote: evidence.quote.clone(),
            collected_at: Some(found.collected_at.to_string()),
            simulated: evidence.simulated,
            verdict: verdict(&found),
            checksum: Some(found.checksum),
        }
    }
}

fn tcb(told: casemate_core::attestation::TcbInfo) -> TcbInfo {
    TcbInfo {
        mrtd: told.mrtd,
        rootfs_hash: told.rootfs_hash,
        rtmr0: told.rtmr0,
        rtmr1: told.rtmr1,
        rtmr2: told.rtmr2,
        rtmr3: told.rtmr3,
        event_log: told
            .event_log
            .into_iter()
            .map(|event| LoggedEvent {
                imr: event.imr,
                event_type: event.event_type,
                digest: event.digest,
                event: event.event,
                event_payload: event.event_payload,
            })
            .collect(),
        app_compose: told.app_compose,
    }
}

/// What was found in evidence.
pub(super) fn verdict(found: &Collected) -> Option<Verdict> {
    let judged = found.verdict.as_ref()?;
    let read: StoredVerdict = stored::read(&judged.verdict).ok()?;
    Some(shown_verdict(read, judged.at))
}

fn shown_verdict(read: StoredVerdict, at: Timestamp) -> Verdict {
    let claims = read.claims.into_iter().map(|claim| ClaimResult {
        claim: claim.claim,
        state: match claim.state {
            ClaimState::Proven => WireState::Proven,
            ClaimState::Failed => WireState::Failed,
            ClaimState::NotShown => WireState::NotShown,
        },
        reason: claim.reason,
    });
    Verdict { verified_at: at.to_string(), accepted: read.accepted, claims: claims.collect() }
}

/// The CVMs of an app that the caller may see: their own, else those that show their measurements to anybody.
async fn instances(
    ctx: &Ctx,
    caller: Option<&Caller>,
    text: &str,
) -> Result<(AppId, Vec<Cvm>), Error> {
    let app = app_facts::app_id(text)?;
    let mut found = stored_cvms::live_of_app(&ctx.db, &app, INSTANCES).await?;
    found.retain(|cvm| {
        caller.is_some_and(|caller| caller.workspace.id == cvm.workspace)
            || cvm.spec.facts.public_tcbinfo
    });
    if found.is_empty() {
        return Err(app_facts::not_found(text).detail(ErrorDetail::value("app_id", text)));
    }
    Ok((app, found))
}

/// The newest evidence of each CVM of an app.
pub async fn app(ctx: &Ctx, caller: Option<&Caller>, text: &str) -> Result<AppAttestations, Error> {
    let (app, found) = instances(ctx, caller, text).await?;
    let ids: Vec<_> = found.iter().map(|cvm| cvm.id).collect();
    let mut newest = evidence::newest(&ctx.db, &ids).await?;
    let kms = found.first().and_then(|cvm| ctx.fleet.kms_of(&cvm.kms));
    let governed = kms.and_then(|kms| kms.governed.as_ref());
    let mut shown = Vec::with_capacity(found.len());
    for cvm in &found {
        let own = newest.iter().position(|one| one.cvm == Some(cvm.id));
        let own = own.map(|at| newest.swap_remove(at));
        shown.push(instance(ctx, cvm, own));
    }
    Ok(AppAttestations {
        app_id: app.to_string(),
        contract_address: views::contract(app),
        kms_info: AttestedKms {
            contract_address: governed
                .map(|governed| views::contract(governed.contract))
                .unwrap_or_default(),
            chain_id: governed.map(|governed| governed.chain.chain_id().to_string()),
            version: kms.map(|kms| views::kms(kms).version).unwrap_or_default(),
            url: kms.map(|kms| kms.url.clone()).unwrap_or_default(),
            gateway_app_id: None,
            gateway_app_url: String::new(),
            kms_type: kms
                .map_or_else(|| "legacy".to_owned(), |kms: &FleetKms| kms.kind().to_string()),
        },
        instances: shown,
        kms_guest_agent_info: None,
        gateway_guest_agent_info: None,
        qemu_version: None,
    })
}

fn instance(ctx: &Ctx, cvm: &Cvm, found: Option<Collected>) -> InstanceAttestation {
    let shown = Shown::of(cvm, found);
    let node = ctx.fleet.node(cvm.node);
    InstanceAttestation {
        vm_uuid: Some(cvm.uuid.to_string()),
        name: cvm.spec.name.clone(),
        instance_id: cvm.instance_id.map(|id| id.to_string()),
        status: cvm.phase.as_str().to_owned(),
        image_version: cvm.spec.image.rsplit('-').next().map(str::to_owned),
        ppid: ppid(shown.quote.as_deref()),
        device_id: node.map(|node| node.observed().0.device_id.to_string()).unwrap_or_default(),
        quote: shown.quote,
        compose_file: shown.tcb_info.as_ref().map(|tcb| tcb.app_compose.clone()),
        tcb_info: shown.tcb_info,
        app_certificates: shown.certificates,
        error: shown.error,
        checksum: shown.checksum,
        simulated: shown.simulated,
        verdict: shown.verdict,
    }
}

/// The platform id in a quote, hex; empty: it shows none.
fn ppid(quote: Option<&str>) -> String {
    let quote = quote.and_then(|quote| hex::decode(quote).ok());
    quote
        .and_then(|quote| casemate_engine::collateral::ppid(&quote))
        .map(hex::encode)
        .unwrap_or_default()
}

/// How the platform of each running CVM of an app stands against the newest data of its vendor.
pub async fn tcb_evaluation(
    ctx: &Ctx,
    caller: Option<&Caller>,
    text: &str,
) -> Result<TcbEvaluation, Error> {
    let (app, mut found) = instances(ctx, caller, text).await?;
    found.retain(|cvm| cvm.phase == Phase::Running);
    let ids: Vec<_> = found.iter().map(|cvm| cvm.id).collect();
    let newest = evidence::newest(&ctx.db, &ids).await?;
    let mut evaluated = Vec::with_capacity(found.len());
    for cvm in &found {
        let own =
            newest.iter().find(|one| one.cvm == Some(cvm.id) && one.boot == evidence::boot_of(cvm));
        evaluated.push(evaluate(ctx, cvm, own));
    }
    let instances = stream::iter(evaluated).buffered(AT_ONCE).collect().await;
    Ok(TcbEvaluation { app_id: app.to_string(), update: EARLY.to_owned(), instances })
}

const EARLY: &str = "early";

async fn evaluate(ctx: &Ctx, cvm: &Cvm, found: Option<&Collected>) -> InstanceTcb {
    let quote = found.and_then(|found| found.evidence.quote.as_deref());
    let (status, ok, error) = match found.map(|found| (found, &found.evidence)) {
        None => (None, None, Some("the guest was not asked for evidence yet".to_owned())),
        Some((_, GuestEvidence { simulated: true, .. })) => (
            None,
            None,
            Some("the node has no TEE, so there is no platform to evaluate".to_owned()),
        ),
        Some((found, _)) => match early(ctx, cvm, found).await {
            Ok((status, ok, error)) => (Some(status), Some(ok), error),
            Err(error) => (None, None, Some(error)),
        },
    };
    let node = ctx.fleet.node(cvm.node);
    InstanceTcb {
        vm_uuid: Some(cvm.uuid.to_string()),
        name: Some(cvm.spec.name.clone()),
        instance_id: cvm.instance_id.map(|id| id.to_string()),
        status: Some(cvm.phase.as_str().to_owned()),
        image_version: cvm.spec.image.rsplit('-').next().map(str::to_owned),
        ppid: ppid(quote),
        device_id: node.map(|node| node.observed().0.device_id.to_string()),
        evaluation_update: EARLY.to_owned(),
        evaluation_ok: ok,
        evaluation_status: status,
        error,
    }
}

/// Status, whether it is accepted, and why not. The error says why there is no status.
async fn early(
    ctx: &Ctx,
    cvm: &Cvm,
    found: &Collected,
) -> Result<(String, bool, Option<String>), String> {
    let quote = found.evidence.quote.as_deref().and_then(|quote| hex::decode(quote).ok());
    let quote = quote.ok_or_else(|| "the guest shows no TDX quote".to_owned())?;
    let collateral = ctx.attestation.early_collateral(&quote).await;
    let collateral = collateral.map_err(|error: CollateralError| error.to_string())?;
    let verdict = bundle::judge(ctx, cvm, found, Some(collateral.into()));
    let claim = verdict.claims.iter().find(|claim| claim.claim == ClaimId::Tcb);
    match claim.map(|claim| (&claim.state, &claim.text)) {
        Some((State::Proven { by }, _)) => match &by.evidence {
            Proof::TcbStatus { status } => Ok((status.clone(), true, None)),
            other => Ok((other.to_string(), true, None)),
        },
        Some((State::Failed { reason }, text)) => {
            let status = match reason {
                Reason::TcbStatus { status, .. } => status.as_str(),
                Reason::TcbRevoked { .. } => "Revoked",
                Reason::NoTcbLevel => "OutOfDate",
                _ => return Err(text.clone()),
            };
            Ok((status.to_owned(), false, Some(text.clone())))
        }
        Some((State::NotShown { .. }, text)) => Err(text.clone()),
        None => Err("the verifier says nothing about the platform".to_owned()),
    }
}
