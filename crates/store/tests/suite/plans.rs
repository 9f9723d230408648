//! Runs every statement on both databases, and checks on SQLite that each uses an index.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use casemate_core::{
    access::Scopes,
    change::Change,
    cvm::{Phase, Resources, Spec},
    drift::DriftKind,
    governance::{Block, Proof},
    id::{BlockHash, CvmId, CvmName, NodeId, RevisionRef},
    node::NodeState,
    ready::Check,
};
use casemate_store::{
    Db, accounts, audit,
    commit_tokens::{self, Kind, NewPreparation, TokenHash},
    cvms::{self, AppFilter, AppKey, Cvm, Filter, Intent, PageStart, Search},
    drift, events,
    key_decisions::{self, BootQuery},
    lease, left_vms, nodes,
    operations::{self, Ending, OperationFilter, queue::NewChange},
    prepared::{self, Prepared},
    proofs, provisions, readiness, revisions, ssh_keys, webhooks,
};
use casemate_testing::database;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row, SqliteConnection};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::world::{
    ALL, START, TERM, World, app_id, at, at_rest, claim, hash, kms, next_due, number, operation_id,
    sim,
};

/// Statements that the driver executed in this process.
static STATEMENTS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Records the text of every statement from the driver's log.
struct Notes;

#[derive(Default)]
struct Statement {
    summary: String,
    text: String,
}

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.trim().clone_into(&mut self.text),
            _ => {}
        }
    }
    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut statement = Statement::default();
        event.record(&mut statement);
        let text = if statement.text.is_empty() { statement.summary } else { statement.text };
        STATEMENTS.lock().unwrap_or_else(PoisonError::into_inner).insert(text);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// Calls every function that has a statement.
async fn every_statement_runs(db: Db) {
    let world = World::new(db.clone()).await;
    db.ping().await.unwrap();
    accounts::any_user(&db).await.unwrap();
    accounts::principal(&db, "none", START).await.unwrap();
    prepare_and_commit(&world).await;
    read_everything(&world).await;
    work(&world).await;
    webhooks_and_keys(&world).await;
    let mut tx = db.begin().await.unwrap();
    tx.expire_provisions(at(900 * 86_400)).await.unwrap();
    tx.forget_answers(at(900 * 86_400), Duration::from_secs(1)).await.unwrap();
    tx.commit().await.unwrap();
    lease::release_all(&db, "w").await.unwrap();
    lease::give_back(&db, &world.cvm("given-back").await, START).await.unwrap();
}

async fn prepare_and_commit(world: &World) {
    let (db, document, kms) = (&world.db, hash(7), kms());
    let mut tx = db.begin().await.unwrap();
    tx.set_policy(world.workspace, Some(false), None).await.unwrap();
    tx.insert_key(world.key("aa", &Scopes::All), START).await.unwrap();
    tx.remembered(world.workspace, "key", START).await.unwrap();
    tx.keep_document(&document, "{}", START).await.unwrap();
    tx.bound_app_id(world.workspace, "alpha", &document, &kms, START).await.unwrap();
    let nonce = tx.draw_nonce(world.workspace).await.unwrap();
    let app = app_id(number());
    tx.bind_app_id(&app, world.workspace, Some(nonce), "alpha", &kms, START).await.unwrap();
    tx.held_app_id(&app).await.unwrap();
    tx.insert_provision(&world.provision(app, document, "alpha", START)).await.unwrap();
    let found = tx.provisions_for(world.workspace, &document, None).await.unwrap();
    tx.provisions_for(world.workspace, &document, Some(&app)).await.unwrap();
    tx.cvm_of_name(world.workspace, "alpha").await.unwrap();
    let cvm = tx.insert_cvm(world.new_cvm(app, "alpha"), START).await.unwrap().cvm.id;
    assert!(tx.consume_provision(found[0].id, &app, cvm).await.unwrap());
    tx.cvms_of_app(&app).await.unwrap();
    tx.documents_of_app(world.workspace, &app).await.unwrap();
    tx.names_held(world.workspace, &["alpha".to_owned()]).await.unwrap();
    tx.ports_on_node(world.node, None).await.unwrap();
    tx.node_usage().await.unwrap();
    tx.lock_workspace(world.workspace).await.unwrap();
    tx.make_due(cvm, START).await.unwrap();
    tx.commit().await.unwrap();
    provisions::first_open(db, world.workspace, &document, &app, START).await.unwrap();
    provisions::next_nonce(db, world.workspace).await.unwrap();
    assert!(!accounts::policy(db, world.workspace).await.unwrap().refuses_dropped_env);
    provisions::free_nonces(db, world.workspace, 0, 3).await.unwrap();
    provisions::kms_of_app(db, &app).await.unwrap();
    provisions::document(db, &document).await.unwrap();
}

