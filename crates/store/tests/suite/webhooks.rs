//! Webhooks: deliveries with their events, their order, claims, and what follows an attempt.

use std::time::Duration;

use casemate_core::{
    cvm::FailureCode,
    event::{End, Event},
    id::CvmId,
    operation::OperationKind,
    time::Timestamp,
    webhook::{MAX_PENDING, RETRIES},
};
use casemate_store::{
    Db, Error, Tx,
    events::{self, NewEvent},
    webhooks::{
        self, Attempt, Claimant, Claimed, Delivery, DeliveryStatus, DueDelivery, NewWebhook,
        Outcome, WebhookChange,
    },
};

use crate::world::{START, World, at};

const TERM: Duration = Duration::from_mins(1);
const CLAIMANT: Claimant<'_> = Claimant { owner: "here", term: TERM };

async fn insert(world: &World, id: &str, types: &[&str]) {
    let events: Vec<String> = types.iter().map(|&word| word.to_owned()).collect();
    let new = NewWebhook {
        id,
        workspace: world.workspace,
        url: "https://example.org/",
        name: None,
        events: &events,
        secret: "00",
    };
    let mut tx = world.db.begin().await.unwrap();
    assert!(tx.insert_webhook(&new, 20, START).await.unwrap());
    tx.commit().await.unwrap();
}

fn ended(world: &World, cvm: CvmId, kind: OperationKind) -> NewEvent<'static> {
    let event = Event::Ended { kind, how: End::Succeeded, code: None, cause: None };
    NewEvent {
        workspace: world.workspace,
        cvm: Some(cvm),
        operation: None,
        kind: event.kind(),
        body: event.body(),
    }
}

