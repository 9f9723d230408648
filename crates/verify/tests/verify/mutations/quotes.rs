//! Changes to the quote, its certificates and its collateral.

use casemate_verify::{
    ClaimId, QuoteCollateralV3, Roots, TcbStatus,
    hexes::HexBytes,
    simulate::{Collateral, DevelopmentRoot},
};
use jiff::SignedDuration;

use super::Mutation;
use crate::world::{self, Case, alter, events, now, root};

/// Where the parts of a development quote begin.
mod at {
    pub const KEY_TYPE: usize = 2;
    pub const VENDOR: usize = 12;
    pub const MRTD: usize = 48 + 136;
    pub const SIGNATURE: usize = 636;
    pub const ATTESTATION_KEY: usize = 700;
    pub const CERTIFICATION_TYPE: usize = 764;
    pub const QE_REPORT: usize = 770;
    pub const QE_SIGNATURE: usize = 1154;
    pub const QE_AUTH_DATA: usize = 1220;
    pub const CHAIN: usize = 1258;
}

fn flip(case: &mut Case, offset: usize) {
    case.tdx().quote.0[offset] ^= 1;
}

pub fn collateral(case: &mut Case) -> &mut QuoteCollateralV3 {
    case.tdx().collateral.as_mut().unwrap()
}

pub fn says(case: &mut Case, change: impl FnOnce(&mut Collateral)) {
    let mut says = Collateral::up_to_date(now());
    change(&mut says);
    *collateral(case) = root().collateral_saying(&says).unwrap();
}

fn old() -> QuoteCollateralV3 {
    let long_ago = now() - SignedDuration::from_hours(24 * 365);
    root().collateral(long_ago).unwrap()
}

/// Puts a changed chain into the collateral, where it takes precedence over the quote's.
fn alter_platform_chain(case: &mut Case, which: usize) {
    let chain = String::from_utf8(case.tdx().quote.0[at::CHAIN..].to_vec()).unwrap();
    collateral(case).pck_certificate_chain = Some(alter(&chain, which));
}

fn quote(case: &mut Case) -> &mut Vec<u8> {
    &mut case.tdx().quote.0
}

pub const QUOTE: [Mutation; 15] = [
    ("quote cut off", |case| quote(case).truncate(900), ClaimId::Hardware, "quote-malformed"),
    (
        "bytes behind the quote",
        |case| quote(case).push(7),
        ClaimId::Hardware,
        "quote-trailing-bytes",
    ),
    ("quote header: vendor", |case| flip(case, at::VENDOR), ClaimId::Hardware, "quote-header"),
    ("quote header: key type", |case| flip(case, at::KEY_TYPE), ClaimId::Hardware, "quote-header"),
    ("quote body", |case| flip(case, at::MRTD), ClaimId::Hardware, "quote-signature"),
    ("quote signature", |case| flip(case, at::SIGNATURE), ClaimId::Hardware, "quote-signature"),
    (
        "attestation key",
        |case| flip(case, at::ATTESTATION_KEY),
        ClaimId::Hardware,
        "qe-report-hash",
    ),
    ("QE report", |case| flip(case, at::QE_REPORT), ClaimId::Hardware, "qe-report-signature"),
    ("QE signature", |case| flip(case, at::QE_SIGNATURE), ClaimId::Hardware, "qe-report-signature"),
    ("QE auth data", |case| flip(case, at::QE_AUTH_DATA), ClaimId::Hardware, "qe-report-hash"),
    (
        "platform certificate",
        |case| alter_platform_chain(case, 0),
        ClaimId::Hardware,
        "certificate-signature",
    ),
    (
        "platform CA",
        |case| alter_platform_chain(case, 1),
        ClaimId::Hardware,
        "certificate-signature",
    ),
    (
        "certificate text",
        |case| collateral(case).pck_certificate_chain = Some("no PEM".to_owned()),
        ClaimId::Hardware,
        "certificate-malformed",
    ),
    (
        "certification data type",
        |case| flip(case, at::CERTIFICATION_TYPE),
        ClaimId::Hardware,
        "quote-malformed",
    ),
    (
        "debug bit",
        |case| case.quote_again(|report| report.debug = true),
        ClaimId::DebugOff,
        "debug",
    ),
];

pub const ROOTS: [Mutation; 3] = [
    (
        "another root",
        |case| {
            let other = DevelopmentRoot::from_seed(&[2; 32]).unwrap();
            let report = world::report(&events());
            case.tdx().quote = HexBytes(other.quote(&report).unwrap());
            *collateral(case) = other.collateral(now()).unwrap();
        },
        ClaimId::Hardware,
        "unknown-root",
    ),
    (
        "hardware wanted",
        |case| case.policy.simulated = false,
        ClaimId::Hardware,
        "simulated-not-allowed",
    ),
    ("root not given", |case| case.roots = Roots::vendors(), ClaimId::Hardware, "unknown-root"),
];

