//! Faulty services of an app, as observed by a node.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// A faulty service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFault {
    /// Name in the compose file.
    pub service: String,
    pub kind: FaultKind,
    /// Last lines of its output.
    #[serde(default)]
    pub log: Vec<String>,
    /// When it was first observed.
    pub at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum FaultKind {
    /// It exited and is not restarted.
    Exited {
        code: i64,
    },
    /// It exits and is restarted repeatedly.
    Restarting {
        /// Exit code of the last run.
        code: i64,
    },
    /// It runs, but its health check fails.
    Unhealthy,
    NotStarted,
    /// Its image cannot be pulled.
    NoImage {
        image: String,
    },
}

impl FaultKind {
    /// The failure code in replies.
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
    /// The fault without output, which not everybody may see.
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
