//! What the operator of the installation does with users, workspaces and keys.

use casemate_api::{
    error::ErrorCode,
    keys::ApiKey,
    people_admin::{
        AddKeyRequest, AddUserRequest, AddWorkspaceRequest, ChangeUserRequest, ManagedKeys,
        ManagedUser, ManagedUsers, ManagedWorkspace, ManagedWorkspaces, Membership,
    },
};
use casemate_core::{
    access::{Role, Scopes},
    id::{KeyId, UserId, Wallet, WorkspaceId},
    name::check_node_name,
    time::Entropy,
};
use casemate_store::{
    Tx,
    accounts::Workspace,
    api_keys::{self, Whose},
    people::{self, NewUser, UserKind, UserRow},
};

use super::{
    Ctx, Error, audit,
    keys::{self, NewKeyRequest},
    mutation::Mutation,
    workspaces,
};

/// Rows of one reply.
const PAGE: i64 = 500;

/// The user of this name.
pub async fn user(ctx: &Ctx, username: &str) -> Result<UserRow, Error> {
    let found = people::user(&ctx.db, username).await?;
    found.ok_or_else(|| Error::because(ErrorCode::NotFound, format!("no user {username:?}")))
}

async fn workspace(ctx: &Ctx, slug: &str) -> Result<Workspace, Error> {
    let found = people::workspace(&ctx.db, slug).await?;
    found.ok_or_else(|| Error::because(ErrorCode::NotFound, format!("no workspace {slug:?}")))
}

/// A refusal for want of a membership.
pub fn no_member() -> Error {
    let why = "the user is disabled or no member of the workspace";
    Error::because(ErrorCode::StateConflict, why)
        .suggest("Make them one: `casemate admin workspace add-member`.")
}

fn user_view(row: UserRow) -> ManagedUser {
    ManagedUser {
        id: format!("usr_{}", row.user.id),
        username: row.user.username,
        email: row.user.email,
        is_service: row.kind == UserKind::Service,
        is_operator: row.is_operator,
        created_at: row.created_at.to_string(),
        disabled_at: row.disabled_at.map(|at| at.to_string()),
    }
}

fn workspace_view(row: Workspace) -> ManagedWorkspace {
    ManagedWorkspace {
        id: format!("wks_{}", row.id),
        slug: row.slug,
        name: row.name,
        created_at: row.created_at.to_string(),
    }
}

/// The id to go on behind, where a page is full.
fn next<T>(rows: &[T], id: impl Fn(&T) -> i64) -> Option<i64> {
    let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows >= PAGE);
    rows.last().filter(|_| is_full).map(id)
}

/// Users behind this id.
pub async fn users(ctx: &Ctx, after: i64) -> Result<ManagedUsers, Error> {
    let rows = people::users(&ctx.db, UserId(after), PAGE).await?;
    let next = next(&rows, |row| row.user.id.0);
    Ok(ManagedUsers { users: rows.into_iter().map(user_view).collect(), next })
}

/// Adds a user. They can do nothing before they are a member of a workspace.
pub async fn add_user(
    ctx: &Ctx,
    mutation: &mut Mutation,
    request: &AddUserRequest,
) -> Result<ManagedUser, Error> {
    let kind = if request.is_service { UserKind::Service } else { UserKind::Person };
    let new = NewUser {
        username: &request.username,
        email: &request.email,
        kind,
        is_operator: request.is_operator,
    };
    let id = workspaces::add_user(ctx, &mut mutation.tx, new).await?;
    Ok(ManagedUser {
        id: format!("usr_{id}"),
        username: request.username.clone(),
        email: request.email.clone(),
        is_service: request.is_service,
        is_operator: request.is_operator,
        created_at: ctx.now().to_string(),
        disabled_at: None,
    })
}

/// Disables or enables a user, makes them an operator or no longer. One operator stays.
pub async fn change_user(
    ctx: &Ctx,
    mutation: &mut Mutation,
    username: &str,
    request: &ChangeUserRequest,
) -> Result<ManagedUser, Error> {
    let mut row = user(ctx, username).await?;
    audit::before(&user_view(row.clone()));
    let (tx, id) = (&mut mutation.tx, row.user.id);
    if let Some(disable) = request.is_disabled {
        row.disabled_at = disable.then(|| row.disabled_at.unwrap_or_else(|| ctx.now()));
        tx.disable_user(id, row.disabled_at).await?;
    }
    if let Some(is_operator) = request.is_operator {
        row.is_operator = is_operator;
        tx.set_operator(id, is_operator).await?;
    }
    if tx.operators().await? == 0 {
        return Err(Error::because(ErrorCode::StateConflict, "no operator would be left")
            .suggest("Make another user an operator first."));
    }
    Ok(user_view(row))
}

