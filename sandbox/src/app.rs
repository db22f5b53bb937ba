//! What every handler shares, and the table of routes.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use reqwest::Url;
use tokio::sync::watch;

use crate::books::Books;
use crate::clock::Clock;
use crate::faults::Faults;
use crate::problem::Problem;
use crate::sms::Outbox;
use crate::{control, sms, vnpay};

/// The largest body that anybody sends here is a gateway request of about 2 kB.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// VNPAY's own test tool waits this long for an IPN's answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// How the VNPAY side is set up. No `Debug`: it holds the secret.
#[derive(Clone)]
pub struct VnpayConfig {
    /// The merchant's terminal.
    pub tmn_code: String,
    /// The hash secret, used as bytes.
    pub secret: String,
    /// Where IPNs go; calls take turns over them, as over a load balancer.
    pub ipn_urls: Vec<Url>,
    /// Templates with `{merchant_ref}` that answer with an order's pay link.
    pub orders_urls: Vec<String>,
    /// Pause between two calls of one IPN.
    pub ipn_retry: Duration,
    /// Calls of one IPN until it is given up.
    pub ipn_max_calls: u32,
    /// How long a refund is "in process".
    pub refund_delay: Duration,
}

/// The sandbox's whole state.
pub struct Sandbox {
    /// Time.
    pub clock: Clock,
    /// Orders and money.
    pub books: Books,
    /// What is to go wrong.
    pub faults: Faults,
    /// Messages sent.
    pub sms: Outbox,
    /// VNPAY's set-up; waiting notifications wake when it changes.
    pub vnpay: watch::Sender<VnpayConfig>,
    /// Counts answered notifications, for those held back until a later one was answered.
    pub answered: watch::Sender<u64>,
    /// Calls the merchant.
    pub http: reqwest::Client,
}

impl Sandbox {
    /// Puts the parts together.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(clock: Clock, books: Books, vnpay: VnpayConfig) -> anyhow::Result<Self> {
        Ok(Self {
            clock,
            books,
            faults: Faults::default(),
            sms: Outbox::default(),
            vnpay: watch::Sender::new(vnpay),
            answered: watch::Sender::new(0),
            http: http_client()?,
        })
    }

    /// VNPAY's set-up at this moment.
    pub fn vnpay_config(&self) -> VnpayConfig {
        self.vnpay.borrow().clone()
    }
}

#[expect(clippy::disallowed_methods, reason = "the sandbox has no breaker: it is a test tool")]
fn http_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .timeout(CALL_TIMEOUT)
        .no_proxy()
        // A kept connection may be closing at the other end, and a failed call waits for minutes.
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        // The merchant is on this machine; a fresh one has no root certificates to load.
        .tls_certs_only([])
        .build()
}

/// All routes.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .app_data(web::PayloadConfig::new(BODY_BYTES_MAX))
        .app_data(web::FormConfig::default().limit(BODY_BYTES_MAX))
        .service(web::resource("/healthz").get(healthz))
        .service(web::resource("/sms").get(sms::list).post(sms::send))
        .configure(control::configure)
        .configure(vnpay::configure)
        .default_service(web::to(nothing_here));
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "status": "ok" }))
}

async fn nothing_here() -> Result<HttpResponse, Problem> {
    Err(Problem::not_found("not_found", "there is nothing at this address"))
}
