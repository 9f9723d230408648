//! Wish and fact of every CVM: look-ups, lists, and the writes of requests. The writes of
//! reconcilers are in [`crate::lease`].

use casemate_core::{
    cvm::{Phase, Power, Spec, Status, StopMode, Wish},
    id::{
        AppId, CvmId, CvmName, CvmRef, InstanceId, KmsId, NodeId, OperationId, UserId,
        VmUuid, WorkspaceId,
    },
    operation::OperationKind,
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{Db, Error, Tx, error::corrupt};

/// One CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cvm {
    /// Integer id.
    pub id: CvmId,
    /// `cvm_…`.
    pub reference: CvmRef,
    /// `vm_uuid`.
    pub uuid: VmUuid,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Who committed it.
    pub created_by: UserId,
    /// Where it runs.
    pub node: NodeId,
    /// Who holds its keys.
    pub kms: KmsId,
    /// Configuration.
    pub spec: Spec,
    /// Sealed env, hex.
    pub sealed_env: Option<String>,
    /// What it should be doing.
    pub wish: Wish,
    /// What is recorded of it.
    pub status: Status,
    /// The word users see.
    pub phase: Phase,
    /// Once the guest has told it.
    pub instance_id: Option<InstanceId>,
    /// The operation under way.
    pub operation: Option<OpenOperation>,
    /// Raised by every claim.
    pub fence: i64,
    /// When it was committed.
    pub created_at: Timestamp,
    /// When wish or phase changed last.
    pub updated_at: Timestamp,
}

/// The operation under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOperation {
    /// `correlation_id`.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// When it was accepted.
    pub started_at: Timestamp,
}

#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    id: i64,
    reference: String,
    vm_uuid: String,
    workspace_id: i64,
    created_by: i64,
    node_id: i64,
    kms_id: String,
    spec: String,
    sealed_env: Option<String>,
    generation: i64,
    power: String,
    run: i64,
    stop_mode: String,
    status: String,
    phase: String,
    instance_id: Option<String>,
    fence: i64,
    created_at: i64,
    updated_at: i64,
    operation_id: Option<String>,
    operation_kind: Option<String>,
    operation_at: Option<i64>,
}

/// Every column of a CVM with its open operation; the caller adds `WHERE`.
pub(crate) const SELECT: &str = "SELECT c.id, c.reference, c.vm_uuid, c.workspace_id, c.created_by, \
    c.node_id, c.kms_id, c.spec, c.sealed_env, c.generation, c.power, c.run, c.stop_mode, c.status, \
    c.phase, c.instance_id, c.fence, c.created_at, c.updated_at, o.id AS operation_id, \
    o.kind AS operation_kind, o.created_at AS operation_at \
    FROM cvms c LEFT JOIN operations o ON o.cvm_id = c.id AND o.state = 'running'";

fn bad<E: std::fmt::Display>(column: &'static str, row: i64) -> impl FnOnce(E) -> Error {
    corrupt("cvms", column, row)
}

/// A word that serde writes as a JSON string.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
}

pub(crate) fn power_word(power: Power) -> &'static str {
    match power {
        Power::Running => "running",
        Power::Stopped => "stopped",
        Power::Deleted => "deleted",
    }
}

impl Row {
    pub(crate) fn read(self) -> Result<Cvm, Error> {
        let id = self.id;
        let operation = match (self.operation_id, self.operation_kind, self.operation_at) {
            (Some(operation), Some(kind), Some(at)) => Some(OpenOperation {
                id: operation.parse().map_err(corrupt("operations", "id", id))?,
                kind: OperationKind::parse(&kind)
                    .ok_or_else(|| corrupt("operations", "kind", id)(kind))?,
                started_at: Timestamp::from_micros(at),
            }),
            _ => None,
        };
        let instance_id = self.instance_id.map(|text| text.parse()).transpose();
        Ok(Cvm {
            id: CvmId(id),
            reference: self.reference.parse().map_err(bad("reference", id))?,
            uuid: self.vm_uuid.parse().map_err(bad("vm_uuid", id))?,
            workspace: WorkspaceId(self.workspace_id),
            created_by: UserId(self.created_by),
            node: NodeId(self.node_id),
            kms: KmsId(self.kms_id),
            spec: serde_json::from_str(&self.spec).map_err(bad("spec", id))?,
            sealed_env: self.sealed_env,
            wish: Wish {
                power: word(&self.power).map_err(bad("power", id))?,
                run: self.run,
                generation: self.generation,
                stop: serde_json::from_str(&self.stop_mode).map_err(bad("stop_mode", id))?,
            },
            status: serde_json::from_str(&self.status).map_err(bad("status", id))?,
            phase: word(&self.phase).map_err(bad("phase", id))?,
            instance_id: instance_id.map_err(bad("instance_id", id))?,
            operation,
            fence: self.fence,
            created_at: Timestamp::from_micros(self.created_at),
            updated_at: Timestamp::from_micros(self.updated_at),
        })
    }
}

