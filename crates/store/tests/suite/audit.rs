//! The audit log: pages of it, and that its rows stay as they are.

use casemate_core::{
    audit::{ActorKind, TargetKind},
    id::{KeyId, WorkspaceId},
};
use casemate_store::{
    Db,
    audit::{AuditRange, NewAuditEntry, newest},
};
use casemate_testing::database;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use crate::world::{START, World};

pub fn entry(id: &str, workspace: Option<WorkspaceId>) -> NewAuditEntry {
    NewAuditEntry {
        id: id.to_owned(),
        at: START,
        workspace,
        actor: ActorKind::Host,
        user: None,
        username: String::new(),
        key: Some(KeyId(7)),
        address: Some("192.0.2.1".to_owned()),
        request_id: Some("req-1".to_owned()),
        action: "restart_cvm".to_owned(),
        target: TargetKind::Cvm,
        target_id: Some("t".to_owned()),
        before: None,
        after: Some("{}".to_owned()),
        status: 202,
        error_code: None,
        replayed: false,
    }
}

pub async fn append(db: &Db, entries: &[NewAuditEntry]) {
    let mut tx = db.begin().await.unwrap();
    for entry in entries {
        tx.append_audit(entry).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn a_range_is_of_one_workspace_or_of_all_newest_first(db: Db) {
    let world = World::new(db.clone()).await;
    let mine = Some(world.workspace);
    append(&db, &[entry("a1", mine), entry("a2", None), entry("a3", mine), entry("a4", mine)])
        .await;
    let read = async |workspace, from: &str, before: &str, limit| {
        let range = AuditRange { workspace, from: from.to_owned(), before: before.to_owned() };
        let rows = newest(&db, &range, limit).await.unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(read(None, "", "b", 9).await, ["a4", "a3", "a2", "a1"]);
    assert_eq!(read(mine, "", "b", 9).await, ["a4", "a3", "a1"]);
    assert_eq!(read(mine, "a3", "a4", 9).await, ["a3"]);
    assert_eq!(read(None, "", "b", 2).await, ["a4", "a3"]);
    let range = AuditRange { workspace: mine, from: "a4".to_owned(), before: "b".to_owned() };
    let row = newest(&db, &range, 1).await.unwrap().remove(0);
    assert!(row.workspace.is_some() && row.username.is_empty() && row.user_kind.is_none());
    assert_eq!((row.status, row.key_id, &*row.actor), (202, Some(7), "host"));
}

casemate_testing::each_backend!(a_range_is_of_one_workspace_or_of_all_newest_first,);

const REFUSED: [&str; 3] = [
    "UPDATE audit_log SET username = 'mallory'",
    "DELETE FROM audit_log",
    "DELETE FROM audit_log WHERE id = 'a1'",
];

#[tokio::test]
async fn sqlite_refuses_to_change_or_delete_rows() {
    let fresh = database::sqlite().await;
    append(&fresh.db, &[entry("a1", None)]).await;
    let mut raw = SqliteConnection::connect(&fresh.url()).await.unwrap();
    for sql in REFUSED {
        let error = raw.execute(sql).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
    let left: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM audit_log").fetch_one(&mut raw).await.unwrap();
    assert_eq!(left, 1);
    raw.close().await.unwrap();
    fresh.finish().await;
}

#[tokio::test]
async fn postgres_refuses_to_change_or_delete_rows() {
    let fresh = database::postgres().await;
    append(&fresh.db, &[entry("a1", None)]).await;
    let mut raw = PgConnection::connect(&fresh.url()).await.unwrap();
    for sql in REFUSED.into_iter().chain(["TRUNCATE audit_log"]) {
        let error = raw.execute(sql).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
    let left: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM audit_log").fetch_one(&mut raw).await.unwrap();
    assert_eq!(left, 1);
    raw.close().await.unwrap();
    fresh.finish().await;
}
