//! Leases and fences.

use std::collections::BTreeMap;

use casemate_core::{
    cvm::{DesiredState, Phase, Power},
    id::CvmId,
};
use casemate_store::{
    Db, Error,
    cvms::{self, Cvm},
    lease::{self, Claimant, Record},
};

use crate::world::{START, TERM, World, app_id, at, at_rest, claim, next_due, number};

async fn claim_one(world: &World, owner: &str, seconds: u64) -> Cvm {
    let mut claimed = claim(&world.db, owner, at(seconds), TERM, 1).await.unwrap();
    claimed.pop().expect("one is due")
}

async fn record(world: &World, cvm: &Cvm, record: &Record<'_>, seconds: u64) -> Result<(), Error> {
    let mut tx = world.db.begin().await.unwrap();
    tx.record(cvm, record, at(seconds)).await?;
    tx.commit().await
}

async fn due(world: &World) -> Option<u64> {
    let due = next_due(&world.db).await.unwrap()?;
    Some(due.since(START).as_secs())
}

async fn eight_workers_claim_each_of_200_once(db: Db) {
    let world = World::crowded(db.clone()).await;
    let mut tx = db.begin().await.unwrap();
    for number in 0..200 {
        let app = app_id(20_000 + number);
        world.insert(&mut tx, app, &format!("cvm-{number}")).await;
    }
    tx.commit().await.unwrap();
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let db = db.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let owner = format!("worker-{worker}");
                    let claimed = claim(&db, &owner, START, TERM, 7).await.unwrap();
                    assert!(claimed.len() <= 7);
                    if claimed.is_empty() && next_due(&db).await.unwrap() > Some(START) {
                        return mine;
                    }
                    mine.extend(claimed.iter().map(|cvm| cvm.id));
                }
            })
        })
        .collect();
    let mut times: BTreeMap<CvmId, usize> = BTreeMap::new();
    for worker in workers {
        for id in worker.await.unwrap() {
            *times.entry(id).or_default() += 1;
        }
    }
    assert_eq!(times.len(), 200);
    assert!(times.values().all(|times| *times == 1));
    assert_eq!(lease::busy(&db).await.unwrap(), 200);
}

async fn a_lease_keeps_others_out_until_it_ends(db: Db) {
    let world = World::new(db.clone()).await;
    world.cvm("alpha").await;
    assert_eq!(due(&world).await, Some(0));
    let first = claim_one(&world, "one", 0).await;
    assert!(first.claimed);
    assert_eq!(due(&world).await, Some(30), "nobody need look before the lease ends");
    assert_eq!(claim(&db, "two", at(29), TERM, 9).await.unwrap(), []);
    let second = claim_one(&world, "two", 30).await;
    assert_eq!(second.fence, first.fence + 1);
    let late = record(&world, &first, &at_rest(&first.status, Phase::Error), 31).await;
    assert!(matches!(late, Err(Error::Stale)), "{late:?}");
    assert_eq!(world.read(first.id).await.phase, Phase::Starting);
    record(&world, &second, &at_rest(&second.status, Phase::Running), 32).await.unwrap();
    assert_eq!((due(&world).await, lease::busy(&db).await.unwrap()), (None, 0));
    let again = record(&world, &second, &at_rest(&second.status, Phase::Error), 33).await;
    assert!(matches!(again, Err(Error::Stale)), "the lease was given back: {again:?}");
}

async fn a_kept_lease_is_kept(db: Db) {
    let world = World::new(db.clone()).await;
    world.cvm("alpha").await;
    let cvm = claim_one(&world, "one", 0).await;
    let mut status = cvm.status.clone();
    status.attempts = 3;
    let keep = Record { lease_until: Some(at(50)), ..at_rest(&status, Phase::Starting) };
    record(&world, &cvm, &keep, 10).await.unwrap();
    record(&world, &cvm, &keep, 11).await.unwrap();
    assert_eq!(claim(&db, "two", at(49), TERM, 9).await.unwrap(), []);
    let later = Record { due_at: Some(at(90)), ..at_rest(&status, Phase::Starting) };
    record(&world, &cvm, &later, 12).await.unwrap();
    assert_eq!(due(&world).await, Some(90));
    assert_eq!(claim_one(&world, "two", 90).await.status.attempts, 3);
}

async fn a_new_desired_state_takes_the_lease_away(db: Db) {
    let world = World::new(db.clone()).await;
    world.cvm("alpha").await;
    let held = claim_one(&world, "one", 0).await;
    world.set_desired_power(held.id, Power::Stopped, at(5)).await;
    let late = record(&world, &held, &at_rest(&held.status, Phase::Running), 6).await;
    assert!(matches!(late, Err(Error::Stale)), "{late:?}");
    let next = claim_one(&world, "two", 6).await;
    assert_eq!(
        (next.id, next.desired.power, next.phase),
        (held.id, Power::Stopped, Phase::Stopping)
    );
    let mut tx = db.begin().await.unwrap();
    let desired = DesiredState { power: Power::Running, ..held.desired };
    let stale = tx.set_desired(&held, &desired, &held.status, Phase::Starting, at(7)).await;
    assert!(matches!(stale, Err(Error::Stale)), "{stale:?}");
    tx.commit().await.unwrap();
    assert_eq!(world.read(held.id).await.desired.power, Power::Stopped);
}

