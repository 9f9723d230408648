//! Syncs the nodes in memory with their rows. Nodes are added, cordoned and removed at run time, by this
//! process or by another on the same database.
//!
//! Guarantees: a changed row takes effect within [`EVERY`]; every own node has exactly one watch; a node that
//! cannot be opened is part of the fleet, unreachable with the cause; a leased node that is not served is
//! taken by one worker.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use casemate_core::{
    id::NodeId,
    node::{NodeKind, NodeState},
};
use casemate_engine::node::{Inventory, Node, guard::GuardedNode};
use casemate_store::{
    Db, Error,
    nodes::{self, NewNode, NodeRow, NodeUsage},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    open::Opener,
    settings::{NodeSettings, node_policy, same_driver},
    watch::{self, Connect},
};
use crate::{
    app::{
        Ctx,
        fleet::{FleetNode, Instance, Nodes},
    },
    config::{Config, NodeChoice, Role},
};

/// A changed row takes effect within this time.
pub const EVERY: Duration = Duration::from_secs(2);

/// A configured node that has answered.
#[derive(Debug)]
pub struct OpenedNode {
    pub id: NodeId,
    pub driver: Arc<dyn Node>,
}

/// The nodes that this process serves.
#[derive(Debug)]
pub struct Registry {
    ctx: Ctx,
    opener: Arc<Opener>,
    /// The configured ones; they take new CVMs.
    chosen: BTreeMap<NodeId, Arc<dyn Node>>,
    served: BTreeMap<NodeId, Served>,
    watches: TaskTracker,
}

#[derive(Debug)]
struct Served {
    node: Arc<FleetNode>,
    /// The settings it was opened with.
    settings: Option<String>,
    stop: CancellationToken,
}

impl Registry {
    /// The registry of this process, with its configured nodes.
    pub fn new(ctx: Ctx, opener: Arc<Opener>, opened: Vec<OpenedNode>) -> Self {
        let chosen = opened.into_iter().map(|opened| (opened.id, opened.driver)).collect();
        let watches = TaskTracker::new();
        Self { ctx, opener, chosen, served: BTreeMap::new(), watches }
    }