pub const COLLATERAL: [Mutation; 24] = [
    (
        "root revocation list",
        |case| *collateral(case).root_ca_crl.last_mut().unwrap() ^= 1,
        ClaimId::Hardware,
        "collateral-signature",
    ),
    (
        "platform revocation list",
        |case| *collateral(case).pck_crl.last_mut().unwrap() ^= 1,
        ClaimId::Hardware,
        "collateral-signature",
    ),
    (
        "root revocation list cut off",
        |case| collateral(case).root_ca_crl.truncate(40),
        ClaimId::Hardware,
        "collateral-malformed",
    ),
    (
        "platform revocation list cut off",
        |case| collateral(case).pck_crl.truncate(40),
        ClaimId::Hardware,
        "collateral-malformed",
    ),
    (
        "TCB level",
        |case| {
            says(case, |says| says.tcb_status = "OutOfDate".to_owned());
            let better = collateral(case).tcb_info.replace("OutOfDate", "UpToDate");
            collateral(case).tcb_info = better;
        },
        ClaimId::Hardware,
        "collateral-signature",
    ),
    (
        "QE identity",
        |case| {
            let other = collateral(case).qe_identity.replace("\"isvprodid\":2", "\"isvprodid\":1");
            collateral(case).qe_identity = other;
        },
        ClaimId::Hardware,
        "collateral-signature",
    ),
    (
        "TCB info signer",
        |case| {
            let chain = alter(&collateral(case).tcb_info_issuer_chain, 0);
            collateral(case).tcb_info_issuer_chain = chain;
        },
        ClaimId::Hardware,
        "certificate-signature",
    ),
    (
        "QE identity signer",
        |case| {
            let chain = alter(&collateral(case).qe_identity_issuer_chain, 0);
            collateral(case).qe_identity_issuer_chain = chain;
        },
        ClaimId::Hardware,
        "certificate-signature",
    ),
    (
        "later",
        |case| case.now = now() + SignedDuration::from_hours(24 * 40),
        ClaimId::Hardware,
        "collateral-expired",
    ),
    (
        "earlier",
        |case| case.now = now() - SignedDuration::from_hours(24 * 40),
        ClaimId::Hardware,
        "collateral-not-yet-valid",
    ),
    (
        "old TCB info",
        |case| {
            collateral(case).tcb_info = old().tcb_info;
            collateral(case).tcb_info_signature = old().tcb_info_signature;
        },
        ClaimId::Hardware,
        "collateral-expired",
    ),
    (
        "old QE identity",
        |case| {
            collateral(case).qe_identity = old().qe_identity;
            collateral(case).qe_identity_signature = old().qe_identity_signature;
        },
        ClaimId::Hardware,
        "collateral-expired",
    ),
    (
        "old platform revocation list",
        |case| collateral(case).pck_crl = old().pck_crl,
        ClaimId::Hardware,
        "collateral-expired",
    ),
    (
        "revoked platform",
        |case| says(case, |says| says.revoked = vec![world::PPID]),
        ClaimId::Hardware,
        "certificate-revoked",
    ),
    (
        "revoked CA",
        |case| says(case, |says| says.platform_ca_revoked = true),
        ClaimId::Hardware,
        "certificate-revoked",
    ),
    (
        "out of date",
        |case| {
            says(case, |says| {
                says.tcb_status = "OutOfDate".to_owned();
                says.advisories = vec!["INTEL-SA-00837".to_owned()];
            });
        },
        ClaimId::Tcb,
        "tcb-status",
    ),
    (
        "configuration needed",
        |case| says(case, |says| says.tcb_status = "ConfigurationNeeded".to_owned()),
        ClaimId::Tcb,
        "tcb-status",
    ),
    (
        "old quoting enclave",
        |case| says(case, |says| says.qe_status = "OutOfDate".to_owned()),
        ClaimId::Tcb,
        "tcb-status",
    ),
    (
        "advisory",
        |case| says(case, |says| says.advisories = vec!["INTEL-SA-00001".to_owned()]),
        ClaimId::Tcb,
        "advisories",
    ),
    (
        "revoked level",
        |case| says(case, |says| says.tcb_status = "Revoked".to_owned()),
        ClaimId::Hardware,
        "tcb-revoked",
    ),
    (
        "revoked quoting enclave",
        |case| {
            says(case, |says| {
                says.qe_status = "Revoked".to_owned();
                says.advisories = vec!["INTEL-SA-00002".to_owned()];
            });
        },
        ClaimId::Hardware,
        "tcb-revoked",
    ),
    (
        "accepted status, other advisory",
        |case| {
            case.policy.tcb_status.push(TcbStatus::SWHardeningNeeded);
            case.policy.advisories = vec!["INTEL-SA-00003".to_owned()];
            says(case, |says| {
                says.tcb_status = "SWHardeningNeeded".to_owned();
                says.advisories = vec!["INTEL-SA-00003".to_owned(), "INTEL-SA-00004".to_owned()];
            });
        },
        ClaimId::Tcb,
        "advisories",
    ),
    (
        "no TCB info",
        |case| collateral(case).tcb_info = String::new(),
        ClaimId::Hardware,
        "collateral-signature",
    ),
    (
        "no signer",
        |case| collateral(case).tcb_info_issuer_chain = "none".to_owned(),
        ClaimId::Hardware,
        "certificate-malformed",
    ),
];
