//! Lists of apps: an app is listed while it has live CVMs.

use std::collections::HashMap;

use casemate_core::{
    id::{AppId, KmsId, WorkspaceId},
    time::Timestamp,
};
use sqlx::{query_as, query_scalar};

use super::{
    Cvm,
    row::{LISTED, Row},
};
use crate::{Db, Error, error::corrupt};

/// How many CVMs of one app are read.
const CVMS_PER_APP: i64 = 100;

/// An app with the CVMs it has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Identity.
    pub app_id: AppId,
    /// The name it was first provisioned under.
    pub name: String,
    /// Who holds its keys.
    pub kms: KmsId,
    /// When it was first provisioned.
    pub created_at: Timestamp,
    /// Newest first, the newest 100; never empty.
    pub cvms: Vec<Cvm>,
    /// How many live CVMs it has.
    pub live: i64,
}

#[derive(sqlx::FromRow)]
struct AppRow {
    app_id: String,
    name: String,
    kms_id: String,
    created_at: i64,
    live: i64,
}

/// What a search text asks for.
enum Search {
    All,
    Id(String),
    Name(String),
    Nothing,
}

impl Search {
    fn parse(text: &str) -> Self {
        if text.is_empty() {
            return Self::All;
        }
        if let Ok(id) = text.strip_prefix("app_").unwrap_or(text).parse::<AppId>() {
            return Self::Id(id.to_string());
        }
        // PostgreSQL refuses the null character even to compare with.
        if text.contains('\0') { Self::Nothing } else { Self::Name(pattern(text)) }
    }

    /// Parameter 2, where it is used.
    fn value(&self) -> &str {
        match self {
            Self::All | Self::Nothing => "",
            Self::Id(value) | Self::Name(value) => value,
        }
    }

    const fn condition(&self) -> &'static str {
        match self {
            Self::All | Self::Nothing => "",
            Self::Id(_) => " AND app_id = $2",
            Self::Name(_) => " AND LOWER(name) LIKE $2 ESCAPE '!'",
        }
    }
}

/// A `LIKE` pattern for "contains this text", in which `%` and `_` mean themselves. Names are ASCII.
fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.to_lowercase().chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

/// A page of the apps of a workspace that have live CVMs, newest first, and how many there are. A
/// fixed number of queries, however long the page. `search` is an app id or a part of a name; a part
/// of a name is looked for in every listed app of the workspace.
pub async fn apps_page(
    db: &Db,
    workspace: WorkspaceId,
    search: &str,
    limit: i64,
    offset: i64,
) -> Result<(Vec<App>, i64), Error> {
    let search = Search::parse(search);
    if matches!(search, Search::Nothing) {
        return Ok((Vec::new(), 0));
    }
    let sql = format!(
        "SELECT app_id, name, kms_id, created_at, live FROM apps WHERE workspace_id = $1 \
         AND live > 0{} ORDER BY created_at DESC, app_id DESC LIMIT $3 OFFSET $4",
        search.condition()
    );
    let rows = on_read!(db, |c| query_as::<_, AppRow>(sqlx::AssertSqlSafe(sql))
        .bind(workspace.0)
        .bind(search.value())
        .bind(limit.max(0))
        .bind(offset.max(0))
        .fetch_all(c))?;
    let total = total(db, workspace, &search).await?;
    Ok((with_cvms(db, workspace, rows).await?, total))
}

async fn total(db: &Db, workspace: WorkspaceId, search: &Search) -> Result<i64, Error> {
    const ALL: &str = "SELECT apps FROM app_tallies WHERE workspace_id = $1";
    if matches!(search, Search::All) {
        let apps =
            on_read!(db, |c| query_scalar::<_, i64>(ALL).bind(workspace.0).fetch_optional(c))?;
        return Ok(apps.unwrap_or(0));
    }
    let sql = format!(
        "SELECT COUNT(*) FROM apps WHERE workspace_id = $1 AND live > 0{}",
        search.condition()
    );
    on_read!(db, |c| query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql))
        .bind(workspace.0)
        .bind(search.value())
        .fetch_one(c))
}

/// An app that lost its last CVM between the two reads is left out.
async fn with_cvms(db: &Db, workspace: WorkspaceId, rows: Vec<AppRow>) -> Result<Vec<App>, Error> {
    let ids: Vec<&str> = rows.iter().map(|row| row.app_id.as_str()).collect();
    let mut by_app: HashMap<AppId, Vec<Cvm>> = HashMap::new();
    for cvm in of_apps(db, workspace, &ids).await? {
        by_app.entry(cvm.spec.app_id).or_default().push(cvm);
    }
    let mut apps = Vec::with_capacity(rows.len());
    for row in rows {
        let app_id = row.app_id.parse().map_err(corrupt("apps", "app_id", &row.app_id))?;
        let Some(cvms) = by_app.remove(&app_id) else { continue };
        apps.push(App {
            app_id,
            name: row.name,
            kms: KmsId(row.kms_id),
            created_at: Timestamp::from_micros(row.created_at),
            cvms,
            live: row.live,
        });
    }
    Ok(apps)
}

/// The live CVMs of these apps, newest first; of each app the newest 100.
pub async fn of_apps(db: &Db, workspace: WorkspaceId, apps: &[&str]) -> Result<Vec<Cvm>, Error> {
    if apps.is_empty() {
        return Ok(Vec::new());
    }
    let list = serde_json::to_string(apps).unwrap_or_default();
    let sql = format!(
        "{LISTED} WHERE c.id IN (SELECT ranked.id FROM (SELECT id, \
         ROW_NUMBER() OVER (PARTITION BY app_id ORDER BY id DESC) AS place FROM cvms \
         WHERE app_id IN ({}) AND workspace_id = $2 AND deleted_at IS NULL) AS ranked \
         WHERE ranked.place <= $3) ORDER BY c.id DESC",
        db.engine().elements()
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(&list)
        .bind(workspace.0)
        .bind(CVMS_PER_APP)
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}
