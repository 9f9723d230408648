//! Logins by device code (RFC 8628) under way. Only SHA-256 of the two codes are stored.

use casemate_core::{
    access::Scopes,
    id::{UserId, WorkspaceId},
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{Error, Tx, error::corrupt};

/// A login to insert.
#[derive(Debug, Clone, Copy)]
pub struct NewLogin<'a> {
    /// SHA-256 of the device code, in hex.
    pub device_hash: &'a str,
    /// SHA-256 of the user code, in hex.
    pub user_hash: &'a str,
    /// The client's name of itself.
    pub client: &'a str,
    /// Whom it counts for; empty: not known.
    pub address: &'a str,
    pub expires_at: Timestamp,
}

/// How many logins may be under way.
#[derive(Debug, Clone, Copy)]
pub struct LoginLimits {
    pub total: i64,
    /// Of an address that is known.
    pub per_address: i64,
}

/// What became of a login to insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsertedLogin {
    New,
    /// Too many are under way.
    Full,
    /// Too many of this address are under way.
    AddressFull,
}

/// A login under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    pub client: String,
    pub expires_at: Timestamp,
    /// When the client asked last.
    pub polled_at: Option<Timestamp>,
    pub state: LoginState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginState {
    Pending,
    Denied,
    /// The client gets a key of this user, in this workspace, with these scopes.
    Approved(UserId, WorkspaceId, Scopes),
}

#[derive(sqlx::FromRow)]
struct Row {
    client: String,
    expires_at: i64,
    polled_at: Option<i64>,
    user_id: Option<i64>,
    workspace_id: Option<i64>,
    scopes: Option<String>,
    denied: bool,
}

impl Row {
    fn read(self) -> Result<Login, Error> {
        let state = match (self.user_id, self.workspace_id, self.scopes) {
            _ if self.denied => LoginState::Denied,
            (Some(user), Some(workspace), Some(scopes)) => LoginState::Approved(
                UserId(user),
                WorkspaceId(workspace),
                scopes.parse().map_err(corrupt("device_logins", "scopes", user))?,
            ),
            _ => LoginState::Pending,
        };
        Ok(Login {
            client: self.client,
            expires_at: Timestamp::from_micros(self.expires_at),
            polled_at: self.polled_at.map(Timestamp::from_micros),
            state,
        })
    }
}

impl Tx {
    /// Inserts a login, unless too many are under way.
    pub async fn insert_login(
        &mut self,
        new: NewLogin<'_>,
        limits: LoginLimits,
        now: Timestamp,
    ) -> Result<InsertedLogin, Error> {
        const COUNT: &str = "SELECT COUNT(*) FROM device_logins WHERE expires_at > $1";
        const OF_ADDRESS: &str =
            "SELECT COUNT(*) FROM device_logins WHERE address = $1 AND expires_at > $2";
        const SQL: &str = "INSERT INTO device_logins (device_hash, user_hash, client, created_at, \
            expires_at, address) VALUES ($1, $2, $3, $4, $5, $6)";
        let open = on_tx!(self, |c| query_scalar::<_, i64>(COUNT).bind(now.micros()).fetch_one(c))?;
        if open >= limits.total {
            return Ok(InsertedLogin::Full);
        }
        if !new.address.is_empty() {
            let open = on_tx!(self, |c| query_scalar::<_, i64>(OF_ADDRESS)
                .bind(new.address)
                .bind(now.micros())
                .fetch_one(c))?;
            if open >= limits.per_address {
                return Ok(InsertedLogin::AddressFull);
            }
        }
        exec_tx!(
            self,
            query(SQL)
                .bind(new.device_hash)
                .bind(new.user_hash)
                .bind(new.client)
                .bind(now.micros())
                .bind(new.expires_at.micros())
                .bind(new.address)
        )?;
        Ok(InsertedLogin::New)
    }

    /// The login with this device code as it was before this poll. Locks its row, and records the poll.
    pub async fn poll_login(
        &mut self,
        device_hash: &str,
        now: Timestamp,
    ) -> Result<Option<Login>, Error> {
        const LOCK: &str = "UPDATE device_logins SET denied = denied WHERE device_hash = $1";
        const SQL: &str = "SELECT client, expires_at, polled_at, user_id, workspace_id, scopes, denied \
            FROM device_logins WHERE device_hash = $1";
        const POLL: &str = "UPDATE device_logins SET polled_at = $2 WHERE device_hash = $1";
        exec_tx!(self, query(LOCK).bind(device_hash))?;
        let row = on_tx!(self, |c| query_as::<_, Row>(SQL).bind(device_hash).fetch_optional(c))?;
        exec_tx!(self, query(POLL).bind(device_hash).bind(now.micros()))?;
        row.map(Row::read).transpose()
    }

    /// Approves the pending login with this user code; its client, or `None` where there is none pending.
    pub async fn approve_login(
        &mut self,
        user_hash: &str,
        (user, workspace, scopes): (UserId, WorkspaceId, &Scopes),
        now: Timestamp,
    ) -> Result<Option<String>, Error> {
        const SQL: &str = "UPDATE device_logins SET user_id = $2, workspace_id = $3, scopes = $4 \
            WHERE user_hash = $1 AND user_id IS NULL AND NOT denied AND expires_at > $5 \
            RETURNING client";
        on_tx!(self, |c| query_scalar::<_, String>(SQL)
            .bind(user_hash)
            .bind(user.0)
            .bind(workspace.0)
            .bind(scopes.to_string())
            .bind(now.micros())
            .fetch_optional(c))
    }

    /// Denies the pending login with this user code. `false`: there is none pending.
    pub async fn deny_login(&mut self, user_hash: &str, now: Timestamp) -> Result<bool, Error> {
        const SQL: &str = "UPDATE device_logins SET denied = TRUE \
            WHERE user_hash = $1 AND user_id IS NULL AND NOT denied AND expires_at > $2";
        Ok(exec_tx!(self, query(SQL).bind(user_hash).bind(now.micros()))? == 1)
    }

    /// Deletes a login: its client has its key.
    pub async fn delete_login(&mut self, device_hash: &str) -> Result<bool, Error> {
        const SQL: &str = "DELETE FROM device_logins WHERE device_hash = $1";
        Ok(exec_tx!(self, query(SQL).bind(device_hash))? == 1)
    }

    /// Deletes logins that expired before; the number per call is bounded.
    pub async fn forget_logins(&mut self, before: Timestamp) -> Result<u64, Error> {
        const SQL: &str = "DELETE FROM device_logins WHERE device_hash IN \
            (SELECT device_hash FROM device_logins WHERE expires_at < $1 \
            ORDER BY expires_at LIMIT 500)";
        exec_tx!(self, query(SQL).bind(before.micros()))
    }
}
