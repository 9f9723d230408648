//! App-compose documents, app ids and prepared deployments.

use std::collections::BTreeSet;

use casemate_core::{
    cvm::Spec,
    id::{AppId, ComposeHash, CvmId, KmsId, NodeId, ProvisionId, WorkspaceId},
    stored,
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{
    Db, Error, Tx,
    db::Dialect,
    error::{corrupt, unreadable},
};

/// A prepared deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provision {
    pub id: ProvisionId,
    pub workspace: WorkspaceId,
    /// Everything except the document and the sealed environment. If [`Provision::app`] is `None`, its app id
    /// has no meaning.
    pub spec: Spec,
    /// The app; `None`: the app is a contract, which the commit names.
    pub app: Option<AppId>,
    /// The KMS that holds the app's keys.
    pub kms: KmsId,
    /// The node it was matched to.
    pub node: NodeId,
    /// Sealed environment given at provision, hex; the commit's overrides it.
    pub sealed_env: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// The CVM that the commit created.
    pub cvm: Option<CvmId>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    workspace_id: i64,
    app_id: Option<String>,
    kms_id: String,
    node_id: i64,
    spec: String,
    sealed_env: Option<String>,
    created_at: i64,
    expires_at: i64,
    cvm_id: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Provision, Error> {
        Ok(Provision {
            spec: stored::read(&self.spec).map_err(unreadable("provisions", "spec", &self.id))?,
            app: self
                .app_id
                .map(|app| app.parse().map_err(corrupt("provisions", "app_id", &self.id)))
                .transpose()?,
            id: self.id.parse().map_err(corrupt("provisions", "id", &self.id))?,
            workspace: WorkspaceId(self.workspace_id),
            kms: KmsId(self.kms_id),
            node: NodeId(self.node_id),
            sealed_env: self.sealed_env,
            created_at: Timestamp::from_micros(self.created_at),
            expires_at: Timestamp::from_micros(self.expires_at),
            cvm: self.cvm_id.map(CvmId),
        })
    }
}

/// An app id bound to a workspace.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct HeldAppId {
    /// 40 hex digits.
    pub app_id: String,
    pub workspace_id: i64,
    /// Its nonce; `None` for ids that were not derived.
    pub nonce: Option<i64>,
    pub kms_id: String,
    /// The name it was first provisioned under.
    pub name: String,
    /// When a CVM was first created for it.
    pub committed_at: Option<i64>,
}

/// The text of a document.
pub async fn document(db: &Db, hash: &ComposeHash) -> Result<Option<String>, Error> {
    const SQL: &str = "SELECT body FROM documents WHERE hash = $1";
    on_read!(db, |c| query_scalar::<_, String>(SQL).bind(hash.to_string()).fetch_optional(c))
}

/// The KMS that an app has its keys from; `None`: no such app.
pub async fn kms_of_app(db: &Db, app: &AppId) -> Result<Option<KmsId>, Error> {
    const SQL: &str = "SELECT kms_id FROM apps WHERE app_id = $1";
    let found =
        on_read!(db, |c| query_scalar::<_, String>(SQL).bind(app.to_string()).fetch_optional(c))?;
    Ok(found.map(KmsId))
}

/// The lowest nonce of a workspace that was never tried; `None`: no such workspace.
pub async fn next_nonce(db: &Db, workspace: WorkspaceId) -> Result<Option<u64>, Error> {
    const SQL: &str = "SELECT next_nonce FROM workspaces WHERE id = $1";
    let nonce = on_read!(db, |c| query_scalar::<_, i64>(SQL).bind(workspace.0).fetch_optional(c))?;
    nonce.map(u64::try_from).transpose().map_err(corrupt("workspaces", "next_nonce", workspace))
}

/// The first `count` nonces from `from` on that this workspace has not bound.
pub async fn free_nonces(
    db: &Db,
    workspace: WorkspaceId,
    from: u64,
    count: usize,
) -> Result<Vec<u64>, Error> {
    const SQL: &str = "SELECT nonce FROM apps WHERE workspace_id = $1 AND nonce >= $2 \
        ORDER BY nonce LIMIT 500";
    let mut next = i64::try_from(from).unwrap_or(i64::MAX);
    let mut free = Vec::with_capacity(count);
    while free.len() < count && next < i64::MAX {
        let bound = on_read!(db, |c| query_scalar::<_, i64>(SQL)
            .bind(workspace.0)
            .bind(next)
            .fetch_all(c))?;
        // Nothing is known past the last row read, unless there are no more rows.
        let known =
            if bound.len() < 500 { i64::MAX } else { bound.last().copied().unwrap_or(next) };
        let mut bound = bound.into_iter().peekable();
        while free.len() < count && next <= known && next < i64::MAX {
            if bound.next_if_eq(&next).is_none() {
                free.push(u64::try_from(next).unwrap_or(0));
            }
            next += 1;
        }
    }
    Ok(free)
}

