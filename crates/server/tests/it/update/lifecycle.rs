//! Changes of a configuration, from acceptance to their end, on a simulated node.

use crate::common;

use casemate_core::{
    change::{Change, Effect},
    id::{CvmId, OperationId},
    operation::{OperationKind, OperationState},
};
use casemate_engine::node::sim::{Fault, FaultKind, Method};
use casemate_server::{
    app::{
        Caller, Error,
        approval::flow::Consent,
        power::{self, Verb},
        update::{self, Accepted, ChangeRequest},
    },
    nodes::watch::Watch,
};
use casemate_store::{
    cvms::{self, Cvm},
    lease,
    operations::{self, Operation, OperationFilter},
};
use common::{COMPOSE, World};

/// A running CVM and somebody who changes it.
struct Bench {
    world: World,
    caller: Caller,
    cvm: CvmId,
}

impl Bench {
    async fn new() -> Self {
        let world = World::new().await;
        let id = world.deploy("my-app").await["id"].as_i64().unwrap();
        world.settle().await;
        let caller = (*world.ctx.authenticate(&world.key).await.unwrap()).clone();
        Self { caller, world, cvm: CvmId(id) }
    }

    async fn ask(&self, change: Change) -> Result<Accepted, Error> {
        let mut tx = self.world.ctx.begin().await.unwrap();
        let asked = ChangeRequest::from(change);
        let (ctx, nothing) = (&self.world.ctx, Consent::default());
        let done = update::accept(ctx, &mut tx, &self.caller, self.cvm, &asked, &nothing).await?;
        let done = done.accepted()?;
        tx.commit().await.unwrap();
        Ok(done)
    }

    async fn change(&self, change: Change) -> Accepted {
        self.ask(change).await.unwrap()
    }

    async fn verb(&self, verb: Verb) {
        let mut tx = self.world.ctx.begin().await.unwrap();
        power::apply(&self.world.ctx, &mut tx, &self.caller, self.cvm, verb).await.unwrap();
        tx.commit().await.unwrap();
        self.world.settle().await;
    }

    async fn cvm(&self) -> Cvm {
        let workspace = self.caller.workspace.id;
        cvms::by_id(&self.world.ctx.db, workspace, self.cvm).await.unwrap().unwrap()
    }

    /// Oldest first.
    async fn operations(&self) -> Vec<Operation> {
        let db = &self.world.ctx.db;
        let mut all =
            operations::of_cvm(db, self.cvm, &OperationFilter::default(), 1000).await.unwrap();
        all.reverse();
        all
    }

    async fn state(&self, id: OperationId) -> OperationState {
        operations::get(&self.world.ctx.db, id).await.unwrap().unwrap().state
    }

    /// How often the guest was booted.
    fn boots(&self) -> usize {
        let audit = self.world.sim.host().audit().unwrap();
        audit.marks.values().map(|mark| mark.starts).sum()
    }

    /// The only VM as the host has it.
    fn vm(&self) -> casemate_engine::node::VmConfig {
        let mut vms = self.world.sim.host().vms().unwrap();
        assert_eq!(vms.len(), 1);
        (*vms.remove(0).config).clone()
    }
}

fn marked(marker: &str) -> String {
    format!("{COMPOSE}x-sim-boot: {marker}\n")
}

fn vcpu(vcpu: u32) -> Change {
    Change { vcpu: Some(vcpu), ..Change::default() }
}

#[tokio::test]
async fn several_fields_make_one_restart_and_reach_the_node() {
    let bench = Bench::new().await;
    let change = Change {
        docker_compose_file: Some(COMPOSE.replace("busybox:1.36", "busybox:1.37")),
        memory_mb: Some(4096),
        listed: Some(false),
        ..vcpu(2)
    };
    let accepted = bench.change(change).await;
    assert_eq!((accepted.effect, accepted.waits_behind), (Effect::Restart, None));
    assert_eq!(accepted.cvm.phase.as_str(), "updating", "before the reply is sent");
    bench.world.settle().await;
    let cvm = bench.cvm().await;
    assert_eq!(cvm.phase.as_str(), "running");
    assert_eq!(bench.boots(), 2);
    let vm = bench.vm();
    assert!(vm.compose.contains("busybox:1.37"));
    assert_eq!((vm.vcpu, vm.memory_mb, vm.compose_hash), (2, 4096, cvm.spec.compose_hash));
    assert!(!cvm.spec.listed);
    assert_eq!(bench.state(accepted.operation).await, OperationState::Succeeded);
}

