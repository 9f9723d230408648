//! Reconcilers of governed CVMs: what contracts are asked, when, and what follows.

use crate::common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use casemate_api::kms_type::KmsType;
use casemate_core::{
    change::Change,
    governance::{
        Account, Block, BootInfo, BootVerdict, Epochs, KmsSettings, Proof, Question, Refusal,
        State, Verdict,
    },
    id::{Address, AppId, BlockHash, ComposeHash, CvmId, DeviceId, EventSeq},
    operation::OperationState,
};
use casemate_engine::chain::{Chain, Fault};
use casemate_server::{
    app::{
        Caller, Ctx,
        approval::{
            self, Clearance,
            flow::{Consent, Decision},
        },
        ctx,
        fleet::{Fleet, FleetKms, Governed},
        power::{self, Verb},
        update::{self, ChangeRequest},
    },
    work::{self, reorg_watch},
};
use casemate_store::{
    cvms::{self, Cvm},
    events, lease,
    operations::{self, Operation, OperationFilter},
};
use common::{COMPOSE, World};

/// What contracts and their chain say in a test.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Documents that the app does not allow.
    pub refused: Vec<ComposeHash>,
    /// Documents that the KMS will not boot, whatever the app allows.
    denied: Vec<ComposeHash>,
    /// The only devices that the app allows; empty: all.
    pub devices: Vec<DeviceId>,
    /// The chain gives no answer.
    pub silent: bool,
    /// Every block before this one fell out of the chain.
    first: u64,
    /// The newest block.
    block: u64,
    /// How often anything was asked.
    asked: usize,
}

impl Said {
    fn denies(&self, device: &DeviceId) -> bool {
        !self.devices.is_empty() && !self.devices.contains(device)
    }
}

/// A chain that says what it was told to say.
#[derive(Debug, Default)]
pub(super) struct Scripted(Mutex<Said>);

impl Scripted {
    pub fn with<T>(&self, change: impl FnOnce(&mut Said) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    fn asked(&self) -> Result<Block, Fault> {
        self.with(|said| {
            said.asked += 1;
            if said.silent {
                return Err(Fault::Unavailable("rpc.test: no answer".to_owned()));
            }
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&said.block.to_be_bytes());
            Ok(Block { number: said.block, hash: BlockHash::from_bytes(hash) })
        })
    }
}

#[async_trait]
impl Chain for Scripted {
    fn chain_id(&self) -> u64 {
        8453
    }

    async fn verify(&self, question: &Question, _: Duration) -> Result<Verdict, Fault> {
        let block = self.asked()?;
        if self.with(|said| said.refused.contains(&question.hash)) {
            return Ok(Verdict::Refused(Refusal::State("the hash is not allowed".to_owned())));
        }
        if self.with(|said| said.denies(&question.device)) {
            return Ok(Verdict::Refused(Refusal::State("the device is not allowed".to_owned())));
        }
        Ok(Verdict::Allowed(Proof { chain_id: 8453, block, owner: None, transaction: None }))
    }

    async fn state(&self, _: &Question) -> Result<State, Fault> {
        Err(Fault::Busy)
    }

    async fn boot(&self, boot: &BootInfo) -> Result<BootVerdict, Fault> {
        let block = self.asked()?;
        let refused =
            self.with(|said| said.refused.contains(&boot.hash) || said.denied.contains(&boot.hash));
        Ok(if self.with(|said| said.denies(&boot.device)) {
            BootVerdict::Denied(block, "device is not allowed".to_owned())
        } else if refused {
            BootVerdict::Denied(block, "OS image is not allowed".to_owned())
        } else {
            BootVerdict::Allowed(block)
        })
    }

    async fn kms_allows(
        &self,
        _: &Address,
        _: &[DeviceId],
        _: &[[u8; 32]],
    ) -> Result<(Vec<bool>, Vec<bool>), Fault> {
        Err(Fault::Busy)
    }

    async fn is_canonical(&self, block: &Block) -> Result<bool, Fault> {
        self.asked()?;
        Ok(self.with(|said| block.number >= said.first))
    }

    async fn simulate(
        &self,
        _: Address,
        _: Address,
        _: Vec<u8>,
    ) -> Result<Result<(), String>, Fault> {
        Err(Fault::Busy)
    }

    async fn account(&self, _: &Address) -> Result<Account, Fault> {
        Err(Fault::Busy)
    }

    async fn upgrades_disabled(&self, _: &AppId) -> Result<Option<bool>, Fault> {
        Err(Fault::Busy)
    }

    async fn epochs(&self, _: &AppId) -> Result<Epochs, Fault> {
        Err(Fault::Busy)
    }

