//! How users and workspaces present themselves.

use casemate_api::{
    error::ErrorCode,
    members::{ProfileInfo, ProfileRequest},
};
use casemate_core::access::{Need, Scope};
use casemate_store::people::{self, Profile};

pub use casemate_store::people::ProfileOf;

use super::{Caller, Ctx, Error, audit, mutation::Mutation};

/// What a path names: the caller's user or workspace, by `user` or `workspace` and an id. Others do not exist.
pub fn named(caller: &Caller, kind: &str, id: &str) -> Result<ProfileOf, Error> {
    let (mine, of) = match kind {
        "user" => (("usr_", caller.user.id.0), ProfileOf::User(caller.user.id)),
        "workspace" => (("wks_", caller.workspace.id.0), ProfileOf::Workspace(caller.workspace.id)),
        _ => return Err(unknown()),
    };
    let number = id.strip_prefix(mine.0).unwrap_or(id).parse().ok();
    if number == Some(mine.1) { Ok(of) } else { Err(unknown()) }
}

fn unknown() -> Error {
    Error::because(ErrorCode::NotFound, "no such profile of this API key")
}

/// The profile; `None`: there is none.
pub async fn get(ctx: &Ctx, of: ProfileOf) -> Result<Option<ProfileInfo>, Error> {
    Ok(people::profile(&ctx.db, of).await?.map(view))
}

fn view(profile: Profile) -> ProfileInfo {
    let Profile { display_name, description } = profile;
    ProfileInfo { display_name, description, ..ProfileInfo::default() }
}

/// The profile of a workspace is for those who manage it; one's own is everybody's.
fn check(caller: &Caller, of: ProfileOf) -> Result<(), Error> {
    match of {
        ProfileOf::User(_) => Ok(()),
        ProfileOf::Workspace(_) => caller.may(Need::Scope(Scope::Workspace)),
    }
}

/// Sets what is given of a profile.
pub async fn set(
    mutation: &mut Mutation,
    caller: &Caller,
    of: ProfileOf,
    request: &ProfileRequest,
) -> Result<ProfileInfo, Error> {
    check(caller, of)?;
    let (name, description) = (request.display_name.as_deref(), request.description.as_deref());
    if name.is_some_and(|name| !(1..=100).contains(&name.chars().count())) {
        return Err(Error::invalid("display_name", "must be 1 to 100 characters"));
    }
    if description.is_some_and(|text| text.chars().count() > 500) {
        return Err(Error::invalid("description", "must be at most 500 characters"));
    }
    if let Some(before) = people::profile(&mutation.ctx().db, of).await? {
        audit::before(&view(before));
    }
    Ok(view(mutation.tx.set_profile(of, name, description).await?))
}

/// Deletes a profile.
pub async fn delete(mutation: &mut Mutation, caller: &Caller, of: ProfileOf) -> Result<(), Error> {
    check(caller, of)?;
    if let Some(before) = people::profile(&mutation.ctx().db, of).await? {
        audit::before(&view(before));
    }
    if mutation.tx.delete_profile(of).await? { Ok(()) } else { Err(unknown()) }
}
