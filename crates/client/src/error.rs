//! What can go wrong, told apart by what a caller does about it. No variant holds the API key, and
//! where a server echoes it, it is blotted out before the text gets here.

use std::{fmt, time::Duration};

use casemate_api::error::{ErrorBody, ErrorCode};

use crate::operation::OperationFailed;

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered that it did not do it.
    #[error(transparent)]
    Api(Box<ApiError>),
    /// There was no answer, or half of one. Whether the request had an effect is not known, unless
    /// [`TransportKind::Connect`] says that it was never sent.
    #[error("{call}: {kind}")]
    Transport {
        /// Method and URL.
        call: String,
        /// How far it came.
        kind: TransportKind,
        /// The cause.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// The answer is not what the API describes.
    #[error("{call}: the reply is not understood: {reason}")]
    Decode {
        /// Method and URL.
        call: String,
        /// What does not fit.
        reason: String,
    },
    /// The text cannot be part of a path, so it is no identifier.
    #[error("not an identifier: {0:?}")]
    Identifier(String),
    /// The request does not serialise.
    #[error("the request cannot be written as JSON: {0}")]
    Encode(serde_json::Error),
    /// The operation that was waited for ended, but not as desired.
    #[error(transparent)]
    Operation(Box<OperationFailed>),
    /// What was waited for did not happen in time.
    #[error("no {target:?} within {} s; last seen: {}", .waited.as_secs(), .last.as_deref().unwrap_or("nothing"))]
    TimedOut {
        /// The state waited for.
        target: String,
        /// For how long.
        waited: Duration,
        /// The last state seen.
        last: Option<String>,
    },
}

/// How far a request came that got no whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// No connection; the request was not sent.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke.
    Broken,
    /// The answer is larger than any should be.
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

/// An error reply.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// Method and URL.
    pub call: String,
    /// HTTP status.
    pub status: u16,
    /// The body; text that is not JSON is a plain one.
    pub body: ErrorBody,
    /// From the header `X-Request-ID`, else from the body.
    pub request_id: Option<String>,
    /// How long to wait before asking again, where the server says so.
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
    /// The error reply, if there was one.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            _ => None,
        }
    }

    /// The code of the error reply, if it is one that we know.
    pub fn code(&self) -> Option<ErrorCode> {
        self.api().and_then(|error| error.body.code())
    }

    /// Whether the answer was 404.
    pub fn is_not_found(&self) -> bool {
        self.api().is_some_and(|error| error.status == 404)
    }

    /// Whether the answer was 401: the key is no good here.
    pub fn is_unauthenticated(&self) -> bool {
        self.api().is_some_and(|error| error.status == 401)
    }

    /// Whether there was no answer at all, so that the server may be down.
    pub const fn is_transport(&self) -> bool {
        matches!(self, Self::Transport { .. })
    }
}

/// From reqwest's error, without the URL: that is in `call`.
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
