//! Pages of apps.

use casemate_core::{
    cvm::Phase,
    id::{AppId, CvmId, InstanceId, KmsId, NodeId},
};
use casemate_store::{
    Db,
    cvms::{self, AppFilter, Intent, PageStart, Search},
};

use crate::world::{START, TERM, World, app_id, at, at_rest, claim, kms, number, told};

/// Names of the matching apps, newest first, and their number.
async fn found(world: &World, filter: &AppFilter) -> (Vec<String>, i64) {
    let part =
        cvms::apps_page(&world.db, world.workspace, filter, PageStart::Skip(0), 100).await.unwrap();
    (part.items.into_iter().map(|app| app.name).collect(), part.total)
}

async fn search(world: &World, text: &str) -> (Vec<String>, i64) {
    found(world, &AppFilter { search: Search::parse(text), ..AppFilter::default() }).await
}

/// An app with a name that no CVM may have, to test the search; newest last.
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
    let all = AppFilter::default();
    let page = cvms::apps_page(&db, world.workspace, &all, PageStart::Skip(1), 1).await.unwrap();
    assert_eq!((page.items.len(), page.total), (1, 2));
    let web = cvms::app(&db, world.workspace, &shared).await.unwrap().unwrap();
    assert_eq!(page.items[0], web);
    assert_eq!((web.app_id, web.live), (shared, 2));
    assert_eq!(web.cvms[0].id, second.id, "newest first");
    assert_eq!(cvms::app(&db, world.foreign().await.workspace, &shared).await.unwrap(), None);
    for cvm in &web.cvms {
        world.delete(cvm.id, at(9)).await;
    }
    assert_eq!(search(&world, "").await, (vec!["api".to_owned()], 1));
    assert_eq!(cvms::app(&db, world.workspace, &shared).await.unwrap(), None);
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

/// Ids and names of one of its CVMs.
async fn an_app_is_found_by_its_cvms(db: Db) {
    let world = World::new(db.clone()).await;
    let web = app(&world, "web", 1).await;
    app(&world, "other", 2).await;
    let cvm = world.replica(web, "second").await;
    let instance: InstanceId = format!("{:040x}", 0xdef_0000 + number()).parse().unwrap();
    let claimed = claim(&db, "w", START, TERM, 10).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    let claimed = claimed.iter().find(|claimed| claimed.id == cvm.id).unwrap();
    tx.record(claimed, &at_rest(&told(instance), Phase::Running), at(1)).await.unwrap();
    tx.commit().await.unwrap();
    let bare = cvm.uuid.to_string().replace('-', "").to_uppercase();
    for text in [cvm.uuid.to_string(), bare, instance.to_string(), format!("instance_{instance}")] {
        assert_eq!(search(&world, &text).await, (vec!["web".to_owned()], 1), "{text}");
        assert_eq!(search(&world.foreign().await, &text).await, (vec![], 0), "{text}");
    }
    world.delete(cvm.id, at(2)).await;
    for text in [cvm.uuid.to_string(), instance.to_string()] {
        assert_eq!(search(&world, &text).await, (vec![], 0), "{text} of a deleted one");
    }
}

/// Properties of a CVM in the filter tests; the index selects one of two values for each.
#[derive(Debug, Clone, Copy)]
struct Kind {
    phase: usize,
    listed: bool,
    image: usize,
    size: usize,
    node: usize,
}

const PHASES: [Phase; 2] = [Phase::Running, Phase::Stopped];
const IMAGES: [&str; 2] = ["dstack-0.5.4", "dstack-dev-0.5.4"];
const SIZES: [Option<&str>; 2] = [Some("tdx.small"), None];

impl Kind {
    /// Combinations are numbered, with one bit per property.
    fn of(number: usize) -> Self {
        let bit = |at: usize| (number >> at) & 1;
        Self { phase: bit(0), listed: bit(1) == 1, image: bit(2), size: bit(3), node: bit(4) }
    }

    fn fits(self, filter: &AppFilter, nodes: [NodeId; 2]) -> bool {
        filter.phases.as_ref().is_none_or(|some| some.contains(&PHASES[self.phase]))
            && filter.listed.is_none_or(|listed| listed == self.listed)
            && filter.image.as_ref().is_none_or(|image| image == IMAGES[self.image])
            && filter
                .instance_type
                .as_ref()
                .is_none_or(|size| Some(size.as_str()) == SIZES[self.size])
            && filter.nodes.as_ref().is_none_or(|some| some.contains(&nodes[self.node]))
    }
}

