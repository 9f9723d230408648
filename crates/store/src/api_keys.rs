//! API keys. A token is a credential, so only its SHA-256 is stored, and its first characters for people.

use casemate_core::{
    access::Scopes,
    id::{KeyId, UserId, WorkspaceId},
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{Db, Error, Tx, error::corrupt, freshness::Subject};

/// A key to insert.
#[derive(Debug, Clone, Copy)]
pub struct NewKey<'a> {
    /// SHA-256 of the token, in hex.
    pub hash: &'a str,
    /// The first characters of the token.
    pub prefix: &'a str,
    pub user: UserId,
    pub workspace: WorkspaceId,
    /// For people.
    pub name: &'a str,
    pub scopes: &'a Scopes,
    pub expires_at: Option<Timestamp>,
}

/// A key as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub id: KeyId,
    pub user: UserId,
    pub username: String,
    pub workspace: WorkspaceId,
    pub slug: String,
    pub workspace_name: String,
    pub name: String,
    /// The first characters of the token; empty for one that was made before they were kept.
    pub prefix: String,
    pub scopes: Scopes,
    pub created_at: Timestamp,
    /// When it was used last, to the minute.
    pub last_used_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl Key {
    /// Whether requests with it are answered now, as far as it depends on the key.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > now)
    }
}

/// Which keys.
#[derive(Debug, Clone, Copy)]
pub struct Whose {
    /// In this workspace.
    pub workspace: WorkspaceId,
    /// Of this user; `None`: of everybody.
    pub user: Option<UserId>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    user_id: i64,
    username: String,
    workspace_id: i64,
    slug: String,
    workspace_name: String,
    name: String,
    prefix: String,
    scopes: String,
    created_at: i64,
    last_used_at: Option<i64>,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Key, Error> {
        Ok(Key {
            scopes: self.scopes.parse().map_err(corrupt("api_keys", "scopes", self.id))?,
            id: KeyId(self.id),
            user: UserId(self.user_id),
            username: self.username,
            workspace: WorkspaceId(self.workspace_id),
            slug: self.slug,
            workspace_name: self.workspace_name,
            name: self.name,
            prefix: self.prefix,
            created_at: Timestamp::from_micros(self.created_at),
            last_used_at: self.last_used_at.map(Timestamp::from_micros),
            expires_at: self.expires_at.map(Timestamp::from_micros),
            revoked_at: self.revoked_at.map(Timestamp::from_micros),
        })
    }
}

/// Keys that are not revoked and of users who exist, oldest first.
pub async fn list(db: &Db, whose: Whose, limit: i64) -> Result<Vec<Key>, Error> {
    const ALL: &str = "SELECT k.id, k.user_id, u.username, k.workspace_id, w.slug, \
        w.name AS workspace_name, k.name, k.prefix, k.scopes, k.created_at, k.last_used_at, \
        k.expires_at, k.revoked_at \
        FROM api_keys k JOIN users u ON u.id = k.user_id JOIN workspaces w ON w.id = k.workspace_id \
        WHERE k.workspace_id = $1 AND k.revoked_at IS NULL ORDER BY k.user_id, k.id LIMIT $2";
    const OF_USER: &str = "SELECT k.id, k.user_id, u.username, k.workspace_id, w.slug, \
        w.name AS workspace_name, k.name, k.prefix, k.scopes, k.created_at, k.last_used_at, \
        k.expires_at, k.revoked_at \
        FROM api_keys k JOIN users u ON u.id = k.user_id JOIN workspaces w ON w.id = k.workspace_id \
        WHERE k.workspace_id = $1 AND k.user_id = $3 AND k.revoked_at IS NULL ORDER BY k.id LIMIT $2";
    let rows = match whose.user {
        None => on_read!(db, |c| query_as::<_, Row>(ALL)
            .bind(whose.workspace.0)
            .bind(limit)
            .fetch_all(c))?,
        Some(user) => on_read!(db, |c| query_as::<_, Row>(OF_USER)
            .bind(whose.workspace.0)
            .bind(limit)
            .bind(user.0)
            .fetch_all(c))?,
    };
    rows.into_iter().map(Row::read).collect()
}