async fn read_everything(world: &World) {
    let (db, workspace) = (&world.db, world.workspace);
    let first = cvms::page(db, workspace, ALL, PageStart::Skip(0), 10).await.unwrap();
    let cvm = first.items.into_iter().next().unwrap();
    let (node, user) = (Some(world.node), Some(world.user));
    for (node, user) in [(None, None), (node, None), (None, user), (node, user)] {
        let filter = Filter { node, user };
        for seek in [PageStart::Skip(0), PageStart::After(CvmId(i64::MAX))] {
            let part = cvms::page(db, workspace, filter, seek, 9).await.unwrap();
            assert_eq!((part.items.len(), part.total), (1, 1));
        }
    }
    let app = cvm.spec.app_id.to_string();
    cvms::facets(db, workspace).await.unwrap();
    cvms::app_history(db, workspace, &cvm.spec.app_id, 10).await.unwrap();
    let key = AppKey { created_at: START, app_id: cvm.spec.app_id };
    for after in [None, Some(&key)] {
        cvms::directory(db, after, 10).await.unwrap();
    }
    cvms::directory_length(db).await.unwrap();
    events::of_cvms(db, &[cvm.id], &events::EventQuery::default(), 10).await.unwrap();
    let names = [
        cvm.reference.to_string(),
        cvm.uuid.to_string(),
        "alpha".to_owned(),
        app.clone(),
        format!("instance_{app}"),
    ];
    for name in names {
        cvms::resolve(db, workspace, &CvmName::parse(&name)).await.unwrap();
    }
    cvms::by_id(db, workspace, cvm.id).await.unwrap().unwrap();
    let stamp = db.stamp(&cvm, db.moment()).unwrap();
    assert!(db.is_current(cvm.id, stamp).await.unwrap());
    cvms::by_uuids(db, workspace, &[cvm.uuid]).await.unwrap();
    cvms::for_gateway(db, app_id(number()).as_bytes()).await.unwrap();
    cvms::on_node(db, world.node, CvmId(0), 9).await.unwrap();
    cvms::on_node_among(db, world.node, &[cvm.id]).await.unwrap();
    cvms::ids_on_node(db, world.node, &[cvm.uuid]).await.unwrap();
    cvms::uuids_on_node(db, world.node, &[cvm.uuid]).await.unwrap();
    drift::open(db, Some(world.node), None, 9).await.unwrap();
    drift::open(db, None, Some((world.node, "vm:1", "lost")), 9).await.unwrap();
    read_apps(world, &cvm).await;
    let boot = BootQuery {
        app: &cvm.spec.app_id,
        instance: None,
        compose_hash: &cvm.spec.compose_hash,
        nodes: &[world.node],
    };
    assert_eq!(key_decisions::candidates(db, boot, 9).await.unwrap().len(), 1);
    assert_eq!(key_decisions::refusal(db, cvm.id).await.unwrap(), None);
    assert_eq!(key_decisions::totals(db).await.unwrap(), []);
    cvms::app(db, workspace, &cvm.spec.app_id).await.unwrap().unwrap();
    nodes::all(db).await.unwrap();
    nodes::usage(db).await.unwrap();
    operations::of_cvm(db, cvm.id, &OperationFilter::default(), 5).await.unwrap();
    operations::count(db, cvm.id, &OperationFilter::default()).await.unwrap();
    events::of_operations(db, &[operation_id()], 5).await.unwrap();
    cvms::to_delete(db, START, 5).await.unwrap();
    operations::get(db, operation_id()).await.unwrap();
    events::of_cvm(db, cvm.id, casemate_core::id::EventSeq(0), 5).await.unwrap();
    events::of_workspace(db, workspace, casemate_core::id::EventSeq(0), 5).await.unwrap();
    events::of_all(db, casemate_core::id::EventSeq(0), 5).await.unwrap();
    let newest = events::newest(db).await.unwrap();
    events::cvms_between(db, casemate_core::id::EventSeq(0), newest).await.unwrap();
}

