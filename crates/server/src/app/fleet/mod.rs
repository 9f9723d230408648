//! The nodes and the KMS this process works with, and what was last told of each. A process opens its
//! own nodes; those of other processes on the same database it knows from their rows ([`remote`]).

mod changes;
mod evidence_due;
mod kms;
mod remote;

pub use self::{
    changes::{ChangeFeed, Changes},
    evidence_due::{Due, EvidenceDue},
};

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use casemate_api::{kms_type::KmsType, node_admin::NodeLimits};
use casemate_core::{
    id::{Address, KmsId, NodeId},
    node::{NodeKind, NodeState},
    place::{Amount, Candidate, KeySource, Labels},
    time::Timestamp,
};
use casemate_engine::{
    chain::Chain,
    kms::{BuiltinKms, Kms, KmsError},
    node::{Image, Inventory, Node},
};
use casemate_store::nodes::NodeUsage;

pub use self::kms::{ObservedKms, RemoteKms};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

/// A node with what it told of itself last.
#[derive(Debug)]
pub struct FleetNode {
    pub id: NodeId,
    pub name: String,
    /// What drives its CVMs.
    pub kind: NodeKind,
    /// Where it stands.
    pub region: String,
    /// The way to it.
    pub node: Arc<dyn Node>,
    /// Asks its watch to look now.
    pub look_now: Notify,
    /// CVMs whose guests are to be asked for evidence.
    pub evidence: EvidenceDue,
    /// Its operator wants the next look to be a pre-flight.
    wants_probe: AtomicBool,
    observed: RwLock<ObservedNode>,
}

/// What is known of a node.
#[derive(Debug, Clone)]
struct ObservedNode {
    inventory: Arc<Inventory>,
    /// `None`: it answered last time.
    outage: Option<Outage>,
    policy: NodePolicy,
    /// How often it was looked at.
    looks: u64,
    /// Another one with every change of the above, but for looks; never the same for two nodes.
    revision: u64,
}

/// Since when a node has not answered, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// The first call without an answer.
    pub since: Timestamp,
    /// What the last one came to.
    pub why: String,
}

/// What the operator of a node decided: what new CVMs it takes, and what leads to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePolicy {
    /// What its operator decided.
    pub state: NodeState,
    /// Whether CVMs are placed on it unasked.
    pub takes_new: bool,
    /// What its operator lets it take of what it has.
    pub limits: NodeLimits,
    /// Slug of the dstack-kms of its guests; `None`: they use the KMS of this service, or one that is not
    /// known here.
    pub kms: Option<String>,
    /// Names of the gateway clusters that lead to its CVMs; empty: those of its own domain.
    pub gateways: Vec<String>,
    /// What its operator says of it.
    pub labels: Labels,
}

impl Default for NodePolicy {
    fn default() -> Self {
        Self {
            state: NodeState::Active,
            takes_new: true,
            limits: NodeLimits::default(),
            kms: None,
            gateways: Vec::new(),
            labels: Labels::new(),
        }
    }
}

