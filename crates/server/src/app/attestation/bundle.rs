//! Everything that is known about one CVM, as a bundle that `casemate verify` checks offline, and what this
//! service finds in it.

use std::{sync::Arc, time::Duration};

use casemate_core::{
    attestation::{ClaimState, GuestEvidence, JudgedClaim, SnpReport, StoredVerdict, TcbInfo},
    time::Timestamp,
};
use casemate_store::{
    cvms::Cvm,
    evidence::{self, Collected},
};
use casemate_verify::{
    Bundle, Expected, Outcome, Policy, QuoteCollateralV3, State, Verdict,
    bundle::{self, FORMAT},
    event_log::Event,
    hexes::{Hex, HexBytes},
    policy::{AcceptedImage, KmsRoot},
};

use crate::app::{
    Caller, Ctx, Error, cvms,
    fleet::{FleetKms, FleetNode},
};

/// The bundle of a CVM of the caller: its newest evidence, or that with this checksum.
pub async fn export(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
    checksum: Option<&str>,
) -> Result<Bundle, Error> {
    let cvm = cvms::find(ctx, caller, text).await?;
    let found = match checksum {
        Some(checksum) => evidence::of_checksum(&ctx.db, checksum).await?,
        None => evidence::newest(&ctx.db, &[cvm.id]).await?.pop(),
    };
    let Some(found) = found.filter(|found| found.cvm == Some(cvm.id)) else {
        let error = Error::because(
            casemate_api::error::ErrorCode::NotFound,
            "there is no evidence of this CVM yet",
        );
        return Err(error.suggest(
            "A running CVM shows it within seconds. casemate attest export waits for it.",
        ));
    };
    let quote = found.evidence.quote.as_deref().and_then(|quote| hex::decode(quote).ok());
    // Without collateral the bundle says so: the verifier reports it as not shown.
    let collateral = match quote {
        Some(quote) => ctx.attestation.collateral(&quote, ctx.now()).await.ok(),
        None => None,
    };
    let document = cvms::document(ctx, &cvm).await?;
    let mut bundle = of(ctx, &cvm, &found, collateral, Some(document));
    if let Some(kms) = &mut bundle.kms {
        kms.env_key = env_key(ctx, &cvm).await;
    }
    bundle.login = Some(bundle::Login { ssh_keys: ssh_keys(cvm.spec.user_config.as_deref()) });
    Ok(bundle)
}

/// The key that variables of a CVM are sealed to, signed by its KMS. A KMS that does not answer leaves it out: the
/// verifier reports it as not shown.
async fn env_key(ctx: &Ctx, cvm: &Cvm) -> Option<bundle::EnvKey> {
    let kms = ctx.fleet.kms_of(&cvm.kms)?;
    let limit = Duration::from_secs(ctx.config.work.call_timeout_s);
    let signed = tokio::time::timeout(
        limit,
        kms.kms.env_public_key(&cvm.spec.app_id, ctx.now().unix_seconds()),
    )
    .await
    .ok()?
    .ok()?;
    Some(bundle::EnvKey {
        public_key: Hex(*signed.public_key.as_bytes()),
        signature: Hex(signed.signature_v1),
        timestamp: Some(signed.timestamp),
    })
}

/// Keys that were given to the guest for logging in.
fn ssh_keys(user_config: Option<&str>) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Keys {
        #[serde(default)]
        ssh_authorized_keys: Vec<String>,
    }
    let read = user_config.and_then(|text| serde_json::from_str::<Keys>(text).ok());
    read.map(|keys| keys.ssh_authorized_keys).unwrap_or_default()
}

