//! API keys of the caller and, for admins, of others in the workspace. A token is in the reply that makes it and
//! nowhere else, so these replies are not kept under an `Idempotency-Key`.

use std::time::Duration;

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    keys::{ApiKey, CreateKeyRequest},
};
use casemate_core::{
    access::{Role, Scopes},
    id::{KeyId, UserId, WorkspaceId},
    time::Timestamp,
};
use casemate_store::{
    Tx,
    api_keys::{self, Key, NewKey, Whose},
};
use secrecy::{ExposeSecret, SecretString};

use super::{
    Caller, Ctx, Error,
    account::{new_token, token_hash, token_prefix},
    mutation::Mutation,
};

/// Keys of one workspace that are not revoked.
pub const MOST_KEYS: i64 = 500;

/// The longest that the old secret of a rotated key works on: a week.
const MOST_GRACE_MINUTES: u32 = 10_080;

/// The caller's keys for the workspace, or everybody's; the latter only for admins.
pub async fn list(ctx: &Ctx, caller: &Caller, everybody: bool) -> Result<Vec<ApiKey>, Error> {
    if everybody && caller.access.role < Role::Admin {
        return Err(role_needed(Role::Admin, "to see the keys of others"));
    }
    let user = (!everybody).then_some(caller.user.id);
    let whose = Whose { workspace: caller.workspace.id, user };
    let keys = api_keys::list(&ctx.db, whose, MOST_KEYS).await?;
    Ok(keys.into_iter().map(|key| view(key, None, ctx.now())).collect())
}

/// A key that is to be made.
#[derive(Debug)]
pub struct NewKeyRequest<'a> {
    pub user: UserId,
    pub workspace: WorkspaceId,
    pub name: &'a str,
    pub scopes: &'a Scopes,
    pub expires_at: Option<Timestamp>,
}

/// Makes a key; its id and its token.
pub async fn insert(
    ctx: &Ctx,
    tx: &mut Tx,
    new: &NewKeyRequest<'_>,
) -> Result<(KeyId, SecretString), Error> {
    let NewKeyRequest { user, workspace, name, scopes, expires_at } = *new;
    if !(1..=100).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(Error::invalid(
            "name",
            "must be 1 to 100 characters without control characters",
        ));
    }
    tx.hold_workspace(workspace).await?;
    if tx.key_count(workspace).await? >= MOST_KEYS {
        return Err(Error::code(ErrorCode::TokenLimitExceeded)
            .suggest("Revoke keys that are not used: `casemate keys list`."));
    }
    let token = new_token(&*ctx.entropy);
    let text = token.expose_secret();
    let key = NewKey {
        hash: &token_hash(text),
        prefix: token_prefix(text),
        user,
        workspace,
        name,
        scopes,
        expires_at,
    };
    Ok((tx.insert_key(key, ctx.now()).await?, token))
}

/// Makes a key for the caller.
pub async fn create(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    request: &CreateKeyRequest,
) -> Result<ApiKey, Error> {
    let scopes = match &request.scopes {
        None => caller.access.scopes.clone(),
        Some(words) => scopes(words)?,
    };
    if !scopes.within(&caller.access.scopes) {
        let why = format!("must be among those of the key that asks: {}", caller.access.scopes);
        return Err(Error::field(ErrorCode::PermissionDenied, "scopes", why));
    }
    let new = NewKeyRequest {
        user: caller.user.id,
        workspace: caller.workspace.id,
        name: &request.name,
        scopes: &scopes,
        expires_at: expiry(ctx, request.expires_in_days)?,
    };
    let (id, token) = insert(ctx, &mut mutation.tx, &new).await?;
    made(ctx, &mut mutation.tx, caller.workspace.id, id, &token).await
}

/// A key that was just made, with its token.
pub async fn made(
    ctx: &Ctx,
    tx: &mut Tx,
    workspace: WorkspaceId,
    id: KeyId,
    token: &SecretString,
) -> Result<ApiKey, Error> {
    let key = tx.key(workspace, id).await?.ok_or_else(unknown)?;
    Ok(view(key, Some(token), ctx.now()))
}

/// Lets a key of the caller expire so many days from now.
pub async fn refresh(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    id: &str,
    days: Option<u32>,
) -> Result<ApiKey, Error> {
    let key = own(&mut mutation.tx, caller, id).await?;
    if let Some(at) = expiry(ctx, days)? {
        mutation.tx.set_key_expiry(key.id, at).await?;
    }
    let key = own(&mut mutation.tx, caller, id).await?;
    Ok(view(key, None, ctx.now()))
}

