//! Lists of users and workspaces, and who is a member of which.

use casemate_core::{
    access::Role,
    id::{UserId, WorkspaceId},
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{
    Db, Error, Tx,
    accounts::{User, Workspace},
    error::corrupt,
    freshness::Subject,
};

/// Whether a user is somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserKind {
    Person,
    /// A program, with keys and a role of its own.
    Service,
}

impl UserKind {
    /// The word in the database and on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Service => "service",
        }
    }
}

/// A user to insert.
#[derive(Debug, Clone, Copy)]
pub struct NewUser<'a> {
    /// Unique.
    pub username: &'a str,
    pub email: &'a str,
    pub kind: UserKind,
    /// Whether the user operates the installation.
    pub is_operator: bool,
}

impl<'a> NewUser<'a> {
    /// A person who operates nothing.
    #[must_use]
    pub const fn person(username: &'a str, email: &'a str) -> Self {
        Self { username, email, kind: UserKind::Person, is_operator: false }
    }
}

/// A user as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    pub user: User,
    pub kind: UserKind,
    pub is_operator: bool,
    pub created_at: Timestamp,
    pub disabled_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct RawUser {
    id: i64,
    username: String,
    email: String,
    kind: String,
    operator: bool,
    created_at: i64,
    disabled_at: Option<i64>,
}

impl RawUser {
    fn read(self) -> UserRow {
        // The column takes only two words.
        let kind = if self.kind == "service" { UserKind::Service } else { UserKind::Person };
        UserRow {
            user: User { id: UserId(self.id), username: self.username, email: self.email },
            kind,
            is_operator: self.operator,
            created_at: Timestamp::from_micros(self.created_at),
            disabled_at: self.disabled_at.map(Timestamp::from_micros),
        }
    }
}

#[derive(sqlx::FromRow)]
struct RawWorkspace {
    id: i64,
    slug: String,
    name: String,
    wallet: String,
    created_at: i64,
    /// Of somebody in it, where a list is theirs.
    role: Option<String>,
}

impl RawWorkspace {
    fn read(self) -> Result<(Workspace, Option<Role>), Error> {
        let role = self.role.map(|role| role.parse()).transpose();
        let workspace = Workspace {
            id: WorkspaceId(self.id),
            slug: self.slug,
            name: self.name,
            wallet: self.wallet.parse().map_err(corrupt("workspaces", "wallet", self.id))?,
            created_at: Timestamp::from_micros(self.created_at),
        };
        Ok((workspace, role.map_err(corrupt("members", "role", self.id))?))
    }
}

/// A member of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub user: User,
    pub kind: UserKind,
    pub role: Role,
    /// When they became one.
    pub joined_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct RawMember {
    id: i64,
    username: String,
    email: String,
    kind: String,
    role: String,
    created_at: i64,
}

/// Users after this one, by their ids.
pub async fn users(db: &Db, after: UserId, limit: i64) -> Result<Vec<UserRow>, Error> {
    const SQL: &str = "SELECT id, username, email, kind, operator, created_at, disabled_at FROM users \
        WHERE id > $1 ORDER BY id LIMIT $2";
    let rows =
        on_read!(db, |c| query_as::<_, RawUser>(SQL).bind(after.0).bind(limit).fetch_all(c))?;
    Ok(rows.into_iter().map(RawUser::read).collect())
}

/// The user of this name.
pub async fn user(db: &Db, username: &str) -> Result<Option<UserRow>, Error> {
    const SQL: &str = "SELECT id, username, email, kind, operator, created_at, disabled_at FROM users \
        WHERE username = $1";
    let row = on_read!(db, |c| query_as::<_, RawUser>(SQL).bind(username).fetch_optional(c))?;
    Ok(row.map(RawUser::read))
}

/// Workspaces after this one, by their ids.
pub async fn workspaces(db: &Db, after: WorkspaceId, limit: i64) -> Result<Vec<Workspace>, Error> {
    const SQL: &str = "SELECT id, slug, name, wallet, created_at, CAST(NULL AS TEXT) AS role \
        FROM workspaces WHERE id > $1 ORDER BY id LIMIT $2";
    let rows =
        on_read!(db, |c| query_as::<_, RawWorkspace>(SQL).bind(after.0).bind(limit).fetch_all(c))?;
    rows.into_iter().map(|row| row.read().map(|(workspace, _)| workspace)).collect()
}