    async fn kms_settings(&self, _: &Address) -> Result<KmsSettings, Fault> {
        Err(Fault::Busy)
    }
}

/// A running CVM of a KMS that contracts govern.
pub(super) struct Bench {
    pub world: World,
    pub ctx: Ctx,
    pub chain: Arc<Scripted>,
    caller: Caller,
    cvm: CvmId,
    /// Has the directory of the database.
    _home: World,
}

impl Bench {
    async fn new() -> Self {
        Self::over(World::new().await).await
    }

    /// In this world, on its first node.
    pub async fn over(world: World) -> Self {
        let chain = Arc::new(Scripted::default());
        let governed = Governed {
            kind: KmsType::Base,
            contract: Address::from_bytes([0x11; 20]),
            gateway_app_id: None,
            explorer: None,
            chain: chain.clone(),
        };
        let kms = FleetKms { governed: Some(governed), ..world.ctx.fleet.kms.clone() };
        let fleet = Arc::new(Fleet::new((*world.ctx.fleet.own()).clone(), kms));
        let id = world.deploy("my-app").await["id"].as_i64().unwrap();
        let home = world;
        let world = home.at(Ctx::from(ctx::World { fleet, ..(*home.ctx).clone() }));
        world.settle().await;
        let caller = (*world.ctx.authenticate(&world.key).await.unwrap()).clone();
        Self { ctx: world.ctx.clone(), caller, world, chain, cvm: CvmId(id), _home: home }
    }

    /// Another document, accepted; returns its hash.
    async fn update(&self, image: &str) -> ComposeHash {
        let change = Change {
            docker_compose_file: Some(COMPOSE.replace("busybox:1.36", image)),
            ..Change::default()
        };
        let asked = ChangeRequest::from(change);
        let mut tx = self.ctx.begin().await.unwrap();
        let cvm = self.cvm().await;
        let needs = approval::needs(&self.ctx, &mut tx, &cvm, &asked).await.unwrap();
        drop(tx);
        let (contracts, question) = needs.unwrap();
        let silent = self.chain.with(|said| std::mem::take(&mut said.silent));
        let mut clearance = Clearance::default();
        clearance.ask(contracts.governed, &question).await.unwrap();
        self.chain.with(|said| said.silent = silent);
        let mut tx = self.ctx.begin().await.unwrap();
        let consent = Consent::from(clearance);
        let done = update::accept(&self.ctx, &mut tx, &self.caller, self.cvm, &asked, &consent);
        let Decision::Done(done) = done.await.unwrap() else { panic!("it is allowed") };
        tx.commit().await.unwrap();
        assert_eq!(done.promised.compose_hash, question.hash);
        question.hash
    }

    async fn ask(&self, verb: Verb) {
        let mut tx = self.ctx.begin().await.unwrap();
        power::apply(&self.ctx, &mut tx, &self.caller, self.cvm, verb).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn verb(&self, verb: Verb) {
        self.ask(verb).await;
        self.world.settle().await;
    }

    pub async fn cvm(&self) -> Cvm {
        let workspace = self.caller.workspace.id;
        cvms::by_id(&self.ctx.db, workspace, self.cvm).await.unwrap().unwrap()
    }

    pub async fn phase(&self) -> &'static str {
        self.cvm().await.phase.as_str()
    }

    /// The newest operation of a kind, with its failure.
    pub async fn last(&self, kind: &str) -> (OperationState, Option<String>) {
        let all = operations::of_cvm(&self.ctx.db, self.cvm, &OperationFilter::default(), 1000)
            .await
            .unwrap();
        let found = all.into_iter().find(|operation: &Operation| operation.kind.as_str() == kind);
        let found = found.unwrap();
        (found.state, found.failure.map(|(code, _)| code))
    }

    /// `kind step outcome` of every event, oldest first.
    pub async fn told(&self) -> Vec<String> {
        let all = events::of_cvm(&self.ctx.db, self.cvm, EventSeq(0), 1000).await.unwrap();
        let text = |event: &events::Event| {
            let body: serde_json::Value = serde_json::from_str(&event.body).unwrap();
            let word = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", event.kind, word("step"), word("outcome")).trim().to_owned()
        };
        all.iter().map(text).collect()
    }

    pub async fn count(&self, kind: &str) -> usize {
        self.told().await.iter().filter(|told| told.starts_with(kind)).count()
    }

    pub fn boots(&self) -> usize {
        let audit = self.world.sim.host().audit().unwrap();
        audit.marks.values().map(|mark| mark.starts).sum()
    }

