//! Lists of apps. An app is listed while it has live CVMs.

use std::collections::HashMap;

use casemate_core::{
    cvm::Phase,
    id::{AppId, KmsId, NodeId, VmUuid, WorkspaceId},
    time::Timestamp,
};
use sqlx::{query_as, query_scalar};

use super::{
    Cvm, ListPage, PageStart,
    pagination::IndexScan,
    row::{LISTED, Row},
};
use crate::{Db, Error, error::corrupt};

/// Longer names do not exist. SQLite rejects very long patterns.
const LONGEST_NAME: usize = 255;
/// Maximum number of CVMs read per app.
const CVMS_PER_APP: i64 = 100;

/// An app with its live CVMs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    pub app_id: AppId,
    /// The name it was first provisioned under.
    pub name: String,
    /// The KMS that holds its keys.
    pub kms: KmsId,
    /// When it was first provisioned.
    pub created_at: Timestamp,
    /// The newest 100, newest first; never empty.
    pub cvms: Vec<Cvm>,
    /// Number of live CVMs.
    pub live: i64,
}

/// Sort key of lists of apps, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppKey {
    /// When it was first provisioned.
    pub created_at: Timestamp,
    pub app_id: AppId,
}

#[derive(sqlx::FromRow)]
struct AppRow {
    app_id: String,
    name: String,
    kms_id: String,
    created_at: i64,
    live: i64,
}

/// A parsed search text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Search {
    /// Every app.
    #[default]
    All,
    /// The app with this id.
    App(AppId),
    /// The app with this id, and the app of the CVM with this instance id.
    Hex(AppId),
    /// The app of the CVM with this UUID.
    Uuid(VmUuid),
    /// Apps whose name contains this text, ignoring case.
    Name(String),
}

impl Search {
    /// App ids and instance ids (40 hex digits, optionally after `0x`, `app_` or `instance_`) and CVM UUIDs
    /// match exactly. Any other text matches a part of a name.
    pub fn parse(text: &str) -> Self {
        let bare = ["app_", "instance_"].into_iter().find_map(|kind| text.strip_prefix(kind));
        if text.is_empty() {
            Self::All
        } else if let Ok(id) = bare.unwrap_or(text).parse() {
            Self::Hex(id)
        } else if let Ok(uuid) = text.parse() {
            Self::Uuid(uuid)
        } else {
            Self::Name(text.to_owned())
        }
    }

    /// The value of parameter 2, if it is used.
    fn value(&self) -> String {
        match self {
            Self::All => String::new(),
            Self::App(id) | Self::Hex(id) => id.to_string(),
            Self::Uuid(uuid) => uuid.to_string(),
            Self::Name(part) => pattern(part),
        }
    }

    const fn condition(&self) -> &'static str {
        match self {
            Self::All => "",
            Self::App(_) => " AND app_id = $2",
            Self::Hex(_) => {
                " AND app_id IN (SELECT CAST($2 AS TEXT) UNION ALL SELECT app_id FROM cvms \
                 WHERE instance_id = $2 AND workspace_id = $1 AND deleted_at IS NULL)"
            }
            Self::Uuid(_) => {
                " AND app_id IN (SELECT app_id FROM cvms WHERE vm_uuid = $2 AND workspace_id = $1 \
                 AND deleted_at IS NULL)"
            }
            Self::Name(_) => " AND LOWER(name) LIKE $2 ESCAPE '!'",
        }
    }
}

/// A `LIKE` pattern for "contains this text", with `%` and `_` escaped. Names are ASCII.
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

/// Filter of a list of apps. An app is listed if it matches `search` and `kms` and one of its live CVMs
/// matches all other fields. `None` matches everything; words are compared exactly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppFilter {
    /// Name or id.
    pub search: Search,
    /// The app's keys are held by one of these KMS.
    pub kms: Option<Vec<KmsId>>,
    /// The CVM's phase is one of these.
    pub phases: Option<Vec<Phase>>,
    /// Whether the CVM is in the public directory.
    pub listed: Option<bool>,
    /// Name of the CVM's OS image.
    pub image: Option<String>,
    /// Name of the CVM's instance type.
    pub instance_type: Option<String>,
    /// The CVM is on one of these nodes.
    pub nodes: Option<Vec<NodeId>>,
}