#[tokio::test]
async fn what_needs_no_restart_makes_none() {
    let bench = Bench::new().await;
    for change in [
        Change { listed: Some(false), ..Change::default() },
        Change { shutdown_timeout_s: Some(30), ..Change::default() },
        vcpu(1),
        Change::default(),
    ] {
        let accepted = bench.change(change.clone()).await;
        assert!(accepted.effect <= Effect::Record, "{change:?}");
        assert_eq!(accepted.cvm.phase.as_str(), "running");
        assert_eq!(bench.state(accepted.operation).await, OperationState::Succeeded);
    }
    bench.world.settle().await;
    assert_eq!(bench.boots(), 1);
    assert_eq!(bench.cvm().await.spec.shutdown_timeout_s, 30);
}

#[tokio::test]
async fn a_stopped_cvm_gets_its_configuration_and_stays_stopped() {
    let bench = Bench::new().await;
    bench.verb(Verb::Stop).await;
    let accepted = bench.change(vcpu(2)).await;
    bench.world.settle().await;
    assert_eq!(bench.state(accepted.operation).await, OperationState::Succeeded);
    assert_eq!(bench.cvm().await.phase.as_str(), "stopped");
    assert_eq!((bench.vm().vcpu, bench.boots()), (2, 1));
    bench.verb(Verb::Start).await;
    assert_eq!((bench.cvm().await.phase.as_str(), bench.boots()), ("running", 2));
}

#[tokio::test]
async fn a_change_that_does_not_boot_is_taken_back() {
    let bench = Bench::new().await;
    let before = bench.cvm().await;
    let bad = Change { docker_compose_file: Some(marked("fail")), disk_gb: Some(30), ..vcpu(2) };
    let accepted = bench.change(bad).await;
    bench.world.settle().await;
    let after = bench.cvm().await;
    assert_eq!(after.phase.as_str(), "running");
    assert_eq!(after.spec.compose_hash, before.spec.compose_hash);
    assert_eq!((bench.vm().vcpu, bench.vm().disk_gb), (1, 30), "a disk never shrinks");
    let failure = after.status.failure.unwrap();
    assert!(failure.rolled_back, "{failure:?}");
    let operations = bench.operations().await;
    let told: Vec<_> = operations.iter().map(|one| (one.kind, one.state)).collect();
    assert_eq!(
        told,
        [
            (OperationKind::Create, OperationState::Succeeded),
            (OperationKind::Update, OperationState::Failed),
            (OperationKind::Rollback, OperationState::Succeeded),
        ]
    );
    assert_eq!(operations[1].id, accepted.operation);
    assert_eq!(operations[1].failure.as_ref().unwrap().0, "boot_failed");
    bench.change(vcpu(2)).await;
    bench.world.settle().await;
    assert_eq!(bench.cvm().await.status.failure, None, "told until the next change");
}

#[tokio::test]
async fn one_bad_change_among_many_takes_no_other_with_it() {
    let bench = Bench::new().await;
    let mut good = Vec::new();
    let first = bench.change(vcpu(2)).await;
    assert_eq!(first.waits_behind, None);
    let mut bad = None;
    for index in 0..8_u32 {
        let change = if index == 3 {
            Change { docker_compose_file: Some(marked("fail")), ..Change::default() }
        } else {
            Change { memory_mb: Some(1000 + index), ..Change::default() }
        };
        let accepted = bench.change(change).await;
        assert_eq!(accepted.waits_behind, Some(index));
        if index == 3 { bad = Some(accepted.operation) } else { good.push(accepted.operation) }
    }
    bench.world.settle().await;
    assert_eq!(bench.state(bad.unwrap()).await, OperationState::Failed);
    for id in good {
        assert_eq!(bench.state(id).await, OperationState::Succeeded);
    }
    let cvm = bench.cvm().await;
    assert_eq!((cvm.phase.as_str(), cvm.spec.resources.memory_mb), ("running", 1007));
    assert_eq!(bench.vm().memory_mb, 1007);
    assert!(bench.operations().await.iter().all(|one| one.ended_at.is_some()));
}

#[tokio::test]
async fn what_waits_goes_in_one_restart_and_a_full_queue_says_try_again() {
    let bench = Bench::new().await;
    bench.change(vcpu(2)).await;
    for index in 0..64 {
        bench.change(Change { memory_mb: Some(1000 + index), ..Change::default() }).await;
    }
    let refused = bench.ask(vcpu(3)).await.unwrap_err();
    assert_eq!((refused.status(), refused.is_transient()), (409, true));
    bench.world.settle().await;
    assert_eq!(bench.boots(), 3, "the first, the one under way, all that waited");
    assert_eq!(bench.vm().memory_mb, 1063);
}