/// The CVMs of a workspace that a client may mean by this text, at most 100, newest first. Names
/// and ids in other workspaces are not found.
pub async fn resolve(db: &Db, workspace: WorkspaceId, name: &CvmName) -> Result<Vec<Cvm>, Error> {
    let (column, value) = match name {
        CvmName::Ref(reference) => ("c.reference", reference.to_string()),
        CvmName::Uuid(uuid) => ("c.vm_uuid", uuid.to_string()),
        CvmName::Number(id) => return Ok(by_id(db, workspace, *id).await?.into_iter().collect()),
        CvmName::Instance(id) => ("c.instance_id", id.to_string()),
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

/// One CVM of a workspace.
pub async fn by_id(db: &Db, workspace: WorkspaceId, id: CvmId) -> Result<Option<Cvm>, Error> {
    let sql = format!("{SELECT} WHERE c.workspace_id = $1 AND c.id = $2 AND c.deleted_at IS NULL");
    let row = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(workspace.0)
        .bind(id.0)
        .fetch_optional(c))?;
    row.map(Row::read).transpose()
}

/// Where the gateway may send a request for an app id or instance id: live CVMs of any workspace,
/// newest first, at most 100.
pub async fn for_gateway(db: &Db, id: &[u8; 20]) -> Result<Vec<Cvm>, Error> {
    let by = |column| {
        format!("{SELECT} WHERE {column} = $1 AND c.deleted_at IS NULL ORDER BY c.id DESC LIMIT 100")
    };
    let text = AppId::from_bytes(*id).to_string();
    for column in ["c.app_id", "c.instance_id"] {
        let sql = by(column);
        let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
            .bind(&text)
            .fetch_all(c))?;
        if !rows.is_empty() {
            return rows.into_iter().map(Row::read).collect();
        }
    }
    Ok(Vec::new())
}

/// Which CVMs a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Only those of this node.
    pub node: Option<NodeId>,
    /// Only those of this user.
    pub user: Option<UserId>,
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
    const LIVE: &str = "c.workspace_id = $1 AND c.deleted_at IS NULL \
        AND ($2 = 0 OR c.node_id = $2) AND ($3 = 0 OR c.created_by = $3)";
    let list = format!(
        "{SELECT} WHERE c.id IN (SELECT c.id FROM cvms c WHERE {LIVE} ORDER BY c.id DESC LIMIT $4 OFFSET $5) \
         ORDER BY c.id DESC"
    );
    let count = format!("SELECT COUNT(*) FROM cvms c WHERE {LIVE}");
    let node = filter.node.map_or(0, |node| node.0);
    let user = filter.user.map_or(0, |user| user.0);
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(list))
        .bind(workspace.0)
        .bind(node)
        .bind(user)
        .bind(limit)
        .bind(offset)
        .fetch_all(c))?;
    let total = on_read!(db, |c| query_scalar::<_, i64>(sqlx::AssertSqlSafe(count))
        .bind(workspace.0)
        .bind(node)
        .bind(user)
        .fetch_one(c))?;
    Ok((rows.into_iter().map(Row::read).collect::<Result<_, _>>()?, total))
}