/// The workspace of this slug.
pub async fn workspace(db: &Db, slug: &str) -> Result<Option<Workspace>, Error> {
    const SQL: &str = "SELECT id, slug, name, wallet, created_at, CAST(NULL AS TEXT) AS role \
        FROM workspaces WHERE slug = $1";
    let row = on_read!(db, |c| query_as::<_, RawWorkspace>(SQL).bind(slug).fetch_optional(c))?;
    Ok(row.map(RawWorkspace::read).transpose()?.map(|(workspace, _)| workspace))
}

/// Workspaces that a user is in, with the role there, after this one, by their ids.
pub async fn workspaces_of(
    db: &Db,
    user: UserId,
    after: WorkspaceId,
    limit: i64,
) -> Result<Vec<(Workspace, Role)>, Error> {
    const SQL: &str = "SELECT w.id, w.slug, w.name, w.wallet, w.created_at, m.role \
        FROM members m JOIN workspaces w ON w.id = m.workspace_id \
        WHERE m.user_id = $1 AND m.workspace_id > $2 ORDER BY m.workspace_id LIMIT $3";
    let rows = on_read!(db, |c| query_as::<_, RawWorkspace>(SQL)
        .bind(user.0)
        .bind(after.0)
        .bind(limit)
        .fetch_all(c))?;
    let rows: Vec<_> = rows.into_iter().map(RawWorkspace::read).collect::<Result<_, _>>()?;
    Ok(rows.into_iter().filter_map(|(workspace, role)| Some((workspace, role?))).collect())
}

const ROLE: &str = "SELECT role FROM members WHERE workspace_id = $1 AND user_id = $2";

/// The role of a user in a workspace; `None` for none.
pub async fn role(db: &Db, workspace: WorkspaceId, user: UserId) -> Result<Option<Role>, Error> {
    let word = on_read!(db, |c| query_scalar::<_, String>(ROLE)
        .bind(workspace.0)
        .bind(user.0)
        .fetch_optional(c))?;
    word.map(|word| word.parse()).transpose().map_err(corrupt("members", "role", user))
}

/// How many members a workspace has.
pub async fn member_count(db: &Db, workspace: WorkspaceId) -> Result<i64, Error> {
    const SQL: &str = "SELECT COUNT(*) FROM members WHERE workspace_id = $1";
    on_read!(db, |c| query_scalar::<_, i64>(SQL).bind(workspace.0).fetch_one(c))
}

/// Members of a workspace by their ids: `limit` of them behind the first `skip`.
pub async fn members(
    db: &Db,
    workspace: WorkspaceId,
    skip: i64,
    limit: i64,
) -> Result<Vec<Member>, Error> {
    const SQL: &str = "SELECT u.id, u.username, u.email, u.kind, m.role, m.created_at \
        FROM members m JOIN users u ON u.id = m.user_id WHERE m.workspace_id = $1 \
        ORDER BY m.user_id LIMIT $3 OFFSET $2";
    let rows = on_read!(db, |c| query_as::<_, RawMember>(SQL)
        .bind(workspace.0)
        .bind(skip)
        .bind(limit)
        .fetch_all(c))?;
    rows.into_iter()
        .map(|row| {
            let kind = if row.kind == "service" { UserKind::Service } else { UserKind::Person };
            Ok(Member {
                role: row.role.parse().map_err(corrupt("members", "role", row.id))?,
                user: User { id: UserId(row.id), username: row.username, email: row.email },
                kind,
                joined_at: Timestamp::from_micros(row.created_at),
            })
        })
        .collect()
}

impl Tx {
    /// Takes the workspace's row, so that others who change its members wait. `false`: there is none.
    pub async fn hold_workspace(&mut self, workspace: WorkspaceId) -> Result<bool, Error> {
        const SQL: &str = "UPDATE workspaces SET name = name WHERE id = $1";
        Ok(exec_tx!(self, query(SQL).bind(workspace.0))? == 1)
    }

    /// The role of a user in a workspace as this transaction sees it.
    pub async fn role(
        &mut self,
        workspace: WorkspaceId,
        user: UserId,
    ) -> Result<Option<Role>, Error> {
        let word = on_tx!(self, |c| query_scalar::<_, String>(ROLE)
            .bind(workspace.0)
            .bind(user.0)
            .fetch_optional(c))?;
        word.map(|word| word.parse()).transpose().map_err(corrupt("members", "role", user))
    }

    /// How many owners a workspace has whose accounts are not disabled.
    pub async fn owners(&mut self, workspace: WorkspaceId) -> Result<i64, Error> {
        const SQL: &str = "SELECT COUNT(*) FROM members m JOIN users u ON u.id = m.user_id \
            WHERE m.workspace_id = $1 AND m.role = 'owner' AND u.disabled_at IS NULL";
        on_tx!(self, |c| query_scalar::<_, i64>(SQL).bind(workspace.0).fetch_one(c))
    }

