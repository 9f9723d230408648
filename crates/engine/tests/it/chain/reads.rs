//! The questions other than whether something is allowed, on both chains.

use casemate_core::{
    governance::{
        Account, BootInfo, BootVerdict, Epochs, KmsKeys, KmsSettings, Question, calldata,
    },
    id::{Address, AppId, ComposeHash, DeviceId},
};
use casemate_engine::chain::Chain;
use casemate_testing::fake_chain::Generation;

use super::stage::{DEVICE, Ground, HASH, Stage};

const IMAGE: [u8; 32] = [0x44; 32];

async fn stages() -> [Stage; 2] {
    [Stage::fake().await, Stage::anvil().await]
}

async fn allow_image(stage: &Stage, allow: bool) {
    match &stage.ground {
        Ground::Fake { chain, .. } => chain.allow_os_image(stage.kms, IMAGE, allow),
        Ground::Anvil(anvil) => anvil.allow_os_image(stage.kms, IMAGE, allow).await,
    }
}

async fn allow_device(stage: &Stage, device: DeviceId) {
    match &stage.ground {
        Ground::Fake { chain, .. } => chain.allow_kms_device(stage.kms, device),
        Ground::Anvil(anvil) => anvil.allow_kms_device(stage.kms, device).await,
    }
}

#[tokio::test]
async fn a_boot_is_refused_in_the_words_of_the_contracts() {
    for stage in stages().await {
        let chain = stage.chain(|_| ());
        let (app, _) = stage.app(stage.owner(), Some(HASH)).await;
        let boot = BootInfo {
            kms: stage.kms,
            app,
            hash: HASH,
            instance: [0; 20],
            device: DEVICE,
            os_image_hash: IMAGE,
            tcb_status: "OutOfDate".to_owned(),
        };
        let said = async |boot: &BootInfo| match chain.boot(boot).await.unwrap() {
            BootVerdict::Allowed(_) => String::new(),
            BootVerdict::Denied(_, reason) => reason,
        };
        assert_eq!(said(&boot).await, "OS image is not allowed");
        allow_image(&stage, true).await;
        assert_eq!(said(&boot).await, "");

        let nowhere = AppId::from_bytes([1; 20]);
        let lost = BootInfo { app: nowhere, ..boot.clone() };
        assert_eq!(said(&lost).await, "App not registered");
        stage.send(stage.stranger(), stage.kms, calldata::register_app(nowhere.into())).await;
        assert_eq!(said(&lost).await, "App not deployed or invalid address");
        let kms = Address::from(nowhere);
        assert!(said(&BootInfo { kms, ..boot.clone() }).await.contains("no contract of a KMS"));

        let owner = stage.owner();
        let steps = [
            (calldata::remove_device(DEVICE), "Device not allowed"),
            (calldata::remove_compose_hash(HASH), "Compose hash not allowed"),
            (calldata::set_require_tcb_up_to_date(true), "TCB status is not up to date"),
        ];
        for (call, refusal) in steps {
            stage.send(owner, app.into(), call).await;
            assert_eq!(said(&boot).await, refusal);
        }
    }
}

#[tokio::test]
async fn what_a_kms_allows_is_listed_in_order() {
    for stage in stages().await {
        let chain = stage.chain(|_| ());
        allow_image(&stage, true).await;
        allow_device(&stage, DEVICE).await;
        let other = DeviceId::from_bytes([8; 32]);
        let many: Vec<DeviceId> = (0..40).map(|i| if i == 33 { DEVICE } else { other }).collect();
        let (devices, images) =
            chain.kms_allows(&stage.kms, &many, &[[9; 32], IMAGE]).await.unwrap();
        assert_eq!(devices.iter().position(|allowed| *allowed), Some(33));
        assert_eq!((devices.len(), images), (40, vec![false, true]));
        let nobody = Address::from_bytes([7; 20]);
        let none = chain.kms_allows(&nobody, &[DEVICE], &[IMAGE]).await;
        assert_eq!(none, Ok((vec![false], vec![false])));
    }
}

#[tokio::test]
async fn calls_are_tried_without_being_made() {
    for stage in stages().await {
        let chain = stage.chain(|_| ());
        let (app, _) = stage.app(stage.owner(), None).await;
        let (owner, stranger, add) =
            (stage.owner(), stage.stranger(), calldata::add_compose_hash(HASH));
        assert_eq!(chain.simulate(owner, app.into(), add.clone()).await, Ok(Ok(())));
        assert!(!chain.state(&stage.question(app, None)).await.unwrap().hash_allowed);
        let refused = chain.simulate(stranger, app.into(), add).await.unwrap().unwrap_err();
        let named = format!("OwnableUnauthorizedAccount(0x{stranger})");
        assert!(refused.starts_with(&named), "{refused}");
        let register = calldata::register_app(Address::from_bytes([0; 20]));
        let refused = chain.simulate(stranger, stage.kms, register).await.unwrap();
        assert_eq!(refused, Err("Invalid app ID".to_owned()));
    }
}

