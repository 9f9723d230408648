//! Live and deleted CVMs of an app.

use casemate_core::{
    id::{AppId, CvmId, UserId, VmUuid, WorkspaceId},
    time::Timestamp,
};
use sqlx::query_as;

use crate::{Db, Error, error::corrupt};

/// A live or deleted CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastCvm {
    pub id: CvmId,
    pub uuid: VmUuid,
    /// Current or last name.
    pub name: String,
    pub created_by: UserId,
    /// Current or last instance type.
    pub instance_type: Option<String>,
    /// When it was committed.
    pub created_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
}

type Row = (i64, String, String, i64, Option<String>, i64, Option<i64>);

fn read((id, uuid, name, by, instance_type, created, deleted): Row) -> Result<PastCvm, Error> {
    Ok(PastCvm {
        id: CvmId(id),
        uuid: uuid.parse().map_err(corrupt("cvms", "vm_uuid", id))?,
        name,
        created_by: UserId(by),
        instance_type,
        created_at: Timestamp::from_micros(created),
        deleted_at: deleted.map(Timestamp::from_micros),
    })
}

/// The newest CVMs of an app, live or deleted, newest first, at most `limit`. `None`: the workspace never had
/// this app.
pub async fn app_history(
    db: &Db,
    workspace: WorkspaceId,
    app: &AppId,
    limit: i64,
) -> Result<Vec<PastCvm>, Error> {
    const SQL: &str = "SELECT id, vm_uuid, name, created_by, instance_type, created_at, deleted_at \
        FROM cvms WHERE app_id = $1 AND workspace_id = $2 ORDER BY id DESC LIMIT $3";
    let rows = on_read!(db, |c| query_as::<_, Row>(SQL)
        .bind(app.to_string())
        .bind(workspace.0)
        .bind(limit.max(0))
        .fetch_all(c))?;
    rows.into_iter().map(read).collect()
}
