//! Readiness checks.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Maximum length of a path.
const MAX_PATH: usize = 1024;

/// A check of one published port: over HTTP if a path is given, else over TCP. Stored as JSON with an app
/// (`apps.readiness`) and in the facts of a compose file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// A port published by the compose file, 1–65535.
    pub port: u16,
    /// Path of a `GET` that must answer with 2xx or 3xx, starting with `/`; `None`: a connection is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Seconds between two checks, 1–300.
    #[serde(default = "interval")]
    pub interval_s: u32,
    /// Timeout of one check in seconds, 1–60.
    #[serde(default = "timeout")]
    pub timeout_s: u32,
    /// Consecutive failures that make an instance not ready, 1–20.
    #[serde(default = "threshold")]
    pub threshold: u32,
}

const fn interval() -> u32 {
    5
}

const fn timeout() -> u32 {
    2
}

const fn threshold() -> u32 {
    3
}

/// Why a check is invalid. `part` is `port`, `path`, `interval_s`, `timeout_s` or `threshold`; the reason
/// begins with a verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part} {reason}")]
pub struct InvalidCheck {
    pub part: &'static str,
    /// What it must be.
    pub reason: &'static str,
}

impl Check {
    /// A TCP check with default times.
    pub const fn tcp(port: u16) -> Self {
        Self {
            port,
            path: None,
            interval_s: interval(),
            timeout_s: timeout(),
            threshold: threshold(),
        }
    }

    /// An HTTP check with default times.
    pub fn http(port: u16, path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..Self::tcp(port) }
    }

    /// The same check, if all values are in range.
    pub fn checked(self) -> Result<Self, InvalidCheck> {
        let refuse = |part, reason| Err(InvalidCheck { part, reason });
        if self.port == 0 {
            return refuse("port", "must be 1 to 65535");
        }
        if let Some(path) = &self.path {
            let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
            if !path.starts_with('/') || !plain || path.len() > MAX_PATH {
                let reason = "must begin with / and be at most 1024 visible ASCII characters";
                return refuse("path", reason);
            }
        }
        if !(1..=300).contains(&self.interval_s) {
            return refuse("interval_s", "must be 1 to 300");
        }
        if !(1..=60).contains(&self.timeout_s) {
            return refuse("timeout_s", "must be 1 to 60");
        }
        if !(1..=20).contains(&self.threshold) {
            return refuse("threshold", "must be 1 to 20");
        }
        Ok(self)
    }

    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_s.into())
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s.into())
    }
}

/// `http 8080/healthz`, `tcp 5432`.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "http {}{path}", self.port),
            None => write!(f, "tcp {}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_named() {
        let good = Check::http(80, "/healthz?deep=1");
        assert_eq!(good.clone().checked(), Ok(good.clone()));
        let bad = [
            (Check { port: 0, ..good.clone() }, "port"),
            (Check::http(80, "healthz"), "path"),
            (Check::http(80, "/a b"), "path"),
            (Check::http(80, "/a#b"), "path"),
            (Check::http(80, format!("/{}", "x".repeat(MAX_PATH))), "path"),
            (Check { interval_s: 0, ..good.clone() }, "interval_s"),
            (Check { timeout_s: 61, ..good.clone() }, "timeout_s"),
            (Check { threshold: 0, ..good }, "threshold"),
        ];
        for (check, part) in bad {
            assert_eq!(check.checked().unwrap_err().part, part);
        }
    }

    #[test]
    fn what_is_stored_reads_back() {
        let read = |text: &str| serde_json::from_str::<Check>(text).unwrap();
        assert_eq!(read(r#"{"port":80}"#), Check::tcp(80));
        let check = Check { interval_s: 1, ..Check::http(80, "/") };
        assert_eq!(read(&serde_json::to_string(&check).unwrap()), check);
    }
}