#[tokio::test]
async fn who_owns_an_app_is_a_key_a_safe_or_another_contract() {
    for stage in stages().await {
        let chain = stage.chain(|_| ());
        assert_eq!(chain.account(&stage.stranger()).await, Ok(Account::Eoa));
        assert_eq!(chain.account(&stage.kms).await, Ok(Account::Contract));
        assert_eq!(chain.account(&stage.timelock().await).await, Ok(Account::Contract));
        let safe = stage.safe().await;
        let expected = Account::Safe { threshold: 1, owners: vec![safe.signer] };
        assert_eq!(chain.account(&safe.address).await, Ok(expected));

        // A key that lends itself a contract's code is a key still.
        let key = stage.stranger();
        let lent = [&[0xef, 1, 0][..], stage.kms.as_bytes()].concat();
        match &stage.ground {
            Ground::Fake { chain, .. } => chain.set_code(key, lent),
            Ground::Anvil(anvil) => {
                let code = format!("0x{}", hex::encode(lent));
                anvil.rpc("anvil_setCode", serde_json::json!([format!("0x{key}"), code])).await;
            }
        }
        assert_eq!(chain.account(&key).await, Ok(Account::Eoa));
    }
}

#[tokio::test]
async fn disabled_upgrades_are_read_where_stock_contracts_keep_them() {
    for stage in stages().await {
        let chain = stage.chain(|_| ());
        let old = stage.unregistered(stage.owner(), Generation::SingleStep).await;
        let (app, _) = stage.app(stage.owner(), None).await;
        for app in [app, old] {
            // The neighbour in the same slot is not mistaken for it.
            stage.send(stage.owner(), app.into(), calldata::set_allow_any_device(true)).await;
            assert_eq!(chain.upgrades_disabled(&app).await, Ok(Some(false)));
            stage.send(stage.owner(), app.into(), calldata::disable_upgrades()).await;
            assert_eq!(chain.upgrades_disabled(&app).await, Ok(Some(true)));
        }
        assert_eq!(chain.upgrades_disabled(&AppId::from_bytes([1; 20])).await, Ok(None));
    }
}

#[tokio::test]
async fn a_block_is_canonical_until_it_is_replaced() {
    for stage in stages().await {
        let chain = stage.chain(|_| ());
        let (app, _) = stage.app(stage.owner(), Some(HASH)).await;
        let block = chain.state(&stage.question(app, None)).await.unwrap().block;
        stage.mine(2).await;
        assert_eq!(chain.is_canonical(&block).await, Ok(true));
        stage.reorg(3).await;
        assert_eq!(chain.is_canonical(&block).await, Ok(false));
    }
}

#[tokio::test]
async fn a_contract_without_lists_is_read_by_what_it_answers() {
    for stage in stages().await {
        let chain = stage.chain(|_| ());
        let app = stage.unregistered(stage.owner(), Generation::JudgeOnly).await;
        // The only document that the double on anvil allows.
        let allowed = ComposeHash::from_bytes([0; 32]);
        if let Ground::Fake { chain, .. } = &stage.ground {
            chain.judge_hash(app, allowed);
        }
        for (hash, is_allowed) in [(allowed, true), (HASH, false)] {
            let asked = Question { hash, os_image: Some(IMAGE), ..stage.question(app, None) };
            let state = chain.state(&asked).await.unwrap();
            assert_eq!((state.app_exists, state.has_lists), (true, false));
            assert_eq!((state.hash_allowed, state.device_allowed()), (is_allowed, is_allowed));
            assert_eq!((state.owner, state.registered), (None, false));
        }
        assert_eq!(chain.epochs(&app).await, Ok(Epochs::None));
        let (stock, _) = stage.app(stage.owner(), Some(HASH)).await;
        assert!(chain.state(&stage.question(stock, None)).await.unwrap().has_lists);
        assert_eq!(chain.epochs(&stock).await, Ok(Epochs::None), "it has other interfaces");
    }
}

#[tokio::test]
async fn epochs_and_settings_are_read_over_json_rpc() {
    let stage = Stage::fake().await;
    let rpc = stage.chain(|_| ());
    let Ground::Fake { chain, .. } = &stage.ground else { panic!("a chain in memory") };
    let (app, _) = stage.app(stage.owner(), None).await;
    for epochs in [Epochs::Current, Epochs::Old, Epochs::None] {
        chain.set_epochs(app, epochs);
        assert_eq!(rpc.epochs(&app).await, Ok(epochs));
    }
    assert_eq!(rpc.kms_settings(&stage.kms).await, Ok(KmsSettings::default()));
    let whole = KmsSettings {
        owner: Some(stage.owner()),
        app_implementation: Some(stage.stranger()),
        gateway_app_id: Some("gateway".to_owned()),
        keys: Some(KmsKeys { k256: vec![2; 33], ca: vec![3; 91] }),
    };
    chain.set_kms_settings(stage.kms, whole.clone());
    assert_eq!(rpc.kms_settings(&stage.kms).await, Ok(whole));

    let stage = Stage::anvil().await;
    let Ground::Anvil(anvil) = &stage.ground else { panic!("a real EVM") };
    let settings = stage.chain(|_| ()).kms_settings(&stage.kms).await.unwrap();
    assert_eq!(settings.owner, Some(anvil.account(0)));
    assert!(settings.app_implementation.is_some());
    assert_eq!((settings.gateway_app_id, settings.keys), (None, None));
    let bare = anvil.deploy_kms_of(Address::from_bytes([0; 20])).await;
    let settings = stage.chain(|_| ()).kms_settings(&bare).await.unwrap();
    assert_eq!(settings.app_implementation, None);
}
