//! The readiness check of an app.

use casemate_core::{id::AppId, ready::Check};

/// The check and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadinessView {
    pub app: AppId,
    pub source: ReadinessSource,
    /// `None`: an instance is ready while it is up.
    pub check: Option<Check>,
}

/// The source of a readiness check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadinessSource {
    /// Set by the workspace through the API.
    Api,
    /// Labels in the compose file of the newest instance.
    Label,
    /// No check.
    None,
}

impl ReadinessSource {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Label => "label",
            Self::None => "none",
        }
    }
}
