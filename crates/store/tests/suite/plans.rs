//! Every statement, on both engines; and on SQLite that each finds its rows through an index.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use casemate_core::{
    change::Change,
    cvm::{Phase, Resources, Spec},
    id::{CvmId, CvmName},
};
use casemate_store::{
    Db, accounts,
    cvms::{self, Filter, Intent},
    events, lease, nodes,
    operations::{self, Ending, Shown, queue::NewChange},
    prepared::Prepared,
    provisions, testing,
};
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::world::{ALL, START, TERM, World, app_id, at, at_rest, hash, kms, number, operation_id};

/// What the driver was told to run, in this process.
static STATEMENTS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Notes the text of every statement; the driver shows it to the log.
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

/// Calls everything that has a statement of its own.
async fn every_statement_runs(db: Db) {
    let world = World::new(db.clone()).await;
    db.ping().await.unwrap();
    accounts::any_user(&db).await.unwrap();
    accounts::principal(&db, "none", START).await.unwrap();
    prepare_and_commit(&world).await;
    read_everything(&world).await;
    work(&world).await;
    let mut tx = db.begin().await.unwrap();
    tx.expire_provisions(at(900 * 86_400)).await.unwrap();
    tx.forget_answers(at(900 * 86_400), Duration::from_secs(1)).await.unwrap();
    tx.commit().await.unwrap();
    lease::release_all(&db, "w").await.unwrap();
}

async fn prepare_and_commit(world: &World) {
    let (db, document, kms) = (&world.db, hash(7), kms());
    let mut tx = db.begin().await.unwrap();
    tx.insert_api_key("aa", world.user, world.workspace, "k", START).await.unwrap();
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
    tx.lock_node_and_sum(world.node).await.unwrap();
    let cvm = tx.insert_cvm(&world.new_cvm(app, "alpha"), START).await.unwrap();
    assert!(tx.consume_provision(&found[0], cvm, START).await.unwrap());
    tx.cvms_of_app(&app).await.unwrap();
    tx.make_due(cvm, START).await.unwrap();
    tx.commit().await.unwrap();
    provisions::free_nonces(db, world.workspace, 0, 3).await.unwrap();
    provisions::document(db, &document).await.unwrap();
}

async fn read_everything(world: &World) {
    let (db, workspace) = (&world.db, world.workspace);
    let cvm = cvms::page(db, workspace, ALL, 10, 0).await.unwrap().0.remove(0);
    for (node, user) in
        [(Some(world.node), None), (None, Some(world.user)), (Some(world.node), Some(world.user))]
    {
        let (found, total) = cvms::page(db, workspace, Filter { node, user }, 9, 0).await.unwrap();
        assert_eq!((found.len(), total), (1, 1));
    }
    let app = cvm.spec.app_id.to_string();
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
    cvms::by_uuids(db, workspace, &[cvm.uuid]).await.unwrap();
    cvms::for_gateway(db, app_id(number()).as_bytes()).await.unwrap();
    cvms::on_node(db, world.node).await.unwrap();
    for search in ["", "alp", &app] {
        assert_eq!(cvms::apps_page(db, workspace, search, 10, 0).await.unwrap().1, 1, "{search}");
    }
    nodes::all(db).await.unwrap();
    nodes::taken(db).await.unwrap();
    operations::of_cvm(db, cvm.id, &Shown::default(), 5).await.unwrap();
    operations::count(db, cvm.id, &Shown::default()).await.unwrap();
    events::of_operations(db, &[operation_id()], 5).await.unwrap();
    cvms::to_delete(db, START, 5).await.unwrap();
    operations::get(db, operation_id()).await.unwrap();
    events::of_cvm(db, cvm.id, casemate_core::id::EventSeq(0), 5).await.unwrap();
    events::of_workspace(db, workspace, casemate_core::id::EventSeq(0), 5).await.unwrap();
    events::of_all(db, casemate_core::id::EventSeq(0), 5).await.unwrap();
    events::newest(db).await.unwrap();
}

