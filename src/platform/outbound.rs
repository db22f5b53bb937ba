//! Calls to other servers: one client with time-outs, metrics and a breaker per host.
//!
//! Nobody may call out while a database transaction is open. An error here means *unknown* for
//! anything that moves money: the other side may have acted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::config::OutboundConfig;

/// The most bytes of an answer that are read; providers answer in a few kilobytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The HTTP client for everything outside.
#[derive(Clone)]
pub struct Outbound {
    client: Option<reqwest::Client>,
    breaker: Arc<Mutex<HashMap<String, HostHealth>>>,
    failures_max: u32,
    open_for: Duration,
}

#[derive(Default)]
struct HostHealth {
    failures: u32,
    open_until: Option<Instant>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The host failed too often a moment ago; the call was not made.
    #[error("the host is left alone after failures")]
    BreakerOpen,
    /// The connection was not made: the other side has not seen the call.
    #[error("no connection")]
    NotSent(#[source] reqwest::Error),
    /// The call went out and no usable answer came: the outcome is unknown.
    #[error("no answer")]
    Unknown(#[source] Option<reqwest::Error>),
}

/// An answer from outside.
#[derive(Debug, Clone)]
pub struct OutboundAnswer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Outbound {
    /// Prepares the client: no redirects, no proxy from the environment.
    #[expect(clippy::disallowed_methods, reason = "the one place where the client is made")]
    pub fn new(config: &OutboundConfig) -> Outbound {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_millis(config.timeout_ms))
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(32)
            .user_agent("iparking/0.1")
            .build()
            .ok();
        Outbound {
            client,
            breaker: Arc::default(),
            failures_max: config.breaker_failures,
            open_for: Duration::from_millis(config.breaker_open_ms),
        }
    }

    /// Posts JSON and reads the answer. `what` names the call in metrics.
    pub async fn post_json(
        &self,
        what: &'static str,
        url: &str,
        body: &impl Serialize,
    ) -> Result<OutboundAnswer, OutboundError> {
        let client = self.client.as_ref().ok_or(OutboundError::BreakerOpen)?;
        self.send(what, url, client.post(url).json(body), ANSWER_BYTES_MAX).await
    }

    /// Gets an answer of at most `bytes_max` bytes.
    pub async fn get(
        &self,
        what: &'static str,
        url: &str,
        bytes_max: usize,
    ) -> Result<OutboundAnswer, OutboundError> {
        let client = self.client.as_ref().ok_or(OutboundError::BreakerOpen)?;
        self.send(what, url, client.get(url), bytes_max).await
    }

    /// Whether calls to this URL's host are made at the moment.
    pub fn is_open(&self, url: &str) -> bool {
        let breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        breaker
            .get(&host_of(url))
            .and_then(|health| health.open_until)
            .is_none_or(|until| Instant::now() >= until)
    }

    async fn send(
        &self,
        what: &'static str,
        url: &str,
        request: reqwest::RequestBuilder,
        bytes_max: usize,
    ) -> Result<OutboundAnswer, OutboundError> {
        if !self.is_open(url) {
            metrics::counter!("outbound_total", "call" => what, "outcome" => "breaker")
                .increment(1);
            return Err(OutboundError::BreakerOpen);
        }
        let started = Instant::now();
        let outcome = read_answer(request, bytes_max).await;
        let word = if outcome.is_ok() { "answered" } else { "failed" };
        metrics::counter!("outbound_total", "call" => what, "outcome" => word).increment(1);
        metrics::histogram!("outbound_seconds", "call" => what).record(started.elapsed());
        self.note(url, outcome.as_ref().is_ok_and(|answer| answer.status < 500));
        outcome
    }

    fn note(&self, url: &str, went_well: bool) {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let health = breaker.entry(host_of(url)).or_default();
        if went_well {
            *health = HostHealth::default();
            return;
        }
        health.failures = health.failures.saturating_add(1);
        if health.failures >= self.failures_max {
            health.open_until = Some(Instant::now() + self.open_for);
        }
    }
}

async fn read_answer(
    request: reqwest::RequestBuilder,
    bytes_max: usize,
) -> Result<OutboundAnswer, OutboundError> {
    let mut response = request.send().await.map_err(|error| {
        if error.is_connect() {
            OutboundError::NotSent(error.without_url())
        } else {
            OutboundError::Unknown(Some(error.without_url()))
        }
    })?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| OutboundError::Unknown(Some(error.without_url())))?
    {
        if body.len().saturating_add(chunk.len()) > bytes_max {
            return Err(OutboundError::Unknown(None));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(OutboundAnswer { status, body })
}

fn host_of(url: &str) -> String {
    url::Url::parse(url)
        .ok()
        .and_then(|url| {
            url.host_str().map(|host| format!("{host}:{:?}", url.port_or_known_default()))
        })
        .unwrap_or_default()
}