async fn a_new_desired_state_waits_for_a_call_under_way(db: Db) {
    let world = World::new(db.clone()).await;
    world.cvm("alpha").await;
    let held = claim_one(&world, "one", 0).await;
    let calls = Record {
        lease_until: Some(at(30)),
        calling: true,
        ..at_rest(&held.status, Phase::Starting)
    };
    record(&world, &held, &calls, 0).await.unwrap();
    world.set_desired_power(held.id, Power::Stopped, at(5)).await;
    let late = record(&world, &held, &at_rest(&held.status, Phase::Running), 6).await;
    assert!(matches!(late, Err(Error::Stale)), "{late:?}");
    assert_eq!(claim(&db, "two", at(6), TERM, 9).await.unwrap(), [], "a call may be under way");
    assert_eq!(due(&world).await, Some(30));
    lease::give_back(&db, &held, at(6)).await.unwrap();
    assert_eq!(claim_one(&world, "two", 6).await.desired.power, Power::Stopped);
    lease::give_back(&db, &held, at(6)).await.unwrap();
    assert_eq!(due(&world).await, Some(36), "the next one's lease is another");
}

async fn a_call_for_another_look_is_heard_during_a_lease(db: Db) {
    let world = World::new(db.clone()).await;
    let id = world.cvm("alpha").await.id;
    let cvm = claim_one(&world, "one", 0).await;
    let call = async |seconds| {
        let mut tx = db.begin().await.unwrap();
        tx.make_due(id, at(seconds)).await.unwrap();
        tx.commit().await.unwrap();
    };
    call(3).await;
    assert_eq!(claim(&db, "two", at(4), TERM, 9).await.unwrap(), []);
    assert_eq!(due(&world).await, Some(30));
    record(&world, &cvm, &at_rest(&cvm.status, Phase::Running), 5).await.unwrap();
    assert_eq!(due(&world).await, Some(5));
    let cvm = claim_one(&world, "two", 5).await;
    record(&world, &cvm, &at_rest(&cvm.status, Phase::Running), 6).await.unwrap();
    assert_eq!(due(&world).await, None);
    call(8).await;
    call(9).await;
    assert_eq!(due(&world).await, Some(8));
}

/// Two watches of the same node agree, with a worker in between.
async fn who_only_looks_on_writes_at_rest_and_once(db: Db) {
    let world = World::new(db.clone()).await;
    world.cvm("alpha").await;
    world.settle(START).await;
    let seen = cvms::on_node(&db, world.node, CvmId(0), 500).await.unwrap().remove(0);
    let drift = at_rest(&seen.status, Phase::Error);
    record(&world, &seen, &drift, 1).await.unwrap();
    let twice = record(&world, &seen, &drift, 1).await;
    assert!(matches!(twice, Err(Error::Stale)), "{twice:?}");
    let mut tx = db.begin().await.unwrap();
    tx.make_due(seen.id, at(2)).await.unwrap();
    tx.commit().await.unwrap();
    let seen = cvms::on_node(&db, world.node, CvmId(0), 500).await.unwrap().remove(0);
    record(&world, &seen, &at_rest(&seen.status, Phase::Running), 3).await.unwrap();
    assert_eq!(due(&world).await, Some(2), "what is due stays due");
    let held = claim_one(&world, "one", 4).await;
    let seen = cvms::on_node(&db, world.node, CvmId(0), 500).await.unwrap().remove(0);
    let during = record(&world, &seen, &at_rest(&seen.status, Phase::Error), 5).await;
    assert!(matches!(during, Err(Error::Stale)), "somebody works on it: {during:?}");
    record(&world, &held, &at_rest(&held.status, Phase::Running), 6).await.unwrap();
}

async fn leases_given_back_at_shutdown_are_free_at_once(db: Db) {
    let world = World::new(db.clone()).await;
    world.cvm("alpha").await;
    world.cvm("bravo").await;
    let mine = claim_one(&world, "one", 1).await;
    let theirs = claim_one(&world, "two", 1).await;
    lease::release_all(&db, "one").await.unwrap();
    let late = record(&world, &mine, &at_rest(&mine.status, Phase::Running), 2).await;
    assert!(matches!(late, Err(Error::Stale)), "{late:?}");
    assert_eq!(claim_one(&world, "three", 2).await.id, mine.id);
    record(&world, &theirs, &at_rest(&theirs.status, Phase::Running), 3).await.unwrap();
}