/// Binds parameters 2 to 8 of [`AppFilter::condition`]; parameter 1 is the workspace.
macro_rules! bind_filter {
    ($query:expr, $workspace:expr, $filter:expr) => {
        $query
            .bind($workspace.0)
            .bind($filter.search.value())
            .bind($filter.kms_value())
            .bind($filter.listed.unwrap_or_default())
            .bind($filter.image.as_deref().unwrap_or_default())
            .bind($filter.instance_type.as_deref().unwrap_or_default())
            .bind($filter.only_node().map_or(0, |node| node.0))
            .bind(list($filter.nodes.iter().flatten().map(|node| node.0)))
    };
}

fn list<T: serde::Serialize>(values: impl Iterator<Item = T>) -> String {
    serde_json::to_string(&values.collect::<Vec<T>>()).unwrap_or_default()
}

impl AppFilter {
    /// Whether nothing can match: an empty choice, or a text with a null character, which PostgreSQL rejects
    /// even in comparisons.
    fn matches_nothing(&self) -> bool {
        if self.phases.as_ref().is_some_and(Vec::is_empty)
            || self.kms.as_ref().is_some_and(Vec::is_empty)
        {
            return true;
        }
        let name = match &self.search {
            Search::Name(part) => Some(part),
            _ => None,
        };
        if name.is_some_and(|part| part.len() > LONGEST_NAME) {
            return true;
        }
        name.into_iter()
            .chain(&self.image)
            .chain(&self.instance_type)
            .any(|text| text.contains('\0'))
    }

    /// `WHERE` condition on `apps`. The text depends on the fields that are set, so that each combination can
    /// use its own indexes.
    fn condition(&self, db: &Db) -> String {
        let mut sql = "workspace_id = $1 AND live > 0".to_owned();
        sql.push_str(self.search.condition());
        match self.kms.as_deref() {
            None => {}
            Some([_]) => sql.push_str(" AND kms_id = $3"),
            Some(_) => {
                sql.extend([" AND kms_id IN (", &db.dialect().elements_of(3), ")"]);
            }
        }
        let cvm = self.cvm_condition(db);
        if !cvm.is_empty() {
            sql.push_str(" AND app_id IN (SELECT app_id FROM cvms WHERE ");
            sql.push_str(&cvm);
            sql.push(')');
        }
        sql
    }

    /// `WHERE` condition on the app's CVMs; empty: any CVM. Phases are literals, because PostgreSQL does not
    /// use a partial index for the elements of a parameter.
    fn cvm_condition(&self, db: &Db) -> String {
        let mut sql = String::new();
        if let Some(phases) = &self.phases {
            let words: Vec<String> =
                phases.iter().map(|phase| format!("'{}'", phase.as_str())).collect();
            sql.extend([" AND phase IN (", &words.join(", "), ")"]);
        }
        if self.listed.is_some() {
            sql.push_str(" AND listed = $4");
        }
        if self.image.is_some() {
            sql.push_str(" AND image = $5");
        }
        if self.instance_type.is_some() {
            sql.push_str(" AND instance_type = $6");
        }
        if self.only_node().is_some() {
            sql.push_str(" AND node_id = $7");
        } else if self.nodes.is_some() {
            let nodes = db.dialect().elements_of(8);
            sql.push_str(" AND node_id IN (SELECT CAST(list.value AS BIGINT) FROM (");
            sql.push_str(&nodes);
            sql.push_str(") AS list)");
        }
        if sql.is_empty() { sql } else { format!("workspace_id = $1 AND deleted_at IS NULL{sql}") }
    }

    /// Parameter 3: the only KMS, or a list of several.
    fn kms_value(&self) -> String {
        match self.kms.as_deref() {
            None => String::new(),
            Some([only]) => only.to_string(),
            Some(several) => list(several.iter()),
        }
    }

    fn only_node(&self) -> Option<NodeId> {
        match self.nodes.as_deref() {
            Some([only]) => Some(*only),
            _ => None,
        }
    }
}

/// A page of the apps of a workspace that have live CVMs, newest first, at most `limit`. The number of
/// queries is fixed. Without a filter, a page costs the same anywhere in the list, up to counting off keys.
/// The length of a filtered list is counted over the index of its narrowest filter; a name search reads every
/// listed app of the workspace. An app that loses its last CVM between the reads is left out.
/// that loses its last CVM between the reads is left out.
pub async fn apps_page(
    db: &Db,
    workspace: WorkspaceId,
    filter: &AppFilter,
    seek: PageStart<AppKey>,
    limit: i64,
) -> Result<ListPage<App, AppKey>, Error> {
    if filter.matches_nothing() {
        return Ok(ListPage::nothing());
    }
    let total = total(db, workspace, filter).await?;
    let walk = IndexScan::new(seek, limit, total);
    let ids = ids(db, workspace, filter, &walk).await?;
    let (ids, more) = walk.page(ids, limit, total);
    let next = match ids.last().filter(|_| more) {
        None => None,
        Some((created_at, id)) => Some(AppKey {
            created_at: Timestamp::from_micros(*created_at),
            app_id: id.parse().map_err(corrupt("apps", "app_id", id))?,
        }),
    };
    let ids: Vec<&str> = ids.iter().map(|(_, id)| id.as_str()).collect();
    Ok(ListPage { items: by_ids(db, workspace, &ids).await?, total, next })
}

