//! Nodes: settings, owner and last inventory.

use casemate_core::{
    id::NodeId,
    node::{NodeKind, NodeState},
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{Db, Error, Tx};

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct NodeRow {
    /// `teepod_id` on the wire.
    pub id: i64,
    /// Unique.
    pub name: String,
    /// `docker`, `sim` or `dstack`.
    pub kind: String,
    /// The process that serves the node, and that has its files if it is pinned.
    pub owner: String,
    /// When the owner's lease of the node expires, in microseconds.
    #[sqlx(rename = "kept_until")]
    pub lease_expires_at: i64,
    /// Listen address of the owner's gateway, for example `127.0.0.1:8091`; empty: none.
    pub gateway: String,
    pub region: String,
    /// The last inventory, as JSON.
    pub inventory: String,
    /// Whether the last call was answered.
    pub reachable: bool,
    /// When `reachable` last changed.
    pub seen_at: i64,
    /// Set by the operator.
    #[sqlx(try_from = "String")]
    pub state: NodeState,
    /// Its files are in the owner's data directory, so no other process can serve it.
    pub pinned: bool,
    /// Connection settings, as JSON; `None`: those of the owner's configuration.
    pub settings: Option<String>,
}

impl NodeRow {
    pub const fn id(&self) -> NodeId {
        NodeId(self.id)
    }
}

/// A node as the serving process registers it.
#[derive(Debug, Clone, Copy)]
pub struct NewNode<'a> {
    /// Unique.
    pub name: &'a str,
    pub kind: NodeKind,
    /// The process that serves it.
    pub owner: &'a str,
    /// When the owner's lease expires unless it is renewed.
    pub lease_expires_at: Timestamp,
    /// Listen address of the owner's gateway; empty: none.
    pub gateway: &'a str,
    pub region: &'a str,
    /// The inventory, as JSON.
    pub inventory: &'a str,
    /// Whether only this process can serve it.
    pub pinned: bool,
    /// Connection settings, as JSON; `None`: those of the owner's configuration.
    pub settings: Option<&'a str>,
}

/// Usage of a node by CVMs that are not deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct NodeUsage {
    pub node_id: i64,
    /// Number of CVMs.
    pub slots: i64,
    /// Virtual CPUs.
    pub vcpu: i64,
    /// MiB.
    pub memory_mb: i64,
    /// GB.
    pub disk_gb: i64,
    /// Set by the operator.
    #[sqlx(try_from = "String")]
    pub state: NodeState,
}

const TAKEN: &str = "SELECT id AS node_id, slots, vcpu, memory_mb, disk_gb, state FROM nodes";

/// Binds the columns of a node as `$1` to `$10`.
macro_rules! bind_node {
    ($query:expr, $node:expr, $now:expr) => {
        $query
            .bind($node.name)
            .bind($node.kind.as_str())
            .bind($node.owner)
            .bind($node.lease_expires_at.micros())
            .bind($node.gateway)
            .bind($node.region)
            .bind($node.inventory)
            .bind($now.micros())
            .bind($node.pinned)
            .bind($node.settings)
    };
}

const COLUMNS_BY_ID: &str = "SELECT id, name, kind, owner, kept_until, gateway, region, inventory, reachable, seen_at, \
    state, pinned, settings \
    FROM nodes ORDER BY id";

/// All nodes, ordered by id.
pub async fn all(db: &Db) -> Result<Vec<NodeRow>, Error> {
    on_read!(db, |c| query_as::<_, NodeRow>(COLUMNS_BY_ID).fetch_all(c))
}

/// Usage of every node that has a CVM.
pub async fn usage(db: &Db) -> Result<Vec<NodeUsage>, Error> {
    let sql = format!("{TAKEN} WHERE slots > 0 ORDER BY id");
    on_read!(db, |c| query_as::<_, NodeUsage>(sqlx::AssertSqlSafe(sql)).fetch_all(c))
}

