use dcap_qvl::verify::QuoteVerifier;

use super::*;

fn now() -> Timestamp {
    "2026-11-30T12:00:00Z".parse().unwrap()
}

fn seconds(at: Timestamp) -> u64 {
    at.as_second().try_into().unwrap()
}

fn report() -> TdReport {
    TdReport {
        mrtd: [1; 48],
        rtmr: [[2; 48], [3; 48], [4; 48], [5; 48]],
        report_data: [6; 64],
        ..TdReport::default()
    }
}

#[test]
fn a_quote_verifies_under_its_root_and_under_no_other() {
    let root = DevelopmentRoot::generate().unwrap();
    let quote = root.quote(&report()).unwrap();
    let collateral = root.collateral(now()).unwrap();
    let verified = QuoteVerifier::new(root.certificate_der().unwrap())
        .verify(&quote, &collateral, seconds(now()))
        .unwrap();
    let td = verified.report.as_td10().unwrap();
    assert_eq!(verified.status, "UpToDate");
    assert_eq!((td.mr_td, td.rt_mr3, td.report_data), ([1; 48], [5; 48], [6; 64]));
    assert_eq!(verified.ppid, [0; 16]);

    assert!(QuoteVerifier::new_prod().verify(&quote, &collateral, seconds(now())).is_err());
    let other = DevelopmentRoot::generate().unwrap().certificate_der().unwrap();
    assert!(QuoteVerifier::new(other).verify(&quote, &collateral, seconds(now())).is_err());
}

#[test]
fn a_root_read_back_from_pem_signs_the_same_chain() {
    let root = DevelopmentRoot::generate().unwrap();
    let again =
        DevelopmentRoot::from_pem(&root.key_pem().unwrap(), &root.certificate_pem().unwrap())
            .unwrap();
    assert_eq!(again.quote(&report()).unwrap(), root.quote(&report()).unwrap());
    assert_eq!(again.collateral(now()).unwrap(), root.collateral(now()).unwrap());
    let other = DevelopmentRoot::generate().unwrap();
    let mixed =
        DevelopmentRoot::from_pem(&root.key_pem().unwrap(), &other.certificate_pem().unwrap());
    assert!(matches!(mixed, Err(SimulateError::Pair)));
}

#[test]
fn platforms_differ_by_ppid_and_one_can_be_revoked() {
    let root = DevelopmentRoot::from_seed(&[7; 32]).unwrap();
    let verifier = QuoteVerifier::new(root.certificate_der().unwrap());
    let says = Collateral { revoked: vec![[9; 16]], ..Collateral::up_to_date(now()) };
    let collateral = root.collateral_saying(&says).unwrap();
    let revoked = root.quote(&TdReport { ppid: [9; 16], ..report() }).unwrap();
    let healthy = root.quote(&TdReport { ppid: [8; 16], ..report() }).unwrap();
    assert!(verifier.verify(&revoked, &collateral, seconds(now())).is_err());
    assert_eq!(verifier.verify(&healthy, &collateral, seconds(now())).unwrap().ppid, [8; 16]);
}

#[test]
fn collateral_says_what_it_was_told() {
    let root = DevelopmentRoot::from_seed(&[7; 32]).unwrap();
    let verifier = QuoteVerifier::new(root.certificate_der().unwrap());
    let quote = root.quote(&report()).unwrap();
    let says = Collateral {
        tcb_status: "OutOfDate".to_owned(),
        advisories: vec!["INTEL-SA-00837".to_owned()],
        ..Collateral::up_to_date(now())
    };
    let verified =
        verifier.verify(&quote, &root.collateral_saying(&says).unwrap(), seconds(now())).unwrap();
    assert_eq!(
        (verified.status.as_str(), verified.advisory_ids),
        ("OutOfDate", says.advisories.clone())
    );
    let late = now().checked_add(jiff::SignedDuration::from_hours(24 * 31)).unwrap();
    assert!(verifier.verify(&quote, &root.collateral(now()).unwrap(), seconds(late)).is_err());
    let ca = Collateral { platform_ca_revoked: true, ..Collateral::up_to_date(now()) };
    assert!(
        verifier.verify(&quote, &root.collateral_saying(&ca).unwrap(), seconds(now())).is_err()
    );
}

#[test]
fn a_debug_vm_is_refused_unless_the_verifier_allows_it() {
    let root = DevelopmentRoot::from_seed(&[7; 32]).unwrap();
    let quote = root.quote(&TdReport { debug: true, ..report() }).unwrap();
    let collateral = root.collateral(now()).unwrap();
    let der = root.certificate_der().unwrap();
    assert!(QuoteVerifier::new(der.clone()).verify(&quote, &collateral, seconds(now())).is_err());
    assert!(
        QuoteVerifier::new(der)
            .allow_debug(true)
            .verify(&quote, &collateral, seconds(now()))
            .is_ok()
    );
}