/// An app of a workspace, if it has live CVMs.
pub async fn app(db: &Db, workspace: WorkspaceId, id: &AppId) -> Result<Option<App>, Error> {
    Ok(by_ids(db, workspace, &[&id.to_string()]).await?.pop())
}

async fn total(db: &Db, workspace: WorkspaceId, filter: &AppFilter) -> Result<i64, Error> {
    const ALL: &str = "SELECT apps FROM app_tallies WHERE workspace_id = $1";
    if *filter == AppFilter::default() {
        let apps =
            on_read!(db, |c| query_scalar::<_, i64>(ALL).bind(workspace.0).fetch_optional(c))?;
        return Ok(apps.unwrap_or(0));
    }
    let sql = if filter.search == Search::All && filter.kms.is_none() {
        // An app belongs to one workspace, so its CVMs are sufficient.
        format!("SELECT COUNT(DISTINCT app_id) FROM cvms WHERE {}", filter.cvm_condition(db))
    } else {
        format!("SELECT COUNT(*) FROM apps WHERE {}", filter.condition(db))
    };
    on_read!(db, |c| bind_filter!(
        query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql)),
        workspace,
        filter
    )
    .fetch_one(c))
}

async fn ids(
    db: &Db,
    workspace: WorkspaceId,
    filter: &AppFilter,
    walk: &IndexScan<AppKey>,
) -> Result<Vec<(i64, String)>, Error> {
    let (behind, created_at, app) = match walk {
        IndexScan::Nowhere => return Ok(Vec::new()),
        IndexScan::DownFrom { after, .. } => (
            " AND (created_at, app_id) < ($11, $12)",
            after.created_at.micros(),
            after.app_id.to_string(),
        ),
        IndexScan::Down { .. } | IndexScan::Up { .. } => ("", 0, String::new()),
    };
    let sql = format!(
        "SELECT created_at, app_id FROM apps WHERE {}{behind}{}",
        filter.condition(db),
        walk.order(&["created_at", "app_id"], 9, 10)
    );
    on_read!(db, |c| bind_filter!(
        query_as::<_, (i64, String)>(sqlx::AssertSqlSafe(sql)),
        workspace,
        filter
    )
    .bind(walk.take())
    .bind(walk.skip())
    .bind(created_at)
    .bind(app)
    .fetch_all(c))
}

/// These apps with their CVMs, newest first.
async fn by_ids(db: &Db, workspace: WorkspaceId, ids: &[&str]) -> Result<Vec<App>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT app_id, name, kms_id, created_at, live FROM apps WHERE app_id IN ({}) \
         AND workspace_id = $2 AND live > 0 ORDER BY created_at DESC, app_id DESC",
        db.dialect().elements()
    );
    let rows = on_read!(db, |c| query_as::<_, AppRow>(sqlx::AssertSqlSafe(sql))
        .bind(list(ids.iter()))
        .bind(workspace.0)
        .fetch_all(c))?;
    with_cvms(db, workspace, rows).await
}

/// Leaves out an app that lost its last CVM between the two reads.
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

/// The live CVMs of these apps, newest first; at most 100 per app.
pub async fn of_apps(db: &Db, workspace: WorkspaceId, apps: &[&str]) -> Result<Vec<Cvm>, Error> {
    if apps.is_empty() {
        return Ok(Vec::new());
    }
    let list = list(apps.iter());
    let sql = format!(
        "{LISTED} WHERE c.id IN (SELECT ranked.id FROM (SELECT id, \
         ROW_NUMBER() OVER (PARTITION BY app_id ORDER BY id DESC) AS place FROM cvms \
         WHERE app_id IN ({}) AND workspace_id = $2 AND deleted_at IS NULL) AS ranked \
         WHERE ranked.place <= $3) ORDER BY c.id DESC",
        db.dialect().elements()
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(&list)
        .bind(workspace.0)
        .bind(CVMS_PER_APP)
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}
