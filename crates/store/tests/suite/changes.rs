//! Configuration changes: queue, batches and results.

use casemate_core::{
    change::{Before, Change},
    cvm::{FailureCode, Resources, Spec},
    id::{CvmId, OperationId},
    operation::{OperationKind, OperationState},
};
use casemate_store::{
    Db, Error,
    cvms::{self, Intent},
    nodes,
    operations::{
        self, Ending, OperationFilter,
        queue::{MAX_BATCH, NewChange},
    },
    prepared::Prepared,
    provisions,
};

use crate::world::{START, World, at, hash, number, operation_id};

async fn enqueue(world: &World, cvm: CvmId, vcpu: u32) -> OperationId {
    let id = operation_id();
    let change = Change { vcpu: Some(vcpu), ..Change::default() };
    let new = NewChange {
        id,
        cvm,
        by: world.user,
        change: &change,
        fields: &change.fields(),
        report: None,
        generation: 1,
    };
    let mut tx = world.db.begin().await.unwrap();
    tx.lock_cvm(cvm).await.unwrap().unwrap();
    tx.enqueue_change(&new, START).await.unwrap();
    tx.commit().await.unwrap();
    id
}

async fn states(world: &World, cvm: CvmId) -> Vec<(OperationState, Option<OperationId>)> {
    let all = operations::of_cvm(&world.db, cvm, &OperationFilter::default(), 100).await.unwrap();
    all.into_iter().rev().map(|operation| (operation.state, operation.joined_to)).collect()
}

async fn changes_wait_in_order_and_go_in_one(db: Db) {
    use OperationState::{Failed, Pending, Running};
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let mut ids = Vec::new();
    for vcpu in 1..=3 {
        ids.push(enqueue(&world, cvm.id, vcpu).await);
    }
    let before = Before { spec: cvm.spec.clone(), sealed_env: None, generation: 1 };
    let mut tx = db.begin().await.unwrap();
    let queued = tx.queued_changes(cvm.id, 2).await.unwrap();
    assert_eq!(queued.iter().map(|queued| queued.id).collect::<Vec<_>>(), ids[..2]);
    assert_eq!(queued[1].change.vcpu, Some(2));
    assert_eq!((queued[0].batch, queued[0].created_by), (MAX_BATCH, world.user));
    tx.run_changes(ids[2], &ids[..2], 2, Some(&before), at(1)).await.unwrap();
    assert_eq!(tx.before(ids[2]).await.unwrap(), Some(before.clone()));
    assert_eq!(tx.before(ids[0]).await.unwrap(), None);
    tx.commit().await.unwrap();
    let joined = Some(ids[2]);
    assert_eq!(
        states(&world, cvm.id).await,
        [(Pending, joined), (Pending, joined), (Running, None)]
    );

    let mut tx = db.begin().await.unwrap();
    assert!(tx.retry_singly(ids[2]).await.unwrap());
    let again = tx.queued_changes(cvm.id, 9).await.unwrap();
    assert_eq!(again.iter().map(|queued| queued.id).collect::<Vec<_>>(), ids);
    assert!(again.iter().all(|queued| queued.batch == 1), "each alone: {again:?}");
    tx.run_changes(ids[1], &ids[..1], 2, Some(&before), at(2)).await.unwrap();
    let ending = Ending::Failed(FailureCode::Refused, "no".to_owned());
    assert_eq!(tx.close_operation(ids[1], &ending, at(3)).await.unwrap(), ids[..2]);
    assert_eq!(tx.close_operation(ids[0], &Ending::Succeeded, at(3)).await.unwrap(), []);
    assert_eq!(tx.before(ids[1]).await.unwrap(), None, "forgotten with its end");
    assert_eq!(tx.open_changes(cvm.id).await.unwrap(), [ids[2]]);
    tx.run_changes(ids[2], &[], 2, None, at(4)).await.unwrap();
    assert!(!tx.retry_singly(ids[2]).await.unwrap(), "one is no batch");
    tx.commit().await.unwrap();
    let joined = Some(ids[1]);
    assert_eq!(states(&world, cvm.id).await, [(Failed, joined), (Failed, None), (Running, None)]);
}

