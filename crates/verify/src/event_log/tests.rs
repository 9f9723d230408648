use super::*;

fn boot() -> Vec<Event> {
    vec![
        Event::dstack("system-preparing", &[], 1),
        Event::dstack("app-id", &[1; 20], 1),
        Event::dstack("compose-hash", &[2; 32], 2),
        Event::dstack("instance-id", &[3; 20], 1),
        Event::dstack("system-ready", &[], 1),
        Event::dstack("compose-hash", &[9; 32], 1),
    ]
}

fn registers(events: &[Event]) -> [Register; 4] {
    [[0; 48], [0; 48], [0; 48], register_of(events)]
}

#[test]
fn a_log_gives_its_facts_until_the_app_starts() {
    let events = boot();
    let log = replay(&events, &registers(&events), &[]).unwrap();
    assert_eq!(log.fact("compose-hash"), Some([2; 32].as_slice()));
    assert_eq!(log.facts().count(), 4);
}

#[test]
fn version_two_hashes_canonical_json() {
    let event = Event::dstack("compose-hash", &[0xab, 0xcd], 2);
    assert_eq!(
        event.computed_preimage(),
        br#"{"name":"compose-hash","payload":"abcd","type":134217729}"#
    );
    let quoted = Event::dstack("a\"b\n", &[], 2);
    assert_eq!(quoted.computed_preimage(), br#"{"name":"a\"b\n","payload":"","type":134217729}"#);
}

#[test]
fn firmware_events_count_by_their_digest_and_may_be_left_out() {
    let firmware = |imr, digest: &[u8]| Event {
        imr,
        event_type: 0x8000_0001,
        digest: HexBytes(digest.to_vec()),
        event: "not measured".to_owned(),
        event_payload: HexBytes::default(),
        version: 1,
        preimage: None,
    };
    let mut events = boot();
    events.insert(0, firmware(0, &[7; 48]));
    let mut quoted = registers(&boot());
    quoted[0] = extend(&[0; 48], &[7; 48]);
    quoted[1] = [5; 48];
    assert!(replay(&events, &quoted, &[]).is_ok());
    quoted[0] = [0; 48];
    assert!(matches!(replay(&events, &quoted, &[]), Err(Reason::Register { register: 0, .. })));
    events[0] = firmware(0, &[7; 47]);
    assert!(matches!(replay(&events, &quoted, &[]), Err(Reason::EventDigest { index: 0, .. })));
    events[0] = firmware(4, &[7; 48]);
    assert!(matches!(
        replay(&events, &quoted, &[]),
        Err(Reason::EventRegister { register: 4, .. })
    ));
}

#[test]
fn a_guest_log_with_unknown_fields_is_read() {
    let json = r#"[{"imr":3,"event_type":134217729,"digest":"","event":"app-id","event_payload":"0102","new":1}]"#;
    let events = Event::parse_guest_log(json).unwrap();
    assert_eq!(events[0].event_payload, HexBytes(vec![1, 2]));
    assert_eq!(events[0].version, 1);
}
