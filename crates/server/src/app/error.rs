//! What use cases fail with: a code a client program can tell apart, words for people, and apart
//! from both the private cause, which only the log gets.

use casemate_api::error::{ErrorBody, ErrorCode, ErrorDetail, ValidationItem};

/// A use case that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Refused for a reason the client can act on.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The request does not parse or a value is out of its range (422).
    #[error("request does not validate")]
    Invalid(Vec<ValidationItem>),
    /// The database did not do its work.
    #[error("store")]
    Store(#[from] casemate_store::Error),
    /// Ours to fix.
    #[error("internal: {0}")]
    Internal(String),
}

/// A refusal, in public words.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// What kind.
    pub code: ErrorCode,
    /// One sentence.
    pub message: String,
    /// The field that the sentence begins with, where it begins with one.
    subject: Option<String>,
    /// The fields at fault.
    pub details: Vec<ErrorDetail>,
    /// The way out.
    pub suggestions: Vec<String>,
}

impl Error {
    /// A refusal in the code's own words.
    pub fn code(code: ErrorCode) -> Self {
        Self::because(code, code.message())
    }

    /// A refusal in these words.
    pub fn because(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Refused(Box::new(Refusal {
            code,
            message: message.into(),
            subject: None,
            details: Vec::new(),
            suggestions: Vec::new(),
        }))
    }

    /// A refusal of one field. `reason` begins with a verb: `must be …`, `is not …`.
    pub fn field(code: ErrorCode, field: &str, reason: impl std::fmt::Display) -> Self {
        let mut error = Self::because(code, format!("{field} {reason}"));
        if let Self::Refused(refusal) = &mut error {
            refusal.subject = Some(field.to_owned());
        }
        error.detail(ErrorDetail::message(field, reason.to_string()))
    }

    /// A value outside its range: 422 in pydantic's form.
    pub fn invalid(field: &str, reason: impl std::fmt::Display) -> Self {
        let path: Vec<&str> = std::iter::once("body").chain(field.split('.')).collect();
        Self::Invalid(vec![ValidationItem::new(&path, "value_error", &format!("{field} {reason}"))])
    }

    /// Whether it is a refusal with this code.
    pub fn is(&self, code: ErrorCode) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == code)
    }

    /// Adds a fact to a refusal.
    #[must_use]
    pub fn detail(mut self, detail: ErrorDetail) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.details.push(detail);
        }
        self
    }

    /// The same with these facts about its field instead of one.
    #[must_use]
    pub fn with_details(mut self, details: Vec<ErrorDetail>) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.details = details;
        }
        self
    }

    /// The same where the fields it names stand in another one: `runner` within `compose_file` is
    /// `compose_file.runner`. Facts that are not about fields stay.
    #[must_use]
    pub fn within(mut self, place: &str) -> Self {
        match &mut self {
            Self::Refused(refusal) => {
                if let Some(subject) = &mut refusal.subject {
                    refusal.message.insert_str(0, &format!("{place}."));
                    *subject = format!("{place}.{subject}");
                }
                for detail in refusal.details.iter_mut().filter(|fact| fact.message.is_some()) {
                    detail.field = format!("{place}.{}", detail.field);
                }
            }
            Self::Invalid(items) => {
                for item in items {
                    item.loc.insert(item.loc.len().min(1), place.into());
                }
            }
            Self::Store(_) | Self::Internal(_) => {}
        }
        self
    }

    /// Adds a way out to a refusal.
    #[must_use]
    pub fn suggest(mut self, sentence: impl Into<String>) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.suggestions.push(sentence.into());
        }
        self
    }

    /// The public words alone, in one line.
    pub fn words(&self) -> String {
        match self {
            Self::Refused(refusal) => refusal.message.clone(),
            Self::Invalid(items) => {
                let words: Vec<&str> = items.iter().map(|item| item.msg.as_str()).collect();
                words.join("; ")
            }
            Self::Store(error) => store_code(error).message().to_owned(),
            Self::Internal(_) => ErrorCode::Internal.message().to_owned(),
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Refused(refusal) => refusal.code.status(),
            Self::Invalid(_) => 422,
            Self::Store(error) => store_code(error).status(),
            Self::Internal(_) => ErrorCode::Internal.status(),
        }
    }

    /// The public body.
    pub fn body(&self) -> ErrorBody {
        match self {
            Self::Refused(refusal) => {
                let mut body = ErrorBody::new(refusal.code, refusal.message.clone());
                if let ErrorBody::Structured(body) = &mut body {
                    body.details.clone_from(&refusal.details);
                    body.suggestions.clone_from(&refusal.suggestions);
                }
                body
            }
            Self::Invalid(items) => ErrorBody::validation(items.clone()),
            Self::Store(error) => {
                let code = store_code(error);
                ErrorBody::new(code, code.message())
            }
            Self::Internal(_) => ErrorBody::new(ErrorCode::Internal, ErrorCode::Internal.message()),
        }
    }

    /// Whether another try may go better; then a `Retry-After` is due.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused(refusal) => {
                matches!(refusal.code.status(), 429 | 503)
                    || matches!(refusal.code, ErrorCode::QueueFull | ErrorCode::ChangedMeanwhile)
            }
            Self::Invalid(_) | Self::Internal(_) => false,
            Self::Store(error) => store_code(error) != ErrorCode::Internal,
        }
    }
}

/// A lost race gets a 409 without a code, which official clients repeat.
const fn store_code(error: &casemate_store::Error) -> ErrorCode {
    use casemate_store::Error as Store;
    match error {
        Store::Stale | Store::Conflict(_) => ErrorCode::ChangedMeanwhile,
        Store::Unavailable(_) | Store::Commit(_) => ErrorCode::DatabaseUnavailable,
        Store::Newer { .. } => ErrorCode::NewerVersion,
        Store::Corrupt { .. } | Store::Migrate(_) | Store::Backend(_) => ErrorCode::Internal,
    }
}
