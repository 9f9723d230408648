//! Open drift of nodes: differences that the nodes still show.

use casemate_core::{
    drift::DriftKind,
    id::{CvmId, NodeId},
    time::Timestamp,
};
use sqlx::{query, query_as};

use crate::{Db, Error, Tx};

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct DriftRow {
    pub node_id: i64,
    /// What it is about; unique with the kind within a node.
    pub subject: String,
    /// A word of [`DriftKind`]; a newer version may know more of them.
    pub kind: String,
    pub cvm_id: Option<i64>,
    /// For people.
    pub what: String,
    /// When it was first seen, in microseconds.
    pub since: i64,
}

/// A difference to insert.
#[derive(Debug, Clone, Copy)]
pub struct NewDrift<'a> {
    pub node: NodeId,
    pub subject: &'a str,
    pub kind: DriftKind,
    pub cvm: Option<CvmId>,
    /// For people.
    pub what: &'a str,
}

/// Open drift of one node or of all, by node and subject, after a row, at most `limit`.
pub async fn open(
    db: &Db,
    node: Option<NodeId>,
    after: Option<(NodeId, &str, &str)>,
    limit: i64,
) -> Result<Vec<DriftRow>, Error> {
    const SQL: &str = "SELECT node_id, subject, kind, cvm_id, what, since FROM node_drift \
        WHERE node_id >= $1 AND node_id <= $2 AND (node_id, subject, kind) > ($3, $4, $5) \
        ORDER BY node_id, subject, kind LIMIT $6";
    let (first, last) = node.map_or((i64::MIN, i64::MAX), |node| (node.0, node.0));
    let (after, subject, kind) = after.unwrap_or((NodeId(i64::MIN), "", ""));
    on_read!(db, |c| query_as::<_, DriftRow>(SQL)
        .bind(first)
        .bind(last)
        .bind(after.0)
        .bind(subject)
        .bind(kind)
        .bind(limit.max(0))
        .fetch_all(c))
}

impl Tx {
    /// Inserts a difference; one that is there already keeps its time and gets the new words.
    pub async fn insert_drift(&mut self, new: &NewDrift<'_>, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO node_drift (node_id, subject, kind, cvm_id, what, since) \
            VALUES ($1, $2, $3, $4, $5, $6) \
            ON CONFLICT (node_id, subject, kind) DO UPDATE SET what = excluded.what";
        exec_tx!(
            self,
            query(SQL)
                .bind(new.node.0)
                .bind(new.subject)
                .bind(new.kind.as_str())
                .bind(new.cvm.map(|cvm| cvm.0))
                .bind(new.what)
                .bind(now.micros())
        )
        .map(drop)
    }

    /// Deletes a difference. Returns whether it was there.
    pub async fn delete_drift(
        &mut self,
        node: NodeId,
        subject: &str,
        kind: &str,
    ) -> Result<bool, Error> {
        const SQL: &str =
            "DELETE FROM node_drift WHERE node_id = $1 AND subject = $2 AND kind = $3";
        let done = exec_tx!(self, query(SQL).bind(node.0).bind(subject).bind(kind))?;
        Ok(done == 1)
    }

    /// Deletes all differences of a kind of a node; returns how many.
    pub async fn delete_drift_of_kind(
        &mut self,
        node: NodeId,
        kind: DriftKind,
    ) -> Result<u64, Error> {
        const SQL: &str = "DELETE FROM node_drift WHERE node_id = $1 AND kind = $2";
        exec_tx!(self, query(SQL).bind(node.0).bind(kind.as_str()))
    }
}
