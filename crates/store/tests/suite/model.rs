//! Random desired states, claims and records of one CVM against a model in memory: the fence only grows, at
//! most one operation is open, at most one holder writes, and everything due is claimed.

use casemate_core::{
    cvm::{DesiredState, Phase, Power},
    id::{CvmId, OperationId},
    operation::OperationKind,
};
use casemate_store::{
    Error,
    cvms::{self, Cvm},
    lease::{self, Record},
    operations::Ending,
};
use casemate_testing::database::{self, Fresh};
use proptest::{
    prelude::{Strategy, any, prop_oneof},
    test_runner::{Config, TestRunner},
};
use tokio::runtime::Runtime;

use crate::world::{TERM, World, at, at_rest, claim, next_due, number, operation_id};

#[derive(Debug, Clone)]
enum Action {
    /// Time passes.
    Later(u64),
    /// A request reads the CVM, now or some reads ago, and sets the desired state.
    SetDesired {
        power: Power,
        stale: bool,
    },
    /// Another reconciliation is requested.
    Call,
    /// A worker claims.
    Claim,
    /// A holder, possibly with a lost lease, records and keeps the lease or gives it back.
    Record {
        holder: usize,
        keep: bool,
        calling: bool,
        due: Option<u64>,
    },
    /// A holder, possibly with a lost lease, gives it back without a record and ends.
    GiveBack(usize),
    /// The node watch records a difference.
    Watch {
        due: bool,
    },
    /// An operation opens or closes.
    Open,
    Close,
}

fn action() -> impl Strategy<Value = Action> {
    let power = prop_oneof![
        proptest::strategy::Just(Power::Running),
        proptest::strategy::Just(Power::Stopped),
    ];
    prop_oneof![
        2 => (1..40_u64).prop_map(Action::Later),
        2 => (power, any::<bool>()).prop_map(|(power, stale)| Action::SetDesired { power, stale }),
        1 => proptest::strategy::Just(Action::Call),
        4 => proptest::strategy::Just(Action::Claim),
        4 => (0..4_usize, any::<bool>(), any::<bool>(), proptest::option::of(0..40_u64))
            .prop_map(|(holder, keep, calling, due)| Action::Record { holder, keep, calling, due }),
        2 => (0..4_usize).prop_map(Action::GiveBack),
        1 => any::<bool>().prop_map(|due| Action::Watch { due }),
        1 => proptest::strategy::Just(Action::Open),
        1 => proptest::strategy::Just(Action::Close),
    ]
}

/// The expected row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Model {
    now: u64,
    fence: i64,
    power: Power,
    /// When the lease ends, if there is one; it is valid until taken over.
    leased_until: Option<u64>,
    /// Its holder has announced a call.
    calling: bool,
    /// The fence with which the last lease began.
    leased_at: i64,
    due: Option<u64>,
    again: bool,
    operation: Option<OperationId>,
}

impl Model {
    const fn rest(&mut self, due: Option<u64>) {
        self.leased_until = None;
        self.calling = false;
        self.due = due;
        self.again = false;
        self.fence += 1;
    }
}

struct Run<'a> {
    world: &'a World,
    id: CvmId,
    model: Model,
    /// Claimed values, newest first, and read values.
    holders: Vec<Cvm>,
    reads: Vec<Cvm>,
}

fn is_stale(result: &Result<(), Error>) -> bool {
    match result {
        Ok(()) => false,
        Err(Error::Stale) => true,
        Err(error) => panic!("{error:?}"),
    }
}

