//! App-compose documents, app ids and prepared deployments.

use casemate_core::{
    cvm::Spec,
    id::{AppId, ComposeHash, CvmId, KmsId, NodeId, ProvisionId, WorkspaceId},
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{Db, Error, Tx, error::corrupt};

/// A prepared deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provision {
    /// Its id.
    pub id: ProvisionId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Everything but the document and the sealed env.
    pub spec: Spec,
    /// KMS that holds the app's keys.
    pub kms: KmsId,
    /// Node it was matched to.
    pub node: NodeId,
    /// Sealed env given at provision, hex; commit's overrides it.
    pub sealed_env: Option<String>,
    /// When it was prepared.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The CVM it became.
    pub cvm: Option<CvmId>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    workspace_id: i64,
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
            spec: serde_json::from_str(&self.spec).map_err(corrupt("provisions", "spec", &self.id))?,
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

/// An app id that a workspace holds.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct HeldAppId {
    /// 40 hex digits.
    pub app_id: String,
    /// Whose it is.
    pub workspace_id: i64,
    /// Its nonce; `None` for ids that were not derived.
    pub nonce: Option<i64>,
    /// The name it was first provisioned under.
    pub name: String,
    /// Whether a CVM was ever made of it.
    pub committed_at: Option<i64>,
}

/// The text of a document.
pub async fn document(db: &Db, hash: &ComposeHash) -> Result<Option<String>, Error> {
    const SQL: &str = "SELECT body FROM documents WHERE hash = $1";
    on_read!(db, |c| query_scalar::<_, String>(SQL).bind(hash.to_string()).fetch_optional(c))
}

/// The first nonce at or after `from` that this workspace has not bound.
pub async fn free_nonces(
    db: &Db,
    workspace: WorkspaceId,
    from: u64,
    count: usize,
) -> Result<Vec<u64>, Error> {
    const SQL: &str = "SELECT nonce FROM apps WHERE workspace_id = $1 AND nonce >= $2 ORDER BY nonce";
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    let bound = on_read!(db, |c| query_scalar::<_, i64>(SQL)
        .bind(workspace.0)
        .bind(from)
        .fetch_all(c))?;
    let mut bound = bound.into_iter().peekable();
    let mut free = Vec::with_capacity(count);
    let mut nonce = from;
    while free.len() < count {
        if bound.next_if_eq(&nonce).is_none() {
            free.push(u64::try_from(nonce).unwrap_or(0));
        }
        nonce = nonce.saturating_add(1);
    }
    Ok(free)
}

const COLUMNS: &str = "SELECT id, workspace_id, kms_id, node_id, spec, sealed_env, created_at, \
    expires_at, cvm_id FROM provisions";

impl Tx {
    /// Keeps a document under its hash.
    pub async fn keep_document(
        &mut self,
        hash: &ComposeHash,
        body: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO documents (hash, body, created_at) VALUES ($1, $2, $3) \
            ON CONFLICT (hash) DO NOTHING";
        exec_tx!(self, query(SQL)
            .bind(hash.to_string())
            .bind(body)
            .bind(now.micros()))
        .map(drop)
    }

