//! The write path. A changing request begins a [`Mutation`], a use case writes in its transaction, and
//! [`Mutation::finish`] keeps the reply under the request's `Idempotency-Key`, commits, and wakes readers and
//! reconcilers. A handler returns [`Written`], which nothing else makes.

use std::marker::PhantomData;

use casemate_api::error::ErrorCode;
use casemate_core::id::WorkspaceId;
use casemate_store::{Tx, idempotency::StoredReply};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Caller, Ctx, Error, audit};
use crate::crash;

/// The reply of a committed write: a `T` with this HTTP status. `()` has no body.
#[derive(Debug)]
pub struct Written<T, const STATUS: u16 = 200> {
    /// JSON text.
    pub body: String,
    reply: PhantomData<fn() -> T>,
}

/// Why a write ends without a reply of its own.
#[derive(Debug)]
pub enum WriteError {
    /// The request was answered before, under the same key.
    Replayed(Replay),
    Failed(Error),
}

/// A reply as it was kept.
#[derive(Debug)]
pub struct Replay {
    /// HTTP status.
    pub status: u16,
    /// JSON text; empty for a reply without a body.
    pub body: String,
}

impl<E: Into<Error>> From<E> for WriteError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
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

/// A changing request between its beginning and its reply. Dropped, it leaves nothing.
#[derive(Debug)]
pub struct Mutation {
    ctx: Ctx,
    workspace: WorkspaceId,
    key: Option<IdempotencyKey>,
    changes_nodes: bool,
    /// The transaction of the request.
    pub tx: Tx,
}

impl Ctx {
    /// Begins a changing request.
    pub async fn begin_mutation(
        &self,
        caller: &Caller,
        key: Option<IdempotencyKey>,
    ) -> Result<Mutation, WriteError> {
        audit::is_by(caller);
        let mut tx = self.begin().await?;
        let workspace = caller.workspace.id;
        if let Some(key) = &key
            && let Some(before) = tx.remembered(workspace, &key.key, self.now()).await?
        {
            if before.fingerprint != key.fingerprint {
                return Err(Error::code(ErrorCode::IdempotencyKeyReused).into());
            }
            audit::is_replayed();
            let status = u16::try_from(before.status).unwrap_or(500);
            return Err(WriteError::Replayed(Replay { status, body: before.body }));
        }
        Ok(Mutation { ctx: self.clone(), workspace, key, changes_nodes: false, tx })
    }
}

impl Mutation {
    /// The world of the request; reads of it do not see what the transaction wrote.
    pub const fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// Has the registry look at the nodes after the commit.
    pub const fn changes_nodes(&mut self) {
        self.changes_nodes = true;
    }

    /// Commits with a JSON reply.
    pub async fn finish<T: Serialize, const STATUS: u16>(
        self,
        reply: &T,
    ) -> Result<Written<T, STATUS>, Error> {
        self.finish_text(text(reply)?, Some(&shown(reply)?)).await
    }

    /// Commits with a reply that has a secret; a repetition of the request gets `kept`, which has none.
    pub async fn finish_secret<T: Serialize, const STATUS: u16>(
        self,
        reply: &T,
        kept: &T,
    ) -> Result<Written<T, STATUS>, Error> {
        let body = text(reply)?;
        let (kept, shown) = (text(kept)?, shown(kept)?);
        let Written { reply, .. } = self.finish_text::<T, STATUS>(kept, Some(&shown)).await?;
        Ok(Written { body, reply })
    }

    /// Commits with a reply without a body.
    pub async fn finish_empty<const STATUS: u16>(self) -> Result<Written<(), STATUS>, Error> {
        self.finish_text(String::new(), None).await
    }

    /// Commits; returns the reply, which has a secret in it, so it is not kept.
    pub async fn finish_unkept<T: Serialize>(self, reply: T) -> Result<T, Error> {
        self.commit_audited(200, Some(&shown(&reply)?)).await?;
        Ok(reply)
    }

    async fn finish_text<T, const STATUS: u16>(
        mut self,
        body: String,
        shown: Option<&Value>,
    ) -> Result<Written<T, STATUS>, Error> {
        if let Some(key) = self.key.take() {
            let fingerprint = key.fingerprint;
            let kept = StoredReply { fingerprint, status: STATUS.into(), body: body.clone() };
            self.tx.remember(self.workspace, &key.key, &kept).await?;
        }
        self.commit_audited(STATUS, shown).await?;
        crash::point(|| "accept.after_commit".to_owned());
        Ok(Written { body, reply: PhantomData })
    }

    /// Commits what a request wrote that is refused, or that goes on in another transaction. No reply is kept: repeated
    /// under its key it is a new request.
    pub async fn finish_part(self) -> Result<(), Error> {
        self.commit().await
    }

    /// Commits, with the row of the audit log.
    async fn commit_audited(mut self, status: u16, shown: Option<&Value>) -> Result<(), Error> {
        audit::write(&self.ctx, &mut self.tx, status, shown).await?;
        self.commit().await?;
        audit::written();
        Ok(())
    }

    async fn commit(self) -> Result<(), Error> {
        self.ctx.commit(self.tx).await?;
        if self.changes_nodes {
            self.ctx.fleet.changed.notify_one();
        }
        Ok(())
    }
}

fn text(reply: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(reply).map_err(|error| unserialised(&error))
}

fn shown(reply: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(reply).map_err(|error| unserialised(&error))
}

fn unserialised(error: &serde_json::Error) -> Error {
    Error::Internal(format!("a reply does not serialise: {error}"))
}