async fn append(world: &World, events: &[NewEvent<'_>], now: Timestamp) {
    let mut tx = world.db.begin().await.unwrap();
    tx.append_events(events, now).await.unwrap();
    tx.commit().await.unwrap();
}

async fn all(db: &Db, id: &str) -> Vec<Delivery> {
    webhooks::deliveries(db, id, 100, 0).await.unwrap()
}

async fn claim(db: &Db, now: Timestamp) -> Vec<Claimed> {
    webhooks::claim(db, CLAIMANT, now, 10).await.unwrap()
}

async fn due(db: &Db, id: &str, now: Timestamp) -> Vec<DueDelivery> {
    webhooks::due(db, id, now, 100).await.unwrap()
}

/// Records an attempt in a transaction of its own.
async fn record(
    db: &Db,
    (webhook, delivery): (&Claimed, &DueDelivery),
    outcome: Outcome,
    now: Timestamp,
) -> bool {
    let attempt = Attempt {
        outcome,
        url: webhook.url.clone(),
        response_status: 200,
        duration: Duration::from_millis(7),
    };
    let mut tx = db.begin().await.unwrap();
    let counted = tx.record_attempt(webhook, delivery, &attempt, now).await.unwrap();
    tx.commit().await.unwrap();
    counted
}

fn failure() -> Outcome {
    Outcome::Failure("HTTP 500".to_owned())
}

async fn release(db: &Db, webhook: &Claimed) -> bool {
    let mut tx = db.begin().await.unwrap();
    let released = tx.release_webhook(&webhook.id, "here").await.unwrap();
    tx.commit().await.unwrap();
    released
}

async fn a_delivery_is_written_with_its_event_or_not_at_all(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await.id;
    insert(&world, "wh_1", &["cvm.created", "cvm.deleted"]).await;
    insert(&world, "wh_2", &["cvm.deleted"]).await;
    let foreign = world.foreign().await;
    insert(&foreign, "wh_3", &["cvm.created"]).await;
    let mut tx = db.begin().await.unwrap();
    tx.append_events(&[ended(&world, cvm, OperationKind::Create)], START).await.unwrap();
    drop(tx);
    assert_eq!(all(&db, "wh_1").await, [], "the event was rolled back");
    assert_eq!(webhooks::next_due(&db).await.unwrap(), None);
    let events = [
        ended(&world, cvm, OperationKind::Create),
        NewEvent { kind: "cvm.phase", ..ended(&world, cvm, OperationKind::Create) },
    ];
    append(&world, &events, at(1)).await;
    let first = all(&db, "wh_1").await;
    assert_eq!(first.len(), 1);
    assert_eq!(
        (first[0].event.as_str(), first[0].status),
        ("cvm.created", DeliveryStatus::Pending)
    );
    let written = events::of_cvm(&db, cvm, casemate_core::id::EventSeq(0), 9).await.unwrap();
    assert_eq!(first[0].seq.0, written[0].seq, "the number of its event");
    assert_eq!((all(&db, "wh_2").await, all(&db, "wh_3").await), (Vec::new(), Vec::new()));
    let sent = due(&db, "wh_1", at(1)).await;
    assert_eq!(sent[0].cvm_name.as_deref(), Some("alpha"));
    assert_eq!(sent[0].phase.as_deref(), Some("starting"));
    // A disabled one gets nothing.
    let mut tx = db.begin().await.unwrap();
    let webhook = tx.lock_webhook(world.workspace, "wh_2").await.unwrap().unwrap();
    let change = WebhookChange { enabled: Some(false), ..WebhookChange::default() };
    tx.change_webhook(&webhook.id, &change, at(2)).await.unwrap();
    tx.commit().await.unwrap();
    append(&world, &[ended(&world, cvm, OperationKind::Delete)], at(2)).await;
    assert_eq!((all(&db, "wh_1").await.len(), all(&db, "wh_2").await.len()), (2, 0));
    assert_eq!(webhooks::get(&db, foreign.workspace, "wh_1").await.unwrap(), None);
}

async fn deliveries_about_a_cvm_are_sent_one_after_the_other(db: Db) {
    let world = World::new(db.clone()).await;
    let (one, other) = (world.cvm("alpha").await.id, world.cvm("beta").await.id);
    insert(&world, "wh_1", &["cvm.created", "cvm.restarted"]).await;
    append(
        &world,
        &[
            ended(&world, one, OperationKind::Create),
            ended(&world, one, OperationKind::Restart),
            ended(&world, other, OperationKind::Create),
        ],
        START,
    )
    .await;
    let webhook = claim(&db, START).await.remove(0);
    assert_eq!(webhook.workspace_slug, "first");
    assert!(claim(&db, START).await.is_empty(), "it is claimed");
    let first = due(&db, "wh_1", START).await;
    let about: Vec<_> = first.iter().map(|one| (one.cvm_id, one.event.as_str())).collect();
    assert_eq!(about, [(one.0, "cvm.created"), (other.0, "cvm.created")]);
    // One that fails holds back the next one about its CVM, and nothing else.
    assert!(record(&db, (&webhook, &first[0]), failure(), at(1)).await);
    assert!(record(&db, (&webhook, &first[1]), Outcome::Success, at(1)).await);
    assert!(due(&db, "wh_1", at(60)).await.is_empty());
    assert!(release(&db, &webhook).await);
    assert!(claim(&db, at(60)).await.is_empty());
    assert_eq!(webhooks::next_due(&db).await.unwrap(), Some(at(1).plus(RETRIES[0])));
    let webhook = claim(&db, at(61)).await.remove(0);
    let again = due(&db, "wh_1", at(61)).await;
    assert_eq!((again.len(), &again[0].event_id, again[0].attempts), (1, &first[0].event_id, 1));
    assert!(record(&db, (&webhook, &again[0]), Outcome::Success, at(61)).await);
    // Nobody else's result counts now.
    assert!(!record(&db, (&webhook, &again[0]), failure(), at(61)).await);
    let next = due(&db, "wh_1", at(61)).await;
    assert_eq!(next[0].event, "cvm.restarted");
    assert!(record(&db, (&webhook, &next[0]), Outcome::Success, at(62)).await);
    assert!(release(&db, &webhook).await);
    assert_eq!(webhooks::next_due(&db).await.unwrap(), None);
    let stats = webhooks::get(&db, world.workspace, "wh_1").await.unwrap().unwrap().stats;
    assert_eq!((stats.total, stats.succeeded, stats.failed, stats.pending), (3, 3, 0, 0));
    assert_eq!((stats.duration_ms_sum, stats.duration_ms_max), (21, 7));
    assert_eq!(stats.last_delivery_at, Some(at(62).micros()));
    assert_eq!(all(&db, "wh_1").await[2].attempts, 2);
}

async fn four_failures_disable_a_webhook_with_an_event(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await.id;
    insert(&world, "wh_1", &["cvm.created", "cvm.restarted", "webhook.disabled"]).await;
    insert(&world, "wh_2", &["webhook.disabled"]).await;
    let events =
        [ended(&world, cvm, OperationKind::Create), ended(&world, cvm, OperationKind::Restart)];
    append(&world, &events, START).await;
    let mut now = START;
    for pause in [Some(RETRIES[0]), Some(RETRIES[1]), Some(RETRIES[2]), None] {
        let webhook = claim(&db, now).await.remove(0);
        let delivery = due(&db, "wh_1", now).await.remove(0);
        assert!(record(&db, (&webhook, &delivery), failure(), now).await);
        release(&db, &webhook).await;
        if let Some(pause) = pause {
            assert!(due(&db, "wh_1", now).await.is_empty());
            now = now.plus(pause);
        }
    }
    let webhook = webhooks::get(&db, world.workspace, "wh_1").await.unwrap().unwrap();
    assert!(!webhook.enabled);
    let deliveries = all(&db, "wh_1").await;
    assert_eq!(deliveries.len(), 2, "it is not told of its own end");
    assert_eq!((deliveries[1].status, deliveries[1].attempts), (DeliveryStatus::Failed, 4));
    assert_eq!(deliveries[0].status, DeliveryStatus::Pending);
    // The event, and the webhook that is told of it.
    let workspace = world.workspace;
    let written =
        events::of_workspace(&db, workspace, casemate_core::id::EventSeq(2), 9).await.unwrap();
    let read = Event::read(&written[0].kind, &written[0].body).unwrap();
    let Event::WebhookDisabled { webhook, event, cause } = read else { panic!("{written:?}") };
    assert_eq!((webhook.as_str(), event.as_deref()), ("wh_1", Some(&*deliveries[1].event_id)));
    assert_eq!(cause, "4 attempts failed: HTTP 500");
    assert_eq!(all(&db, "wh_2").await[0].event, "webhook.disabled");
    // Only the other one is due. Enabled again, it goes on with what waits.
    let claimed: Vec<String> = claim(&db, now).await.into_iter().map(|one| one.id).collect();
    assert_eq!(claimed, ["wh_2"]);
    let mut tx = db.begin().await.unwrap();
    let change = WebhookChange { enabled: Some(true), ..WebhookChange::default() };
    tx.lock_webhook(workspace, "wh_1").await.unwrap().unwrap();
    tx.change_webhook("wh_1", &change, now).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(claim(&db, now).await[0].id, "wh_1");
    assert_eq!(due(&db, "wh_1", now).await[0].event, "cvm.restarted");
}

async fn a_test_has_one_attempt_and_a_resend_a_number_of_its_own(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await.id;
    insert(&world, "wh_1", &["cvm.created"]).await;
    let act = async |act: Act| {
        let mut tx = db.begin().await.unwrap();
        tx.lock_events().await.unwrap();
        let webhook = tx.lock_webhook(world.workspace, "wh_1").await.unwrap().unwrap();
        let event = act.run(&mut tx, &webhook).await.unwrap();
        tx.commit().await.unwrap();
        event
    };
    let test = act(Act::Test).await;
    let webhook = claim(&db, START).await.remove(0);
    let sent = due(&db, "wh_1", START).await;
    assert_eq!((sent.len(), &sent[0].event_id, sent[0].event.as_str()), (1, &test, "webhook.test"));
    assert!(record(&db, (&webhook, &sent[0]), failure(), START).await);
    assert!(due(&db, "wh_1", at(10_000)).await.is_empty(), "one attempt");
    assert!(webhooks::get(&db, world.workspace, "wh_1").await.unwrap().unwrap().enabled);
    append(&world, &[ended(&world, cvm, OperationKind::Create)], at(1)).await;
    let first = due(&db, "wh_1", at(1)).await.remove(0);
    assert!(record(&db, (&webhook, &first), Outcome::Success, at(1)).await);
    release(&db, &webhook).await;
    let resent = act(Act::Resend(first.event_id.clone())).await;
    assert_ne!(resent, first.event_id);
    let again = due(&db, "wh_1", START).await.remove(0);
    let same = |one: &DueDelivery| (one.event_at, one.data.clone(), one.vm_uuid.clone());
    assert_eq!(same(&again), same(&first), "the same body");
    assert_eq!(again.original_event_id.as_ref(), Some(&first.event_id));
    // A resend of a resend names the first one.
    let webhook = claim(&db, START).await.remove(0);
    assert!(record(&db, (&webhook, &again), Outcome::Success, at(2)).await);
    release(&db, &webhook).await;
    act(Act::Resend(resent.clone())).await;
    assert_eq!(all(&db, "wh_1").await[0].original_event_id.as_ref(), Some(&first.event_id));
}

enum Act {
    Test,
    Resend(String),
}

impl Act {
    async fn run(self, tx: &mut Tx, webhook: &webhooks::Webhook) -> Result<String, Error> {
        match self {
            Self::Test => tx.insert_test_delivery(webhook, START).await,
            Self::Resend(event) => tx.insert_resend(webhook, &event, START).await,
        }
    }
}

async fn a_claim_ends_with_its_time_or_its_process(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await.id;
    insert(&world, "wh_1", &["cvm.created"]).await;
    append(&world, &[ended(&world, cvm, OperationKind::Create)], START).await;
    let webhook = claim(&db, START).await.remove(0);
    // An event in between does not make it anybody else's.
    append(&world, &[ended(&world, cvm, OperationKind::Create)], at(1)).await;
    assert!(claim(&db, at(1)).await.is_empty());
    let other = Claimant { owner: "there", term: TERM };
    let taken = webhooks::claim(&db, other, START.plus(TERM), 10).await.unwrap();
    assert_eq!(taken, std::slice::from_ref(&webhook));
    assert!(!release(&db, &webhook).await, "it has another claimant");
    webhooks::release_all(&db, "there").await.unwrap();
    assert_eq!(claim(&db, START.plus(TERM)).await, [webhook]);
    assert_eq!(due(&db, "wh_1", START.plus(TERM)).await.len(), 1, "nothing was lost");
}

async fn of_many_processes_one_gets_a_webhook(db: Db) {
    let world = World::crowded(db.clone()).await;
    let cvm = world.cvm("alpha").await.id;
    for number in 0..6 {
        insert(&world, &format!("wh_{number}"), &["cvm.created"]).await;
    }
    append(&world, &[ended(&world, cvm, OperationKind::Create)], START).await;
    let claims = (0..8).map(|_| {
        let db = db.clone();
        tokio::spawn(async move { webhooks::claim(&db, CLAIMANT, START, 2).await.unwrap() })
    });
    let claims: Vec<_> = claims.collect();
    let mut ids = Vec::new();
    for claim in claims {
        ids.extend(claim.await.unwrap().into_iter().map(|webhook| webhook.id));
    }
    ids.sort();
    assert_eq!(ids, (0..6).map(|number| format!("wh_{number}")).collect::<Vec<_>>());
}

async fn a_webhook_with_too_many_waiting_is_disabled(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await.id;
    insert(&world, "wh_1", &["cvm.created", "webhook.disabled"]).await;
    insert(&world, "wh_2", &["webhook.disabled"]).await;
    let many: Vec<_> = (0..500).map(|_| ended(&world, cvm, OperationKind::Create)).collect();
    for _ in 0..MAX_PENDING / 500 {
        append(&world, &many, START).await;
    }
    let stats = async || webhooks::get(&db, world.workspace, "wh_1").await.unwrap().unwrap();
    assert_eq!((stats().await.stats.pending, stats().await.enabled), (MAX_PENDING, true));
    append(&world, &many[..2], START).await;
    assert_eq!((stats().await.stats.pending, stats().await.enabled), (MAX_PENDING, false));
    assert_eq!(all(&db, "wh_2").await.len(), 1, "told once");
}

async fn old_deliveries_and_deleted_webhooks_are_forgotten(db: Db) {
    let world = World::new(db.clone()).await;
    let (one, other) = (world.cvm("alpha").await.id, world.cvm("beta").await.id);
    insert(&world, "wh_1", &["cvm.created"]).await;
    for cvm in [one, other] {
        append(&world, &[ended(&world, cvm, OperationKind::Create)], START).await;
    }
    let webhook = claim(&db, START).await.remove(0);
    let delivery = due(&db, "wh_1", START).await.remove(0);
    record(&db, (&webhook, &delivery), Outcome::Success, START).await;
    let forget = async |before| {
        let mut tx = db.begin().await.unwrap();
        let deleted = tx.forget_deliveries(before).await.unwrap();
        tx.commit().await.unwrap();
        deleted
    };
    assert_eq!(forget(START).await, 0);
    assert_eq!(forget(at(1)).await, 1, "what waits is kept");
    assert_eq!(all(&db, "wh_1").await.len(), 1);
    let mut tx = db.begin().await.unwrap();
    let found = tx.lock_webhook(world.workspace, "wh_1").await.unwrap().unwrap();
    tx.delete_webhook(&found.id, START).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(webhooks::of_workspace(&db, world.workspace, 9).await.unwrap(), []);
    assert!(claim(&db, at(1000)).await.is_empty());
    // A result that comes too late does no harm.
    let late = due(&db, "wh_1", START).await.remove(0);
    record(&db, (&webhook, &late), Outcome::Success, START).await;
    assert_eq!(forget(START).await, 2, "its delivery and the webhook");
    assert_eq!(forget(START).await, 0);
    assert_eq!(all(&db, "wh_1").await, []);
}

async fn a_workspace_has_so_many_webhooks_and_no_more(db: Db) {
    let world = World::new(db.clone()).await;
    let foreign = world.foreign().await;
    let insert = async |world: &World, id: &str| {
        let mut tx = db.begin().await.unwrap();
        tx.lock_workspace(world.workspace).await.unwrap();
        let new = NewWebhook {
            id,
            workspace: world.workspace,
            url: "https://example.org/",
            name: Some("n"),
            events: &["cvm.created".to_owned()],
            secret: "00",
        };
        let inserted = tx.insert_webhook(&new, 2, START).await.unwrap();
        tx.commit().await.unwrap();
        inserted
    };
    assert!(insert(&world, "wh_1").await && insert(&world, "wh_2").await);
    assert!(!insert(&world, "wh_3").await);
    assert!(insert(&foreign, "wh_4").await);
    let found = webhooks::of_workspace(&db, world.workspace, 9).await.unwrap();
    assert_eq!(found.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["wh_1", "wh_2"]);
}

async fn a_failed_creation_is_told_with_its_cause(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await.id;
    insert(&world, "wh_1", &["cvm.create_failed"]).await;
    let event = Event::Ended {
        kind: OperationKind::Create,
        how: End::Failed,
        code: Some(FailureCode::BootFailed),
        cause: Some("with \0 and ü".to_owned()),
    };
    let new = NewEvent { body: event.body(), ..ended(&world, cvm, OperationKind::Create) };
    append(&world, &[new], START).await;
    let sent = due(&db, "wh_1", START).await.remove(0);
    let data: serde_json::Value = serde_json::from_str(&sent.data).unwrap();
    assert_eq!(data["error"], "with \0 and ü");
    assert_eq!(data["error_code"], "boot_failed");
}

casemate_testing::each_backend!(
    a_delivery_is_written_with_its_event_or_not_at_all,
    deliveries_about_a_cvm_are_sent_one_after_the_other,
    four_failures_disable_a_webhook_with_an_event,
    a_test_has_one_attempt_and_a_resend_a_number_of_its_own,
    a_claim_ends_with_its_time_or_its_process,
    of_many_processes_one_gets_a_webhook,
    a_webhook_with_too_many_waiting_is_disabled,
    old_deliveries_and_deleted_webhooks_are_forgotten,
    a_workspace_has_so_many_webhooks_and_no_more,
    a_failed_creation_is_told_with_its_cause,
);
