//! Nodes as they were last seen.

use casemate_core::{id::NodeId, time::Timestamp};
use sqlx::{query, query_as, query_scalar};

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
    /// The instance in whose data directory it keeps its files.
    pub owner: String,
    /// That instance serves it until then, in microseconds.
    #[sqlx(rename = "kept_until")]
    pub lease_expires_at: i64,
    /// Where that instance's gateway listens: `127.0.0.1:8091`; empty: nowhere.
    pub gateway: String,
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

/// A node as the instance that serves it makes it known.
#[derive(Debug, Clone, Copy)]
pub struct NewNode<'a> {
    /// Unique name.
    pub name: &'a str,
    /// `docker`, `sim`.
    pub kind: &'a str,
    /// The instance that serves it.
    pub owner: &'a str,
    /// It does so until then, unless it says so again.
    pub lease_expires_at: Timestamp,
    /// Where its gateway listens; empty: nowhere.
    pub gateway: &'a str,
    /// Where it stands.
    pub region: &'a str,
    /// What it tells of itself, as JSON.
    pub inventory: &'a str,
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

const COLUMNS_BY_ID: &str = "SELECT id, name, kind, owner, kept_until, gateway, region, inventory, reachable, seen_at \
    FROM nodes ORDER BY id";

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
    /// What is taken, per node that has any CVM, as this transaction sees it.
    pub async fn taken(&mut self) -> Result<Vec<Taken>, Error> {
        let sql = format!("{TAKEN} WHERE slots > 0 ORDER BY id");
        on_tx!(self, |c| query_as::<_, Taken>(sqlx::AssertSqlSafe(sql)).fetch_all(c))
    }

    /// Makes or renews the node of this name and returns its id; `None`: another instance has a node
    /// of this name.
    pub async fn upsert_node(
        &mut self,
        node: &NewNode<'_>,
        now: Timestamp,
    ) -> Result<Option<NodeId>, Error> {
        const UPDATE: &str = "UPDATE nodes SET kind = $2, kept_until = $4, gateway = $5, \
            region = $6, inventory = $7, reachable = TRUE, seen_at = $8 \
            WHERE name = $1 AND owner = $3 RETURNING id";
        const INSERT: &str = "INSERT INTO nodes (name, kind, owner, kept_until, gateway, region, \
            inventory, seen_at, created_at, id, reachable) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, TRUE) ON CONFLICT (name) DO UPDATE SET \
            kind = excluded.kind, kept_until = excluded.kept_until, gateway = excluded.gateway, \
            region = excluded.region, inventory = excluded.inventory, reachable = TRUE, \
            seen_at = excluded.seen_at WHERE nodes.owner = excluded.owner RETURNING id";
        let known = on_tx!(self, |c| query_scalar::<_, i64>(UPDATE)
            .bind(node.name)
            .bind(node.kind)
            .bind(node.owner)
            .bind(node.lease_expires_at.micros())
            .bind(node.gateway)
            .bind(node.region)
            .bind(node.inventory)
            .bind(now.micros())
            .fetch_optional(c))?;
        if known.is_some() {
            return Ok(known.map(NodeId));
        }
        // Another process may have made it meanwhile; then the number drawn is lost.
        let id = self.draw("node").await?;
        let made = on_tx!(self, |c| query_scalar::<_, i64>(INSERT)
            .bind(node.name)
            .bind(node.kind)
            .bind(node.owner)
            .bind(node.lease_expires_at.micros())
            .bind(node.gateway)
            .bind(node.region)
            .bind(node.inventory)
            .bind(now.micros())
            .bind(id)
            .fetch_optional(c))?;
        Ok(made.map(NodeId))
    }

    /// Says that an instance goes on serving its nodes until then.
    pub async fn keep_nodes(&mut self, owner: &str, until: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE nodes SET kept_until = $2 WHERE owner = $1";
        exec_tx!(self, query(SQL).bind(owner).bind(until.micros())).map(drop)
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
        let sql = format!("{TAKEN} WHERE id = $1{}", self.engine().for_update());
        let taken = on_tx!(self, |c| query_as::<_, Taken>(sqlx::AssertSqlSafe(sql))
            .bind(id.0)
            .fetch_optional(c))?;
        Ok(taken.unwrap_or(Taken { node_id: id.0, ..Taken::default() }))
    }
}