/// Every combination of filters, from the start and after an app.
async fn read_apps(world: &World, cvm: &Cvm) {
    let id = cvm.spec.app_id;
    let mut tx = world.db.begin().await.unwrap();
    assert!(tx.declare_readiness(world.workspace, &id, Some(&Check::tcp(80))).await.unwrap());
    tx.commit().await.unwrap();
    readiness::of_app(&world.db, &id).await.unwrap();
    let searches = [
        Search::All,
        Search::App(id),
        Search::Hex(id),
        Search::Uuid(cvm.uuid),
        Search::Name("alp".to_owned()),
    ];
    let after = AppKey { created_at: at(1), app_id: app_id(0) };
    for search in &searches {
        for number in 0..64_u32 {
            let on = |at: u32| (number >> at) & 1 == 1;
            let filter = AppFilter {
                search: search.clone(),
                kms: on(0).then(|| vec![kms(); 1 + usize::from(on(1))]),
                phases: on(1).then(|| vec![Phase::Starting, Phase::Stopped]),
                listed: on(2).then_some(true),
                image: on(3).then(|| cvm.spec.image.clone()),
                instance_type: on(4).then(|| "tdx.small".to_owned()),
                nodes: on(5).then(|| vec![world.node]),
            };
            let several = AppFilter {
                nodes: filter.nodes.as_ref().map(|_| vec![world.node, NodeId(99)]),
                ..filter.clone()
            };
            let expected = i64::from(!on(4));
            for (filter, seek) in [&filter, &several].into_iter().flat_map(|filter| {
                [PageStart::Skip(0), PageStart::After(after)].map(|seek| (filter, seek))
            }) {
                let part =
                    cvms::apps_page(&world.db, world.workspace, filter, seek, 9).await.unwrap();
                assert_eq!(part.total, expected, "{filter:?}");
                assert_eq!(i64::try_from(part.items.len()).unwrap(), expected, "{filter:?}");
            }
        }
    }
}

async fn work(world: &World) {
    let db = &world.db;
    next_due(db).await.unwrap();
    lease::due_nodes(db, &[world.node], START).await.unwrap();
    lease::busy(db).await.unwrap();
    lease::busy_ids(db, 5).await.unwrap();
    let claimed = claim(db, "w", START, TERM, 5).await.unwrap();
    let cvm = &claimed[0];
    let operation = world.open_operation(cvm.id).await;
    let mut tx = db.begin().await.unwrap();
    tx.mark_node(world.node, Some("{}"), true, START).await.unwrap();
    let new = drift::NewDrift {
        node: world.node,
        subject: "state:1",
        kind: DriftKind::Lost,
        cvm: Some(cvm.id),
        what: "gone",
    };
    tx.insert_drift(&new, START).await.unwrap();
    tx.delete_drift(world.node, "state:1", "lost").await.unwrap();
    tx.delete_drift_of_kind(world.node, DriftKind::HostReplaced).await.unwrap();
    tx.upsert_node(&sim("node-1"), START).await.unwrap();
    tx.keep_nodes("here", "", START).await.unwrap();
    tx.configure_node(&sim("node-1")).await.unwrap();
    tx.add_node(&sim("node-1"), START).await.unwrap();
    tx.take_node(world.node, ("here", ""), START, START).await.unwrap();
    tx.set_node_state(world.node, NodeState::Active).await.unwrap();
    tx.change_node_settings(world.node, "{}", "{}").await.unwrap();
    tx.remove_node(world.node, false).await.unwrap();
    tx.release_nodes("here").await.unwrap();
    tx.record(cvm, &at_rest(&cvm.status, Phase::Running), START).await.unwrap();
    let revision = RevisionRef::from_random(number());
    assert!(tx.note_revision(&revision, cvm.id, operation, &[], START).await.unwrap());
    tx.close_operation(operation, &Ending::Succeeded, START).await.unwrap();
    let event = events::NewEvent {
        workspace: world.workspace,
        cvm: Some(cvm.id),
        operation: Some(operation),
        kind: "operation.ended",
        body: serde_json::json!({}),
    };
    tx.record_key_decision(cvm.id, Some(("device_not_allowed", "why")), START).await.unwrap();
    tx.count_key_decisions(("app", "app_unknown"), 1, "{}", START).await.unwrap();
    tx.append_events(&[event], START).await.unwrap();
    tx.commit().await.unwrap();
    read_revisions(world, cvm, &revision).await;
    change(world, cvm.id).await;
    change_node(world, cvm.id).await;
    world.delete(cvm.id, START).await;
}

