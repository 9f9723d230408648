//! Quotes by their checksum, and quotes that somebody uploads to have them verified.

use casemate_api::{
    attestation::{
        NodeProvider, Quote, QuoteBody, QuoteCollateral, QuoteHeader, Verdict, VerifiedQuote,
    },
    error::{ErrorCode, ErrorDetail},
};
use casemate_core::{attestation::GuestEvidence, id::CvmName, stored};
use casemate_engine::collateral::{CollateralError, parse};
use casemate_store::{
    cvms as stored_cvms,
    evidence::{self, Collected, Judged},
};
use casemate_verify::{
    Bundle, ClaimId, Expected, Policy, QuoteCollateralV3, Roots,
    bundle::{Cvm as BundleCvm, FORMAT, MAX_QUOTE, Tdx},
    hexes::HexBytes,
};

use super::{bundle, read};
use crate::app::{Caller, Ctx, Error};

/// Uploads that are kept, the newest.
const UPLOADS: i64 = 1000;

/// Verifies a quote that somebody uploaded. It is kept if it is genuine.
pub async fn upload(ctx: &Ctx, quote: Vec<u8>) -> Result<VerifiedQuote, Error> {
    if quote.len() > MAX_QUOTE {
        return Err(Error::invalid("file", format!("must be at most {MAX_QUOTE} bytes")));
    }
    if parse(&quote).is_none() {
        return Err(Error::because(ErrorCode::InvalidRequest, "this is no quote of TDX or SGX")
            .detail(ErrorDetail::value(
                "file",
                "must be the bytes of a quote, or its hex digits",
            )));
    }
    let mut evidence =
        GuestEvidence { quote: Some(hex::encode(&quote)), ..GuestEvidence::default() };
    let checksum = evidence.checksum();
    if let Some(known) = evidence::of_checksum(&ctx.db, &checksum).await? {
        return Ok(shown(ctx, known).await);
    }
    let collateral = match ctx.attestation.collateral(&quote, ctx.now()).await {
        Ok(found) => found,
        Err(error @ CollateralError::Unreachable(_)) => {
            return Err(Error::because(ErrorCode::CollateralUnreachable, error.to_string())
                .suggest("Nothing is said about the quote. Try again later."));
        }
        Err(error) => return Err(Error::because(ErrorCode::InvalidRequest, error.to_string())),
    };
    let verdict = judge(ctx, &quote, &collateral);
    // Under a development root of this service or of its configuration.
    evidence.simulated = verdict.claims.iter().any(|claim| claim.simulated);
    let is_genuine =
        verdict.state(ClaimId::Hardware).is_some_and(casemate_verify::State::is_proven);
    let found = bundle::stored(&verdict);
    let text = stored::write(&found).ok();
    let collected = Collected {
        checksum,
        cvm: None,
        boot: String::new(),
        collected_at: ctx.now(),
        nonce: None,
        evidence,
        verdict: text.map(|verdict| Judged { verdict, accepted: found.accepted, at: ctx.now() }),
    };
    if is_genuine {
        let mut tx = ctx.begin().await?;
        tx.insert_evidence(&collected, UPLOADS).await?;
        ctx.commit(tx).await?;
    }
    let mut shown = shown(ctx, collected).await;
    shown.can_download = Some(is_genuine);
    Ok(shown)
}

fn judge(ctx: &Ctx, quote: &[u8], collateral: &QuoteCollateralV3) -> casemate_verify::Verdict {
    let now = jiff::Timestamp::from_microsecond(ctx.now().micros());
    let now = now.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let bundle = Bundle {
        format: FORMAT.to_owned(),
        collected_at: now,
        cvm: BundleCvm::default(),
        tdx: Some(Tdx {
            quote: HexBytes(quote.to_vec()),
            collateral: Some(collateral.clone()),
            event_log: Vec::new(),
        }),
        snp: None,
        report_data: None,
        app_compose: None,
        vm_config: None,
        image: None,
        kms: None,
        contracts: None,
        login: None,
        gpu: None,
    };
    let config = &ctx.config.attestation;
    // A quote says nothing about an app without its event log.
    let policy = Policy {
        tcb_status: config.tcb_status.clone(),
        advisories: config.advisories.clone(),
        required: vec![ClaimId::Hardware, ClaimId::Tcb, ClaimId::DebugOff],
        // Reported as simulated, and never as a success.
        simulated: true,
        ..Policy::default()
    };
    let roots: &Roots = &ctx.attestation.roots;
    casemate_verify::verify(&bundle, &policy, roots, &Expected::default(), now)
}

/// Quotes that were uploaded last, newest first.
pub async fn recent(ctx: &Ctx, skip: u32, limit: u32) -> Result<Vec<VerifiedQuote>, Error> {
    let found = evidence::uploads(&ctx.db, skip.into(), limit.into()).await?;
    let mut all = Vec::with_capacity(found.len());
    for one in found {
        all.push(shown(ctx, one).await);
    }
    Ok(all)
}

/// A quote that the caller may read: an uploaded one, one of a CVM that shows its measurements, or of their own.
async fn readable(ctx: &Ctx, caller: Option<&Caller>, checksum: &str) -> Result<Collected, Error> {
    let unknown = || {
        Error::because(ErrorCode::NotFound, "there is no quote with this checksum")
            .detail(ErrorDetail::value("checksum", checksum))
    };
    let checksum = checksum.to_ascii_lowercase();
    let found = evidence::of_checksum(&ctx.db, &checksum).await?.ok_or_else(unknown)?;
    let Some(id) = found.cvm else { return Ok(found) };
    let cvm = stored_cvms::anywhere(&ctx.db, &CvmName::Number(id)).await?.ok_or_else(unknown)?;
    let is_own = caller.is_some_and(|caller| caller.workspace.id == cvm.workspace);
    if is_own || cvm.spec.facts.public_tcbinfo { Ok(found) } else { Err(unknown()) }
}

