//! Opening the nodes of this process and making them known.
//!
//! A node keeps its files in the data directory, so it belongs to one instance, whatever database
//! that instance shares with others: the second docker node on a database is `docker-2`.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use casemate_core::{
    id::NodeId,
    node::NodeKind,
    time::{Clock, Entropy},
};
use casemate_engine::{
    kms::BuiltinKms,
    node::{
        Capacity, Inventory, Node,
        docker::{DockerConfig, DockerNode},
        sim::{SimConfig, SimNode},
    },
};
use casemate_store::{
    Db, Error as StoreError,
    nodes::{self, NewNode},
};

use super::StartError;
use crate::{
    app::fleet::FleetNode,
    config::{Config, Role},
};

/// What opening a node needs.
pub(super) struct Opener<'a> {
    pub config: &'a Config,
    pub db: &'a Db,
    pub kms: &'a Arc<BuiltinKms>,
    pub clock: &'a Arc<dyn Clock>,
    pub entropy: &'a Arc<dyn Entropy>,
    /// The instance.
    pub owner: &'a str,
    /// Where its gateway listens.
    pub gateway: Option<SocketAddr>,
}

/// The nodes of this process.
#[derive(Default)]
pub(super) struct Opened {
    pub nodes: BTreeMap<NodeId, Arc<FleetNode>>,
    /// What they are, a sentence each.
    pub descriptions: Vec<String>,
}

