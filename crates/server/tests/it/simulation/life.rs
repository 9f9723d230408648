//! One CVM from its deployment to the end of a life that a seed decides.

use std::{path::Path, sync::Arc, time::Duration};

use casemate_api::revision::RedeployRequest;
use casemate_core::{
    change::Change,
    compose::AppCompose,
    cvm::{Phase, Power},
    id::{CvmId, NodeId},
    node::NodeKind,
    operation::OperationState,
    time::Timestamp,
};
use casemate_engine::node::{
    Node,
    sim::{FaultKind, SimConfig},
};
use casemate_server::{
    app::{
        self, Caller,
        approval::flow::{self, Consent},
        power::{self, Verb},
        update::{self, ChangeRequest},
    },
    nodes::watch::Watch,
    work::cvm::{self as reconciler, LeasedCvm, TurnEnd},
};
use casemate_store::{
    cvms,
    lease::{self, Claimant},
    provisions, revisions,
};

use crate::simulation::{
    common::{COMPOSE, Parts, TestNode, World},
    dice::{Dice, Loaded},
    frail::{Fate, Frail},
    host::Host,
    model::{Facts, Model, history_agrees, node_agrees, tallies_agree},
    wants::{self, Want},
};

const OWNER: &str = "one";
const RIVAL: &str = "another";
/// Moves of the clock in which everything must have come to rest.
const PATIENCE: u32 = 5_000;

/// A life under way.
pub struct Life {
    dice: Dice,
    world: World,
    frail: Arc<Frail>,
    caller: Caller,
    cvm: CvmId,
    model: Model,
    watch: Watch,
    /// What waits under its lease, and until when.
    waiting: Vec<(Timestamp, Box<LeasedCvm>)>,
    trace: bool,
}

