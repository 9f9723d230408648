//! `casemate admin migrate` on both databases.

use std::path::Path;

use casemate_testing::database;
use serde_json::{Value, json};

use crate::process::{Process, command};

struct Said {
    code: Option<i32>,
    out: Value,
    err: String,
}

fn migrate(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Said {
    let all = [&["admin", "migrate", "--json"], args].concat();
    let said = command(dir, &all, variables).output().unwrap();
    Said {
        code: said.status.code(),
        out: serde_json::from_slice(&said.stdout).unwrap_or(Value::Null),
        err: String::from_utf8_lossy(&said.stderr).into_owned(),
    }
}

fn told_then_done(dir: &Path, variables: &[(&str, &str)]) {
    for _ in 0..2 {
        let told = migrate(dir, &["--check"], variables);
        assert_eq!(told.code, Some(1), "{}", told.err);
        assert_eq!(told.out["pending"][0]["version"], 1, "telling does nothing: {}", told.err);
        assert!(told.err.contains("pending-migrations"), "{}", told.err);
    }
    let done = migrate(dir, &[], variables);
    assert_eq!((done.code, &done.out["migrated"][0]["version"]), (Some(0), &json!(1)));
    let told = migrate(dir, &["--check"], variables);
    assert_eq!((told.code, told.out), (Some(0), json!({ "pending": [] })));
    assert_eq!(migrate(dir, &[], variables).out, json!({ "migrated": [] }));
}

#[tokio::test]
async fn a_sqlite_file_is_told_of_then_migrated_unless_it_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    told_then_done(dir.path(), &[]);
    let process = Process::start(dir.path(), &["--node", "none"], &[]).await;
    assert_eq!(migrate(dir.path(), &["--check"], &[]).code, Some(0));
    let refused = migrate(dir.path(), &[], &[]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("in use by another casemate"), "{}", refused.err);
    process.stop().await;
}

#[tokio::test]
async fn a_postgres_database_is_told_of_then_migrated() {
    let dir = tempfile::tempdir().unwrap();
    let database = database::empty_postgres().await;
    told_then_done(dir.path(), &[("CASEMATE_DATABASE_URL", &database)]);
    let nowhere = migrate(
        dir.path(),
        &["--check"],
        &[("CASEMATE_DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/none")],
    );
    assert_eq!(nowhere.code, Some(1));
    assert!(
        nowhere.err.contains("127.0.0.1:1") && !nowhere.err.contains("hunter2"),
        "{}",
        nowhere.err
    );
}