/// A quote with what was found in it.
pub async fn view(
    ctx: &Ctx,
    caller: Option<&Caller>,
    checksum: &str,
) -> Result<VerifiedQuote, Error> {
    Ok(shown(ctx, readable(ctx, caller, checksum).await?).await)
}

/// The bytes of a quote.
pub async fn raw(ctx: &Ctx, caller: Option<&Caller>, checksum: &str) -> Result<Vec<u8>, Error> {
    let found = readable(ctx, caller, checksum).await?;
    bytes(&found).ok_or_else(|| {
        Error::because(ErrorCode::NotFound, "this evidence has no quote of TDX")
            .detail(ErrorDetail::value("checksum", checksum))
    })
}

/// The collateral of a quote.
pub async fn collateral(
    ctx: &Ctx,
    caller: Option<&Caller>,
    checksum: &str,
) -> Result<QuoteCollateral, Error> {
    let quote = raw(ctx, caller, checksum).await?;
    match ctx.attestation.collateral(&quote, ctx.now()).await {
        Ok(found) => Ok(wire(&found)),
        Err(error @ CollateralError::Unreachable(_)) => {
            Err(Error::because(ErrorCode::CollateralUnreachable, error.to_string()))
        }
        Err(error) => Err(Error::because(ErrorCode::InvalidRequest, error.to_string())),
    }
}

fn bytes(found: &Collected) -> Option<Vec<u8>> {
    hex::decode(found.evidence.quote.as_deref()?).ok()
}

async fn shown(ctx: &Ctx, found: Collected) -> VerifiedQuote {
    let verdict = read::verdict(&found);
    let proven = |verdict: &Verdict, claim: ClaimId| {
        verdict.claims.iter().any(|one| {
            one.claim == claim.name() && one.state == casemate_api::attestation::ClaimState::Proven
        })
    };
    let success = verdict.as_ref().is_some_and(|verdict| {
        [ClaimId::Hardware, ClaimId::Tcb, ClaimId::DebugOff].iter().all(|id| proven(verdict, *id))
    }) && !found.evidence.simulated;
    let quote = bytes(&found);
    let ppid = quote.as_deref().and_then(casemate_engine::collateral::ppid);
    let is_ours = found.cvm.is_some();
    let collateral = match &quote {
        Some(quote) => ctx.attestation.collateral(quote, ctx.now()).await.ok(),
        None => None,
    };
    VerifiedQuote {
        id: found.checksum.clone(),
        success,
        proof_of_cloud: is_ours,
        quote: quote.as_deref().and_then(|quote| fields(quote, success)),
        can_download: Some(quote.is_some()),
        uploaded_at: Some(found.collected_at.to_string()),
        verified_at: verdict.as_ref().map(|verdict| verdict.verified_at.clone()),
        quote_collateral: collateral.map(|collateral| wire(&collateral)),
        node_provider: ppid.map(|ppid| NodeProvider {
            proof_of_cloud: is_ours,
            provider: is_ours.then(|| "casemate".to_owned()),
            ppid: hex::encode(ppid),
        }),
        verdict,
        checksum: Some(found.checksum),
    }
}

fn wire(found: &QuoteCollateralV3) -> QuoteCollateral {
    QuoteCollateral {
        pck_crl_issuer_chain: found.pck_crl_issuer_chain.clone(),
        root_ca_crl: Some(hex::encode(&found.root_ca_crl)),
        pck_crl: hex::encode(&found.pck_crl),
        tcb_info_issuer_chain: found.tcb_info_issuer_chain.clone(),
        tcb_info: found.tcb_info.clone(),
        tcb_info_signature: hex::encode(&found.tcb_info_signature),
        qe_identity_issuer_chain: found.qe_identity_issuer_chain.clone(),
        qe_identity: found.qe_identity.clone(),
        qe_identity_signature: hex::encode(&found.qe_identity_signature),
    }
}

/// The fields of a TDX quote; `None`: it is another one.
fn fields(quote: &[u8], verified: bool) -> Option<Quote> {
    let parsed = parse(quote)?;
    let body = parsed.report.as_td10()?;
    Some(Quote {
        header: QuoteHeader {
            version: parsed.header.version,
            ak_type: parsed.header.attestation_key_type,
            tee_type: parsed.header.tee_type,
            qe_vendor: hex::encode(parsed.header.qe_vendor_id),
            user_data: hex::encode(parsed.header.user_data),
        },
        cert_data: Some(hex::encode(parsed.inner_cert_data())),
        body: QuoteBody {
            tee_tcb_svn: hex::encode(body.tee_tcb_svn),
            mrseam: hex::encode(body.mr_seam),
            mrsignerseam: hex::encode(body.mr_signer_seam),
            seamattributes: hex::encode(body.seam_attributes),
            tdattributes: hex::encode(body.td_attributes),
            xfam: hex::encode(body.xfam),
            mrtd: hex::encode(body.mr_td),
            mrconfig: hex::encode(body.mr_config_id),
            mrowner: hex::encode(body.mr_owner),
            mrownerconfig: hex::encode(body.mr_owner_config),
            rtmr0: hex::encode(body.rt_mr0),
            rtmr1: hex::encode(body.rt_mr1),
            rtmr2: hex::encode(body.rt_mr2),
            rtmr3: hex::encode(body.rt_mr3),
            reportdata: hex::encode(body.report_data),
        },
        verified: Some(verified),
    })
}
