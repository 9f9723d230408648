//! Evidence of guests, and requests for it.

use casemate_core::{
    attestation::GuestEvidence,
    id::{CvmId, WorkspaceId},
};
use casemate_store::{
    Db,
    evidence::{self, Collected, Judged, NewestBoot, Request},
};

use crate::world::{World, at};

fn collected(checksum: &str, cvm: Option<CvmId>, seconds: u64) -> Collected {
    Collected {
        checksum: checksum.to_owned(),
        cvm,
        boot: "first".to_owned(),
        collected_at: at(seconds),
        nonce: None,
        evidence: GuestEvidence { quote: Some("00".to_owned()), ..GuestEvidence::default() },
        verdict: Some(Judged { verdict: "{}".to_owned(), accepted: true, at: at(seconds) }),
    }
}

async fn insert(db: &Db, new: &Collected, keep: i64) {
    let mut tx = db.begin().await.unwrap();
    tx.insert_evidence(new, keep).await.unwrap();
    tx.commit().await.unwrap();
}

async fn the_newest_evidence_of_each_cvm_is_found_and_few_are_kept(db: Db) {
    let world = World::new(db.clone()).await;
    let (one, other) = (world.cvm("alpha").await.id, world.cvm("beta").await.id);
    for (checksum, cvm, seconds) in [("a", one, 1), ("b", one, 2), ("c", one, 3), ("d", other, 1)] {
        insert(&db, &collected(checksum, Some(cvm), seconds), 2).await;
    }
    insert(&db, &collected("u", None, 1), 2).await;
    let newest = async |cvms: &[CvmId]| {
        let mut found: Vec<_> = evidence::newest(&db, cvms).await.unwrap();
        found.sort_by_key(|one| one.cvm.map(|cvm| cvm.0));
        found.into_iter().map(|one| one.checksum).collect::<Vec<_>>()
    };
    assert_eq!(newest(&[one, other, CvmId(99)]).await, ["c", "d"]);
    assert!(evidence::of_checksum(&db, "a").await.unwrap().is_none(), "two are kept");
    let b = evidence::of_checksum(&db, "b").await.unwrap().unwrap();
    assert_eq!(b, collected("b", Some(one), 2));
    // The same evidence again is the newest.
    insert(&db, &Collected { boot: "again".to_owned(), ..collected("b", Some(one), 9) }, 2).await;
    assert_eq!(newest(&[one]).await, ["b"]);
    let boots = evidence::newest_boots(&db, &[one]).await.unwrap();
    let newest_boot = NewestBoot {
        cvm: one,
        boot: "again".to_owned(),
        collected_at: at(9),
        accepted: Some(true),
    };
    assert_eq!(boots, [newest_boot]);
    // An upload of what a CVM showed takes nothing from it.
    insert(&db, &collected("b", None, 10), 2).await;
    assert_eq!(evidence::of_checksum(&db, "b").await.unwrap().unwrap().cvm, Some(one));
    let uploads = evidence::uploads(&db, 0, 9).await.unwrap();
    assert_eq!(uploads.iter().map(|one| &*one.checksum).collect::<Vec<_>>(), ["u"]);
    for (checksum, seconds) in [("v", 2), ("w", 3)] {
        insert(&db, &collected(checksum, None, seconds), 2).await;
    }
    let uploads = evidence::uploads(&db, 1, 9).await.unwrap();
    assert_eq!(uploads.iter().map(|one| &*one.checksum).collect::<Vec<_>>(), ["v"]);

    world.delete(one, at(12)).await;
    let mut tx = db.begin().await.unwrap();
    tx.forget_evidence(at(13)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(newest(&[one, other]).await, ["d"], "that of live CVMs stays");
}

async fn an_app_requires_evidence_while_it_has_cvms(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let app = cvm.spec.app_id;
    assert!(!evidence::is_required(&db, &app).await.unwrap());
    let require = async |workspace, required| {
        let mut tx = db.begin().await.unwrap();
        let done = tx.require_evidence(workspace, &app, required).await.unwrap();
        tx.commit().await.unwrap();
        done
    };
    assert!(!require(WorkspaceId(99), true).await, "somebody else's app");
    assert!(require(cvm.workspace, true).await);
    assert!(evidence::is_required(&db, &app).await.unwrap());
    assert!(require(cvm.workspace, false).await);
    assert!(!evidence::is_required(&db, &app).await.unwrap());
    world.delete(cvm.id, at(1)).await;
    assert!(!require(cvm.workspace, true).await);
}

async fn a_request_is_answered_once(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await.id;
    let request = |id: &str, seconds: u64| Request {
        id: id.to_owned(),
        cvm_id: cvm.0,
        node_id: world.node.0,
        nonce: Some("ab".repeat(64)),
        requested_at: at(seconds).micros(),
        answered_at: None,
        checksum: None,
        message: None,
    };
    let mut tx = db.begin().await.unwrap();
    for (id, seconds) in [("2", 2), ("1", 1)] {
        tx.request_evidence(&request(id, seconds)).await.unwrap();
    }
    assert_eq!(tx.open_evidence_requests(cvm).await.unwrap(), 2);
    tx.commit().await.unwrap();
    let nodes = [world.node];
    let open = evidence::open_requests(&db, &nodes, 9).await.unwrap();
    assert_eq!(open, [request("1", 1), request("2", 2)]);
    assert_eq!(evidence::open_requests(&db, &nodes, 1).await.unwrap().len(), 1);
    // Requests about nodes that do not answer keep nobody else's waiting.
    let other = world.node("node-2").await.node;
    assert_eq!(evidence::open_requests(&db, &[other], 9).await.unwrap(), []);
    assert_eq!(evidence::open_requests(&db, &[], 9).await.unwrap(), []);

    let mut tx = db.begin().await.unwrap();
    assert!(tx.answer_evidence_request("1", Ok("sum"), at(3)).await.unwrap());
    assert!(!tx.answer_evidence_request("1", Err("late"), at(4)).await.unwrap());
    assert!(tx.answer_evidence_request("2", Err("gone"), at(4)).await.unwrap());
    tx.commit().await.unwrap();
    let first = evidence::request(&db, "1").await.unwrap().unwrap();
    assert_eq!((first.checksum.as_deref(), first.message), (Some("sum"), None));
    let second = evidence::request(&db, "2").await.unwrap().unwrap();
    assert_eq!((second.checksum, second.message.as_deref()), (None, Some("gone")));
    let mut tx = db.begin().await.unwrap();
    tx.forget_evidence(at(2)).await.unwrap();
    tx.commit().await.unwrap();
    assert!(evidence::request(&db, "1").await.unwrap().is_none());
    assert!(evidence::request(&db, "2").await.unwrap().is_some());
}

casemate_testing::each_backend!(
    the_newest_evidence_of_each_cvm_is_found_and_few_are_kept,
    an_app_requires_evidence_while_it_has_cvms,
    a_request_is_answered_once,
);