impl Run<'_> {
    async fn apply(&mut self, action: &Action) {
        match action {
            Action::Later(seconds) => self.model.now += seconds,
            Action::SetDesired { power, stale } => self.set_desired(*power, *stale).await,
            Action::Call => self.call().await,
            Action::Claim => self.claim().await,
            Action::Record { holder, keep, calling, due } => {
                self.record(*holder, keep.then_some(*calling), *due).await;
            }
            Action::GiveBack(holder) => self.give_back(*holder).await,
            Action::Watch { due } => self.watch(*due).await,
            Action::Open => self.open().await,
            Action::Close => self.close().await,
        }
        self.check().await;
    }

    async fn set_desired(&mut self, power: Power, stale: bool) {
        let read = if stale { self.reads.first() } else { self.reads.last() };
        let Some(read) = read.cloned() else { return };
        let desired = DesiredState { power, ..read.desired };
        let mut tx = self.world.db.begin().await.unwrap();
        let phase = Phase::Updating;
        let result = tx.set_desired(&read, &desired, &read.status, phase, at(self.model.now)).await;
        tx.commit().await.unwrap();
        assert_eq!(is_stale(&result), read.fence != self.model.fence);
        if result.is_ok() {
            let now = self.model.now;
            let calls = self.model.calling;
            let lease = self.model.leased_until.filter(|until| calls && *until > now);
            self.model.rest(lease.or(Some(now)));
            self.model.leased_until = lease;
            self.model.calling = calls && lease.is_some();
            self.model.power = power;
        }
    }

    async fn call(&mut self) {
        let mut tx = self.world.db.begin().await.unwrap();
        tx.make_due(self.id, at(self.model.now)).await.unwrap();
        tx.commit().await.unwrap();
        let now = self.model.now;
        if self.model.leased_until.is_some_and(|until| until > now) {
            self.model.again = true;
        } else if self.model.due.is_none_or(|due| due > now) {
            self.model.due = Some(now);
        }
    }

    async fn claim(&mut self) {
        let (db, now) = (&self.world.db, self.model.now);
        let claimed = claim(db, "worker", at(now), TERM, 5).await.unwrap();
        let expected = self.model.due.is_some_and(|due| due <= now)
            && self.model.leased_until.is_none_or(|until| until <= now);
        assert_eq!(claimed.len(), usize::from(expected));
        for cvm in claimed {
            self.model.rest(Some(now + TERM.as_secs()));
            self.model.leased_until = Some(now + TERM.as_secs());
            self.model.leased_at = self.model.fence;
            assert_eq!((cvm.id, cvm.fence), (self.id, self.model.fence));
            self.holders.insert(0, cvm);
        }
    }

    /// `keep`: the lease is kept, and whether a call follows.
    async fn record(&mut self, holder: usize, keep: Option<bool>, due: Option<u64>) {
        let Some(holder) = self.holders.get(holder).cloned() else { return };
        let now = self.model.now;
        let until = keep.map(|_| now + 20);
        let calling = keep == Some(true);
        let due = due.map(|due| now + due);
        let record = Record {
            lease_until: until.map(at),
            calling,
            due_at: due.map(at),
            ..at_rest(&holder.status, Phase::Running)
        };
        let result = self.write(&holder, &record).await;
        assert_eq!(is_stale(&result), holder.fence != self.model.fence);
        match (result, until) {
            (Ok(()), Some(_)) => {
                self.model.leased_until = until;
                self.model.due = until;
                self.model.calling = calling;
            }
            (Ok(()), None) => {
                let due = if self.model.again { Some(now) } else { due };
                self.model.rest(due);
            }
            (Err(_), _) => {}
        }
    }

    async fn give_back(&mut self, holder: usize) {
        if holder >= self.holders.len() {
            return;
        }
        let holder = self.holders.remove(holder);
        let now = self.model.now;
        lease::give_back(&self.world.db, &holder, at(now)).await.unwrap();
        if holder.fence == self.model.leased_at && self.model.leased_until.take().is_some() {
            self.model.due = self.model.due.map(|_| now);
            (self.model.again, self.model.calling) = (false, false);
        }
    }

    async fn watch(&mut self, due: bool) {
        let Some(read) = self.reads.last().cloned() else { return };
        let due = due.then_some(self.model.now + 5);
        let record = Record { due_at: due.map(at), ..at_rest(&read.status, Phase::Error) };
        let result = self.write(&read, &record).await;
        let stale = read.fence != self.model.fence || self.model.leased_until.is_some();
        assert_eq!(is_stale(&result), stale);
        if !stale {
            let due = self.model.due.or(due);
            self.model.rest(due);
        }
    }

    async fn write(&self, cvm: &Cvm, record: &Record<'_>) -> Result<(), Error> {
        let mut tx = self.world.db.begin().await.unwrap();
        let result = tx.record(cvm, record, at(self.model.now)).await;
        tx.commit().await.unwrap();
        result
    }

    async fn open(&mut self) {
        let (operation, kind) = (operation_id(), OperationKind::Update);
        let mut tx = self.world.db.begin().await.unwrap();
        let now = at(self.model.now);
        match tx.open_operation(operation, self.id, kind, 1, self.world.user, now).await {
            Ok(()) => {
                tx.commit().await.unwrap();
                assert_eq!(self.model.operation.replace(operation), None);
            }
            Err(Error::Conflict(_)) => assert!(self.model.operation.is_some()),
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn close(&mut self) {
        let Some(operation) = self.model.operation.take() else { return };
        let mut tx = self.world.db.begin().await.unwrap();
        let now = at(self.model.now);
        assert!(!tx.close_operation(operation, &Ending::Succeeded, now).await.unwrap().is_empty());
        assert_eq!(tx.close_operation(operation, &Ending::Superseded, now).await.unwrap(), []);
        tx.commit().await.unwrap();
    }

    async fn check(&mut self) {
        let db = &self.world.db;
        let cvm = cvms::by_id(db, self.world.workspace, self.id).await.unwrap().unwrap();
        assert_eq!(cvm.fence, self.model.fence);
        assert_eq!(cvm.desired.power, self.model.power);
        assert_eq!(cvm.operation.map(|open| open.id), self.model.operation);
        assert_eq!(next_due(db).await.unwrap(), self.model.due.map(at));
        assert!(self.reads.last().is_none_or(|before| before.fence <= cvm.fence));
        self.reads.push(cvm);
    }
}

async fn run(world: &World, actions: &[Action]) {
    let cvm = world.cvm(&format!("cvm-{}", number())).await;
    let id = cvm.id;
    let model = Model {
        now: 0,
        fence: 0,
        power: Power::Running,
        leased_until: None,
        leased_at: 0,
        calling: false,
        due: Some(0),
        again: false,
        operation: None,
    };
    let mut run = Run { world, id, model, holders: Vec::new(), reads: vec![cvm] };
    for action in actions {
        run.apply(action).await;
    }
    world.delete(id, at(0)).await;
}

fn explore(fresh: impl Future<Output = Fresh>, cases: u32) {
    let runtime = Runtime::new().unwrap();
    let fresh = runtime.block_on(fresh);
    let world = runtime.block_on(World::new(fresh.db.clone()));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let actions = proptest::collection::vec(action(), 1..40);
    let result = TestRunner::new(config).run(&actions, |actions| {
        runtime.block_on(run(&world, &actions));
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    runtime.block_on(fresh.finish());
}

#[test]
fn the_row_follows_the_model_on_sqlite() {
    explore(database::sqlite(), 64);
}

#[test]
fn the_row_follows_the_model_on_postgres() {
    explore(database::postgres(), 24);
}
