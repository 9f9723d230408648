//! Preparations: stored, superseded, used once, expired.

use std::time::Duration;

use casemate_core::{
    id::{ComposeHash, CvmId},
    time::Timestamp,
};
use casemate_store::{
    Db, Error,
    commit_tokens::{self, Kind, NewPreparation, TokenHash},
    cvms::Cvm,
    provisions,
};
use casemate_testing::each_backend;

use crate::world::{START, World, at, hash, number, operation_id};

const TTL: Duration = Duration::from_hours(14 * 24);

fn token() -> TokenHash {
    TokenHash(format!("{:064x}", number()))
}

async fn prepare(
    world: &World,
    cvm: &Cvm,
    kind: Kind,
    document: ComposeHash,
    now: Timestamp,
) -> TokenHash {
    keep(world, cvm, (kind, true), document, now).await
}

/// `told`: whether the client is told the token.
async fn keep(
    world: &World,
    cvm: &Cvm,
    (kind, told): (Kind, bool),
    document: ComposeHash,
    now: Timestamp,
) -> TokenHash {
    let hash = token();
    let mut tx = world.db.begin().await.unwrap();
    tx.lock_cvm(cvm.id).await.unwrap().unwrap();
    tx.keep_document(&document, "{}", now).await.unwrap();
    let new = NewPreparation {
        hash: &hash,
        kind,
        workspace: world.workspace,
        cvm: cvm.id,
        app: cvm.spec.app_id,
        compose_hash: document,
        chain_id: 8453,
        base: "base",
        request: r#"{"x":1}"#,
        by: world.user,
        told,
        expires_at: now.plus(TTL),
    };
    tx.keep_preparation(&new, now).await.unwrap();
    tx.commit().await.unwrap();
    hash
}

async fn use_up(world: &World, hash: &TokenHash, made: Option<CvmId>, now: Timestamp) -> bool {
    let mut tx = world.db.begin().await.unwrap();
    let used = tx.use_preparation(hash, operation_id(), made, now).await.unwrap();
    tx.commit().await.unwrap();
    used
}

async fn what_nobody_has_the_token_of_supersedes_only_its_like(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let documents = [hash(number()), hash(number()), hash(number())];
    let told = prepare(&world, &cvm, Kind::Update, documents[0], START).await;
    let plain = keep(&world, &cvm, (Kind::Update, false), documents[1], START).await;
    let newer = keep(&world, &cvm, (Kind::Update, false), documents[2], START).await;
    let stands = async |token: &TokenHash| {
        commit_tokens::by_token(&db, token).await.unwrap().unwrap().superseded_at.is_none()
    };
    assert_eq!(
        (stands(&told).await, stands(&plain).await, stands(&newer).await),
        (true, false, true)
    );
    // Each is found by its document, and the newest without one.
    let found = async |document: Option<&ComposeHash>| {
        commit_tokens::update_of(&db, cvm.id, document).await.unwrap().unwrap().hash
    };
    assert_eq!(found(Some(&documents[0])).await, told);
    assert_eq!(found(Some(&documents[1])).await, plain);
    assert_eq!(found(None).await, newer);
    assert_eq!(found(Some(&hash(number()))).await, newer);
    // One with a token takes the place of all.
    let last = prepare(&world, &cvm, Kind::Update, documents[1], START).await;
    assert_eq!(
        (stands(&told).await, stands(&newer).await, stands(&last).await),
        (false, false, true)
    );
    assert_eq!(found(Some(&documents[1])).await, last, "the one that can be committed");
}

async fn the_newest_update_of_a_cvm_counts_and_machines_stand_beside(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let document = hash(number());
    let first = prepare(&world, &cvm, Kind::Update, document, START).await;
    let replica = prepare(&world, &cvm, Kind::Replica, document, START).await;
    let instance = prepare(&world, &cvm, Kind::Instance, document, START).await;
    let second = prepare(&world, &cvm, Kind::Update, document, START).await;
    let old = commit_tokens::by_token(&db, &first).await.unwrap().unwrap();
    assert_eq!((old.superseded_at, old.request.as_deref()), (Some(START), None), "{old:?}");
    let newest = commit_tokens::update_of(&db, cvm.id, None).await.unwrap().unwrap();
    assert_eq!((&newest.hash, newest.superseded_at), (&second, None));
    assert_eq!((newest.chain_id, newest.base.as_str(), newest.kind), (8453, "base", Kind::Update));
    assert_eq!((newest.cvm, newest.app, newest.compose_hash), (cvm.id, cvm.spec.app_id, document));
    assert_eq!(newest.expires_at, START.plus(TTL));
    assert!(!use_up(&world, &first, None, at(1)).await, "superseded");
    for other in [&replica, &instance, &second] {
        assert!(use_up(&world, other, None, at(1)).await);
    }
    assert!(commit_tokens::by_token(&db, &token()).await.unwrap().is_none());
    assert!(commit_tokens::update_of(&db, CvmId(99), None).await.unwrap().is_none());
}

