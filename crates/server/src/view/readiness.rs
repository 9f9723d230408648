//! When an instance of an app takes requests.

use casemate_core::{id::AppId, ready::Check};

/// What is declared, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadinessView {
    /// The app.
    pub app: AppId,
    /// Who declares it.
    pub source: ReadinessSource,
    /// What is looked at; `None`: an instance takes requests as long as it is up.
    pub check: Option<Check>,
}

/// Who declares when an instance takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadinessSource {
    /// The workspace, through the API.
    Api,
    /// Labels of the newest instance's compose file.
    Label,
    /// Nobody.
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
