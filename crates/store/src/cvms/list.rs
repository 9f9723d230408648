//! Lists of CVMs. The ids of a page come from an index that has the filter and the order
//! ([`super::pagination`]), the rows are read by id, and the total length comes from usage counters.

use casemate_core::id::{CvmId, NodeId, UserId, VmUuid, WorkspaceId};
use sqlx::{query_as, query_scalar};

use super::{
    Cvm, ListPage, PageStart,
    pagination::IndexScan,
    row::{LISTED, Row},
};
use crate::{Db, Error};

/// Filter of a list of CVMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    pub node: Option<NodeId>,
    pub user: Option<UserId>,
}

impl Filter {
    /// One text per combination, so that each uses its own index. Parameters 2 and 3 are always bound.
    const fn condition(self) -> &'static str {
        match (self.node, self.user) {
            (None, None) => "",
            (Some(_), None) => " AND node_id = $2",
            (None, Some(_)) => " AND created_by = $3",
            (Some(_), Some(_)) => " AND node_id = $2 AND created_by = $3",
        }
    }

    fn node(self) -> i64 {
        self.node.map_or(0, |node| node.0)
    }

    fn user(self) -> i64 {
        self.user.map_or(0, |user| user.0)
    }
}

/// A page of the live CVMs of a workspace, newest first, at most `limit`. A CVM that is deleted between the
/// reads is left out.
pub async fn page(
    db: &Db,
    workspace: WorkspaceId,
    filter: Filter,
    seek: PageStart<CvmId>,
    limit: i64,
) -> Result<ListPage<Cvm, CvmId>, Error> {
    let total = total(db, workspace, filter).await?;
    let walk = IndexScan::new(seek, limit, total);
    let ids = ids(db, workspace, filter, &walk).await?;
    let (ids, more) = walk.page(ids, limit, total);
    let next = ids.last().copied().filter(|_| more).map(CvmId);
    Ok(ListPage { items: by_ids(db, &ids).await?, total, next })
}

async fn ids(
    db: &Db,
    workspace: WorkspaceId,
    filter: Filter,
    walk: &IndexScan<CvmId>,
) -> Result<Vec<i64>, Error> {
    let (behind, after) = match walk {
        IndexScan::Nowhere => return Ok(Vec::new()),
        IndexScan::DownFrom { after, .. } => (" AND id < $6", after.0),
        IndexScan::Down { .. } | IndexScan::Up { .. } => ("", 0),
    };
    let sql = format!(
        "SELECT id FROM cvms WHERE workspace_id = $1 AND deleted_at IS NULL{}{behind}{}",
        filter.condition(),
        walk.order(&["id"], 4, 5)
    );
    on_read!(db, |c| query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql))
        .bind(workspace.0)
        .bind(filter.node())
        .bind(filter.user())
        .bind(walk.take())
        .bind(walk.skip())
        .bind(after)
        .fetch_all(c))
}

async fn by_ids(db: &Db, ids: &[i64]) -> Result<Vec<Cvm>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let list = serde_json::to_string(ids).unwrap_or_default();
    let sql = format!(
        "{LISTED} WHERE c.id IN (SELECT CAST(list.value AS BIGINT) FROM ({}) AS list) \
         AND c.deleted_at IS NULL ORDER BY c.id DESC",
        db.dialect().elements()
    );
    let rows =
        on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql)).bind(&list).fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

async fn total(db: &Db, workspace: WorkspaceId, filter: Filter) -> Result<i64, Error> {
    let sql = format!(
        "SELECT CAST(COALESCE(SUM(cvms), 0) AS BIGINT) FROM cvm_tallies WHERE workspace_id = $1{}",
        filter.condition()
    );
    on_read!(db, |c| query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql))
        .bind(workspace.0)
        .bind(filter.node())
        .bind(filter.user())
        .fetch_one(c))
}

/// The live CVMs of a node with an id greater than `after`, ordered by id, at most `limit`. Used to compare
/// them with the node's VMs.
pub async fn on_node(db: &Db, node: NodeId, after: CvmId, limit: i64) -> Result<Vec<Cvm>, Error> {
    let sql = format!(
        "{LISTED} WHERE c.node_id = $1 AND c.id > $2 AND c.deleted_at IS NULL \
         ORDER BY c.id LIMIT $3"
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(node.0)
        .bind(after.0)
        .bind(limit.max(0))
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

/// The live CVMs of a node among these ids.
pub async fn on_node_among(db: &Db, node: NodeId, ids: &[CvmId]) -> Result<Vec<Cvm>, Error> {
    let list: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let list = serde_json::to_string(&list).unwrap_or_default();
    let sql = format!(
        "{LISTED} WHERE c.id IN (SELECT CAST(list.value AS BIGINT) FROM ({}) AS list) \
         AND c.node_id = $2 AND c.deleted_at IS NULL ORDER BY c.id",
        db.dialect().elements()
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(&list)
        .bind(node.0)
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

/// The ids of the live CVMs of a node with these UUIDs.
pub async fn ids_on_node(db: &Db, node: NodeId, uuids: &[VmUuid]) -> Result<Vec<CvmId>, Error> {
    let list = serde_json::to_string(uuids).unwrap_or_default();
    let sql = format!(
        "SELECT id FROM cvms WHERE vm_uuid IN ({}) AND node_id = $2 AND deleted_at IS NULL",
        db.dialect().elements()
    );
    let ids = on_read!(db, |c| query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql))
        .bind(&list)
        .bind(node.0)
        .fetch_all(c))?;
    Ok(ids.into_iter().map(CvmId).collect())
}

/// Those of these UUIDs that belong to live CVMs of a node.
pub async fn uuids_on_node(db: &Db, node: NodeId, uuids: &[VmUuid]) -> Result<Vec<VmUuid>, Error> {
    let list = serde_json::to_string(uuids).unwrap_or_default();
    let sql = format!(
        "SELECT vm_uuid FROM cvms WHERE vm_uuid IN ({}) AND node_id = $2 AND deleted_at IS NULL",
        db.dialect().elements()
    );
    let found = on_read!(db, |c| query_scalar::<_, String>(sqlx::AssertSqlSafe(sql))
        .bind(&list)
        .bind(node.0)
        .fetch_all(c))?;
    Ok(found.iter().filter_map(|uuid| uuid.parse().ok()).collect())
}
