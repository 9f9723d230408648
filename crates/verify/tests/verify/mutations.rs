//! One change at a time to evidence that was good, and the reason that each gives.

mod app;
mod quotes;

use std::collections::BTreeSet;

use casemate_verify::{ClaimId, State};
use jiff::Timestamp;

pub use self::quotes::{COLLATERAL, QUOTE, ROOTS};
use self::{
    app::{IDENTITY, KEYS, LOG},
    quotes::{collateral, says},
};
use crate::world::{Case, good, root};

/// A name, the change, the claim that must fail, and the code of the reason.
pub type Mutation = (&'static str, fn(&mut Case), ClaimId, &'static str);

#[test]
fn the_good_case_proves_everything_that_can_be_proven() {
    let verdict = good().verify();
    for claim in &verdict.claims {
        let proven = claim.claim != ClaimId::Contracts;
        assert_eq!(claim.state.is_proven(), proven, "{}: {}", claim.claim, claim.text);
    }
}

#[test]
fn every_change_is_refused_with_its_reason() {
    let mut reasons = BTreeSet::new();
    let all = [&QUOTE[..], &ROOTS, &COLLATERAL, &LOG, &IDENTITY, &KEYS].concat();
    for (name, change, claim, code) in &all {
        let mut case = good();
        change(&mut case);
        let verdict = case.verify();
        let Some(State::Failed { reason }) = verdict.state(*claim) else {
            panic!("{name}: {claim} is {:?}", verdict.state(*claim))
        };
        let found = serde_json::to_value(reason).unwrap()["code"].clone();
        assert_eq!(found, *code, "{name}: {reason}");
        let text = reason.to_string();
        assert!(text.len() > 10 && !text.contains('{'), "{name}: {text}");
        reasons.insert(text);
    }
    assert!(all.len() >= 40 && reasons.len() >= 60, "{} of {}", reasons.len(), all.len());
}

#[test]
fn the_sentences_of_the_issue() {
    let text = |change: fn(&mut Case)| {
        let mut case = good();
        change(&mut case);
        case.verify().reasons().next().unwrap().1.to_string()
    };
    let outdated = text(|case| {
        says(case, |says| {
            says.tcb_status = "OutOfDate".to_owned();
            says.advisories = vec!["INTEL-SA-00837".to_owned()];
        });
    });
    assert_eq!(
        outdated,
        "TCB OutOfDate: advisory INTEL-SA-00837; the platform needs a firmware update"
    );
    let booted = text(|case| case.expected.compose_hash = Some([0; 32]));
    let zeros = "00".repeat(32);
    assert!(
        booted
            .starts_with(&format!("RTMR3 differs at event compose-hash: planned {zeros}, booted "))
    );
}

#[test]
fn only_revocation_is_called_revoked() {
    for (name, change, _, code) in [&QUOTE[..], &ROOTS, &COLLATERAL].concat() {
        let mut case = good();
        change(&mut case);
        let said = case
            .verify()
            .claims
            .iter()
            .any(|claim| claim.text.contains("revoked") || claim.text.contains("Revoked"));
        assert_eq!(said, code.ends_with("revoked"), "{name}");
    }
}

#[test]
fn a_time_beyond_every_certificate_is_refused() {
    let mut case = good();
    case.now = "2051-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
    *collateral(&mut case) = root().collateral(case.now).unwrap();
    let verdict = case.verify();
    let (claim, reason) = verdict.reasons().next().unwrap();
    assert_eq!(claim, ClaimId::Hardware);
    assert!(reason.to_string().contains("was valid until 2049-12-31"), "{reason}");
}
