//! The cases that another verifier judges too (`conformance/verify`).

use std::fs;

use casemate_verify::{ClaimId, Reason, State};
use serde_json::{Value, json};

use crate::{
    mutations, vectors,
    world::{Case, good, root},
};

/// What both verifiers judge: quote and collateral, without policy, event log and the rest.
fn row(name: &str, case: &Case, root_der: &str) -> Option<Value> {
    let tdx = case.bundle.tdx.as_ref()?;
    let verdict = case.verify();
    let (accepts, status, why) =
        match (verdict.state(ClaimId::Hardware)?, verdict.state(ClaimId::Tcb)?) {
            // The first is the policy's business, not the quote's.
            (
                State::Failed { reason: Reason::SimulatedNotAllowed { .. } }
                | State::NotShown { .. },
                _,
            ) => {
                return None;
            }
            (State::Failed { reason }, _) => (false, String::new(), reason.to_string()),
            (
                _,
                State::Failed {
                    reason: Reason::TcbStatus { status, .. } | Reason::Advisories { status, .. },
                },
            ) => (true, status.clone(), String::new()),
            (..) if verdict.state(ClaimId::DebugOff).is_some_and(State::is_failed) => {
                (false, String::new(), Reason::Debug.to_string())
            }
            (..) => (true, "UpToDate".to_owned(), String::new()),
        };
    Some(json!({
        "name": name,
        "quote": tdx.quote,
        "collateral": tdx.collateral,
        "root": root_der,
        "now": case.now.as_second(),
        "accepts": accepts,
        "status": status,
        "why": why,
    }))
}

#[test]
fn agreement_cases_are_written() {
    let ours = hex::encode(root().certificate_der().unwrap());
    let intel = hex::encode(include_bytes!("../../src/intel_root.der"));
    let mut rows = vec![row("good", &good(), &ours).unwrap()];
    let about_quotes = [&mutations::QUOTE[..], &mutations::ROOTS, &mutations::COLLATERAL].concat();
    for (name, change, ..) in about_quotes {
        let mut case = good();
        change(&mut case);
        let given = if name == "root not given" { &intel } else { &ours };
        rows.extend(row(name, &case, given));
    }
    let (bundle, now) = vectors::sample();
    let sample = Case { bundle, now, ..good() };
    rows.extend(row("public quote", &sample, &intel));
    let late = Case { now: good().now, ..sample.clone() };
    rows.extend(row("public quote, later", &late, &intel));
    for offset in (0..sample.bundle.tdx.as_ref().unwrap().quote.0.len().min(1258)).step_by(97) {
        let mut changed = sample.clone();
        changed.tdx().quote.0[offset] ^= 4;
        rows.extend(row(&format!("public quote, byte {offset}"), &changed, &intel));
    }
    assert!(rows.len() > 40, "{}", rows.len());
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/verify-cases.json");
    fs::write(file, serde_json::to_vec(&rows).unwrap()).unwrap();
}
