//! Distinct values of the live CVMs of a workspace, offered as filters. The cost is one index look-up per
//! value, independent of the number of CVMs.

use casemate_core::id::{KmsId, NodeId, WorkspaceId};
use sqlx::query_scalar;

use crate::{Db, Error};

/// Sorted distinct values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facets {
    pub phases: Vec<String>,
    /// Names of OS images.
    pub images: Vec<String>,
    /// Names of instance types. CVMs with custom sizes have none.
    pub instance_types: Vec<String>,
    pub nodes: Vec<NodeId>,
    pub kms: Vec<KmsId>,
}

/// A recursive query that jumps in an index from each value to the next greater one.
fn walk(table: &str, column: &str, condition: &str) -> String {
    let least =
        format!("SELECT MIN({column}) FROM {table} WHERE workspace_id = $1 AND {condition}");
    format!(
        "WITH RECURSIVE found (value) AS ({least} UNION ALL \
         SELECT ({least} AND {column} > found.value) FROM found WHERE found.value IS NOT NULL) \
         SELECT value FROM found WHERE value IS NOT NULL"
    )
}

async fn words(
    db: &Db,
    workspace: WorkspaceId,
    (table, column, condition): (&str, &str, &str),
) -> Result<Vec<String>, Error> {
    let sql = walk(table, column, condition);
    on_read!(db, |c| query_scalar::<_, String>(sqlx::AssertSqlSafe(sql))
        .bind(workspace.0)
        .fetch_all(c))
}

pub async fn facets(db: &Db, workspace: WorkspaceId) -> Result<Facets, Error> {
    const LIVE: &str = "deleted_at IS NULL";
    let nodes = walk("cvms", "node_id", LIVE);
    let nodes = on_read!(db, |c| query_scalar::<_, i64>(sqlx::AssertSqlSafe(nodes))
        .bind(workspace.0)
        .fetch_all(c))?;
    let kms = words(db, workspace, ("apps", "kms_id", "live > 0")).await?;
    Ok(Facets {
        phases: words(db, workspace, ("cvms", "phase", LIVE)).await?,
        images: words(db, workspace, ("cvms", "image", LIVE)).await?,
        instance_types: words(db, workspace, ("cvms", "instance_type", LIVE)).await?,
        nodes: nodes.into_iter().map(NodeId).collect(),
        kms: kms.into_iter().map(KmsId).collect(),
    })
}
