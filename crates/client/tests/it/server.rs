//! A server with scripted responses that records requests.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use casemate_client::{Client, Policy};

/// The key that must not appear anywhere.
pub const KEY: &str = "phak_the-secret-of-this-test";

/// A received request.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A scripted response.
pub type Answer = Box<dyn FnOnce() -> Response + Send>;

/// The server; ends with its runtime.
#[derive(Clone)]
pub struct Server {
    pub url: String,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A response with a status, headers and a body.
pub fn answer(
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: impl Into<String>,
) -> Answer {
    let body = body.into();
    Box::new(move || {
        let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        response
    })
}

/// A successful response.
pub fn ok(body: impl Into<String>) -> Answer {
    answer(200, &[("content-type", "application/json")], body)
}

/// An event stream that ends.
pub fn events(body: impl Into<String>) -> Answer {
    answer(200, &[("content-type", "text/event-stream")], body)
}

impl Server {
    /// Sends these responses in order, then 418.
    pub async fn with(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http://{}/api/v1", listener.local_addr().unwrap()),
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            asked: Arc::default(),
        };
        let (answers, asked) = (server.answers.clone(), server.asked.clone());
        let router = Router::new().fallback(
            async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
                asked.lock().unwrap().push(Asked { method, uri, headers, body });
                let next = answers.lock().unwrap().pop_front();
                next.unwrap_or_else(|| answer(418, &[], "no more answers"))()
            },
        );
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// A client with short timeouts.
    pub fn client(&self) -> Client {
        let policy = Policy { base: Duration::from_millis(1), ..Policy::default() };
        Client::builder(&self.url, KEY.into()).policy(policy).build().unwrap()
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}
