//! Readers with a cursor.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use casemate_core::id::{CvmId, EventSeq};
use casemate_store::{
    Db,
    events::{self, NewEvent},
};
use serde_json::json;

use crate::world::{START, World};

const WRITERS: usize = 8;
const EACH: usize = 25;

fn event(world: &World, cvm: CvmId) -> NewEvent<'static> {
    NewEvent {
        workspace: world.workspace,
        cvm: Some(cvm),
        operation: None,
        kind: "cvm.phase",
        body: json!({ "text": "with \0 and ü" }),
    }
}

/// Appends two events per transaction, drops some, and reports the numbers.
async fn write(world: World, cvm: CvmId, done: Arc<AtomicUsize>) -> Vec<i64> {
    let mut written = Vec::new();
    for round in 0..EACH {
        let mut tx = world.db.begin().await.unwrap();
        let first = tx.append_events(&[event(&world, cvm)], START).await.unwrap();
        tokio::task::yield_now().await;
        let second = tx.append_events(&[event(&world, cvm)], START).await.unwrap();
        if round % 5 == 4 {
            continue;
        }
        tx.commit().await.unwrap();
        written.extend([first.0, second.0]);
    }
    done.fetch_add(1, Ordering::SeqCst);
    written
}

/// Follows a cursor until all writers are done and nothing is left.
async fn follow(world: World, cvm: CvmId, done: Arc<AtomicUsize>) -> Vec<i64> {
    let mut seen: Vec<i64> = Vec::new();
    loop {
        let finished = done.load(Ordering::SeqCst) == WRITERS;
        let after = EventSeq(seen.last().copied().unwrap_or(0));
        let next = events::of_cvm(&world.db, cvm, after, 7).await.unwrap();
        if next.is_empty() && finished {
            return seen;
        }
        seen.extend(next.iter().map(|event| event.seq));
        tokio::task::yield_now().await;
    }
}

async fn a_reader_misses_nothing_while_eight_writers_append(db: Db) {
    let world = World::crowded(db.clone()).await;
    let cvm = world.cvm("alpha").await.id;
    let done = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> =
        (0..2).map(|_| tokio::spawn(follow(world.clone(), cvm, done.clone()))).collect();
    let writers: Vec<_> =
        (0..WRITERS).map(|_| tokio::spawn(write(world.clone(), cvm, done.clone()))).collect();
    let mut written = Vec::new();
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    written.sort_unstable();
    assert_eq!(written.len(), WRITERS * EACH * 2 * 4 / 5);
    for reader in readers {
        assert_eq!(reader.await.unwrap(), written);
    }
    assert_eq!(events::newest(&db).await.unwrap().0, *written.last().unwrap());
}

async fn a_list_shows_its_own_events_only(db: Db) {
    let world = World::new(db.clone()).await;
    let foreign = world.foreign().await;
    let (ours, theirs) = (world.cvm("alpha").await.id, foreign.cvm("bravo").await.id);
    assert_eq!(events::newest(&db).await.unwrap(), EventSeq(0));
    let mut tx = db.begin().await.unwrap();
    let first = tx.append_events(&[event(&world, ours)], START).await.unwrap();
    let second = tx.append_events(&[event(&foreign, theirs)], START).await.unwrap();
    tx.commit().await.unwrap();
    let (none, many) = (EventSeq(0), 10);
    let places = |list: Vec<events::Event>| list.iter().map(|event| event.seq).collect::<Vec<_>>();
    assert_eq!(places(events::of_cvm(&db, ours, none, many).await.unwrap()), [first.0]);
    assert_eq!(places(events::of_cvm(&db, ours, first, many).await.unwrap()), [] as [i64; 0]);
    let foreign_ones = events::of_workspace(&db, foreign.workspace, none, many).await.unwrap();
    assert_eq!(places(foreign_ones), [second.0]);
    let all = events::of_all(&db, none, many).await.unwrap();
    let body: serde_json::Value = serde_json::from_str(&all[0].body).unwrap();
    assert_eq!(body["text"], "with \0 and ü");
    assert_eq!(places(all), [first.0, second.0]);
    assert_eq!(places(events::of_all(&db, none, -5).await.unwrap()), [] as [i64; 0]);
}

casemate_testing::each_backend!(
    a_reader_misses_nothing_while_eight_writers_append,
    a_list_shows_its_own_events_only,
);