impl Life {
    /// Deploys a CVM on a host of this kind. `template` is a closed database as after a first start, with its key.
    pub async fn begin(seed: u64, host: Host, template: (&Path, &str), trace: bool) -> Self {
        let mut dice = Dice::new(seed);
        let entropy = Arc::new(Loaded::new(dice.roll()));
        let parts = Parts::copy(template.0, template.1.to_owned(), entropy).await;
        let config = SimConfig {
            seed: Some(dice.roll()),
            checks_documents: host.kind() == NodeKind::Sim,
            ..SimConfig::fast()
        };
        let node = TestNode { kind: host.kind(), host: config, ..TestNode::sim() };
        let slot: std::sync::OnceLock<Arc<Frail>> = std::sync::OnceLock::new();
        let reach = |sim| -> Arc<dyn Node> {
            slot.get_or_init(|| Arc::new(Frail::new(host.connect(sim)))).clone()
        };
        let world = Box::pin(World::of(parts, vec![node], reach, |config| {
            config.work.boot_timeout_s = 20;
            config.work.create_settles_s = 5;
            config.work.call_timeout_s = 5;
            config.work.lease_s = 10;
            config.work.queue = 8;
            config.shutdown.timeout_s = 10;
        }))
        .await;
        let frail = Arc::clone(slot.get().unwrap());
        let id = CvmId(world.deploy("my-app").await["id"].as_i64().unwrap());
        let caller = (*world.ctx.authenticate(&world.key).await.unwrap()).clone();
        let first = cvms::by_id(&world.ctx.db, caller.workspace.id, id).await.unwrap().unwrap();
        let text = provisions::document(&world.ctx.db, &first.spec.compose_hash).await.unwrap();
        let document = AppCompose::parse(&text.unwrap()).unwrap();
        let inventory = frail.inventory().await.unwrap();
        let model = Model {
            first,
            document,
            accepted: [].into(),
            power: Power::Running,
            clears_files: inventory.capabilities.clears_files,
        };
        let (watch, waiting) = (Watch::default(), Vec::new());
        let mut life = Self { dice, world, frail, caller, cvm: id, model, watch, waiting, trace };
        life.world.settle().await;
        life.look().await;
        life
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{} {}", self.world.ctx.now(), what());
        }
    }

    /// Wants, work, crashes and faults in any order; then everything heals, and what must hold is
    /// looked at; then one more change is wanted, which must work.
    pub async fn live(mut self) {
        for _ in 0..4 + self.dice.below(14) {
            if self.dice.chance(25) {
                let faults = wants::faults(&mut self.dice);
                self.tell(|| format!("faults {:?}", faults.random));
                self.world.sim.host().set_faults(faults).unwrap();
            }
            self.act().await;
            for _ in 0..self.dice.below(10) {
                if self.dice.chance(25) {
                    let fates =
                        [Fate::DiesBefore, Fate::DiesAfter, Fate::LateCall, Fate::LateAnswer];
                    let plan = (self.dice.below(6), self.dice.pick(&fates));
                    self.frail.plan(Some(plan));
                }
                Box::pin(self.turn(None)).await;
                self.frail.plan(None);
                self.pass_time().await;
            }
            if self.dice.chance(15) {
                self.look().await;
            }
            if self.dice.chance(15) {
                self.settle().await;
            }
        }
        self.world.sim.host().clear_faults().unwrap();
        self.settle().await;
        // A host that rebooted last boots its guests.
        self.world.clock.advance_ms(10_000);
        self.look().await;
        self.settle().await;
        self.check().await;
        Box::pin(self.one_more()).await;
    }

    /// A change whose call of this number is made late, after somebody wanted something else.
    pub async fn interrupted(mut self, call: u32, want: &Want) {
        self.change(Change { vcpu: Some(2), ..Change::default() }, false).await;
        self.frail.plan(Some((call, Fate::LateCall)));
        while lease::busy(&self.world.ctx.db).await.unwrap() > 0 {
            Box::pin(self.turn(Some(want))).await;
            self.to_next_due().await;
        }
        self.look().await;
        self.check().await;
        Box::pin(self.one_more()).await;
    }

    async fn act(&mut self) {
        let want = wants::want(&mut self.dice);
        // The process may die with a request half done; then nothing of it is left.
        let dies = self.dice.chance(4);
        self.ask(want, dies).await;
    }

    async fn ask(&mut self, want: Want, dies: bool) {
        self.tell(|| format!("{want:?}{}", if dies { ", and dies" } else { "" }));
        match want {
            Want::Change(change) => self.change(*change, dies).await,
            Want::Redeploy { revision, seals, allows } => {
                let encrypted_env = seals.then(|| wants::sealed(&mut self.dice));
                let allow_env_mismatch = Some(allows);
                let request = RedeployRequest { encrypted_env, allow_env_mismatch, env_keys: None };
                self.redeploy(revision, &request, dies).await;
            }
            Want::CancelOpen => self.cancel(false).await,
            Want::CancelAny => self.cancel(true).await,
            Want::Power(verb) => self.power(verb, dies).await,
        }
    }

    async fn change(&mut self, change: Change, dies: bool) {
        let ctx = &self.world.ctx;
        let mut tx = ctx.begin().await.unwrap();
        let asked = ChangeRequest::from(change.clone());
        let nothing = Consent::default();
        let outcome = update::accept(ctx, &mut tx, &self.caller, self.cvm, &asked, &nothing).await;
        match outcome.and_then(flow::Decision::accepted) {
            Ok(_) if dies => {}
            Ok(accepted) => {
                tx.commit().await.unwrap();
                self.tell(|| {
                    let waits = accepted.waits_behind;
                    format!("  {} {:?} {waits:?}", accepted.operation, accepted.effect)
                });
                self.model.accepted.insert(accepted.operation, change);
            }
            Err(error) => {
                self.tell(|| format!("  refused: {}", error.words()));
                assert!(error.status() < 500, "{error:?}");
            }
        }
    }

    async fn redeploy(&mut self, back: u32, request: &RedeployRequest, dies: bool) {
        let ctx = &self.world.ctx;
        let app = &self.model.first.spec.app_id;
        let all = revisions::of_app(&ctx.db, app, 0, 1000).await.unwrap();
        let Some(at) = usize::try_from(back).unwrap().checked_rem(all.len()) else { return };
        let whole = revisions::get(&ctx.db, app, &all[at].id).await.unwrap().unwrap();
        let mut tx = ctx.begin().await.unwrap();
        let accepted = async {
            let cvm = update::lock_cvm(&mut tx, &self.caller, self.cvm).await?;
            let asked = app::revisions::change_request(ctx, &mut tx, &cvm, &whole, request).await?;
            let nothing = Consent::default();
            let caller = &self.caller;
            let done = update::accept(ctx, &mut tx, caller, self.cvm, &asked, &nothing).await?;
            let done = done.accepted()?;
            Ok::<_, app::Error>((done, asked.change))
        };
        match Box::pin(accepted).await {
            Ok(_) if dies => {}
            Ok((accepted, change)) => {
                tx.commit().await.unwrap();
                self.tell(|| format!("  {} {:?}", accepted.operation, accepted.effect));
                self.model.accepted.insert(accepted.operation, change);
            }
            Err(error) => {
                self.tell(|| format!("  refused: {}", error.words()));
                assert!(error.status() < 500, "{error:?}");
            }
        }
    }

    async fn cancel(&mut self, any: bool) {
        let which = if any {
            let ids: Vec<_> = self.model.accepted.keys().rev().take(4).copied().collect();
            if ids.is_empty() {
                return;
            }
            Some(self.dice.pick(&ids))
        } else {
            None
        };
        let ctx = &self.world.ctx;
        let mut tx = ctx.begin().await.unwrap();
        match update::cancel(ctx, &mut tx, &self.caller, self.cvm, which).await {
            Ok(done) => {
                tx.commit().await.unwrap();
                self.tell(|| format!("  {done:?}"));
            }
            Err(error) => assert!(error.status() < 500, "{error:?}"),
        }
    }

    async fn power(&mut self, verb: Verb, dies: bool) {
        let ctx = &self.world.ctx;
        let mut tx = ctx.begin().await.unwrap();
        match power::apply(ctx, &mut tx, &self.caller, self.cvm, verb).await {
            Ok(_) if dies => {}
            Ok(_) => {
                tx.commit().await.unwrap();
                self.model.power = match verb {
                    Verb::Start | Verb::Restart { .. } => Power::Running,
                    Verb::Stop | Verb::Shutdown => Power::Stopped,
                    Verb::Delete => Power::Deleted,
                };
            }
            Err(error) => assert!(error.status() < 500, "{error:?}"),
        }
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.world.ctx.fleet.own().keys().copied().collect()
    }

    async fn claim(&self, owner: &str) -> Option<Box<LeasedCvm>> {
        let ctx = &self.world.ctx;
        let (now, term) = (ctx.now(), Duration::from_secs(ctx.config.work.lease_s));
        let claimant = Claimant { owner, nodes: &self.nodes() };
        let claimed = lease::claim(&ctx.db, &claimant, now, term, 1).await.unwrap().pop();
        claimed.map(|cvm| LeasedCvm::new(cvm, now.plus(term)))
    }

    /// What has waited long enough, or is due.
    async fn next(&mut self) -> Option<Box<LeasedCvm>> {
        let now = self.world.ctx.now();
        match self.waiting.iter().position(|(until, _)| *until <= now) {
            Some(index) => Some(self.waiting.remove(index).1),
            None => self.claim(OWNER).await,
        }
    }

    /// One turn, if something is due; in it the process may die, or be held up while others act: by
    /// chance, or so.
    async fn turn(&mut self, interruption: Option<&Want>) {
        let Some(held) = self.next().await else { return };
        let (ctx, frail) = (self.world.ctx.clone(), Arc::clone(&self.frail));
        let turn = reconciler::work(&ctx, held);
        tokio::pin!(turn);
        loop {
            tokio::select! {
                biased;
                () = frail.died.notified() => return self.come_up_again().await,
                () = frail.held_up.notified() => {
                    self.tell(|| "the process is held up".to_owned());
                    let want = match interruption {
                        Some(want) => want.clone(),
                        None => wants::interruption(&mut self.dice),
                    };
                    self.ask(want, false).await;
                    if interruption.is_some() || self.dice.chance(60) {
                        self.rival().await;
                    }
                    self.tell(|| "the process goes on".to_owned());
                    frail.go_on.notify_one();
                }
                pause = &mut turn => {
                    let TurnEnd::Until(until, held) = pause else { return };
                    if self.dice.chance(70) {
                        self.waiting.push((until, held));
                    } else {
                        reconciler::release(&ctx, held, until).await;
                    }
                    return;
                }
            }
        }
    }

    /// The process comes up again with what is written down, and takes its leases back, or they have
    /// to run out.
    async fn come_up_again(&mut self) {
        self.tell(|| "the process dies".to_owned());
        self.waiting.clear();
        self.watch = Watch::default();
        self.world.ctx = self.world.replica().ctx;
        if self.dice.chance(60) {
            lease::release_all(&self.world.ctx.db, OWNER).await.unwrap();
        }
    }

    /// Another task takes what is due, if it may.
    async fn rival(&self) {
        let Some(held) = self.claim(RIVAL).await else { return };
        self.tell(|| "another goes on".to_owned());
        if let TurnEnd::Until(until, held) = reconciler::work(&self.world.ctx, held).await {
            reconciler::release(&self.world.ctx, held, until).await;
        }
    }

    async fn look(&mut self) {
        for node in self.world.ctx.fleet.own().values() {
            self.watch.look(&self.world.ctx, node).await.unwrap();
        }
    }

    /// To when the next turn is due, or a little.
    async fn pass_time(&mut self) {
        if self.dice.chance(70) {
            self.to_next_due().await;
        } else {
            self.world.clock.advance_ms(i64::from(1 + self.dice.below(300)));
        }
    }

    async fn to_next_due(&self) {
        let due = lease::next_due(&self.world.ctx.db, &self.nodes()).await.unwrap();
        let waits = self.waiting.iter().map(|(until, _)| *until);
        if let Some(next) = waits.chain(due).min() {
            let micros = next.since(self.world.ctx.now()).as_micros();
            self.world.clock.advance_ms(i64::try_from(micros.div_ceil(1000)).unwrap());
        }
    }

    async fn settle(&mut self) {
        for _ in 0..PATIENCE {
            match self.next().await {
                Some(held) => {
                    let pause = reconciler::work(&self.world.ctx, held).await;
                    if let TurnEnd::Until(until, held) = pause {
                        self.waiting.push((until, held));
                    }
                }
                None if lease::busy(&self.world.ctx.db).await.unwrap() == 0 => {
                    self.waiting.clear();
                    return;
                }
                None => self.to_next_due().await,
            }
        }
        let facts = Facts::read(&self.world.ctx.db, &self.model.first).await;
        panic!("it does not come to rest: {:?}", facts.cvm);
    }

    async fn check(&self) -> Facts {
        let db = &self.world.ctx.db;
        let host = self.world.sim.host();
        let audit = host.audit().unwrap();
        assert_eq!(audit.violations(), Vec::<String>::new());
        let facts = Facts::read(db, &self.model.first).await;
        if self.trace {
            for event in &facts.events {
                let of = event.operation_id.as_deref().unwrap_or("-");
                let at = Timestamp::from_micros(event.at);
                eprintln!("{at} {of} {} {}", event.kind, event.body);
            }
        }
        self.model.holds(&facts);
        let calls = host.calls().unwrap();
        let struck = calls.iter().flat_map(|call| &call.faults).any(|fault| {
            use FaultKind::{CrashGuest, RebootHost, StopBehindBack, Vanish};
            matches!(fault, CrashGuest | RebootHost | StopBehindBack | Vanish)
        });
        node_agrees(&facts, &host.vms().unwrap(), struck);
        history_agrees(&facts, &host.vms().unwrap(), struck);
        tallies_agree(db, &facts).await;
        facts
    }

    /// Whatever happened, a good change on a healthy host works, unless the disk is gone.
    async fn one_more(mut self) {
        let facts = Facts::read(&self.world.ctx.db, &self.model.first).await;
        let lost = facts.cvm.status.failure.as_ref().map(|why| why.code.as_str());
        let vms = self.world.sim.host().vms().unwrap();
        if self.model.power == Power::Deleted || lost == Some("vm_lost") || vms.is_empty() {
            return;
        }
        self.power(Verb::Restart { force: true }, false).await;
        self.settle().await;
        let good = Change {
            docker_compose_file: Some(COMPOSE.to_owned()),
            vcpu: Some(7),
            allow_force_stop: Some(true),
            ..Change::default()
        };
        self.change(good, false).await;
        self.settle().await;
        let facts = self.check().await;
        let last = facts.operations.last().unwrap();
        assert_eq!(last.state, OperationState::Succeeded, "{last:?}");
        assert_eq!((facts.cvm.phase, facts.cvm.spec.resources.vcpu), (Phase::Running, 7));
        assert_eq!(facts.cvm.status.pushed, facts.cvm.spec.revision);
    }
}
