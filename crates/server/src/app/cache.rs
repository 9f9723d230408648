//! What this process keeps of what it has read, so that looking at a CVM again costs no query.
//!
//! Invariant: an entry is used only where a new read would give the same value. Each entry holds what it
//! was read from, and every use compares that with the present:
//!
//! | what | compared |
//! |---|---|
//! | a caller, by the hash of the token | no account was written since, and the token has not ended |
//! | a reply to `GET /cvms/{id}` | the CVM, its node and the caller are what they were |
//!
//! It follows that a reply sent after a change was acknowledged shows that change, also when another
//! replica made it ([`casemate_store::freshness`]). No entry expires by time: nothing in these replies
//! changes by itself (`uptime` is in lists and states only). `server/tests/it/cache.rs` compares every
//! reply with one that is read anew.

use std::{mem::size_of, sync::Arc};

use bytes::Bytes;
use casemate_api::version::ApiVersion;
use casemate_core::{
    id::{CvmId, CvmName, CvmRef, NodeId, VmUuid, WorkspaceId},
    time::Timestamp,
};
use casemate_store::freshness::Stamp;
use moka::sync::Cache as Bounded;

use super::{Caller, Ctx, Error};

/// How many callers are kept.
const CALLERS: u64 = 1024;
/// How many bytes of replies are kept.
const REPLIES: u64 = 8 * 1024 * 1024;

/// Who a token speaks for.
#[derive(Debug, Clone)]
struct KeptCaller {
    caller: Arc<Caller>,
    /// When the token ends.
    expires_at: Option<Timestamp>,
    /// Of all accounts.
    stamp: Stamp,
}

/// An identifier that means the same CVM for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum FixedName {
    Ref(CvmRef),
    Uuid(VmUuid),
    Number(CvmId),
}

impl FixedName {
    /// `None` for names that may come to mean another CVM, or several.
    fn of(name: CvmName) -> Option<Self> {
        match name {
            CvmName::Ref(reference) => Some(Self::Ref(reference)),
            CvmName::Uuid(uuid) => Some(Self::Uuid(uuid)),
            CvmName::Number(id) => Some(Self::Number(id)),
            CvmName::AppOrInstance(_) | CvmName::Instance(_) | CvmName::Name(_) => None,
        }
    }
}

/// Which reply: to whom, to which identifier, in which version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReplyKey {
    workspace: WorkspaceId,
    name: FixedName,
    version: ApiVersion,
}

impl ReplyKey {
    /// `None` for an identifier whose reply cannot be kept.
    pub fn of(caller: &Caller, name: &str, version: ApiVersion) -> Option<Self> {
        let name = FixedName::of(CvmName::parse(name))?;
        Some(Self { workspace: caller.workspace.id, name, version })
    }
}

/// What a reply was read from.
#[derive(Debug, Clone)]
pub struct ReadFrom {
    /// Which CVM.
    pub cvm: CvmId,
    /// In which state.
    pub stamp: Stamp,
    /// Who asked.
    pub caller: Arc<Caller>,
    /// The node of the CVM.
    pub node: NodeId,
    /// What was known of the node ([`Ctx::node_revision`]).
    pub node_revision: Option<u64>,
}

#[derive(Debug, Clone)]
struct KeptReply {
    from: ReadFrom,
    body: Bytes,
}

/// Everything that is kept. Memory is bounded; what was used least is forgotten first.
#[derive(Debug)]
pub struct Cache {
    /// By SHA-256 of the token, in hex.
    callers: Bounded<String, KeptCaller>,
    replies: Bounded<ReplyKey, KeptReply>,
}

impl Default for Cache {
    fn default() -> Self {
        let weight = |_: &ReplyKey, reply: &KeptReply| {
            let bytes = reply.body.len() + size_of::<ReplyKey>() + size_of::<KeptReply>();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let replies = Bounded::builder().max_capacity(REPLIES).weigher(weight).build();
        Self { callers: Bounded::new(CALLERS), replies }
    }
}

impl Ctx {
    /// Who the token with this hash speaks for, if that is known and still so.
    pub fn kept_caller(&self, token_hash: &str) -> Option<Arc<Caller>> {
        let kept = self.cache.callers.get(token_hash)?;
        let lasts = kept.expires_at.is_none_or(|end| end > self.now());
        (lasts && self.db.accounts_are_current(kept.stamp)).then_some(kept.caller)
    }

    /// Keeps who a token speaks for, until `expires_at`.
    pub fn keep_caller(
        &self,
        token_hash: String,
        caller: Arc<Caller>,
        expires_at: Option<Timestamp>,
        stamp: Stamp,
    ) {
        self.cache.callers.insert(token_hash, KeptCaller { caller, expires_at, stamp });
    }

    /// The reply that was kept under this key, if it is still true.
    pub async fn kept_reply(
        &self,
        key: &ReplyKey,
        caller: &Arc<Caller>,
    ) -> Result<Option<Bytes>, Error> {
        let Some(KeptReply { from, body }) = self.cache.replies.get(key) else { return Ok(None) };
        let same = from.caller == *caller && from.node_revision == self.node_revision(from.node);
        Ok((same && self.db.is_current(from.cvm, from.stamp).await?).then_some(body))
    }

    /// Keeps a reply with what it was read from.
    pub fn keep_reply(&self, key: ReplyKey, from: ReadFrom, body: Bytes) {
        self.cache.replies.insert(key, KeptReply { from, body });
    }

    /// Another number with every change of what is known of a node; `None`: nothing is known of it.
    pub fn node_revision(&self, node: NodeId) -> Option<u64> {
        Some(self.fleet.node(node)?.revision())
    }
}
