//! Logs as JSON lines on standard error, metrics in Prometheus' text form.
//!
//! `docs/LOGGING.md` lists field names, levels and what is never logged.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

/// How often recorded durations are added up. Until then each is kept by itself.
const ADD_UP_EVERY: Duration = Duration::from_secs(2);

/// Upper bounds of the classes in which durations are counted.
const SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// Upper bounds for sizes of groups.
const SIZES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

tokio::task_local! {
    /// The id of the request (or of the request that caused the job) at work.
    static REQUEST_ID: String;
}

/// Starts logging and metrics; a second call changes nothing.
pub fn start(default_filter: &str) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter));
    // Fails when a subscriber is already set, as in tests; then that one stays.
    drop(
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .with_env_filter(filter)
            .try_init(),
    );
    start_metrics();
}

/// Installs the metrics recorder once per process.
pub fn start_metrics() {
    METRICS.get_or_init(|| {
        let recorder = builder().build_recorder();
        let handle = recorder.handle();
        drop(metrics::set_global_recorder(recorder));
        let to_add_up = handle.clone();
        let adding_up = move || {
            loop {
                std::thread::sleep(ADD_UP_EVERY);
                to_add_up.run_upkeep();
            }
        };
        // Without it, memory would grow with every request until somebody asks for `/metrics`.
        if let Err(error) = std::thread::Builder::new().name("metrics".into()).spawn(adding_up) {
            tracing::error!(%error, "metrics are added up only when they are asked for");
        }
        handle
    });
}

fn builder() -> PrometheusBuilder {
    // Only an empty list of bounds is refused.
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_size".into()), &SIZES))
        .unwrap_or_default()
}

/// All metrics in Prometheus' text form.
pub fn render_metrics() -> String {
    METRICS.get().map(PrometheusHandle::render).unwrap_or_default()
}

/// Runs `work` as part of the request with this id.
pub async fn with_request_id<T>(id: String, work: impl Future<Output = T>) -> T {
    REQUEST_ID.scope(id, work).await
}

/// The id of the request at work, if there is one.
pub fn current_request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}
