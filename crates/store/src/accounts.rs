//! Users and workspaces, and who a token speaks for. Only the SHA-256 of a token is stored and looked up.

use casemate_core::{
    access::{Access, Role},
    id::{KeyId, UserId, Wallet, WorkspaceId},
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{Db, Error, Tx, error::corrupt, freshness::Subject, people::NewUser};

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

/// The user and workspace that a token authenticates, and what it may do there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub user: User,
    pub workspace: Workspace,
    pub access: Access,
    /// The key; `None` for somebody who acts by what was decided earlier.
    pub key: Option<KeyId>,
    /// When the token expires.
    pub expires_at: Option<Timestamp>,
}

/// What a token that is known stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    Valid(Box<Principal>),
    /// Its time is over.
    Expired,
    Revoked,
    /// Its user is disabled, or is no member of the workspace any more.
    Barred,
}

#[derive(sqlx::FromRow)]
struct PrincipalRow {
    user_id: i64,
    username: String,
    email: String,
    operator: bool,
    disabled_at: Option<i64>,
    workspace_id: i64,
    slug: String,
    workspace_name: String,
    wallet: String,
    workspace_at: i64,
    role: Option<String>,
    key_id: Option<i64>,
    scopes: String,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
}

impl PrincipalRow {
    fn known(self, now: Timestamp) -> Result<Known, Error> {
        if self.revoked_at.is_some() {
            return Ok(Known::Revoked);
        }
        if self.expires_at.is_some_and(|end| end <= now.micros()) {
            return Ok(Known::Expired);
        }
        if self.disabled_at.is_some() || self.role.is_none() {
            return Ok(Known::Barred);
        }
        Ok(Known::Valid(Box::new(self.read()?)))
    }

    /// Somebody without a role has the lowest one.
    fn read(self) -> Result<Principal, Error> {
        let row = self.workspace_id;
        let role = self.role.as_deref().map_or(Ok(Role::Viewer), str::parse);
        Ok(Principal {
            access: Access {
                role: role.map_err(corrupt("members", "role", self.user_id))?,
                scopes: self.scopes.parse().map_err(corrupt("api_keys", "scopes", self.user_id))?,
                is_operator: self.operator,
            },
            user: User { id: UserId(self.user_id), username: self.username, email: self.email },
            workspace: Workspace {
                id: WorkspaceId(row),
                slug: self.slug,
                name: self.workspace_name,
                wallet: self.wallet.parse().map_err(corrupt("workspaces", "wallet", row))?,
                created_at: Timestamp::from_micros(self.workspace_at),
            },
            key: self.key_id.map(KeyId),
            expires_at: self.expires_at.map(Timestamp::from_micros),
        })
    }
}

/// What a token hash stands for; `None` if it is unknown.
pub async fn principal(db: &Db, hash: &str, now: Timestamp) -> Result<Option<Known>, Error> {
    const SQL: &str = "SELECT u.id AS user_id, u.username, u.email, u.operator, u.disabled_at, \
        w.id AS workspace_id, w.slug, w.name AS workspace_name, w.wallet, w.created_at AS workspace_at, \
        m.role, k.id AS key_id, k.scopes, k.expires_at, k.revoked_at \
        FROM api_keys k JOIN users u ON u.id = k.user_id JOIN workspaces w ON w.id = k.workspace_id \
        LEFT JOIN members m ON m.workspace_id = k.workspace_id AND m.user_id = k.user_id \
        WHERE k.hash = $1";
    let row = on_read!(db, |c| query_as::<_, PrincipalRow>(SQL).bind(hash).fetch_optional(c))?;
    row.map(|row| row.known(now)).transpose()
}

/// A user as principal in a workspace, with all scopes; `None` if either does not exist.
async fn acting(
    db: &Db,
    user: UserId,
    workspace: WorkspaceId,
) -> Result<Option<PrincipalRow>, Error> {
    const SQL: &str = "SELECT u.id AS user_id, u.username, u.email, u.operator, u.disabled_at, \
        w.id AS workspace_id, w.slug, w.name AS workspace_name, w.wallet, w.created_at AS workspace_at, \
        m.role, CAST(NULL AS BIGINT) AS key_id, '*' AS scopes, CAST(NULL AS BIGINT) AS expires_at, \
        CAST(NULL AS BIGINT) AS revoked_at \
        FROM users u JOIN workspaces w ON w.id = $2 \
        LEFT JOIN members m ON m.workspace_id = w.id AND m.user_id = u.id WHERE u.id = $1";
    on_read!(db, |c| query_as::<_, PrincipalRow>(SQL)
        .bind(user.0)
        .bind(workspace.0)
        .fetch_optional(c))
}

/// A member of a workspace as principal; `None` for somebody who is disabled or no member.
pub async fn member(
    db: &Db,
    user: UserId,
    workspace: WorkspaceId,
) -> Result<Option<Principal>, Error> {
    let row = acting(db, user, workspace).await?;
    row.filter(|row| row.role.is_some() && row.disabled_at.is_none())
        .map(PrincipalRow::read)
        .transpose()
}

/// Whoever decided something for a workspace, whether or not they are still a member.
pub async fn author(
    db: &Db,
    user: UserId,
    workspace: WorkspaceId,
) -> Result<Option<Principal>, Error> {
    acting(db, user, workspace).await?.map(PrincipalRow::read).transpose()
}

/// The id of the workspace of this slug.
pub async fn workspace_id(db: &Db, slug: &str) -> Result<Option<WorkspaceId>, Error> {
    const SQL: &str = "SELECT id FROM workspaces WHERE slug = $1";
    let id = on_read!(db, |c| query_scalar::<_, i64>(SQL).bind(slug).fetch_optional(c))?;
    Ok(id.map(WorkspaceId))
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
    /// Inserts a user; a [`Error::Conflict`] where the name is taken.
    pub async fn insert_user(
        &mut self,
        user: NewUser<'_>,
        now: Timestamp,
    ) -> Result<UserId, Error> {
        const SQL: &str = "INSERT INTO users (id, username, email, kind, operator, created_at) \
            VALUES ($1, $2, $3, $4, $5, $6)";
        self.touch(Subject::Accounts);
        let NewUser { username, email, kind, is_operator } = user;
        let id = self.draw("user").await?;
        exec_tx!(
            self,
            query(SQL)
                .bind(id)
                .bind(username)
                .bind(email)
                .bind(kind.word())
                .bind(is_operator)
                .bind(now.micros())
        )?;
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
        const USAGE: &str = "INSERT INTO workspace_usage (workspace_id) VALUES ($1)";
        self.touch(Subject::Accounts);
        let id = self.draw("workspace").await?;
        exec_tx!(
            self,
            query(SQL).bind(id).bind(slug).bind(name).bind(wallet.to_string()).bind(now.micros())
        )?;
        exec_tx!(self, query(USAGE).bind(id))?;
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
}
