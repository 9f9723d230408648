//! Workspaces of the caller, their members, and invitations.
//!
//! A key is for one workspace. Others of its user are listed; what is in them does not exist for the key.

use std::time::Duration;

use casemate_api::{
    error::ErrorCode,
    members::{
        AcceptRequest, Accepted, CheckSlugReply, InvitationInfo, InvitationLink, InvitationRequest,
        MemberInfo, WorkspaceInfo,
    },
    page::{Page, PageRequest},
};
use casemate_core::{
    access::{Role, Scopes},
    id::{InvitationId, UserId, WorkspaceId},
    name::check_node_name,
};
use casemate_store::{
    Tx,
    accounts::Workspace,
    invitations::{self, Invitation, NewInvitation},
    people::{self, NewUser},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{
    Caller, Ctx, Error,
    account::{new_token, token_hash},
    audit,
    keys::{self, NewKeyRequest, role_needed},
    mutation::Mutation,
};

/// What clients show as the tier.
pub const TIER: &str = "self-hosted";
/// How long an invitation can be accepted.
const INVITATION: Duration = Duration::from_hours(7 * 24);
/// Open invitations of one workspace.
const MOST_INVITATIONS: i64 = 200;
/// Members of one workspace.
const MOST_MEMBERS: i64 = 1000;

/// A refusal in the same words for a workspace that is foreign and one that is missing.
pub fn unknown() -> Error {
    Error::because(ErrorCode::NotFound, "no such workspace of this API key")
}

/// Refuses every workspace but that of the caller's key.
pub fn check(caller: &Caller, slug: &str) -> Result<WorkspaceId, Error> {
    if caller.workspace.slug == slug { Ok(caller.workspace.id) } else { Err(unknown()) }
}

fn info(caller: &Caller, workspace: Workspace, role: Role) -> WorkspaceInfo {
    WorkspaceInfo {
        id: format!("wks_{}", workspace.id),
        is_default: workspace.id == caller.workspace.id,
        name: workspace.name,
        slug: Some(workspace.slug),
        tier: TIER.to_owned(),
        role: role.word().to_owned(),
        created_at: workspace.created_at.to_string(),
        confidential_models_enabled: false,
    }
}

/// Workspaces of the caller's user behind this one; and the last of them, if there are more.
pub async fn list(
    ctx: &Ctx,
    caller: &Caller,
    after: WorkspaceId,
    limit: u32,
) -> Result<(Vec<WorkspaceInfo>, Option<WorkspaceId>), Error> {
    let user = caller.user.id;
    let mut found = people::workspaces_of(&ctx.db, user, after, i64::from(limit) + 1).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > size;
    found.truncate(size);
    let last = found.last().filter(|_| more).map(|(workspace, _)| workspace.id);
    let rows = found.into_iter().map(|(workspace, role)| info(caller, workspace, role)).collect();
    Ok((rows, last))
}

/// A workspace of the caller's user.
pub async fn detail(ctx: &Ctx, caller: &Caller, slug: &str) -> Result<WorkspaceInfo, Error> {
    let workspace = people::workspace(&ctx.db, slug).await?.ok_or_else(unknown)?;
    let role = people::role(&ctx.db, workspace.id, caller.user.id).await?;
    Ok(info(caller, workspace, role.ok_or_else(unknown)?))
}

/// Whether a slug has the form of one.
pub fn check_slug(slug: &str) -> CheckSlugReply {
    let why = check_node_name(slug).err().map(|_| "1 to 40 characters of a-z, 0-9 and -");
    CheckSlugReply {
        is_valid: why.is_none(),
        error_code: why.map(|_| "invalid_format".to_owned()),
        message: why.map(str::to_owned),
    }
}

/// A page of the members of the caller's workspace.
pub async fn members(
    ctx: &Ctx,
    caller: &Caller,
    slug: &str,
    page: PageRequest,
) -> Result<Page<MemberInfo>, Error> {
    let workspace = check(caller, slug)?;
    let (skip, limit) = (offset(page), i64::from(page.page_size));
    let rows = people::members(&ctx.db, workspace, skip, limit).await?;
    let total = people::member_count(&ctx.db, workspace).await?;
    let rows = rows.into_iter().map(|member| MemberInfo {
        user_id: format!("usr_{}", member.user.id),
        username: member.user.username,
        email: Some(member.user.email),
        role: member.role.word().to_uppercase(),
        joined_at: member.joined_at.to_string(),
        is_creator: false,
    });
    Ok(Page::new(rows.collect(), u64::try_from(total).unwrap_or(0), page))
}

fn offset(page: PageRequest) -> i64 {
    i64::try_from(page.offset()).unwrap_or(i64::MAX)
}

fn role(word: &str) -> Result<Role, Error> {
    word.parse().map_err(|why| Error::invalid("role", why))
}

/// Gives a member another role, or takes them out; the workspace keeps an owner whose account is not disabled.
pub async fn set_role(
    ctx: &Ctx,
    tx: &mut Tx,
    workspace: WorkspaceId,
    user: UserId,
    role: Option<Role>,
) -> Result<(), Error> {
    let had = tx.role(workspace, user).await?;
    audit::before(&json!({"user_id": format!("usr_{user}"), "role": had.map(Role::word)}));
    if let Some(role) = role {
        tx.set_member(workspace, user, role, ctx.now()).await?;
    } else {
        tx.remove_member(workspace, user).await?;
        tx.revoke_keys_of(workspace, user, ctx.now()).await?;
    }
    if tx.owners(workspace).await? > 0 {
        return Ok(());
    }
    Err(Error::because(ErrorCode::StateConflict, "the workspace would have no owner left")
        .suggest("Make somebody else an owner first."))
}

/// The member of a path, and their role. Others who change members wait from here on.
async fn member(
    mutation: &mut Mutation,
    caller: &Caller,
    slug: &str,
    user: &str,
) -> Result<(WorkspaceId, UserId, Role), Error> {
    let unknown = || Error::because(ErrorCode::NotFound, "no such member of the workspace");
    let workspace = check(caller, slug)?;
    let user = user.strip_prefix("usr_").unwrap_or(user).parse().map(UserId);
    let user = user.map_err(|_| unknown())?;
    mutation.tx.hold_workspace(workspace).await?;
    let role = mutation.tx.role(workspace, user).await?.ok_or_else(unknown)?;
    Ok((workspace, user, role))
}

/// The caller's role as the transaction sees it: what the key was let pass with may be over.
async fn manages(mutation: &mut Mutation, caller: &Caller, of: Role) -> Result<(), Error> {
    let (workspace, user) = (caller.workspace.id, caller.user.id);
    let role = mutation.tx.role(workspace, user).await?;
    if role.is_some_and(|role| role.manages(of)) {
        return Ok(());
    }
    let needed = if of >= Role::Admin { Role::Owner } else { Role::Admin };
    Err(role_needed(needed, &format!("to manage a member with the role {of}")))
}

/// Gives a member another role.
pub async fn change_member(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    (slug, user): (&str, &str),
    word: &str,
) -> Result<(), Error> {
    let new = role(word)?;
    let (workspace, user, now) = member(mutation, caller, slug, user).await?;
    manages(mutation, caller, now).await?;
    manages(mutation, caller, new).await?;
    set_role(ctx, &mut mutation.tx, workspace, user, Some(new)).await
}

/// Takes a member out of the workspace and revokes their keys for it.
pub async fn remove_member(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    (slug, user): (&str, &str),
) -> Result<(), Error> {
    let (workspace, user, role) = member(mutation, caller, slug, user).await?;
    manages(mutation, caller, role).await?;
    set_role(ctx, &mut mutation.tx, workspace, user, None).await
}

/// Takes the caller out of the workspace and revokes their keys for it.
pub async fn leave(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    slug: &str,
) -> Result<(), Error> {
    let workspace = check(caller, slug)?;
    mutation.tx.hold_workspace(workspace).await?;
    set_role(ctx, &mut mutation.tx, workspace, caller.user.id, None).await
}

/// A page of the invitations that can still be accepted.
pub async fn invitations(
    ctx: &Ctx,
    caller: &Caller,
    slug: &str,
    page: PageRequest,
) -> Result<Page<InvitationInfo>, Error> {
    let (workspace, now) = (check(caller, slug)?, ctx.now());
    let (skip, limit) = (offset(page), i64::from(page.page_size));
    let rows = invitations::pending(&ctx.db, workspace, now, skip, limit).await?;
    let total = invitations::pending_count(&ctx.db, workspace, now).await?;
    let rows = rows.into_iter().map(|row| invitation_view(row, None)).collect();
    Ok(Page::new(rows, u64::try_from(total).unwrap_or(0), page))
}

fn invitation_view(row: Invitation, token: Option<&SecretString>) -> InvitationInfo {
    InvitationInfo {
        id: row.id.0,
        email: row.email,
        role: row.role.word().to_uppercase(),
        status: "PENDING".to_owned(),
        token: token.map(|token| token.expose_secret().to_owned()).unwrap_or_default(),
        inviter_name: row.inviter.0,
        inviter_email: row.inviter.1,
        created_at: row.created_at.to_string(),
        expires_at: row.expires_at.to_string(),
    }
}

/// A new invitation and its token. Nobody invites to a role that they could not give.
async fn new_invitation(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    email: Option<&str>,
    role: Role,
) -> Result<(Invitation, SecretString), Error> {
    let (workspace, now) = (caller.workspace.id, ctx.now());
    mutation.tx.hold_workspace(workspace).await?;
    manages(mutation, caller, role).await?;
    if mutation.tx.pending_invitations(workspace, now).await? >= MOST_INVITATIONS {
        let why = format!("the workspace has {MOST_INVITATIONS} open invitations");
        return Err(Error::because(ErrorCode::StateConflict, why).suggest("Revoke some of them."));
    }
    let key = new_token(&*ctx.entropy);
    let text = key.expose_secret().strip_prefix("phak_").unwrap_or_default();
    let token = SecretString::from(format!("inv_{text}"));
    let hash = token_hash(token.expose_secret());
    let new = NewInvitation {
        hash: &hash,
        workspace,
        email,
        role,
        by: caller.user.id,
        expires_at: now.plus(INVITATION),
    };
    mutation.tx.insert_invitation(new, now).await?;
    let made = mutation.tx.invitation(&hash).await?;
    let made = made.ok_or_else(|| Error::Internal("an invitation was not inserted".to_owned()))?;
    Ok((made, token))
}

/// Invites somebody. Casemate sends no mail: the caller sends the token.
pub async fn invite(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    slug: &str,
    request: &InvitationRequest,
) -> Result<InvitationInfo, Error> {
    check(caller, slug)?;
    check_email(&request.email)?;
    let role = role(&request.role)?;
    let (made, token) = new_invitation(ctx, mutation, caller, Some(&request.email), role).await?;
    Ok(invitation_view(made, Some(&token)))
}

/// Makes a link that makes whoever has it a member, until it expires or is revoked.
pub async fn share(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    slug: &str,
) -> Result<InvitationLink, Error> {
    check(caller, slug)?;
    let (made, token) = new_invitation(ctx, mutation, caller, None, Role::Member).await?;
    let token = token.expose_secret();
    // Behind `#`, so that the token is in no server's log.
    let url = format!("{}/invite#{token}", ctx.addresses.api);
    Ok(InvitationLink {
        invitation_message: format!(
            "{} invites you to the workspace {}: {url}",
            caller.user.username, caller.workspace.name
        ),
        invitation_url: url,
        token: token.to_owned(),
        role: made.role.word().to_uppercase(),
        expires_at: made.expires_at.to_string(),
    })
}

/// Revokes an invitation.
pub async fn revoke_invitation(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    (slug, id): (&str, &str),
) -> Result<(), Error> {
    let unknown = || Error::because(ErrorCode::NotFound, "no such open invitation");
    let workspace = check(caller, slug)?;
    let id = id.parse().map(InvitationId).map_err(|_| unknown())?;
    let done = mutation.tx.revoke_invitation(workspace, id, ctx.now()).await?;
    if done { Ok(()) } else { Err(unknown()) }
}

/// Accepts an invitation: the caller's user, or without one a new one, becomes a member and gets a key. Unknown, used,
/// revoked and expired tokens get the same refusal.
pub async fn accept(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: Option<&Caller>,
    request: &AcceptRequest,
) -> Result<Accepted, Error> {
    let unknown = || Error::because(ErrorCode::NotFound, "no such open invitation");
    let now = ctx.now();
    let found = tx.invitation(&token_hash(&request.token)).await?;
    let is_open =
        |found: &Invitation| !found.is_revoked && !found.is_accepted && found.expires_at > now;
    let Some(found) = found.filter(is_open) else {
        return Err(if ctx.token_rate_limit.too_many() {
            Error::code(ErrorCode::RateLimited)
        } else {
            unknown()
        });
    };
    tx.hold_workspace(found.workspace).await?;
    let user = match (caller, &request.username) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid("username", "must be left out where an API key is sent"));
        }
        (Some(caller), None) => caller.user.id,
        (None, None) => {
            return Err(Error::invalid("username", "must be given where no API key is sent"));
        }
        (None, Some(username)) => {
            let email = request.email.as_ref().or(found.email.as_ref());
            let email = email.map_or("", String::as_str);
            add_user(ctx, tx, NewUser::person(username, email)).await?
        }
    };
    let before = tx.role(found.workspace, user).await?;
    if before.is_none_or(|role| role < found.role) {
        let members = people::member_count(&ctx.db, found.workspace).await?;
        if members >= MOST_MEMBERS {
            let why = format!("the workspace has {MOST_MEMBERS} members");
            return Err(Error::because(ErrorCode::StateConflict, why));
        }
        tx.set_member(found.workspace, user, found.role, now).await?;
    }
    if found.email.is_some() {
        tx.accept_invitation(found.id, user).await?;
    }
    let new = NewKeyRequest {
        user,
        workspace: found.workspace,
        name: "invitation",
        // A key of an existing user gives no more than itself.
        scopes: caller.map_or(&Scopes::All, |caller| &caller.access.scopes),
        expires_at: None,
    };
    let (id, token) = keys::insert(ctx, tx, &new).await?;
    let made = keys::made(ctx, tx, found.workspace, id, &token).await?;
    Ok(Accepted {
        message: "you are a member".to_owned(),
        workspace_slug: made.team_slug.unwrap_or_default(),
        workspace_name: made.team_name.unwrap_or_default(),
        api_key: made.token.unwrap_or_default(),
    })
}

fn check_email(email: &str) -> Result<(), Error> {
    let fits = email.len() <= 254
        && !email.contains(|char: char| char.is_whitespace() || char.is_control())
        && email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if fits { Ok(()) } else { Err(Error::invalid("email", "must be an e-mail address")) }
}

/// Adds a user; a refusal where the name is no name, or is taken.
pub async fn add_user(ctx: &Ctx, tx: &mut Tx, user: NewUser<'_>) -> Result<UserId, Error> {
    check_node_name(user.username).map_err(|why| Error::invalid("username", why))?;
    if !user.email.is_empty() {
        check_email(user.email)?;
    }
    match tx.insert_user(user, ctx.now()).await {
        Ok(id) => Ok(id),
        Err(casemate_store::Error::Conflict(_)) => {
            Err(Error::field(ErrorCode::StateConflict, "username", "is taken"))
        }
        Err(error) => Err(error.into()),
    }
}
