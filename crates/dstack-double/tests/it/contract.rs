use casemate_dstack_double::{
    Profile,
    contract::{self, Subject},
};

use crate::stage::{Stage, TOKEN};

#[tokio::test]
async fn every_build_of_the_double_keeps_the_contract() {
    for profile in Profile::ALL {
        let version = profile.version;
        let stage = Stage::new(profile).await;
        let subject = Subject::new(&stage.url, Some(TOKEN), "it").unwrap();
        for check in contract::run(&subject).await {
            assert!(check.outcome.is_ok(), "{version}: {check}");
        }
        assert!(stage.host.vms().unwrap().is_empty(), "{version}: a VM is left");
    }
}

#[tokio::test]
async fn the_contract_can_fail() {
    let stage = Stage::new(Profile::newest()).await;
    stage.host.set_faults(vec![casemate_dstack_double::Fault::Ignores(vec!["stopped".to_owned()])]);
    let subject = Subject::new(&stage.url, Some(TOKEN), "it").unwrap();
    let failed: Vec<&str> = contract::run(&subject)
        .await
        .into_iter()
        .filter(|check| check.outcome.is_err())
        .map(|check| check.name)
        .collect();
    assert!(failed.contains(&"a VM is made stopped, with what was sent"), "{failed:?}");
}