/// 16 apps with two CVMs each, one per combination; newest app last.
async fn one_of_every_kind(world: &World, nodes: [NodeId; 2]) -> Vec<(String, [Kind; 2])> {
    let mut apps = Vec::new();
    let mut tx = world.db.begin().await.unwrap();
    for number in 0..16 {
        let name = format!("app-{number}");
        let id = app_id(crate::world::number());
        let kms = if number < 8 { kms() } else { KmsId("kms_other".to_owned()) };
        tx.bind_app_id(&id, world.workspace, None, &name, &kms, at(number)).await.unwrap();
        let number = usize::try_from(number).unwrap();
        let kinds = [Kind::of(number), Kind::of(31 - (number + 5) % 16)];
        for kind in kinds {
            let mut new = world.new_cvm(id, &format!("cvm-{}", crate::world::number()));
            new.spec.listed = kind.listed;
            new.spec.image = IMAGES[kind.image].to_owned();
            new.spec.resources.instance_type = SIZES[kind.size].map(str::to_owned);
            new.node = nodes[kind.node];
            tx.keep_document(&new.spec.compose_hash, "{}", START).await.unwrap();
            let cvm = tx.insert_cvm(new, START).await.unwrap().cvm;
            tx.set_desired(&cvm, &cvm.desired, &cvm.status, PHASES[kind.phase], START)
                .await
                .unwrap();
        }
        apps.push((name, kinds));
    }
    tx.commit().await.unwrap();
    apps
}

/// Every combination of filters against the definition: one live CVM matches all.
async fn filters_mean_one_cvm_that_fits_all(db: Db) {
    let world = World::new(db.clone()).await;
    let nodes = [world.node, world.node("node-2").await.node];
    let apps = one_of_every_kind(&world, nodes).await;
    app(&world.foreign().await, "theirs", 99).await;
    let mut different = std::collections::BTreeSet::new();
    for number in 0..256_usize {
        let on = |at: usize| (number >> at) & 1 == 1;
        let filter = AppFilter {
            search: if on(0) { Search::parse("PP-1") } else { Search::All },
            kms: on(1).then(|| vec![kms(); 1 + usize::from(on(0))]),
            phases: on(2).then(|| vec![Phase::Stopped, Phase::Error]),
            listed: on(3).then_some(on(7)),
            image: on(4).then(|| IMAGES[0].to_owned()),
            instance_type: on(5).then(|| "tdx.small".to_owned()),
            nodes: on(6).then(|| vec![nodes[1], NodeId(99)]),
        };
        let fit = |at: &usize| {
            let (name, kinds) = &apps[*at];
            (!on(0) || name.contains("pp-1"))
                && (!on(1) || *at < 8)
                && kinds.iter().any(|kind| kind.fits(&filter, nodes))
        };
        let expected: Vec<String> =
            (0..16).rev().filter(fit).map(|at| apps[at].0.clone()).collect();
        let total = i64::try_from(expected.len()).unwrap();
        assert_eq!(found(&world, &filter).await, (expected.clone(), total), "{filter:?}");
        different.insert(expected);
    }
    assert!(different.len() > 20, "the filters tell {} lists apart", different.len());
}

