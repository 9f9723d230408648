//! What pages of a long list cost, on both engines: 100,000 CVMs (33,334 apps) in one workspace.
//!
//! `cargo bench -p casemate-store --bench lists`, with `TEST_POSTGRES_URL` set; prints milliseconds
//! per page of 100, the median of 21. PostgreSQL twice: before and after its first vacuum, which is
//! when an index begins to answer without the rows.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement: it prints or panics")]

use std::{fmt, future::Future, time::Instant};

use casemate_core::{
    cvm::Phase,
    id::{AppId, CvmId, KmsId, NodeId, WorkspaceId},
    time::Timestamp,
};
use casemate_store::{
    Db,
    cvms::{self, AppFilter, AppKey, Filter, PageStart, Search},
};
use casemate_testing::database::{self, Fresh};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

const CVMS: i64 = 100_000;
const WORKSPACE: WorkspaceId = WorkspaceId(1);
const PAGE: i64 = 100;
const RUNS: usize = 21;

/// Rows as the store writes them, made by the database itself: one text for both. A KiB of spec, which
/// is about what a real one has.
fn fill() -> String {
    let spec = serde_json::json!({
        "name": "cvm", "app_id": "0".repeat(40), "compose_hash": "0".repeat(64),
        "facts": {
            "public_logs": true, "public_sysinfo": true, "public_tcbinfo": true,
            "gateway_enabled": true, "secure_time": false, "storage_fs": null, "features": [],
            "manifest_version": 2, "runner": "docker-compose", "ports": [80],
            "docker_compose_hash": null, "pre_launch_script_hash": null,
        },
        "env_public_key": null,
        "resources": { "instance_type": "tdx.small", "vcpu": 1, "memory_mb": 1, "disk_gb": 1 },
        "image": "dstack-0.5.4", "listed": true, "env_keys": ["X".repeat(400)],
        "shutdown_timeout_s": 60, "allow_force_stop": true,
    });
    let status = serde_json::to_string(&casemate_core::cvm::Status::new()).unwrap();
    format!(
        "INSERT INTO users VALUES (1, 'ada', 'ada@example.org', 0);
        INSERT INTO workspaces (id, slug, name, wallet, next_nonce, created_at)
            VALUES (1, 'first', 'First', 'w', 0, 0);
        INSERT INTO nodes (id, name, kind, region, inventory, reachable, seen_at, created_at)
            VALUES (1, 'n1', 'sim', 'r1', '{{}}', TRUE, 0, 0), (2, 'n2', 'sim', 'r2', '{{}}', TRUE, 0, 0);
        INSERT INTO documents (hash, body, created_at, used_at) VALUES ('d', '{{}}', 0, 0);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CVMS})
        INSERT INTO apps (app_id, workspace_id, name, kms_id, created_at, used_at, live)
            SELECT SUBSTR('0000000000000000000000000000000000000000' || CAST(i AS TEXT),
                LENGTH(CAST(i AS TEXT)) + 1), 1, 'app-' || CAST(i AS TEXT), 'k', i * 1000, 0, 3
            FROM n WHERE i * 3 <= {CVMS} + 2;
        INSERT INTO app_tallies VALUES (1, ({CVMS} + 2) / 3);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CVMS})
        INSERT INTO cvms (id, reference, vm_uuid, workspace_id, created_by, app_id, name, node_id, kms_id,
            compose_hash, generation, power, run, stop_mode, phase, vcpu, memory_mb, disk_gb, image,
            instance_type, listed, fence, created_at, updated_at, status, spec, sealed_env)
            SELECT i, 'cvm_' || SUBSTR('0000000000' || CAST(i AS TEXT), LENGTH(CAST(i AS TEXT)) + 1),
                SUBSTR('00000000000000000000000000000000' || CAST(i AS TEXT), LENGTH(CAST(i AS TEXT)) + 1),
                1, 1, SUBSTR('0000000000000000000000000000000000000000' || CAST((i + 2) / 3 AS TEXT),
                LENGTH(CAST((i + 2) / 3 AS TEXT)) + 1), 'cvm-' || CAST(i AS TEXT), 1 + i % 2, 'k', 'd',
                1, 'running', 1, '\"hard\"',
                CASE WHEN i % 20 = 0 THEN 'stopped' ELSE 'running' END, 1, 1, 1,
                'dstack-0.5.' || CAST(i % 10 AS TEXT), 'tdx.' || CAST(i % 8 AS TEXT), i % 4 <> 0, 0,
                i * 1000, i * 1000, '{status}', '{spec}', '00ff'
            FROM n;
        INSERT INTO cvm_tallies VALUES (1, 1, 1, {CVMS} / 2), (1, 2, 1, {CVMS} / 2);"
    )
}

