//! Look-ups and pages of CVMs.

use std::collections::{BTreeSet, HashSet};

use casemate_core::{
    cvm::{Phase, Power},
    id::{CvmId, CvmName, InstanceId},
};
use casemate_store::{
    Db, Error,
    cvms::{self, AppFilter, Cvm, Filter, PageStart},
};

use crate::world::{ALL, START, TERM, World, app_id, at, at_rest, claim, number, told, vm_uuid};

fn ids(cvms: &[Cvm]) -> Vec<CvmId> {
    cvms.iter().map(|cvm| cvm.id).collect()
}

async fn page(world: &World, filter: Filter, limit: i64, offset: i64) -> (Vec<CvmId>, i64) {
    let seek = PageStart::Skip(offset);
    let part = cvms::page(&world.db, world.workspace, filter, seek, limit).await.unwrap();
    (ids(&part.items), part.total)
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
    let second = tx.insert_cvm(world.new_cvm(app, "alpha"), START).await;
    assert!(matches!(second, Err(Error::Conflict(_))), "{second:?}");
    drop(tx);
    world.foreign().await.cvm("alpha").await;
    world.set_desired_power(first.id, Power::Deleted, at(1)).await;
    let second = world.cvm("alpha").await;
    let named = cvms::resolve(&db, world.workspace, &CvmName::parse("alpha")).await.unwrap();
    assert_eq!(ids(&named), [second.id, first.id]);
    world.delete(first.id, at(2)).await;
    let named = cvms::resolve(&db, world.workspace, &CvmName::parse("alpha")).await.unwrap();
    assert_eq!(ids(&named), [second.id]);
}

/// Every form of name that a client may use, also in another workspace.
async fn a_cvm_is_found_by_every_name_and_only_at_home(db: Db) {
    let world = World::new(db.clone()).await;
    let foreign = world.foreign().await;
    let app = app_id(0xabc_0000 + number());
    let cvm = world.replica(app, "alpha").await;
    let replica = world.replica(app, "bravo").await;
    let instance: InstanceId = format!("{:040x}", 0xdef_0000 + number()).parse().unwrap();
    let claimed = claim(&db, "w", START, TERM, 10).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    let told = told(instance);
    tx.record(&claimed[0], &at_rest(&told, Phase::Running), at(1)).await.unwrap();
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
    let on_node = cvms::on_node(&db, other_node.node, CvmId(0), 500).await.unwrap();
    assert_eq!(ids(&on_node), [b, d]);
    assert_eq!(page(&world.foreign().await, ALL, 10, 0).await, (vec![], 0));
}

/// For any page size, pages by number and by key contain every CVM once and in order, with and without a
/// filter, and a deleted CVM is still a valid cursor.
async fn pages_of_any_size_make_the_whole(db: Db) {
    let world = World::new(db.clone()).await;
    let other = World { user: world.user("bob").await.user, ..world.node("node-2").await };
    let mut all = Vec::new();
    for number in 0..23 {
        let place = if number % 3 == 0 { &other } else { &world };
        all.push(place.cvm(&format!("cvm-{number}")).await.id);
    }
    let gone = all.remove(11);
    world.delete(gone, at(1)).await;
    all.reverse();
    let (node, user) = (Some(other.node), Some(other.user));
    let theirs: Vec<CvmId> = all.iter().copied().filter(|id| (id.0 - all[21].0) % 3 == 0).collect();
    for (filter, whole) in [
        (ALL, &all),
        (Filter { node, user: None }, &theirs),
        (Filter { node: None, user }, &theirs),
        (Filter { node, user }, &theirs),
    ] {
        for size in 1..=24 {
            let (mut by_number, mut by_key, mut seek) =
                (Vec::new(), Vec::new(), PageStart::Skip(0));
            for number in 0..=24 / size {
                by_number.extend(page(&world, filter, size, number * size).await.0);
            }
            loop {
                let part = cvms::page(&db, world.workspace, filter, seek, size).await.unwrap();
                assert_eq!(part.total, i64::try_from(whole.len()).unwrap());
                by_key.extend(ids(&part.items));
                match part.next {
                    Some(next) => seek = PageStart::After(next),
                    None => break,
                }
            }
            assert_eq!((&by_number, &by_key), (whole, whole), "{filter:?} by {size}");
        }
    }
    let part = cvms::page(&db, world.workspace, ALL, PageStart::After(gone), 2).await.unwrap();
    assert_eq!(ids(&part.items), all[11..13]);
    let part = cvms::page(&db, world.workspace, ALL, PageStart::After(CvmId(0)), 2).await.unwrap();
    assert_eq!((part.items.len(), part.next), (0, None));
    let foreign = world.foreign().await;
    let part = cvms::page(&db, foreign.workspace, ALL, PageStart::After(all[0]), 2).await.unwrap();
    assert_eq!((part.items.len(), part.total), (0, 0));
}

