use casemate_core::governance::Refusal;

use super::*;

const KMS: Address = Address::from_bytes([0x33; 20]);
const OWNER: Address = Address::from_bytes([0x0e; 20]);
const STRANGER: Address = Address::from_bytes([0x66; 20]);
const HASH: ComposeHash = ComposeHash::from_bytes([0x11; 32]);
const DEVICE: DeviceId = DeviceId::from_bytes([0x22; 32]);
const IMAGE: [u8; 32] = [0x44; 32];
const NOW: Duration = Duration::ZERO;

fn chain() -> (FakeChain, Question, TxHash) {
    let chain = FakeChain::new(8453);
    chain.add_kms(KMS);
    chain.allow_os_image(KMS, IMAGE, true);
    let new = NewApp {
        owner: OWNER,
        disable_upgrades: false,
        allow_any_device: false,
        device: Some(DEVICE),
        hash: Some(HASH),
    };
    let (app, transaction) = chain.deploy(KMS, &new);
    (
        chain,
        Question { kms: KMS, app, hash: HASH, device: DEVICE, os_image: None, transaction: None },
        transaction,
    )
}

async fn verdict(chain: &FakeChain, question: &Question) -> Verdict {
    chain.verify(question, NOW).await.unwrap()
}

#[tokio::test]
async fn an_app_deployed_through_the_kms_is_allowed() {
    let (chain, question, transaction) = chain();
    // The first app of this contract: CREATE with nonce 1.
    let expected = casemate_core::create_address::create_address(
        &casemate_core::id::Wallet::from_bytes(*KMS.as_bytes()),
        1,
    );
    assert_eq!(question.app, expected);
    for transaction in [None, Some(transaction)] {
        let question = Question { transaction, ..question };
        let Verdict::Allowed(proof) = verdict(&chain, &question).await else { panic!() };
        assert_eq!(
            (proof.block, proof.owner, proof.transaction),
            (chain.head(), Some(OWNER), transaction)
        );
    }
    assert_eq!(chain.counts().verify, 2);
}

#[tokio::test]
async fn what_was_removed_is_refused_by_state_though_its_transaction_holds() {
    let (chain, question, transaction) = chain();
    chain.remove_hash(question.app, HASH);
    let question = Question { transaction: Some(transaction), ..question };
    assert!(matches!(verdict(&chain, &question).await, Verdict::Refused(Refusal::State(_))));
}

#[tokio::test]
async fn a_pending_transaction_is_waited_for() {
    let (chain, question, _) = chain();
    let hash = ComposeHash::from_bytes([7; 32]);
    let call = (OWNER, question.app.into(), calldata::add_compose_hash(hash));
    let transaction = chain.submit(vec![call]);
    let question = Question { hash, transaction: Some(transaction), ..question };
    assert!(matches!(verdict(&chain, &question).await, Verdict::Refused(Refusal::Transaction(_))));
    let waiting = chain.verify(&question, Duration::from_mins(1));
    let (answer, ()) = tokio::join!(waiting, async { chain.mine(1) });
    assert!(matches!(answer, Ok(Verdict::Allowed(_))), "{answer:?}");
}

#[tokio::test]
async fn a_reorganisation_takes_blocks_and_what_was_in_them() {
    let (chain, question, _) = chain();
    let before = chain.head();
    let hash = ComposeHash::from_bytes([7; 32]);
    let transaction = chain.add_hash(question.app, hash);
    let lost = chain.head();
    chain.reorg(1);
    let question = Question { hash, transaction: Some(transaction), ..question };
    assert!(matches!(verdict(&chain, &question).await, Verdict::Refused(Refusal::Transaction(_))));
    assert_eq!(chain.is_canonical(&lost).await, Ok(false));
    assert_eq!(chain.is_canonical(&before).await, Ok(true));
}

#[tokio::test]
async fn strangers_change_nothing_and_are_told_so() {
    let (chain, question, _) = chain();
    let data = calldata::add_compose_hash(ComposeHash::from_bytes([7; 32]));
    let refused = chain.simulate(STRANGER, question.app.into(), data.clone()).await.unwrap();
    let reason = refused.unwrap_err();
    assert!(reason.starts_with(&format!("OwnableUnauthorizedAccount(0x{STRANGER})")), "{reason}");
    assert_eq!(chain.simulate(OWNER, question.app.into(), data.clone()).await, Ok(Ok(())));
    let transaction = chain.send(STRANGER, question.app.into(), data);
    let question = Question { transaction: Some(transaction), ..question };
    let Verdict::Refused(Refusal::Transaction(text)) = verdict(&chain, &question).await else {
        panic!()
    };
    assert!(text.contains("reverted"), "{text}");
}