/// The live CVMs of a workspace among these uuids; unknown ones are left out.
pub async fn by_uuids(db: &Db, workspace: WorkspaceId, uuids: &[VmUuid]) -> Result<Vec<Cvm>, Error> {
    let list = serde_json::to_string(uuids).unwrap_or_default();
    let inside = match db {
        Db::Sqlite(_) => "SELECT value FROM json_each($2)",
        Db::Postgres(_) => "SELECT value FROM json_array_elements_text(CAST($2 AS JSON)) AS t(value)",
    };
    let sql = format!(
        "{SELECT} WHERE c.workspace_id = $1 AND c.deleted_at IS NULL AND c.vm_uuid IN ({inside})"
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(workspace.0)
        .bind(&list)
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

/// Every live CVM of a node, by id; for comparing with what the node shows.
pub async fn on_node(db: &Db, node: NodeId) -> Result<Vec<Cvm>, Error> {
    let sql = format!("{SELECT} WHERE c.node_id = $1 AND c.deleted_at IS NULL ORDER BY c.id");
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(node.0)
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

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
    /// Newest first; never empty.
    pub cvms: Vec<Cvm>,
}

#[derive(sqlx::FromRow)]
struct AppRow {
    app_id: String,
    name: String,
    kms_id: String,
    created_at: i64,
}

/// A page of the apps of a workspace that have live CVMs, newest first, and how many there are. Two
/// queries, however long the page. `search` matches name and app id.
pub async fn apps_page(
    db: &Db,
    workspace: WorkspaceId,
    search: &str,
    limit: i64,
    offset: i64,
) -> Result<(Vec<App>, i64), Error> {
    const LIVE: &str = "a.workspace_id = $1 AND a.committed_at IS NOT NULL \
        AND EXISTS (SELECT 1 FROM cvms c WHERE c.app_id = a.app_id AND c.deleted_at IS NULL) \
        AND ($2 = '' OR a.app_id = $2 OR LOWER(a.name) LIKE '%' || $2 || '%')";
    let list = format!(
        "SELECT a.app_id, a.name, a.kms_id, a.created_at FROM apps a WHERE {LIVE} \
         ORDER BY a.created_at DESC, a.app_id LIMIT $3 OFFSET $4"
    );
    let count = format!("SELECT COUNT(*) FROM apps a WHERE {LIVE}");
    let search = search.to_lowercase();
    let rows = on_read!(db, |c| query_as::<_, AppRow>(sqlx::AssertSqlSafe(list))
        .bind(workspace.0)
        .bind(&search)
        .bind(limit)
        .bind(offset)
        .fetch_all(c))?;
    let total = on_read!(db, |c| query_scalar::<_, i64>(sqlx::AssertSqlSafe(count))
        .bind(workspace.0)
        .bind(&search)
        .fetch_one(c))?;
    let ids: Vec<&str> = rows.iter().map(|row| row.app_id.as_str()).collect();
    let mut cvms = of_apps(db, workspace, &ids).await?;
    let apps = rows
        .into_iter()
        .map(|row| {
            let app_id: AppId = row.app_id.parse().map_err(corrupt("apps", "app_id", &row.app_id))?;
            let (own, others) =
                std::mem::take(&mut cvms).into_iter().partition(|cvm| cvm.spec.app_id == app_id);
            cvms = others;
            Ok(App {
                app_id,
                name: row.name,
                kms: KmsId(row.kms_id),
                created_at: Timestamp::from_micros(row.created_at),
                cvms: own,
            })
        })
        .collect::<Result<_, Error>>()?;
    Ok((apps, total))
}

/// The live CVMs of these apps, newest first.
pub async fn of_apps(db: &Db, workspace: WorkspaceId, apps: &[&str]) -> Result<Vec<Cvm>, Error> {
    let list = serde_json::to_string(apps).unwrap_or_default();
    let inside = match db {
        Db::Sqlite(_) => "SELECT value FROM json_each($2)",
        Db::Postgres(_) => "SELECT value FROM json_array_elements_text(CAST($2 AS JSON)) AS t(value)",
    };
    let sql = format!(
        "{SELECT} WHERE c.workspace_id = $1 AND c.deleted_at IS NULL AND c.app_id IN ({inside}) \
         ORDER BY c.id DESC"
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(workspace.0)
        .bind(&list)
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

/// A CVM about to be committed.
#[derive(Debug, Clone)]
pub struct NewCvm {
    /// `cvm_…`.
    pub reference: CvmRef,
    /// `vm_uuid`.
    pub uuid: VmUuid,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Who commits it.
    pub created_by: UserId,
    /// Where it goes.
    pub node: NodeId,
    /// Who holds its keys.
    pub kms: KmsId,
    /// Configuration, generation 1.
    pub spec: Spec,
    /// Sealed env, hex.
    pub sealed_env: Option<String>,
    /// How it is brought down when a change needs that.
    pub stop: StopMode,
}

impl Tx {
    /// Writes a new CVM, wished running, due at once. [`Error::Conflict`]: its name is taken.
    pub async fn insert_cvm(&mut self, new: &NewCvm, now: Timestamp) -> Result<CvmId, Error> {
        const SQL: &str = "INSERT INTO cvms (id, reference, vm_uuid, workspace_id, created_by, app_id, \
            name, node_id, kms_id, compose_hash, spec, sealed_env, generation, power, run, stop_mode, \
            status, phase, vcpu, memory_mb, disk_gb, fence, due_at, created_at, updated_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, 'running', 1, $13, $14, \
            'starting', $15, $16, $17, 0, $18, $18, $18)";
        let id = self.draw("cvm").await?;
        let json = |text: Result<String, serde_json::Error>| text.map_err(bad("spec", id));
        let spec = json(serde_json::to_string(&new.spec))?;
        let stop = json(serde_json::to_string(&new.stop))?;
        let status = json(serde_json::to_string(&Status::new()))?;
        exec_tx!(
            self,
            query(SQL)
                .bind(id)
                .bind(new.reference.to_string())
                .bind(new.uuid.to_string())
                .bind(new.workspace.0)
                .bind(new.created_by.0)
                .bind(new.spec.app_id.to_string())
                .bind(&new.spec.name)
                .bind(new.node.0)
                .bind(new.kms.as_ref())
                .bind(new.spec.compose_hash.to_string())
                .bind(spec)
                .bind(&new.sealed_env)
                .bind(stop)
                .bind(status)
                .bind(i64::from(new.spec.resources.vcpu))
                .bind(i64::from(new.spec.resources.memory_mb))
                .bind(i64::from(new.spec.resources.disk_gb))
                .bind(now.micros())
        )?;
        Ok(CvmId(id))
    }

    /// One CVM as this transaction sees it, also a deleted one.
    pub async fn cvm(&mut self, id: CvmId) -> Result<Option<Cvm>, Error> {
        let sql = format!("{SELECT} WHERE c.id = $1");
        let row = on_tx!(self, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
            .bind(id.0)
            .fetch_optional(c))?;
        row.map(Row::read).transpose()
    }

    /// The live CVMs of an app, oldest first.
    pub async fn cvms_of_app(&mut self, app: &AppId) -> Result<Vec<Cvm>, Error> {
        let sql = format!("{SELECT} WHERE c.app_id = $1 AND c.deleted_at IS NULL ORDER BY c.id");
        let rows = on_tx!(self, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
            .bind(app.to_string())
            .fetch_all(c))?;
        rows.into_iter().map(Row::read).collect()
    }

    /// The live CVM of this name, if the workspace has one.
    pub async fn cvm_of_name(
        &mut self,
        workspace: WorkspaceId,
        name: &str,
    ) -> Result<Option<CvmId>, Error> {
        const SQL: &str =
            "SELECT id FROM cvms WHERE workspace_id = $1 AND name = $2 AND power <> 'deleted'";
        let id = on_tx!(self, |c| query_scalar::<_, i64>(SQL)
            .bind(workspace.0)
            .bind(name)
            .fetch_optional(c))?;
        Ok(id.map(CvmId))
    }

    /// Writes a new wish over the one that was read, with the phase it shows, and makes the CVM due.
    /// The lease under way, if any, is taken away: its holder learns [`Error::Stale`].
    /// [`Error::Stale`] here: the CVM changed since it was read.
    pub async fn set_wish(
        &mut self,
        read: &Cvm,
        wish: &Wish,
        status: &Status,
        phase: Phase,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE cvms SET power = $3, run = $4, generation = $5, stop_mode = $6, \
            status = $7, phase = $8, fence = fence + 1, lease_owner = NULL, lease_until = NULL, \
            due_at = $9, updated_at = $9 WHERE id = $1 AND fence = $2 AND deleted_at IS NULL";
        let id = read.id.0;
        let stop = serde_json::to_string(&wish.stop).map_err(bad("stop_mode", id))?;
        let status = serde_json::to_string(status).map_err(bad("status", id))?;
        let changed = exec_tx!(
            self,
            query(SQL)
                .bind(id)
                .bind(read.fence)
                .bind(power_word(wish.power))
                .bind(wish.run)
                .bind(wish.generation)
                .bind(stop)
                .bind(status)
                .bind(phase.as_str())
                .bind(now.micros())
        )?;
        if changed == 1 { Ok(()) } else { Err(Error::Stale) }
    }

    /// Makes these CVMs due now; for wishes that the world no longer fulfils.
    pub async fn make_due(&mut self, cvm: CvmId, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE cvms SET due_at = $2 WHERE id = $1 AND deleted_at IS NULL \
            AND (due_at IS NULL OR due_at > $2)";
        exec_tx!(self, query(SQL).bind(cvm.0).bind(now.micros())).map(drop)
    }
}