async fn a_token_is_used_once_and_in_time(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let late = prepare(&world, &cvm, Kind::Replica, hash(number()), START).await;
    assert!(!use_up(&world, &late, None, START.plus(TTL)).await, "expired");
    let hash = prepare(&world, &cvm, Kind::Update, hash(number()), START).await;
    let mut tx = db.begin().await.unwrap();
    assert!(tx.use_preparation(&hash, operation_id(), None, at(1)).await.unwrap());
    drop(tx);
    let operation = operation_id();
    let mut tx = db.begin().await.unwrap();
    assert!(tx.use_preparation(&hash, operation, Some(cvm.id), at(2)).await.unwrap());
    tx.commit().await.unwrap();
    assert!(!use_up(&world, &hash, None, at(3)).await);
    let used = commit_tokens::by_token(&db, &hash).await.unwrap().unwrap();
    assert_eq!(
        (used.used_at, used.operation, used.made),
        (Some(at(2)), Some(operation), Some(cvm.id))
    );
    assert_eq!(used.request, None, "the sealed environment is not kept longer than it is needed");
    let next = prepare(&world, &cvm, Kind::Update, used.compose_hash, at(4)).await;
    let newest = commit_tokens::update_of(&db, cvm.id, None).await.unwrap().unwrap();
    assert_eq!(newest.hash, next);
    let used = commit_tokens::by_token(&db, &hash).await.unwrap().unwrap();
    assert_eq!(used.superseded_at, None, "what was used stays used");
}

async fn of_many_at_once_one_uses_it(db: Db) {
    const AT_ONCE: usize = 64;
    let world = World::crowded(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let hash = prepare(&world, &cvm, Kind::Update, hash(number()), START).await;
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (world, hash) = (world.clone(), hash.clone());
            tokio::spawn(async move { use_up(&world, &hash, None, at(1)).await })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        won += usize::from(task.await.unwrap());
    }
    assert_eq!(won, 1);
}

async fn of_two_updates_at_once_one_is_live(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let document = hash(number());
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (world, cvm) = (world.clone(), cvm.clone());
            tokio::spawn(async move { prepare(&world, &cvm, Kind::Update, document, START).await })
        })
        .collect();
    let mut hashes = Vec::new();
    for task in tasks {
        hashes.push(task.await.unwrap());
    }
    let mut live = 0;
    for hash in &hashes {
        let one = commit_tokens::by_token(&db, hash).await.unwrap().unwrap();
        live += usize::from(one.superseded_at.is_none());
    }
    assert_eq!(live, 1);
    // Without the lock of the CVM, the index reports it.
    let new = NewPreparation {
        hash: &token(),
        kind: Kind::Update,
        workspace: world.workspace,
        cvm: cvm.id,
        app: cvm.spec.app_id,
        compose_hash: hash(u64::MAX),
        chain_id: 1,
        base: "",
        request: "{}",
        by: world.user,
        told: true,
        expires_at: at(1),
    };
    let mut tx = db.begin().await.unwrap();
    let refused = tx.keep_preparation(&new, START).await;
    assert!(matches!(refused, Err(Error::Backend(_))), "the document is not kept: {refused:?}");
}

async fn what_expired_is_forgotten_with_its_document(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let (ours, shared) = (hash(number()), hash(number()));
    prepare(&world, &cvm, Kind::Update, ours, START).await;
    prepare(&world, &cvm, Kind::Replica, shared, START).await;
    prepare(&world, &cvm, Kind::Replica, shared, at(10)).await;
    let forget = async |before: Timestamp, now: Timestamp| {
        let mut tx = db.begin().await.unwrap();
        let gone = tx.expire_preparations(before, now).await.unwrap();
        tx.commit().await.unwrap();
        gone
    };
    assert_eq!(forget(START.plus(TTL), START.plus(TTL)).await, 0, "not yet");
    let later = at(5).plus(TTL);
    assert_eq!(forget(later, later).await, 2);
    assert_eq!(provisions::document(&db, &ours).await.unwrap(), None);
    assert!(provisions::document(&db, &shared).await.unwrap().is_some(), "still prepared");
    assert_eq!(forget(later, later).await, 0);
}

each_backend!(
    the_newest_update_of_a_cvm_counts_and_machines_stand_beside,
    what_nobody_has_the_token_of_supersedes_only_its_like,
    a_token_is_used_once_and_in_time,
    of_many_at_once_one_uses_it,
    of_two_updates_at_once_one_is_live,
    what_expired_is_forgotten_with_its_document,
);