/// The bundle of evidence. `document` is what was planned, for guests that do not show theirs.
pub(super) fn of(
    ctx: &Ctx,
    cvm: &Cvm,
    found: &Collected,
    collateral: Option<Arc<QuoteCollateralV3>>,
    document: Option<String>,
) -> Bundle {
    let evidence = &found.evidence;
    let tcb = tcb_info(evidence);
    let node = ctx.fleet.node(cvm.node);
    let inventory = node.as_deref().map(|node| node.observed().0);
    let image = inventory.as_ref().and_then(|inventory| {
        let image = inventory.images.iter().find(|image| image.name == cvm.spec.image)?;
        let os_image_hash = fixed(image.os_image_hash.as_deref()?)?;
        Some(bundle::Image { name: image.name.clone(), os_image_hash, dev: image.is_dev })
    });
    let bytes = |text: &Option<String>| {
        text.as_deref().and_then(|text| hex::decode(text).ok()).map(HexBytes)
    };
    Bundle {
        format: FORMAT.to_owned(),
        collected_at: time(found.collected_at),
        cvm: bundle::Cvm {
            id: Some(cvm.reference.to_string()),
            name: Some(cvm.spec.name.clone()),
            app_id: Some(Hex(*cvm.spec.app_id.as_bytes())),
            instance_id: cvm.instance_id.map(|id| HexBytes(id.as_bytes().to_vec())),
            device_id: inventory
                .as_ref()
                .and_then(|it| it.trusted_device_id())
                .map(|id| Hex(*id.as_bytes())),
            node: node.as_deref().map(|node| node.name.clone()),
            node_revision: inventory.as_ref().map(|inventory| inventory.version.clone()),
        },
        tdx: bytes(&evidence.quote).map(|quote| bundle::Tdx {
            quote,
            collateral: collateral.map(|collateral| (*collateral).clone()),
            event_log: event_log(evidence),
        }),
        snp: evidence.snp.as_ref().and_then(snp),
        report_data: bytes(&found.nonce)
            .map(|nonce| bundle::ReportData { nonce, form: bundle::ReportDataForm::Raw }),
        app_compose: tcb
            .map(|tcb| tcb.app_compose)
            .filter(|document| !document.is_empty())
            .or(document),
        vm_config: evidence.vm_config.clone(),
        image,
        kms: ctx.fleet.kms_of(&cvm.kms).filter(|_| cvm.spec.env_public_key.is_some()).and_then(kms),
        contracts: None,
        login: None,
        gpu: None,
    }
}

/// A report without a certificate of the chip stays in: the verifier says what is missing.
fn snp(shown: &SnpReport) -> Option<bundle::Snp> {
    Some(bundle::Snp {
        report: HexBytes(hex::decode(&shown.report).ok()?),
        // The verifier has AMD's roots.
        ark: String::new(),
        ask: shown.ask.clone().unwrap_or_default(),
        vcek: shown.vcek.clone().unwrap_or_default(),
        mr_config: shown.mr_config.clone(),
    })
}

/// Measurements, event log and document as far as the guest showed them.
pub(super) fn tcb_info(evidence: &GuestEvidence) -> Option<TcbInfo> {
    serde_json::from_str(evidence.tcb_info.as_deref()?).ok()
}

fn event_log(evidence: &GuestEvidence) -> Vec<Event> {
    if let Some(log) = &evidence.event_log {
        return Event::parse_guest_log(log).unwrap_or_default();
    }
    let tcb = evidence.tcb_info.as_deref();
    let tcb = tcb.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    let log = tcb.as_ref().and_then(|tcb| tcb.get("event_log")).map(ToString::to_string);
    log.and_then(|log| Event::parse_guest_log(&log).ok()).unwrap_or_default()
}

fn kms(kms: &FleetKms) -> Option<bundle::Kms> {
    Some(bundle::Kms {
        url: Some(kms.url.clone()),
        root_public_key: fixed(&kms.signing_key())?,
        // Guests without a TEE record the kind of their key provider, not its key.
        ca_public_key: kms.remote.as_ref().and_then(|_| {
            let key = hex::decode(kms.ca_key()?).ok()?;
            Some(HexBytes(key))
        }),
        app_key: None,
        env_key: None,
    })
}

/// Hex of a known length, with or without `0x`.
fn fixed<const N: usize>(text: &str) -> Option<Hex<N>> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes).ok()?;
    Some(Hex(bytes))
}

