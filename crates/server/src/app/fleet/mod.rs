//! The nodes and the KMS this process works with, and what was last told of each. A process opens its
//! own nodes; those of other processes on the same database it knows from their rows ([`remote`]).

mod remote;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use casemate_api::kms_type::KmsType;
use casemate_core::{
    id::{Address, KmsId, NodeId},
    node::NodeKind,
    place::{Amount, Candidate},
};
use casemate_engine::{
    chain::Chain,
    kms::Kms,
    node::{Inventory, Node},
};
use casemate_store::nodes::Taken;
use sha2::{Digest, Sha256};

/// A node with what it told of itself last.
#[derive(Debug)]
pub struct FleetNode {
    pub id: NodeId,
    pub name: String,
    /// What drives its CVMs.
    pub kind: NodeKind,
    /// Where it stands.
    pub region: String,
    /// Whether CVMs are placed on it unasked.
    pub takes_new: bool,
    /// The way to it.
    pub node: Arc<dyn Node>,
    observed: RwLock<ObservedNode>,
}

/// What a node told of itself last.
#[derive(Debug, Clone)]
struct ObservedNode {
    inventory: Arc<Inventory>,
    reachable: bool,
    /// Another one with every change of the other two; never the same for two nodes.
    revision: u64,
}

/// A number that was never given before in this process: nodes of other processes are made anew.
fn revision() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl FleetNode {
    /// A node that has just answered.
    pub fn new(
        id: NodeId,
        name: &str,
        kind: NodeKind,
        region: &str,
        node: Arc<dyn Node>,
        inventory: Inventory,
    ) -> Self {
        let inventory = Arc::new(inventory);
        let observed =
            RwLock::new(ObservedNode { inventory, reachable: true, revision: revision() });
        Self {
            id,
            name: name.to_owned(),
            kind,
            region: region.to_owned(),
            takes_new: true,
            node,
            observed,
        }
    }

    /// What it told of itself last, and whether it answers now.
    pub fn observed(&self) -> (Arc<Inventory>, bool) {
        let observed = self.observed.read().unwrap_or_else(PoisonError::into_inner);
        (observed.inventory.clone(), observed.reachable)
    }

    /// Names what is known of it now; another one when that has changed.
    pub fn revision(&self) -> u64 {
        self.observed.read().unwrap_or_else(PoisonError::into_inner).revision
    }

    /// Notes that it answered, or that it did not.
    pub fn record_answer(&self, answer: Option<Inventory>) {
        let reachable = answer.is_some();
        let mut observed = self.observed.write().unwrap_or_else(PoisonError::into_inner);
        let told = answer.filter(|inventory| *inventory != *observed.inventory);
        let changed = told.is_some() || observed.reachable != reachable;
        observed.reachable = reachable;
        if let Some(inventory) = told {
            observed.inventory = Arc::new(inventory);
        }
        if changed {
            observed.revision = revision();
        }
    }

    /// The node as placement sees it.
    pub fn candidate(&self, taken: &[Taken]) -> Candidate {
        let (inventory, reachable) = self.observed();
        let taken = taken.iter().find(|taken| taken.node_id == self.id.0).copied();
        Candidate {
            id: self.id,
            name: self.name.clone(),
            region: self.region.clone(),
            reachable,
            images: inventory.images.iter().map(|image| image.name.clone()).collect(),
            capacity: capacity(&inventory),
            taken: taken.map(amount).unwrap_or_default(),
        }
    }
}

/// The capacity of a node as an amount.
pub fn capacity(inventory: &Inventory) -> Amount {
    Amount {
        slots: inventory.capacity.slots.into(),
        vcpu: inventory.capacity.vcpu.into(),
        memory_mb: inventory.capacity.memory_mb.into(),
        disk_gb: inventory.capacity.disk_gb.into(),
    }
}

/// What is taken as an amount.
pub const fn amount(taken: Taken) -> Amount {
    Amount {
        slots: taken.slots,
        vcpu: taken.vcpu,
        memory_mb: taken.memory_mb,
        disk_gb: taken.disk_gb,
    }
}

