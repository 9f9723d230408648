//! Clusters of dstack-gateway: which lead to a node, what was last told of each, and what an operator is shown. The
//! watch ([`crate::gateway_watch`]) looks at them; a reconciler asks them to drain.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use casemate_api::{
    error::ErrorCode,
    gateway_admin::{
        GatewayDomain, GatewayInstance, GatewayPeer, ManagedGateway, ManagedGatewayFeatures,
    },
};
use casemate_core::{
    id::{InstanceId, NodeId},
    time::Timestamp,
};
use casemate_engine::{
    gateway::{Features, Gateway, GatewayConfig, Instance, Snapshot},
    node::dstack::{AccessFiles, OpenError},
};

use super::{
    Ctx, Error,
    fleet::{FleetNode, Outage},
};
use crate::config::ConfiguredGateway;

/// Most instances that are shown of a cluster: those with the newest handshakes.
const SHOWN: usize = 200;

/// A cluster.
#[derive(Debug)]
pub struct GatewayCluster {
    /// Its configured name.
    pub name: String,
    /// Domains that lead to it; the first one is in URLs.
    pub base_domains: Vec<String>,
    /// The way to it.
    pub client: Gateway,
    admin_url: String,
    seen: RwLock<Seen>,
}

/// What was last told of a cluster.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// How often it was looked at.
    looks: u64,
    /// The last answer.
    snapshot: Option<(Timestamp, Arc<Snapshot>)>,
    /// `None`: it answered last time.
    outage: Option<Outage>,
}

impl GatewayCluster {
    fn seen(&self) -> Seen {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What its build can do; `None`: it has not answered yet.
    pub fn features(&self) -> Option<Features> {
        self.seen().snapshot.map(|(_, snapshot)| snapshot.features)
    }

    /// Whether it answered last time.
    pub fn answers(&self) -> bool {
        let seen = self.seen();
        seen.looks > 0 && seen.outage.is_none()
    }

    /// Notes what it told, or why it did not.
    pub fn record(&self, answer: Result<Snapshot, String>, now: Timestamp) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        seen.looks += 1;
        match answer {
            Ok(snapshot) => {
                seen.snapshot = Some((now, Arc::new(snapshot)));
                seen.outage = None;
            }
            Err(why) => {
                let since = seen.outage.as_ref().map_or(now, |outage| outage.since);
                seen.outage = Some(Outage { since, why });
            }
        }
    }
}

/// Every configured cluster, in the order of the configuration.
#[derive(Debug, Default)]
pub struct GatewayClusters(Vec<Arc<GatewayCluster>>);

/// A cluster that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("configuration: gateways[{index}]: {reason}")]
pub struct InvalidCluster {
    /// Its place in `[[gateways]]`.
    pub index: usize,
    /// For an operator.
    pub reason: String,
}

impl GatewayClusters {
    /// Reads the files that the configuration names; nothing is asked of a cluster yet.
    pub async fn open(
        configured: &[ConfiguredGateway],
        timeout: Duration,
    ) -> Result<Self, InvalidCluster> {
        let mut clusters = Vec::with_capacity(configured.len());
        for (index, gateway) in configured.iter().enumerate() {
            let invalid = |reason: String| InvalidCluster { index, reason };
            let config = GatewayConfig {
                admin: gateway.admin_url.parse().map_err(invalid)?,
                files: AccessFiles {
                    token: gateway.token_file.clone(),
                    user: gateway.user.clone(),
                    ca: gateway.ca_file.clone(),
                },
                rpc: gateway.rpc_url.as_deref().map(str::parse).transpose().map_err(invalid)?,
                timeout,
            };
            let client = Gateway::open(config).await;
            clusters.push(Arc::new(GatewayCluster {
                name: gateway.name.clone(),
                base_domains: gateway.base_domains.clone(),
                client: client.map_err(|error: OpenError| invalid(error.to_string()))?,
                admin_url: gateway.admin_url.clone(),
                seen: RwLock::default(),
            }));
        }
        Ok(Self(clusters))
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<GatewayCluster>] {
        &self.0
    }

    /// The cluster of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<GatewayCluster>> {
        self.0.iter().find(|cluster| cluster.name == name)
    }

    /// The clusters that lead to CVMs of a node: those that its operator named, in that order, else those with the
    /// domain of the node's own gateway.
    pub fn of_node(&self, node: &FleetNode) -> Vec<Arc<GatewayCluster>> {
        let chosen = node.policy().gateways;
        if !chosen.is_empty() {
            return chosen.iter().filter_map(|name| self.named(name).cloned()).collect();
        }
        let Some(own) = node.observed().0.gateway_domain.clone() else { return Vec::new() };
        self.0.iter().filter(|cluster| cluster.base_domains.contains(&own)).cloned().collect()
    }
}

/// Every cluster, without its instances.
pub fn all(ctx: &Ctx) -> Vec<ManagedGateway> {
    ctx.gateways.all().iter().map(|cluster| view(ctx, cluster, 0)).collect()
}

/// The cluster of this name.
pub fn one(ctx: &Ctx, name: &str) -> Result<ManagedGateway, Error> {
    named(ctx, name).map(|cluster| view(ctx, cluster, SHOWN))
}

pub(super) fn named<'a>(ctx: &'a Ctx, name: &str) -> Result<&'a GatewayCluster, Error> {
    ctx.gateways.named(name).map(|cluster| &**cluster).ok_or_else(|| {
        Error::because(ErrorCode::NotFound, format!("There is no gateway {name}"))
            .suggest("casemate admin gateway list shows those of the configuration.")
    })
}

