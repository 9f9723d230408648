//! The types that handlers return: axum's `Json` for what is read, [`Written`] for what is changed, and
//! [`Rendered`] for what is kept as text. `cargo xtask edges` compares them with the documented bodies.

use axum::{
    body::Bytes,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::app::{cvms::Rendered, mutation::Written};

impl<T> IntoResponse for Rendered<T> {
    fn into_response(self) -> Response {
        json(200, self.body)
    }
}

impl<T, const STATUS: u16> IntoResponse for Written<T, STATUS> {
    fn into_response(self) -> Response {
        json(STATUS, self.body.into())
    }
}

/// JSON text as a response; without text, one without a body.
pub(super) fn json(status: u16, body: Bytes) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    if body.is_empty() {
        return status.into_response();
    }
    let json = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, json)], body).into_response()
}
