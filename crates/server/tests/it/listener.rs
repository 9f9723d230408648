//! Connections as clients open them, over real sockets: silence of some keeps nobody out.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, body::Bytes, routing::get};
use casemate_server::serve::listener::{ConnectionLimits, serve};
use futures_util::StreamExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

struct Stage {
    at: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// What `/stream` sends.
    stream: mpsc::UnboundedSender<Bytes>,
}

/// `/` answers `ok`; `/stream` sends what the test says until the test ends it.
async fn stage(total: usize, per_peer: usize, head: Duration) -> Stage {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (stream, receiver) = mpsc::unbounded_channel::<Bytes>();
    let receiver = std::sync::Arc::new(std::sync::Mutex::new(Some(receiver)));
    let router = Router::new().route("/", get(async || "ok")).route(
        "/stream",
        get(async move || {
            let receiver = receiver.lock().unwrap().take().unwrap();
            let parts = futures_util::stream::unfold(receiver, async |mut receiver| {
                let part = receiver.recv().await?;
                Some((Ok::<_, std::io::Error>(part), receiver))
            });
            axum::body::Body::from_stream(parts.boxed())
        }),
    );
    let stop = CancellationToken::new();
    let limits = ConnectionLimits { total, per_peer, head };
    let task = tokio::spawn(serve(listener, router, limits, stop.clone()));
    Stage { at, stop, task, stream }
}

async fn open(stage: &Stage, first: &str) -> TcpStream {
    let mut connection = TcpStream::connect(stage.at).await.unwrap();
    connection.write_all(first.as_bytes()).await.unwrap();
    connection
}

const HALF: &str = "GET / HTTP/1.1\r\nHost: x\r\nX-Slow:";

/// Reads until the text is there; `false`: the connection ended before.
async fn reads(connection: &mut TcpStream, text: &str) -> bool {
    let mut seen = Vec::new();
    let read = async {
        loop {
            let mut part = [0; 1024];
            match connection.read(&mut part).await {
                Ok(0) | Err(_) => return false,
                Ok(count) => seen.extend_from_slice(&part[..count]),
            }
            if String::from_utf8_lossy(&seen).contains(text) {
                return true;
            }
        }
    };
    timeout(PATIENCE, read).await.expect("nothing came")
}

/// Whether the other side closes the connection; what it still says is read.
async fn is_closed(connection: &mut TcpStream) -> bool {
    !reads(connection, "\0never\0").await
}

async fn asks(stage: &Stage) -> bool {
    let mut connection = open(stage, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    reads(&mut connection, "200 OK").await
}

#[tokio::test]
async fn half_sent_heads_in_any_number_keep_nobody_out() {
    let stage = stage(32, 16, Duration::from_mins(10)).await;
    let mut half = Vec::new();
    for _ in 0..200 {
        half.push(open(&stage, HALF).await);
        half.push(open(&stage, "").await);
    }
    assert!(asks(&stage).await);
    assert!(is_closed(&mut half[0]).await, "the oldest gave way");
}

#[tokio::test]
async fn who_says_nothing_or_never_ends_is_let_go() {
    let stage = stage(32, 32, Duration::from_millis(200)).await;
    for first in ["", "G", HALF, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n"] {
        let mut connection = open(&stage, first).await;
        assert!(is_closed(&mut connection).await, "{first:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_being_sent_is_not_cut_off() {
    let stage = stage(16, 2, Duration::from_millis(100)).await;
    let mut streaming = open(&stage, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(reads(&mut streaming, "200 OK").await);
    let mut idle = open(&stage, HALF).await;
    for _ in 0..5 {
        assert!(asks(&stage).await);
    }
    assert!(is_closed(&mut idle).await);
    stage.stream.send(Bytes::from_static(b"still here")).unwrap();
    assert!(reads(&mut streaming, "still here").await);
}

#[tokio::test]
async fn what_is_under_way_is_answered_before_the_end() {
    let stage = stage(16, 16, Duration::from_mins(10)).await;
    let mut streaming = open(&stage, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(reads(&mut streaming, "200 OK").await);
    let mut idle = open(&stage, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(reads(&mut idle, "200 OK").await);
    stage.stop.cancel();
    assert!(is_closed(&mut idle).await);
    assert!(!stage.task.is_finished());
    stage.stream.send(Bytes::from_static(b"the last word")).unwrap();
    assert!(reads(&mut streaming, "the last word").await);
    drop(stage.stream);
    timeout(PATIENCE, stage.task).await.expect("it ends").unwrap();
}