async fn work(world: &World) {
    let db = &world.db;
    lease::next_due(db).await.unwrap();
    lease::busy(db).await.unwrap();
    lease::busy_ids(db, 5).await.unwrap();
    let claimed = lease::claim(db, "w", START, TERM, 5).await.unwrap();
    let cvm = &claimed[0];
    let operation = world.open_operation(cvm.id).await;
    let mut tx = db.begin().await.unwrap();
    tx.mark_node(world.node, true, START).await.unwrap();
    tx.upsert_node("node-1", "sim", "here", "{}", START).await.unwrap();
    tx.record(cvm, &at_rest(&cvm.status, Phase::Running), START).await.unwrap();
    tx.close_operation(operation, &Ending::Succeeded, START).await.unwrap();
    let event = events::NewEvent {
        workspace: world.workspace,
        cvm: Some(cvm.id),
        operation: Some(operation),
        kind: "operation.ended",
        body: serde_json::json!({}),
    };
    tx.append_event(&event, START).await.unwrap();
    tx.commit().await.unwrap();
    change(world, cvm.id).await;
    world.delete(cvm.id, START).await;
}

async fn change(world: &World, id: CvmId) {
    let change = Change::default();
    let (first, second) = (operation_id(), operation_id());
    let mut tx = world.db.begin().await.unwrap();
    let cvm = tx.take_cvm(id).await.unwrap().unwrap();
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
    tx.split_batch(second).await.unwrap();
    for operation in tx.open_changes(id).await.unwrap() {
        tx.close_operation(operation, &Ending::Superseded, START).await.unwrap();
    }
    let other = hash(number());
    tx.keep_document(&other, "{}", START).await.unwrap();
    let prepared = Prepared { sealed_env: None, expires_at: START };
    tx.prepare(id, &other, &prepared, START).await.unwrap();
    tx.prepared(id, &other).await.unwrap();
    tx.expire_prepared(START).await.unwrap();
    let resources = Resources { vcpu: 3, ..cvm.spec.resources.clone() };
    let spec = Spec { compose_hash: other, resources, ..cvm.spec.clone() };
    let intent = Intent {
        spec: &spec,
        sealed_env: None,
        wish: &cvm.wish,
        status: &cvm.status,
        phase: cvm.phase,
    };
    tx.set_intent(&cvm, &intent, START).await.unwrap();
    tx.schedule_deletion(id, Some(START), world.user, START).await.unwrap();
    tx.commit().await.unwrap();
}

/// Tables that stay small, and lists of parameters, may be read whole; an index that holds exactly
/// what is asked for may be.
const MAY_BE_READ_WHOLE: [&str; 10] = [
    "SCAN nodes",
    "SCAN users",
    "SCAN CONSTANT ROW",
    "SCAN json_each",
    "SCAN list",
    "SCAN due",
    "SCAN ranked",
    "SCAN (subquery",
    "SCAN cvms USING INDEX cvms_due",
    "SCAN cvms USING COVERING INDEX cvms_due",
];

/// Whether a step may read rows in proportion to a table or a workspace.
fn is_too_much(statement: &str, step: &str) -> bool {
    let whole = step.starts_with("SCAN")
        && !MAY_BE_READ_WHOLE.iter().any(|allowed| step.starts_with(allowed))
        // What an upsert of a parent would read if foreign keys were checked at commit.
        && !statement.starts_with("INSERT INTO nodes");
    // Pages do, as far as they go; a part of a name has no index.
    let workspace = step.ends_with("(workspace_id=?)")
        && !step.contains("tallies")
        && !statement.contains("LIMIT $")
        && !statement.contains("LIKE");
    whole || workspace || step.contains("AUTOMATIC")
}

/// A statement of the store in the words of SQLite; other tests run in this process too.
fn is_ours(statement: &str) -> bool {
    const TABLES: [&str; 14] = [
        "counters",
        "users",
        "workspaces",
        "api_keys",
        "nodes",
        "documents",
        "apps",
        "app_tallies",
        "cvm_tallies",
        "provisions",
        "cvms",
        "operations",
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
    let fresh = testing::sqlite().await;
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
    assert!(explained > 70, "{explained} statements were seen");
    fresh.finish().await;
}

casemate_store::each_backend!(every_statement_runs);
