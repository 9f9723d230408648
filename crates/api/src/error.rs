//! What goes wrong, on the wire: three shapes, told apart by their keys.
//!
//! | shape | keys | when |
//! |---|---|---|
//! | [`Structured`] | `error_code`, `message`, … at the top level | a client program can act on it |
//! | [`Plain`] | `detail` and never `error_code` | transient or not ours to number |
//! | [`Validation`] | `detail` as a list | 422: the request does not parse |
//!
//! Go retries a 409 *without* `error_code` and takes one *with* it as final, so the choice between
//! the first two shapes is part of the meaning ([`ErrorCode::is_plain`]).

mod code;
mod detail;

pub use code::ErrorCode;
pub use detail::{Detail, ErrorDetail, ErrorLink, ValidationItem};
use serde::{Deserialize, Serialize};

/// The body of an error reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum ErrorBody {
    /// With a code.
    Structured(Structured),
    /// The structured form inside `detail`; read from others, never written.
    Nested {
        /// The error.
        detail: Structured,
    },
    /// The list of a 422.
    Validation(Validation),
    /// Without a code.
    Plain(Plain),
}

/// An error with a code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Structured {
    /// `ERR-MM-NNN`; text, because others know codes that we do not.
    pub error_code: String,
    /// What went wrong, in one sentence; never empty.
    pub message: String,
    /// The same as header `X-Request-ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Facts by name: the field at fault, or what the client needs for the next step.
    #[serde(default)]
    pub details: Vec<ErrorDetail>,
    /// What to do about it, a sentence each.
    #[serde(default)]
    pub suggestions: Vec<String>,
    /// Where to read more.
    #[serde(default)]
    pub links: Vec<ErrorLink>,
}

/// An error without a code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Plain {
    /// What went wrong.
    pub detail: Detail,
    /// The same as header `X-Request-ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A request that does not parse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Validation {
    /// What is wrong and where, at least one.
    pub detail: Vec<ValidationItem>,
    /// The same as header `X-Request-ID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl ErrorBody {
    /// The body of an error with this code and text, in the shape that the code asks for.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        if code.is_plain() {
            return Self::plain(message);
        }
        Self::Structured(Structured {
            error_code: code.code().to_owned(),
            message,
            request_id: None,
            details: Vec::new(),
            suggestions: Vec::new(),
            links: Vec::new(),
        })
    }

    /// A plain body with this text.
    pub fn plain(detail: impl Into<String>) -> Self {
        Self::Plain(Plain { detail: Detail::Text(detail.into()), request_id: None })
    }

    /// The body of a 422.
    pub fn validation(detail: Vec<ValidationItem>) -> Self {
        Self::Validation(Validation { detail, request_id: None })
    }

    /// The same body with this request id.
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        let slot = match &mut self {
            Self::Structured(body) | Self::Nested { detail: body } => &mut body.request_id,
            Self::Validation(body) => &mut body.request_id,
            Self::Plain(body) => &mut body.request_id,
        };
        *slot = Some(id.into());
        self
    }

    /// The error with its code, wherever it is kept.
    pub const fn structured(&self) -> Option<&Structured> {
        match self {
            Self::Structured(body) | Self::Nested { detail: body } => Some(body),
            Self::Validation(_) | Self::Plain(_) => None,
        }
    }

    /// The code, if there is one that we know.
    pub fn code(&self) -> Option<ErrorCode> {
        self.structured().and_then(|body| ErrorCode::parse(&body.error_code))
    }

    /// The request id, if the body carries one.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Structured(body) | Self::Nested { detail: body } => body.request_id.as_deref(),
            Self::Validation(body) => body.request_id.as_deref(),
            Self::Plain(body) => body.request_id.as_deref(),
        }
    }

    /// The text for people, as the official clients show it: one problem as it is, several counted.
    pub fn message(&self) -> String {
        match self {
            Self::Structured(body) | Self::Nested { detail: body } => body.message.clone(),
            Self::Plain(body) => body.detail.to_string(),
            Self::Validation(body) => match body.detail.as_slice() {
                [item] => item.msg.clone(),
                items => format!("Validation failed ({} issues)", items.len()),
            },
        }
    }
}

impl Structured {
    /// The value of a detail by the name of its field.
    pub fn value(&self, field: &str) -> Option<&serde_json::Value> {
        self.details.iter().find(|detail| detail.field == field)?.value.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_shapes_are_told_apart_by_their_keys() {
        let structured = json!({"error_code": "ERR-03-001", "message": "m"});
        let plain = json!({"detail": "CVM not found"});
        let object = json!({"detail": {"error": "authorization_pending"}});
        let nested = json!({"detail": structured});
        let list =
            json!({"detail": [{"loc": ["body", 0], "msg": "Field required", "type": "missing"}]});
        let read = |value: &serde_json::Value| -> ErrorBody {
            serde_json::from_value(value.clone()).unwrap()
        };
        assert_eq!(read(&structured).code(), Some(ErrorCode::CvmNotFound));
        assert_eq!(read(&nested).code(), Some(ErrorCode::CvmNotFound));
        assert_eq!(read(&plain), ErrorBody::plain("CVM not found"));
        assert_eq!(read(&list).message(), "Field required");
        let ErrorBody::Plain(Plain { detail: Detail::Object(error), .. }) = read(&object) else {
            panic!("not a plain error: {object}");
        };
        assert_eq!(error["error"], "authorization_pending");
    }

    #[test]
    fn a_transient_conflict_carries_no_code() {
        let busy = serde_json::to_value(ErrorBody::new(ErrorCode::QueueFull, "busy")).unwrap();
        assert_eq!(busy, json!({"detail": "busy"}));
        let gone = ErrorBody::new(ErrorCode::CvmNotFound, "no").with_request_id("req-1");
        assert_eq!(
            serde_json::to_value(gone).unwrap(),
            json!({"error_code": "ERR-03-001", "message": "no", "request_id": "req-1",
                   "details": [], "suggestions": [], "links": []})
        );
    }
}