    /// Makes a user a member, or gives a member another role.
    pub async fn set_member(
        &mut self,
        workspace: WorkspaceId,
        user: UserId,
        role: Role,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO members (workspace_id, user_id, role, created_at) \
            VALUES ($1, $2, $3, $4) \
            ON CONFLICT (workspace_id, user_id) DO UPDATE SET role = excluded.role";
        self.touch(Subject::Accounts);
        exec_tx!(
            self,
            query(SQL).bind(workspace.0).bind(user.0).bind(role.word()).bind(now.micros())
        )
        .map(drop)
    }

    /// Takes a user out of a workspace. `false`: it was no member.
    pub async fn remove_member(
        &mut self,
        workspace: WorkspaceId,
        user: UserId,
    ) -> Result<bool, Error> {
        const SQL: &str = "DELETE FROM members WHERE workspace_id = $1 AND user_id = $2";
        self.touch(Subject::Accounts);
        Ok(exec_tx!(self, query(SQL).bind(workspace.0).bind(user.0))? == 1)
    }

    /// Disables a user, or enables it again. `false`: there is none of this id.
    pub async fn disable_user(
        &mut self,
        user: UserId,
        disabled_at: Option<Timestamp>,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE users SET disabled_at = $2 WHERE id = $1";
        self.touch(Subject::Accounts);
        let at = disabled_at.map(Timestamp::micros);
        Ok(exec_tx!(self, query(SQL).bind(user.0).bind(at))? == 1)
    }

    /// Makes a user an operator of the installation, or no longer. `false`: there is none of this id.
    pub async fn set_operator(&mut self, user: UserId, is_operator: bool) -> Result<bool, Error> {
        const SQL: &str = "UPDATE users SET operator = $2 WHERE id = $1";
        self.touch(Subject::Accounts);
        Ok(exec_tx!(self, query(SQL).bind(user.0).bind(is_operator))? == 1)
    }

    /// How many operators are not disabled. Takes their rows, so that two do not disable each other.
    pub async fn operators(&mut self) -> Result<usize, Error> {
        const SQL: &str = "UPDATE users SET operator = operator \
            WHERE operator AND disabled_at IS NULL RETURNING id";
        Ok(on_tx!(self, |c| query_scalar::<_, i64>(SQL).fetch_all(c))?.len())
    }
}

/// What a profile is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProfileOf {
    User(UserId),
    Workspace(WorkspaceId),
}

impl ProfileOf {
    const fn key(self) -> (&'static str, i64) {
        match self {
            Self::User(id) => ("user", id.0),
            Self::Workspace(id) => ("workspace", id.0),
        }
    }
}

/// How somebody presents themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Profile {
    pub display_name: Option<String>,
    pub description: Option<String>,
}

/// The profile of a user or workspace; `None`: there is none.
pub async fn profile(db: &Db, of: ProfileOf) -> Result<Option<Profile>, Error> {
    const SQL: &str = "SELECT display_name, description FROM profiles WHERE kind = $1 AND id = $2";
    let (kind, id) = of.key();
    on_read!(db, |c| query_as::<_, Profile>(SQL).bind(kind).bind(id).fetch_optional(c))
}

impl Tx {
    /// Sets what is given of a profile; the profile from then on.
    pub async fn set_profile(
        &mut self,
        of: ProfileOf,
        display_name: Option<&str>,
        description: Option<&str>,
    ) -> Result<Profile, Error> {
        const SQL: &str = "INSERT INTO profiles (kind, id, display_name, description) \
            VALUES ($1, $2, $3, $4) ON CONFLICT (kind, id) DO UPDATE SET \
            display_name = COALESCE(excluded.display_name, profiles.display_name), \
            description = COALESCE(excluded.description, profiles.description) \
            RETURNING display_name, description";
        let (kind, id) = of.key();
        on_tx!(self, |c| query_as::<_, Profile>(SQL)
            .bind(kind)
            .bind(id)
            .bind(display_name)
            .bind(description)
            .fetch_one(c))
    }

    /// Deletes a profile. `false`: there was none.
    pub async fn delete_profile(&mut self, of: ProfileOf) -> Result<bool, Error> {
        const SQL: &str = "DELETE FROM profiles WHERE kind = $1 AND id = $2";
        let (kind, id) = of.key();
        Ok(exec_tx!(self, query(SQL).bind(kind).bind(id))? == 1)
    }
}
