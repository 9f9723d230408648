//! `/device`: approve a login with an API key. `/invite`: how an invitation is accepted.

use askama::Template;
use axum::{
    Extension,
    extract::{Form, Query, State},
    http::StatusCode,
    response::Response,
};
use casemate_api::device_login::{DecideLoginRequest, DecidedLogin};
use casemate_core::{
    access::{Need, Scope},
    audit::TargetKind,
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{html, with_policy};
use crate::{
    app::{
        Ctx, Error,
        about::{About, about},
        audit::{AuditedRequest, Origin},
        device_login,
        mutation::WriteError,
    },
    http::{client_address::ClientAddress, error::ApiError, middleware::RequestId},
};

/// As other pages; the form is sent to this server.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "device.html")]
struct DevicePage {
    about: About,
    /// What is typed in already.
    code: String,
    /// What was wrong.
    problem: Option<String>,
    decided: Option<DecidedLogin>,
    denied: bool,
}

#[derive(Deserialize)]
pub struct CodeQuery {
    #[serde(default)]
    code: String,
}

/// The form.
pub async fn show(
    State(ctx): State<Ctx>,
    Query(CodeQuery { code }): Query<CodeQuery>,
) -> Result<Response, ApiError> {
    let about = about(&ctx);
    page(StatusCode::OK, &DevicePage { about, code, problem: None, decided: None, denied: false })
}

/// What the form sends.
#[derive(Deserialize)]
pub struct DeviceForm {
    code: String,
    key: SecretString,
    /// Which button.
    #[serde(default)]
    decision: String,
}

/// Approves or denies a login.
pub async fn decide(
    State(ctx): State<Ctx>,
    address: Option<Extension<ClientAddress>>,
    id: Option<Extension<RequestId>>,
    Form(DeviceForm { code, key, decision }): Form<DeviceForm>,
) -> Result<Response, ApiError> {
    let (about, denied) = (about(&ctx), decision == "deny");
    let audited = AuditedRequest::new(Origin {
        action: "decide_device_login",
        target: TargetKind::DeviceLogin,
        target_id: None,
        address: address.map(|Extension(ClientAddress(address))| address),
        request_id: id.map(|Extension(RequestId(id))| id.to_string()),
        of_installation: false,
    });
    match audited.run(apply(&ctx, &code, &key, denied)).await {
        Ok(decided) => {
            let decided = Some(decided);
            page(StatusCode::OK, &DevicePage { about, code, problem: None, decided, denied })
        }
        Err(error) if error.status() < 500 => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
            let problem = Some(error.words());
            page(status, &DevicePage { about, code, problem, decided: None, denied })
        }
        Err(error) => Err(error.into()),
    }
}

async fn apply(
    ctx: &Ctx,
    code: &str,
    key: &SecretString,
    deny: bool,
) -> Result<DecidedLogin, Error> {
    let caller = ctx.authenticate(key.expose_secret().trim()).await?;
    caller.may(Need::Scope(Scope::Keys))?;
    let request =
        DecideLoginRequest { user_code: code.to_owned(), deny, ..DecideLoginRequest::default() };
    let mut mutation = match ctx.begin_mutation(&caller, None).await {
        Ok(mutation) => mutation,
        Err(WriteError::Failed(error)) => return Err(error),
        Err(WriteError::Replayed(_)) => {
            return Err(Error::Internal("a form has no Idempotency-Key".to_owned()));
        }
    };
    let decided = device_login::decide(ctx, &mut mutation.tx, &caller, &request).await?;
    mutation.finish_unkept(decided).await
}

fn page(status: StatusCode, page: &DevicePage) -> Result<Response, ApiError> {
    let text = page.render();
    let text = text.map_err(|error| Error::Internal(format!("the page was not made: {error}")))?;
    let mut response = with_policy("text/html; charset=utf-8", POLICY, text);
    *response.status_mut() = status;
    Ok(response)
}

#[derive(Template)]
#[template(path = "invite.html")]
struct InvitePage {
    about: About,
}

/// How an invitation is accepted. Its token is behind the `#`, which browsers do not send.
pub async fn invite(State(ctx): State<Ctx>) -> Result<Response, ApiError> {
    html(InvitePage { about: about(&ctx) }.render())
}
