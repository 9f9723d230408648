//! Endpoints that misbehave: none of it is a verdict, and nothing secret is said about it.

use std::{future::Future, sync::Arc, time::Duration};

use casemate_core::{
    governance::{Question, Verdict, calldata, calldata::NewApp},
    id::{Address, AppId, TxHash},
};
use casemate_engine::chain::{
    Chain, Fault,
    rpc::{Config, ConfigError, RpcChain},
};
use casemate_testing::{
    clock::MockClock,
    fake_chain::{Behaviour, FakeChain, FakeNode},
    wait::poll,
};
use secrecy::SecretString;

use super::stage::{CHAIN_ID, DEVICE, HASH, NOW, OTHER_HASH, PLENTY, config};

const KMS: Address = Address::from_bytes([0x33; 20]);
const OWNER: Address = Address::from_bytes([0xa1; 20]);
const CALL: &str = "eth_call";
const RECEIPT: &str = "eth_getTransactionReceipt";
const BLOCK: &str = "eth_getBlockByNumber";
const CHAIN: &str = "eth_chainId";

/// A chain with an app that allows the hash, and two endpoints of it.
struct World {
    fake: FakeChain,
    first: FakeNode,
    second: FakeNode,
    clock: Arc<MockClock>,
    app: AppId,
    transaction: TxHash,
}

impl World {
    async fn new() -> Self {
        let fake = FakeChain::new(CHAIN_ID);
        fake.add_kms(KMS);
        let (app, transaction) = fake.deploy(
            KMS,
            &NewApp {
                owner: OWNER,
                disable_upgrades: false,
                allow_any_device: false,
                device: Some(DEVICE),
                hash: Some(HASH),
            },
        );
        let (first, second) = (FakeNode::start(&fake).await, FakeNode::start(&fake).await);
        Self { fake, first, second, clock: Arc::default(), app, transaction }
    }

    fn question(&self) -> Question {
        let transaction = Some(self.transaction);
        Question {
            kms: KMS,
            app: self.app,
            hash: HASH,
            device: DEVICE,
            os_image: None,
            transaction,
        }
    }

    fn stateless(&self) -> Question {
        Question { transaction: None, ..self.question() }
    }

    /// Asked through both endpoints.
    fn both(&self) -> RpcChain {
        self.with(vec![self.first.url(), self.second.url()], |_| ())
    }

    /// Asked through the first one only.
    fn alone(&self) -> RpcChain {
        self.with(vec![self.first.url()], |_| ())
    }

    fn with(&self, endpoints: Vec<SecretString>, adjust: impl FnOnce(&mut Config)) -> RpcChain {
        let mut config = config(endpoints);
        adjust(&mut config);
        RpcChain::new(&config, self.clock.clone()).unwrap()
    }
}

fn is_allowed(answer: &Result<Verdict, Fault>) -> bool {
    matches!(answer, Ok(Verdict::Allowed(_)))
}

/// The text of an answer that is none.
fn unavailable<T: std::fmt::Debug>(answer: Result<T, Fault>) -> String {
    match answer {
        Err(Fault::Unavailable(text)) => text,
        other => panic!("should be no answer: {other:?}"),
    }
}

/// Waits for something that happens elsewhere.
async fn until<F: Future<Output = bool>>(happened: impl Fn() -> F) {
    poll(PLENTY, async || happened().await.then_some(())).await.unwrap();
}

#[tokio::test]
async fn what_is_no_answer_is_asked_of_the_next_endpoint_and_alone_it_is_no_verdict() {
    let faults = [
        (Behaviour::Status(429, None), "HTTP 429"),
        (Behaviour::Status(503, None), "HTTP 503"),
        (Behaviour::Status(401, None), "HTTP 401"),
        (Behaviour::Drop, "the connection broke"),
        (Behaviour::Garbage, "makes no sense"),
        (Behaviour::Endless, "too long"),
        (Behaviour::Error(-32_000, "your key s3cr3t-key is used up"), "error -32000"),
    ];
    for (behaviour, words) in faults {
        let world = World::new().await;
        world.first.behave(behaviour);
        let text = unavailable(world.alone().verify(&world.question(), PLENTY).await);
        assert!(text.contains(words) && text.starts_with("127.0.0.1:"), "{text}");
        assert!(!text.contains("s3cr3t") && !text.contains("http"), "{text}");
        assert!(is_allowed(&world.both().verify(&world.question(), NOW).await), "{words}");
    }
}

