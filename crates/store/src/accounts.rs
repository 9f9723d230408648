//! Users, workspaces and API keys. Only the SHA-256 of a token is stored and looked up.

use casemate_core::{
    id::{UserId, Wallet, WorkspaceId},
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{Db, Error, Tx, error::corrupt, freshness::Subject};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    /// Unique.
    pub username: String,
    pub email: String,
}

/// A workspace owns CVMs, and the wallet from which its app ids are derived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    pub id: WorkspaceId,
    /// Unique; part of URLs.
    pub slug: String,
    /// Display name.
    pub name: String,
    /// The app ids of this workspace are CREATE addresses of this address.
    pub wallet: Wallet,
    pub created_at: Timestamp,
}

/// The user and workspace that a token authenticates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub user: User,
    pub workspace: Workspace,
    /// When the token expires.
    pub expires_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct PrincipalRow {
    user_id: i64,
    username: String,
    email: String,
    workspace_id: i64,
    slug: String,
    workspace_name: String,
    wallet: String,
    workspace_at: i64,
    expires_at: Option<i64>,
}

impl PrincipalRow {
    fn read(self) -> Result<Principal, Error> {
        let row = self.workspace_id;
        Ok(Principal {
            user: User { id: UserId(self.user_id), username: self.username, email: self.email },
            workspace: Workspace {
                id: WorkspaceId(row),
                slug: self.slug,
                name: self.workspace_name,
                wallet: self.wallet.parse().map_err(corrupt("workspaces", "wallet", row))?,
                created_at: Timestamp::from_micros(self.workspace_at),
            },
            expires_at: self.expires_at.map(Timestamp::from_micros),
        })
    }
}

/// The principal of a token hash; `None` if the token is unknown, revoked or expired.
pub async fn principal(db: &Db, hash: &str, now: Timestamp) -> Result<Option<Principal>, Error> {
    const SQL: &str = "SELECT u.id AS user_id, u.username, u.email, w.id AS workspace_id, w.slug, \
        w.name AS workspace_name, w.wallet, w.created_at AS workspace_at, k.expires_at \
        FROM api_keys k JOIN users u ON u.id = k.user_id JOIN workspaces w ON w.id = k.workspace_id \
        WHERE k.hash = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2)";
    let row = on_read!(db, |c| query_as::<_, PrincipalRow>(SQL)
        .bind(hash)
        .bind(now.micros())
        .fetch_optional(c))?;
    row.map(PrincipalRow::read).transpose()
}

/// A user as principal in a workspace; `None` if either does not exist.
pub async fn member(
    db: &Db,
    user: UserId,
    workspace: WorkspaceId,
) -> Result<Option<Principal>, Error> {
    const SQL: &str = "SELECT u.id AS user_id, u.username, u.email, w.id AS workspace_id, w.slug, \
        w.name AS workspace_name, w.wallet, w.created_at AS workspace_at, \
        CAST(NULL AS BIGINT) AS expires_at \
        FROM users u JOIN workspaces w ON w.id = $2 WHERE u.id = $1";
    let row = on_read!(db, |c| query_as::<_, PrincipalRow>(SQL)
        .bind(user.0)
        .bind(workspace.0)
        .fetch_optional(c))?;
    row.map(PrincipalRow::read).transpose()
}

/// Whether any user exists. The first start creates one.
pub async fn any_user(db: &Db) -> Result<bool, Error> {
    const SQL: &str = "SELECT id FROM users LIMIT 1";
    Ok(on_read!(db, |c| query_scalar::<_, i64>(SQL).fetch_optional(c))?.is_some())
}

/// What a workspace says about its CVMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkspacePolicy {
    /// An update that drops a variable used by the compose file is refused.
    pub refuses_dropped_env: bool,
    /// Instances of every app get requests for their app only while their evidence is accepted.
    pub requires_evidence: bool,
}

const POLICY: &str = "SELECT env_guard = 'refuse', requires_evidence FROM workspaces WHERE id = $1";

/// The policy of a workspace.
pub async fn policy(db: &Db, workspace: WorkspaceId) -> Result<WorkspacePolicy, Error> {
    let (refuses_dropped_env, requires_evidence) =
        on_read!(db, |c| query_as::<_, (bool, bool)>(POLICY).bind(workspace.0).fetch_one(c))?;
    Ok(WorkspacePolicy { refuses_dropped_env, requires_evidence })
}

const ENV_GUARD: &str = "SELECT env_guard FROM workspaces WHERE id = $1";

impl Tx {
    pub async fn insert_user(
        &mut self,
        username: &str,
        email: &str,
        now: Timestamp,
    ) -> Result<UserId, Error> {
        const SQL: &str =
            "INSERT INTO users (id, username, email, created_at) VALUES ($1, $2, $3, $4)";
        self.touch(Subject::Accounts);
        let id = self.draw("user").await?;
        exec_tx!(self, query(SQL).bind(id).bind(username).bind(email).bind(now.micros()))?;
        Ok(UserId(id))
    }

    pub async fn insert_workspace(
        &mut self,
        slug: &str,
        name: &str,
        wallet: Wallet,
        now: Timestamp,
    ) -> Result<WorkspaceId, Error> {
        const SQL: &str = "INSERT INTO workspaces (id, slug, name, wallet, next_nonce, created_at) \
            VALUES ($1, $2, $3, $4, 0, $5)";
        self.touch(Subject::Accounts);
        let id = self.draw("workspace").await?;
        exec_tx!(
            self,
            query(SQL).bind(id).bind(slug).bind(name).bind(wallet.to_string()).bind(now.micros())
        )?;
        Ok(WorkspaceId(id))
    }

    /// Sets what is given of a workspace's policy; returns the policy from then on.
    pub async fn set_policy(
        &mut self,
        workspace: WorkspaceId,
        refuses_dropped_env: Option<bool>,
        requires_evidence: Option<bool>,
    ) -> Result<WorkspacePolicy, Error> {
        const SQL: &str = "UPDATE workspaces SET env_guard = CASE WHEN $2 IS NULL THEN env_guard \
            WHEN $2 THEN 'refuse' ELSE 'report' END, \
            requires_evidence = COALESCE($3, requires_evidence) WHERE id = $1";
        self.touch(Subject::Accounts);
        exec_tx!(
            self,
            query(SQL).bind(workspace.0).bind(refuses_dropped_env).bind(requires_evidence)
        )?;
        let (refuses_dropped_env, requires_evidence) =
            on_tx!(self, |c| query_as(POLICY).bind(workspace.0).fetch_one(c))?;
        Ok(WorkspacePolicy { refuses_dropped_env, requires_evidence })
    }

    /// Whether the workspace's policy refuses an update that drops a variable used by the compose file.
    pub async fn refuses_dropped_env(&mut self, workspace: WorkspaceId) -> Result<bool, Error> {
        let word = on_tx!(self, |c| query_scalar::<_, String>(ENV_GUARD)
            .bind(workspace.0)
            .fetch_optional(c))?;
        Ok(word.is_some_and(|word| word == "refuse"))
    }

    /// Inserts an API key, identified by the hash of its token.
    pub async fn insert_api_key(
        &mut self,
        hash: &str,
        user: UserId,
        workspace: WorkspaceId,
        name: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO api_keys (hash, user_id, workspace_id, name, created_at) \
            VALUES ($1, $2, $3, $4, $5)";
        self.touch(Subject::Accounts);
        exec_tx!(
            self,
            query(SQL).bind(hash).bind(user.0).bind(workspace.0).bind(name).bind(now.micros())
        )?;
        Ok(())
    }
}
