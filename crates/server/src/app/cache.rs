//! What this process keeps of what it has read, so that looking at a CVM again costs no query.
//!
//! | what | current while |
//! |---|---|
//! | callers by token hash | no account was written, and the token has not ended |
//! | documents by hash | always: a hash has one text |
//! | replies to `GET /cvms/{id}` | CVM, its node and its caller are what they were |
//!
//! Promises: a reply sent after a change was acknowledged shows that change, also when another replica
//! made it ([`casemate_store::freshness`]); memory is bounded, whatever is asked for.
//!
//! Deliberately absent: expiry by time. What is kept is compared with the world each time, and nothing in
//! these replies moves by itself (`uptime` is in lists and states only; a test compares each version
//! with what a new process says later).

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use casemate_api::version::ApiVersion;
use casemate_core::{
    id::{ComposeHash, CvmId, CvmName, CvmRef, NodeId, VmUuid},
    time::Timestamp,
};
use casemate_store::freshness::Stamp;

use super::Caller;

const CALLERS: usize = 512 * 1024;
const DOCUMENTS: usize = 4 * 1024 * 1024;
const REPLIES: usize = 8 * 1024 * 1024;
/// What an entry takes beside what it says of itself.
const OVERHEAD: usize = 256;

/// How much memory a value takes.
pub trait Weight {
    /// About so many bytes.
    fn weight(&self) -> usize;
}

/// Values by key, the least recently used ones forgotten: when the young half is full it becomes the
/// old half, and what nobody asked for since then is dropped.
#[derive(Debug)]
pub struct Store<K, V> {
    halves: Mutex<Halves<K, V>>,
    /// Of both halves, in bytes.
    limit: usize,
}

#[derive(Debug)]
struct Halves<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// Weight of the young half.
    weight: usize,
}

impl<K: Eq + Hash, V: Weight + Clone> Store<K, V> {
    fn new(limit: usize) -> Self {
        let halves = Halves { young: HashMap::new(), old: HashMap::new(), weight: 0 };
        Self { halves: Mutex::new(halves), limit }
    }

    /// What is kept under this key.
    pub fn get(&self, key: &K) -> Option<V> {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = halves.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = halves.old.remove_entry(key)?;
        halves.put(key, value.clone(), self.limit);
        Some(value)
    }

    /// Keeps a value. One that takes more than half of the room is not kept.
    pub fn put(&self, key: K, value: V) {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        halves.old.remove(&key);
        halves.put(key, value, self.limit);
    }
}

impl<K: Eq + Hash, V: Weight> Halves<K, V> {
    fn put(&mut self, key: K, value: V, limit: usize) {
        let weight = value.weight() + OVERHEAD;
        if let Some(before) = self.young.remove(&key) {
            self.weight -= before.weight() + OVERHEAD;
        }
        if weight > limit / 2 {
            return;
        }
        if self.weight + weight > limit / 2 {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        self.weight += weight;
        self.young.insert(key, value);
    }
}

/// Who a token speaks for.
#[derive(Debug, Clone)]
pub struct CachedCaller {
    /// They.
    pub caller: Arc<Caller>,
    /// When the token ends.
    pub expires_at: Option<Timestamp>,
    /// Of all accounts.
    pub stamp: Stamp,
}

impl Weight for CachedCaller {
    fn weight(&self) -> usize {
        let (user, workspace) = (&self.caller.user, &self.caller.workspace);
        user.username.len() + user.email.len() + workspace.slug.len() + workspace.name.len()
    }
}

impl Weight for Arc<str> {
    fn weight(&self) -> usize {
        self.len()
    }
}

/// An identifier that means the same CVM for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FixedName {
    /// `cvm_…`.
    Ref(CvmRef),
    /// `vm_uuid`.
    Uuid(VmUuid),
    /// The integer id.
    Number(CvmId),
}

impl FixedName {
    /// `None` for names that may come to mean another CVM, or several.
    pub fn of(name: &CvmName) -> Option<Self> {
        match name {
            CvmName::Ref(reference) => Some(Self::Ref(reference.clone())),
            CvmName::Uuid(uuid) => Some(Self::Uuid(*uuid)),
            CvmName::Number(id) => Some(Self::Number(*id)),
            CvmName::AppOrInstance(_) | CvmName::Instance(_) | CvmName::Name(_) => None,
        }
    }
}

/// What a reply was made of beside the CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// Who asked.
    pub caller: Arc<Caller>,
    /// The node, and how often what is known of it has changed.
    pub node: Option<(NodeId, u64)>,
}

/// A reply to `GET /cvms/{id}`.
#[derive(Debug, Clone)]
pub struct CachedReply {
    /// Which CVM it shows.
    pub cvm: CvmId,
    /// In which state.
    pub stamp: Stamp,
    /// Under which circumstances.
    pub around: Surroundings,
    /// JSON.
    pub body: Bytes,
}

impl Weight for CachedReply {
    fn weight(&self) -> usize {
        self.body.len()
    }
}

/// Everything that is kept.
#[derive(Debug)]
pub struct Cache {
    /// By SHA-256 of the token, in hex.
    pub callers: Store<String, CachedCaller>,
    /// By their hash.
    pub documents: Store<ComposeHash, Arc<str>>,
    /// By what was asked for.
    pub replies: Store<(FixedName, ApiVersion), CachedReply>,
    /// How many apps the public directory had, and when.
    pub directory: Mutex<Option<(Timestamp, u64)>>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            callers: Store::new(CALLERS),
            documents: Store::new(DOCUMENTS),
            replies: Store::new(REPLIES),
            directory: Mutex::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weight for usize {
        fn weight(&self) -> usize {
            *self
        }
    }

    fn kept(store: &Store<usize, usize>) -> usize {
        let halves = store.halves.lock().unwrap();
        let weigh = |half: &HashMap<usize, usize>| {
            half.values().map(|value| value.weight() + OVERHEAD).sum::<usize>()
        };
        assert_eq!(weigh(&halves.young), halves.weight);
        weigh(&halves.young) + weigh(&halves.old)
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let store = Store::new(100 * OVERHEAD);
        store.put(0, 1);
        for key in 1..10_000 {
            assert_eq!(store.get(&0), Some(1), "before {key}");
            store.put(key, key % 300);
            assert!(kept(&store) <= 100 * OVERHEAD, "after {key}");
        }
        assert_eq!(store.get(&1), None);
    }

    #[test]
    fn a_value_is_replaced_and_one_too_large_is_not_kept() {
        let store = Store::new(100 * OVERHEAD);
        store.put(1, 10);
        store.put(1, 20);
        assert_eq!(store.get(&1), Some(20));
        store.put(1, 60 * OVERHEAD);
        assert_eq!(store.get(&1), None);
        assert_eq!(kept(&store), 0);
    }
}