impl Tx {
    /// Usage of every node that has a CVM, as this transaction sees it.
    pub async fn node_usage(&mut self) -> Result<Vec<NodeUsage>, Error> {
        let sql = format!("{TAKEN} WHERE slots > 0 ORDER BY id");
        on_tx!(self, |c| query_as::<_, NodeUsage>(sqlx::AssertSqlSafe(sql)).fetch_all(c))
    }

    /// Inserts or renews the node of this name and returns its id. A removed node becomes active again.
    /// `None`: another process has a node of this name.
    pub async fn upsert_node(
        &mut self,
        node: &NewNode<'_>,
        now: Timestamp,
    ) -> Result<Option<NodeId>, Error> {
        const UPDATE: &str = "UPDATE nodes SET kind = $2, kept_until = $4, gateway = $5, \
            region = $6, inventory = $7, reachable = TRUE, seen_at = $8, pinned = $9, \
            settings = $10, state = CASE state WHEN 'removed' THEN 'active' ELSE state END \
            WHERE name = $1 AND owner = $3 RETURNING id";
        let known = on_tx!(self, |c| bind_node!(query_scalar::<_, i64>(UPDATE), node, now)
            .fetch_optional(c))?;
        match known {
            Some(id) => Ok(Some(NodeId(id))),
            None => self.insert_node(node, true, now).await,
        }
    }

    /// Inserts a node that has not answered yet. A removed node of this name gets its old id. `None`: the
    /// name is in use, or belonged to a node of another kind.
    pub async fn add_node(
        &mut self,
        node: &NewNode<'_>,
        now: Timestamp,
    ) -> Result<Option<NodeId>, Error> {
        const AGAIN: &str = "UPDATE nodes SET kind = $2, owner = $3, kept_until = $4, gateway = $5, \
            region = $6, inventory = $7, reachable = FALSE, seen_at = $8, pinned = $9, \
            settings = $10, state = 'active' \
            WHERE name = $1 AND kind = $2 AND state = 'removed' RETURNING id";
        let again = on_tx!(self, |c| bind_node!(query_scalar::<_, i64>(AGAIN), node, now)
            .fetch_optional(c))?;
        match again {
            Some(id) => Ok(Some(NodeId(id))),
            None => self.insert_node(node, false, now).await,
        }
    }

    /// `None`: the name is in use. The drawn number is lost.
    async fn insert_node(
        &mut self,
        node: &NewNode<'_>,
        reachable: bool,
        now: Timestamp,
    ) -> Result<Option<NodeId>, Error> {
        const INSERT: &str = "INSERT INTO nodes (name, kind, owner, kept_until, gateway, region, \
            inventory, seen_at, pinned, settings, created_at, id, reachable) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $8, $11, $12) \
            ON CONFLICT (name) DO UPDATE SET kept_until = excluded.kept_until \
            WHERE nodes.owner = excluded.owner AND $12 RETURNING id";
        let id = self.draw("node").await?;
        let made = on_tx!(self, |c| bind_node!(query_scalar::<_, i64>(INSERT), node, now)
            .bind(id)
            .bind(reachable)
            .fetch_optional(c))?;
        Ok(made.map(NodeId))
    }

    /// Updates the settings of a node that is not removed, has this name and kind, and is owned by us or
    /// leased. Returns whether a row was changed.
    pub async fn configure_node(&mut self, node: &NewNode<'_>) -> Result<bool, Error> {
        const SQL: &str = "UPDATE nodes SET region = $4, pinned = $5, settings = $6 \
            WHERE name = $1 AND kind = $2 AND state <> 'removed' AND settings IS NOT NULL \
            AND (owner = $3 OR (NOT pinned AND NOT $5))";
        let done = exec_tx!(
            self,
            query(SQL)
                .bind(node.name)
                .bind(node.kind.as_str())
                .bind(node.owner)
                .bind(node.region)
                .bind(node.pinned)
                .bind(node.settings)
        )?;
        Ok(done == 1)
    }

