//! The readiness check that a workspace declares for an app.

use casemate_core::{id::WorkspaceId, ready::Check};
use casemate_store::{Db, readiness};

use crate::world::{World, app_id};

async fn a_check_is_kept_with_its_app(db: Db) {
    let world = World::new(db.clone()).await;
    let app = world.cvm("alpha").await.spec.app_id;
    let other = world.cvm("bravo").await.spec.app_id;
    let declare = async |workspace, app, check: Option<&Check>| {
        let mut tx = db.begin().await.unwrap();
        let found = tx.declare_readiness(workspace, app, check).await.unwrap();
        tx.commit().await.unwrap();
        found
    };
    assert_eq!(readiness::of_app(&db, &app).await.unwrap(), None);
    let check = Check { interval_s: 9, ..Check::http(8080, "/healthz") };
    assert!(declare(world.workspace, &app, Some(&check)).await);
    assert_eq!(readiness::of_app(&db, &app).await.unwrap(), Some(check.clone()));
    assert_eq!(readiness::of_app(&db, &other).await.unwrap(), None);

    let stranger = WorkspaceId(world.workspace.0 + 1);
    assert!(!declare(stranger, &app, None).await, "of another workspace");
    let nobody = app_id(987_654);
    assert!(!declare(world.workspace, &nobody, Some(&check)).await, "no such app");
    assert_eq!(readiness::of_app(&db, &app).await.unwrap(), Some(check));
    assert!(declare(world.workspace, &app, None).await);
    assert_eq!(readiness::of_app(&db, &app).await.unwrap(), None);
}

casemate_testing::each_backend!(a_check_is_kept_with_its_app);