/// Filters find a new configuration, and lists omit its long fields.
async fn a_changed_cvm_is_found_as_it_is_now(db: Db) {
    let world = World::new(db.clone()).await;
    app(&world, "web", 1).await;
    let before = AppFilter {
        listed: Some(true),
        image: Some("dstack-0.5.4".to_owned()),
        ..AppFilter::default()
    };
    let after = AppFilter {
        listed: Some(false),
        image: Some("dstack-0.6.0".to_owned()),
        instance_type: Some("tdx.large".to_owned()),
        phases: Some(vec![Phase::Updating]),
        ..AppFilter::default()
    };
    assert_eq!((found(&world, &before).await.1, found(&world, &after).await.1), (1, 0));
    let id = cvms::on_node(&db, world.node, CvmId(0), 500).await.unwrap()[0].id;
    let mut tx = db.begin().await.unwrap();
    let cvm = tx.cvm(id).await.unwrap().unwrap();
    let mut spec = cvm.spec.clone();
    spec.listed = false;
    spec.image = "dstack-0.6.0".to_owned();
    spec.resources.instance_type = Some("tdx.large".to_owned());
    spec.user_config = Some("{}".to_owned());
    let intent = Intent {
        spec: &spec,
        sealed_env: None,
        desired: &cvm.desired,
        status: &cvm.status,
        phase: Phase::Updating,
        due: true,
    };
    tx.set_intent(&cvm, &intent, at(2)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((found(&world, &before).await.1, found(&world, &after).await.1), (0, 1));
    assert_eq!(world.read(id).await.spec, spec);
    assert_eq!(
        cvms::on_node(&db, world.node, CvmId(0), 500).await.unwrap()[0].spec.user_config,
        None
    );
}

async fn words_that_nothing_has_match_nothing(db: Db) {
    let world = World::new(db.clone()).await;
    app(&world, "web", 1).await;
    let all = AppFilter::default;
    for filter in [
        AppFilter { search: Search::Name("\0".to_owned()), ..all() },
        AppFilter { search: Search::Name("%".repeat(60_000)), ..all() },
        AppFilter { kms: Some(vec![KmsId("kms_none".to_owned())]), ..all() },
        AppFilter { kms: Some(Vec::new()), ..all() },
        AppFilter { phases: Some(vec![]), ..all() },
        AppFilter { phases: Some(vec![Phase::Deleted]), ..all() },
        AppFilter { listed: Some(false), ..all() },
        AppFilter { image: Some("dstack-0.5.40".to_owned()), ..all() },
        AppFilter { image: Some("with\0null".to_owned()), ..all() },
        AppFilter { instance_type: Some(String::new()), ..all() },
        AppFilter { nodes: Some(vec![]), ..all() },
        AppFilter { nodes: Some(vec![NodeId(99)]), ..all() },
    ] {
        assert_eq!(found(&world, &filter).await, (vec![], 0), "{filter:?}");
    }
    assert_eq!(found(&world, &all()).await.1, 1);
}

/// For any page size, pages by number and by key contain every app once and in order, even if several were
/// created at the same time.
async fn pages_of_any_size_make_the_whole(db: Db) {
    let world = World::new(db.clone()).await;
    for number in 0..17 {
        app(&world, &format!("app-{number}"), number / 4).await;
    }
    for filter in [
        AppFilter::default(),
        AppFilter { listed: Some(true), ..AppFilter::default() },
        AppFilter {
            search: Search::parse("app-1"),
            kms: Some(vec![kms()]),
            ..AppFilter::default()
        },
    ] {
        let (whole, total) = found(&world, &filter).await;
        assert_eq!(i64::try_from(whole.len()).unwrap(), total);
        for size in 1..=18 {
            let (mut by_number, mut by_key, mut seek) =
                (Vec::new(), Vec::new(), PageStart::Skip(0));
            let names = |apps: Vec<cvms::App>| apps.into_iter().map(|app| app.name);
            for number in 0..=18 / size {
                let seek = PageStart::Skip(number * size);
                let part =
                    cvms::apps_page(&db, world.workspace, &filter, seek, size).await.unwrap();
                by_number.extend(names(part.items));
            }
            loop {
                let part =
                    cvms::apps_page(&db, world.workspace, &filter, seek, size).await.unwrap();
                by_key.extend(names(part.items));
                match part.next {
                    Some(next) => seek = PageStart::After(next),
                    None => break,
                }
            }
            assert_eq!((&by_number, &by_key), (&whole, &whole), "by {size}");
        }
    }
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
    let all = AppFilter::default();
    let apps = cvms::apps_page(&db, world.workspace, &all, PageStart::Skip(0), 10).await.unwrap();
    let lengths: Vec<_> =
        apps.items.iter().map(|app| (app.app_id, app.cvms.len(), app.live)).collect();
    assert_eq!(lengths, [(few, 1, 1), (many, 100, 105)]);
    assert_eq!(cvms::of_apps(&db, world.workspace, &[]).await.unwrap(), []);
}

casemate_testing::each_backend!(
    an_app_is_listed_while_it_has_cvms,
    a_search_means_what_it_says,
    an_app_is_found_by_its_cvms,
    filters_mean_one_cvm_that_fits_all,
    a_changed_cvm_is_found_as_it_is_now,
    words_that_nothing_has_match_nothing,
    pages_of_any_size_make_the_whole,
    one_app_shows_at_most_a_hundred_cvms,
);
