//! Revisions: the configurations that were in force on a CVM. A row is written in the transaction that closes
//! a successful operation, and is never changed or deleted.

use casemate_core::{
    id::{
        AppId, ComposeHash, CvmId, CvmRef, OperationId, RevisionRef, UserId, VmUuid, WorkspaceId,
    },
    operation::OperationKind,
    stored,
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{
    Db, Error, Tx,
    error::{corrupt, unreadable},
    operations::field_names,
};

/// A revision as shown in lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// `rev_…`.
    pub id: RevisionRef,
    pub app: AppId,
    /// Its CVM, which may be deleted.
    pub cvm: CvmId,
    /// `cvm_…`.
    pub cvm_reference: CvmRef,
    pub vm_uuid: VmUuid,
    /// Current or last name of the CVM.
    pub cvm_name: String,
    pub compose_hash: ComposeHash,
    /// The operation that brought it in force; for a batch, the newest.
    pub operation: OperationId,
    /// Kind of that operation.
    pub kind: OperationKind,
    /// Names of the changed fields.
    pub fields: Vec<String>,
    pub created_by: UserId,
    pub username: String,
    /// When it came in force.
    pub created_at: Timestamp,
}

/// A revision with its whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionContent {
    pub revision: Revision,
    /// Names of the sealed variables as clients gave them, ascending.
    pub env_keys: Vec<String>,
    /// Content of the guest's `.user-config`.
    pub user_config: Option<String>,
    /// Sealed environment, hex.
    pub sealed_env: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    app_id: String,
    cvm_id: i64,
    reference: String,
    vm_uuid: String,
    name: String,
    compose_hash: String,
    operation_id: String,
    kind: String,
    fields: Option<String>,
    created_by: i64,
    username: String,
    created_at: i64,
    env_keys: String,
    user_config: Option<String>,
    sealed_env: Option<String>,
}

impl Row {
    fn read(self) -> Result<RevisionContent, Error> {
        let corrupt_column = |column| corrupt("revisions", column, &self.id);
        let kind = OperationKind::parse(&self.kind);
        let revision = Revision {
            id: self.id.parse().map_err(corrupt_column("id"))?,
            app: self.app_id.parse().map_err(corrupt_column("app_id"))?,
            cvm: CvmId(self.cvm_id),
            cvm_reference: self.reference.parse().map_err(corrupt_column("cvm_id"))?,
            vm_uuid: self.vm_uuid.parse().map_err(corrupt_column("cvm_id"))?,
            cvm_name: self.name,
            compose_hash: self.compose_hash.parse().map_err(corrupt_column("compose_hash"))?,
            operation: self.operation_id.parse().map_err(corrupt_column("operation_id"))?,
            kind: kind.ok_or_else(|| {
                corrupt("operations", "kind", &self.operation_id)(format!(
                    "unknown word {:?}",
                    self.kind
                ))
            })?,
            fields: field_names(self.fields.as_deref()),
            created_by: UserId(self.created_by),
            username: self.username,
            created_at: Timestamp::from_micros(self.created_at),
        };
        Ok(RevisionContent {
            revision,
            env_keys: stored::read(&self.env_keys).map_err(unreadable(
                "revisions",
                "env_keys",
                &self.id,
            ))?,
            user_config: self.user_config,
            sealed_env: self.sealed_env,
        })
    }
}

macro_rules! select {
    ($user_config:literal, $sealed_env:literal, $from:literal) => {
        concat!(
            "SELECT r.id, r.app_id, r.cvm_id, c.reference, c.vm_uuid, c.name, r.compose_hash, \
             r.operation_id, o.kind, o.fields, o.created_by, u.username, r.created_at, r.env_keys, ",
            $user_config,
            " AS user_config, ",
            $sealed_env,
            " AS sealed_env FROM ",
            $from,
            " JOIN cvms c ON c.id = r.cvm_id JOIN operations o ON o.id = r.operation_id \
             JOIN users u ON u.id = o.created_by"
        )
    };
}

/// The revisions of an app, newest first: `limit` of them after the first `skip`.
pub async fn of_app(db: &Db, app: &AppId, skip: i64, limit: i64) -> Result<Vec<Revision>, Error> {
    // The keys of the page come from the index; rows are read for them only.
    const SQL: &str = concat!(
        "WITH ranked AS MATERIALIZED (SELECT id FROM revisions WHERE app_id = $1 \
         AND created_at >= (SELECT CAST(COALESCE(MAX(transferred_at), 0) AS BIGINT) FROM apps WHERE app_id = $1) \
         ORDER BY created_at DESC, cvm_id DESC, number DESC LIMIT $2 OFFSET $3) ",
        select!(
            "CAST(NULL AS TEXT)",
            "CAST(NULL AS TEXT)",
            "ranked JOIN revisions r ON r.id = ranked.id"
        ),
        " ORDER BY r.created_at DESC, r.cvm_id DESC, r.number DESC"
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(SQL)
        .bind(app.to_string())
        .bind(limit.max(0))
        .bind(skip.max(0))
        .fetch_all(c))?;
    rows.into_iter().map(|row| Ok(row.read()?.revision)).collect()
}