    /// The app id bound to the open provision of this name and document, if there is one: the same
    /// request gets the same id until it is consumed.
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
            ORDER BY p.created_at LIMIT 1";
        let found = on_tx!(self, |c| query_scalar::<_, String>(SQL)
            .bind(workspace.0)
            .bind(name)
            .bind(hash.to_string())
            .bind(kms.as_ref())
            .bind(now.micros())
            .fetch_optional(c))?;
        found.map(|id| id.parse().map_err(corrupt("provisions", "app_id", &id))).transpose()
    }

    /// Takes the next nonce of a workspace.
    pub async fn draw_nonce(&mut self, workspace: WorkspaceId) -> Result<u64, Error> {
        const SQL: &str = "UPDATE workspaces SET next_nonce = next_nonce + 1 WHERE id = $1 \
            RETURNING next_nonce - 1";
        let nonce =
            on_tx!(self, |c| query_scalar::<_, i64>(SQL).bind(workspace.0).fetch_one(c))?;
        u64::try_from(nonce).map_err(corrupt("workspaces", "next_nonce", workspace))
    }

    /// Binds an app id to a workspace and name. `false` when the id or the nonce is bound already.
    pub async fn bind_app_id(
        &mut self,
        app: &AppId,
        workspace: WorkspaceId,
        nonce: Option<u64>,
        name: &str,
        kms: &KmsId,
        now: Timestamp,
    ) -> Result<bool, Error> {
        const SQL: &str = "INSERT INTO apps (app_id, workspace_id, nonce, name, kms_id, created_at) \
            VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
        let nonce = nonce
            .map(i64::try_from)
            .transpose()
            .map_err(corrupt("apps", "nonce", app))?;
        let done = exec_tx!(self, query(SQL)
            .bind(app.to_string())
            .bind(workspace.0)
            .bind(nonce)
            .bind(name)
            .bind(kms.as_ref())
            .bind(now.micros()))?;
        Ok(done == 1)
    }

    /// Who holds an app id.
    pub async fn held_app_id(&mut self, app: &AppId) -> Result<Option<HeldAppId>, Error> {
        const SQL: &str =
            "SELECT app_id, workspace_id, nonce, name, committed_at FROM apps WHERE app_id = $1";
        on_tx!(self, |c| query_as::<_, HeldAppId>(SQL).bind(app.to_string()).fetch_optional(c))
    }

    /// Keeps a prepared deployment.
    pub async fn insert_provision(&mut self, provision: &Provision) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO provisions (id, workspace_id, name, compose_hash, app_id, \
            kms_id, node_id, spec, sealed_env, created_at, expires_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let spec = serde_json::to_string(&provision.spec)
            .map_err(corrupt("provisions", "spec", provision.id))?;
        exec_tx!(self, query(SQL)
            .bind(provision.id.to_string())
            .bind(provision.workspace.0)
            .bind(&provision.spec.name)
            .bind(provision.spec.compose_hash.to_string())
            .bind(provision.spec.app_id.to_string())
            .bind(provision.kms.as_ref())
            .bind(provision.node.0)
            .bind(spec)
            .bind(&provision.sealed_env)
            .bind(provision.created_at.micros())
            .bind(provision.expires_at.micros()))
        .map(drop)
    }

    /// The newest provisions of a workspace for this document, of this app if one is named; at most
    /// 50, expired and consumed ones included, so that the caller can say which it is.
    pub async fn provisions_for(
        &mut self,
        workspace: WorkspaceId,
        hash: &ComposeHash,
        app: Option<&AppId>,
    ) -> Result<Vec<Provision>, Error> {
        let sql = format!(
            "{COLUMNS} WHERE workspace_id = $1 AND compose_hash = $2 AND ($3 = '' OR app_id = $3) \
             ORDER BY created_at DESC LIMIT 50"
        );
        let app = app.map(AppId::to_string).unwrap_or_default();
        let rows = on_tx!(self, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
            .bind(workspace.0)
            .bind(hash.to_string())
            .bind(&app)
            .fetch_all(c))?;
        rows.into_iter().map(Row::read).collect()
    }

    /// Marks a provision and its app as consumed. `false` when somebody else was first.
    pub async fn consume_provision(
        &mut self,
        provision: &Provision,
        cvm: CvmId,
        now: Timestamp,
    ) -> Result<bool, Error> {
        const CONSUME: &str = "UPDATE provisions SET cvm_id = $2 WHERE id = $1 AND cvm_id IS NULL";
        const COMMIT: &str = "UPDATE apps SET committed_at = $2 WHERE app_id = $1 AND committed_at IS NULL";
        let done = exec_tx!(self, query(CONSUME)
            .bind(provision.id.to_string())
            .bind(cvm.0))?;
        exec_tx!(self, query(COMMIT)
            .bind(provision.spec.app_id.to_string())
            .bind(now.micros()))?;
        Ok(done == 1)
    }

    /// Forgets what expired before `now`, a bounded number at a time; returns how many.
    pub async fn expire_provisions(&mut self, now: Timestamp) -> Result<u64, Error> {
        const SQL: &str = "DELETE FROM provisions WHERE id IN \
            (SELECT id FROM provisions WHERE expires_at < $1 ORDER BY expires_at LIMIT 500)";
        exec_tx!(self, query(SQL).bind(now.micros()))
    }
}
