//! SSH public keys of a user, by hand or from GitHub. GitHub is asked before the transaction.

use std::collections::BTreeSet;

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    ssh_key::{
        GithubProfileImportResponse, GithubSyncResponse, SshKeyCreateRequest, SshKeyMetadata,
        SshKeyResponse, SshKeySource,
    },
};
use casemate_core::{
    ssh_key::{SshPublicKey, is_github_username},
    time::Timestamp,
};
use casemate_store::ssh_keys::{self as stored, Inserted, NewSshKey, Source, SshKey};
use futures_util::{StreamExt, stream};

use super::{Caller, Ctx, Error, mutation::Mutation};

const MAX_NAME: usize = 100;
/// GitHub accounts of one user.
const ACCOUNTS: usize = 10;
/// Accounts that are read at one time.
const AT_ONCE: usize = 4;
/// Keys that are read of one account.
const KEYS_OF_ACCOUNT: usize = 200;
/// The configured maximum may have been higher.
const ALL: i64 = 1000;

pub async fn list(ctx: &Ctx, caller: &Caller) -> Result<Vec<SshKeyResponse>, Error> {
    let keys = stored::of_user(&ctx.db, caller.user.id, ALL).await?;
    Ok(keys.into_iter().map(rendered).collect())
}

/// The keys of the user, as a guest reads them.
pub async fn texts(ctx: &Ctx, caller: &Caller) -> Result<Vec<String>, Error> {
    let keys = stored::of_user(&ctx.db, caller.user.id, ALL).await?;
    Ok(keys.into_iter().map(|key| key.public_key).collect())
}

/// Stores a key.
pub async fn create(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    request: &SshKeyCreateRequest,
) -> Result<SshKeyResponse, Error> {
    let name = request.name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME || name.contains('\0') {
        return Err(Error::invalid("name", format!("must have 1 to {MAX_NAME} characters")));
    }
    let key = SshPublicKey::parse(&request.public_key)
        .map_err(|why| Error::field(ErrorCode::InvalidRequest, "public_key", why))?;
    let new = new_key(ctx, name, key, None);
    mutation.tx.lock_ssh_keys(caller.user.id).await?;
    match mutation.tx.insert_ssh_key(caller.user.id, &new, limit(ctx), ctx.now()).await? {
        Inserted::New => {}
        Inserted::Known => {
            return Err(Error::code(ErrorCode::SshKeyExists)
                .detail(ErrorDetail::value("fingerprint", new.fingerprint)));
        }
        Inserted::Full => return Err(full(ctx)),
    }
    let keys = mutation.tx.ssh_keys(caller.user.id, ALL).await?;
    let stored = keys.into_iter().find(|key| key.id == new.id).map(rendered);
    stored.ok_or_else(|| Error::Internal("an inserted SSH key is missing".to_owned()))
}

pub async fn delete(mutation: &mut Mutation, caller: &Caller, id: &str) -> Result<(), Error> {
    // PostgreSQL takes not every text.
    let is_id = id.bytes().all(|byte| byte.is_ascii_graphic());
    if is_id && mutation.tx.delete_ssh_key(caller.user.id, id).await? {
        return Ok(());
    }
    Err(Error::because(ErrorCode::NotFound, "The requested SSH key was not found")
        .detail(ErrorDetail::value("key_id", id)))
}

/// Keys of a GitHub account.
#[derive(Debug)]
pub struct GithubKeys {
    username: String,
    keys: Vec<SshPublicKey>,
    /// Keys that are not accepted, with the reason.
    errors: Vec<String>,
    /// Every key was read.
    complete: bool,
}

/// Reads the keys of a GitHub account that a request names.
pub async fn read_account(ctx: &Ctx, username: &str) -> Result<GithubKeys, Error> {
    // Names there differ in more than their case.
    let username = &username.trim().to_ascii_lowercase();
    if !is_github_username(username) {
        let why = "must be a user name of GitHub: 1 to 39 letters, digits and dashes";
        return Err(Error::invalid("github_username", why));
    }
    read(ctx, username).await.map_err(|why| {
        Error::because(ErrorCode::GithubKeysUnavailable, why)
            .detail(ErrorDetail::value("github_username", username.as_str()))
    })
}