async fn webhooks_and_keys(world: &World) {
    let (db, workspace) = (&world.db, world.workspace);
    let new = webhooks::NewWebhook {
        id: "wh_1",
        workspace,
        url: "https://example.org/",
        name: None,
        events: &["cvm.drifted".to_owned()],
        secret: "00",
    };
    let mut tx = db.begin().await.unwrap();
    assert!(tx.insert_webhook(&new, 9, START).await.unwrap());
    let event = events::NewEvent {
        workspace,
        cvm: Some(CvmId(1)),
        operation: None,
        kind: "cvm.drift",
        body: serde_json::json!({ "what": "stopped" }),
    };
    tx.append_events(&[event], START).await.unwrap();
    tx.lock_events().await.unwrap();
    let webhook = tx.lock_webhook(workspace, "wh_1").await.unwrap().unwrap();
    let test = tx.insert_test_delivery(&webhook, START).await.unwrap();
    tx.insert_resend(&webhook, &test, START).await.unwrap();
    assert!(tx.delivery("wh_1", &test).await.unwrap().is_some());
    tx.change_webhook("wh_1", &webhooks::WebhookChange::default(), START).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(webhooks::of_workspace(db, workspace, 9).await.unwrap().len(), 1);
    webhooks::get(db, workspace, "wh_1").await.unwrap().unwrap();
    assert_eq!(webhooks::deliveries(db, "wh_1", 9, 0).await.unwrap().len(), 3);
    webhooks::next_due(db).await.unwrap().unwrap();
    let claimant = webhooks::Claimant { owner: "here", term: TERM };
    let claimed = webhooks::claim(db, claimant, START, 9).await.unwrap().remove(0);
    let due = webhooks::due(db, "wh_1", START, 9).await.unwrap().remove(0);
    let attempt = webhooks::Attempt {
        outcome: webhooks::Outcome::Failure("HTTP 500".to_owned()),
        url: String::new(),
        response_status: 500,
        duration: TERM,
    };
    let last = webhooks::DueDelivery { attempts: 3, ..due.clone() };
    let mut tx = db.begin().await.unwrap();
    assert!(!tx.record_attempt(&claimed, &last, &attempt, START).await.unwrap());
    let test = webhooks::DueDelivery { event: "webhook.test".to_owned(), ..due };
    assert!(tx.record_attempt(&claimed, &test, &attempt, START).await.unwrap());
    tx.commit().await.unwrap();
    webhooks::release_all(db, "here").await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.delete_webhook("wh_1", START).await.unwrap();
    tx.forget_deliveries(at(1)).await.unwrap();
    let key = ssh_keys::NewSshKey {
        id: "k".to_owned(),
        name: "k".to_owned(),
        public_key: "k".to_owned(),
        fingerprint: "k".to_owned(),
        key_type: "k".to_owned(),
        bits: None,
        source: ssh_keys::Source::Manual,
        github_username: None,
    };
    tx.lock_ssh_keys(world.user).await.unwrap();
    tx.insert_ssh_key(world.user, &key, 9, START).await.unwrap();
    tx.ssh_keys(world.user, 9).await.unwrap();
    tx.sync_ssh_key("k", "k", START).await.unwrap();
    tx.commit().await.unwrap();
    ssh_keys::of_user(db, world.user, 9).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    let (governed, mine) = (app_id(77), world.workspace);
    assert!(tx.bind_app_id(&governed, mine, None, "g", &kms(), START).await.unwrap());
    tx.record_proof(&governed, START).await.unwrap();
    tx.name_unused_app(&governed, "named").await.unwrap();
    tx.transfer_app(&governed, mine, &kms(), (START, START)).await.unwrap();
    assert_eq!(tx.lock_holder(&governed).await.unwrap().unwrap().live, 0);
    tx.commit().await.unwrap();
    crate::audit::append(db, &[crate::audit::entry("a1", None)]).await;
    for workspace in [None, Some(world.workspace)] {
        let (from, before) = ("a".to_owned(), "b".to_owned());
        audit::newest(db, &audit::AuditRange { workspace, from, before }, 9).await.unwrap();
    }
    let mut tx = db.begin().await.unwrap();
    assert!(tx.delete_ssh_key(world.user, "k").await.unwrap());
    tx.commit().await.unwrap();
}