/// Number of revisions of an app.
pub async fn count(db: &Db, app: &AppId) -> Result<i64, Error> {
    const SQL: &str = "SELECT COUNT(*) FROM revisions WHERE app_id = $1 AND created_at >= \
        (SELECT CAST(COALESCE(MAX(transferred_at), 0) AS BIGINT) FROM apps WHERE app_id = $1)";
    on_read!(db, |c| query_scalar::<_, i64>(SQL).bind(app.to_string()).fetch_one(c))
}

pub async fn get(db: &Db, app: &AppId, id: &RevisionRef) -> Result<Option<RevisionContent>, Error> {
    const SQL: &str = concat!(
        select!("r.user_config", "r.sealed_env", "revisions r"),
        " WHERE r.id = $1 AND r.app_id = $2 AND r.created_at >= \
         (SELECT CAST(COALESCE(MAX(transferred_at), 0) AS BIGINT) FROM apps WHERE app_id = $2)"
    );
    let row = on_read!(db, |c| query_as::<_, Row>(SQL)
        .bind(id.to_string())
        .bind(app.to_string())
        .fetch_optional(c))?;
    row.map(Row::read).transpose()
}

/// The sealed environment, hex, of the newest revision of a CVM; `None`: it has no revision, or that has none.
pub async fn newest_sealed_env(db: &Db, cvm: CvmId) -> Result<Option<String>, Error> {
    const SQL: &str =
        "SELECT sealed_env FROM revisions WHERE cvm_id = $1 ORDER BY number DESC LIMIT 1";
    let found =
        on_read!(db, |c| query_scalar::<_, Option<String>>(SQL).bind(cvm.0).fetch_optional(c))?;
    Ok(found.flatten())
}

/// Whether a workspace has or had a CVM of this app.
pub async fn has_app(db: &Db, workspace: WorkspaceId, app: &AppId) -> Result<bool, Error> {
    const SQL: &str = "SELECT COUNT(*) FROM apps WHERE app_id = $1 AND workspace_id = $2 \
        AND committed_at IS NOT NULL";
    let found = on_read!(db, |c| query_scalar::<_, i64>(SQL)
        .bind(app.to_string())
        .bind(workspace.0)
        .fetch_one(c))?;
    Ok(found == 1)
}

impl Tx {
    /// Records the current configuration of a CVM as a revision of the operation, unless its newest revision
    /// is the same. Returns whether it was written. The CVM must be locked, because its revisions are
    /// numbered in order.
    pub async fn note_revision(
        &mut self,
        id: &RevisionRef,
        cvm: CvmId,
        operation: OperationId,
        env_keys: &[String],
        now: Timestamp,
    ) -> Result<bool, Error> {
        const SQL: &str = "INSERT INTO revisions (id, app_id, cvm_id, number, compose_hash, \
            operation_id, created_at, env_keys, user_config, sealed_env) \
            SELECT $1, c.app_id, c.id, COALESCE(n.number, 0) + 1, c.compose_hash, $3, $4, $5, \
            c.user_config, c.sealed_env FROM cvms c LEFT JOIN revisions n ON n.cvm_id = c.id \
            AND n.number = (SELECT MAX(m.number) FROM revisions m WHERE m.cvm_id = $2) \
            WHERE c.id = $2 AND (n.id IS NULL OR n.compose_hash <> c.compose_hash \
            OR n.env_keys <> $5 OR COALESCE(n.user_config, '') <> COALESCE(c.user_config, '') \
            OR COALESCE(n.sealed_env, '') <> COALESCE(c.sealed_env, ''))";
        let mut names = env_keys.to_vec();
        names.sort_unstable();
        names.dedup();
        let names = stored::write(&names).map_err(corrupt("revisions", "env_keys", id))?;
        let written = exec_tx!(
            self,
            query(SQL)
                .bind(id.to_string())
                .bind(cvm.0)
                .bind(operation.to_string())
                .bind(now.micros())
                .bind(names)
        )?;
        Ok(written == 1)
    }
}
