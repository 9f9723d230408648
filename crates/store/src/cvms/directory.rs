//! The public directory: apps of all workspaces with a listed live CVM.

use casemate_core::{
    id::{AppId, KmsId},
    time::Timestamp,
};
use sqlx::{query_as, query_scalar};

use super::{
    AppKey, Cvm,
    row::{LISTED, Row},
};
use crate::{Db, Error, error::corrupt};

/// Maximum number of listed CVMs read per app.
const CVMS_PER_APP: i64 = 20;

#[derive(Debug, Clone, PartialEq)]
pub struct PublicApp {
    pub app_id: AppId,
    pub name: String,
    /// The KMS that holds its keys.
    pub kms: KmsId,
    /// When it was first committed.
    pub created_at: Timestamp,
    /// Its listed CVMs, newest first, at most 20.
    pub cvms: Vec<Cvm>,
}

/// Creation time, app id, name, KMS id.
type AppRow = (i64, String, String, String);

const SHOWN: &str = "a.live > 0 AND EXISTS (SELECT 1 FROM cvms c WHERE c.app_id = a.app_id \
    AND c.listed AND c.deleted_at IS NULL)";

/// A page of the directory, newest apps first, at most `limit` after the given one. Also returns the key of
/// the next page.
pub async fn directory(
    db: &Db,
    after: Option<&AppKey>,
    limit: i64,
) -> Result<(Vec<PublicApp>, Option<AppKey>), Error> {
    let behind = if after.is_some() { " AND (a.created_at, a.app_id) < ($2, $3)" } else { "" };
    let sql = format!(
        "SELECT a.created_at, a.app_id, a.name, a.kms_id FROM apps a WHERE {SHOWN}{behind} \
         ORDER BY a.created_at DESC, a.app_id DESC LIMIT $1"
    );
    let mut rows = on_read!(db, |c| query_as::<_, AppRow>(sqlx::AssertSqlSafe(sql))
        .bind(limit.max(0) + 1)
        .bind(after.map_or(0, |key| key.created_at.micros()))
        .bind(after.map(|key| key.app_id.to_string()).unwrap_or_default())
        .fetch_all(c))?;
    let wanted = usize::try_from(limit).unwrap_or(0);
    let more = rows.len() > wanted;
    rows.truncate(wanted);
    let mut cvms = of(db, &rows).await?;
    let mut apps = Vec::with_capacity(rows.len());
    for (created_at, id, name, kms) in rows {
        let app_id: AppId = id.parse().map_err(corrupt("apps", "app_id", &id))?;
        let (own, others) = cvms.into_iter().partition(|cvm| cvm.spec.app_id == app_id);
        cvms = others;
        apps.push(PublicApp {
            app_id,
            name,
            kms: KmsId(kms),
            created_at: Timestamp::from_micros(created_at),
            cvms: own,
        });
    }
    let last = apps.last().filter(|_| more);
    let next = last.map(|app| AppKey { created_at: app.created_at, app_id: app.app_id });
    // An app that lost its last listed CVM between the two reads is left out.
    apps.retain(|app| !app.cvms.is_empty());
    Ok((apps, next))
}

async fn of(db: &Db, rows: &[AppRow]) -> Result<Vec<Cvm>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = rows.iter().map(|(_, id, ..)| id.as_str()).collect();
    let list = serde_json::to_string(&ids).unwrap_or_default();
    let sql = format!(
        "{LISTED} WHERE c.id IN (SELECT ranked.id FROM (SELECT id, \
         ROW_NUMBER() OVER (PARTITION BY app_id ORDER BY id DESC) AS place FROM cvms \
         WHERE app_id IN ({}) AND listed AND deleted_at IS NULL) AS ranked \
         WHERE ranked.place <= $2) ORDER BY c.id DESC",
        db.dialect().elements()
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(&list)
        .bind(CVMS_PER_APP)
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

/// Number of apps in the directory. The cost is proportional to it.
pub async fn directory_length(db: &Db) -> Result<i64, Error> {
    let sql = format!("SELECT COUNT(*) FROM apps a WHERE {SHOWN}");
    on_read!(db, |c| query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql)).fetch_one(c))
}
