//! One changing request: a transaction, and the answer remembered in it under the request's
//! `Idempotency-Key`, if it has one.

use casemate_api::error::ErrorCode;
use casemate_core::id::EventSeq;
use casemate_store::{Tx, idempotency::Remembered};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Caller, Ctx, Error};
use crate::crash;

/// A finished answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON text; empty for a reply without a body.
    pub body: String,
    /// Given before, under the same key.
    pub replayed: bool,
}

/// A key that makes a repeated request the same request.
#[derive(Debug, Clone)]
pub struct IdempotencyKey {
    /// What the client sent.
    pub key: String,
    /// Hash of method, path and body.
    pub fingerprint: String,
}

impl IdempotencyKey {
    /// The key of a request. 1 to 255 visible ASCII characters.
    pub fn new(key: &str, method: &str, path: &str, body: &[u8]) -> Result<Self, Error> {
        if key.is_empty() || key.len() > 255 || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::field(
                ErrorCode::InvalidRequest,
                "Idempotency-Key",
                "must be 1 to 255 visible ASCII characters",
            ));
        }
        let mut hasher = Sha256::new();
        for part in [method.as_bytes(), path.as_bytes(), body] {
            hasher.update(u64::try_from(part.len()).unwrap_or(0).to_le_bytes());
            hasher.update(part);
        }
        Ok(Self { key: key.to_owned(), fingerprint: hex::encode(hasher.finalize()) })
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Mutation {
    ctx: Ctx,
    workspace: casemate_core::id::WorkspaceId,
    key: Option<IdempotencyKey>,
    /// The transaction of the request.
    pub tx: Tx,
}

/// How a request begins.
#[derive(Debug)]
pub enum Begun {
    /// It is new: do it.
    Fresh(Box<Mutation>),
    /// It was answered before.
    Answered(Answer),
}

impl Ctx {
    /// Begins a changing request.
    pub async fn begin_mutation(
        &self,
        caller: &Caller,
        key: Option<IdempotencyKey>,
    ) -> Result<Begun, Error> {
        let mut tx = self.begin().await?;
        let workspace = caller.workspace.id;
        if let Some(key) = &key
            && let Some(before) = tx.remembered(workspace, &key.key, self.now()).await?
        {
            if before.fingerprint != key.fingerprint {
                return Err(Error::code(ErrorCode::IdempotencyKeyReused));
            }
            let status = u16::try_from(before.status).unwrap_or(500);
            return Ok(Begun::Answered(Answer { status, body: before.body, replayed: true }));
        }
        Ok(Begun::Fresh(Box::new(Mutation { ctx: self.clone(), workspace, key, tx })))
    }
}

impl Mutation {
    /// Commits with a JSON answer; `last_event` is announced after that.
    pub async fn finish<T: Serialize>(
        self,
        status: u16,
        reply: &T,
        last_event: Option<EventSeq>,
    ) -> Result<Answer, Error> {
        let body = serde_json::to_string(reply)
            .map_err(|error| Error::Internal(format!("a reply does not serialise: {error}")))?;
        self.finish_text(status, body, last_event).await
    }

    /// Commits without an answer: the request was refused, and something was written down for it all
    /// the same. Repeated under its key it is a new request.
    pub async fn finish_refused(self, last_event: EventSeq) -> Result<(), Error> {
        self.tx.commit().await?;
        self.ctx.announce(last_event);
        Ok(())
    }

    /// Commits with an answer without a body.
    pub async fn finish_empty(
        self,
        status: u16,
        last_event: Option<EventSeq>,
    ) -> Result<Answer, Error> {
        self.finish_text(status, String::new(), last_event).await
    }

    async fn finish_text(
        mut self,
        status: u16,
        body: String,
        last_event: Option<EventSeq>,
    ) -> Result<Answer, Error> {
        if let Some(key) = self.key {
            let answer = Remembered {
                fingerprint: key.fingerprint,
                status: status.into(),
                body: body.clone(),
            };
            self.tx.remember(self.workspace, &key.key, &answer).await?;
        }
        self.tx.commit().await?;
        crash::point(|| "accept.after_commit".to_owned());
        if let Some(last_event) = last_event {
            self.ctx.announce(last_event);
        }
        Ok(Answer { status, body, replayed: false })
    }
}