async fn read_revisions(world: &World, cvm: &Cvm, revision: &RevisionRef) {
    let (db, app) = (&world.db, &cvm.spec.app_id);
    assert_eq!(revisions::of_app(db, app, 0, 9).await.unwrap().len(), 1);
    assert_eq!(revisions::count(db, app).await.unwrap(), 1);
    assert!(revisions::get(db, app, revision).await.unwrap().is_some());
    assert!(revisions::has_app(db, world.workspace, app).await.unwrap());
    assert_eq!(prepared::pending(db, app, START, 9).await.unwrap(), []);
}

async fn change_node(world: &World, id: CvmId) {
    let there = world.node("node-2").await;
    for name in [CvmName::Number(id), CvmName::Uuid(world.read(id).await.uuid)] {
        assert!(cvms::anywhere(&world.db, &name).await.unwrap().is_some());
    }
    let mut tx = world.db.begin().await.unwrap();
    let cvm = tx.cvm(id).await.unwrap().unwrap();
    tx.begin_move(&cvm, &cvm.spec, there.node).await.unwrap();
    tx.drop_move(&cvm).await.unwrap();
    tx.begin_move(&cvm, &cvm.spec, there.node).await.unwrap();
    tx.end_move(&cvm, START).await.unwrap();
    tx.leave_vm(&cvm, START, START).await.unwrap();
    assert!(tx.has_left_vm(cvm.node, id).await.unwrap());
    tx.unregister_left_vm(cvm.node, id).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(left_vms::all(&world.db, 9).await.unwrap().len(), 1);
    let mut tx = world.db.begin().await.unwrap();
    tx.forget_left_vm(cvm.node, id).await.unwrap();
    tx.commit().await.unwrap();
}

