//! The state of a CVM as it changes: `GET /cvms/{id}/state` as a stream, with reconnects. Bounded by the
//! given time and by a number of consecutive failures.

use std::time::Duration;

use bytes::Bytes;
use casemate_api::reply::CvmState;
use futures_util::{Stream, stream};
use reqwest::Response;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::{
    error::{Error, TransportKind, transport},
    http::Client,
    retry::{Policy, backoff},
    sse::{Event, Events},
};

/// Servers send a comment at least every 30 s; after this time the connection counts as dead.
const SILENCE: Duration = Duration::from_secs(65);
/// Maximum number of consecutive connections without an event.
pub(crate) const MAX_FAILURES: u32 = 12;
/// Delays between connections.
pub(crate) const PACE: Policy = Policy {
    attempts: MAX_FAILURES,
    base: Duration::from_millis(250),
    cap: Duration::from_secs(5),
};

#[derive(Debug, Clone, PartialEq)]
pub enum WatchEvent {
    /// The state, initially and after every change.
    State(CvmState),
    /// The target state; the last event.
    Complete(CvmState),
    /// The connection was lost; the next call reconnects.
    Lost {
        /// The cause, for people.
        why: String,
    },
}

/// Watches a CVM. Created by [`Client::watch`].
#[derive(Debug)]
pub struct Watch {
    client: Client,
    cvm: String,
    target: String,
    began: Instant,
    ends: Instant,
    stream: Option<Events>,
    failures: u32,
    last: Option<CvmState>,
    over: bool,
}

/// The result of one read from a connection.
enum ReadOutcome {
    Event(Event),
    End,
    Late,
}

impl Client {
    /// Watches a CVM until it is in the target state or the time is over.
    pub fn watch(&self, cvm: &str, target: &str, within: Duration) -> Watch {
        let began = Instant::now();
        Watch {
            client: self.clone(),
            cvm: cvm.to_owned(),
            target: target.to_owned(),
            began,
            ends: began + within,
            stream: None,
            failures: 0,
            last: None,
            over: false,
        }
    }
}

impl Watch {
    /// The next event; `None` after [`WatchEvent::Complete`]. Errors are final: the server refuses, stays
    /// unreachable, or the time is over.
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, Error> {
        if self.over {
            return Ok(None);
        }
        loop {
            let Some(mut stream) = self.stream.take() else {
                if let Some(lost) = self.connect().await? {
                    return Ok(Some(lost));
                }
                continue;
            };
            match self.read(&mut stream).await {
                Ok(ReadOutcome::Event(event)) => {
                    self.stream = Some(stream);
                    if let Some(event) = self.interpret(&event)? {
                        self.failures = 0;
                        return Ok(Some(event));
                    }
                }
                Ok(ReadOutcome::Late) => return Err(self.timed_out()),
                Ok(ReadOutcome::End) => return self.lost("the stream ended".to_owned()).map(Some),
                Err(error) if error.is_transport() => {
                    return self.lost(error.to_string()).map(Some);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn connect(&mut self) -> Result<Option<WatchEvent>, Error> {
        if self.failures > 0 {
            let wait = backoff(&PACE, self.failures, self.client.entropy().u64());
            sleep_until(self.ends.min(Instant::now() + wait)).await;
        }
        let left = self.ends.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.timed_out());
        }
        // The server allows 10 to 600 s; a longer watch uses several connections.
        let seconds = left.as_secs().clamp(10, 600).to_string();
        let query =
            [("target", self.target.clone()), ("interval", "5".to_owned()), ("timeout", seconds)];
        let call = self.client.reading(&["cvms", &self.cvm, "state"], &query)?;
        match self.client.open(&call, "text/event-stream").await {
            Ok(response) => {
                let call = self.call();
                self.stream = Some(Events::new(call.clone(), chunks(call, response)));
                Ok(None)
            }
            Err(error) if is_temporary(&error) => self.fail(error).map(Some),
            Err(error) => Err(error),
        }
    }

    async fn read(&mut self, stream: &mut Events) -> Result<ReadOutcome, Error> {
        match timeout_at(self.ends, stream.next()).await {
            Err(_) => Ok(ReadOutcome::Late),
            Ok(None) => Ok(ReadOutcome::End),
            Ok(Some(event)) => event.map(ReadOutcome::Event),
        }
    }

    /// Interprets an event; `None`: nothing new.
    fn interpret(&mut self, event: &Event) -> Result<Option<WatchEvent>, Error> {
        let state = || -> Result<CvmState, Error> {
            serde_json::from_str(&event.data)
                .map_err(|error| Error::Decode { call: self.call(), reason: error.to_string() })
        };
        match event.name.as_str() {
            "state" => {
                let state = state()?;
                let known = self.last.as_ref() == Some(&state);
                self.last = Some(state.clone());
                Ok((!known).then_some(WatchEvent::State(state)))
            }
            "complete" => {
                // Phala Cloud may send another body here; the last state counts.
                let state = state().ok().or_else(|| self.last.clone());
                let Some(state) = state else {
                    return self.lost_stream("complete without a state");
                };
                self.over = true;
                self.stream = None;
                Ok(Some(WatchEvent::Complete(state)))
            }
            // The connection's time is over, not ours. Reconnect with a delay, in case the server says so
            // immediately every time.
            "timeout" => {
                self.stream = None;
                self.failures = self.failures.max(1);
                Ok(None)
            }
            "error" => self.lost_stream(&event.data),
            _ => Ok(None),
        }
    }

    fn lost_stream(&mut self, why: &str) -> Result<Option<WatchEvent>, Error> {
        self.stream = None;
        self.lost(why.to_owned()).map(Some)
    }

    fn lost(&mut self, why: String) -> Result<WatchEvent, Error> {
        self.failures += 1;
        if self.failures > MAX_FAILURES {
            return Err(self.broken(TransportKind::Broken));
        }
        Ok(WatchEvent::Lost { why })
    }

    fn fail(&mut self, error: Error) -> Result<WatchEvent, Error> {
        self.failures += 1;
        if self.failures > MAX_FAILURES {
            return Err(error);
        }
        Ok(WatchEvent::Lost { why: error.to_string() })
    }

    fn call(&self) -> String {
        format!("GET /cvms/{}/state", self.cvm)
    }

    fn broken(&self, kind: TransportKind) -> Error {
        Error::Transport { call: self.call(), kind, source: None }
    }

    fn timed_out(&self) -> Error {
        Error::TimedOut {
            target: self.target.clone(),
            waited: self.began.elapsed(),
            last: self.last.as_ref().map(|state| state.status.to_string()),
        }
    }
}

/// The chunks of a response body; too long a silence is an error.
fn chunks(call: String, response: Response) -> impl Stream<Item = Result<Bytes, Error>> {
    stream::try_unfold((call, response), async |(call, mut response)| {
        let chunk = match timeout(SILENCE, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| transport(&call, error))?,
            Err(_) => {
                return Err(Error::Transport { call, kind: TransportKind::Timeout, source: None });
            }
        };
        Ok(chunk.map(|chunk| (chunk, (call, response))))
    })
}

/// Whether a new connection may succeed.
pub(crate) fn is_temporary(error: &Error) -> bool {
    match error {
        Error::Transport { .. } => true,
        Error::Api(error) => matches!(error.status, 408 | 425 | 429 | 500 | 502..=504),
        _ => false,
    }
}
