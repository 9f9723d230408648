//! The binary, killed at every recorded step of every operation, on a simulated host whose files survive it.
//! After a restart: no acknowledged change is lost, a CVM never has two VMs, each operation closes once. Then
//! the same with every answer of the host lost, and with every call executed twice.
//!
//! The steps are not listed here: a first run without a crash records the points that it passes
//! (`CASEMATE_CRASH_LOG`), and each becomes a case.

use std::collections::BTreeMap;

use casemate_engine::node::sim::{Fault, FaultKind, Method};
use futures_util::{StreamExt, stream};

use super::{
    case::{Case, Verb},
    hosts::Driver,
};

/// Cases of one test that run at a time. Each waits for its own processes most of the time.
const CASES_AT_ONCE: usize = 4;

/// A point that must be among those found, so that an empty matrix fails.
const SOME_POINTS: [(Verb, &str); 31] = [
    (Verb::Create, "accept.create.before_commit"),
    (Verb::Create, "create.create_stopped.intended"),
    (Verb::Create, "create.create_stopped.called"),
    (Verb::Create, "create.start.called"),
    (Verb::Replicate, "accept.replicate.before_commit"),
    (Verb::Replicate, "create.create_stopped.called"),
    (Verb::Replicate, "create.start.intended"),
    (Verb::Stop, "stop.force_stop.called"),
    (Verb::Restart, "restart.shutdown.called"),
    (Verb::Start, "start.start.intended"),
    (Verb::Delete, "delete.remove.called"),
    (Verb::Change, "accept.update.before_commit"),
    (Verb::Change, "update.push.called"),
    (Verb::ChangeWhileOff, "update.push.intended"),
    (Verb::Record, "accept.update.before_commit"),
    (Verb::BadChange, "rollback.start.called"),
    (Verb::Three, "update.push.called#2"),
    (Verb::OneBadOfThree, "rollback.push.called#2"),
    (Verb::Cancel, "accept.cancel.before_commit"),
    (Verb::Cancel, "rollback.push.recorded"),
    (Verb::Redeploy, "accept.update.before_commit"),
    (Verb::Redeploy, "update.push.called"),
    (Verb::Refresh, "update.remove.called"),
    (Verb::Refresh, "update.forget.recorded"),
    (Verb::Refresh, "update.create_stopped.called"),
    (Verb::Refresh, "update.start.intended"),
    (Verb::Move, "accept.move.before_commit"),
    (Verb::Move, "move.remove.called"),
    (Verb::Move, "move.forget.recorded"),
    (Verb::Move, "move.create_stopped.called"),
    (Verb::Move, "move.start.intended"),
];

/// The points passed; the n-th pass as `name#n`.
async fn points(verb: Verb, driver: Driver) -> Vec<String> {
    let case = Case::prepare(verb, driver).await;
    let mut instance = case.start(&[("CASEMATE_CRASH_LOG", "passed")]).await;
    case.act(&mut instance).await.expect("nothing crashes here");
    case.settle(&mut instance).await;
    case.check(instance).await;
    let log = std::fs::read_to_string(case.dir().join("passed")).expect("points were passed");
    let mut passed: BTreeMap<&str, u32> = BTreeMap::new();
    let nth = |name| {
        let times = passed.entry(name).or_default();
        *times += 1;
        if *times == 1 { name.to_owned() } else { format!("{name}#{times}") }
    };
    let points: Vec<String> = log.lines().map(nth).collect();
    match verb {
        // `Three` covers what comes before.
        Verb::OneBadOfThree => {
            points.into_iter().skip_while(|name| name != "update.close.recorded").collect()
        }
        _ => points,
    }
}

async fn killed_everywhere(verb: Verb, driver: Driver) {
    let points = points(verb, driver).await;
    for (_, point) in SOME_POINTS.iter().filter(|(of, _)| *of == verb) {
        let found = points.iter().any(|passed| passed == point);
        assert!(found, "{point} is not passed any more: {points:?}");
    }
    let killed = |point| killed_at(verb, driver, point);
    stream::iter(points).for_each_concurrent(CASES_AT_ONCE, killed).await;
}

