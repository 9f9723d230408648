use proptest::prelude::*;

use super::{
    Account, Block, BootInfo, Question, Refusal, State, Verdict, calldata,
    interface::AppContract,
    judge::{Log, Policy, Receipt, ReceiptEvaluation, decide, evaluate_receipt, not_found},
    returned::{self, CallResult},
    view,
};
use crate::id::{Address, AppId, BlockHash, ComposeHash, DeviceId, TxHash};
use alloy_sol_types::{SolError, SolEvent};

const KMS: Address = Address::from_bytes([0x33; 20]);
const APP: AppId = AppId::from_bytes([0xaa; 20]);
const OTHER_APP: Address = Address::from_bytes([0xbb; 20]);
const HASH: ComposeHash = ComposeHash::from_bytes([0x11; 32]);
const DEVICE: DeviceId = DeviceId::from_bytes([0x22; 32]);
const OWNER: Address = Address::from_bytes([0x0e; 20]);
const TX: TxHash = TxHash::from_bytes([0x77; 32]);

fn block(number: u64) -> Block {
    Block { number, hash: BlockHash::from_bytes([u8::try_from(number).unwrap(); 32]) }
}

fn question() -> Question {
    Question {
        kms: KMS,
        app: APP,
        hash: HASH,
        device: DEVICE,
        os_image: None,
        transaction: Some(TX),
    }
}

fn policy() -> Policy {
    Policy::new(8453, 1)
}

fn allowing() -> State {
    State {
        block: block(10),
        kms_exists: true,
        registered: true,
        app_exists: true,
        has_lists: true,
        hash_allowed: true,
        any_device: false,
        device_listed: true,
        owner: Some(OWNER),
        pending_owner: None,
    }
}

fn added(address: Address, hash: [u8; 32]) -> Log {
    Log {
        address,
        topics: vec![AppContract::ComposeHashAdded::SIGNATURE_HASH.0],
        data: hash.to_vec(),
        removed: false,
    }
}

fn receipt(logs: Vec<Log>) -> Receipt {
    Receipt { block: block(10), canonical: true, succeeded: true, logs }
}

fn evaluation(receipt: &Receipt, settled: u64) -> ReceiptEvaluation {
    evaluate_receipt(&question(), TX, receipt, settled, &policy())
}

