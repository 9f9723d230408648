//! The first start, and who a token speaks for.

use std::sync::Arc;

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    workspace::{EnvGuard, EvidenceGuard, Policy, PolicyPatch},
};
use casemate_core::{
    access::{Need, Refusal, Role, Scopes, decide},
    audit::TargetKind,
    id::{UserId, Wallet, WorkspaceId},
    time::{Entropy, Timestamp},
};
use casemate_store::{
    Tx,
    accounts::{self, Known, WorkspacePolicy},
    api_keys::NewKey,
    people::{self, NewUser},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Caller, Ctx, Error, audit, mutation::Mutation};

/// A token of 32 random bytes: `phak_` and 43 characters.
pub fn new_token(entropy: &dyn Entropy) -> SecretString {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0; 43];
    entropy.fill(&mut bytes);
    let tail: String =
        bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect();
    SecretString::from(format!("phak_{tail}"))
}

/// What is kept of a token. Plain SHA-256 is enough: tokens are random, not chosen by people.
pub fn token_hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// The first characters of a token, by which people tell keys apart.
pub fn token_prefix(token: &str) -> &str {
    token.get(..PREFIX_LENGTH).unwrap_or(token)
}

/// `phak_` and four of the random characters.
const PREFIX_LENGTH: usize = 9;

impl Ctx {
    /// Who this token speaks for; a refusal for a token that speaks for nobody.
    pub async fn authenticate(&self, token: &str) -> Result<Arc<Caller>, Error> {
        let (hash, now) = (token_hash(token), self.now());
        if let Some(kept) = self.kept_caller(&hash) {
            self.key_uses.record(kept.key, now);
            return Ok(kept);
        }
        let moment = self.db.moment();
        let refused = |message| Error::because(ErrorCode::Unauthenticated, message);
        let found = match accounts::principal(&self.db, &hash, now).await? {
            Some(Known::Valid(found)) => *found,
            None => return Err(Error::code(ErrorCode::Unauthenticated)),
            Some(Known::Expired) => {
                return Err(refused("Not authenticated: the API key has expired"));
            }
            Some(Known::Revoked) => {
                return Err(refused("Not authenticated: the API key was revoked"));
            }
            Some(Known::Barred) => {
                let why = "Not authenticated: the user of the API key is disabled or no longer in \
                    the workspace";
                return Err(refused(why));
            }
        };
        let expires_at = found.expires_at;
        let caller = Arc::new(Caller::from(found));
        self.key_uses.record(caller.key, now);
        if let Some(stamp) = self.db.accounts_stamp(moment) {
            self.keep_caller(hash, caller.clone(), expires_at, stamp);
        }
        Ok(caller)
    }
}

impl Caller {
    /// Whether they may do what needs that; a refusal that names what is missing.
    pub fn may(&self, need: Need) -> Result<(), Error> {
        let Err(refusal) = decide(need, &self.access) else { return Ok(()) };
        let (message, field, missing, way_out) = match refusal {
            Refusal::Scope(scope) => (
                format!("the API key has not got the scope {scope}"),
                "scope",
                scope.word(),
                "Use a key with this scope, or make one: `casemate keys create --scope`.",
            ),
            Refusal::Role { needed, is } => (
                format!("this needs the role {needed} in the workspace; yours is {is}"),
                "role",
                needed.word(),
                "Ask an admin or owner of the workspace.",
            ),
            Refusal::NoOperator => (
                "this is for operators of the installation".to_owned(),
                "role",
                "operator",
                "Ask an operator: `casemate admin user`.",
            ),
        };
        Err(Error::because(ErrorCode::PermissionDenied, message)
            .detail(ErrorDetail::value(field, missing))
            .suggest(way_out))
    }
}

/// The policy of the caller's workspace.
pub async fn policy(ctx: &Ctx, caller: &Caller) -> Result<Policy, Error> {
    Ok(rendered(accounts::policy(&ctx.db, caller.workspace.id).await?))
}

/// Sets what is given of it; returns what counts from then on.
pub async fn set_policy(
    mutation: &mut Mutation,
    caller: &Caller,
    patch: &PolicyPatch,
) -> Result<Policy, Error> {
    audit::before(&rendered(accounts::policy(&mutation.ctx().db, caller.workspace.id).await?));
    let refuses = patch.env_guard.map(|guard| guard == EnvGuard::Refuse);
    let requires = patch.evidence.map(|guard| guard == EvidenceGuard::Require);
    Ok(rendered(mutation.tx.set_policy(caller.workspace.id, refuses, requires).await?))
}

