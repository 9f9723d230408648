//! Metrics of this process. Logs are set up by the binary.

use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// The way to read the metrics.
#[derive(Clone)]
pub struct Metrics(Option<PrometheusHandle>);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Begins to collect. In a process that collects already this one shows nothing.
    pub fn install() -> Self {
        Self(PrometheusBuilder::new().install_recorder().ok())
    }

    /// Sums up what was measured until told to stop: single measurements are kept in memory until then,
    /// whether or not anybody asks for the metrics.
    pub async fn keep_up(self, stop: CancellationToken) {
        const EVERY: Duration = Duration::from_secs(5);
        let Some(handle) = self.0 else { return };
        while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            handle.run_upkeep();
        }
    }

    /// The metrics in Prometheus' text form.
    pub fn render(&self) -> String {
        self.0.as_ref().map(PrometheusHandle::render).unwrap_or_default()
    }
}