async fn a_list_of_operations_is_what_was_asked_for(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let first = world.open_operation(cvm.id).await;
    let mut tx = db.begin().await.unwrap();
    tx.close_operation(first, &Ending::Cancelled, at(1)).await.unwrap();
    tx.open_operation(operation_id(), cvm.id, OperationKind::Stop, 1, world.user, at(5))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    enqueue(&world, cvm.id, 3).await;
    let list = async |shown: OperationFilter| {
        let found = operations::of_cvm(&db, cvm.id, &shown, 9).await.unwrap();
        let count = operations::count(&db, cvm.id, &shown).await.unwrap();
        (found.iter().map(|operation| operation.seq).collect::<Vec<_>>(), count)
    };
    assert_eq!(list(OperationFilter::default()).await, (vec![3, 2, 1], 3));
    assert_eq!(
        list(OperationFilter { before: Some(3), ..OperationFilter::default() }).await,
        (vec![2, 1], 3)
    );
    assert_eq!(
        list(OperationFilter { from: Some(at(1)), ..OperationFilter::default() }).await,
        (vec![2], 1)
    );
    assert_eq!(
        list(OperationFilter { until: Some(at(5)), ..OperationFilter::default() }).await,
        (vec![3, 1], 2)
    );
    let kinds = vec![OperationKind::Stop, OperationKind::Update];
    assert_eq!(
        list(OperationFilter { kinds, ..OperationFilter::default() }).await,
        (vec![3, 2], 2)
    );
    let newest =
        operations::of_cvm(&db, cvm.id, &OperationFilter::default(), 1).await.unwrap().remove(0);
    assert_eq!(newest.fields, ["vcpu"]);
    assert_eq!((newest.started_at, newest.created_by), (None, world.user));
    assert!(!newest.username.is_empty());
}

async fn a_configuration_is_written_whole_and_tallied(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let taken = async || {
        let all = nodes::usage(&db).await.unwrap();
        all.into_iter().find(|taken| taken.node_id == world.node.0).unwrap_or_default()
    };
    let before = taken().await;
    let resources =
        Resources { vcpu: 5, memory_mb: 4096, disk_gb: 30, ..cvm.spec.resources.clone() };
    let spec = Spec { name: "omega".to_owned(), resources, ..cvm.spec.clone() };
    let write = async |read: &cvms::Cvm, spec: &Spec| {
        let intent = Intent {
            spec,
            sealed_env: Some("ab"),
            desired: &read.desired,
            status: &read.status,
            phase: read.phase,
            due: true,
        };
        let mut tx = db.begin().await.unwrap();
        let done = tx.set_intent(read, &intent, at(1)).await;
        tx.commit().await.unwrap();
        done
    };
    write(&cvm, &spec).await.unwrap();
    assert!(matches!(write(&cvm, &spec).await, Err(Error::Stale)));
    let read = world.read(cvm.id).await;
    assert_eq!((&read.spec, read.sealed_env.as_deref()), (&spec, Some("ab")));
    let after = taken().await;
    assert_eq!(
        (after.slots, after.vcpu, after.memory_mb, after.disk_gb),
        (before.slots, before.vcpu + 3, before.memory_mb + 3072, before.disk_gb + 20)
    );
    write(&read, &cvm.spec).await.unwrap();
    assert_eq!(taken().await, before);
    world.delete(cvm.id, at(2)).await;
    assert_eq!(taken().await.vcpu, 0);
}

async fn a_prepared_document_lives_until_it_expires(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let (document, used) = (hash(number()), hash(number()));
    let mut tx = db.begin().await.unwrap();
    for hash in [document, used] {
        tx.keep_document(&hash, "{}", START).await.unwrap();
        let prepared = Prepared { sealed_env: Some("ab".to_owned()), expires_at: at(10) };
        tx.prepare(cvm.id, &hash, &prepared, START).await.unwrap();
        assert_eq!(tx.prepared(cvm.id, &hash).await.unwrap(), Some(prepared));
    }
    let longer = Prepared { sealed_env: None, expires_at: at(20) };
    tx.prepare(cvm.id, &document, &longer, START).await.unwrap();
    tx.keep_for_good(&used).await.unwrap();
    assert_eq!(tx.expire_prepared(at(11)).await.unwrap(), 1);
    assert_eq!(tx.prepared(cvm.id, &used).await.unwrap(), None);
    assert_eq!(tx.prepared(cvm.id, &document).await.unwrap(), Some(longer));
    tx.commit().await.unwrap();
    assert!(provisions::document(&db, &used).await.unwrap().is_some());
}

async fn a_set_time_of_deletion_comes(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let set = async |time| {
        let mut tx = db.begin().await.unwrap();
        let done = tx.schedule_deletion(cvm.id, time, world.user, START).await;
        tx.commit().await.unwrap();
        done
    };
    set(Some(at(10))).await.unwrap();
    assert_eq!(world.read(cvm.id).await.delete_at, Some(at(10)));
    let due = async |seconds| -> Vec<_> {
        let due = cvms::to_delete(&db, at(seconds), 100).await.unwrap();
        due.into_iter().filter(|due| due.cvm == cvm.id).map(|due| due.by).collect()
    };
    assert_eq!(due(9).await, []);
    assert_eq!(due(10).await, [world.user]);
    set(None).await.unwrap();
    assert_eq!(due(10).await, []);
    set(Some(at(10))).await.unwrap();
    world.delete(cvm.id, at(11)).await;
    assert_eq!(due(20).await, []);
    assert!(matches!(set(Some(at(30))).await, Err(Error::Stale)));
}

casemate_testing::each_backend!(
    changes_wait_in_order_and_go_in_one,
    a_list_of_operations_is_what_was_asked_for,
    a_configuration_is_written_whole_and_tallied,
    a_prepared_document_lives_until_it_expires,
    a_set_time_of_deletion_comes,
);
