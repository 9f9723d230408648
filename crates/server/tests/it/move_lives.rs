//! Lives of a CVM that is moved between three hosts again and again: hosts with faults, hosts that do not answer and
//! are given up and come back, processes that die in any call, and verbs in between.
//!
//! After every turn: a VM is on the CVM's node and on no other, but for hosts where one is noted as left. When all has
//! healed: one VM, where it should be, none left anywhere, no operation open, and each node has as much room as it
//! should.
//!
//! A life that fails prints its seed; `SIMULATION_SEED=… cargo test -p casemate-server --test it move_lives::` lives it
//! again. `SIMULATION_LIVES` sets how many there are.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use casemate_core::{
    cvm::{EngineState, Power, VmPower},
    id::{CvmId, CvmName, NodeId},
};
use casemate_dstack_double::Profile;
use casemate_engine::node::{
    Node,
    sim::{FaultKind, Faults, SimConfig},
};
use casemate_server::{
    nodes::left,
    work::cvm::{self as reconciler, LeasedCvm, TurnEnd},
};
use casemate_store::{
    cvms::{self, Cvm},
    lease::{self, Claimant},
    left_vms, nodes,
};
use futures_util::future::select_all;
use serde_json::{Value, json};

use crate::{
    common::{Parts, TestNode, World},
    simulation::{
        dice::{Dice, Loaded},
        frail::{Fate, Frail},
        host::Host,
        model::Facts,
    },
};

const LIVES: u64 = 300;
const DSTACK_LIVES: u64 = 50;
const OWNER: &str = "one";
const NAMES: [&str; 3] = ["rack-1", "rack-2", "rack-3"];
/// Turns in which everything must have come to rest.
const PATIENCE: u32 = 5_000;

struct Life {
    dice: Dice,
    world: World,
    hosts: Vec<Arc<Frail>>,
    first: Cvm,
    power: Power,
    trace: bool,
}

