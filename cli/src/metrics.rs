//! Counting, for Prometheus.

use std::net::SocketAddr;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::exit::{Exit, Result};

/// Seconds that a task may take: the bounds that dashboards of such systems expect.
const TASK_BUCKETS: &[f64] = &[1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Seconds that a request may take.
const REQUEST_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Begins to count; what was counted is read through the handle.
pub(crate) fn record() -> Result<PrometheusHandle> {
    builder()?.install_recorder().map_err(cannot)
}

/// Begins to count, and tells whoever asks at this address: for a worker without an API.
pub(crate) fn serve(address: SocketAddr) -> Result {
    // Whether the port is free is not said by the exporter before somebody asks it in vain.
    let free = std::net::TcpListener::bind(address);
    drop(free.map_err(|error| {
        Exit::Error(format!(
            "--metrics: cannot listen on {address}: {error}; name another address"
        ))
    })?);
    let served = builder()?.with_http_listener(address).install();
    served.map_err(cannot)
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn cannot(error: BuildError) -> Exit {
    Exit::Error(format!("cannot count: {error}"))
}

fn builder() -> Result<PrometheusBuilder> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Full("aquatint_task_duration_seconds".to_owned()),
            TASK_BUCKETS,
        )
        .map_err(cannot)?
        .set_buckets_for_metric(
            Matcher::Full("aquatint_http_request_duration_seconds".to_owned()),
            REQUEST_BUCKETS,
        )
        .map_err(cannot)
}