fn view(ctx: &Ctx, cluster: &GatewayCluster, most: usize) -> ManagedGateway {
    let Seen { looks, snapshot, outage } = cluster.seen();
    let (at, snapshot) = snapshot.unzip();
    let status = snapshot.as_ref().map(|snapshot| &snapshot.status);
    let meta = snapshot.as_ref().map(|snapshot| snapshot.meta);
    let instances = status.map(|status| status.instances.as_slice()).unwrap_or_default();
    let leads_here = |node: &&Arc<FleetNode>| {
        ctx.gateways.of_node(node).iter().any(|one| one.name == cluster.name)
    };
    let fleet = ctx.fleet.all();
    ManagedGateway {
        name: cluster.name.clone(),
        admin_url: cluster.admin_url.clone(),
        base_domains: cluster.base_domains.clone(),
        reachable: looks > 0 && outage.is_none(),
        cause: outage.as_ref().map(|outage| outage.why.clone()),
        silent_since: outage.map(|outage| outage.since.to_string()),
        seen_at: at.map(|at| at.to_string()),
        looks,
        version: snapshot.as_ref().and_then(|snapshot| snapshot.version.clone()),
        features: snapshot.as_ref().map(|snapshot| ManagedGatewayFeatures {
            rotation: snapshot.features.rotation,
            removal: snapshot.features.removal,
            port_policy: snapshot.features.port_policy,
        }),
        nodes: fleet.iter().filter(leads_here).map(|node| node.name.clone()).collect(),
        peers: status.iter().flat_map(|status| &status.nodes).map(peer).collect(),
        domains: snapshot.iter().flat_map(|snapshot| &snapshot.domains).map(domain).collect(),
        registered: meta.map_or(0, |meta| meta.registered),
        online: meta.map_or(0, |meta| meta.online),
        connections: status.map_or(0, |status| status.connections),
        latest_handshake: text(instances.iter().filter_map(|one| one.latest_handshake).max()),
        instances: newest(instances, most).into_iter().map(instance).collect(),
        notes: notes(cluster, snapshot.as_deref()),
    }
}

fn newest(instances: &[Instance], most: usize) -> Vec<&Instance> {
    let mut sorted: Vec<&Instance> = instances.iter().collect();
    sorted.sort_by_key(|one| (std::cmp::Reverse(one.latest_handshake), one.id));
    sorted.truncate(most);
    sorted
}

/// What does not fit between the configuration and the cluster.
fn notes(cluster: &GatewayCluster, snapshot: Option<&Snapshot>) -> Vec<String> {
    let Some(snapshot) = snapshot else { return Vec::new() };
    let served = |configured: &str| {
        let name = configured.split(':').next().unwrap_or_default();
        snapshot.domains.iter().any(|domain| domain.domain == name)
    };
    let missing = cluster.base_domains.iter().filter(|domain| !served(domain));
    let mut notes: Vec<String> = missing
        .map(|domain| format!("{domain} is configured here, and the cluster does not serve it"))
        .collect();
    if !snapshot.features.rotation {
        notes.push(
            "requests under way are not waited for: this build cannot drain; update dstack-gateway"
                .to_owned(),
        );
    }
    notes
}

fn text(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

fn peer(node: &casemate_engine::gateway::GatewayNode) -> GatewayPeer {
    GatewayPeer { id: node.id, url: node.url.clone(), last_seen: text(node.last_seen) }
}

pub(super) fn domain(domain: &casemate_engine::gateway::Domain) -> GatewayDomain {
    GatewayDomain {
        domain: domain.domain.clone(),
        port: domain.port,
        priority: domain.priority,
        has_certificate: domain.certificate.is_some(),
        certificate_until: text(domain.certificate.and_then(|one| one.not_after)),
    }
}

fn instance(instance: &Instance) -> GatewayInstance {
    GatewayInstance {
        instance_id: instance.id.to_string(),
        app_id: instance.app.map(|app| app.to_string()),
        latest_handshake: text(instance.latest_handshake),
        connections: instance.connections,
        ready: instance.ready,
        health: Some(instance.health.clone()).filter(|word| !word.is_empty()),
    }
}

/// The clusters that may drain an instance of a node; those whose build cannot are left out.
pub fn that_drain(ctx: &Ctx, node: &FleetNode) -> Vec<Arc<GatewayCluster>> {
    let mut clusters = ctx.gateways.of_node(node);
    clusters.retain(|one| one.features().is_none_or(|features| features.rotation));
    clusters
}

/// Domains under which the CVMs of a node are reached, one of each of its clusters.
pub fn domains(ctx: &Ctx, node: NodeId) -> Vec<String> {
    let Some(node) = ctx.fleet.node(node) else { return Vec::new() };
    let clusters = ctx.gateways.of_node(&node);
    clusters.iter().filter_map(|cluster| cluster.base_domains.first().cloned()).collect()
}

/// An instance of a CVM, as clusters know it.
pub fn instance_of(cvm: &casemate_store::cvms::Cvm) -> Option<InstanceId> {
    let observed = cvm.status.observed.as_ref().and_then(|vm| vm.instance_id);
    observed.or(cvm.instance_id).filter(|_| cvm.spec.facts.gateway_enabled)
}
