//! Login by device code (RFC 8628): a client without a key shows a code, somebody who has a key approves it, and the
//! client gets a key of its own.

use std::{net::IpAddr, time::Duration};

use casemate_api::{
    device_login::{
        DecideLoginRequest, DecidedLogin, DeviceCode, DeviceCodeRequest, DeviceToken,
        DeviceTokenRequest,
    },
    error::ErrorCode,
};
use casemate_core::{
    access::{Need, Scope, Scopes},
    time::Entropy,
};
use casemate_store::{
    Tx, accounts,
    device_logins::{InsertedLogin, LoginLimits, LoginState, NewLogin},
    people,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{
    Caller, Ctx, Error,
    account::{new_token, token_hash},
    audit,
    keys::{self, NewKeyRequest},
    rate_limits::network,
};

/// How long a code can be approved.
const LIFETIME: Duration = Duration::from_mins(15);
/// Least time between two polls.
const INTERVAL: Duration = Duration::from_secs(5);
/// A poll is early only if it is earlier than this; networks are not punctual.
const LEAST_INTERVAL: Duration = Duration::from_secs(4);
/// How long the key of a login lives.
const KEY_LIFETIME: Duration = Duration::from_hours(90 * 24);
/// Logins under way at once.
const MOST_LOGINS: i64 = 1000;
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What a login is for: CVMs. It makes no keys and manages nobody.
const SCOPES: [Scope; 7] = [
    Scope::CvmsExec,
    Scope::CvmsRead,
    Scope::CvmsWrite,
    Scope::LogsRead,
    Scope::SecretsWrite,
    Scope::SshKeys,
    Scope::Webhooks,
];

/// Why a poll gives no key, as RFC 8628 §3.5 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoToken {
    Pending,
    SlowDown,
    Expired,
    Denied,
    GrantType,
}

impl NoToken {
    /// The word on the wire and a sentence for people.
    pub const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Pending => ("authorization_pending", "the login is not approved yet"),
            Self::SlowDown => ("slow_down", "wait 5 seconds between two requests"),
            Self::Expired => {
                ("expired_token", "the code is unknown, used or expired: log in again")
            }
            Self::Denied => ("access_denied", "the login was denied"),
            Self::GrantType => ("unsupported_grant_type", GRANT_TYPE),
        }
    }
}

/// Eight letters of which none is a vowel or looks like another: 34 bits, for 15 minutes and few guesses.
fn new_user_code(entropy: &dyn Entropy) -> String {
    const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
    let mut code = String::with_capacity(8);
    while code.len() < 8 {
        let mut bytes = [0; 16];
        entropy.fill(&mut bytes);
        // Each letter is as likely as another: 240 is a multiple of 20.
        let fair = bytes.iter().filter(|byte| **byte < 240);
        let letters = fair.map(|byte| char::from(LETTERS[usize::from(byte % 20)]));
        code.extend(letters.take(8 - code.len()));
    }
    code
}

/// A user code as it is hashed: letters only, upper case.
fn canonical(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphabetic).map(|char| char.to_ascii_uppercase()).collect()
}

/// Begins a login.
pub async fn begin(
    ctx: &Ctx,
    request: &DeviceCodeRequest,
    address: Option<IpAddr>,
) -> Result<DeviceCode, Error> {
    if request.client_id.len() > 100 || request.client_id.chars().any(char::is_control) {
        let why = "must be at most 100 bytes without control characters";
        return Err(Error::invalid("client_id", why));
    }
    let token = new_token(&*ctx.entropy);
    let device_code = token.expose_secret().replacen("phak_", "dev_", 1);
    let code = new_user_code(&*ctx.entropy);
    let (now, mut tx) = (ctx.now(), ctx.begin().await?);
    let new = NewLogin {
        device_hash: &token_hash(&device_code),
        user_hash: &token_hash(&code),
        client: &request.client_id,
        address: &address.map(|address| network(address).to_string()).unwrap_or_default(),
        expires_at: now.plus(LIFETIME),
    };
    let limits = LoginLimits {
        total: MOST_LOGINS,
        per_address: ctx.config.limits.device_logins_per_address.into(),
    };
    let whose = match tx.insert_login(new, limits, now).await? {
        InsertedLogin::New => None,
        InsertedLogin::Full => Some("too many logins are under way"),
        InsertedLogin::AddressFull => Some("too many logins of this address are under way"),
    };
    if let Some(why) = whose {
        return Err(Error::because(ErrorCode::RateLimited, why)
            .suggest("Finish one of them, or wait 15 minutes."));
    }
    let shown = json!({"client": request.client_id});
    commit_audited(ctx, tx, &shown).await?;
    let user_code = format!("{}-{}", &code[..4], &code[4..]);
    let page = format!("{}/device", ctx.addresses.api);
    Ok(DeviceCode {
        verification_uri_complete: format!("{page}?code={user_code}"),
        verification_uri: page,
        device_code,
        user_code,
        interval: u32::try_from(INTERVAL.as_secs()).unwrap_or(u32::MAX),
        expires_in: u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX),
    })
}

