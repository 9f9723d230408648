//! TDX quotes: `dcap-qvl` judges, [`diagnose`] names the reason when it refuses.

mod diagnose;

use dcap_qvl::{
    QuoteClaims, QuotePolicy, TcbStatus,
    configs::RustCryptoConfig,
    quote::{AuthData, Quote, Report, TDReport10},
    verify::QuoteVerifier,
};
use jiff::Timestamp;
use parity_scale_codec::Encode;
use x509_cert::time::Time;

use crate::{
    bundle::Tdx,
    claim::{Root, Unproven},
    reason::{Missing, Reason},
    roots::{INTEL, Roots},
};

/// The type of certification data that holds a report of the quoting enclave.
const QE_REPORT: u16 = 6;

/// What a verified quote says.
#[derive(Debug)]
pub(crate) struct TdxFacts {
    pub root: Root,
    pub status: TcbStatus,
    pub advisories: Vec<String>,
    pub report: TDReport10,
    pub debug: bool,
    pub ppid: Vec<u8>,
}

/// Verifies the quote under Intel's root, then under the given development roots.
pub(crate) fn judge(tdx: &Tdx, roots: &Roots, now: Timestamp) -> Result<TdxFacts, Unproven> {
    let raw = tdx.quote.as_slice();
    let quote = Quote::parse(raw).map_err(|_| Reason::QuoteMalformed)?;
    // No signature covers the lengths and types around the certificates, so only the one canonical form is read.
    let canonical = quote.encode();
    let trailing = raw.strip_prefix(canonical.as_slice()).ok_or(Reason::QuoteMalformed)?;
    if matches!(&quote.auth_data, AuthData::V4(auth) if auth.certification_data.cert_type != QE_REPORT)
    {
        return Err(Reason::QuoteMalformed.into());
    }
    // Guests may pad a quote with zero bytes to the size of a buffer.
    if trailing.iter().any(|byte| *byte != 0) {
        return Err(Reason::QuoteTrailingBytes { bytes: trailing.len() }.into());
    }
    let collateral = tdx.collateral.as_ref().ok_or(Missing::NoCollateral)?;
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let policy = QuotePolicy::claims_only(seconds);
    let verify = |root: &[u8]| {
        QuoteVerifier::<RustCryptoConfig>::new_with_config(root.to_vec())
            .allow_debug(true)
            .verify_with_policy(raw, collateral, seconds, &policy)
    };
    let refusal = match verify(INTEL) {
        Ok(claims) => return facts(claims, Root::Intel),
        Err(refusal) => refusal,
    };
    for root in &roots.development {
        if let Ok(claims) = verify(&root.der) {
            return facts(claims, Root::Development { name: root.name.clone() });
        }
    }
    let known =
        std::iter::once(INTEL).chain(roots.development.iter().map(|root| root.der.as_slice()));
    let detail = || format!("{refusal:#}").chars().take(256).collect();
    let reason = diagnose::reason(&quote, raw, collateral, known, now);
    Err(reason.unwrap_or_else(|| Reason::QuoteRefused { detail: detail() }).into())
}

fn facts(claims: QuoteClaims, root: Root) -> Result<TdxFacts, Unproven> {
    let report = match &claims.report {
        Report::SgxEnclave(_) => None,
        report => report.as_td10().copied(),
    };
    let report =
        report.ok_or(Reason::QuoteHeader { field: crate::reason::HeaderField::TeeType })?;
    Ok(TdxFacts {
        root,
        status: claims.tcb.status,
        advisories: claims.tcb.advisory_ids,
        // TUD: the lowest byte of the attributes. Any bit of it opens the VM.
        debug: report.td_attributes[0] != 0,
        report,
        ppid: claims.platform.pck.ppid,
    })
}

pub(crate) fn timestamp(time: Time) -> Timestamp {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}