#[tokio::test]
async fn an_endpoint_that_nobody_serves_is_passed_over() {
    let world = World::new().await;
    let nobody = {
        let gone = FakeNode::start(&world.fake).await;
        gone.url()
    };
    let text = unavailable(world.with(vec![nobody.clone()], |_| ()).state(&world.question()).await);
    assert!(text.contains("cannot be reached") || text.contains("broke"), "{text}");
    let chain = world.with(vec![nobody, world.second.url()], |_| ());
    assert!(is_allowed(&chain.verify(&world.question(), NOW).await));
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_none() {
    let world = World::new().await;
    world.first.behave(Behaviour::Slow(Duration::from_mins(1)));
    let hurried = |endpoints| {
        world.with(endpoints, |config| config.call_timeout = Duration::from_millis(400))
    };
    let text =
        unavailable(hurried(vec![world.first.url()]).verify(&world.question(), PLENTY).await);
    assert!(text.contains("timed out"), "{text}");
    let both = hurried(vec![world.first.url(), world.second.url()]);
    assert!(is_allowed(&both.verify(&world.question(), NOW).await));
}

#[tokio::test]
async fn an_endpoint_that_is_slow_at_each_call_does_not_take_all_the_time_there_is() {
    let world = World::new().await;
    world.first.behave(Behaviour::Slow(Duration::from_millis(300)));
    let chain = world
        .with(vec![world.first.url()], |config| config.call_timeout = Duration::from_millis(400));
    // Each answer comes in time; the third one, of calls that wait for each other, comes too late.
    let text = unavailable(chain.verify(&world.question(), NOW).await);
    assert!(text.contains("timed out"), "{text}");
}

#[tokio::test]
async fn a_slow_answer_is_an_answer() {
    let world = World::new().await;
    world.first.behave(Behaviour::Slow(Duration::from_millis(30)));
    assert!(is_allowed(&world.alone().verify(&world.question(), NOW).await));
}

#[tokio::test]
async fn an_endpoint_that_fails_again_and_again_is_left_alone_for_a_while() {
    let world = World::new().await;
    let chain = world.both();
    world.first.behave(Behaviour::Status(500, None));
    for _ in 0..5 {
        assert!(is_allowed(&chain.verify(&world.question(), NOW).await));
    }
    assert_eq!(world.first.calls(CHAIN), 3, "after three failures it is not asked");
    world.first.heal();
    world.clock.advance(Duration::from_secs(2));
    assert!(is_allowed(&chain.verify(&world.question(), NOW).await));
    assert_eq!((world.first.calls(CHAIN), world.first.calls(RECEIPT)), (4, 1));
}

#[tokio::test]
async fn if_all_are_left_alone_the_answer_is_the_last_trouble_at_once() {
    let world = World::new().await;
    let chain = world.alone();
    world.first.behave(Behaviour::Status(429, Some(30)));
    assert!(unavailable(chain.state(&world.question()).await).contains("429"));
    world.first.heal();
    assert!(unavailable(chain.state(&world.question()).await).contains("429"));
    assert_eq!(world.first.calls(CHAIN), 1, "it asked for thirty seconds");
    world.clock.advance(Duration::from_secs(30));
    assert!(chain.state(&world.question()).await.unwrap().allowed());
}

#[tokio::test]
async fn an_endpoint_of_another_chain_is_not_believed() {
    let world = World::new().await;
    world.first.behave(Behaviour::ChainId(1));
    let Err(Fault::Misconfigured(text)) = world.alone().verify(&world.question(), NOW).await else {
        panic!("no verdict may come of it")
    };
    assert!(text.contains("no endpoint serves chain 8453") && text.contains("chain 1"), "{text}");
    assert!(!text.contains("s3cr3t"), "{text}");
    assert_eq!(world.first.calls(CALL), 0);
    let chain = world.both();
    assert!(is_allowed(&chain.verify(&world.question(), NOW).await));
    // One is wrong, the other does not answer: not only the configuration is to blame.
    world.second.behave(Behaviour::Drop);
    unavailable(chain.verify(&world.question(), NOW).await);
}

#[tokio::test]
async fn the_chain_is_checked_once_and_again_when_connections_may_be_new() {
    let world = World::new().await;
    let chain = world.alone();
    for _ in 0..3 {
        assert!(is_allowed(&chain.verify(&world.question(), NOW).await));
    }
    assert_eq!(world.first.calls(CHAIN), 1);
    world.clock.advance(Duration::from_secs(31));
    assert!(is_allowed(&chain.verify(&world.question(), NOW).await));
    assert_eq!(world.first.calls(CHAIN), 2, "nobody spoke for half a minute");
    world.first.behave_next(1, None, &Behaviour::Drop);
    unavailable(chain.state(&world.question()).await);
    world.first.behave(Behaviour::ChainId(1));
    let answer = chain.verify(&world.question(), NOW).await;
    assert!(matches!(answer, Err(Fault::Misconfigured(_))), "{answer:?}");
}

#[tokio::test]
async fn a_replica_that_lags_is_asked_again() {
    let world = World::new().await;
    // It has the receipt, and not yet the block at which the state is read.
    world.first.behave_next(3, Some(CALL), &Behaviour::Error(-32_000, "header not found"));
    assert!(is_allowed(&world.alone().verify(&world.question(), NOW).await));
    let world = World::new().await;
    world.first.behave(Behaviour::Error(-32_001, "Resource not found"));
    let text = unavailable(world.alone().state(&world.question()).await);
    assert!(text.contains("has not the newest block"), "{text}");
    assert!(is_allowed(&world.both().verify(&world.question(), NOW).await));
}

#[tokio::test]
async fn a_transaction_that_one_endpoint_has_not_seen_is_looked_for_at_the_next() {
    let world = World::new().await;
    world.first.behave(Behaviour::Behind(1));
    assert!(!is_allowed(&world.both().verify(&world.question(), NOW).await));
    assert!(is_allowed(&world.both().verify(&world.question(), PLENTY).await));
    // The same for a state that is named by no transaction.
    assert!(is_allowed(&world.both().verify(&world.stateless(), PLENTY).await));
    assert!(!is_allowed(&world.alone().verify(&world.stateless(), PLENTY).await));
}

#[tokio::test]
async fn a_receipt_above_the_block_that_is_read_is_waited_for() {
    let world = World::new().await;
    // Two machines behind one address: the receipt comes from one that is a block ahead.
    world.first.behave_next(1, Some(BLOCK), &Behaviour::Behind(1));
    assert!(is_allowed(&world.alone().verify(&world.question(), PLENTY).await));
    assert_eq!(world.first.calls(RECEIPT), 2);
}

#[tokio::test]
async fn one_block_is_read_though_the_chain_moves_on() {
    let world = World::new().await;
    let chain = world.alone();
    world.first.behave_next(7, Some(CALL), &Behaviour::Slow(Duration::from_millis(50)));
    let question = world.stateless();
    let reading = chain.state(&question);
    let moving = async {
        until(async || world.first.calls(CALL) > 0).await;
        world.fake.send_batch(vec![
            (OWNER, world.app.into(), calldata::remove_compose_hash(HASH)),
            (OWNER, world.app.into(), calldata::remove_device(DEVICE)),
        ]);
    };
    let before = world.fake.head();
    let (state, ()) = tokio::join!(reading, moving);
    let state = state.unwrap();
    assert_eq!((state.block, state.allowed()), (before, true));
    assert!(!chain.state(&question).await.unwrap().allowed());
}

#[tokio::test]
async fn who_does_not_know_blocks_by_hash_is_asked_by_number() {
    let world = World::new().await;
    world.first.behave(Behaviour::NoHashes);
    let chain = world.alone();
    assert!(is_allowed(&chain.verify(&world.question(), NOW).await));
    let calls = world.first.calls(CALL);
    assert!(is_allowed(&chain.verify(&world.question(), NOW).await));
    assert_eq!(world.first.calls(CALL) - calls, 6, "it is remembered");
    // A number may be another block by the end: then all is read again.
    world.first.behave_next(1, Some(BLOCK), &Behaviour::Slow(Duration::ZERO));
    world.first.behave_next(1, Some(BLOCK), &Behaviour::Behind(1));
    let calls = world.first.calls(CALL);
    assert!(chain.state(&world.stateless()).await.unwrap().allowed());
    assert_eq!(world.first.calls(CALL) - calls, 12);
}

#[tokio::test]
async fn equal_questions_are_asked_once_and_each_gets_the_answer() {
    let world = World::new().await;
    let chain = world.alone();
    world.first.behave_next(1, Some(CHAIN), &Behaviour::Slow(Duration::from_millis(50)));
    let question = world.question();
    let askers = (0..64).map(|_| chain.verify(&question, NOW));
    let answers = futures_util::future::join_all(askers).await;
    assert!(answers.iter().all(is_allowed));
    assert_eq!(world.first.calls(RECEIPT), 1);
    assert!(is_allowed(&chain.verify(&question, NOW).await));
    assert_eq!(world.first.calls(RECEIPT), 2, "a verdict is never kept");
}

#[tokio::test]
async fn questions_under_way_are_bounded_and_those_that_wait_hold_up_no_others() {
    let world = World::new().await;
    let chain = world.with(vec![world.first.url()], |config| config.at_once = 1);
    let pending =
        world.fake.submit(vec![(OWNER, world.app.into(), calldata::add_compose_hash(OTHER_HASH))]);
    let waiting = Question { hash: OTHER_HASH, transaction: Some(pending), ..world.question() };
    let mut held = Box::pin(chain.verify(&waiting, PLENTY));
    assert!(futures_util::poll!(&mut held).is_pending());
    until(async || world.first.calls(RECEIPT) > 1).await;
    assert_eq!(world.first.calls(CALL), 0, "without its transaction the state is of no use");
    assert_eq!(chain.verify(&world.question(), NOW).await, Err(Fault::Busy));
    assert!(chain.state(&world.question()).await.unwrap().allowed());
    world.fake.mine(1);
    assert!(is_allowed(&held.await));
    assert!(is_allowed(&chain.verify(&world.question(), NOW).await));
}

#[tokio::test]
async fn a_question_outlives_who_asked_it() {
    let world = World::new().await;
    let chain = world.alone();
    let question = world.question();
    let mut asked = Box::pin(chain.verify(&question, NOW));
    assert!(futures_util::poll!(&mut asked).is_pending());
    drop(asked);
    until(async || world.first.calls(CALL) == 6).await;
}

#[tokio::test]
async fn a_state_is_given_again_for_two_seconds() {
    let world = World::new().await;
    let keep = Duration::from_secs(2);
    let chain = world.with(vec![world.first.url()], |config| config.keep = keep);
    let question = world.question();
    assert!(chain.state(&question).await.unwrap().allowed());
    let calls = world.first.calls(CALL);
    world.fake.remove_hash(world.app, HASH);
    world.clock.advance(Duration::from_millis(1999));
    // Whichever transaction is named with it.
    assert!(chain.state(&world.stateless()).await.unwrap().allowed());
    assert_eq!(world.first.calls(CALL), calls);
    assert!(!is_allowed(&chain.verify(&question, NOW).await), "a verdict asks the chain");
    world.clock.advance(Duration::from_millis(1));
    assert!(!chain.state(&question).await.unwrap().allowed());
}

#[tokio::test]
async fn configurations_that_cannot_work_are_refused_without_repeating_them() {
    let clock = Arc::new(MockClock::default());
    let refused = |endpoints: Vec<SecretString>| {
        RpcChain::new(&config(endpoints), clock.clone()).unwrap_err()
    };
    assert!(matches!(refused(Vec::new()), ConfigError::NoEndpoint(8453)));
    for address in ["", "rpc.example/s3cr3t", "wss://rpc.example/s3cr3t", "http://"] {
        let good = SecretString::from("https://rpc.example/v2/k3y");
        let error = refused(vec![good, SecretString::from(address)]);
        assert!(matches!(error, ConfigError::Address(8453, 2)), "{address}: {error}");
        assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error:?}");
    }
}

#[tokio::test]
async fn nothing_that_is_shown_of_a_chain_holds_its_keys() {
    let world = World::new().await;
    let shown = format!("{:?} {:?}", world.both(), config(vec![world.first.url()]));
    assert!(shown.contains("127.0.0.1") && !shown.contains("s3cr3t"), "{shown}");
}
