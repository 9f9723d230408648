//! A child process acknowledges commits and is killed with SIGKILL.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use casemate_core::id::{EventSeq, WorkspaceId};
use casemate_store::{
    Db,
    events::{self, NewEvent},
};

use crate::world::{START, World};

const CHILD: &str = "CASEMATE_STORE_TEST_CHILD";
const WRITERS: usize = 8;
const ROUNDS: usize = 3;
const ACKNOWLEDGED: usize = 150;

fn child_path() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a test tells its own child what to do")]
    std::env::var(CHILD).ok().map(PathBuf::from)
}

/// The child: does nothing unless the environment asks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(path) = child_path() else { return };
    let db = Db::open(&format!("sqlite://{}", path.display())).await.unwrap();
    let first = events::newest(&db).await.unwrap().0;
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(db.clone(), first, writer))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Runs until it is killed.
async fn write(db: Db, first: i64, writer: usize) {
    for round in 0.. {
        let name = format!("{first}-{writer}-{round}");
        let event = NewEvent {
            workspace: WorkspaceId(1),
            cvm: None,
            operation: None,
            kind: "note",
            body: name.clone().into(),
        };
        let mut tx = db.begin().await.unwrap();
        tx.append_events(&[event], START).await.unwrap();
        tx.commit().await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {name}").unwrap();
        out.flush().unwrap();
    }
}

/// Runs a child until it has acknowledged enough, kills it, and returns all acknowledged writes.
fn killed_child(path: &Path) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kill::child", "--exact", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut names = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let Ok(line) = line else { break };
        // A truncated line does not count as acknowledged.
        let Some((_, name)) = line.split_once("acknowledged ") else { continue };
        names.push(name.to_owned());
        if names.len() == ACKNOWLEDGED {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_acknowledged_is_there() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("casemate.db");
    let url = format!("sqlite://{}", path.display());
    let db = Db::open(&url).await.unwrap();
    World::new(db.clone()).await;
    db.close().await;
    let mut acknowledged = BTreeSet::new();
    for round in 1..=ROUNDS {
        let path = path.clone();
        let names = tokio::task::spawn_blocking(move || killed_child(&path)).await.unwrap();
        acknowledged.extend(names);
        assert!(acknowledged.len() >= round * ACKNOWLEDGED);
        let db = Db::open(&url).await.unwrap();
        let kept: BTreeSet<String> = events::of_all(&db, EventSeq(0), 1_000_000)
            .await
            .unwrap()
            .iter()
            .map(|event| serde_json::from_str(&event.body).unwrap())
            .collect();
        let lost: Vec<_> = acknowledged.difference(&kept).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        db.close().await;
    }
}