/// A document or app id that was used less than an hour ago is not deleted, even if nothing references it.
pub(crate) const GRACE_MICROS: i64 = 3_600_000_000;

/// The newest open provision of an app for this document, if the app has no live CVM. Read outside of a
/// transaction, so the writes must check it again.
pub async fn first_open(
    db: &Db,
    workspace: WorkspaceId,
    hash: &ComposeHash,
    app: &AppId,
    now: Timestamp,
) -> Result<Option<Provision>, Error> {
    const SQL: &str = "SELECT p.id, p.workspace_id, p.app_id, p.kms_id, p.node_id, p.spec, p.sealed_env, \
        p.created_at, p.expires_at, p.cvm_id FROM provisions p JOIN apps a ON a.app_id = p.app_id \
        WHERE p.app_id = $1 AND p.compose_hash = $2 AND p.workspace_id = $3 AND p.cvm_id IS NULL \
        AND p.expires_at > $4 AND a.live = 0 ORDER BY p.created_at DESC, p.id DESC LIMIT 1";
    let row = on_read!(db, |c| query_as::<_, Row>(SQL)
        .bind(app.to_string())
        .bind(hash.to_string())
        .bind(workspace.0)
        .bind(now.micros())
        .fetch_optional(c))?;
    row.map(Row::read).transpose()
}

const COLUMNS: &str = "SELECT id, workspace_id, app_id, kms_id, node_id, spec, sealed_env, \
    created_at, expires_at, cvm_id FROM provisions";

impl Tx {
    /// Whether a workspace has so many prepared deployments that wait for their commit, or more. Reads as many
    /// entries of an index at most.
    pub async fn has_open_provisions(
        &mut self,
        workspace: WorkspaceId,
        count: u32,
    ) -> Result<bool, Error> {
        const SQL: &str = "SELECT 1 FROM provisions WHERE workspace_id = $1 AND cvm_id IS NULL \
            LIMIT 1 OFFSET $2";
        let before_last = i64::from(count.max(1)) - 1;
        let found = on_tx!(self, |c| query_scalar::<_, i64>(SQL)
            .bind(workspace.0)
            .bind(before_last)
            .fetch_optional(c))?;
        Ok(found.is_some())
    }