impl Opener<'_> {
    /// Opens the nodes asked for; without any: docker if an engine answers, else sim, and says so,
    /// and beside it whatever kind still has CVMs of an earlier run. A process that is no worker has
    /// none.
    pub async fn open(&self) -> Result<Opened, StartError> {
        let mut opened = Opened::default();
        if !self.config.has(Role::Worker) {
            return Ok(opened);
        }
        if self.config.node.is_empty() {
            self.open_default(&mut opened).await?;
            return Ok(opened);
        }
        for kind in self.config.node.iter().filter_map(|choice| choice.kind()) {
            let node = self.node_of(kind).await?;
            self.enlist(kind, node, true, &mut opened).await?;
        }
        Ok(opened)
    }

    async fn open_default(&self, opened: &mut Opened) -> Result<(), StartError> {
        let (kind, docker_failed) = match self.docker().await {
            Ok(node) => {
                self.enlist(NodeKind::Docker, node, true, opened).await?;
                (NodeKind::Docker, None)
            }
            Err(error) => {
                self.enlist(NodeKind::Sim, self.sim()?, true, opened).await?;
                opened
                    .descriptions
                    .push(format!("simulated, because no container engine is usable: {error}"));
                (NodeKind::Sim, Some(error))
            }
        };
        let rest = match kind {
            NodeKind::Docker => NodeKind::Sim,
            NodeKind::Sim => NodeKind::Docker,
        };
        let Some(name) = self.left_behind(rest).await.map_err(super::first)? else {
            return Ok(());
        };
        match docker_failed {
            None => self.enlist(rest, self.sim()?, false, opened).await?,
            Some(_) => opened.descriptions.push(format!(
                "{name} has CVMs that cannot be reached until a container engine answers"
            )),
        }
        Ok(())
    }

    /// The name of this instance's node of a kind, if it still has CVMs.
    async fn left_behind(&self, kind: NodeKind) -> Result<Option<String>, StoreError> {
        let all = nodes::all(self.db).await?;
        let ours = all.into_iter().find(|row| row.owner == self.owner && row.kind == kind.as_str());
        let Some(row) = ours else { return Ok(None) };
        let taken = nodes::taken(self.db).await?;
        Ok(taken.iter().any(|taken| taken.node_id == row.id).then_some(row.name))
    }

    async fn node_of(&self, kind: NodeKind) -> Result<Arc<dyn Node>, StartError> {
        match kind {
            NodeKind::Docker => self.docker().await,
            NodeKind::Sim => self.sim(),
        }
    }

    async fn docker(&self) -> Result<Arc<dyn Node>, StartError> {
        let settings = &self.config.docker;
        let config = DockerConfig {
            allow: settings.allow.clone(),
            registries: settings.registries.clone(),
            script_image: settings.script_image.clone(),
            host: Some(settings.host.clone()).filter(|host| !host.is_empty()),
            ..DockerConfig::new(self.config.data_dir.join("nodes/docker"))
        };
        let node =
            DockerNode::connect(config, self.kms.clone(), self.clock.clone(), self.entropy.clone())
                .await
                .map_err(|error| StartError::Node { kind: "docker", reason: error.to_string() })?;
        Ok(Arc::new(node))
    }

    fn sim(&self) -> Result<Arc<dyn Node>, StartError> {
        let settings = &self.config.sim;
        let config = SimConfig {
            boot_ms: settings.boot_ms,
            shutdown_ms: settings.shutdown_ms,
            remove_ms: settings.remove_ms,
            capacity: Capacity {
                slots: settings.slots,
                vcpu: settings.vcpu,
                memory_mb: settings.memory_mb,
                disk_gb: settings.disk_gb,
            },
            ..SimConfig::default()
        };
        let dir = self.config.data_dir.join("nodes/sim");
        let node = SimNode::open(dir, config, self.clock.clone(), self.entropy.clone())
            .map_err(|error| StartError::Node { kind: "sim", reason: error.to_string() })?;
        Ok(Arc::new(node))
    }

    /// Writes a node down and takes it into the fleet.
    async fn enlist(
        &self,
        kind: NodeKind,
        node: Arc<dyn Node>,
        takes_new: bool,
        opened: &mut Opened,
    ) -> Result<(), StartError> {
        let failed = |reason: String| StartError::Node { kind: kind.as_str(), reason };
        let inventory = node.inventory().await.map_err(|error| failed(error.to_string()))?;
        let json =
            casemate_core::stored::write(&inventory).map_err(|error| failed(error.to_string()))?;
        let (id, name) = self.name(kind, &json).await.map_err(|error| failed(error.to_string()))?;
        opened.descriptions.push(describe(&name, &inventory, takes_new));
        opened.descriptions.extend(inventory.notes.iter().cloned());
        let region = &self.config.region;
        let mut node = FleetNode::new(id, &name, kind, region, node, inventory);
        node.takes_new = takes_new;
        opened.nodes.insert(id, Arc::new(node));
        Ok(())
    }

    /// The node's id and name: the one it has, else the first that no other instance has.
    async fn name(&self, kind: NodeKind, inventory: &str) -> Result<(NodeId, String), StoreError> {
        let known = nodes::all(self.db).await?;
        let ours = known.iter().find(|row| row.owner == self.owner && row.kind == kind.as_str());
        let mut name = ours.map(|row| row.name.clone());
        let gateway = self.gateway.filter(|address| !address.ip().is_unspecified());
        let gateway = gateway.map(|address| address.to_string()).unwrap_or_default();
        for number in 1_u32.. {
            let candidate = name.take().unwrap_or_else(|| format!("{}-{number}", kind.as_str()));
            let now = self.clock.now();
            let node = NewNode {
                name: &candidate,
                kind: kind.as_str(),
                owner: self.owner,
                lease_expires_at: now.plus(self.config.work.node_missing()),
                gateway: &gateway,
                region: &self.config.region,
                inventory,
            };
            let mut tx = self.db.begin().await?;
            if let Some(id) = tx.upsert_node(&node, now).await? {
                tx.commit().await?;
                return Ok((id, candidate));
            }
        }
        Err(StoreError::Stale)
    }
}

fn describe(name: &str, inventory: &Inventory, takes_new: bool) -> String {
    let tee = inventory.tee.as_str();
    let rest = if takes_new { "" } else { "; only for the CVMs that it has" };
    format!("{name}: {} (tee: {tee}){rest}", inventory.version)
}
