//! Errors, grouped by what a caller does about them. No variant contains the API key; if a server echoes it,
//! it is redacted.

use std::{fmt, time::Duration};

use casemate_api::error::{ErrorBody, ErrorCode};

use crate::operation::OperationFailed;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server replied with an error.
    #[error(transparent)]
    Api(Box<ApiError>),
    /// There was no complete response. Whether the request had an effect is unknown, except with
    /// [`TransportKind::Connect`], which means that it was not sent.
    #[error("{call}: {kind}")]
    Transport {
        /// Method and URL.
        call: String,
        kind: TransportKind,
        #[source]
        source: Option<reqwest::Error>,
    },
    /// The response does not have the documented format.
    #[error("{call}: the reply is not understood: {reason}")]
    Decode {
        /// Method and URL.
        call: String,
        reason: String,
    },
    /// The identifier cannot be part of a path.
    #[error("not an identifier: {0:?}")]
    Identifier(String),
    /// The request cannot be serialised.
    #[error("the request cannot be written as JSON: {0}")]
    Encode(serde_json::Error),
    /// The operation ended, but did not succeed.
    #[error(transparent)]
    Operation(Box<OperationFailed>),
    /// The state was not reached in time.
    #[error("no {target:?} within {} s; last seen: {}", .waited.as_secs(), .last.as_deref().unwrap_or("nothing"))]
    TimedOut {
        /// The state waited for.
        target: String,
        waited: Duration,
        /// The last state seen.
        last: Option<String>,
    },
}

/// How a request without a complete response failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// No connection; the request was not sent.
    Connect,
    /// No response in time.
    Timeout,
    /// The connection broke.
    Broken,
    /// The response exceeds the size limit.
    TooLarge,
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection",
            Self::Timeout => "no answer in time",
            Self::Broken => "the connection broke",
            Self::TooLarge => "the answer is too large",
        })
    }
}

/// An error response.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// Method and URL.
    pub call: String,
    pub status: u16,
    /// The body; text that is not JSON becomes a plain message.
    pub body: ErrorBody,
    /// From the header `X-Request-ID`, else from the body.
    pub request_id: Option<String>,
    /// From the header `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.body.message())?;
        match self.body.structured() {
            Some(body) => write!(f, " ({})", body.error_code),
            None => write!(f, " (HTTP {})", self.status),
        }
    }
}

impl std::error::Error for ApiError {}

impl Error {
    /// The error response, if there was one.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            _ => None,
        }
    }

    /// The error code of the response, if it is known.
    pub fn code(&self) -> Option<ErrorCode> {
        self.api().and_then(|error| error.body.code())
    }

    /// Whether the status was 404.
    pub fn is_not_found(&self) -> bool {
        self.api().is_some_and(|error| error.status == 404)
    }

    /// Whether the status was 401: the key is not valid here.
    pub fn is_unauthenticated(&self) -> bool {
        self.api().is_some_and(|error| error.status == 401)
    }

    /// Whether there was no response, so that the server may be down.
    pub const fn is_transport(&self) -> bool {
        matches!(self, Self::Transport { .. })
    }
}

/// Converts reqwest's error, without the URL, which is in `call`.
pub(crate) fn transport(call: &str, error: reqwest::Error) -> Error {
    let kind = if error.is_connect() {
        TransportKind::Connect
    } else if error.is_timeout() {
        TransportKind::Timeout
    } else {
        TransportKind::Broken
    };
    Error::Transport { call: call.to_owned(), kind, source: Some(error.without_url()) }
}
