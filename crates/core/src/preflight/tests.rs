use super::*;
use crate::{id::DeviceId, place::Amount};

const ROOM: Amount = Amount { slots: 4, vcpu: 16, memory_mb: 32768, disk_gb: 500 };

fn probe() -> Probe {
    Probe {
        anonymous: Anonymous::Refused,
        document: true,
        missing: Vec::new(),
        kms: KmsProbe::Answers { host: "https://kms:1".to_owned(), guests: Vec::new() },
        gateway: GatewayProbe::Answers {
            url: "https://gateway:1".to_owned(),
            base_domain: "apps.example".to_owned(),
            external_port: 443,
            version: "0.6.6".to_owned(),
        },
        clock_skew_s: Some(1),
        guest_token: true,
    }
}

fn image(name: &str, version: &str, hash: Option<&str>) -> ImageFact {
    let os_image_hash = hash.map(str::to_owned);
    ImageFact { name: name.to_owned(), version: version.to_owned(), os_image_hash }
}

fn facts() -> Facts {
    Facts {
        silence: None,
        version: "0.6.6".to_owned(),
        tee: "tdx".to_owned(),
        device_id: Some(DeviceId::from_bytes([1; 32])),
        images: vec![image("dstack-0.6.6", "0.6.6", None)],
        capacity: ROOM,
        gateway: ("apps.example".to_owned(), 443),
        probe: Some(probe()),
    }
}

/// Levels of a check, the worst last.
fn levels(facts: &Facts, check: Check) -> Vec<Level> {
    let mut levels: Vec<Level> = findings(facts)
        .iter()
        .filter(|found| found.check == check)
        .map(|found| found.level)
        .collect();
    levels.sort();
    levels
}

fn with(change: impl Fn(&mut Probe)) -> Facts {
    let mut probe = probe();
    change(&mut probe);
    Facts { probe: Some(probe), ..facts() }
}

#[test]
fn a_sound_node_has_only_ok_and_each_check_once() {
    let found = findings(&facts());
    assert!(
        found.iter().all(|found| found.level == Level::Ok && found.remedy.is_none()),
        "{found:#?}"
    );
    let checks: Vec<Check> = found.iter().map(|found| found.check).collect();
    let expected: Vec<Check> =
        Check::ALL.into_iter().filter(|check| *check != Check::SnpMinimums).collect();
    assert_eq!(checks, expected);
}

#[test]
fn nothing_is_concluded_from_silence() {
    let silent = Facts { silence: Some("refused".to_owned()), images: Vec::new(), ..facts() };
    let found = findings(&silent);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].check, found[0].level), (Check::Reachable, Level::Problem));
}

#[test]
fn an_open_door_is_a_problem() {
    let level = |anonymous: Anonymous| {
        levels(&with(|probe| probe.anonymous = anonymous.clone()), Check::Credential)
    };
    assert_eq!(level(Anonymous::Answered), [Level::Problem]);
    assert_eq!(level(Anonymous::SocketOnly), [Level::Ok]);
    assert_eq!(level(Anonymous::Unknown { why: "x".to_owned() }), [Level::Warning]);
}

#[test]
fn builds_outside_of_the_known_ones_are_named() {
    let level =
        |version: &str| levels(&Facts { version: version.to_owned(), ..facts() }, Check::Version);
    for known in ["0.5.8", "v0.5.16", "0.6.0", "0.6.6"] {
        assert_eq!(level(known), [Level::Ok], "{known}");
    }
    for other in ["0.5.17", "0.7.0", "unknown", "0.6"] {
        assert_eq!(level(other), [Level::Warning], "{other}");
    }
    assert_eq!(level("0.5.7"), [Level::Problem]);
}

#[test]
fn an_image_is_compared_with_its_release_after_the_first_boot() {
    let published = published_hash("dstack-0.6.6").unwrap();
    let level = |hash: Option<&str>| {
        let images = vec![image("dstack-0.6.6", "0.6.6", hash)];
        levels(&Facts { images, ..facts() }, Check::Images)
    };
    assert_eq!(level(None), [Level::Ok]);
    assert_eq!(level(Some(published)), [Level::Ok]);
    assert_eq!(level(Some(&"0".repeat(64))), [Level::Problem]);
    assert_eq!(levels(&Facts { images: Vec::new(), ..facts() }, Check::Images), [Level::Problem]);
}

