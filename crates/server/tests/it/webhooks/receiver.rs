//! A receiver of webhooks that keeps what it gets.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// A request that a receiver got.
#[derive(Debug, Clone)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Debug, Default)]
struct Inner {
    received: Vec<Received>,
    /// Statuses of the next answers; then 204.
    answers: Vec<u16>,
}

#[derive(Debug, Clone)]
pub struct Receiver {
    pub url: String,
    inner: Arc<Mutex<Inner>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let inner: Arc<Mutex<Inner>> = Arc::default();
        let router = Router::new().fallback(answer).with_state(inner.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=abc", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, inner }
    }

    /// Answers the next requests with these statuses.
    pub fn will_answer(&self, statuses: &[u16]) {
        self.inner.lock().unwrap().answers = statuses.iter().rev().copied().collect();
    }

    /// What it got since the last call.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.inner.lock().unwrap().received)
    }
}

async fn answer(
    State(inner): State<Arc<Mutex<Inner>>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let mut inner = inner.lock().unwrap();
    inner.received.push(Received { headers, body: body.to_vec() });
    let status = inner.answers.pop().unwrap_or(204);
    (StatusCode::from_u16(status).unwrap(), if status == 204 { "" } else { "no thanks" })
}
