//! Nodes as they were last seen.

use casemate_core::{id::NodeId, time::Timestamp};
use sqlx::{query, query_as};

use crate::{Db, Error, Tx};

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct NodeRow {
    /// `teepod_id` on the wire.
    pub id: i64,
    /// Unique name.
    pub name: String,
    /// `docker`, `sim`.
    pub kind: String,
    /// Where it stands.
    pub region: String,
    /// What it told of itself last, as JSON.
    pub inventory: String,
    /// Whether it answered last time.
    pub reachable: bool,
    /// When it was last asked.
    pub seen_at: i64,
}

impl NodeRow {
    /// The typed id.
    pub const fn id(&self) -> NodeId {
        NodeId(self.id)
    }
}

/// What CVMs that are not gone take from a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Taken {
    /// The node.
    pub node_id: i64,
    /// Number of CVMs.
    pub slots: i64,
    /// Virtual CPUs.
    pub vcpu: i64,
    /// MiB.
    pub memory_mb: i64,
    /// GB.
    pub disk_gb: i64,
}

const TAKEN: &str = "SELECT id AS node_id, slots, vcpu, memory_mb, disk_gb FROM nodes";

const COLUMNS_BY_ID: &str =
    "SELECT id, name, kind, region, inventory, reachable, seen_at FROM nodes ORDER BY id";

/// Every node, by id.
pub async fn all(db: &Db) -> Result<Vec<NodeRow>, Error> {
    on_read!(db, |c| query_as::<_, NodeRow>(COLUMNS_BY_ID).fetch_all(c))
}

/// What is taken, per node that has any CVM.
pub async fn taken(db: &Db) -> Result<Vec<Taken>, Error> {
    let sql = format!("{TAKEN} WHERE slots > 0 ORDER BY id");
    on_read!(db, |c| query_as::<_, Taken>(sqlx::AssertSqlSafe(sql)).fetch_all(c))
}

impl Tx {
    /// Makes or renews the node of this name and returns its id.
    pub async fn upsert_node(
        &mut self,
        name: &str,
        kind: &str,
        region: &str,
        inventory: &str,
        now: Timestamp,
    ) -> Result<NodeId, Error> {
        const UPDATE: &str = "UPDATE nodes SET kind = $2, region = $3, inventory = $4, \
            reachable = TRUE, seen_at = $5 WHERE name = $1 RETURNING id";
        const INSERT: &str = "INSERT INTO nodes \
            (id, name, kind, region, inventory, reachable, seen_at, created_at) \
            VALUES ($1, $2, $3, $4, $5, TRUE, $6, $6) ON CONFLICT (name) DO UPDATE SET \
            kind = excluded.kind, region = excluded.region, inventory = excluded.inventory, \
            reachable = TRUE, seen_at = excluded.seen_at RETURNING id";
        let known = on_tx!(self, |c| sqlx::query_scalar::<_, i64>(UPDATE)
            .bind(name)
            .bind(kind)
            .bind(region)
            .bind(inventory)
            .bind(now.micros())
            .fetch_optional(c))?;
        if let Some(id) = known {
            return Ok(NodeId(id));
        }
        // Another process may have made it meanwhile; then the number drawn is lost.
        let id = self.draw("node").await?;
        let id = on_tx!(self, |c| sqlx::query_scalar::<_, i64>(INSERT)
            .bind(id)
            .bind(name)
            .bind(kind)
            .bind(region)
            .bind(inventory)
            .bind(now.micros())
            .fetch_one(c))?;
        Ok(NodeId(id))
    }

    /// Records whether a node answered.
    pub async fn mark_node(
        &mut self,
        id: NodeId,
        reachable: bool,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE nodes SET reachable = $2, seen_at = $3 WHERE id = $1";
        exec_tx!(self, query(SQL).bind(id.0).bind(reachable).bind(now.micros())).map(drop)
    }

    /// Takes the node's row for this transaction and says what is taken there. Two admissions to one
    /// node run one after the other on both engines.
    pub async fn lock_node_and_sum(&mut self, id: NodeId) -> Result<Taken, Error> {
        let sql = format!("{TAKEN} WHERE id = $1{}", self.engine().take());
        let taken = on_tx!(self, |c| query_as::<_, Taken>(sqlx::AssertSqlSafe(sql))
            .bind(id.0)
            .fetch_optional(c))?;
        Ok(taken.unwrap_or(Taken { node_id: id.0, ..Taken::default() }))
    }
}