/// The key of an approved login, once.
pub async fn poll(
    ctx: &Ctx,
    request: &DeviceTokenRequest,
) -> Result<Result<DeviceToken, NoToken>, Error> {
    if request.grant_type.as_deref().is_some_and(|grant| grant != GRANT_TYPE) {
        return Ok(Err(NoToken::GrantType));
    }
    let hash = token_hash(&request.device_code);
    let (now, mut tx) = (ctx.now(), ctx.begin().await?);
    let Some(login) = tx.poll_login(&hash, now).await? else {
        return Ok(Err(NoToken::Expired));
    };
    let is_early = login.polled_at.is_some_and(|before| now.since(before) < LEAST_INTERVAL);
    let outcome = match login.state {
        _ if login.expires_at <= now => Err(NoToken::Expired),
        _ if is_early => Err(NoToken::SlowDown),
        LoginState::Pending => Err(NoToken::Pending),
        LoginState::Denied => Err(NoToken::Denied),
        LoginState::Approved(user, workspace, scopes) => {
            let name = if login.client.is_empty() { "login" } else { &login.client };
            let expires_at = Some(now.plus(KEY_LIFETIME));
            let new = NewKeyRequest { user, workspace, name, scopes: &scopes, expires_at };
            let (_, token) = keys::insert(ctx, &mut tx, &new).await?;
            tx.delete_login(&hash).await?;
            Ok(DeviceToken {
                access_token: token.expose_secret().to_owned(),
                token_type: "bearer".to_owned(),
            })
        }
    };
    if outcome.is_ok() {
        commit_audited(ctx, tx, &json!({"client": login.client})).await?;
    } else {
        ctx.commit(tx).await?;
    }
    Ok(outcome)
}

/// Commits with the row of the audit log.
async fn commit_audited(ctx: &Ctx, mut tx: Tx, shown: &Value) -> Result<(), Error> {
    audit::write(ctx, &mut tx, 200, Some(shown)).await?;
    ctx.commit(tx).await?;
    audit::written();
    Ok(())
}

/// Approves or denies a login: the client gets a key of the caller, or, from an operator, of somebody else.
pub async fn decide(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    request: &DecideLoginRequest,
) -> Result<DecidedLogin, Error> {
    let unknown =
        || Error::because(ErrorCode::NotFound, "no such login waits: the code is wrong or expired");
    let named = request.username.is_some() || request.workspace.is_some();
    let whose = if named { other(ctx, caller, request).await? } else { caller.clone() };
    // The role of the user limits the key in any case; the scopes of the caller's key limit it too.
    let mine = |scope: &Scope| named || caller.access.scopes.has(*scope);
    let scopes = Scopes::Only(SCOPES.into_iter().filter(mine).collect());
    let hash = token_hash(&canonical(&request.user_code));
    let decided = if request.deny {
        tx.deny_login(&hash, ctx.now()).await?.then(String::new)
    } else {
        let grant = (whose.user.id, whose.workspace.id, &scopes);
        tx.approve_login(&hash, grant, ctx.now()).await?
    };
    let Some(client) = decided else {
        let too_many = ctx.token_rate_limit.too_many();
        return Err(if too_many { Error::code(ErrorCode::RateLimited) } else { unknown() });
    };
    Ok(DecidedLogin {
        client,
        username: whose.user.username,
        workspace: whose.workspace.slug,
        scopes: scopes.words().into_iter().map(str::to_owned).collect(),
    })
}

/// The member whom an operator names.
async fn other(ctx: &Ctx, caller: &Caller, request: &DecideLoginRequest) -> Result<Caller, Error> {
    caller.may(Need::Operator)?;
    let user = match &request.username {
        None => caller.user.id,
        Some(name) => super::people_admin::user(ctx, name).await?.user.id,
    };
    let workspace = match &request.workspace {
        None => caller.workspace.id,
        Some(slug) => {
            let found = people::workspace(&ctx.db, slug).await?;
            found.ok_or_else(super::workspaces::unknown)?.id
        }
    };
    let member = accounts::member(&ctx.db, user, workspace).await?;
    member.map(Caller::from).ok_or_else(super::people_admin::no_member)
}
