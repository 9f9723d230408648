//! Pages of apps.

use casemate_core::id::AppId;
use casemate_store::{Db, cvms};

use crate::world::{START, World, app_id, at, kms, number};

async fn search(world: &World, text: &str) -> (Vec<String>, i64) {
    let (apps, total) = cvms::apps_page(&world.db, world.workspace, text, 100, 0).await.unwrap();
    (apps.into_iter().map(|app| app.name).collect(), total)
}

/// An app with a name that no CVM may have, to try the search with; newest last.
async fn app(world: &World, name: &str, seconds: u64) -> AppId {
    let app = app_id(number());
    let mut tx = world.db.begin().await.unwrap();
    tx.bind_app_id(&app, world.workspace, None, name, &kms(), at(seconds)).await.unwrap();
    world.insert(&mut tx, app, &format!("cvm-{}", number())).await;
    tx.commit().await.unwrap();
    app
}

async fn an_app_is_listed_while_it_has_cvms(db: Db) {
    let world = World::new(db.clone()).await;
    let shared = app(&world, "web", 1).await;
    let second = world.replica(shared, "second").await;
    app(&world, "api", 2).await;
    app(&world.foreign().await, "theirs", 3).await;
    let mut tx = db.begin().await.unwrap();
    tx.bind_app_id(&app_id(number()), world.workspace, None, "unused", &kms(), START)
        .await
        .unwrap();
    assert_eq!(tx.cvms_of_app(&shared).await.unwrap().len(), 2);
    tx.commit().await.unwrap();
    assert_eq!(search(&world, "").await, (vec!["api".to_owned(), "web".to_owned()], 2));
    let (page, total) = cvms::apps_page(&db, world.workspace, "", 1, 1).await.unwrap();
    assert_eq!((page.len(), total), (1, 2));
    assert_eq!((page[0].app_id, page[0].live), (shared, 2));
    assert_eq!(page[0].cvms[0].id, second.id, "newest first");
    for cvm in &page[0].cvms {
        world.delete(cvm.id, at(9)).await;
    }
    assert_eq!(search(&world, "").await, (vec!["api".to_owned()], 1));
    world.replica(shared, "third").await;
    assert_eq!(search(&world, "").await.1, 2);
}

async fn a_search_means_what_it_says(db: Db) {
    let world = World::new(db.clone()).await;
    let first = app(&world, "Alpha-One", 4).await;
    app(&world, "beta_50%", 3).await;
    app(&world, "betaX501", 2).await;
    app(&world, "wow!", 1).await;
    let cases: [(&str, &[&str]); 12] = [
        ("alpha", &["Alpha-One"]),
        ("ALPHA-o", &["Alpha-One"]),
        ("beta", &["beta_50%", "betaX501"]),
        ("beta_", &["beta_50%"]),
        ("50%", &["beta_50%"]),
        ("%", &["beta_50%"]),
        ("!", &["wow!"]),
        ("\\", &[]),
        ("'", &[]),
        ("\0", &[]),
        ("ü", &[]),
        ("0000000000000000000000000000000000000000", &[]),
    ];
    for (text, expected) in cases {
        let (found, total) = search(&world, text).await;
        assert_eq!(found, expected, "{text}");
        assert_eq!(usize::try_from(total).unwrap(), expected.len(), "{text}");
    }
    for text in [first.to_string(), format!("app_{first}"), format!("0x{first}")] {
        assert_eq!(search(&world, &text).await, (vec!["Alpha-One".to_owned()], 1), "{text}");
    }
    assert_eq!(search(&world.foreign().await, &first.to_string()).await, (vec![], 0));
}

async fn one_app_shows_at_most_a_hundred_cvms(db: Db) {
    let world = World::new(db.clone()).await;
    let many = app(&world, "many", 1).await;
    let few = app(&world, "few", 2).await;
    let mut tx = db.begin().await.unwrap();
    for number in 0..104 {
        world.insert(&mut tx, many, &format!("many-{number}")).await;
    }
    tx.commit().await.unwrap();
    let (apps, _) = cvms::apps_page(&db, world.workspace, "", 10, 0).await.unwrap();
    let lengths: Vec<_> = apps.iter().map(|app| (app.app_id, app.cvms.len(), app.live)).collect();
    assert_eq!(lengths, [(few, 1, 1), (many, 100, 105)]);
    assert_eq!(cvms::of_apps(&db, world.workspace, &[]).await.unwrap(), []);
}

casemate_store::each_backend!(
    an_app_is_listed_while_it_has_cvms,
    a_search_means_what_it_says,
    one_app_shows_at_most_a_hundred_cvms,
);