    /// Syncs with the rows until stopped; returns after every watch has ended.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.ctx.fleet.changed.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
            if let Err(error) = self.sync().await {
                tracing::warn!(%error, "the rows of nodes were not read");
            }
        }
        for served in self.served.values() {
            served.stop.cancel();
        }
        self.watches.close();
        self.watches.wait().await;
        if let Err(error) = self.release().await {
            tracing::warn!(%error, "leased nodes were not given back; others wait for their leases");
        }
    }

    async fn release(&self) -> Result<(), Error> {
        let mut tx = self.ctx.db.begin().await?;
        tx.release_nodes(&self.ctx.instance.id).await?;
        tx.commit().await
    }

    /// Syncs the fleet with the rows once.
    pub async fn sync(&mut self) -> Result<(), Error> {
        let rows = nodes::all(&self.ctx.db).await?;
        let taken = nodes::usage(&self.ctx.db).await?;
        let mut own = Nodes::new();
        let mut others = Vec::new();
        for row in &rows {
            if row.state == NodeState::Removed {
                continue;
            }
            if self.serves(row, &taken).await? {
                if let Some(node) = self.serve(row) {
                    own.insert(node.id, node);
                }
            } else if let Some(node) = self.remote(row, &taken) {
                others.push(node);
            }
        }
        self.served.retain(|id, served| {
            let stays = own.contains_key(id);
            if !stays {
                served.stop.cancel();
            }
            stays
        });
        self.ctx.fleet.serve(own);
        self.ctx.fleet.replace_others(others);
        Ok(())
    }

    /// Whether this process serves the node; takes it over if it can.
    async fn serves(&self, row: &NodeRow, taken: &[NodeUsage]) -> Result<bool, Error> {
        if !self.ctx.config.has(Role::Worker) {
            return Ok(false);
        }
        let now = self.ctx.now();
        let is_ours = row.owner == self.ctx.instance.id;
        if row.pinned {
            // A node without settings that is not configured is opened for its CVMs, unless the configuration
            // says `none`.
            let none = self.ctx.config.node == [NodeChoice::None];
            let is_needed = row.settings.is_some()
                || self.chosen.contains_key(&row.id())
                || (has_cvms(row, taken) && !none);
            return Ok(is_ours && is_needed);
        }
        if is_ours && row.lease_expires_at >= now.micros() {
            return Ok(true);
        }
        if row.lease_expires_at >= now.micros() {
            return Ok(false);
        }
        let until = now.plus(self.ctx.config.work.node_missing());
        let mut tx = self.ctx.db.begin().await?;
        let server = (&*self.ctx.instance.id, &*self.ctx.instance.gateway);
        let is_taken = tx.take_node(row.id(), server, now, until).await?;
        tx.commit().await?;
        Ok(is_taken)
    }

    /// An own node with its watch. `None`: only a newer version knows its kind.
    fn serve(&mut self, row: &NodeRow) -> Option<Arc<FleetNode>> {
        let id = row.id();
        let takes_new = row.settings.is_some() || self.chosen.contains_key(&id);
        match self.served.get(&id) {
            Some(served) if same_driver(served.settings.as_deref(), row.settings.as_deref()) => {
                served.node.set_policy(node_policy(row, takes_new));
                return Some(served.node.clone());
            }
            // Removed and added again with other settings: opened anew.
            Some(served) => served.stop.cancel(),
            None => {}
        }
        let kind = NodeKind::parse(&row.kind)?;
        let calls = self.ctx.config.work.calls_per_node;
        let guard = Arc::new(GuardedNode::new("it has not been reached yet", calls));
        let inventory =
            casemate_core::stored::read(&row.inventory).unwrap_or_else(|_| Inventory::unknown());
        let node = FleetNode::new(id, &row.name, kind, &row.region, guard.clone(), inventory);
        node.set_policy(node_policy(row, takes_new));
        match self.chosen.get(&id) {
            Some(driver) => guard.connect(Ok(driver.clone())),
            None => {
                node.record_answer(Err("it has not been reached yet".to_owned()), self.ctx.now());
            }
        }
        let node = Arc::new(node);
        let stop = CancellationToken::new();
        let connect = Connect { opener: self.opener.clone(), guard, row: row.clone() };
        self.watches.spawn(watch::run(self.ctx.clone(), node.clone(), connect, stop.clone()));
        let settings = row.settings.clone();
        self.served.insert(id, Served { node: node.clone(), settings, stop });
        Some(node)
    }

    /// A node that another process serves, or an unserved node that has CVMs or settings.
    fn remote(&self, row: &NodeRow, taken: &[NodeUsage]) -> Option<FleetNode> {
        let is_served =
            row.owner != self.ctx.instance.id && row.lease_expires_at > self.ctx.now().micros();
        let is_known = is_served || row.settings.is_some() || has_cvms(row, taken);
        is_known.then(|| FleetNode::remote(row, is_served, node_policy(row, true))).flatten()
    }
}

fn has_cvms(row: &NodeRow, taken: &[NodeUsage]) -> bool {
    taken.iter().any(|taken| taken.node_id == row.id)
}

/// Writes the configured nodes to the database before the service starts.
#[derive(Debug)]
pub struct NodeEnlistment<'a> {
    pub db: &'a Db,
    pub config: &'a Config,
    pub opener: &'a Opener,
    pub instance: &'a Instance,
}

#[derive(Debug, thiserror::Error)]
pub enum EnlistError {
    /// A configured node cannot be opened.
    #[error("node {kind}: {reason}")]
    Open {
        kind: NodeKind,
        /// The cause, for an operator.
        reason: String,
    },
    /// A node of `[[nodes]]` has the name of another node.
    #[error("nodes: {0}: another instance, or a node of another kind, has this name")]
    NameTaken(String),
    #[error(transparent)]
    Store(#[from] Error),
}

impl NodeEnlistment<'_> {
    /// Opens the kinds given with `node`; by default docker if a container engine answers, else sim. Writes
    /// them and `[[nodes]]` to the database. Also returns one sentence for people about each choice.
    pub async fn run(&self) -> Result<(Vec<OpenedNode>, Vec<String>), EnlistError> {
        let (mut opened, mut said) = (Vec::new(), Vec::new());
        if !self.config.has(Role::Worker) {
            return Ok((opened, said));
        }
        for node in &self.config.nodes {
            self.write_row(node).await?;
            said.push(format!("{}: {}, of the configuration", node.name, node.driver.kind()));
        }
        if self.config.node.is_empty() && self.config.nodes.is_empty() {
            opened.push(self.open_default(&mut said).await?);
        }
        for kind in self.config.node.iter().filter_map(|choice| choice.kind()) {
            let driver = self.driver(kind).await?;
            opened.push(self.open(kind, driver, &mut said).await?);
        }
        Ok((opened, said))
    }