    /// Locks the workspace's row until commit. Provisions, commits and replicas of one workspace run one
    /// after the other, so that the second of two equal requests sees the first.
    pub async fn lock_workspace(&mut self, workspace: WorkspaceId) -> Result<(), Error> {
        if self.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        let sql = format!("SELECT id FROM workspaces WHERE id = $1{}", self.dialect().for_update());
        on_tx!(self, |c| query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql))
            .bind(workspace.0)
            .fetch_optional(c))
        .map(drop)
    }

    /// The text of a document as this transaction sees it.
    pub async fn document(&mut self, hash: &ComposeHash) -> Result<Option<String>, Error> {
        const SQL: &str = "SELECT body FROM documents WHERE hash = $1";
        on_tx!(self, |c| query_scalar::<_, String>(SQL).bind(hash.to_string()).fetch_optional(c))
    }

    /// Stores a document under its hash.
    pub async fn keep_document(
        &mut self,
        hash: &ComposeHash,
        body: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO documents (hash, body, created_at, used_at) \
            VALUES ($1, $2, $3, $3) ON CONFLICT (hash) DO UPDATE SET used_at = excluded.used_at";
        exec_tx!(self, query(SQL).bind(hash.to_string()).bind(body).bind(now.micros())).map(drop)
    }

    /// The app id of the open provision with this name and document. Until the provision is consumed, the
    /// same request gets the same id. Locks the workspace until commit.
    pub async fn bound_app_id(
        &mut self,
        workspace: WorkspaceId,
        name: &str,
        hash: &ComposeHash,
        kms: &KmsId,
        now: Timestamp,
    ) -> Result<Option<AppId>, Error> {
        const SQL: &str = "SELECT p.app_id FROM provisions p JOIN apps a ON a.app_id = p.app_id \
            WHERE p.workspace_id = $1 AND p.name = $2 AND p.compose_hash = $3 AND p.kms_id = $4 \
            AND p.cvm_id IS NULL AND p.expires_at > $5 AND a.committed_at IS NULL \
            ORDER BY p.created_at, p.id LIMIT 1";
        self.lock_workspace(workspace).await?;
        let found = on_tx!(self, |c| query_scalar::<_, String>(SQL)
            .bind(workspace.0)
            .bind(name)
            .bind(hash.to_string())
            .bind(kms.as_ref())
            .bind(now.micros())
            .fetch_optional(c))?;
        found.map(|id| id.parse().map_err(corrupt("provisions", "app_id", &id))).transpose()
    }

    /// The next nonce of a workspace.
    pub async fn draw_nonce(&mut self, workspace: WorkspaceId) -> Result<u64, Error> {
        const SQL: &str = "UPDATE workspaces SET next_nonce = next_nonce + 1 WHERE id = $1 \
            RETURNING next_nonce - 1";
        let nonce = on_tx!(self, |c| query_scalar::<_, i64>(SQL).bind(workspace.0).fetch_one(c))?;
        u64::try_from(nonce).map_err(corrupt("workspaces", "next_nonce", workspace))
    }

    /// Binds an app id to a workspace and name. `false`: the id or the nonce is already bound. If another
    /// transaction is about to bind one of them, this waits for its end.
    pub async fn bind_app_id(
        &mut self,
        app: &AppId,
        workspace: WorkspaceId,
        nonce: Option<u64>,
        name: &str,
        kms: &KmsId,
        now: Timestamp,
    ) -> Result<bool, Error> {
        const SQL: &str = "INSERT INTO apps (app_id, workspace_id, nonce, name, kms_id, created_at, used_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT DO NOTHING";
        let nonce = nonce.map(i64::try_from).transpose().map_err(corrupt("apps", "nonce", app))?;
        let done = exec_tx!(
            self,
            query(SQL)
                .bind(app.to_string())
                .bind(workspace.0)
                .bind(nonce)
                .bind(name)
                .bind(kms.as_ref())
                .bind(now.micros())
        )?;
        Ok(done == 1)
    }

    pub async fn held_app_id(&mut self, app: &AppId) -> Result<Option<HeldAppId>, Error> {
        const SQL: &str = "SELECT app_id, workspace_id, nonce, kms_id, name, committed_at FROM apps \
             WHERE app_id = $1";
        on_tx!(self, |c| query_as::<_, HeldAppId>(SQL).bind(app.to_string()).fetch_optional(c))
    }

    /// Stores a prepared deployment. [`Error::Stale`]: its app id was deleted in the meantime.
    pub async fn insert_provision(&mut self, provision: &Provision) -> Result<(), Error> {
        const USE: &str = "UPDATE apps SET used_at = $2 WHERE app_id = $1";
        const SQL: &str = "INSERT INTO provisions (id, workspace_id, name, compose_hash, app_id, \
            kms_id, node_id, spec, sealed_env, created_at, expires_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let spec =
            stored::write(&provision.spec).map_err(corrupt("provisions", "spec", provision.id))?;
        let app = provision.app.as_ref().map(AppId::to_string);
        if let Some(app) = &app
            && exec_tx!(self, query(USE).bind(app).bind(provision.created_at.micros()))? != 1
        {
            return Err(Error::Stale);
        }
        exec_tx!(
            self,
            query(SQL)
                .bind(provision.id.to_string())
                .bind(provision.workspace.0)
                .bind(&provision.spec.name)
                .bind(provision.spec.compose_hash.to_string())
                .bind(&app)
                .bind(provision.kms.as_ref())
                .bind(provision.node.0)
                .bind(spec)
                .bind(&provision.sealed_env)
                .bind(provision.created_at.micros())
                .bind(provision.expires_at.micros())
        )
        .map(drop)
    }

    /// The newest provisions of a workspace for this document and app (`None`: not bound to an app yet), at
    /// most 50. Includes expired and consumed ones, so that the caller can explain a refusal. Locks the
    /// workspace until commit.
    pub async fn provisions_for(
        &mut self,
        workspace: WorkspaceId,
        hash: &ComposeHash,
        app: Option<&AppId>,
    ) -> Result<Vec<Provision>, Error> {
        let of_app = if app.is_some() { " AND (app_id = $3 OR app_id IS NULL)" } else { "" };
        let sql = format!(
            "{COLUMNS} WHERE workspace_id = $1 AND compose_hash = $2{of_app} \
             ORDER BY created_at DESC, id DESC LIMIT 50"
        );
        self.lock_workspace(workspace).await?;
        let rows = on_tx!(self, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
            .bind(workspace.0)
            .bind(hash.to_string())
            .bind(app.map(AppId::to_string))
            .fetch_all(c))?;
        rows.into_iter().map(Row::read).collect()
    }

    /// Marks a provision as consumed by a CVM of this app. `false`: it was already consumed or deleted.
    pub async fn consume_provision(
        &mut self,
        provision: ProvisionId,
        app: &AppId,
        cvm: CvmId,
    ) -> Result<bool, Error> {
        const CONSUME: &str = "UPDATE provisions SET cvm_id = $2, app_id = $3 \
            WHERE id = $1 AND cvm_id IS NULL";
        let consumed = exec_tx!(
            self,
            query(CONSUME).bind(provision.to_string()).bind(cvm.0).bind(app.to_string())
        )?;
        Ok(consumed == 1)
    }

    /// Deletes provisions that expired before `now`, and app ids and documents that are no longer referenced.
    /// The number per call is bounded; returns how many provisions were deleted.
    pub async fn expire_provisions(&mut self, now: Timestamp) -> Result<u64, Error> {
        const SQL: &str = "DELETE FROM provisions WHERE id IN \
            (SELECT id FROM provisions WHERE expires_at < $1 ORDER BY expires_at LIMIT 500) \
            RETURNING app_id, compose_hash";
        let gone = on_tx!(self, |c| query_as::<_, (Option<String>, String)>(SQL)
            .bind(now.micros())
            .fetch_all(c))?;
        let apps: BTreeSet<String> = gone.iter().filter_map(|(app, _)| app.clone()).collect();
        let documents: BTreeSet<String> = gone.iter().map(|(_, hash)| hash.clone()).collect();
        if !gone.is_empty() {
            let unused = now.micros().saturating_sub(GRACE_MICROS);
            self.forget_apps(&apps, unused).await?;
            self.forget_documents(&documents, unused).await?;
        }
        Ok(u64::try_from(gone.len()).unwrap_or(0))
    }

    /// A transaction that starts to use an app id or document writes `used_at`. PostgreSQL checks it again
    /// after a wait for the row.
    async fn forget_apps(&mut self, apps: &BTreeSet<String>, unused: i64) -> Result<(), Error> {
        let sql = format!(
            "DELETE FROM apps WHERE app_id IN ({}) AND used_at < $2 AND committed_at IS NULL \
             AND NOT EXISTS (SELECT 1 FROM provisions p WHERE p.app_id = apps.app_id)",
            self.dialect().elements()
        );
        let list = serde_json::to_string(apps).unwrap_or_default();
        exec_tx!(self, query(sqlx::AssertSqlSafe(sql.as_str())).bind(&list).bind(unused)).map(drop)
    }

    /// Deletes those of these documents that nothing references and that were not used since.
    pub(crate) async fn forget_documents(
        &mut self,
        hashes: &BTreeSet<String>,
        unused: i64,
    ) -> Result<(), Error> {
        let sql = format!(
            "DELETE FROM documents WHERE hash IN ({}) AND used_at < $2 AND NOT kept \
             AND NOT EXISTS (SELECT 1 FROM provisions p WHERE p.compose_hash = documents.hash) \
             AND NOT EXISTS (SELECT 1 FROM prepared q WHERE q.compose_hash = documents.hash) \
             AND NOT EXISTS (SELECT 1 FROM commit_tokens t WHERE t.compose_hash = documents.hash) \
             AND NOT EXISTS (SELECT 1 FROM revisions r WHERE r.compose_hash = documents.hash) \
             AND NOT EXISTS (SELECT 1 FROM cvms c WHERE c.compose_hash = documents.hash)",
            self.dialect().elements()
        );
        let list = serde_json::to_string(hashes).unwrap_or_default();
        exec_tx!(self, query(sqlx::AssertSqlSafe(sql.as_str())).bind(&list).bind(unused)).map(drop)
    }
}