async fn median<T, E: fmt::Debug, F: Future<Output = Result<T, E>>>(read: impl Fn() -> F) -> f64 {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        read().await.unwrap();
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

async fn measure(what: &str, db: &Db) {
    println!("{what}, ms per page of {PAGE} (median of {RUNS})");
    let all = Filter { node: None, user: None };
    let on_node = Filter { node: Some(NodeId(1)), user: None };
    for (list, filter, long) in [("cvms", all, CVMS), ("cvms of a node", on_node, CVMS / 2)] {
        let at = |skip: i64| {
            median(move || cvms::page(db, WORKSPACE, filter, PageStart::Skip(skip), PAGE))
        };
        let (first, middle, last) = (at(0).await, at(long / 2).await, at(long - PAGE).await);
        let after = PageStart::After(CvmId(CVMS / 2));
        let key = median(|| cvms::page(db, WORKSPACE, filter, after, PAGE)).await;
        println!(
            "  {list:22} first {first:7.2}  middle {middle:7.2}  last {last:7.2}  cursor {key:7.2}"
        );
    }
    let any = AppFilter::default;
    let filters = [
        ("apps", any()),
        ("  status=stopped", AppFilter { phases: Some(vec![Phase::Stopped]), ..any() }),
        ("  status=running", AppFilter { phases: Some(vec![Phase::Running]), ..any() }),
        ("  listed=false", AppFilter { listed: Some(false), ..any() }),
        ("  base_image", AppFilter { image: Some("dstack-0.5.4".to_owned()), ..any() }),
        ("  instance_type", AppFilter { instance_type: Some("tdx.4".to_owned()), ..any() }),
        ("  kms", AppFilter { kms: Some(vec![KmsId("k".to_owned())]), ..any() }),
        ("  node", AppFilter { nodes: Some(vec![NodeId(1)]), ..any() }),
        ("  search=777", AppFilter { search: Search::parse("777"), ..any() }),
        (
            "  four together",
            AppFilter {
                phases: Some(vec![Phase::Stopped]),
                listed: Some(false),
                image: Some("dstack-0.5.0".to_owned()),
                nodes: Some(vec![NodeId(1)]),
                ..any()
            },
        ),
    ];
    for (list, filter) in &filters {
        let start = cvms::apps_page(db, WORKSPACE, filter, PageStart::Skip(0), PAGE).await.unwrap();
        let at = |skip: i64| {
            median(move || cvms::apps_page(db, WORKSPACE, filter, PageStart::Skip(skip), PAGE))
        };
        let (first, middle, last) =
            (at(0).await, at(start.total / 2).await, at((start.total - PAGE).max(0)).await);
        let id: AppId = format!("{:040}", CVMS / 6).parse().unwrap();
        let after = AppKey { created_at: Timestamp::from_micros(CVMS / 6 * 1000), app_id: id };
        let key =
            median(|| cvms::apps_page(db, WORKSPACE, filter, PageStart::After(after), PAGE)).await;
        println!(
            "  {list:22} first {first:7.2}  middle {middle:7.2}  last {last:7.2}  cursor {key:7.2}  of {}",
            start.total
        );
    }
}

async fn on_sqlite() {
    let fresh: Fresh = database::sqlite().await;
    let mut raw = SqliteConnection::connect(&fresh.url()).await.unwrap();
    raw.execute(AssertSqlSafe(fill())).await.unwrap();
    raw.close().await.unwrap();
    measure("SQLite", &fresh.db).await;
    fresh.finish().await;
}

async fn on_postgres() {
    let fresh: Fresh = database::postgres().await;
    let mut raw = PgConnection::connect(&fresh.url()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(fill())).execute(&mut raw).await.unwrap();
    raw.execute("ANALYZE").await.unwrap();
    measure("PostgreSQL before its first vacuum", &fresh.db).await;
    raw.execute("VACUUM ANALYZE").await.unwrap();
    raw.close().await.unwrap();
    measure("PostgreSQL", &fresh.db).await;
    fresh.finish().await;
}

#[tokio::main]
async fn main() {
    on_sqlite().await;
    on_postgres().await;
}
