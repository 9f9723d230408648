//! The one place where an error becomes a response. The body waits in the response's extensions
//! until [`super::middleware`] knows the request id.

use std::sync::Arc;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use casemate_api::error::{ErrorBody, ErrorCode};

use super::reply::json;
use crate::app::{
    Error,
    mutation::{Replay, WriteError},
};

/// An error as handlers return it, or the reply that a request got before under the same key.
#[derive(Debug)]
pub struct ApiError(WriteError);

impl<E: Into<WriteError>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// An error body on its way out.
#[derive(Debug, Clone)]
pub struct Pending {
    /// What the client is told.
    pub body: ErrorBody,
    /// What the log is told, where the fault is ours.
    pub cause: Option<Arc<Error>>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = match self.0 {
            WriteError::Replayed(Replay { status, body }) => {
                let mut response = json(status, body.into());
                let replayed = header::HeaderValue::from_static("true");
                response.headers_mut().insert("idempotent-replayed", replayed);
                return response;
            }
            WriteError::Failed(error) => error,
        };
        let status =
            StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        if error.is_transient() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("ApiKey");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        let body = error.body();
        let cause = status.is_server_error().then(|| Arc::new(error));
        response.extensions_mut().insert(Pending { body, cause });
        response
    }
}

/// No such path.
pub async fn no_such_route() -> ApiError {
    Error::code(ErrorCode::RouteNotFound).into()
}

/// No such method on the path.
pub async fn no_such_method() -> ApiError {
    Error::code(ErrorCode::MethodNotAllowed).into()
}