fn time(at: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(at.micros()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// What this service finds in the evidence of a CVM.
pub(super) fn judge(
    ctx: &Ctx,
    cvm: &Cvm,
    found: &Collected,
    collateral: Option<Arc<QuoteCollateralV3>>,
) -> Verdict {
    let bundle = of(ctx, cvm, found, collateral, None);
    let node = ctx.fleet.node(cvm.node);
    let policy = policy(ctx, cvm, node.as_deref());
    let boots = cvm.status.pushed_boot.as_ref();
    let hash = boots.map_or(cvm.spec.compose_hash, |boots| boots.compose_hash);
    let device = node.as_deref().and_then(|node| node.observed().0.trusted_device_id());
    let expected = Expected {
        nonce: found.nonce.as_deref().and_then(|nonce| hex::decode(nonce).ok()),
        compose_hash: Some(*hash.as_bytes()),
        app_id: Some(*cvm.spec.app_id.as_bytes()),
        instance_id: cvm.instance_id.map(|id| id.as_bytes().to_vec()),
        device_ids: device.map(|id| *id.as_bytes()).into_iter().collect(),
        ..Expected::default()
    };
    casemate_verify::verify(&bundle, &policy, &ctx.attestation.roots, &expected, time(ctx.now()))
}

/// What the operator accepts of a CVM on its node: simulated evidence only where there is no TEE.
fn policy(ctx: &Ctx, cvm: &Cvm, node: Option<&FleetNode>) -> Policy {
    use casemate_engine::node::Tee;
    let inventory = node.map(|node| node.observed().0);
    let images = inventory.iter().flat_map(|inventory| &inventory.images).filter_map(|image| {
        let os_image_hash = fixed(image.os_image_hash.as_deref()?)?;
        Some(AcceptedImage { name: image.name.clone(), os_image_hash, dev: image.is_dev })
    });
    let images: Vec<AcceptedImage> = images.collect();
    let root = ctx.fleet.kms_of(&cvm.kms).and_then(|kms| {
        let root_public_key = fixed(&kms.signing_key())?;
        Some(KmsRoot { name: kms.slug.clone(), root_public_key, ca_public_key: None })
    });
    let config = &ctx.config.attestation;
    Policy {
        tcb_status: config.tcb_status.clone(),
        advisories: config.advisories.clone(),
        simulated: inventory
            .as_ref()
            .is_some_and(|it| matches!(it.tee, Tee::None | Tee::Simulated)),
        // The image is the one that its owner chose.
        dev_images: true,
        reported_images: true,
        images,
        kms_roots: root.into_iter().collect(),
        ..Policy::default()
    }
}

/// The stored form of a verdict.
pub(super) fn stored(verdict: &Verdict) -> StoredVerdict {
    let judged = |claim: &casemate_verify::Claim| JudgedClaim {
        claim: claim.claim.name().to_owned(),
        state: match &claim.state {
            State::Proven { .. } => ClaimState::Proven,
            State::Failed { .. } => ClaimState::Failed,
            State::NotShown { .. } => ClaimState::NotShown,
        },
        required: claim.required,
        reason: claim.text.clone(),
    };
    StoredVerdict {
        accepted: matches!(verdict.outcome, Outcome::Proven | Outcome::Simulated),
        claims: verdict.claims.iter().map(judged).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_for_logging_in_are_those_of_the_user_config() {
        let keys = |text| ssh_keys(Some(text));
        assert_eq!(ssh_keys(None), Vec::<String>::new());
        assert_eq!(
            keys(r#"{"ssh_authorized_keys":["ssh-ed25519 A"],"other":1}"#),
            ["ssh-ed25519 A"]
        );
        assert!(keys("no JSON").is_empty() && keys("{}").is_empty());
    }

    #[test]
    fn a_report_without_certificates_stays_in_the_bundle() {
        let shown = SnpReport { report: "ab".repeat(1184), ..SnpReport::default() };
        let bare = snp(&shown).unwrap();
        assert_eq!((bare.report.0.len(), &*bare.vcek, bare.mr_config), (1184, "", None));
        let text = |text: &str| Some(text.to_owned());
        let whole =
            SnpReport { ask: text("ask"), vcek: text("vcek"), mr_config: text("{}"), ..shown };
        let whole = snp(&whole).unwrap();
        assert_eq!((&*whole.ask, &*whole.vcek, whole.mr_config), ("ask", "vcek", text("{}")));
        assert_eq!(snp(&SnpReport { report: "no hex".to_owned(), ..SnpReport::default() }), None);
    }
}