/// A number that was never given before in this process: nodes of other processes are made anew.
fn revision() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// SHA-256 of an OS image, if its node tells it.
pub fn image_hash(image: &Image) -> Option<[u8; 32]> {
    let text = image.os_image_hash.as_deref()?;
    let mut hash = [0; 32];
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut hash).ok()?;
    Some(hash)
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
        let observed = RwLock::new(ObservedNode {
            inventory,
            outage: None,
            policy: NodePolicy::default(),
            looks: 0,
            revision: revision(),
        });
        Self {
            id,
            name: name.to_owned(),
            kind,
            region: region.to_owned(),
            node,
            look_now: Notify::new(),
            evidence: EvidenceDue::default(),
            wants_probe: AtomicBool::new(false),
            observed,
        }
    }

    /// Has its watch look now, with a pre-flight.
    pub fn check_now(&self) {
        self.wants_probe.store(true, Ordering::Relaxed);
        self.look_now.notify_one();
    }

    /// Whether a pre-flight was asked for since this was asked last.
    pub fn take_probe_request(&self) -> bool {
        self.wants_probe.swap(false, Ordering::Relaxed)
    }

    /// What it told of itself last, and whether it answers now.
    pub fn observed(&self) -> (Arc<Inventory>, bool) {
        let observed = self.read();
        (observed.inventory.clone(), observed.outage.is_none())
    }

    /// SHA-256 of an OS image of this name here, if the node tells it.
    pub fn image_hash(&self, name: &str) -> Option<[u8; 32]> {
        self.read().inventory.images.iter().find(|image| image.name == name).and_then(image_hash)
    }

    /// Since when it has not answered; `None`: it answered last time.
    pub fn outage(&self) -> Option<Outage> {
        self.read().outage.clone()
    }

    /// How often it was looked at.
    pub fn look_count(&self) -> u64 {
        self.read().looks
    }

    /// What new CVMs it takes.
    pub fn policy(&self) -> NodePolicy {
        self.read().policy.clone()
    }

    /// What all its CVMs together may take.
    pub fn capacity(&self) -> Amount {
        let observed = self.read();
        let (has, limits) = (observed.inventory.capacity, observed.policy.limits);
        let least =
            |has: u32, limit: Option<u32>| i64::from(limit.map_or(has, |most| most.min(has)));
        Amount {
            slots: least(has.slots, limits.slots),
            vcpu: least(has.vcpu, limits.vcpu),
            memory_mb: least(has.memory_mb, limits.memory_mb),
            disk_gb: least(has.disk_gb, limits.disk_gb),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, ObservedNode> {
        self.observed.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names what is known of it now; another one when that has changed.
    pub fn revision(&self) -> u64 {
        self.read().revision
    }

    /// Decides what new CVMs it takes.
    pub fn set_policy(&self, policy: NodePolicy) {
        let mut observed = self.observed.write().unwrap_or_else(PoisonError::into_inner);
        if observed.policy != policy {
            observed.policy = policy;
            observed.revision = revision();
        }
    }

    /// Notes that it answered, or why it did not.
    pub fn record_answer(&self, answer: Result<Inventory, String>, now: Timestamp) {
        let mut observed = self.observed.write().unwrap_or_else(PoisonError::into_inner);
        observed.looks += 1;
        let (inventory, outage) = match answer {
            Ok(inventory) => (Some(inventory), None),
            Err(why) => {
                let since = observed.outage.as_ref().map_or(now, |outage| outage.since);
                (None, Some(Outage { since, why }))
            }
        };
        let told = inventory.filter(|inventory| *inventory != *observed.inventory);
        let changed = told.is_some() || observed.outage != outage;
        observed.outage = outage;
        if let Some(inventory) = told {
            observed.inventory = Arc::new(inventory);
        }
        if changed {
            observed.revision = revision();
        }
    }

    /// The node as placement sees it, with the KMS of its guests.
    fn candidate(&self, taken: &[NodeUsage], kms: KeySource) -> Candidate {
        let (inventory, reachable) = self.observed();
        let NodePolicy { state, labels, .. } = self.policy();
        let free = inventory.gpus.iter().filter(|gpu| gpu.is_free);
        let taken = taken.iter().find(|taken| taken.node_id == self.id.0).copied();
        Candidate {
            id: self.id,
            name: self.name.clone(),
            region: self.region.clone(),
            state,
            reachable,
            images: inventory.images.iter().map(|image| image.name.clone()).collect(),
            kms,
            tee: inventory.tee.as_str().to_owned(),
            labels,
            free_gpus: free.map(|gpu| gpu.product_id.clone()).collect(),
            capacity: self.capacity(),
            taken: taken.map(amount).unwrap_or_default(),
        }
    }
}

/// What is taken as an amount.
pub const fn amount(taken: NodeUsage) -> Amount {
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
    /// Root public key, secp256k1, compressed, hex; of a dstack-kms that of its root epoch 0.
    pub k256_public_key: String,
    /// Public key of its CA, SPKI DER, hex; empty: a dstack-kms, which tells it itself.
    pub ca_public_key: String,
    /// The way to it.
    pub kms: Arc<dyn Kms>,
    /// The contract that says who gets keys; `None`: the operator does.
    pub governed: Option<Governed>,
    /// The dstack-kms that it is; `None`: it is a part of this service.
    pub remote: Option<Arc<RemoteKms>>,
}

impl FleetKms {
    /// This one under a contract, which says who gets its keys. `own`: the keys are those of that KMS and
    /// not of this one.
    pub fn under(
        &self,
        slug: &str,
        governed: Governed,
        own: Option<&Arc<BuiltinKms>>,
    ) -> Result<Self, KmsError> {
        let mut kms = Self { slug: slug.to_owned(), ..self.clone() };
        if let Some(own) = own {
            kms.k256_public_key = hex::encode(own.k256_public()?);
            kms.ca_public_key = hex::encode(own.ca_public_spki()?);
            kms.kms = own.clone();
        }
        kms.id = governed_id(&kms.k256_public_key, &governed);
        kms.governed = Some(governed);
        Ok(kms)
    }

    /// Whether it asks the KMS webhook before it gives keys: it is a dstack-kms, and no contract decides. The
    /// built-in KMS knows itself whom it serves, so a boot in its name comes from somebody else.
    pub const fn asks_webhook(&self) -> bool {
        self.remote.is_some() && self.governed.is_none()
    }

    /// The word by which clients choose it.
    pub fn kind(&self) -> KmsType {
        self.governed.as_ref().map_or(KmsType::Phala, |governed| governed.kind)
    }
}

/// The id of the KMS with this root key under this contract.
fn governed_id(k256_public_key: &str, governed: &Governed) -> KmsId {
    let mut named = Sha256::new_with_prefix(k256_public_key);
    named.update(governed.chain.chain_id().to_be_bytes());
    named.update(governed.contract.as_bytes());
    KmsId(format!("kms_{}", &hex::encode(named.finalize())[..10]))
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

/// This process among those on the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Owner of its leases and of the nodes whose files it has.
    pub id: String,
    /// Where its gateway listens, for the gateways of others; empty: nowhere that they could reach.
    pub gateway: String,
}

impl Instance {
    /// This instance with its gateway.
    pub fn new(id: &str, gateway: Option<SocketAddr>) -> Self {
        let gateway = gateway.filter(|address| !address.ip().is_unspecified());
        let gateway = gateway.map(|address| address.to_string()).unwrap_or_default();
        Self { id: id.to_owned(), gateway }
    }
}

/// Nodes by id.
pub type Nodes = BTreeMap<NodeId, Arc<FleetNode>>;

/// All nodes and all KMS.
#[derive(Debug)]
pub struct Fleet {
    own: RwLock<Arc<Nodes>>,
    others: RwLock<Nodes>,
    /// Asks the registry to read the rows of nodes now.
    pub changed: Notify,
    /// CVMs with new events, for the watches of own nodes.
    pub changes: ChangeFeed,
    /// The built-in one, which no contract governs.
    pub kms: FleetKms,
    dstack: Vec<FleetKms>,
    governed: Vec<FleetKms>,
}

impl Fleet {
    /// The nodes this process serves, and a KMS.
    pub fn new(own: Nodes, kms: FleetKms) -> Self {
        let (own, others) = (RwLock::new(Arc::new(own)), RwLock::default());
        Self {
            own,
            others,
            changed: Notify::new(),
            changes: ChangeFeed::default(),
            kms,
            dstack: Vec::new(),
            governed: Vec::new(),
        }
    }

    /// The same with these KMS, which contracts govern, in the order of the configuration.
    #[must_use]
    pub fn governed_by(mut self, governed: Vec<FleetKms>) -> Self {
        self.governed = governed;
        self
    }

    /// Every KMS: the built-in one comes first, then each dstack-kms, then those under contracts.
    pub fn all_kms(&self) -> impl Iterator<Item = &FleetKms> {
        std::iter::once(&self.kms).chain(&self.dstack).chain(&self.governed)
    }

    /// The KMS of this id.
    pub fn kms_of(&self, id: &KmsId) -> Option<&FleetKms> {
        self.all_kms().find(|kms| kms.id == *id)
    }

    /// The nodes this process serves: only their CVMs are worked on here.
    pub fn own(&self) -> Arc<Nodes> {
        self.own.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The one of this id, if this process serves it.
    pub fn own_node(&self, id: NodeId) -> Option<Arc<FleetNode>> {
        self.own().get(&id).cloned()
    }

    /// Serves these from now on.
    pub fn serve(&self, own: Nodes) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(own);
    }

    /// Every node that is known, by id.
    pub fn all(&self) -> Vec<Arc<FleetNode>> {
        let others = self.others.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = self.own().values().chain(others.values()).cloned().collect();
        all.sort_unstable_by_key(|node| node.id);
        all
    }

    /// The node of this id.
    pub fn node(&self, id: NodeId) -> Option<Arc<FleetNode>> {
        self.own_node(id).or_else(|| {
            self.others.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
        })
    }

    /// Replaces what is known of the nodes of other processes.
    pub fn replace_others(&self, others: impl IntoIterator<Item = FleetNode>) {
        let own = self.own();
        let others = others.into_iter().filter(|node| !own.contains_key(&node.id));
        let others = others.map(|node| (node.id, Arc::new(node))).collect();
        *self.others.write().unwrap_or_else(PoisonError::into_inner) = others;
    }
}