/// The KMS with the names clients know it by.
#[derive(Debug, Clone)]
pub struct FleetKms {
    /// `kms_…`.
    pub id: KmsId,
    /// Name for people.
    pub slug: String,
    /// Where guests and clients reach it.
    pub url: String,
    /// Root public key, secp256k1, compressed, hex.
    pub k256_public_key: String,
    /// Public key of its CA, SPKI DER, hex.
    pub ca_public_key: String,
    /// The way to it.
    pub kms: Arc<dyn Kms>,
    /// The contract that says who gets keys; `None`: the operator does.
    pub governed: Option<Governed>,
}

impl FleetKms {
    /// The same KMS under a contract: its keys are those of this one, who gets them says the contract.
    #[must_use]
    pub fn under(&self, slug: &str, governed: Governed) -> Self {
        let mut named = Sha256::new_with_prefix(&self.k256_public_key);
        named.update(governed.chain.chain_id().to_be_bytes());
        named.update(governed.contract.as_bytes());
        let id = hex::encode(named.finalize());
        Self {
            id: KmsId(format!("kms_{}", &id[..10])),
            slug: slug.to_owned(),
            governed: Some(governed),
            ..self.clone()
        }
    }

    /// The word by which clients choose it.
    pub fn kind(&self) -> KmsType {
        self.governed.as_ref().map_or(KmsType::Phala, |governed| governed.kind)
    }
}

/// The contract of a KMS.
#[derive(Debug, Clone)]
pub struct Governed {
    /// `ethereum` or `base`.
    pub kind: KmsType,
    /// Its address.
    pub contract: Address,
    /// App id of the gateway that its CVMs trust, as configured.
    pub gateway_app_id: Option<String>,
    /// Where people look at the chain: `https://…`, without a slash at its end.
    pub explorer: Option<String>,
    /// The way to its chain.
    pub chain: Arc<dyn Chain>,
}

/// All nodes and all KMS.
#[derive(Debug)]
pub struct Fleet {
    own: BTreeMap<NodeId, Arc<FleetNode>>,
    others: RwLock<BTreeMap<NodeId, Arc<FleetNode>>>,
    /// The one that no contract governs.
    pub kms: FleetKms,
    governed: Vec<FleetKms>,
}

impl Fleet {
    /// The nodes this process has opened, and a KMS.
    pub const fn new(own: BTreeMap<NodeId, Arc<FleetNode>>, kms: FleetKms) -> Self {
        Self { own, others: RwLock::new(BTreeMap::new()), kms, governed: Vec::new() }
    }

    /// The same with these KMS, which contracts govern, in the order of the configuration.
    #[must_use]
    pub fn governed_by(mut self, governed: Vec<FleetKms>) -> Self {
        self.governed = governed;
        self
    }

    /// Every KMS: the one that no contract governs comes first.
    pub fn all_kms(&self) -> impl Iterator<Item = &FleetKms> {
        std::iter::once(&self.kms).chain(&self.governed)
    }

    /// The KMS of this id.
    pub fn kms_of(&self, id: &KmsId) -> Option<&FleetKms> {
        self.all_kms().find(|kms| kms.id == *id)
    }

    /// The nodes this process has opened: only their CVMs are worked on here.
    pub const fn own(&self) -> &BTreeMap<NodeId, Arc<FleetNode>> {
        &self.own
    }

    /// Every node that is known, by id.
    pub fn all(&self) -> Vec<Arc<FleetNode>> {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = self.own.values().chain(others.values()).cloned().collect();
        all.sort_unstable_by_key(|node| node.id);
        all
    }

    /// The node of this id.
    pub fn node(&self, id: NodeId) -> Option<Arc<FleetNode>> {
        self.own.get(&id).cloned().or_else(|| {
            self.others.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
        })
    }

    /// Replaces what is known of the nodes of other processes.
    pub fn know(&self, others: impl IntoIterator<Item = FleetNode>) {
        let others = others.into_iter().filter(|node| !self.own.contains_key(&node.id));
        let others = others.map(|node| (node.id, Arc::new(node))).collect();
        *self.others.write().unwrap_or_else(PoisonError::into_inner) = others;
    }
}