/// Makes a key like one of the caller's and lets the old one end. The new one lives as long as the old one was to.
pub async fn rotate(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    id: &str,
    grace_minutes: Option<u32>,
) -> Result<ApiKey, Error> {
    let grace = grace_minutes.unwrap_or(0);
    if grace > MOST_GRACE_MINUTES {
        let why = format!("must be at most {MOST_GRACE_MINUTES}");
        return Err(Error::invalid("grace_minutes", why));
    }
    let tx = &mut mutation.tx;
    let key = own(tx, caller, id).await?;
    if !key.scopes.within(&caller.access.scopes) {
        let why = "must be among those of the key that asks";
        return Err(Error::field(ErrorCode::PermissionDenied, "scopes", why));
    }
    let now = ctx.now();
    let new = NewKeyRequest {
        user: key.user,
        workspace: key.workspace,
        name: &key.name,
        scopes: &key.scopes,
        expires_at: key.expires_at.map(|end| now.plus(end.since(key.created_at))),
    };
    let (new, token) = insert(ctx, tx, &new).await?;
    let ended = if grace == 0 {
        tx.revoke_key(key.id, now).await?
    } else {
        let end = now.plus(Duration::from_mins(grace.into()));
        // A key that ends sooner anyway does so.
        tx.end_key(key.id, end).await? || key.expires_at.is_some_and(|at| at <= end)
    };
    if !ended {
        return Err(unknown());
    }
    made(ctx, tx, key.workspace, new, &token).await
}

/// Revokes a key of the caller, or, as an admin, of somebody whom they manage.
pub async fn revoke(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    id: &str,
) -> Result<(), Error> {
    let tx = &mut mutation.tx;
    let key = find(tx, caller, id).await?;
    if key.user != caller.user.id {
        let theirs = tx.role(caller.workspace.id, key.user).await?.unwrap_or(Role::Viewer);
        if !caller.access.role.manages(theirs) {
            return Err(role_needed(Role::Owner, "to revoke the keys of an admin or owner"));
        }
    }
    if tx.revoke_key(key.id, ctx.now()).await? { Ok(()) } else { Err(unknown()) }
}

/// A key that the caller may see.
async fn find(tx: &mut Tx, caller: &Caller, id: &str) -> Result<Key, Error> {
    let id = id.parse().map(KeyId).map_err(|_| unknown())?;
    let key = tx.key(caller.workspace.id, id).await?.ok_or_else(unknown)?;
    let sees = key.user == caller.user.id || caller.access.role >= Role::Admin;
    if sees { Ok(key) } else { Err(unknown()) }
}

/// A key of the caller. A token of somebody else's key would speak for them, so nobody gets one.
async fn own(tx: &mut Tx, caller: &Caller, id: &str) -> Result<Key, Error> {
    let key = find(tx, caller, id).await?;
    if key.user == caller.user.id {
        return Ok(key);
    }
    Err(Error::because(ErrorCode::PermissionDenied, "only the user of a key renews it")
        .suggest("Revoke it instead."))
}

pub fn unknown() -> Error {
    Error::because(ErrorCode::NotFound, "no such API key in the workspace")
}

/// A refusal for want of a role.
pub fn role_needed(role: Role, what: &str) -> Error {
    Error::because(ErrorCode::PermissionDenied, format!("this needs the role {role}, {what}"))
        .detail(ErrorDetail::value("role", role.word()))
}

/// The scopes of these words.
pub fn scopes(words: &[String]) -> Result<Scopes, Error> {
    if words.is_empty() {
        return Err(Error::invalid("scopes", "must not be empty; leave it out for all"));
    }
    let words = words.iter().map(String::as_str);
    Scopes::of_words(words).map_err(|why| Error::invalid("scopes", format!("{why}, or *")))
}

/// So many days from now, if any.
pub fn expiry(ctx: &Ctx, days: Option<u32>) -> Result<Option<Timestamp>, Error> {
    match days {
        None => Ok(None),
        Some(days @ 1..=365) => {
            Ok(Some(ctx.now().plus(Duration::from_hours(24 * u64::from(days)))))
        }
        Some(_) => Err(Error::invalid("expires_in_days", "must be 1 to 365")),
    }
}

/// A key as replies show it.
pub fn view(key: Key, token: Option<&SecretString>, now: Timestamp) -> ApiKey {
    ApiKey {
        is_active: key.is_active(now),
        id: key.id.0,
        name: key.name,
        token: token.map(|token| token.expose_secret().to_owned()),
        token_prefix: Some(key.prefix).filter(|prefix| !prefix.is_empty()),
        created_at: key.created_at.to_string(),
        last_used_at: key.last_used_at.map(|at| at.to_string()),
        expires_at: key.expires_at.map(|at| at.to_string()),
        default_version: None,
        team_id: Some(key.workspace.0),
        team_name: Some(key.workspace_name),
        team_slug: Some(key.slug),
        scopes: key.scopes.words().into_iter().map(str::to_owned).collect(),
        username: key.username,
    }
}
