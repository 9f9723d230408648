//! When an instance of an app takes requests; the same in every version.

use casemate_api::reply::{Readiness, ReadinessCheck};

use crate::view::ReadinessView;

/// `/apps/{id}/readiness`.
pub fn readiness(view: &ReadinessView) -> Readiness {
    Readiness {
        app_id: view.app.to_string(),
        source: view.source.as_str().to_owned(),
        check: view.check.as_ref().map(|check| ReadinessCheck {
            kind: if check.path.is_some() { "http" } else { "tcp" }.to_owned(),
            port: check.port,
            path: check.path.clone(),
            interval_s: check.interval_s,
            timeout_s: check.timeout_s,
            threshold: check.threshold,
        }),
    }
}
