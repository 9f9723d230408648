//! Metrics of this process. Logs are set up by the binary.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

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

    /// The metrics in Prometheus' text form.
    pub fn render(&self) -> String {
        self.0.as_ref().map(PrometheusHandle::render).unwrap_or_default()
    }
}