/// Lists do not read long columns that they do not show; a claim reads them.
async fn lists_leave_out_what_they_do_not_show(db: Db) {
    let world = World::new(db.clone()).await;
    let mut tx = db.begin().await.unwrap();
    let mut new = world.new_cvm(app_id(number()), "alpha");
    new.spec.user_config = Some("x".repeat(1 << 20));
    tx.keep_document(&new.spec.compose_hash, "{}", START).await.unwrap();
    tx.bind_app_id(&new.spec.app_id, world.workspace, None, "alpha", &new.kms, START)
        .await
        .unwrap();
    let id = tx.insert_cvm(new.clone(), START).await.unwrap().cvm.id;
    assert_eq!(tx.cvm(id).await.unwrap().unwrap().spec, new.spec);
    tx.commit().await.unwrap();
    let part = cvms::page(&db, world.workspace, ALL, PageStart::Skip(0), 1).await.unwrap();
    let app = cvms::app(&db, world.workspace, &new.spec.app_id).await.unwrap().unwrap();
    let by_uuid = cvms::by_uuids(&db, world.workspace, &[new.uuid]).await.unwrap();
    let on_node = cvms::on_node(&db, world.node, CvmId(0), 5000).await.unwrap();
    for listed in [&part.items[0], &app.cvms[0], &by_uuid[0], &on_node[0]] {
        assert_eq!((&listed.spec.user_config, &listed.sealed_env), (&None, &None));
        assert_eq!(listed.spec.facts, new.spec.facts);
    }
    let claimed = claim(&db, "w", START, TERM, 1).await.unwrap();
    assert_eq!((&claimed[0].spec, &claimed[0].sealed_env), (&new.spec, &new.sealed_env));
}

/// Reads pages, each after the last CVM of the one before.
async fn every_cvm_of_a_node_is_read(db: Db) {
    let world = World::new(db.clone()).await;
    let other = world.node("node-2").await;
    let mut tx = db.begin().await.unwrap();
    let mut expected = Vec::new();
    for number in 0..1_001 {
        let place = if number == 700 { &other } else { &world };
        let id = place.insert(&mut tx, app_id(77), &format!("cvm-{number}")).await;
        if number != 700 {
            expected.push(id.cvm.id);
        }
    }
    tx.commit().await.unwrap();
    let (mut read, mut after) = (Vec::new(), CvmId(0));
    loop {
        let page = ids(&cvms::on_node(&db, world.node, after, 300).await.unwrap());
        let Some(last) = page.last() else { break };
        after = *last;
        read.extend(page);
    }
    assert_eq!(read, expected);
    assert_eq!(cvms::on_node(&db, other.node, CvmId(0), 5000).await.unwrap().len(), 1);
}

/// New CVMs shift the pages: CVMs may appear twice, but none is missed.
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

/// Stored lengths equal the actual lengths.
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
    let apps =
        cvms::apps_page(&db, world.workspace, &AppFilter::default(), PageStart::Skip(0), 100)
            .await
            .unwrap();
    assert_eq!((apps.items.len(), apps.total, apps.next), (7, 7, None));
    for app in &apps.items {
        assert_eq!(usize::try_from(app.live).unwrap(), app.cvms.len());
    }
    let taken = casemate_store::nodes::usage(&db).await.unwrap();
    assert_eq!((taken[0].slots, taken[0].vcpu), (24, 48));
}

casemate_testing::each_backend!(
    a_name_is_unique_among_those_not_deleted,
    a_cvm_is_found_by_every_name_and_only_at_home,
    uuids_of_others_and_of_nobody_are_left_out,
    a_page_is_filtered_and_counted,
    pages_of_any_size_make_the_whole,
    lists_leave_out_what_they_do_not_show,
    every_cvm_of_a_node_is_read,
    paging_misses_nothing_while_cvms_are_added,
    totals_stay_true_under_concurrent_changes,
);
