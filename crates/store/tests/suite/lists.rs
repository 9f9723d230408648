//! Look-ups and pages of CVMs.

use std::collections::{BTreeSet, HashSet};

use casemate_core::{
    cvm::{Phase, Power},
    id::{CvmId, CvmName, InstanceId},
};
use casemate_store::{
    Db, Error,
    cvms::{self, Cvm, Filter},
    lease::{self, Record},
};

use crate::world::{ALL, START, TERM, World, app_id, at, at_rest, number, vm_uuid};

fn ids(cvms: &[Cvm]) -> Vec<CvmId> {
    cvms.iter().map(|cvm| cvm.id).collect()
}

async fn page(world: &World, filter: Filter, limit: i64, offset: i64) -> (Vec<CvmId>, i64) {
    let (found, total) =
        cvms::page(&world.db, world.workspace, filter, limit, offset).await.unwrap();
    (ids(&found), total)
}

async fn a_name_is_unique_among_those_not_deleted(db: Db) {
    let world = World::new(db.clone()).await;
    let first = world.cvm("alpha").await;
    let mut tx = db.begin().await.unwrap();
    assert_eq!(tx.cvm_of_name(world.workspace, "alpha").await.unwrap(), Some(first.id));
    assert_eq!(tx.cvm_of_name(world.workspace, "Alpha").await.unwrap(), None);
    let app = app_id(number());
    tx.bind_app_id(&app, world.workspace, None, "alpha", &crate::world::kms(), START)
        .await
        .unwrap();
    let second = tx.insert_cvm(&world.new_cvm(app, "alpha"), START).await;
    assert!(matches!(second, Err(Error::Conflict(_))), "{second:?}");
    drop(tx);
    world.foreign().await.cvm("alpha").await;
    world.wish(first.id, Power::Deleted, at(1)).await;
    let second = world.cvm("alpha").await;
    let named = cvms::resolve(&db, world.workspace, &CvmName::parse("alpha")).await.unwrap();
    assert_eq!(ids(&named), [second.id, first.id]);
    world.delete(first.id, at(2)).await;
    let named = cvms::resolve(&db, world.workspace, &CvmName::parse("alpha")).await.unwrap();
    assert_eq!(ids(&named), [second.id]);
}

/// Every form a client may use, and every form in a foreign workspace.
async fn a_cvm_is_found_by_every_name_and_only_at_home(db: Db) {
    let world = World::new(db.clone()).await;
    let foreign = world.foreign().await;
    let app = app_id(0xabc_0000 + number());
    let cvm = world.replica(app, "alpha").await;
    let replica = world.replica(app, "bravo").await;
    let instance: InstanceId = format!("{:040x}", 0xdef_0000 + number()).parse().unwrap();
    let claimed = lease::claim(&db, "w", START, TERM, 10).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    let record =
        Record { instance_id: Some(instance), ..at_rest(&claimed[0].status, Phase::Running) };
    tx.record(&claimed[0], &record, at(1)).await.unwrap();
    tx.commit().await.unwrap();
    let both = [replica.id, cvm.id];
    let forms = [
        (cvm.id.to_string(), &both[1..]),
        (cvm.reference.to_string(), &both[1..]),
        (cvm.uuid.to_string(), &both[1..]),
        (cvm.uuid.to_string().replace('-', "").to_uppercase(), &both[1..]),
        ("alpha".to_owned(), &both[1..]),
        (app.to_string(), &both[..]),
        (format!("0x{app}").to_uppercase().replace("0X", "0x"), &both[..]),
        (format!("app_{app}"), &both[..]),
        (format!("instance_{instance}"), &both[1..]),
        (format!("app_{instance}"), &both[1..]),
        ("no-such-name".to_owned(), &[]),
        ("with\0null".to_owned(), &[]),
        ("%".to_owned(), &[]),
        (number().to_string() + "000000", &[]),
    ];
    for (text, expected) in forms {
        let name = CvmName::parse(&text);
        let found = cvms::resolve(&db, world.workspace, &name).await.unwrap();
        assert_eq!(ids(&found), expected, "{text}");
        let found = cvms::resolve(&db, foreign.workspace, &name).await.unwrap();
        assert_eq!(ids(&found), [], "{text} from outside");
    }
    assert!(cvms::by_id(&db, foreign.workspace, cvm.id).await.unwrap().is_none());
    let found = cvms::by_id(&db, world.workspace, cvm.id).await.unwrap().unwrap();
    assert_eq!((found.instance_id, found.sealed_env.as_deref()), (Some(instance), Some("00ff")));
    let routed = cvms::for_gateway(&db, instance.as_bytes()).await.unwrap();
    assert_eq!(ids(&routed), [cvm.id]);
    let routed = cvms::for_gateway(&db, app.as_bytes()).await.unwrap();
    assert_eq!(ids(&routed), both);
}

