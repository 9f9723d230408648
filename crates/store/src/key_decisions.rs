//! What a webhook of KMS needs to know of an app's CVMs, and what it answered. The history of answers about
//! a CVM is in the events; here is the last one. Answers about no CVM are counted.

use casemate_core::{
    boot_auth::KeyRefusal,
    cvm::{BootIdentity, Status},
    id::{AppId, ComposeHash, CvmId, InstanceId, KmsId, NodeId, OperationId, WorkspaceId},
    node::NodeState,
    stored,
    time::Timestamp,
};
use sqlx::{query, query_as};

use crate::{
    Db, Error, Tx,
    error::{corrupt, unreadable},
};

/// A live CVM of an app, as far as its keys depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootCandidate {
    pub cvm: CvmId,
    pub workspace: WorkspaceId,
    pub node: NodeId,
    pub kms: KmsId,
    pub instance_id: Option<InstanceId>,
    /// It is to run.
    pub wanted: bool,
    /// Its node was removed from the fleet.
    pub node_removed: bool,
    /// The newest configuration, and the one that its node has if that is another.
    pub boots: Vec<BootIdentity>,
    /// The open operation.
    pub operation: Option<OperationId>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    workspace_id: i64,
    node_id: i64,
    kms_id: String,
    instance_id: Option<String>,
    power: String,
    #[sqlx(try_from = "String")]
    node_state: NodeState,
    compose_hash: String,
    image: String,
    status: String,
    operation_id: Option<String>,
}

impl Row {
    fn read(self) -> Result<BootCandidate, Error> {
        let id = self.id;
        let status: Status =
            stored::read(&self.status).map_err(unreadable("cvms", "status", id))?;
        let newest = BootIdentity {
            compose_hash: self.compose_hash.parse().map_err(corrupt("cvms", "compose_hash", id))?,
            image: self.image,
        };
        let pushed = status.pushed_boot.filter(|pushed| *pushed != newest);
        let instance_id = self.instance_id.map(|text| text.parse()).transpose();
        let operation = self.operation_id.map(|text| text.parse()).transpose();
        Ok(BootCandidate {
            cvm: CvmId(id),
            workspace: WorkspaceId(self.workspace_id),
            node: NodeId(self.node_id),
            kms: KmsId(self.kms_id),
            instance_id: instance_id.map_err(corrupt("cvms", "instance_id", id))?,
            wanted: self.power == "running",
            node_removed: self.node_state == NodeState::Removed,
            boots: std::iter::once(newest).chain(pushed).collect(),
            operation: operation.map_err(corrupt("operations", "id", id))?,
        })
    }
}

/// The boot that is asked about.
#[derive(Debug, Clone, Copy)]
pub struct BootQuery<'a> {
    pub app: &'a AppId,
    pub instance: Option<&'a InstanceId>,
    pub compose_hash: &'a ComposeHash,
    /// Nodes with the device of the guest.
    pub nodes: &'a [NodeId],
}

/// The live CVMs of an app, at most `limit`: first that of the instance, then
/// those of the nodes, then those of the document, then the newest.
pub async fn candidates(
    db: &Db,
    asked: BootQuery<'_>,
    limit: i64,
) -> Result<Vec<BootCandidate>, Error> {
    let sql = format!(
        "SELECT c.id, c.workspace_id, c.node_id, c.kms_id, c.instance_id, c.power, \
         n.state AS node_state, c.compose_hash, c.image, c.status, o.id AS operation_id \
         FROM cvms c JOIN nodes n ON n.id = c.node_id LEFT JOIN operations o ON o.cvm_id = c.id AND o.state = 'running' \
         WHERE c.app_id = $2 AND c.deleted_at IS NULL \
         ORDER BY CASE WHEN c.instance_id = $3 THEN 0 ELSE 1 END, \
         CASE WHEN c.node_id IN (SELECT CAST(list.value AS BIGINT) FROM ({}) AS list) THEN 0 ELSE 1 END, \
         CASE WHEN c.compose_hash = $4 THEN 0 ELSE 1 END, c.id DESC LIMIT $5",
        db.dialect().elements()
    );
    let nodes: Vec<i64> = asked.nodes.iter().map(|node| node.0).collect();
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(serde_json::to_string(&nodes).unwrap_or_default())
        .bind(asked.app.to_string())
        .bind(asked.instance.map(ToString::to_string).unwrap_or_default())
        .bind(asked.compose_hash.to_string())
        .bind(limit.max(0))
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

/// The last answer about a CVM, if it was a denial.
pub async fn refusal(db: &Db, cvm: CvmId) -> Result<Option<KeyRefusal>, Error> {
    const SQL: &str =
        "SELECT at, message FROM key_decisions WHERE cvm_id = $1 AND message IS NOT NULL";
    let row = on_read!(db, |c| query_as::<_, (i64, String)>(SQL).bind(cvm.0).fetch_optional(c))?;
    Ok(row.map(|(at, message)| KeyRefusal { at: Timestamp::from_micros(at), message }))
}

/// Answers of one kind about no known CVM.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Total {
    /// `app` or `kms`.
    pub subject: String,
    /// `allowed`, or why not.
    pub code: String,
    pub total: i64,
    /// Microseconds.
    pub first_at: i64,
    /// Microseconds.
    pub last_at: i64,
    /// The last one, as JSON.
    pub last: String,
}

/// All totals, ordered by subject and code.
pub async fn totals(db: &Db) -> Result<Vec<Total>, Error> {
    const SQL: &str = "SELECT subject, code, total, first_at, last_at, last \
        FROM key_decision_totals ORDER BY subject, code";
    on_read!(db, |c| query_as::<_, Total>(SQL).fetch_all(c))
}

impl Tx {
    /// Records the last answer about a CVM. `denied`: code and message. Transactions that record several do
    /// so by ascending id.
    pub async fn record_key_decision(
        &mut self,
        cvm: CvmId,
        denied: Option<(&str, &str)>,
        at: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO key_decisions (cvm_id, at, code, message) \
            VALUES ($1, $2, $3, $4) ON CONFLICT (cvm_id) DO UPDATE SET \
            at = excluded.at, code = excluded.code, message = excluded.message";
        let (code, message) = denied.unzip();
        exec_tx!(self, query(SQL).bind(cvm.0).bind(at.micros()).bind(code).bind(message)).map(drop)
    }

    /// Counts answers of one kind about no known CVM; `last` is the newest, as JSON.
    pub async fn count_key_decisions(
        &mut self,
        (subject, code): (&str, &str),
        count: i64,
        last: &str,
        at: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO key_decision_totals (subject, code, total, first_at, last_at, last) \
            VALUES ($1, $2, $3, $4, $4, $5) ON CONFLICT (subject, code) DO UPDATE SET \
            total = key_decision_totals.total + excluded.total, last_at = excluded.last_at, \
            last = excluded.last";
        exec_tx!(self, query(SQL).bind(subject).bind(code).bind(count).bind(at.micros()).bind(last))
            .map(drop)
    }
}