/// The text of a final refusal of the transaction.
fn refused(evaluation: ReceiptEvaluation) -> String {
    match evaluation {
        ReceiptEvaluation::Refused(Refusal::Transaction(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn not_yet(evaluation: ReceiptEvaluation) -> String {
    match evaluation {
        ReceiptEvaluation::NotYet(Refusal::Transaction(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn state_refused(verdict: Verdict) -> String {
    match verdict {
        Verdict::Refused(Refusal::State(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_transaction_in_which_the_app_added_the_hash_holds() {
    let evidence = receipt(vec![added(OTHER_APP, [9; 32]), added(APP.into(), *HASH.as_bytes())]);
    assert_eq!(evaluation(&evidence, 10), ReceiptEvaluation::Holds);
}

#[test]
fn a_transaction_that_is_not_there_or_on_a_lost_block_is_waited_for() {
    let orphan = Receipt { canonical: false, ..receipt(vec![added(APP.into(), *HASH.as_bytes())]) };
    let Refusal::Transaction(unknown) = not_found(TX, &policy()) else {
        panic!("of the transaction")
    };
    for text in [unknown, not_yet(evaluation(&orphan, 10))] {
        assert!(text.contains("0x7777") && text.contains("chain 8453"), "{text}");
        assert!(text.contains("Safe transaction"), "{text}");
    }
}

#[test]
fn a_transaction_that_reverted_proves_nothing() {
    let failed = Receipt { succeeded: false, ..receipt(Vec::new()) };
    let text = refused(evaluation(&failed, 10));
    assert!(text.contains("reverted") && text.contains(&APP.to_string()), "{text}");
}

#[test]
fn the_event_has_to_be_the_apps_own_and_of_this_hash() {
    let cases = [
        (added(OTHER_APP, *HASH.as_bytes()), "contract 0xbbbb"),
        (added(APP.into(), [9; 32]), "it added 0x0909"),
        (Log { removed: true, ..added(APP.into(), *HASH.as_bytes()) }, "inner call failed"),
        (
            Log { topics: vec![[1; 32]], ..added(APP.into(), *HASH.as_bytes()) },
            "no event ComposeHashAdded",
        ),
        (
            Log {
                topics: vec![AppContract::ComposeHashAdded::SIGNATURE_HASH.0, [0; 32]],
                ..added(APP.into(), *HASH.as_bytes())
            },
            "no event ComposeHashAdded",
        ),
        (
            Log { data: [HASH.as_bytes().as_slice(), &[0]].concat(), ..added(APP.into(), [0; 32]) },
            "no event ComposeHashAdded",
        ),
    ];
    for (log, expected) in cases {
        let text = refused(evaluation(&receipt(vec![log]), 10));
        assert!(text.contains(expected), "{text}");
        assert!(text.contains(&HASH.to_string()), "{text}");
    }
}

#[test]
fn confirmations_count_the_transactions_own_block() {
    let evidence = receipt(vec![added(APP.into(), *HASH.as_bytes())]);
    let three = Policy::new(8453, 3);
    for (settled, seen) in [(9, 0), (10, 1), (11, 2)] {
        let text = not_yet(evaluate_receipt(&question(), TX, &evidence, settled, &three));
        assert!(text.contains(&format!("{seen} of 3 confirmations")), "{text}");
    }
    assert_eq!(evaluate_receipt(&question(), TX, &evidence, 12, &three), ReceiptEvaluation::Holds);
    // Even with zero confirmations the block must exist.
    let none = Policy::new(8453, 0);
    assert!(matches!(
        evaluate_receipt(&question(), TX, &evidence, 9, &none),
        ReceiptEvaluation::NotYet(_)
    ));
    assert_eq!(evaluate_receipt(&question(), TX, &evidence, 10, &none), ReceiptEvaluation::Holds);
}

#[test]
fn what_contracts_allow_is_proven_with_block_and_owner() {
    let Verdict::Allowed(proof) = decide(&question(), &allowing(), &policy()) else {
        panic!("it is allowed")
    };
    assert_eq!((proof.chain_id, proof.block), (8453, block(10)));
    assert_eq!((proof.owner, proof.transaction), (Some(OWNER), Some(TX)));
    let any = State { any_device: true, device_listed: false, ..allowing() };
    assert!(matches!(decide(&question(), &any, &policy()), Verdict::Allowed(_)));
}

#[test]
fn a_state_that_refuses_says_which_contract_and_what_to_do() {
    let kms = KMS.to_string();
    let app = APP.to_string();
    let add_hash = format!("addComposeHash(0x{HASH})");
    let add_device = format!("addDevice(0x{DEVICE})");
    let cases: [(State, Vec<&str>); 6] = [
        (State { kms_exists: false, ..allowing() }, vec![&kms, "no contract of a KMS"]),
        (State { registered: false, ..allowing() }, vec![&kms, &app, "registerApp(0xaaaa"]),
        (
            State { app_exists: false, ..allowing() },
            vec![&app, "no app contract", "AppDeployedViaFactory"],
        ),
        (
            State { hash_allowed: false, ..allowing() },
            vec![&app, &add_hash, "removed again", "0x0e0e"],
        ),
        (
            State { device_listed: false, ..allowing() },
            vec![&app, &add_device, "setAllowAnyDevice(true)"],
        ),
        (
            State { hash_allowed: false, device_listed: false, ..allowing() },
            vec![&app, &add_hash, &add_device, "one batch"],
        ),
    ];
    for (state, expected) in cases {
        let text = state_refused(decide(&question(), &state, &policy()));
        for word in expected.iter().chain(&["chain 8453", "block 10"]) {
            assert!(text.contains(word), "{word:?} is not in {text}");
        }
    }
}

#[test]
fn an_owner_who_offered_the_app_is_still_the_one_who_signs() {
    let pending = State { hash_allowed: false, pending_owner: Some(OTHER_APP), ..allowing() };
    let text = state_refused(decide(&question(), &pending, &policy()));
    assert!(
        text.contains(&format!("0x{OWNER}")) && text.contains(&format!("0x{OTHER_APP}")),
        "{text}"
    );
    let renounced = State { hash_allowed: false, owner: None, ..allowing() };
    assert!(state_refused(decide(&question(), &renounced, &policy())).contains("nobody"));
}

#[test]
fn answers_are_read_strictly() {
    let word = |last: u8| {
        let mut word = [0; 32];
        word[31] = last;
        CallResult::Data(word.to_vec())
    };
    let flag = returned::flag;
    assert_eq!(flag(&word(0)), Some(false));
    assert_eq!(flag(&word(1)), Some(true));
    let senseless = [
        word(2),
        CallResult::Data(Vec::new()),
        CallResult::Data(vec![1]),
        CallResult::Data(vec![0; 64]),
        CallResult::Data(vec![1; 32]),
        CallResult::Reverted(Vec::new()),
    ];
    for returned in &senseless {
        assert_eq!(flag(returned), None, "{returned:?}");
    }
    for returned in
        [CallResult::Data(Vec::new()), CallResult::Data(vec![1]), CallResult::Reverted(vec![0; 96])]
    {
        assert_eq!(returned::boot(&returned), None, "{returned:?}");
        assert_eq!(returned::safe_owners(&returned), None, "{returned:?}");
    }
    let mut owner = [0; 32];
    owner[12..].copy_from_slice(OWNER.as_bytes());
    assert_eq!(returned::account(&CallResult::Data(owner.to_vec())), Some(OWNER));
    assert_eq!(returned::account(&word(0)), None);
    owner[0] = 1;
    assert_eq!(returned::account(&CallResult::Data(owner.to_vec())), None);
    assert_eq!(returned::safe_threshold(&word(2)), Some(2));
    assert_eq!(returned::safe_threshold(&word(0)), None);
}

#[test]
fn keys_contracts_and_safes_are_told_apart() {
    let delegated = [&[0xef, 1, 0][..], &[7; 20]].concat();
    assert!(returned::is_key(&[]) && returned::is_key(&delegated));
    assert!(!returned::is_key(&[0x60]) && !returned::is_key(&delegated[..22]));
    let word = |last: u8| [[0; 31].as_slice(), &[last]].concat();
    let owners = [word(32), word(1), vec![0; 12], OWNER.as_bytes().to_vec()].concat();
    let (one, owners) = (CallResult::Data(word(1)), CallResult::Data(owners));
    let safe = Account::Safe { threshold: 1, owners: vec![OWNER] };
    assert_eq!(returned::contract(&one, &owners), safe);
    let none = CallResult::Reverted(Vec::new());
    assert_eq!(returned::contract(&one, &none), Account::Contract);
    assert_eq!(returned::contract(&none, &owners), Account::Contract);
}

#[test]
fn a_revert_is_told_by_its_text_or_name() {
    let text = alloy_sol_types::Revert { reason: "Compose hash not allowed".to_owned() };
    assert_eq!(returned::reason(&text.abi_encode()), "Compose hash not allowed");
    let account = super::address(OWNER);
    let custom = AppContract::OwnableUnauthorizedAccount { account }.abi_encode();
    let reason = returned::reason(&custom);
    assert!(reason.starts_with(&format!("OwnableUnauthorizedAccount(0x{OWNER})")), "{reason}");
    let long = alloy_sol_types::Revert { reason: format!("a\nb{}", "x".repeat(1000)) };
    let reason = returned::reason(&long.abi_encode());
    assert!(reason.starts_with("a bx") && reason.len() == 300, "{reason}");
    assert_eq!(returned::reason(&[]), "it reverts without a reason");
    assert_eq!(returned::reason(&[1, 2, 3, 4, 5]), "it reverts with error 0x01020304");
}

#[test]
fn calls_are_encoded_as_wallets_do() {
    assert_eq!(hex::encode(calldata::add_compose_hash(HASH)), format!("dfc77223{HASH}"));
    assert_eq!(hex::encode(calldata::remove_device(DEVICE)), format!("1d266200{DEVICE}"));
    let on = format!("7c4beeb8{:064x}", 1);
    assert_eq!(hex::encode(calldata::set_allow_any_device(true)), on);
    assert_eq!(hex::encode(calldata::accept_ownership()), "79ba5097");
    let app = calldata::NewApp {
        owner: OWNER,
        disable_upgrades: false,
        allow_any_device: true,
        device: None,
        hash: Some(HASH),
    };
    let zero = "0".repeat(64);
    let expected = format!("8618169d{:0>64}{zero}{:064x}{zero}{HASH}", OWNER.to_string(), 1);
    assert_eq!(hex::encode(calldata::deploy_and_register_app(&app)), expected);
}

#[test]
fn a_boot_is_asked_with_one_tuple() {
    let boot = BootInfo {
        kms: KMS,
        app: APP,
        hash: HASH,
        instance: [5; 20],
        device: DEVICE,
        os_image_hash: [6; 32],
        tcb_status: "UpToDate".to_owned(),
    };
    let call = view::boot(&boot);
    assert_eq!(hex::encode(&call[..4]), "1e079198");
    // One dynamic argument: its offset, then the tuple's nine words with two offsets.
    assert_eq!(call[35], 0x20);
    assert_eq!(hex::encode(&call[48..68]), APP.to_string());
    assert_eq!(call[4 + 32..].len() % 32, 0);
}

#[test]
fn a_contract_without_lists_decides_by_itself() {
    let judged = State { has_lists: false, any_device: true, device_listed: false, ..allowing() };
    assert!(matches!(decide(&question(), &judged, &policy()), Verdict::Allowed(_)));
    let refused = State { hash_allowed: false, any_device: false, ..judged };
    let text = state_refused(decide(&question(), &refused, &policy()));
    assert!(text.contains("its own isAppAllowed decides"), "{text}");
    assert!(!text.contains("addComposeHash"), "it has no such function: {text}");
}

fn states() -> impl Strategy<Value = State> {
    (any::<[bool; 6]>(), any::<bool>()).prop_map(|(flags, owned)| State {
        has_lists: true,
        block: block(10),
        kms_exists: flags[0],
        registered: flags[1],
        app_exists: flags[2],
        hash_allowed: flags[3],
        any_device: flags[4],
        device_listed: flags[5],
        owner: owned.then_some(OWNER),
        pending_owner: None,
    })
}

proptest! {
    /// Only the allowing state is answered with yes.
    #[test]
    fn only_a_state_that_allows_is_allowed(state in states()) {
        let verdict = decide(&question(), &state, &policy());
        prop_assert_eq!(matches!(verdict, Verdict::Allowed(_)), state.allowed());
    }

    /// Any bytes from a chain are decoded or refused, without a panic.
    #[test]
    fn anything_that_comes_back_is_read(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        let returned = CallResult::Data(data.clone());
        let _ = returned::flag(&returned);
        let _ = returned::boot(&returned);
        let _ = returned::account(&returned);
        let _ = returned::safe_owners(&returned);
        let _ = returned::safe_threshold(&returned);
        let _ = returned::reason(&data);
    }

    /// A transaction is valid only if it is in the chain, succeeded, and has the app's event.
    #[test]
    fn nothing_else_holds(
        canonical: bool, succeeded: bool, own: bool, same: bool, removed: bool, settled in 0u64..20,
    ) {
        let address = if own { APP.into() } else { OTHER_APP };
        let data = if same { *HASH.as_bytes() } else { [9; 32] };
        let log = Log { removed, ..added(address, data) };
        let evidence = Receipt { canonical, succeeded, ..receipt(vec![log]) };
        let holds = canonical && succeeded && own && same && !removed && settled >= 10;
        prop_assert_eq!(evaluation(&evidence, settled) == ReceiptEvaluation::Holds, holds);
    }
}
