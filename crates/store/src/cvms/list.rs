//! Lists of CVMs. A page is found through an index that holds the filter and the order, and the
//! length of the whole list is added up from tallies: neither grows with the list.

use casemate_core::id::{NodeId, UserId, WorkspaceId};
use sqlx::{query_as, query_scalar};

use super::{
    Cvm,
    row::{LISTED, Row},
};
use crate::{Db, Error};

/// Which CVMs a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Only those of this node.
    pub node: Option<NodeId>,
    /// Only those of this user.
    pub user: Option<UserId>,
}

impl Filter {
    /// A text per combination, so that each finds its own index; parameters 2 and 3 are always
    /// bound.
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

/// A page of the live CVMs of a workspace, newest first, and how many there are in all. `offset`
/// counts from the newest; the page is found through an index before any row is read.
pub async fn page(
    db: &Db,
    workspace: WorkspaceId,
    filter: Filter,
    limit: i64,
    offset: i64,
) -> Result<(Vec<Cvm>, i64), Error> {
    let condition = filter.condition();
    let sql = format!(
        "{LISTED} WHERE c.id IN (SELECT id FROM cvms WHERE workspace_id = $1 \
         AND deleted_at IS NULL{condition} ORDER BY id DESC LIMIT $4 OFFSET $5) ORDER BY c.id DESC"
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(workspace.0)
        .bind(filter.node())
        .bind(filter.user())
        .bind(limit.max(0))
        .bind(offset.max(0))
        .fetch_all(c))?;
    let total = total(db, workspace, filter).await?;
    Ok((rows.into_iter().map(Row::read).collect::<Result<_, _>>()?, total))
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

/// Every live CVM of a node, by id; for comparing with what the node shows.
pub async fn on_node(db: &Db, node: NodeId) -> Result<Vec<Cvm>, Error> {
    let sql = format!("{LISTED} WHERE c.node_id = $1 AND c.deleted_at IS NULL ORDER BY c.id");
    let rows =
        on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql)).bind(node.0).fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}