    /// Renews the leases of a process's nodes and sets its gateway address.
    pub async fn keep_nodes(
        &mut self,
        owner: &str,
        gateway: &str,
        until: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE nodes SET kept_until = $2, gateway = $3 WHERE owner = $1";
        exec_tx!(self, query(SQL).bind(owner).bind(until.micros()).bind(gateway)).map(drop)
    }

    /// Releases the nodes of a process that other processes can serve.
    pub async fn release_nodes(&mut self, owner: &str) -> Result<(), Error> {
        const SQL: &str = "UPDATE nodes SET kept_until = 0 WHERE owner = $1 AND NOT pinned";
        exec_tx!(self, query(SQL).bind(owner)).map(drop)
    }

    /// Takes over a node whose lease expired, until `until`. Returns whether it is ours now.
    pub async fn take_node(
        &mut self,
        id: NodeId,
        (owner, gateway): (&str, &str),
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE nodes SET owner = $2, gateway = $3, kept_until = $5 \
            WHERE id = $1 AND NOT pinned AND state <> 'removed' AND kept_until < $4";
        let taken = exec_tx!(
            self,
            query(SQL).bind(id.0).bind(owner).bind(gateway).bind(now.micros()).bind(until.micros())
        )?;
        Ok(taken == 1)
    }

    /// Records whether a node answered, and its inventory if that changed.
    pub async fn mark_node(
        &mut self,
        id: NodeId,
        inventory: Option<&str>,
        reachable: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE nodes SET reachable = $2, seen_at = $3, \
            inventory = COALESCE($4, inventory) WHERE id = $1";
        exec_tx!(self, query(SQL).bind(id.0).bind(reachable).bind(now.micros()).bind(inventory))
            .map(drop)
    }

    /// Cordons or uncordons a node. Returns whether the node exists.
    pub async fn set_node_state(&mut self, id: NodeId, state: NodeState) -> Result<bool, Error> {
        const SQL: &str = "UPDATE nodes SET state = $2 WHERE id = $1 AND state <> 'removed'";
        Ok(exec_tx!(self, query(SQL).bind(id.0).bind(state.as_str()))? == 1)
    }

    /// Replaces the settings of a node that is not removed and has these. Returns whether it had them.
    pub async fn change_node_settings(
        &mut self,
        id: NodeId,
        present: &str,
        next: &str,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE nodes SET settings = $3 \
            WHERE id = $1 AND settings = $2 AND state <> 'removed'";
        Ok(exec_tx!(self, query(SQL).bind(id.0).bind(present).bind(next))? == 1)
    }

    /// Removes a node from the fleet with its open drift, either with its CVMs or only if it has none. Returns whether it was
    /// removed.
    pub async fn remove_node(&mut self, id: NodeId, with_cvms: bool) -> Result<bool, Error> {
        const SQL: &str = "UPDATE nodes SET state = 'removed', reachable = FALSE \
            WHERE id = $1 AND (slots = 0 OR $2)";
        // A node that is gone shows nothing.
        const DRIFT: &str = "DELETE FROM node_drift WHERE node_id = $1";
        let is_removed = exec_tx!(self, query(SQL).bind(id.0).bind(with_cvms))? == 1;
        if is_removed {
            exec_tx!(self, query(DRIFT).bind(id.0))?;
        }
        Ok(is_removed)
    }

    /// Locks the node's row for this transaction and returns its usage. Admissions to one node are serialised
    /// on both databases.
    pub async fn lock_node_and_sum(&mut self, id: NodeId) -> Result<NodeUsage, Error> {
        let sql = format!("{TAKEN} WHERE id = $1{}", self.dialect().for_update());
        let taken = on_tx!(self, |c| query_as::<_, NodeUsage>(sqlx::AssertSqlSafe(sql))
            .bind(id.0)
            .fetch_optional(c))?;
        Ok(taken.unwrap_or(NodeUsage { node_id: id.0, ..NodeUsage::default() }))
    }
}
