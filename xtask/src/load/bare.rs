//! What the server is compared with: a handler that only returns bytes, and a loop that only commits.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use axum::{Router, body::Bytes, http::header::CONTENT_TYPE};
use sqlx::{
    Connection, Executor, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

/// A bare axum server in a process of its own; killed when dropped.
#[derive(Debug)]
pub struct BareServer {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl BareServer {
    /// Starts one that answers everything with these bytes.
    pub fn start(dir: &Path, body: &[u8]) -> anyhow::Result<Self> {
        let file = dir.join("bare-body.json");
        fs::write(&file, body)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("bare-server")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().with_context(|| format!("bare server said {line:?}"))?;
        Ok(Self { child, address })
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers everything with the bytes of a file, after it has read the request's body.
pub async fn serve(file: &Path) -> anyhow::Result<()> {
    let body = Bytes::from(fs::read(file)?);
    let handler = move |_: Bytes| {
        let body = body.clone();
        async move { ([(CONTENT_TYPE, "application/json")], body) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    axum::serve(listener, Router::new().fallback(handler)).await?;
    Ok(())
}

/// One row per `COMMIT`, one after the other, as durable as the server's: how long each took.
pub async fn commits(dir: &Path, duration: Duration) -> anyhow::Result<(Duration, Vec<Duration>)> {
    let options = SqliteConnectOptions::new()
        .filename(dir.join("bare.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    connection.execute("CREATE TABLE lines (id INTEGER PRIMARY KEY, text TEXT NOT NULL)").await?;
    let text = "x".repeat(1000);
    let (began, mut each) = (Instant::now(), Vec::new());
    while began.elapsed() < duration {
        let sent = Instant::now();
        connection.execute("BEGIN IMMEDIATE").await?;
        sqlx::query("INSERT INTO lines (text) VALUES ($1)")
            .bind(&text)
            .execute(&mut connection)
            .await?;
        connection.execute("COMMIT").await?;
        each.push(sent.elapsed());
    }
    let took = began.elapsed();
    connection.close().await?;
    Ok((took, each))
}

/// The disk alone: 4 KiB appended and synced, how long each took.
pub fn syncs(dir: &Path, times: usize) -> anyhow::Result<Vec<Duration>> {
    let mut file = fs::File::create(dir.join("bare.sync"))?;
    let block = [0; 4096];
    (0..times)
        .map(|_| {
            let sent = Instant::now();
            file.write_all(&block)?;
            file.sync_data()?;
            Ok(sent.elapsed())
        })
        .collect()
}