/// Workspaces behind this id.
pub async fn workspaces(ctx: &Ctx, after: i64) -> Result<ManagedWorkspaces, Error> {
    let rows = people::workspaces(&ctx.db, WorkspaceId(after), PAGE).await?;
    let next = next(&rows, |row| row.id.0);
    Ok(ManagedWorkspaces { workspaces: rows.into_iter().map(workspace_view).collect(), next })
}

/// A wallet for a workspace: it only seeds app ids.
fn new_wallet(entropy: &dyn Entropy) -> Wallet {
    let mut wallet = [0; 20];
    entropy.fill(&mut wallet);
    Wallet::from_bytes(wallet)
}

/// Adds a workspace with an owner.
pub async fn add_workspace(
    ctx: &Ctx,
    mutation: &mut Mutation,
    request: &AddWorkspaceRequest,
) -> Result<ManagedWorkspace, Error> {
    let AddWorkspaceRequest { slug, name, owner } = request;
    check_node_name(slug).map_err(|why| Error::invalid("slug", why))?;
    let name = if name.is_empty() { slug } else { name };
    if name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(Error::invalid("name", "must be at most 100 characters"));
    }
    let owner = user(ctx, owner).await?;
    let (now, wallet) = (ctx.now(), new_wallet(&*ctx.entropy));
    let id = match mutation.tx.insert_workspace(slug, name, wallet, now).await {
        Err(casemate_store::Error::Conflict(_)) => {
            return Err(Error::field(ErrorCode::StateConflict, "slug", "is taken"));
        }
        id => id?,
    };
    mutation.tx.set_member(id, owner.user.id, Role::Owner, now).await?;
    Ok(ManagedWorkspace {
        id: format!("wks_{id}"),
        slug: slug.clone(),
        name: name.clone(),
        created_at: now.to_string(),
    })
}

/// Gives a user this role in a workspace; `None` takes them out.
pub async fn set_member(
    ctx: &Ctx,
    mutation: &mut Mutation,
    (slug, username): (&str, &str),
    role: Option<&str>,
) -> Result<Membership, Error> {
    let role: Option<Role> = match role {
        None => None,
        Some(word) => Some(word.parse().map_err(|why| Error::invalid("role", why))?),
    };
    let (workspace, user) = (workspace(ctx, slug).await?, user(ctx, username).await?);
    mutation.tx.hold_workspace(workspace.id).await?;
    workspaces::set_role(ctx, &mut mutation.tx, workspace.id, user.user.id, role).await?;
    Ok(Membership {
        workspace: workspace.slug,
        username: user.user.username,
        role: role.map(|role| role.word().to_owned()).unwrap_or_default(),
    })
}

/// The keys of a workspace that are not revoked.
pub async fn keys(ctx: &Ctx, slug: &str) -> Result<ManagedKeys, Error> {
    let whose = Whose { workspace: workspace(ctx, slug).await?.id, user: None };
    let keys = api_keys::list(&ctx.db, whose, keys::MOST_KEYS).await?;
    let now = ctx.now();
    Ok(ManagedKeys { keys: keys.into_iter().map(|key| keys::view(key, None, now)).collect() })
}

/// Makes a key of a member of a workspace.
pub async fn add_key(
    ctx: &Ctx,
    mutation: &mut Mutation,
    request: &AddKeyRequest,
) -> Result<ApiKey, Error> {
    let user = user(ctx, &request.username).await?;
    let workspace = workspace(ctx, &request.workspace).await?;
    if mutation.tx.role(workspace.id, user.user.id).await?.is_none() {
        return Err(no_member());
    }
    let scopes = match &request.scopes {
        None => Scopes::All,
        Some(words) => keys::scopes(words)?,
    };
    let new = NewKeyRequest {
        user: user.user.id,
        workspace: workspace.id,
        name: &request.name,
        scopes: &scopes,
        expires_at: keys::expiry(ctx, request.expires_in_days)?,
    };
    let (id, token) = keys::insert(ctx, &mut mutation.tx, &new).await?;
    keys::made(ctx, &mut mutation.tx, workspace.id, id, &token).await
}

/// Revokes any key.
pub async fn revoke_key(ctx: &Ctx, tx: &mut Tx, id: &str) -> Result<(), Error> {
    let unknown = || Error::because(ErrorCode::NotFound, "no such API key");
    let id = id.parse().map(KeyId).map_err(|_| unknown())?;
    if tx.revoke_key(id, ctx.now()).await? { Ok(()) } else { Err(unknown()) }
}
