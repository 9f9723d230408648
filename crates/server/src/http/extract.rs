//! Who asks, in which version, and what.

use std::sync::Arc;

use axum::{
    body::{Bytes, to_bytes},
    extract::{FromRequest, FromRequestParts, Request},
    http::request::Parts,
};
use casemate_api::{
    body,
    error::{ErrorCode, ErrorDetail},
    version::ApiVersion,
};
use serde::de::DeserializeOwned;

use super::{access::Passed, error::ApiError, middleware::MAX_BODY};
use crate::app::{Caller, Error, mutation::IdempotencyKey};

/// Who asks, as [`super::access`] let them pass.
#[derive(Debug, Clone)]
pub struct Auth(pub Arc<Caller>);

impl<S: Send + Sync> FromRequestParts<S> for Auth {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let MaybeAuth(caller) = MaybeAuth::from_request_parts(parts, state).await?;
        Ok(Self(caller.ok_or_else(|| Error::code(ErrorCode::Unauthenticated))?))
    }
}

/// The same where a key may be missing.
#[derive(Debug)]
pub struct MaybeAuth(pub Option<Arc<Caller>>);

impl<S: Send + Sync> FromRequestParts<S> for MaybeAuth {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(Passed(caller)) = parts.extensions.get::<Passed>() else {
            let why = format!("{} has no row in the table of routes", parts.uri.path());
            return Err(Error::Internal(why).into());
        };
        Ok(Self(caller.as_ref().map(|Auth(caller)| caller.clone())))
    }
}

/// The API version asked for.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    /// The version to answer in.
    pub version: ApiVersion,
    /// Whether the client named one.
    pub named: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Version {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let header = parts.headers.get("x-phala-version");
        let text = header.map(|value| value.to_str().unwrap_or("?"));
        let version = ApiVersion::from_header(text).map_err(|why| {
            Error::because(ErrorCode::BadApiVersion, why.to_string())
                .detail(ErrorDetail::value("X-Phala-Version", text.unwrap_or_default()))
        })?;
        Ok(Self { version, named: text.is_some() })
    }
}

/// A JSON body, leniently read, with everything needed to recognise its repetition.
#[derive(Debug)]
pub struct Body<T> {
    /// The request.
    pub value: T,
    /// Fields that nobody knows.
    pub unknown: Vec<String>,
    /// Its idempotency key.
    pub key: Option<IdempotencyKey>,
}

/// A body as it came, and the idempotency key.
#[derive(Debug)]
pub struct Raw {
    pub bytes: Bytes,
    /// Its idempotency key.
    pub key: Option<IdempotencyKey>,
}

/// Why a body could not be read whole.
fn why_unread(error: &axum::Error) -> ErrorCode {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return ErrorCode::BodyTooLarge;
        }
        cause = error.source();
    }
    ErrorCode::BodyIncomplete
}

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes =
            to_bytes(body, MAX_BODY).await.map_err(|error| Error::code(why_unread(&error)))?;
        let key = match parts.headers.get("idempotency-key") {
            None => None,
            Some(value) => {
                let text = value.to_str().unwrap_or_default();
                let path = parts.uri.path();
                Some(IdempotencyKey::new(text, parts.method.as_str(), path, &bytes)?)
            }
        };
        Ok(Self { bytes, key })
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let raw = Raw::from_request(request, state).await?;
        Self::parse(raw)
    }
}

impl<T: DeserializeOwned> Body<T> {
    /// Reads a body that is there already.
    pub fn parse(raw: Raw) -> Result<Self, ApiError> {
        let parsed = body::parse::<T>(&raw.bytes).map_err(Error::Invalid)?;
        Ok(Self { value: parsed.value, unknown: parsed.unknown, key: raw.key })
    }
}