/// Reads the keys of every GitHub account that the user has imported keys of; with the accounts that were not
/// read.
pub async fn read_linked(
    ctx: &Ctx,
    caller: &Caller,
) -> Result<(Vec<GithubKeys>, Vec<String>), Error> {
    let keys = stored::of_user(&ctx.db, caller.user.id, ALL).await?;
    let accounts = accounts(&keys);
    if accounts.is_empty() {
        let why = "No GitHub account is linked";
        return Err(Error::because(ErrorCode::GithubKeysUnavailable, why)
            .suggest("Import the keys of one: POST /user/ssh-keys/github-profile."));
    }
    let found: Vec<_> = stream::iter(accounts)
        .map(|username| async move { read(ctx, &username).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let (mut read, mut errors) = (Vec::new(), Vec::new());
    for account in found {
        match account {
            Ok(keys) => read.push(keys),
            Err(why) => errors.push(why),
        }
    }
    read.sort_by(|a, b| a.username.cmp(&b.username));
    errors.sort();
    Ok((read, errors))
}

/// Stores the keys of an account that the user does not have.
pub async fn import(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    account: GithubKeys,
) -> Result<GithubProfileImportResponse, Error> {
    mutation.tx.lock_ssh_keys(caller.user.id).await?;
    let present = accounts(&mutation.tx.ssh_keys(caller.user.id, ALL).await?);
    if !present.contains(&account.username) && present.len() >= ACCOUNTS {
        let why = format!("Keys of {ACCOUNTS} GitHub accounts are stored, which is the limit");
        return Err(Error::because(ErrorCode::ResourceLimitExceeded, why));
    }
    let GithubKeys { username, keys, mut errors, .. } = account;
    let (mut added, mut skipped) = (0, 0);
    for key in keys {
        match insert(ctx, mutation, caller, &username, key).await? {
            Ok(true) => added += 1,
            Ok(false) => skipped += 1,
            Err(why) => errors.push(why),
        }
    }
    Ok(GithubProfileImportResponse {
        github_username: username,
        keys_added: added,
        keys_skipped: skipped,
        errors,
    })
}

/// Makes the stored keys of accounts what GitHub has now. An account that was not read keeps its keys.
pub async fn sync(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    (accounts, errors): (Vec<GithubKeys>, Vec<String>),
) -> Result<GithubSyncResponse, Error> {
    let now = ctx.now();
    mutation.tx.lock_ssh_keys(caller.user.id).await?;
    let stored = mutation.tx.ssh_keys(caller.user.id, ALL).await?;
    let mut reply = GithubSyncResponse { errors, ..GithubSyncResponse::default() };
    for account in accounts {
        let GithubKeys { username, keys, errors, complete } = account;
        reply.errors.extend(errors);
        let own: Vec<&SshKey> = stored
            .iter()
            .filter(|key| key.github_username.as_deref() == Some(username.as_str()))
            .collect();
        for gone in own
            .iter()
            .filter(|one| complete && !keys.iter().any(|key| key.fingerprint == one.fingerprint))
        {
            mutation.tx.delete_ssh_key(caller.user.id, &gone.id).await?;
            reply.keys_removed += 1;
        }
        for key in keys {
            reply.synced_count += 1;
            match own.iter().find(|one| one.fingerprint == key.fingerprint) {
                Some(known) => {
                    mutation.tx.sync_ssh_key(&known.id, &key.text, now).await?;
                    reply.keys_updated += u32::from(known.public_key != key.text);
                }
                None => match insert(ctx, mutation, caller, &username, key).await? {
                    Ok(added) => reply.keys_added += u32::from(added),
                    Err(why) => reply.errors.push(why),
                },
            }
        }
    }
    Ok(reply)
}

/// Stores a key of an account; `false`: the user has it already. The inner error is for the reply.
async fn insert(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    username: &str,
    key: SshPublicKey,
) -> Result<Result<bool, String>, Error> {
    let new = new_key(ctx, &format!("GitHub {username}"), key, Some(username));
    let inserted = mutation.tx.insert_ssh_key(caller.user.id, &new, limit(ctx), ctx.now()).await?;
    Ok(match inserted {
        Inserted::New => Ok(true),
        Inserted::Known => Ok(false),
        Inserted::Full => {
            Err(format!("{}: {} keys are stored, which is the limit", new.fingerprint, limit(ctx)))
        }
    })
}

/// Reads the keys of an account; the error is for users.
async fn read(ctx: &Ctx, username: &str) -> Result<GithubKeys, String> {
    let base = ctx.config.ssh_keys.github.trim_end_matches('/');
    let url = format!("{base}/{username}.keys")
        .parse()
        .map_err(|_| "ssh_keys.github in the configuration is no URL".to_owned())?;
    let failed = |why: &str| format!("{username}: {why}");
    let reply = ctx.github.get(url).await.map_err(|error| failed(&error.to_string()))?;
    match reply.status {
        200 if reply.cut => return Err(failed("the list of keys is too long")),
        200 => {}
        404 => return Err(failed("GitHub has no such user")),
        status => return Err(failed(&format!("GitHub answers with HTTP {status}"))),
    }
    let text = String::from_utf8(reply.body).map_err(|_| failed("the list is no text"))?;
    let (mut keys, mut errors, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut complete = true;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    for (index, line) in lines.enumerate() {
        if index == KEYS_OF_ACCOUNT {
            errors.push(failed(&format!("only {KEYS_OF_ACCOUNT} keys were read")));
            complete = false;
            break;
        }
        match SshPublicKey::parse(line) {
            Ok(key) => {
                if seen.insert(key.fingerprint.clone()) {
                    keys.push(key);
                }
            }
            Err(why) => errors.push(failed(&format!("key {} {why}", index + 1))),
        }
    }
    Ok(GithubKeys { username: username.to_owned(), keys, errors, complete })
}

/// The GitHub accounts that keys are from.
fn accounts(keys: &[SshKey]) -> BTreeSet<String> {
    keys.iter().filter_map(|key| key.github_username.clone()).collect()
}

fn new_key(ctx: &Ctx, name: &str, key: SshPublicKey, username: Option<&str>) -> NewSshKey {
    NewSshKey {
        id: format!("sshkey_{}", ctx.entropy.uuid_v7(ctx.now()).simple()),
        name: name.to_owned(),
        public_key: key.text,
        fingerprint: key.fingerprint,
        key_type: key.algorithm,
        bits: key.bits.and_then(|bits| i64::try_from(bits).ok()),
        source: if username.is_some() { Source::Github } else { Source::Manual },
        github_username: username.map(str::to_owned),
    }
}

fn limit(ctx: &Ctx) -> i64 {
    ctx.config.ssh_keys.per_user.into()
}

fn full(ctx: &Ctx) -> Error {
    let why = format!("{} SSH keys are stored, which is the limit", limit(ctx));
    Error::because(ErrorCode::ResourceLimitExceeded, why)
        .suggest("Delete a key that is no longer used.")
}

fn rendered(key: SshKey) -> SshKeyResponse {
    let at = |micros| Timestamp::from_micros(micros).to_string();
    let github = key.source == Source::Github.as_str();
    let metadata = SshKeyMetadata { bits: key.bits, github_username: key.github_username };
    SshKeyResponse {
        id: key.id,
        user_id: key.user_id.to_string(),
        name: key.name,
        public_key: key.public_key,
        fingerprint: key.fingerprint,
        key_type: key.key_type,
        source: if github { SshKeySource::Github } else { SshKeySource::Manual },
        key_metadata: (metadata != SshKeyMetadata::default()).then_some(metadata),
        last_synced_at: key.last_synced_at.map(at),
        created_at: at(key.created_at),
        updated_at: at(key.updated_at),
    }
}