const fn rendered(policy: WorkspacePolicy) -> Policy {
    let WorkspacePolicy { refuses_dropped_env, requires_evidence } = policy;
    Policy {
        env_guard: if refuses_dropped_env { EnvGuard::Refuse } else { EnvGuard::Report },
        evidence: if requires_evidence { EvidenceGuard::Require } else { EvidenceGuard::Report },
    }
}

/// What the first start makes, not yet committed.
#[derive(Debug)]
pub struct First {
    tx: Tx,
    token: SecretString,
}

impl First {
    pub const fn token(&self) -> &SecretString {
        &self.token
    }

    /// Makes it true.
    pub async fn commit(self) -> Result<SecretString, Error> {
        self.tx.commit().await?;
        Ok(self.token)
    }
}

/// Makes user `admin`, workspace `default` and one token, if there is no user yet. Later starts change
/// nothing, and of several first ones at once one makes them: the others wait for its commit.
pub async fn first_start(
    db: &casemate_store::Db,
    entropy: &dyn Entropy,
    now: Timestamp,
) -> Result<Option<First>, Error> {
    if accounts::any_user(db).await? {
        return Ok(None);
    }
    let token = new_token(entropy);
    let mut wallet = [0; 20];
    entropy.fill(&mut wallet);
    let mut tx = db.begin().await?;
    let admin = NewUser { is_operator: true, ..NewUser::person("admin", "admin@localhost") };
    let user = match tx.insert_user(admin, now).await {
        Err(casemate_store::Error::Conflict(_)) => return Ok(None),
        user => user?,
    };
    let workspace =
        tx.insert_workspace("default", "default", Wallet::from_bytes(wallet), now).await?;
    tx.set_member(workspace, user, Role::Owner, now).await?;
    let key = NewKey {
        hash: &token_hash(token.expose_secret()),
        prefix: token_prefix(token.expose_secret()),
        user,
        workspace,
        name: "admin",
        scopes: &Scopes::All,
        expires_at: None,
    };
    tx.insert_key(key, now).await?;
    let made = json!({"username": "admin", "workspace": "default", "is_operator": true});
    let what = ("host_first_start", TargetKind::User, "admin".to_owned());
    audit::of_host(&mut tx, entropy, now, what, &made).await?;
    Ok(Some(First { tx, token }))
}

/// A key of an owner, committed.
#[derive(Debug)]
pub struct OwnerKey {
    pub username: String,
    /// Slug of the workspace.
    pub workspace: String,
    pub token: SecretString,
}

/// Makes a key that can do everything: for the named user, or the first operator, in the named workspace, or the first
/// one. The user becomes its owner and an operator, and is enabled. For whoever has the host.
pub async fn owner_key(
    db: &casemate_store::Db,
    entropy: &dyn Entropy,
    now: Timestamp,
    (username, slug): (Option<&str>, Option<&str>),
) -> Result<OwnerKey, Error> {
    let missing = |what: &str| Error::because(ErrorCode::NotFound, format!("no such {what}"));
    let user = match username {
        Some(name) => people::user(db, name).await?,
        None => people::users(db, UserId(0), FIRST).await?.into_iter().find(|row| row.is_operator),
    };
    let user = user.ok_or_else(|| missing("user"))?.user;
    let workspace = match slug {
        Some(slug) => people::workspace(db, slug).await?,
        None => people::workspaces(db, WorkspaceId(0), 1).await?.into_iter().next(),
    };
    let workspace = workspace.ok_or_else(|| missing("workspace"))?;
    let token = new_token(entropy);
    let mut tx = db.begin().await?;
    tx.set_operator(user.id, true).await?;
    tx.disable_user(user.id, None).await?;
    tx.set_member(workspace.id, user.id, Role::Owner, now).await?;
    let key = NewKey {
        hash: &token_hash(token.expose_secret()),
        prefix: token_prefix(token.expose_secret()),
        user: user.id,
        workspace: workspace.id,
        name: "recovered",
        scopes: &Scopes::All,
        expires_at: None,
    };
    let id = tx.insert_key(key, now).await?;
    let made = json!({
        "username": user.username, "workspace": workspace.slug, "role": "owner", "is_operator": true,
    });
    let what = ("host_create_owner_key", TargetKind::Key, id.0.to_string());
    audit::of_host(&mut tx, entropy, now, what, &made).await?;
    tx.commit().await?;
    Ok(OwnerKey { username: user.username, workspace: workspace.slug, token })
}

/// Users among whom an operator is looked for.
const FIRST: i64 = 10_000;