#[test]
fn one_kms_for_the_vmm_and_its_guests() {
    let level = |kms: KmsProbe| levels(&with(|probe| probe.kms = kms.clone()), Check::Kms);
    let answers = |guests: &[&str]| KmsProbe::Answers {
        host: "https://a".to_owned(),
        guests: guests.iter().map(|url| (*url).to_owned()).collect(),
    };
    assert_eq!(level(answers(&["https://b", "https://a"])), [Level::Ok]);
    assert_eq!(level(answers(&["https://b"])), [Level::Warning]);
    assert_eq!(level(KmsProbe::NotConfigured), [Level::Warning]);
    assert_eq!(level(KmsProbe::Silent { why: "x".to_owned() }), [Level::Problem]);
}

#[test]
fn a_gateway_that_says_another_domain_or_is_older_than_the_guests_is_a_problem() {
    let level = |domain: &str, port: u16, version: &str| {
        let gateway = GatewayProbe::Answers {
            url: "https://g".to_owned(),
            base_domain: domain.to_owned(),
            external_port: port,
            version: version.to_owned(),
        };
        levels(&with(|probe| probe.gateway = gateway.clone()), Check::Gateway)
    };
    assert_eq!(level("apps.example", 443, "0.6.3"), [Level::Ok]);
    assert_eq!(level("other.example", 443, "0.6.3"), [Level::Problem]);
    assert_eq!(level("apps.example", 8443, "0.6.3"), [Level::Problem]);
    assert_eq!(level("other.example", 443, "0.6.2"), [Level::Problem, Level::Problem]);
    let old_guests = Facts { images: vec![image("a", "0.5.16", None)], ..facts() };
    assert_eq!(levels(&old_guests, Check::Gateway), [Level::Ok]);
}

#[test]
fn clock_snp_token_and_room() {
    let skew = |skew: Option<i64>| levels(&with(|probe| probe.clock_skew_s = skew), Check::Clock);
    assert_eq!(skew(None), []);
    assert_eq!((skew(Some(30)), skew(Some(-31))), (vec![Level::Ok], vec![Level::Problem]));

    let snp = Facts { tee: "sev-snp".to_owned(), ..facts() };
    assert_eq!(levels(&snp, Check::SnpMinimums), [Level::Warning]);
    let older =
        Facts { images: vec![image("a", "0.6.5", None)], version: "0.6.5".to_owned(), ..snp };
    assert_eq!(levels(&older, Check::SnpMinimums), []);

    let no_token = with(|probe| probe.guest_token = false);
    assert_eq!(levels(&no_token, Check::GuestToken), [Level::Warning]);
    let older = Facts { images: vec![image("a", "0.5.16", None)], ..no_token };
    assert_eq!(levels(&older, Check::GuestToken), []);

    let full = Facts { capacity: Amount { disk_gb: 0, ..ROOM }, ..facts() };
    assert_eq!(levels(&full, Check::Capacity), [Level::Problem]);
}

#[test]
fn whatever_is_not_ok_has_a_remedy() {
    let bad = Facts {
        version: "0.1.0".to_owned(),
        tee: "none".to_owned(),
        device_id: None,
        images: Vec::new(),
        capacity: Amount::default(),
        probe: Some(Probe {
            anonymous: Anonymous::Answered,
            missing: vec!["annotations".to_owned()],
            kms: KmsProbe::NotConfigured,
            gateway: GatewayProbe::NotConfigured,
            clock_skew_s: Some(900),
            ..probe()
        }),
        ..facts()
    };
    let found = findings(&bad);
    assert!(found.len() > 9, "{found:#?}");
    for found in found {
        assert_eq!(found.level == Level::Ok, found.remedy.is_none(), "{found:?}");
    }
}

#[test]
fn the_probe_is_kept_as_this_json() {
    let json = r#"{"anonymous":{"is":"refused"},"document":true,"missing":[],"kms":{"is":"answers","host":"https://kms:1","guests":[]},"gateway":{"is":"answers","url":"https://gateway:1","base_domain":"apps.example","external_port":443,"version":"0.6.6"},"clock_skew_s":1,"guest_token":true}"#;
    assert_eq!(serde_json::to_string(&probe()).unwrap(), json);
    assert_eq!(serde_json::from_str::<Probe>(json).unwrap(), probe());
}
