//! SIGTERM ends a process promptly, with clients still connected, and leaves an intact database.

use std::time::{Duration, Instant};

use futures_util::StreamExt;

use crate::process::Process;

#[tokio::test]
async fn open_streams_do_not_hold_up_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path(), &["--node", "sim"], &[]).await;
    process.deploy("my-app").await;
    process.until_status("my-app", "running").await;
    let mut streams = Vec::new();
    for path in [
        "/api/v1/cvms/my-app/state?target=stopped&timeout=600",
        "/api/v1/casemate/cvms/my-app/logs?follow=true",
    ] {
        let answer = process.request("GET", path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let mut stream = Box::pin(answer.bytes_stream());
        let first = stream.next().await.unwrap().unwrap();
        assert!(!first.is_empty(), "{path}");
        streams.push(stream);
    }
    let before = Instant::now();
    process.terminate();
    let status = process.ended().await;
    let took = before.elapsed();
    assert!(status.success(), "{status}\n{}", process.log());
    assert!(took < Duration::from_secs(2), "{took:?}\n{}", process.log());
    let names = ["casemate.db-wal", "casemate.db-shm", "api.url.new"];
    let left: Vec<_> = names.iter().filter(|name| dir.path().join(name).exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    for mut stream in streams {
        // The remaining events arrive before the end of the stream; the connection does not break.
        while let Some(piece) = stream.next().await {
            piece.unwrap();
        }
    }
}