async fn killed_at(verb: Verb, driver: Driver, point: String) {
    let case = Case::prepare(verb, driver).await;
    let mut dying = case.start(&[("CASEMATE_CRASH_AT", &point)]).await;
    // The response may or may not arrive before the crash; clients must handle both.
    let _ = case.act(&mut dying).await;
    dying.died(&point).await;
    let mut instance = case.start(&[]).await;
    case.act(&mut instance).await.unwrap_or_else(|why| panic!("{point}: repeated: {why}"));
    case.settle(&mut instance).await;
    case.check(instance).await;
}

/// Every answer of the host lost, every call executed twice, every call dropped, once each.
async fn misheard(verb: Verb, driver: Driver) {
    use Method::{Create, Push, Remove, Shutdown, Start, Stop};
    let methods = [Create, Push, Start, Stop, Shutdown, Remove];
    let kinds = [FaultKind::LoseAnswer, FaultKind::Repeat, FaultKind::DropCall];
    let faults = methods.map(|method| kinds.map(|kind| Fault::new(kind).on(method)));
    stream::iter(faults.into_iter().flatten())
        .for_each_concurrent(CASES_AT_ONCE, |fault| misheard_once(verb, driver, fault))
        .await;
}

async fn misheard_once(verb: Verb, driver: Driver, fault: Fault) {
    let case = Case::prepare(verb, driver).await;
    for host in [case.hosts.first(), case.hosts.other()] {
        host.set_faults(vec![fault.clone()]).expect("faults are set");
    }
    let mut instance = case.start(&[]).await;
    case.act(&mut instance).await.expect("the request is accepted");
    case.settle(&mut instance).await;
    case.check(instance).await;
}

macro_rules! matrix {
    ($driver:expr; $($killed:ident, $misheard:ident: $verb:expr;)+) => {
        $(#[tokio::test]
        async fn $killed() {
            killed_everywhere($verb, $driver).await;
        }

        #[tokio::test]
        async fn $misheard() {
            misheard($verb, $driver).await;
        })+
    };
}

matrix! {
    Driver::Sim;
    create_survives_every_kill, create_survives_every_mishap: Verb::Create;
    replicate_survives_every_kill, replicate_survives_every_mishap: Verb::Replicate;
    start_survives_every_kill, start_survives_every_mishap: Verb::Start;
    stop_survives_every_kill, stop_survives_every_mishap: Verb::Stop;
    shutdown_survives_every_kill, shutdown_survives_every_mishap: Verb::Shutdown;
    restart_survives_every_kill, restart_survives_every_mishap: Verb::Restart;
    delete_survives_every_kill, delete_survives_every_mishap: Verb::Delete;
    change_survives_every_kill, change_survives_every_mishap: Verb::Change;
    change_while_off_survives_every_kill, change_while_off_survives_every_mishap:
        Verb::ChangeWhileOff;
    record_survives_every_kill, record_survives_every_mishap: Verb::Record;
    bad_change_survives_every_kill, bad_change_survives_every_mishap: Verb::BadChange;
    three_survive_every_kill, three_survive_every_mishap: Verb::Three;
    one_bad_of_three_survives_every_kill, one_bad_of_three_survives_every_mishap:
        Verb::OneBadOfThree;
    cancel_survives_every_kill, cancel_survives_every_mishap: Verb::Cancel;
    redeploy_survives_every_kill, redeploy_survives_every_mishap: Verb::Redeploy;
    refresh_survives_every_kill, refresh_survives_every_mishap: Verb::Refresh;
    move_survives_every_kill, move_survives_every_mishap: Verb::Move;
}

/// The same hosts behind the API of dstack-vmm: what is different is the driver.
mod dstack {
    use super::{Driver, Verb, killed_everywhere, misheard};

    matrix! {
        Driver::Dstack;
        create_survives_every_kill, create_survives_every_mishap: Verb::Create;
        replicate_survives_every_kill, replicate_survives_every_mishap: Verb::Replicate;
        restart_survives_every_kill, restart_survives_every_mishap: Verb::Restart;
        delete_survives_every_kill, delete_survives_every_mishap: Verb::Delete;
        change_survives_every_kill, change_survives_every_mishap: Verb::Change;
        move_survives_every_kill, move_survives_every_mishap: Verb::Move;
    }
}
