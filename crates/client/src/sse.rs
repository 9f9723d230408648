//! Parses the events of a `text/event-stream`, each at most [`MAX_EVENT`] bytes.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream::BoxStream};
use sse_stream::SseByteStream;

use crate::error::{Error, TransportKind};

/// Maximum size of an event in bytes.
const MAX_EVENT: usize = 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// `message` if none is given.
    pub name: String,
    /// Several lines are joined by line feeds.
    pub data: String,
}

/// Decodes events from chunks of bytes. Comments only keep the stream alive.
pub(crate) struct Events {
    decoder: SseByteStream<BoxStream<'static, Result<Bytes, Error>>>,
    /// Bytes since the last event.
    pending: Arc<AtomicUsize>,
    call: String,
}

impl Events {
    /// The events in the body of a response.
    pub fn new(
        call: String,
        chunks: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
    ) -> Self {
        let pending = Arc::<AtomicUsize>::default();
        let counted = chunks.and_then({
            let (pending, call) = (Arc::clone(&pending), call.clone());
            move |chunk| {
                let total = pending.fetch_add(chunk.len(), Relaxed) + chunk.len();
                let fits = total <= MAX_EVENT;
                let result =
                    if fits { Ok(chunk) } else { Err(broken(&call, TransportKind::TooLarge)) };
                std::future::ready(result)
            }
        });
        Self { decoder: SseByteStream::new(counted.boxed()), pending, call }
    }

    /// The next complete event; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            let block = self.decoder.next().await?;
            self.pending.store(0, Relaxed);
            match block {
                Ok(block) => {
                    let Some(data) = block.data else { continue };
                    let name = block.event.filter(|name| !name.is_empty());
                    return Some(Ok(Event {
                        name: name.unwrap_or_else(|| "message".to_owned()),
                        data,
                    }));
                }
                Err(sse_stream::Error::Body(error)) => {
                    let error = error.downcast::<Error>();
                    return Some(Err(error.map_or_else(
                        |_| broken(&self.call, TransportKind::Broken),
                        |error| *error,
                    )));
                }
                Err(_) => return Some(Err(broken(&self.call, TransportKind::Broken))),
            }
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("call", &self.call).finish_non_exhaustive()
    }
}

fn broken(call: &str, kind: TransportKind) -> Error {
    Error::Transport { call: call.to_owned(), kind, source: None }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn all(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut events = Events::new("GET /x".to_owned(), stream::iter(pieces));
        let mut all = Vec::new();
        while let Some(event) = events.next().await {
            let event = event.unwrap();
            all.push((event.name, event.data));
        }
        all
    }

    #[tokio::test]
    async fn events_come_out_however_they_are_cut() {
        let text = "\u{feff}: hello\nevent: state\ndata: {\"a\":\"é\"}\n\nid: 7\nevent:x\r\ndata:1\r\ndata\r\ndata: 3\r\n\r\ndata: last\n";
        let expected = [("state", "{\"a\":\"é\"}"), ("x", "1\n\n3")];
        let expected = expected.map(|(name, data)| (name.to_owned(), data.to_owned()));
        assert_eq!(all(&[text.as_bytes()]).await, expected, "an unfinished event is none");
        for at in 0..text.len() {
            let cut = [&text.as_bytes()[..at], &text.as_bytes()[at..]];
            assert_eq!(all(&cut).await, expected, "{at}");
        }
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(all(&single).await, expected);
    }

    #[tokio::test]
    async fn a_lone_carriage_return_ends_a_line_and_no_data_is_no_event() {
        let expected = [("message".to_owned(), "a".to_owned())];
        assert_eq!(all(&[b"data: a\r\revent: empty\r\r"]).await, expected);
    }

    #[tokio::test]
    async fn an_event_without_end_is_refused() {
        let chunk = Bytes::from(vec![b'x'; MAX_EVENT / 2 + 1]);
        let chunks = stream::repeat_with(move || Ok(chunk.clone()));
        let mut events = Events::new("GET /x".to_owned(), chunks);
        let error = events.next().await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Transport { kind: TransportKind::TooLarge, .. }), "{error}");
        assert!(events.next().await.is_none(), "the stream is over");
    }
}
