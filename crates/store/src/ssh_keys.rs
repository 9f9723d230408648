//! SSH public keys of users.

use casemate_core::{id::UserId, time::Timestamp};
use sqlx::{query, query_as, query_scalar};

use crate::{Db, Error, Tx};

/// Where a key is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Manual,
    Github,
}

impl Source {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Github => "github",
        }
    }
}

/// A stored key.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SshKey {
    /// `sshkey_…`.
    pub id: String,
    pub user_id: i64,
    pub name: String,
    /// In OpenSSH's format.
    pub public_key: String,
    /// `SHA256:…`; unique per user.
    pub fingerprint: String,
    /// For example `ssh-ed25519`.
    pub key_type: String,
    /// Of an RSA key.
    pub bits: Option<i64>,
    /// [`Source::as_str`].
    pub source: String,
    /// The account there that it was read from.
    pub github_username: Option<String>,
    /// Microseconds.
    pub last_synced_at: Option<i64>,
    pub created_at: i64,
    pub updated_at: i64,
}

/// A key to insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSshKey {
    pub id: String,
    pub name: String,
    pub public_key: String,
    pub fingerprint: String,
    pub key_type: String,
    pub bits: Option<i64>,
    pub source: Source,
    pub github_username: Option<String>,
}

/// What became of a key to insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    New,
    /// The user has the key.
    Known,
    /// The user has as many keys as allowed.
    Full,
}

const COLUMNS: &str = "SELECT id, user_id, name, public_key, fingerprint, key_type, bits, source, \
    github_username, last_synced_at, created_at, updated_at FROM ssh_keys";

/// The keys of a user, in the order of their ids, which sort by age; at most `limit`.
pub async fn of_user(db: &Db, user: UserId, limit: i64) -> Result<Vec<SshKey>, Error> {
    let sql = format!("{COLUMNS} WHERE user_id = $1 ORDER BY id LIMIT $2");
    on_read!(db, |c| query_as::<_, SshKey>(sqlx::AssertSqlSafe(sql))
        .bind(user.0)
        .bind(limit)
        .fetch_all(c))
}

impl Tx {
    /// Locks the keys of a user until commit.
    pub async fn lock_ssh_keys(&mut self, user: UserId) -> Result<(), Error> {
        let sql = format!("SELECT id FROM users WHERE id = $1{}", self.dialect().for_update());
        on_tx!(self, |c| query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql))
            .bind(user.0)
            .fetch_optional(c))
        .map(drop)
    }

    /// The keys of a user, as this transaction sees them.
    pub async fn ssh_keys(&mut self, user: UserId, limit: i64) -> Result<Vec<SshKey>, Error> {
        let sql = format!("{COLUMNS} WHERE user_id = $1 ORDER BY id LIMIT $2");
        on_tx!(self, |c| query_as::<_, SshKey>(sqlx::AssertSqlSafe(sql))
            .bind(user.0)
            .bind(limit)
            .fetch_all(c))
    }

    /// Inserts a key of a user whose keys are locked.
    pub async fn insert_ssh_key(
        &mut self,
        user: UserId,
        new: &NewSshKey,
        limit: i64,
        now: Timestamp,
    ) -> Result<Inserted, Error> {
        const KNOWN: &str = "SELECT id FROM ssh_keys WHERE user_id = $1 AND fingerprint = $2";
        const COUNT: &str = "SELECT COUNT(*) FROM ssh_keys WHERE user_id = $1";
        const INSERT: &str = "INSERT INTO ssh_keys (id, user_id, name, public_key, fingerprint, \
            key_type, bits, source, github_username, last_synced_at, created_at, updated_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)";
        let known = on_tx!(self, |c| query_scalar::<_, String>(KNOWN)
            .bind(user.0)
            .bind(&new.fingerprint)
            .fetch_optional(c))?;
        if known.is_some() {
            return Ok(Inserted::Known);
        }
        let count = on_tx!(self, |c| query_scalar::<_, i64>(COUNT).bind(user.0).fetch_one(c))?;
        if count >= limit {
            return Ok(Inserted::Full);
        }
        let synced = (new.source == Source::Github).then_some(now.micros());
        exec_tx!(
            self,
            query(INSERT)
                .bind(&new.id)
                .bind(user.0)
                .bind(&new.name)
                .bind(&new.public_key)
                .bind(&new.fingerprint)
                .bind(&new.key_type)
                .bind(new.bits)
                .bind(new.source.as_str())
                .bind(&new.github_username)
                .bind(synced)
                .bind(now.micros())
        )?;
        Ok(Inserted::New)
    }

    /// Notes that a key was read from its account again, with this text.
    pub async fn sync_ssh_key(
        &mut self,
        id: &str,
        public_key: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE ssh_keys SET last_synced_at = $3, updated_at = \
            CASE WHEN public_key = $2 THEN updated_at ELSE $3 END, public_key = $2 WHERE id = $1";
        exec_tx!(self, query(SQL).bind(id).bind(public_key).bind(now.micros())).map(drop)
    }

    /// Deletes a key of a user; `false`: the user has no such key.
    pub async fn delete_ssh_key(&mut self, user: UserId, id: &str) -> Result<bool, Error> {
        const SQL: &str = "DELETE FROM ssh_keys WHERE id = $1 AND user_id = $2";
        Ok(exec_tx!(self, query(SQL).bind(id).bind(user.0))? == 1)
    }
}