#[tokio::test]
async fn ownership_moves_in_two_steps_or_in_one() {
    let (chain, question, _) = chain();
    let app = Address::from(question.app);
    chain.send(OWNER, app, calldata::transfer_ownership(STRANGER));
    let state = chain.state(&question).await.unwrap();
    assert_eq!((state.owner, state.pending_owner), (Some(OWNER), Some(STRANGER)));
    chain.send(STRANGER, app, calldata::accept_ownership());
    let state = chain.state(&question).await.unwrap();
    assert_eq!((state.owner, state.pending_owner), (Some(STRANGER), None));

    let old = AppId::from_bytes([0x0d; 20]);
    chain.place_app(old, OWNER, Generation::SingleStep);
    chain.send(OWNER, old.into(), calldata::transfer_ownership(STRANGER));
    let state = chain.state(&Question { app: old, ..question }).await.unwrap();
    assert_eq!((state.owner, state.pending_owner), (Some(STRANGER), None));
    assert!(!state.registered && state.app_exists);
}

#[tokio::test]
async fn a_boot_is_refused_in_the_contracts_words() {
    let (chain, question, _) = chain();
    let boot = BootInfo {
        kms: KMS,
        app: question.app,
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
    assert_eq!(said(&boot).await, "");
    assert_eq!(
        said(&BootInfo { os_image_hash: [9; 32], ..boot.clone() }).await,
        "OS image is not allowed"
    );
    let nowhere = AppId::from_bytes([1; 20]);
    assert_eq!(said(&BootInfo { app: nowhere, ..boot.clone() }).await, "App not registered");
    chain.register(KMS, nowhere.into());
    assert_eq!(
        said(&BootInfo { app: nowhere, ..boot.clone() }).await,
        "App not deployed or invalid address"
    );
    chain.remove_device(question.app, DEVICE);
    assert_eq!(said(&boot).await, "Device not allowed");
    chain.remove_hash(question.app, HASH);
    assert_eq!(said(&boot).await, "Compose hash not allowed");
    chain.require_tcb_up_to_date(question.app, true);
    assert_eq!(said(&boot).await, "TCB status is not up to date");
    assert!(said(&BootInfo { kms: STRANGER, ..boot }).await.contains("no contract of a KMS"));
}

#[tokio::test]
async fn faults_come_as_often_as_they_were_ordered() {
    let (chain, question, _) = chain();
    let fault = Fault::Unavailable("rpc.example: timed out".to_owned());
    chain.fail_next(2, &fault);
    assert_eq!(chain.state(&question).await, Err(fault.clone()));
    assert_eq!(chain.verify(&question, NOW).await, Err(fault));
    assert!(chain.state(&question).await.unwrap().allowed());
}

#[tokio::test]
async fn answers_are_held_until_they_are_released() {
    let (chain, question, _) = chain();
    chain.hold();
    let mut held = Box::pin(chain.state(&question));
    assert!(futures_util::poll!(&mut held).is_pending());
    chain.release();
    assert!(held.await.unwrap().allowed());
}

#[tokio::test]
async fn lists_and_accounts_are_what_was_set() {
    let (chain, question, _) = chain();
    chain.allow_kms_device(KMS, DEVICE);
    let other = DeviceId::from_bytes([8; 32]);
    let allowed = chain.kms_allows(&KMS, &[other, DEVICE], &[IMAGE, [9; 32]]).await.unwrap();
    assert_eq!(allowed, (vec![false, true], vec![true, false]));
    assert_eq!(chain.account(&OWNER).await, Ok(Account::Eoa));
    assert_eq!(chain.account(&KMS).await, Ok(Account::Contract));
    let safe = Account::Safe { threshold: 2, owners: vec![OWNER, STRANGER] };
    chain.set_account(STRANGER, safe.clone());
    assert_eq!(chain.account(&STRANGER).await, Ok(safe));
    assert_eq!(chain.upgrades_disabled(&question.app).await, Ok(Some(false)));
    chain.disable_upgrades(question.app);
    assert_eq!(chain.upgrades_disabled(&question.app).await, Ok(Some(true)));
    assert_eq!(chain.upgrades_disabled(&AppId::from_bytes([1; 20])).await, Ok(None));
}