impl Tx {
    /// Inserts a key.
    pub async fn insert_key(&mut self, key: NewKey<'_>, now: Timestamp) -> Result<KeyId, Error> {
        const SQL: &str = "INSERT INTO api_keys (hash, id, prefix, user_id, workspace_id, name, scopes, \
            created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        self.touch(Subject::Accounts);
        let id = self.draw("api_key").await?;
        exec_tx!(
            self,
            query(SQL)
                .bind(key.hash)
                .bind(id)
                .bind(key.prefix)
                .bind(key.user.0)
                .bind(key.workspace.0)
                .bind(key.name)
                .bind(key.scopes.to_string())
                .bind(now.micros())
                .bind(key.expires_at.map(Timestamp::micros))
        )?;
        Ok(KeyId(id))
    }

    /// A key of a workspace by its id; one that is revoked does not exist.
    pub async fn key(&mut self, workspace: WorkspaceId, id: KeyId) -> Result<Option<Key>, Error> {
        const SQL: &str = "SELECT k.id, k.user_id, u.username, k.workspace_id, w.slug, \
            w.name AS workspace_name, k.name, k.prefix, k.scopes, k.created_at, k.last_used_at, \
            k.expires_at, k.revoked_at \
            FROM api_keys k JOIN users u ON u.id = k.user_id \
            JOIN workspaces w ON w.id = k.workspace_id \
            WHERE k.id = $1 AND k.workspace_id = $2 AND k.revoked_at IS NULL";
        let row = on_tx!(self, |c| query_as::<_, Row>(SQL)
            .bind(id.0)
            .bind(workspace.0)
            .fetch_optional(c))?;
        row.map(Row::read).transpose()
    }

    /// How many keys of a workspace are not revoked.
    pub async fn key_count(&mut self, workspace: WorkspaceId) -> Result<i64, Error> {
        const SQL: &str =
            "SELECT COUNT(*) FROM api_keys WHERE workspace_id = $1 AND revoked_at IS NULL";
        on_tx!(self, |c| query_scalar::<_, i64>(SQL).bind(workspace.0).fetch_one(c))
    }

    /// Revokes a key. `false`: it was revoked before, or there is none.
    pub async fn revoke_key(&mut self, id: KeyId, now: Timestamp) -> Result<bool, Error> {
        const SQL: &str =
            "UPDATE api_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
        self.touch(Subject::Accounts);
        Ok(exec_tx!(self, query(SQL).bind(id.0).bind(now.micros()))? == 1)
    }

    /// Revokes the keys that a user has for a workspace.
    pub async fn revoke_keys_of(
        &mut self,
        workspace: WorkspaceId,
        user: UserId,
        now: Timestamp,
    ) -> Result<u64, Error> {
        const SQL: &str = "UPDATE api_keys SET revoked_at = $3 \
            WHERE workspace_id = $1 AND user_id = $2 AND revoked_at IS NULL";
        self.touch(Subject::Accounts);
        exec_tx!(self, query(SQL).bind(workspace.0).bind(user.0).bind(now.micros()))
    }

    /// Sets when a key expires. `false`: it is revoked, or there is none.
    pub async fn set_key_expiry(&mut self, id: KeyId, at: Timestamp) -> Result<bool, Error> {
        const SQL: &str =
            "UPDATE api_keys SET expires_at = $2 WHERE id = $1 AND revoked_at IS NULL";
        self.touch(Subject::Accounts);
        Ok(exec_tx!(self, query(SQL).bind(id.0).bind(at.micros()))? == 1)
    }

    /// Lets a key end at this time, if it does not end before. `false`: it is revoked, or there is none.
    pub async fn end_key(&mut self, id: KeyId, at: Timestamp) -> Result<bool, Error> {
        const SQL: &str = "UPDATE api_keys SET expires_at = $2 WHERE id = $1 \
            AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
        self.touch(Subject::Accounts);
        Ok(exec_tx!(self, query(SQL).bind(id.0).bind(at.micros()))? == 1)
    }

    /// Records that a key was used. Who a key speaks for does not depend on it, so nothing that is cached
    /// becomes stale.
    pub async fn record_key_use(&mut self, id: KeyId, at: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE api_keys SET last_used_at = $2 WHERE id = $1 \
            AND (last_used_at IS NULL OR last_used_at < $2)";
        exec_tx!(self, query(SQL).bind(id.0).bind(at.micros())).map(drop)
    }
}