    async fn open_default(&self, said: &mut Vec<String>) -> Result<OpenedNode, EnlistError> {
        match self.opener.default_driver(NodeKind::Docker).await {
            Ok(driver) => self.open(NodeKind::Docker, driver, said).await,
            Err(error) => {
                let driver = self.driver(NodeKind::Sim).await?;
                let opened = self.open(NodeKind::Sim, driver, said).await?;
                said.push(format!("simulated, because no container engine is usable: {error}"));
                Ok(opened)
            }
        }
    }

    async fn driver(&self, kind: NodeKind) -> Result<Arc<dyn Node>, EnlistError> {
        let driver = self.opener.default_driver(kind).await;
        driver.map_err(|reason| EnlistError::Open { kind, reason })
    }

    /// Writes an answering node of this kind to the database: under its present name, else under the first
    /// name that no other process uses.
    async fn open(
        &self,
        kind: NodeKind,
        driver: Arc<dyn Node>,
        said: &mut Vec<String>,
    ) -> Result<OpenedNode, EnlistError> {
        let failed = |reason: String| EnlistError::Open { kind, reason };
        let inventory = driver.inventory().await.map_err(|error| failed(error.to_string()))?;
        let json =
            casemate_core::stored::write(&inventory).map_err(|error| failed(error.to_string()))?;
        let (id, name) = self.name(kind, &json).await?;
        said.push(format!("{name}: {} (tee: {})", inventory.version, inventory.tee.as_str()));
        said.extend(inventory.notes.iter().cloned());
        Ok(OpenedNode { id, driver })
    }

    async fn name(&self, kind: NodeKind, inventory: &str) -> Result<(NodeId, String), Error> {
        let known = nodes::all(self.db).await?;
        let is_ours = |row: &&NodeRow| {
            row.owner == self.instance.id && row.kind == kind.as_str() && row.settings.is_none()
        };
        let mut name = known.iter().find(is_ours).map(|row| row.name.clone());
        for number in 1_u32.. {
            let candidate = name.take().unwrap_or_else(|| format!("{}-{number}", kind.as_str()));
            let node = NewNode { inventory, ..self.new_node(&candidate, kind) };
            let mut tx = self.db.begin().await?;
            if let Some(id) = tx.upsert_node(&node, self.opener.clock.now()).await? {
                tx.commit().await?;
                return Ok((id, candidate));
            }
        }
        Err(Error::Stale)
    }

    fn new_node<'a>(&'a self, name: &'a str, kind: NodeKind) -> NewNode<'a> {
        NewNode {
            name,
            kind,
            owner: &self.instance.id,
            lease_expires_at: self.opener.clock.now().plus(self.config.work.node_missing()),
            gateway: &self.instance.gateway,
            region: &self.config.region,
            inventory: "{}",
            pinned: true,
            settings: None,
        }
    }

    /// Inserts a node of `[[nodes]]`, or updates its settings.
    async fn write_row(&self, node: &crate::config::ConfiguredNode) -> Result<(), EnlistError> {
        let settings = NodeSettings {
            driver: node.driver.clone(),
            limits: node.limits,
            labels: node.labels.clone(),
            price: node.price.clone(),
        };
        let json = settings.to_json();
        let kind = node.driver.kind();
        let new = NewNode {
            settings: Some(&json),
            pinned: node.driver.is_pinned(),
            region: node.region.as_deref().unwrap_or(&self.config.region),
            ..self.new_node(&node.name, kind)
        };
        let mut tx = self.db.begin().await?;
        let is_written = tx.configure_node(&new).await?
            || tx.add_node(&new, self.opener.clock.now()).await?.is_some();
        tx.commit().await?;
        if is_written { Ok(()) } else { Err(EnlistError::NameTaken(node.name.clone())) }
    }
}