    /// Works, and lets time pass, without waiting for the end.
    async fn a_while(&self, seconds: i64) {
        for _ in 0..seconds * 10 {
            Box::pin(work::driver::settle_now(&self.ctx, "test")).await;
            self.world.clock.advance_ms(100);
        }
    }
}

#[tokio::test]
async fn what_is_allowed_is_verified_before_the_old_guest_goes_down() {
    let bench = Bench::new().await;
    assert_eq!((bench.phase().await, bench.boots()), ("running", 1));
    let hash = bench.update("busybox:1.37").await;
    bench.world.settle().await;
    assert_eq!((bench.phase().await, bench.boots()), ("running", 2));
    assert_eq!(bench.cvm().await.spec.compose_hash, hash);
    let told = bench.told().await;
    let place = |what: &str| told.iter().position(|told| told == what).unwrap();
    assert!(
        place("governance.verified_again") < place("operation.step shutdown intended"),
        "{told:#?}"
    );
}

#[tokio::test]
async fn nothing_is_stopped_for_what_would_not_boot() {
    for by_the_app in [true, false] {
        let bench = Bench::new().await;
        let hash = bench.update("busybox:1.37").await;
        bench.chain.with(|said| {
            let list = if by_the_app { &mut said.refused } else { &mut said.denied };
            list.push(hash);
        });
        bench.world.settle().await;
        let failed = (OperationState::Failed, Some("not_allowed".to_owned()));
        assert_eq!(bench.last("update").await, failed);
        assert_eq!((bench.phase().await, bench.boots()), ("running", 1));
        let cvm = bench.cvm().await;
        assert_ne!(cvm.spec.compose_hash, hash, "the configuration from before");
        let failure = cvm.status.failure.unwrap();
        assert!(failure.rolled_back);
        let word = if by_the_app { "hash is not allowed" } else { "OS image is not allowed" };
        assert!(failure.cause.contains(word), "{}", failure.cause);
        assert_eq!(bench.count("operation.step shutdown").await, 0);
    }
}

#[tokio::test]
async fn one_document_that_is_refused_takes_no_other_with_it() {
    let bench = Bench::new().await;
    let good = bench.update("busybox:1.37").await;
    let bad = bench.update("busybox:1.38").await;
    bench.chain.with(|said| said.refused.push(bad));
    bench.world.settle().await;
    assert_eq!(bench.phase().await, "running");
    assert_eq!(bench.cvm().await.spec.compose_hash, good);
}

#[tokio::test]
async fn silence_of_a_chain_is_waited_out_with_the_guest_up() {
    let bench = Bench::new().await;
    bench.chain.with(|said| said.silent = true);
    let hash = bench.update("busybox:1.37").await;
    bench.a_while(60).await;
    assert_eq!((bench.phase().await, bench.boots()), ("updating", 1));
    assert!(bench.count("operation.step shutdown the chain").await > 0, "why it takes so long");
    let asked = bench.chain.with(|said| said.asked);
    assert!(asked < 40, "asked {asked} times in a minute");
    bench.chain.with(|said| said.silent = false);
    bench.world.settle().await;
    assert_eq!((bench.phase().await, bench.boots()), ("running", 2));
    assert_eq!(bench.cvm().await.spec.compose_hash, hash);
}

#[tokio::test]
async fn a_chain_that_stays_silent_ends_the_update_and_not_the_guest() {
    let bench = Bench::new().await;
    bench.chain.with(|said| said.silent = true);
    bench.update("busybox:1.37").await;
    bench.world.settle().await;
    let failed = (OperationState::Failed, Some("chain_unavailable".to_owned()));
    assert_eq!(bench.last("update").await, failed);
    assert_eq!((bench.phase().await, bench.boots()), ("running", 1));
}

#[tokio::test]
async fn what_is_withdrawn_while_the_guest_is_down_leads_back() {
    let bench = Bench::new().await;
    let hash = bench.update("busybox:1.37").await;
    while bench.count("operation.step push done").await == 0 {
        Box::pin(work::driver::settle_now(&bench.ctx, "test")).await;
        bench.world.clock.advance_ms(20);
        if bench.count("operation.step shutdown done").await > 0 {
            bench.chain.with(|said| said.refused = vec![hash]);
        }
    }
    bench.world.settle().await;
    let failed = (OperationState::Failed, Some("not_allowed".to_owned()));
    assert_eq!(bench.last("update").await, failed);
    assert_eq!(bench.last("rollback").await, (OperationState::Succeeded, None));
    assert_eq!((bench.phase().await, bench.boots()), ("running", 2), "the old one again");
    assert_ne!(bench.cvm().await.spec.compose_hash, hash);
}

