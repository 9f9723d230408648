//! Services of an app that do not do what they should, as a node sees them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A service that does not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFault {
    /// Its name in the compose file.
    pub service: String,
    /// What is wrong.
    pub kind: FaultKind,
    /// The last lines of its output.
    #[serde(default)]
    pub log: Vec<String>,
    /// When it was seen first.
    pub at: Timestamp,
}

/// What is wrong with a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum FaultKind {
    /// It ended, and is not started again.
    Exited {
        /// Its exit code.
        code: i64,
    },
    /// It ends and is started again, over and over.
    Restarting {
        /// Its last exit code.
        code: i64,
    },
    /// It runs, and its health check fails.
    Unhealthy,
    /// It was not started.
    NotStarted,
    /// Its image cannot be pulled.
    NoImage {
        /// The image.
        image: String,
    },
}

impl FaultKind {
    /// The code of the cause in replies.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Exited { .. } => "service_exited",
            Self::Restarting { .. } => "service_restarting",
            Self::Unhealthy => "service_unhealthy",
            Self::NotStarted => "service_not_started",
            Self::NoImage { .. } => "image_unavailable",
        }
    }
}

impl ServiceFault {
    /// What is wrong, without output: that is not for everybody.
    pub fn summary(&self) -> String {
        let what = match &self.kind {
            FaultKind::Exited { code } => format!("exited with {code}"),
            FaultKind::Restarting { code } => {
                format!("restarts in a loop, the last time it exited with {code}")
            }
            FaultKind::Unhealthy => "is unhealthy: its health check fails".to_owned(),
            FaultKind::NotStarted => "was not started".to_owned(),
            FaultKind::NoImage { image } => {
                format!("has the image {image}, which cannot be pulled")
            }
        };
        format!("service {} {what}", self.service)
    }
}

impl fmt::Display for ServiceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())?;
        if self.log.is_empty() {
            Ok(())
        } else {
            write!(f, "; its last output: {}", self.log.join(" / "))
        }
    }
}