#[tokio::test]
async fn a_queued_change_that_no_longer_fits_ends_with_its_cause() {
    let bench = Bench::new().await;
    bench.change(vcpu(2)).await;
    let grow = bench.change(Change { disk_gb: Some(60), ..Change::default() }).await;
    let refused = bench.ask(Change { disk_gb: Some(40), ..Change::default() }).await.unwrap_err();
    assert_eq!(refused.status(), 400, "refused against what will be in force: {refused:?}");
    let mut tx = bench.world.ctx.begin().await.unwrap();
    let cancelled =
        update::cancel(&bench.world.ctx, &mut tx, &bench.caller, bench.cvm, Some(grow.operation))
            .await
            .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(cancelled.correlation_id, Some(grow.operation.to_string()));
    bench.change(Change { disk_gb: Some(40), ..Change::default() }).await;
    bench.world.settle().await;
    assert_eq!(bench.vm().disk_gb, 40);
    assert_eq!(bench.state(grow.operation).await, OperationState::Cancelled);
}

#[tokio::test]
async fn an_update_under_way_can_be_called_off() {
    let bench = Bench::new().await;
    let accepted = bench.change(vcpu(2)).await;
    let mut tx = bench.world.ctx.begin().await.unwrap();
    let done =
        update::cancel(&bench.world.ctx, &mut tx, &bench.caller, bench.cvm, None).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(done.correlation_id, Some(accepted.operation.to_string()));
    bench.world.settle().await;
    let cvm = bench.cvm().await;
    assert_eq!((cvm.phase.as_str(), cvm.spec.resources.vcpu), ("running", 1));
    assert_eq!(bench.boots(), 1, "the node never heard of it");
    assert_eq!(bench.state(accepted.operation).await, OperationState::Cancelled);
}

#[tokio::test]
async fn what_no_node_needs_to_know_repairs_nothing() {
    let bench = Bench::new().await;
    let host = bench.world.sim.host();
    host.set_faults(vec![Fault::new(FaultKind::CrashGuest).on(Method::List)]).unwrap();
    let mut watch = Watch::default();
    for node in bench.world.ctx.fleet.own().values() {
        watch.look(&bench.world.ctx, node).await.unwrap();
    }
    assert_eq!(bench.cvm().await.phase.as_str(), "error", "it is shown");
    bench.change(Change { listed: Some(false), ..Change::default() }).await;
    assert_eq!(lease::busy(&bench.world.ctx.db).await.unwrap(), 0, "and at rest");
    bench.world.settle().await;
    assert_eq!((bench.cvm().await.phase.as_str(), bench.boots()), ("error", 1));
}

#[tokio::test]
async fn a_power_verb_takes_the_steps_and_leaves_the_configuration() {
    let bench = Bench::new().await;
    let first = bench.change(vcpu(2)).await;
    let second = bench.change(vcpu(3)).await;
    bench.verb(Verb::Stop).await;
    assert_eq!(bench.state(first.operation).await, OperationState::Superseded);
    assert_eq!(bench.state(second.operation).await, OperationState::Succeeded);
    let cvm = bench.cvm().await;
    assert_eq!((cvm.phase.as_str(), bench.vm().vcpu), ("stopped", 3));
    bench.change(vcpu(4)).await;
    bench.change(vcpu(5)).await;
    bench.verb(Verb::Delete).await;
    let operations = bench.operations().await;
    assert!(operations.iter().all(|one| one.ended_at.is_some()), "{operations:?}");
    assert!(bench.world.sim.host().vms().unwrap().is_empty());
}

#[tokio::test]
async fn a_guest_that_does_not_go_down_is_not_forced_where_that_is_not_allowed() {
    for (fate, phase) in [("ignore", "running"), ("never", "error")] {
        let bench = Bench::new().await;
        let deaf = format!("{COMPOSE}x-sim-shutdown: {fate}\n");
        bench.change(Change { docker_compose_file: Some(deaf), ..Change::default() }).await;
        bench.world.settle().await;
        bench.change(Change { allow_force_stop: Some(false), ..Change::default() }).await;
        let boots = bench.boots();
        let accepted = bench.change(vcpu(2)).await;
        bench.world.settle().await;
        let cvm = bench.cvm().await;
        assert_eq!(bench.state(accepted.operation).await, OperationState::Failed, "{fate}");
        assert_eq!((cvm.phase.as_str(), cvm.spec.resources.vcpu), (phase, 1), "{fate}");
        assert_eq!(bench.boots(), boots, "{fate}: never powered off");
        assert_eq!(cvm.status.failure.unwrap().code.as_str(), "shutdown_timeout", "{fate}");
        bench.verb(Verb::Stop).await;
        bench.verb(Verb::Start).await;
        assert_eq!(bench.cvm().await.phase.as_str(), "running", "{fate}: a stop is hard");
    }
}
