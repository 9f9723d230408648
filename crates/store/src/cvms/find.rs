//! Look-ups of CVMs by any of their names. Values that cannot be in the database are not found.

use casemate_core::id::{AppId, CvmId, CvmName, InstanceId, VmUuid, WorkspaceId};
use sqlx::query_as;

use super::{
    Cvm,
    row::{LISTED, Row, SELECT},
};
use crate::{Db, Error};

/// The CVMs of a workspace that match a name or id given by a client, newest first, at most 100. CVMs of
/// other workspaces are not found.
pub async fn resolve(db: &Db, workspace: WorkspaceId, name: &CvmName) -> Result<Vec<Cvm>, Error> {
    let (column, value) = match name {
        CvmName::Ref(reference) => ("c.reference", reference.to_string()),
        CvmName::Uuid(uuid) => ("c.vm_uuid", uuid.to_string()),
        CvmName::Number(id) => return Ok(by_id(db, workspace, *id).await?.into_iter().collect()),
        CvmName::Instance(id) => ("c.instance_id", id.to_string()),
        // PostgreSQL rejects a null character even in comparisons.
        CvmName::Name(name) if name.contains('\0') => return Ok(Vec::new()),
        CvmName::Name(name) => ("c.name", name.clone()),
        CvmName::AppOrInstance(bytes) => {
            let app = AppId::from_bytes(*bytes);
            let found = live_where(db, workspace, "c.app_id", &app.to_string()).await?;
            if !found.is_empty() {
                return Ok(found);
            }
            ("c.instance_id", app.to_string())
        }
    };
    live_where(db, workspace, column, &value).await
}

async fn live_where(
    db: &Db,
    workspace: WorkspaceId,
    column: &'static str,
    value: &str,
) -> Result<Vec<Cvm>, Error> {
    let sql = format!(
        "{SELECT} WHERE c.workspace_id = $1 AND {column} = $2 AND c.deleted_at IS NULL \
         ORDER BY c.id DESC LIMIT 100"
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(workspace.0)
        .bind(value)
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

/// A CVM of a workspace.
pub async fn by_id(db: &Db, workspace: WorkspaceId, id: CvmId) -> Result<Option<Cvm>, Error> {
    let sql = format!("{SELECT} WHERE c.workspace_id = $1 AND c.id = $2 AND c.deleted_at IS NULL");
    let row = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(workspace.0)
        .bind(id.0)
        .fetch_optional(c))?;
    row.map(Row::read).transpose()
}

/// A live CVM of any workspace by its reference, UUID or number: other names are those of a workspace.
pub async fn anywhere(db: &Db, name: &CvmName) -> Result<Option<Cvm>, Error> {
    let (column, text, id) = match name {
        CvmName::Ref(reference) => ("c.reference = $1", reference.to_string(), 0),
        CvmName::Uuid(uuid) => ("c.vm_uuid = $1", uuid.to_string(), 0),
        CvmName::Number(id) => ("c.id = $2", String::new(), id.0),
        CvmName::AppOrInstance(_) | CvmName::Instance(_) | CvmName::Name(_) => return Ok(None),
    };
    let sql = format!("{SELECT} WHERE {column} AND c.deleted_at IS NULL");
    let row = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(&text)
        .bind(id)
        .fetch_optional(c))?;
    row.map(Row::read).transpose()
}

/// The live CVMs of an app in any workspace, newest first, at most `limit`.
pub async fn live_of_app(db: &Db, app: &AppId, limit: usize) -> Result<Vec<Cvm>, Error> {
    let sql = format!(
        "{LISTED} WHERE c.app_id = $1 AND c.deleted_at IS NULL ORDER BY c.id DESC LIMIT $2"
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(app.to_string())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

/// The live CVMs of a workspace with these UUIDs; unknown ones are left out.
pub async fn by_uuids(
    db: &Db,
    workspace: WorkspaceId,
    uuids: &[VmUuid],
) -> Result<Vec<Cvm>, Error> {
    let list = serde_json::to_string(uuids).unwrap_or_default();
    let sql = format!(
        "{LISTED} WHERE c.vm_uuid IN ({}) AND c.workspace_id = $2 AND c.deleted_at IS NULL",
        db.dialect().elements()
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(&list)
        .bind(workspace.0)
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

/// The live CVMs of any workspace with an instance id, newest first, at most 100. Usually none or one.
pub async fn with_instance(db: &Db, id: &InstanceId) -> Result<Vec<Cvm>, Error> {
    let sql = format!(
        "{LISTED} WHERE c.instance_id = $1 AND c.deleted_at IS NULL ORDER BY c.id DESC LIMIT 100"
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(id.to_string())
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

/// The CVMs to which the gateway may send a request for an app id or instance id: live CVMs of any workspace,
/// newest first, at most 100.
pub async fn for_gateway(db: &Db, id: &[u8; 20]) -> Result<Vec<Cvm>, Error> {
    let text = AppId::from_bytes(*id).to_string();
    for column in ["c.app_id", "c.instance_id"] {
        let sql = format!(
            "{LISTED} WHERE {column} = $1 AND c.deleted_at IS NULL ORDER BY c.id DESC LIMIT 100"
        );
        let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
            .bind(&text)
            .fetch_all(c))?;
        if !rows.is_empty() {
            return rows.into_iter().map(Row::read).collect();
        }
    }
    Ok(Vec::new())
}
