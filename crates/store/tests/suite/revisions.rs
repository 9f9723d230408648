//! Revisions, and prepared documents that are not in force.

use std::time::Duration;

use casemate_core::{
    cvm::Spec,
    id::{ComposeHash, CvmId, RevisionRef},
    operation::OperationKind,
    time::Timestamp,
};
use casemate_store::{
    Db,
    cvms::{Cvm, Intent},
    operations::Ending,
    prepared::{self, Prepared},
    provisions, revisions,
};

use crate::world::{START, World, app_id, at, hash, number, operation_id};

fn id() -> RevisionRef {
    RevisionRef::from_random(number())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Stores a new configuration of a CVM.
async fn give(world: &World, cvm: CvmId, sealed_env: Option<&str>, change: impl FnOnce(&mut Spec)) {
    let mut tx = world.db.begin().await.unwrap();
    let read = tx.lock_cvm(cvm).await.unwrap().unwrap();
    let mut spec = read.spec.clone();
    change(&mut spec);
    tx.keep_document(&spec.compose_hash, "{}", START).await.unwrap();
    let intent = Intent {
        spec: &spec,
        sealed_env,
        desired: &read.desired,
        status: &read.status,
        phase: read.phase,
        due: false,
    };
    tx.set_intent(&read, &intent, START).await.unwrap();
    tx.commit().await.unwrap();
}

/// Closes an operation of this kind as succeeded; returns its revision, if any.
async fn close(
    world: &World,
    cvm: CvmId,
    kind: OperationKind,
    env_keys: &[&str],
    now: Timestamp,
) -> Option<RevisionRef> {
    let (operation, revision) = (operation_id(), id());
    let mut tx = world.db.begin().await.unwrap();
    tx.lock_cvm(cvm).await.unwrap().unwrap();
    tx.open_operation(operation, cvm, kind, 1, world.user, now).await.unwrap();
    let written = tx.note_revision(&revision, cvm, operation, &names(env_keys), now).await.unwrap();
    tx.close_operation(operation, &Ending::Succeeded, now).await.unwrap();
    tx.commit().await.unwrap();
    written.then_some(revision)
}

async fn listed(db: &Db, cvm: &Cvm) -> Vec<RevisionRef> {
    let app = &cvm.spec.app_id;
    let all = revisions::of_app(db, app, 0, 1000).await.unwrap();
    assert_eq!(revisions::count(db, app).await.unwrap(), i64::try_from(all.len()).unwrap());
    all.into_iter().map(|one| one.id).collect()
}

async fn only_what_differs_is_a_revision(db: Db) {
    use OperationKind::{Create, Restart, Rollback, Update};
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let first = close(&world, cvm.id, Create, &["B", "A", "B"], at(1)).await.unwrap();
    assert_eq!(close(&world, cvm.id, Restart, &["A", "B"], at(2)).await, None);
    let mut expected = vec![first.clone()];
    let other = hash(number());
    let config = Some("{}");
    let had = [
        (Some("00ff"), None, &["A", "B"][..]),
        (Some("00fe"), None, &["A", "B"]),
        (None, None, &["A", "B"]),
        (None, config, &["A", "B"]),
        (None, config, &["A"]),
    ];
    for (sealed_env, config, keys) in had {
        give(&world, cvm.id, sealed_env, |spec| {
            spec.compose_hash = other;
            spec.user_config = config.map(str::to_owned);
        })
        .await;
        // two at the same instant keep their order
        expected.insert(0, close(&world, cvm.id, Update, keys, at(3)).await.unwrap());
        assert_eq!(close(&world, cvm.id, Update, keys, at(3)).await, None);
        assert_eq!(listed(&db, &cvm).await, expected);
    }
    give(&world, cvm.id, Some("00ff"), |spec| {
        spec.compose_hash = cvm.spec.compose_hash;
        spec.user_config = None;
    })
    .await;
    assert_ne!(revisions::newest_sealed_env(&db, cvm.id).await.unwrap().as_deref(), Some("00ff"));
    let back = close(&world, cvm.id, Rollback, &["A", "B"], at(4)).await.unwrap();
    let newest = revisions::newest_sealed_env(&db, cvm.id).await.unwrap();
    assert_eq!(newest.as_deref(), Some("00ff"));
    let other = world.cvm("bravo").await;
    assert_eq!(revisions::newest_sealed_env(&db, other.id).await.unwrap(), None);
    let whole = revisions::get(&db, &cvm.spec.app_id, &back).await.unwrap().unwrap();
    let old = revisions::get(&db, &cvm.spec.app_id, &first).await.unwrap().unwrap();
    let had = |one: &revisions::RevisionContent| {
        (one.env_keys.clone(), one.sealed_env.clone(), one.revision.compose_hash)
    };
    assert_eq!(had(&whole), had(&old));
    assert_eq!(had(&old).0, names(&["A", "B"]), "ascending, each once");
    let one = &whole.revision;
    assert_eq!((one.kind, one.created_at, one.cvm), (Rollback, at(4), cvm.id));
    assert_eq!((one.vm_uuid, &one.cvm_reference), (cvm.uuid, &cvm.reference));
    assert_eq!((one.cvm_name.as_str(), one.username.as_str()), ("alpha", "ada"));
}

async fn a_list_of_revisions_is_read_in_pages_and_outlives_its_cvms(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let replica = world.replica(cvm.spec.app_id, "bravo").await;
    let stranger = world.cvm("charlie").await;
    let mut expected = Vec::new();
    for second in 1..4 {
        for cvm in [&cvm, &replica] {
            give(&world, cvm.id, None, |spec| spec.compose_hash = hash(number())).await;
            let made = close(&world, cvm.id, OperationKind::Update, &[], at(second)).await;
            expected.insert(0, made.unwrap());
        }
    }
    let foreign = close(&world, stranger.id, OperationKind::Create, &[], at(9)).await.unwrap();
    assert_eq!(listed(&db, &cvm).await, expected);
    let app = &cvm.spec.app_id;
    let mut paged = Vec::new();
    for skip in [0, 4, 8] {
        paged.extend(revisions::of_app(&db, app, skip, 4).await.unwrap());
    }
    assert_eq!(paged.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(revisions::get(&db, app, &foreign).await.unwrap(), None);
    assert_eq!(revisions::get(&db, app, &id()).await.unwrap(), None);

    world.delete(cvm.id, at(20)).await;
    world.delete(replica.id, at(20)).await;
    assert_eq!(listed(&db, &cvm).await, expected, "the history stays");
    let other = world.foreign().await;
    assert!(revisions::has_app(&db, world.workspace, app).await.unwrap());
    assert!(!revisions::has_app(&db, other.workspace, app).await.unwrap());
    assert!(!revisions::has_app(&db, world.workspace, &app_id(number())).await.unwrap());
}

async fn a_document_of_a_revision_is_never_forgotten(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let document = hash(number());
    let mut tx = db.begin().await.unwrap();
    tx.keep_document(&document, "{}", START).await.unwrap();
    tx.insert_provision(&world.provision(cvm.spec.app_id, document, "alpha", START)).await.unwrap();
    tx.commit().await.unwrap();
    give(&world, cvm.id, None, |spec| spec.compose_hash = document).await;
    close(&world, cvm.id, OperationKind::Update, &[], at(1)).await.unwrap();
    give(&world, cvm.id, None, |spec| spec.compose_hash = hash(7)).await;
    world.delete(cvm.id, at(2)).await;
    let mut tx = db.begin().await.unwrap();
    assert!(tx.expire_provisions(at(900 * 86_400)).await.unwrap() > 0);
    tx.commit().await.unwrap();
    assert!(provisions::document(&db, &document).await.unwrap().is_some());
}

async fn what_is_prepared_is_pending_until_it_was_in_force(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let app = &cvm.spec.app_id;
    let (one, two) = (hash(number()), hash(number()));
    let prepare = async |hash: ComposeHash, now: Timestamp| {
        let mut tx = db.begin().await.unwrap();
        tx.keep_document(&hash, "{}", now).await.unwrap();
        let expires_at = now.plus(Duration::from_secs(100));
        let prepared = Prepared { sealed_env: None, expires_at };
        tx.prepare(cvm.id, &hash, &prepared, now).await.unwrap();
        tx.commit().await.unwrap();
    };
    let pending = async |now: Timestamp| -> Vec<ComposeHash> {
        let found = prepared::pending(&db, app, now, 100).await.unwrap();
        assert!(found.iter().all(|one| one.vm_uuid == cvm.uuid && one.cvm_name == "alpha"));
        found.into_iter().map(|one| one.compose_hash).collect()
    };
    assert_eq!(pending(at(0)).await, []);
    prepare(one, at(1)).await;
    prepare(two, at(2)).await;
    assert_eq!(pending(at(3)).await, [two, one]);
    give(&world, cvm.id, None, |spec| spec.compose_hash = one).await;
    assert_eq!(pending(at(3)).await, [two], "on its way");
    close(&world, cvm.id, OperationKind::Update, &[], at(4)).await.unwrap();
    give(&world, cvm.id, None, |spec| spec.compose_hash = hash(7)).await;
    assert_eq!(pending(at(5)).await, [two], "it was in force");
    prepare(one, at(6)).await;
    assert_eq!(pending(at(7)).await, [one, two], "prepared again");
    assert_eq!(pending(at(102)).await, [one], "expired");
    world.delete(cvm.id, at(8)).await;
    assert_eq!(pending(at(9)).await, []);
}

casemate_testing::each_backend!(
    only_what_differs_is_a_revision,
    a_list_of_revisions_is_read_in_pages_and_outlives_its_cvms,
    a_document_of_a_revision_is_never_forgotten,
    what_is_prepared_is_pending_until_it_was_in_force,
);
