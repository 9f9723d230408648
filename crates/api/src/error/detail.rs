//! The parts of error bodies.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `detail` of a plain error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Detail {
    /// Text for people.
    Text(String),
    /// An object, as the device login answers: `{"error": "authorization_pending"}`.
    Object(Map<String, Value>),
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Object(object) => match object.get("message").or_else(|| object.get("error")) {
                Some(Value::String(text)) => f.write_str(text),
                _ => write!(f, "{}", Value::Object(object.clone())),
            },
        }
    }
}

/// A fact about an error, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorDetail {
    /// Name of the field, for example `compose_hash`.
    pub field: String,
    /// Its value, any JSON; `null` if there is none to tell.
    #[serde(default)]
    pub value: Option<Value>,
    /// What about it.
    #[serde(default)]
    pub message: Option<String>,
}

impl ErrorDetail {
    /// A field and its value.
    pub fn value(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { field: field.into(), value: Some(value.into()), message: None }
    }

    /// A field and what about it.
    pub fn message(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), value: None, message: Some(message.into()) }
    }
}

/// Where to read more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorLink {
    /// Absolute URL.
    pub url: String,
    /// Its title.
    pub label: String,
}

/// One thing wrong with a request, in pydantic's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ValidationItem {
    /// Where: `["body", "compose_file", "docker_compose_file"]`, list positions as numbers.
    pub loc: Vec<Value>,
    /// What, for people.
    pub msg: String,
    /// What, for programs: `missing`, `string_type`, `int_from_float`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// What was sent there, unless it is large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
}

impl ValidationItem {
    /// Something wrong at a place of named steps, with the text that was sent.
    pub fn at(loc: &[&str], kind: &str, msg: &str, input: &str) -> Self {
        Self { input: Some(Value::from(input)), ..Self::new(loc, kind, msg) }
    }

    /// Something wrong at a place of named steps, the first of them `body`, `query`, `path` or
    /// `header`.
    pub fn new(loc: &[&str], kind: &str, msg: &str) -> Self {
        Self {
            loc: loc.iter().map(|step| Value::from(*step)).collect(),
            msg: msg.to_owned(),
            kind: kind.to_owned(),
            input: None,
        }
    }

    /// A field that must be there and is not.
    pub fn missing(loc: &[&str]) -> Self {
        Self::new(loc, "missing", "Field required")
    }
}

impl fmt::Display for ValidationItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.loc.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            match step {
                Value::String(name) => write!(f, "{dot}{name}")?,
                other => write!(f, "{dot}{other}")?,
            }
        }
        write!(f, ": {}", self.msg)
    }
}
