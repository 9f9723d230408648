//! Each dstack-kms as this process knows it, and which KMS the guests of a node use.

use std::sync::{Arc, PoisonError, RwLock};

use casemate_core::{
    id::KmsId,
    place::{Candidate, KeySource},
    time::Timestamp,
};
use casemate_engine::kms::{
    KmsError,
    dstack::{DstackKms, KmsMeta},
};
use casemate_store::nodes::NodeUsage;
use tokio::sync::Notify;

use super::{Fleet, FleetKms, FleetNode, Governed, Outage, governed_id};

/// A dstack-kms with what it told last.
#[derive(Debug)]
pub struct RemoteKms {
    /// The way to it.
    pub kms: Arc<DstackKms>,
    /// Where guests reach it.
    pub guest_urls: Vec<String>,
    /// Asks its watch to look now.
    pub look_now: Notify,
    observed: RwLock<ObservedKms>,
}

/// What is known of a dstack-kms.
#[derive(Debug, Clone, Default)]
pub struct ObservedKms {
    /// Since when it has given no key that can be trusted, and why. `None`: it gave one last time, or was not
    /// asked yet.
    pub outage: Option<Outage>,
    /// What it says of itself; `None`: it has not said it yet.
    pub meta: Option<KmsMeta>,
    /// Why it said nothing of itself last time.
    pub meta_error: Option<String>,
    /// How often it was looked at.
    pub looks: u64,
}

impl ObservedKms {
    /// Whether it gave a key last time.
    pub const fn is_reachable(&self) -> bool {
        self.looks > 0 && self.outage.is_none()
    }
}

impl RemoteKms {
    /// One that was not asked yet.
    pub fn new(kms: Arc<DstackKms>, guest_urls: Vec<String>) -> Self {
        Self { kms, guest_urls, look_now: Notify::new(), observed: RwLock::default() }
    }

    /// What is known of it.
    pub fn observed(&self) -> ObservedKms {
        self.observed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes whether it gave a key, and what it says of itself.
    pub fn record(
        &self,
        key: Result<(), KmsError>,
        meta: Result<KmsMeta, KmsError>,
        now: Timestamp,
    ) {
        let mut observed = self.observed.write().unwrap_or_else(PoisonError::into_inner);
        observed.looks += 1;
        observed.outage = key.err().map(|error| Outage {
            since: observed.outage.as_ref().map_or(now, |outage| outage.since),
            why: error.to_string(),
        });
        match meta {
            Ok(meta) => (observed.meta, observed.meta_error) = (Some(meta), None),
            Err(error) => observed.meta_error = Some(error.to_string()),
        }
    }
}

impl FleetKms {
    /// The dstack-kms of this slug. `first_key`: its root key of epoch 0, hex, which names it for ever.
    pub fn dstack(
        slug: &str,
        url: &str,
        first_key: String,
        remote: RemoteKms,
        governed: Option<Governed>,
    ) -> Self {
        let id = match &governed {
            Some(governed) => governed_id(&first_key, governed),
            None => KmsId(format!("kms_{}", first_key.get(2..12).unwrap_or_default())),
        };
        Self {
            id,
            slug: slug.to_owned(),
            url: url.to_owned(),
            k256_public_key: first_key,
            ca_public_key: String::new(),
            kms: remote.kms.clone(),
            governed,
            remote: Some(Arc::new(remote)),
        }
    }

    /// The root key that signs now, hex.
    pub fn signing_key(&self) -> String {
        match &self.remote {
            None => self.k256_public_key.clone(),
            Some(remote) => hex::encode(remote.kms.k256_public()),
        }
    }

    /// Public key of its CA, SPKI DER, hex; `None`: it has not told it.
    pub fn ca_key(&self) -> Option<String> {
        match &self.remote {
            None => Some(self.ca_public_key.clone()),
            Some(remote) => remote.observed().meta?.ca_public_spki.map(hex::encode),
        }
    }

    /// The KMS URLs of a guest that has its keys from here, where its owner names none; empty: those of its
    /// node.
    pub fn guest_urls(&self) -> &[String] {
        self.remote.as_ref().map_or(&[], |remote| &remote.guest_urls)
    }
}

impl Fleet {
    /// The same with each dstack-kms of the configuration, in its order.
    #[must_use]
    pub fn with_dstack_kms(mut self, dstack: Vec<FleetKms>) -> Self {
        self.dstack = dstack;
        self
    }

    /// The KMS that guests of a node can take their keys from, the default first. Empty: the node's KMS is not
    /// configured in this process.
    pub fn kms_of_node(&self, node: &FleetNode) -> Vec<&FleetKms> {
        match node.policy().kms {
            Some(slug) => self.dstack.iter().filter(|kms| kms.slug == slug).collect(),
            None => self.all_kms().filter(|kms| kms.remote.is_none()).collect(),
        }
    }

    /// Whether guests of a node can take their keys from this KMS.
    pub fn node_uses(&self, node: &FleetNode, kms: &KmsId) -> bool {
        self.kms_of_node(node).iter().any(|known| known.id == *kms)
    }

    /// A node as placement sees it.
    pub fn candidate(&self, node: &FleetNode, taken: &[NodeUsage]) -> Candidate {
        node.candidate(taken, self.key_source(node))
    }

    /// Where guests of a node take their keys.
    pub fn key_source(&self, node: &FleetNode) -> KeySource {
        let known = self.kms_of_node(node);
        let label = match (node.policy().kms, known.is_empty()) {
            (Some(slug), false) => format!("the KMS {slug}"),
            (Some(slug), true) => format!("the KMS {slug}, which is not configured here"),
            (None, _) => {
                let slugs: Vec<&str> = known.iter().map(|kms| kms.slug.as_str()).collect();
                format!("the KMS of this service ({})", slugs.join(", "))
            }
        };
        KeySource { ids: known.into_iter().map(|kms| kms.id.clone()).collect(), label }
    }
}