async fn change(world: &World, id: CvmId) {
    let change = Change::default();
    let (first, second) = (operation_id(), operation_id());
    let mut tx = world.db.begin().await.unwrap();
    let cvm = tx.lock_cvm(id).await.unwrap().unwrap();
    for operation in [first, second] {
        let new = NewChange {
            id: operation,
            cvm: id,
            by: world.user,
            change: &change,
            fields: &[],
            report: None,
            generation: 1,
        };
        tx.enqueue_change(&new, START).await.unwrap();
    }
    tx.queued_changes(id, 5).await.unwrap();
    tx.run_changes(second, &[first], 1, None, START).await.unwrap();
    tx.before(second).await.unwrap();
    tx.retry_singly(second).await.unwrap();
    for operation in tx.open_changes(id).await.unwrap() {
        tx.close_operation(operation, &Ending::Superseded, START).await.unwrap();
    }
    let other = hash(number());
    tx.keep_document(&other, "{}", START).await.unwrap();
    let prepared = Prepared { sealed_env: None, expires_at: START };
    tx.prepare(id, &other, &prepared, START).await.unwrap();
    tx.prepared(id, &other).await.unwrap();
    tx.expire_prepared(START).await.unwrap();
    let proof = Proof {
        chain_id: 1,
        block: Block { number: 1, hash: BlockHash::from_bytes([1; 32]) },
        owner: None,
        transaction: None,
    };
    tx.keep_proof(id, &other, &proof, START).await.unwrap();
    let token = TokenHash("aa".repeat(32));
    let new = NewPreparation {
        hash: &token,
        kind: Kind::Update,
        workspace: world.workspace,
        cvm: id,
        app: cvm.spec.app_id,
        compose_hash: other,
        chain_id: 8453,
        base: "",
        request: "{}",
        by: world.user,
        told: true,
        expires_at: at(1),
    };
    tx.keep_preparation(&new, START).await.unwrap();
    assert!(tx.preparation(&token).await.unwrap().is_some());
    assert!(tx.use_preparation(&token, first, None, START).await.unwrap());
    let resources = Resources { vcpu: 3, ..cvm.spec.resources.clone() };
    let spec = Spec { compose_hash: other, resources, ..cvm.spec.clone() };
    let intent = Intent {
        spec: &spec,
        sealed_env: None,
        desired: &cvm.desired,
        status: &cvm.status,
        phase: cvm.phase,
        due: true,
    };
    tx.set_intent(&cvm, &intent, START).await.unwrap();
    tx.schedule_deletion(id, Some(START), world.user, START).await.unwrap();
    tx.commit().await.unwrap();
    let kept = proofs::on_node(&world.db, world.node, None, 9).await.unwrap();
    let mut tx = world.db.begin().await.unwrap();
    tx.settle_proof(&kept[0]).await.unwrap();
    tx.forget_proofs(START).await.unwrap();
    tx.commit().await.unwrap();
    assert!(commit_tokens::by_token(&world.db, &token).await.unwrap().is_some());
    assert!(commit_tokens::update_of(&world.db, id, None).await.unwrap().is_some());
    let mut tx = world.db.begin().await.unwrap();
    assert_eq!(tx.expire_preparations(at(2), at(2)).await.unwrap(), 1);
    tx.commit().await.unwrap();
}

/// Tables that stay small and lists of parameters may be scanned, and an index that has exactly the requested
/// rows.
const MAY_BE_READ_WHOLE: [&str; 16] = [
    "SCAN nodes",
    // VMs on hosts that were given up.
    "SCAN left_vms",
    // A row for each kind of answer.
    "SCAN key_decision_totals",
    "SCAN users",
    "SCAN CONSTANT ROW",
    "SCAN json_each",
    "SCAN list",
    "SCAN due",
    "SCAN ranked",
    // The values found by an index walk.
    "SCAN found",
    // One row without a table, and a count up to a limit.
    "SCAN one",
    "SCAN counted",
    // The public directory in its order, up to the end of the page.
    "SCAN a USING INDEX apps_everywhere",
    "SCAN (subquery",
    "SCAN cvms USING INDEX cvms_due",
    "SCAN cvms USING COVERING INDEX cvms_due",
];

/// Whether a step may read rows in proportion to a table or a workspace.
fn is_too_much(statement: &str, step: &str) -> bool {
    let whole = step.starts_with("SCAN")
        && !MAY_BE_READ_WHOLE.iter().any(|allowed| step.starts_with(allowed))
        // Read by an upsert of a parent if foreign keys were checked at commit.
        && !statement.starts_with("INSERT INTO nodes")
        // The length of the public directory: counted, and cached for a while (`app::directory`).
        && !statement.starts_with("SELECT COUNT(*) FROM apps a");
    // Pages do, up to their end; a part of a name has no index.
    let workspace = step.ends_with("(workspace_id=?)")
        && !step.contains("tallies")
        // One row for each workspace.
        && !step.contains("workspace_usage")
        && !statement.contains("LIMIT $")
        // The least value after another one is the first entry there.
        && !statement.starts_with("WITH RECURSIVE found")
        && !statement.contains("LIKE");
    whole || workspace || step.contains("AUTOMATIC")
}

