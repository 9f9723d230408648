//! Invitations to workspaces. A token is a credential, so only its SHA-256 is stored.

use casemate_core::{
    access::Role,
    id::{InvitationId, UserId, WorkspaceId},
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{Db, Error, Tx, error::corrupt};

/// An invitation to insert.
#[derive(Debug, Clone, Copy)]
pub struct NewInvitation<'a> {
    /// SHA-256 of the token, in hex.
    pub hash: &'a str,
    pub workspace: WorkspaceId,
    /// `None`: a link for anybody who has it.
    pub email: Option<&'a str>,
    pub role: Role,
    pub by: UserId,
    pub expires_at: Timestamp,
}

/// An invitation as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    pub id: InvitationId,
    pub workspace: WorkspaceId,
    /// `None`: a link for anybody who has it.
    pub email: Option<String>,
    pub role: Role,
    /// Name and address of the user who invites.
    pub inviter: (String, String),
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub is_accepted: bool,
    pub is_revoked: bool,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    workspace_id: i64,
    email: Option<String>,
    role: String,
    username: String,
    inviter_email: String,
    created_at: i64,
    expires_at: i64,
    accepted_by: Option<i64>,
    revoked_at: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Invitation, Error> {
        Ok(Invitation {
            role: self.role.parse().map_err(corrupt("invitations", "role", self.id))?,
            id: InvitationId(self.id),
            workspace: WorkspaceId(self.workspace_id),
            email: self.email,
            inviter: (self.username, self.inviter_email),
            created_at: Timestamp::from_micros(self.created_at),
            expires_at: Timestamp::from_micros(self.expires_at),
            is_accepted: self.accepted_by.is_some(),
            is_revoked: self.revoked_at.is_some(),
        })
    }
}

/// Invitations of a workspace that can still be accepted, oldest first: `limit` of them behind the first `skip`.
pub async fn pending(
    db: &Db,
    workspace: WorkspaceId,
    now: Timestamp,
    skip: i64,
    limit: i64,
) -> Result<Vec<Invitation>, Error> {
    const SQL: &str = "SELECT i.id, i.workspace_id, i.email, i.role, u.username, \
        u.email AS inviter_email, i.created_at, i.expires_at, i.accepted_by, i.revoked_at \
        FROM invitations i JOIN users u ON u.id = i.created_by \
        WHERE i.workspace_id = $1 AND i.expires_at > $2 AND i.accepted_by IS NULL \
        AND i.revoked_at IS NULL ORDER BY i.id LIMIT $4 OFFSET $3";
    let rows = on_read!(db, |c| query_as::<_, Row>(SQL)
        .bind(workspace.0)
        .bind(now.micros())
        .bind(skip)
        .bind(limit)
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

const PENDING: &str = "SELECT COUNT(*) FROM invitations WHERE workspace_id = $1 \
    AND expires_at > $2 AND accepted_by IS NULL AND revoked_at IS NULL";

/// How many invitations of a workspace can still be accepted.
pub async fn pending_count(db: &Db, workspace: WorkspaceId, now: Timestamp) -> Result<i64, Error> {
    on_read!(db, |c| query_scalar::<_, i64>(PENDING)
        .bind(workspace.0)
        .bind(now.micros())
        .fetch_one(c))
}

impl Tx {
    /// How many invitations of a workspace can still be accepted.
    pub async fn pending_invitations(
        &mut self,
        workspace: WorkspaceId,
        now: Timestamp,
    ) -> Result<i64, Error> {
        on_tx!(self, |c| query_scalar::<_, i64>(PENDING)
            .bind(workspace.0)
            .bind(now.micros())
            .fetch_one(c))
    }

    pub async fn insert_invitation(
        &mut self,
        new: NewInvitation<'_>,
        now: Timestamp,
    ) -> Result<InvitationId, Error> {
        const SQL: &str = "INSERT INTO invitations (id, workspace_id, hash, email, role, created_by, \
            created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let id = self.draw("invitation").await?;
        exec_tx!(
            self,
            query(SQL)
                .bind(id)
                .bind(new.workspace.0)
                .bind(new.hash)
                .bind(new.email)
                .bind(new.role.word())
                .bind(new.by.0)
                .bind(now.micros())
                .bind(new.expires_at.micros())
        )?;
        Ok(InvitationId(id))
    }

    /// Revokes an invitation. `false`: it cannot be accepted any more, or there is none.
    pub async fn revoke_invitation(
        &mut self,
        workspace: WorkspaceId,
        id: InvitationId,
        now: Timestamp,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE invitations SET revoked_at = $3 WHERE id = $1 \
            AND workspace_id = $2 AND revoked_at IS NULL AND accepted_by IS NULL";
        Ok(exec_tx!(self, query(SQL).bind(id.0).bind(workspace.0).bind(now.micros()))? == 1)
    }

    /// The invitation with this token, whatever its state. Locks its row.
    pub async fn invitation(&mut self, hash: &str) -> Result<Option<Invitation>, Error> {
        const LOCK: &str = "UPDATE invitations SET role = role WHERE hash = $1";
        const SQL: &str = "SELECT i.id, i.workspace_id, i.email, i.role, u.username, \
            u.email AS inviter_email, i.created_at, i.expires_at, i.accepted_by, i.revoked_at \
            FROM invitations i JOIN users u ON u.id = i.created_by WHERE i.hash = $1";
        exec_tx!(self, query(LOCK).bind(hash))?;
        let row = on_tx!(self, |c| query_as::<_, Row>(SQL).bind(hash).fetch_optional(c))?;
        row.map(Row::read).transpose()
    }

    /// Records who accepted an invitation.
    pub async fn accept_invitation(&mut self, id: InvitationId, user: UserId) -> Result<(), Error> {
        const SQL: &str = "UPDATE invitations SET accepted_by = $2 WHERE id = $1";
        exec_tx!(self, query(SQL).bind(id.0).bind(user.0)).map(drop)
    }
}