async fn a_deleted_one_is_out_of_reach(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    world.delete(cvm.id, at(1)).await;
    let cvm = world.read(cvm.id).await;
    assert_eq!(cvm.phase, Phase::Deleted);
    let mut tx = db.begin().await.unwrap();
    tx.make_due(cvm.id, at(2)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(lease::busy(&db).await.unwrap(), 0);
    let again = Record { deleted: true, ..at_rest(&cvm.status, Phase::Deleted) };
    let again = record(&world, &cvm, &again, 3).await;
    assert!(matches!(again, Err(Error::Stale)), "{again:?}");
    let mut tx = db.begin().await.unwrap();
    let wished = tx.set_desired(&cvm, &cvm.desired, &cvm.status, Phase::Starting, at(4)).await;
    assert!(matches!(wished, Err(Error::Stale)), "{wished:?}");
}

/// Workers, desired states and events in the service's order: no deadlock, no lost change.
async fn workers_and_requests_do_not_block_each_other(db: Db) {
    let world = World::crowded(db.clone()).await;
    let mut all = Vec::new();
    for number in 0..6 {
        all.push(world.cvm(&format!("cvm-{number}")).await.id);
    }
    let workers = (0..4).map(|worker| {
        let world = world.clone();
        tokio::spawn(async move {
            for round in 0..15 {
                let claimed =
                    claim(&world.db, &format!("w{worker}"), at(round), TERM, 3).await.unwrap();
                for cvm in claimed {
                    match record(&world, &cvm, &at_rest(&cvm.status, Phase::Running), round).await {
                        Ok(()) | Err(Error::Stale) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            }
        })
    });
    let requests = (0..4).map(|request| {
        let (world, all) = (world.clone(), all.clone());
        tokio::spawn(async move {
            let mut written = 0;
            for round in 0..15 {
                let mut tx = world.db.begin().await.unwrap();
                let id = all[(request + round) % all.len()];
                let cvm = tx.cvm(id).await.unwrap().unwrap();
                let desired = DesiredState { run: cvm.desired.run + 1, ..cvm.desired };
                match tx.set_desired(&cvm, &desired, &cvm.status, Phase::Restarting, at(0)).await {
                    Ok(()) => {}
                    Err(Error::Stale) => continue,
                    Err(error) => panic!("{error:?}"),
                }
                let event = casemate_store::events::NewEvent {
                    workspace: world.workspace,
                    cvm: Some(id),
                    operation: None,
                    kind: "operation.accepted",
                    body: serde_json::json!({ "round": number() }),
                };
                tx.append_events(&[event], at(0)).await.unwrap();
                tx.commit().await.unwrap();
                written += 1;
            }
            written
        })
    });
    let (workers, requests): (Vec<_>, Vec<_>) = (workers.collect(), requests.collect());
    let mut written = 0;
    for request in requests {
        written += request.await.unwrap();
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let mut runs = 0;
    for id in &all {
        runs += world.read(*id).await.desired.run - 1;
    }
    assert_eq!(runs, written);
}

/// Two processes on one database: each claims only CVMs of its own nodes, and sleeps until they are due.
async fn a_claim_leaves_other_nodes_alone(db: Db) {
    let ours = World::new(db.clone()).await;
    let theirs = ours.node("node-2").await;
    let (own, other) = (ours.cvm("alpha").await, theirs.cvm("bravo").await);
    let claimed = async |owner, node| {
        let claimant = Claimant { owner, nodes: &[node] };
        let claimed = lease::claim(&db, &claimant, START, TERM, 9).await.unwrap();
        claimed.iter().map(|cvm| cvm.id).collect::<Vec<_>>()
    };
    assert_eq!(claimed("one", ours.node).await, [own.id]);
    assert_eq!(claimed("one", ours.node).await, []);
    assert_eq!(lease::next_due(&db, &[ours.node]).await.unwrap(), Some(START.plus(TERM)));
    assert_eq!(lease::next_due(&db, &[theirs.node]).await.unwrap(), Some(START));
    assert_eq!(claimed("two", theirs.node).await, [other.id]);
    assert_eq!(lease::next_due(&db, &[]).await.unwrap(), None);
}

casemate_testing::each_backend!(
    a_claim_leaves_other_nodes_alone,
    eight_workers_claim_each_of_200_once,
    a_lease_keeps_others_out_until_it_ends,
    a_kept_lease_is_kept,
    a_new_desired_state_takes_the_lease_away,
    a_new_desired_state_waits_for_a_call_under_way,
    a_call_for_another_look_is_heard_during_a_lease,
    who_only_looks_on_writes_at_rest_and_once,
    leases_given_back_at_shutdown_are_free_at_once,
    a_deleted_one_is_out_of_reach,
    workers_and_requests_do_not_block_each_other,
);