#[tokio::test]
async fn a_start_is_asked_for_and_can_be_tried_again() {
    let bench = Bench::new().await;
    bench.verb(Verb::Stop).await;
    let hash = bench.cvm().await.spec.compose_hash;
    bench.chain.with(|said| said.refused.push(hash));
    bench.verb(Verb::Start).await;
    let failed = (OperationState::Failed, Some("not_allowed".to_owned()));
    assert_eq!(bench.last("start").await, failed);
    assert_eq!((bench.phase().await, bench.boots()), ("error", 1));
    bench.chain.with(|said| said.refused.clear());
    bench.verb(Verb::Start).await;
    assert_eq!((bench.phase().await, bench.boots()), ("running", 2));
}

#[tokio::test]
async fn a_restart_that_is_refused_never_began() {
    let bench = Bench::new().await;
    let hash = bench.cvm().await.spec.compose_hash;
    bench.chain.with(|said| said.refused.push(hash));
    bench.verb(Verb::Restart { force: false }).await;
    let failed = (OperationState::Failed, Some("not_allowed".to_owned()));
    assert_eq!(bench.last("restart").await, failed);
    assert_eq!((bench.phase().await, bench.boots()), ("running", 1));
    bench.chain.with(|said| said.refused.clear());
    bench.verb(Verb::Start).await;
    assert_eq!(bench.boots(), 1, "it was up all the time");
    bench.verb(Verb::Restart { force: true }).await;
    assert_eq!((bench.phase().await, bench.boots()), ("running", 2));
}

#[tokio::test]
async fn whoever_wants_it_down_or_gone_asks_nobody() {
    let bench = Bench::new().await;
    let before = bench.chain.with(|said| {
        said.silent = true;
        said.asked
    });
    bench.verb(Verb::Stop).await;
    assert_eq!(bench.phase().await, "stopped");
    bench.ask(Verb::Delete).await;
    bench.world.settle().await;
    assert_eq!(bench.chain.with(|said| said.asked), before);
    assert_eq!(lease::busy(&bench.ctx.db).await.unwrap(), 0);
}

async fn proofs_of(bench: &Bench) -> Vec<u64> {
    let node = bench.cvm().await.node;
    let kept = casemate_store::proofs::on_node(&bench.ctx.db, node, None, 9).await.unwrap();
    kept.iter().map(|open| open.block.number).collect()
}

/// A CVM that was verified at block 5.
async fn verified() -> Bench {
    let bench = Bench::new().await;
    bench.chain.with(|said| said.block = 5);
    bench.update("busybox:1.37").await;
    bench.world.settle().await;
    assert_eq!(proofs_of(&bench).await, [5]);
    bench
}

#[tokio::test]
async fn a_block_is_watched_until_it_is_settled() {
    let bench = verified().await;
    reorg_watch::look(&bench.ctx).await.unwrap();
    assert_eq!(proofs_of(&bench).await, [5]);
    bench.world.clock.advance_ms(31 * 60 * 1000);
    bench.chain.with(|said| said.silent = true);
    reorg_watch::look(&bench.ctx).await.unwrap();
    assert_eq!(proofs_of(&bench).await, [5], "nothing follows from silence");
    bench.chain.with(|said| said.silent = false);
    reorg_watch::look(&bench.ctx).await.unwrap();
    assert_eq!(proofs_of(&bench).await, [] as [u64; 0]);
    assert_eq!(bench.count("governance.undone").await, 0);
}

#[tokio::test]
async fn what_a_chain_took_back_is_told_once_and_the_guest_left_alone() {
    let bench = verified().await;
    let hash = bench.cvm().await.spec.compose_hash;
    bench.chain.with(|said| {
        said.block = 9;
        said.first = 6;
        said.refused.push(hash);
    });
    for _ in 0..3 {
        reorg_watch::look(&bench.ctx).await.unwrap();
    }
    assert_eq!(bench.count("governance.undone").await, 1);
    bench.world.settle().await;
    assert_eq!((bench.phase().await, bench.boots()), ("running", 2));
    assert_eq!(proofs_of(&bench).await, [] as [u64; 0]);
}

#[tokio::test]
async fn what_is_still_allowed_after_a_reorganisation_has_a_newer_proof() {
    let bench = verified().await;
    bench.chain.with(|said| {
        said.block = 9;
        said.first = 6;
    });
    for _ in 0..3 {
        reorg_watch::look(&bench.ctx).await.unwrap();
    }
    assert_eq!(proofs_of(&bench).await, [9]);
    assert_eq!(bench.count("governance.verified_again").await, 2);
    assert_eq!(bench.count("governance.undone").await, 0);
}
