//! `GET /cvms/{cvm}/state`: once as JSON, or as a stream of events until a state is reached.
//!
//! The stream reads the event table's place and wakes on it; between events a comment every 10 s
//! keeps clients that give up after silence. Events: `state` on every change, then one of `complete`,
//! `timeout`, `error`; each with one line of data. It breaks off when the process is to end.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use casemate_api::{error::ErrorBody, page::query_number, reply::CvmState};
use casemate_core::{cvm::Phase, id::CvmId};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::json;

use crate::{
    app::{Caller, Ctx, Error, cvms},
    http::{
        error::ApiError,
        extract::{Auth, Version},
        render,
    },
    view::CvmView,
};

const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Whatever wakes nobody is seen by then.
const LOOK: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StateQuery {
    /// Stream until this state is reached.
    target: Option<String>,
    /// A poll's interval in seconds; changes are sent as they come.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 30)]
    interval: Option<String>,
    /// Give up after so many seconds, 300 if left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 600)]
    timeout: Option<String>,
}

/// The state once as JSON, or as a stream of events until a state is reached.
///
/// With `target`, or where the client accepts `text/event-stream`, it is a stream: `state` on every
/// change, then one of `complete`, `timeout`, `error`.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/state",
    operation_id = "get_cvm_state",
    tag = "CVMs",
    params(("cvm_id" = String, Path), StateQuery),
    responses(
        (status = 200, content(
            (CvmState = "application/json"),
            (CvmState = "text/event-stream"),
        )),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn state(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    _: Version,
    headers: HeaderMap,
    Path(cvm): Path<String>,
    Query(query): Query<StateQuery>,
) -> Result<Response, ApiError> {
    let number = |name: &str, text: &Option<String>, min, max| {
        query_number(name, text.as_deref(), min, max).map_err(|item| Error::Invalid(vec![item]))
    };
    // The interval is a poll's; here changes are sent as they come, so it only has to be valid.
    number("interval", &query.interval, 1, 30)?;
    let timeout = number("timeout", &query.timeout, 1, 600)?.unwrap_or(300);
    let accepts_stream = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"));
    let view = cvms::brief(&ctx, &caller, &cvm).await?;
    if query.target.is_none() && !accepts_stream {
        return Ok(Json(render::state(&view)).into_response());
    }
    let watch = Watch {
        cvm: view.id,
        target: query.target.map(|target| target.to_ascii_lowercase()),
        began: tokio::time::Instant::now(),
        ends: tokio::time::Instant::now() + Duration::from_secs(timeout.into()),
        ctx,
        caller,
        sent: None,
        last: view,
        over: false,
    };
    let stream = Sse::new(events(watch)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(stream.into_response())
}

struct Watch {
    ctx: Ctx,
    caller: Arc<Caller>,
    cvm: CvmId,
    target: Option<String>,
    began: tokio::time::Instant,
    ends: tokio::time::Instant,
    sent: Option<String>,
    last: CvmView,
    over: bool,
}

fn events(watch: Watch) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(watch, async |mut watch| {
        if watch.over {
            return None;
        }
        let stop = watch.ctx.stop.clone();
        let event = stop.run_until_cancelled(watch.next()).await?;
        Some((Ok(event), watch))
    })
}

impl Watch {
    /// The next event; waits for it.
    async fn next(&mut self) -> Event {
        let mut last_event = self.ctx.last_event.subscribe();
        loop {
            match cvms::watch(&self.ctx, &self.caller, self.cvm).await {
                Ok((Some(view), _)) => self.last = view,
                Ok((None, _)) => {
                    self.last.phase = Phase::Deleted;
                    self.last.in_progress = false;
                }
                Err(error) => {
                    self.over = true;
                    let elapsed = self.began.elapsed().as_secs();
                    let data = json!({ "error": error.body().message(), "elapsed": elapsed });
                    return Event::default().event("error").data(data.to_string());
                }
            }
            let state = json(&self.last);
            if self.sent.as_ref() != Some(&state) {
                self.sent = Some(state.clone());
                return Event::default().event("state").data(state);
            }
            if self.reached() {
                self.over = true;
                return Event::default().event("complete").data(self.ending(None));
            }
            tokio::select! {
                _ = last_event.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = tokio::time::sleep_until(self.ends) => {
                    self.over = true;
                    return Event::default().event("timeout").data(self.ending(Some("timed out")));
                }
            }
        }
    }

    /// The last state with what was waited for, and for how many seconds: official clients read both
    /// from `complete` and `timeout`.
    fn ending(&self, error: Option<&str>) -> String {
        let mut ending = serde_json::to_value(render::state(&self.last)).unwrap_or_default();
        if let Some(fields) = ending.as_object_mut() {
            let target = self.target.as_deref().unwrap_or(self.last.phase.as_str());
            fields.insert("target".to_owned(), target.into());
            fields.insert("elapsed".to_owned(), self.began.elapsed().as_secs().into());
            if let Some(error) = error {
                fields.insert("error".to_owned(), error.into());
            }
        }
        ending.to_string()
    }

    /// Without a target the stream ends when nothing is under way, gone counts for every target.
    fn reached(&self) -> bool {
        match &self.target {
            _ if self.last.phase == Phase::Deleted => true,
            Some(target) => self.last.phase.as_str() == target && !self.last.in_progress,
            None => false,
        }
    }
}

fn json(view: &CvmView) -> String {
    let mut view = view.clone();
    // Time passing is no change of state.
    view.uptime = None;
    serde_json::to_string(&render::state(&view)).unwrap_or_default()
}