/// A statement of the store as SQLite logs it; other tests run in this process, too.
fn is_ours(statement: &str) -> bool {
    const TABLES: [&str; 27] = [
        "audit_log",
        "webhooks",
        "webhook_deliveries",
        "ssh_keys",
        "counters",
        "moves",
        "left_vms",
        "key_decisions",
        "key_decision_totals",
        "users",
        "workspaces",
        "api_keys",
        "nodes",
        "node_drift",
        "documents",
        "apps",
        "app_tallies",
        "cvm_tallies",
        "provisions",
        "cvms",
        "operations",
        "prepared",
        "proofs",
        "commit_tokens",
        "revisions",
        "events",
        "idempotency",
    ];
    const NOT_OURS: [&str; 6] = [
        "FOR NO KEY UPDATE",
        "json_array_elements",
        "pg_",
        "sqlite_",
        "pragma_",
        "information_schema",
    ];
    let verb = statement.split_whitespace().next().unwrap_or_default();
    matches!(verb, "SELECT" | "UPDATE" | "INSERT" | "DELETE" | "WITH")
        && TABLES.iter().any(|table| statement.contains(table))
        && !NOT_OURS.iter().any(|word| statement.contains(word))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_finds_its_rows_through_an_index() {
    let _ = tracing::subscriber::set_global_default(Notes);
    let fresh = database::sqlite().await;
    every_statement_runs(fresh.db.clone()).await;
    let mut raw = SqliteConnection::connect(&fresh.url()).await.unwrap();
    let statements = STATEMENTS.lock().unwrap().clone();
    let mut explained = 0;
    let mut bad = Vec::new();
    for text in statements.iter().filter(|text| is_ours(text)) {
        explained += 1;
        let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
        for step in sqlx::query(sql).fetch_all(&mut raw).await.unwrap() {
            let step: String = step.get("detail");
            if is_too_much(text, &step) {
                bad.push(format!("{step}: {text}"));
            }
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
    // the tests below explain the store's own statements, in both directions
    let runs: BTreeSet<String> = statements.iter().map(|text| text.replace(" DESC", "")).collect();
    for (sql, _) in filters_and_pages() {
        assert!(runs.contains(&sql.replace(" DESC", "")), "the store does not run {sql}");
    }
    assert!(explained > 70, "{explained} statements were seen");
    fresh.finish().await;
}

/// The conditions on CVMs per filter of the list of apps, and the index for each.
const FILTERS: [(&str, &str); 5] = [
    ("phase IN ('starting', 'stopped')", "cvms_apps_by_phase"),
    ("listed = $4", "cvms_apps_by_listed"),
    ("image = $5", "cvms_apps_by_image"),
    ("instance_type = $6", "cvms_apps_by_type"),
    ("node_id = $7", "cvms_listed_by_node"),
];

fn filters_and_pages() -> Vec<(String, &'static str)> {
    let start =
        "SELECT COUNT(DISTINCT app_id) FROM cvms WHERE workspace_id = $1 AND deleted_at IS NULL";
    let filters = FILTERS.map(|(condition, index)| (format!("{start} AND {condition}"), index));
    let pages = PAGES.map(|(sql, index)| (sql.to_owned(), index));
    filters.into_iter().chain(pages).collect()
}

/// Every filter of the list of apps, and both directions of CVM pages, use their covering index without
/// reading rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_filter_has_an_index_on_sqlite() {
    let fresh = database::sqlite().await;
    let mut raw = SqliteConnection::connect(&fresh.url()).await.unwrap();
    for (sql, index) in filters_and_pages() {
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
        let steps: Vec<String> =
            plan.fetch_all(&mut raw).await.unwrap().iter().map(|row| row.get("detail")).collect();
        // the row of an app has its number of live CVMs
        let covering = if index.starts_with("apps") { "" } else { "COVERING " };
        let wanted = format!("USING {covering}INDEX {index} ");
        assert!(steps.iter().any(|step| step.contains(&wanted)), "{sql}: {steps:#?}");
        let sorted = steps.iter().any(|step| step.contains("FOR ORDER BY"));
        assert!(!sorted, "{sql}: {steps:#?}");
    }
    fresh.finish().await;
}

/// Ids of pages, in both directions and after a key.
const PAGES: [(&str, &str); 6] = [
    (
        "SELECT id FROM cvms WHERE workspace_id = $1 AND deleted_at IS NULL \
         ORDER BY id DESC LIMIT $4 OFFSET $5",
        "cvms_listed",
    ),
    (
        "SELECT id FROM cvms WHERE workspace_id = $1 AND deleted_at IS NULL ORDER BY id LIMIT $4 OFFSET $5",
        "cvms_listed",
    ),
    (
        "SELECT id FROM cvms WHERE workspace_id = $1 AND deleted_at IS NULL AND node_id = $2 \
         AND id < $6 ORDER BY id DESC LIMIT $4 OFFSET $5",
        "cvms_listed_by_node",
    ),
    (
        "SELECT id FROM cvms WHERE workspace_id = $1 AND deleted_at IS NULL AND created_by = $3 \
         AND id < $6 ORDER BY id DESC LIMIT $4 OFFSET $5",
        "cvms_listed_by_user",
    ),
    (
        "SELECT created_at, app_id FROM apps WHERE workspace_id = $1 AND live > 0 \
         AND (created_at, app_id) < ($11, $12) \
         ORDER BY created_at DESC, app_id DESC LIMIT $9 OFFSET $10",
        "apps_listed",
    ),
    (
        "SELECT created_at, app_id FROM apps WHERE workspace_id = $1 AND live > 0 AND kms_id = $3 \
         ORDER BY created_at, app_id LIMIT $9 OFFSET $10",
        "apps_listed_by_kms",
    ),
];

/// CVMs that differ in the filtered properties.
async fn variety(world: &World, many: usize) {
    let other = world.node("node-2").await.node;
    let mut tx = world.db.begin().await.unwrap();
    for at in 0..many {
        let app = app_id(number());
        let mut new = world.new_cvm(app, &format!("variety-{at}"));
        new.spec.listed = at % 2 == 0;
        new.spec.image = format!("image-{}", at % 7);
        new.spec.resources.instance_type = Some(format!("size-{}", at % 5));
        new.node = if at % 3 == 0 { other } else { world.node };
        tx.keep_document(&new.spec.compose_hash, "{}", START).await.unwrap();
        tx.bind_app_id(&app, world.workspace, None, &new.spec.name, &new.kms, START).await.unwrap();
        let cvm = tx.insert_cvm(new, START).await.unwrap().cvm;
        let phase = if at % 10 == 0 { Phase::Stopped } else { Phase::Running };
        tx.set_desired(&cvm, &cvm.desired, &cvm.status, phase, START).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// The same statements, as the store runs them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_filter_has_an_index_on_postgres() {
    let fresh = database::postgres().await;
    variety(&World::new(fresh.db.clone()).await, 300).await;
    let mut raw = PgConnection::connect(&fresh.url()).await.unwrap();
    raw.execute("VACUUM ANALYZE").await.unwrap();
    let settings = "SET enable_seqscan = off; SET enable_bitmapscan = off; \
        SET plan_cache_mode = force_generic_plan";
    sqlx::raw_sql(settings).execute(&mut raw).await.unwrap();
    for (at, (sql, index)) in filters_and_pages().into_iter().enumerate() {
        // the parameters and their types
        let (types, values) = if sql.contains("FROM apps") {
            (
                "BIGINT, TEXT, TEXT, BOOLEAN, TEXT, TEXT, BIGINT, TEXT, BIGINT, BIGINT, BIGINT, TEXT",
                "1, '', '', TRUE, '', '', 1, '[]', 1, 1, 1, ''",
            )
        } else if sql.contains("COUNT") {
            ("BIGINT, TEXT, TEXT, BOOLEAN, TEXT, TEXT, BIGINT", "1, '', '', TRUE, '', '', 1")
        } else {
            ("BIGINT, BIGINT, BIGINT, BIGINT, BIGINT, BIGINT", "1, 1, 1, 1, 1, 1")
        };
        let prepare = format!("PREPARE s{at} ({types}) AS {sql}");
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut raw).await.unwrap();
        let explain = format!("EXPLAIN (COSTS OFF) EXECUTE s{at} ({values})");
        let steps: Vec<String> = sqlx::raw_sql(AssertSqlSafe(explain))
            .fetch_all(&mut raw)
            .await
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert!(steps.iter().any(|step| step.contains(index)), "{sql}: {steps:#?}");
        let only = steps.iter().any(|step| step.contains("Index Only Scan"));
        assert!(only, "{sql}: {steps:#?}");
    }
    fresh.finish().await;
}

casemate_testing::each_backend!(every_statement_runs);