impl Life {
    async fn begin(seed: u64, host: &Host, trace: bool) -> Self {
        let mut dice = Dice::new(seed);
        let entropy = Arc::new(Loaded::new(dice.roll()));
        let parts = Parts::fresh(tempfile::tempdir().unwrap(), entropy).await;
        let nodes = NAMES.map(|name| {
            let config = SimConfig { seed: Some(dice.roll()), ..SimConfig::fast() };
            TestNode { name, kind: host.kind(), host: config, ..TestNode::sim() }
        });
        let hosts: Mutex<Vec<Arc<Frail>>> = Mutex::default();
        let reach = |sim| -> Arc<dyn Node> {
            let frail = Arc::new(Frail::new(host.connect(sim)));
            hosts.lock().unwrap().push(frail.clone());
            frail
        };
        let world = Box::pin(World::of(parts, nodes.into(), reach, |config| {
            config.work.boot_timeout_s = 20;
            config.work.create_settles_s = 5;
            config.work.call_timeout_s = 5;
            config.work.lease_s = 10;
            config.shutdown.timeout_s = 10;
        }))
        .await;
        let id = CvmId(world.deploy("my-app").await["id"].as_i64().unwrap());
        world.settle().await;
        let found = cvms::anywhere(&world.ctx.db, &CvmName::Number(id)).await.unwrap();
        let hosts = hosts.into_inner().unwrap();
        Self { dice, world, hosts, first: found.unwrap(), power: Power::Running, trace }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{} {}", self.world.ctx.now(), what());
        }
    }

    async fn live(mut self) {
        for _ in 0..4 + self.dice.below(12) {
            if self.dice.chance(25) {
                self.faults();
            }
            if self.dice.chance(30) {
                self.silence_or_wake().await;
            }
            self.act().await;
            for _ in 0..self.dice.below(12) {
                if self.dice.chance(30) {
                    let plan =
                        (self.dice.below(5), self.dice.pick(&[Fate::DiesBefore, Fate::DiesAfter]));
                    let host = self.dice.below(3) as usize;
                    self.hosts[host].plan(Some(plan));
                }
                Box::pin(self.turn()).await;
                self.hosts.iter().for_each(|host| host.plan(None));
                if self.dice.chance(20) {
                    left::sweep(&self.world.ctx).await;
                }
                self.never_two().await;
                self.pass_time().await;
            }
        }
        for sim in &self.world.sims {
            sim.host().clear_faults().unwrap();
        }
        for at in 0..NAMES.len() {
            self.wake(at).await;
        }
        self.settle().await;
        self.check().await;
    }

    fn faults(&mut self) {
        use FaultKind::{DropCall, LoseAnswer, Refuse, Repeat, SlowBoot, Unreachable};
        let mut faults = Faults::default();
        for _ in 0..=self.dice.below(2) {
            let kind =
                self.dice.pick(&[LoseAnswer, DropCall, Repeat, Unreachable, Refuse, SlowBoot]);
            faults.random.insert(kind, f64::from(1 + self.dice.below(25)) / 100.0);
        }
        let at = self.dice.below(3) as usize;
        self.tell(|| format!("faults at {}: {:?}", NAMES[at], faults.random));
        self.world.sims[at].host().set_faults(faults).unwrap();
    }

    fn node(&self, at: usize) -> Arc<casemate_server::app::fleet::FleetNode> {
        let all = self.world.ctx.fleet.all();
        all.into_iter().find(|node| node.name == NAMES[at]).unwrap()
    }

    /// Outage is what the watch has found: the host itself goes on.
    async fn silence_or_wake(&mut self) {
        let at = self.dice.below(3) as usize;
        if self.node(at).outage().is_some() {
            self.wake(at).await;
        } else {
            self.tell(|| format!("{} does not answer", NAMES[at]));
            self.node(at).record_answer(Err("no answer".to_owned()), self.world.ctx.now());
        }
    }

    async fn wake(&self, at: usize) {
        if let Ok(inventory) = self.hosts[at].inventory().await {
            self.tell(|| format!("{} answers", NAMES[at]));
            self.node(at).record_answer(Ok(inventory), self.world.ctx.now());
        }
    }

    async fn act(&mut self) {
        let path = format!("/cvms/{}", self.first.uuid);
        match self.dice.below(20) {
            0 => self.verb("stop", Power::Stopped).await,
            1 => self.verb("start", Power::Running).await,
            2 => self.verb("restart", Power::Running).await,
            3 if self.dice.chance(30) => {
                let reply = self.world.call("DELETE", &path, "", None).await;
                self.tell(|| format!("delete {}", reply.status));
                if reply.status.is_success() {
                    self.power = Power::Deleted;
                }
            }
            _ => self.move_somewhere().await,
        }
    }

    async fn verb(&mut self, verb: &str, power: Power) {
        let path = format!("/cvms/{}/{verb}", self.first.uuid);
        let reply = self.world.post(&path, json!({})).await;
        self.tell(|| format!("{verb} {}", reply.status));
        assert!(reply.status.as_u16() < 500, "{}", reply.text);
        if reply.status.is_success() {
            self.power = power;
        }
    }

    async fn move_somewhere(&mut self) {
        let mut body = json!({ "allow_data_loss": true, "given_up": self.dice.chance(40) });
        if self.dice.chance(50) {
            body["to"] = json!(NAMES[self.dice.below(3) as usize]);
        }
        let path = format!("/admin/cvms/{}/move", self.first.uuid);
        let reply = self.world.post(&path, body.clone()).await;
        self.tell(|| format!("move {body}: {} {}", reply.status, reply.text));
        assert!(reply.status.as_u16() < 500, "{}", reply.text);
    }

    fn nodes(&self) -> Vec<NodeId> {
        let own = self.world.ctx.fleet.own();
        own.values().filter(|node| node.outage().is_none()).map(|node| node.id).collect()
    }

    async fn claim(&self) -> Option<Box<LeasedCvm>> {
        let ctx = &self.world.ctx;
        let (now, term) = (ctx.now(), Duration::from_secs(ctx.config.work.lease_s));
        let claimant = Claimant { owner: OWNER, nodes: &self.nodes() };
        let claimed = lease::claim(&ctx.db, &claimant, now, term, 1).await.unwrap().pop();
        claimed.map(|cvm| LeasedCvm::new(cvm, now.plus(term)))
    }

    /// One turn, if something is due; in it the process may die.
    async fn turn(&mut self) {
        let Some(held) = self.claim().await else { return };
        let ctx = self.world.ctx.clone();
        let hosts = self.hosts.clone();
        let died = select_all(hosts.iter().map(|host| Box::pin(host.died.notified())));
        let mut turn = pin!(reconciler::work(&ctx, held));
        tokio::select! {
            biased;
            _ = died => {
                self.tell(|| "the process dies".to_owned());
                self.world.ctx = self.world.replica().ctx;
                if self.dice.chance(60) {
                    lease::release_all(&self.world.ctx.db, OWNER).await.unwrap();
                }
            }
            end = &mut turn => {
                if let TurnEnd::Until(until, held) = end {
                    reconciler::release(&ctx, held, until).await;
                }
            }
        }
    }

    async fn pass_time(&mut self) {
        if self.dice.chance(70) {
            self.to_next_due().await;
        } else {
            self.world.clock.advance_ms(i64::from(1 + self.dice.below(300)));
        }
    }

    async fn to_next_due(&self) {
        let due = lease::next_due(&self.world.ctx.db, &self.nodes()).await.unwrap();
        let micros = due.map_or(0, |due| due.since(self.world.ctx.now()).as_micros());
        self.world.clock.advance_ms(i64::try_from(micros.div_ceil(1000)).unwrap());
    }

    async fn settle(&mut self) {
        for _ in 0..PATIENCE {
            Box::pin(self.turn()).await;
            self.never_two().await;
            left::sweep(&self.world.ctx).await;
            let db = &self.world.ctx.db;
            let busy = lease::busy(db).await.unwrap();
            if busy == 0 && left_vms::all(db, 10).await.unwrap().is_empty() {
                return;
            }
            self.to_next_due().await;
            self.world.clock.advance_ms(20);
        }
        panic!("it does not come to rest: {:?}", self.facts().await.cvm);
    }

    async fn facts(&self) -> Facts {
        Facts::read(&self.world.ctx.db, &self.first).await
    }

    /// Names of the hosts with a VM, and how many.
    fn hosts_with_vms(&self) -> Vec<(&'static str, usize)> {
        let there = NAMES.iter().zip(&self.world.sims).map(|(name, sim)| {
            let vms = sim.host().vms().unwrap();
            (*name, vms.iter().filter(|vm| vm.observed.power != VmPower::Removing).count())
        });
        there.filter(|(_, count)| *count > 0).collect()
    }

    async fn never_two(&self) {
        let cvm = self.facts().await.cvm;
        let left = left_vms::all(&self.world.ctx.db, 10).await.unwrap();
        for (name, _) in self.hosts_with_vms() {
            let id = self.node(NAMES.iter().position(|one| *one == name).unwrap()).id;
            let is_left = left.iter().any(|one| one.node_id == id.0);
            assert!(cvm.node == id || is_left, "a VM on {name}, which has none: {cvm:?} {left:?}");
            assert!(!(cvm.node == id && is_left), "left where it is: {cvm:?} {left:?}");
        }
    }

    async fn check(&self) {
        let facts = self.facts().await;
        facts.closed();
        let cvm = &facts.cvm;
        let node = self.world.ctx.fleet.node(cvm.node).unwrap();
        let vms = self.hosts_with_vms();
        for sim in &self.world.sims {
            assert_eq!(sim.host().audit().unwrap().violations(), Vec::<String>::new());
        }
        assert_eq!(cvm.desired.power, self.power);
        assert_eq!(cvm.moves_to, None, "{cvm:?}");
        let taken = nodes::usage(&self.world.ctx.db).await.unwrap();
        let taken: Vec<_> = taken.iter().map(|one| (one.node_id, one.slots)).collect();
        if self.power == Power::Deleted {
            assert_eq!((vms, taken), (vec![], vec![]));
            return;
        }
        assert_eq!(taken, [(cvm.node.0, 1)]);
        let spec = &cvm.spec;
        assert_eq!(
            (&spec.app_id, &spec.compose_hash, &cvm.sealed_env, &cvm.kms),
            (
                &self.first.spec.app_id,
                &self.first.spec.compose_hash,
                &self.first.sealed_env,
                &self.first.kms
            )
        );
        let failed = cvm.status.failure.is_some();
        if matches!(cvm.status.engine, EngineState::Present { .. }) {
            assert_eq!(vms, [(node.name.as_str(), 1)], "{cvm:?}");
        } else {
            assert_eq!(vms, [], "{cvm:?}");
            assert!(failed || self.power == Power::Stopped, "no VM and no reason: {cvm:?}");
        }
        if self.power == Power::Running && !failed {
            assert_eq!(cvm.phase.as_str(), "running", "{cvm:?}");
        }
        // Whoever looks at it sees the same.
        let shown = self.world.get(&format!("/admin/cvms/{}", cvm.uuid)).await.ok();
        assert_eq!((&shown["node"], &shown["moves_to"]), (&json!(node.name), &Value::Null));
    }
}

fn every_life(lives: u64, host: impl Fn(u64) -> Host + Sync) {
    let live = |seed: u64, trace| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let host = host(seed);
        runtime.block_on(async { Box::pin(Life::begin(seed, &host, trace).await.live()).await });
    };
    let number = |variable: &str| -> Option<u64> {
        let value = std::env::var_os(variable)?;
        Some(value.to_str().and_then(|text| text.parse().ok()).unwrap())
    };
    if let Some(seed) = number("SIMULATION_SEED") {
        return live(seed, true);
    }
    let lives = number("SIMULATION_LIVES").unwrap_or(lives);
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let threads = thread::available_parallelism().map_or(2, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= lives {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| live(seed, false))).is_err() {
                        eprintln!("^ SIMULATION_SEED={seed}");
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {lives} lives, by seed: {failed:?}", failed.len());
}

#[test]
fn there_is_one_vm_wherever_it_moves() {
    every_life(LIVES, |_| Host::Simulated);
}

#[test]
fn there_is_one_vm_wherever_it_moves_on_dstack() {
    every_life(DSTACK_LIVES, |seed| {
        let profiles = Profile::ALL;
        Host::Dstack(profiles[usize::try_from(seed).unwrap() % profiles.len()].clone())
    });
}
