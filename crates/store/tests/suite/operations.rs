//! Operations.

use casemate_core::{
    cvm::FailureCode,
    operation::{OperationKind, OperationState},
};
use casemate_store::{
    Db, Error,
    operations::{self, Ending, OperationFilter},
};

use crate::world::{START, World, at, operation_id};

async fn one_operation_runs_per_cvm(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let first = world.open_operation(cvm.id).await;
    let mut tx = db.begin().await.unwrap();
    let second =
        tx.open_operation(operation_id(), cvm.id, OperationKind::Stop, 1, world.user, START).await;
    assert!(matches!(second, Err(Error::Conflict(_))), "{second:?}");
    drop(tx);
    assert_eq!(world.read(cvm.id).await.operation.unwrap().id, first);
    let mut tx = db.begin().await.unwrap();
    assert!(!tx.close_operation(first, &Ending::Superseded, at(1)).await.unwrap().is_empty());
    tx.open_operation(operation_id(), cvm.id, OperationKind::Stop, 1, world.user, at(1))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let all = operations::of_cvm(&db, cvm.id, &OperationFilter::default(), 10).await.unwrap();
    let states: Vec<_> = all.iter().map(|operation| operation.state).collect();
    assert_eq!(states, [OperationState::Running, OperationState::Superseded]);
    assert_eq!(
        operations::of_cvm(&db, cvm.id, &OperationFilter::default(), 1).await.unwrap().len(),
        1
    );
    assert_eq!(operations::of_cvm(&db, cvm.id, &OperationFilter::default(), -1).await.unwrap(), []);
}

async fn an_operation_closes_exactly_once(db: Db) {
    let world = World::crowded(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let operation = world.open_operation(cvm.id).await;
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let db = db.clone();
            tokio::spawn(async move {
                let ending = Ending::Failed(FailureCode::Refused, format!("by {number}"));
                let mut tx = db.begin().await.unwrap();
                let closed = tx.close_operation(operation, &ending, at(number)).await.unwrap();
                tx.commit().await.unwrap();
                (!closed.is_empty()).then_some(number)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        winners.extend(task.await.unwrap());
    }
    let [winner] = winners[..] else { panic!("closed by {winners:?}") };
    let read = operations::get(&db, operation).await.unwrap().unwrap();
    assert_eq!(read.failure, Some(("refused".to_owned(), format!("by {winner}"))));
    assert_eq!(read.ended_at, Some(at(winner)));
    assert_eq!(operations::get(&db, operation_id()).await.unwrap(), None);
}

async fn a_cause_may_hold_any_character(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let operation = world.open_operation(cvm.id).await;
    let ending = Ending::Failed(FailureCode::BootFailed, "exit\0code 'ü' \"%s\"".to_owned());
    let mut tx = db.begin().await.unwrap();
    tx.close_operation(operation, &ending, at(1)).await.unwrap();
    tx.commit().await.unwrap();
    let (_, cause) = operations::get(&db, operation).await.unwrap().unwrap().failure.unwrap();
    assert_eq!(cause, "exit code 'ü' \"%s\"");
}

casemate_testing::each_backend!(
    one_operation_runs_per_cvm,
    an_operation_closes_exactly_once,
    a_cause_may_hold_any_character,
);
