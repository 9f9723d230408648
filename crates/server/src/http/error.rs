//! The one place where an error becomes a response. The body waits in the response's extensions
//! until [`super::middleware`] knows the request id.

use std::sync::Arc;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use casemate_api::error::{ErrorBody, ErrorCode};

use crate::app::Error;

/// An error as handlers return it.
#[derive(Debug)]
pub struct ApiError(pub Error);

impl<E: Into<Error>> From<E> for ApiError {
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
        let status =
            StatusCode::from_u16(self.0.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        if self.0.is_transient() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("ApiKey");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        let body = self.0.body();
        let cause = status.is_server_error().then(|| Arc::new(self.0));
        response.extensions_mut().insert(Pending { body, cause });
        response
    }
}

/// No such path.
pub async fn no_such_route() -> ApiError {
    ApiError(Error::code(ErrorCode::RouteNotFound))
}

/// No such method on the path.
pub async fn no_such_method() -> ApiError {
    ApiError(Error::code(ErrorCode::MethodNotAllowed))
}