async fn uuids_of_others_and_of_nobody_are_left_out(db: Db) {
    let world = World::new(db.clone()).await;
    let (one, two) = (world.cvm("alpha").await, world.cvm("bravo").await);
    let theirs = world.foreign().await.cvm("alpha").await;
    let gone = world.cvm("delta").await;
    world.delete(gone.id, at(1)).await;
    let asked = [two.uuid, theirs.uuid, vm_uuid(u64::MAX), one.uuid, one.uuid, gone.uuid];
    let found = cvms::by_uuids(&db, world.workspace, &asked).await.unwrap();
    assert_eq!(ids(&found).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([one.id, two.id]));
    assert_eq!(cvms::by_uuids(&db, world.workspace, &[]).await.unwrap(), []);
}

async fn a_page_is_filtered_and_counted(db: Db) {
    let world = World::new(db.clone()).await;
    let other_node = world.node("node-2").await;
    let other_user = world.user("bob").await;
    let both = World { user: other_user.user, ..other_node.clone() };
    world.foreign().await.cvm("theirs").await;
    let a = world.cvm("alpha").await.id;
    let b = other_node.cvm("bravo").await.id;
    let c = other_user.cvm("charlie").await.id;
    let d = both.cvm("delta").await.id;
    let gone = both.cvm("gone-one").await.id;
    world.delete(gone, at(1)).await;
    let node = Some(other_node.node);
    let user = Some(other_user.user);
    assert_eq!(page(&world, ALL, 10, 0).await, (vec![d, c, b, a], 4));
    assert_eq!(page(&world, ALL, 2, 1).await, (vec![c, b], 4));
    assert_eq!(page(&world, ALL, 2, 4).await, (vec![], 4));
    assert_eq!(page(&world, ALL, -1, -1).await, (vec![], 4));
    assert_eq!(page(&world, Filter { node, user: None }, 10, 0).await, (vec![d, b], 2));
    assert_eq!(page(&world, Filter { node: None, user }, 10, 0).await, (vec![d, c], 2));
    assert_eq!(page(&world, Filter { node, user }, 10, 0).await, (vec![d], 1));
    assert_eq!(page(&world, Filter { node, user }, 10, 1).await, (vec![], 1));
    let on_node = cvms::on_node(&db, other_node.node).await.unwrap();
    assert_eq!(ids(&on_node), [b, d]);
    assert_eq!(page(&world.foreign().await, ALL, 10, 0).await, (vec![], 0));
}

/// New ones push the pages down: what was there at the beginning may be seen twice, never missed.
async fn paging_misses_nothing_while_cvms_are_added(db: Db) {
    let world = World::crowded(db.clone()).await;
    let mut before = HashSet::new();
    for number in 0..40 {
        before.insert(world.cvm(&format!("old-{number}")).await.id);
    }
    let writer = {
        let world = world.clone();
        tokio::spawn(async move {
            for number in 0..40 {
                world.cvm(&format!("new-{number}")).await;
            }
        })
    };
    let (mut seen, mut offset) = (HashSet::new(), 0);
    loop {
        let (found, total) = page(&world, ALL, 7, offset).await;
        assert!(total >= 40);
        assert!(found.is_sorted_by(|a, b| a > b), "newest first");
        if found.is_empty() {
            break;
        }
        seen.extend(found);
        offset += 7;
    }
    assert!(seen.is_superset(&before));
    writer.await.unwrap();
    assert_eq!(page(&world, ALL, 1, 0).await.1, 80);
}

/// The lengths are kept beside the lists; they must be the lengths of the lists.
async fn totals_stay_true_under_concurrent_changes(db: Db) {
    let world = World::crowded(db.clone()).await;
    let shared = app_id(number());
    let tasks: Vec<_> = (0..6)
        .map(|task| {
            let world = world.clone();
            tokio::spawn(async move {
                for round in 0..6 {
                    let name = format!("cvm-{task}-{round}");
                    let app = if round % 2 == 0 { shared } else { app_id(9_000 + task) };
                    let cvm = world.replica(app, &name).await;
                    if round % 3 == 0 {
                        world.delete(cvm.id, at(1)).await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let (found, total) = page(&world, ALL, 100, 0).await;
    assert_eq!((found.len(), total), (24, 24));
    let (apps, apps_total) = cvms::apps_page(&db, world.workspace, "", 100, 0).await.unwrap();
    assert_eq!((apps.len(), apps_total), (7, 7));
    for app in &apps {
        assert_eq!(usize::try_from(app.live).unwrap(), app.cvms.len());
    }
    let taken = casemate_store::nodes::taken(&db).await.unwrap();
    assert_eq!((taken[0].slots, taken[0].vcpu), (24, 48));
}

casemate_store::each_backend!(
    a_name_is_unique_among_those_not_deleted,
    a_cvm_is_found_by_every_name_and_only_at_home,
    uuids_of_others_and_of_nobody_are_left_out,
    a_page_is_filtered_and_counted,
    paging_misses_nothing_while_cvms_are_added,
    totals_stay_true_under_concurrent_changes,
);
