//! Settings: defaults here, an optional TOML file, then the environment (`IPARKING__SECTION__KEY`).
//!
//! All of them are checked at start and every fault is reported at once. Secrets have no `Debug`
//! and are never printed. `.env.example` lists every variable.

mod load;

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

pub use load::ConfigFaults;

/// Every setting of the product.
#[derive(Clone, Default)]
pub struct Config {
    /// The API server.
    pub server: ServerConfig,
    /// PostgreSQL.
    pub database: DatabaseConfig,
    /// Redis.
    pub redis: RedisConfig,
    /// Logins and tokens.
    pub auth: AuthConfig,
    /// Text messages.
    pub sms: SmsConfig,
    /// Calls to other servers.
    pub outbound: OutboundConfig,
    /// Limits on how often a caller may call.
    pub rate_limits: RateLimitConfig,
    /// Holds.
    pub reservations: ReservationConfig,
    /// Quotes.
    pub quotes: QuoteConfig,
    /// Payments and their providers.
    pub payments: PaymentConfig,
    /// Background work.
    pub worker: WorkerConfig,
}

/// `server`: where the API listens and how it behaves under load.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address and port of the public interface.
    pub bind: String,
    /// Address and port of `/metrics`; private.
    pub metrics_bind: String,
    /// The address under which callers reach us, without a slash at the end.
    pub public_url: String,
    /// Worker threads; 0 = one per processor.
    pub workers: usize,
    /// Seconds that requests in flight have when the server stops.
    pub drain_s: u64,
    /// Open connections per worker thread; more wait in the kernel's queue.
    pub connections_max: usize,
    /// Milliseconds in which a request's body must have arrived.
    pub body_timeout_ms: u64,
    /// `true` only in `iparking dev`: opens what the sandbox needs on the private port.
    pub dev: bool,
    /// Take the caller's address from `X-Forwarded-For`: only behind a proxy that sets it.
    pub trust_forwarded_for: bool,
}

/// `database`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    url: SecretString,
    /// Connections in the pool: 16 gave the most settlements a second on two processors.
    pub connections_max: u32,
    /// Milliseconds to wait for a free connection before answering 503.
    pub acquire_timeout_ms: u64,
}

impl DatabaseConfig {
    /// Settings for a database at `url`, other values as by default.
    pub fn at(url: &str) -> DatabaseConfig {
        DatabaseConfig { url: SecretString::from(url.to_owned()), ..DatabaseConfig::default() }
    }

    /// The connection URL, which may hold a password.
    pub fn url_exposed(&self) -> &str {
        self.url.expose_secret()
    }
}

/// `redis`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    url: SecretString,
    /// Put before every key, so that several installations can share a server.
    pub prefix: String,
    /// Milliseconds to wait for an answer.
    pub timeout_ms: u64,
}

impl RedisConfig {
    /// Settings for a Redis at `url`.
    pub fn at(url: &str, prefix: &str) -> RedisConfig {
        RedisConfig {
            url: SecretString::from(url.to_owned()),
            prefix: prefix.to_owned(),
            ..RedisConfig::default()
        }
    }

    /// The connection URL, which may hold a password.
    pub fn url_exposed(&self) -> &str {
        self.url.expose_secret()
    }
}

/// `auth`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Directory with the signing keys: one PKCS#8 PEM (Ed25519) per file, the file's stem is the
    /// key id. The last in alphabetical order signs; all verify.
    pub keys_dir: PathBuf,
    /// `iss` of our tokens.
    pub issuer: String,
    /// Keys the hashes of codes and the chain of refresh tokens. At least 32 characters.
    pub secret: SecretString,
    /// Seconds an access token is good for.
    pub access_token_s: i64,
    /// Days a refresh token is good for.
    pub refresh_token_days: i64,
    /// Seconds a one-time code is good for.
    pub otp_s: i64,
    /// Text messages with codes that may go out in an hour, over all numbers: the cost cap.
    pub otp_per_hour_max: i64,
}

/// `sms`.
#[derive(Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct SmsConfig {
    /// Where text messages are posted as `{"to", "text"}`.
    pub endpoint: String,
}

/// `outbound`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboundConfig {
    /// Milliseconds for a whole call to another server.
    pub timeout_ms: u64,
    /// Milliseconds for its connection.
    pub connect_timeout_ms: u64,
    /// Failures in a row after which a host is left alone for a while.
    pub breaker_failures: u32,
    /// Milliseconds that it is left alone.
    pub breaker_open_ms: u64,
}

/// `rate_limits`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitConfig {
    /// Off only in development, where load and races come from one address.
    pub enabled: bool,
}

/// `reservations`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReservationConfig {
    /// Live holds that one driver may have, over all vehicles.
    pub live_per_driver_max: i64,
    /// Holds that a driver may let run out within an hour before new ones are refused.
    pub expired_per_hour_max: i64,
}

/// `quotes`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuoteConfig {
    /// Signs quotes. At least 32 characters.
    pub secret: SecretString,
    /// Seconds that a quote binds.
    pub valid_s: i64,
}

/// `payments`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaymentConfig {
    /// Seconds until a payment that nobody finished expires.
    pub expire_s: i64,
    /// Seconds after creation at which the provider is asked; the last step repeats, doubling.
    pub query_after_s: Vec<i64>,
    /// Hosts to which the browser may be sent back, besides app schemes; loopback in development.
    pub return_hosts: Vec<String>,
    /// App schemes (`iparking`) to which the browser may be sent back.
    pub return_schemes: Vec<String>,
    /// VNPAY.
    pub vnpay: VnpayConfig,
}

/// `payments.vnpay`: hosts and keys come from VNPAY with the contract.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VnpayConfig {
    /// Terminal code, 8 characters.
    pub tmn_code: String,
    /// Hash secret, used as bytes.
    pub secret: SecretString,
    /// The pay page.
    pub pay_url: String,
    /// querydr and refund.
    pub api_url: String,
    /// Our server's address as VNPAY sees it.
    pub server_ip: String,
}

/// `worker`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerConfig {
    /// Jobs at work at the same time.
    pub concurrency: usize,
    /// Milliseconds between looks for due jobs.
    pub poll_ms: u64,
    /// Seconds after which a job whose worker died is taken by another.
    pub lease_s: i64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            bind: "127.0.0.1:8080".into(),
            metrics_bind: "127.0.0.1:9090".into(),
            public_url: "http://127.0.0.1:8080".into(),
            workers: 0,
            drain_s: 15,
            connections_max: 10_000,
            body_timeout_ms: 5_000,
            dev: false,
            trust_forwarded_for: false,
        }
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        DatabaseConfig {
            url: SecretString::default(),
            connections_max: 16,
            acquire_timeout_ms: 3_000,
        }
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        RedisConfig { url: SecretString::default(), prefix: "iparking:".into(), timeout_ms: 150 }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        AuthConfig {
            keys_dir: PathBuf::new(),
            issuer: "https://iparking.vn".into(),
            secret: SecretString::default(),
            access_token_s: 600,
            refresh_token_days: 60,
            otp_s: 180,
            otp_per_hour_max: 5_000,
        }
    }
}

impl Default for OutboundConfig {
    fn default() -> Self {
        OutboundConfig {
            timeout_ms: 5_000,
            connect_timeout_ms: 1_000,
            breaker_failures: 5,
            breaker_open_ms: 5_000,
        }
    }
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        RateLimitConfig { enabled: true }
    }
}

impl Default for ReservationConfig {
    fn default() -> Self {
        ReservationConfig { live_per_driver_max: 3, expired_per_hour_max: 5 }
    }
}

impl Default for QuoteConfig {
    fn default() -> Self {
        QuoteConfig { secret: SecretString::default(), valid_s: 900 }
    }
}

impl Default for PaymentConfig {
    fn default() -> Self {
        PaymentConfig {
            expire_s: 900,
            query_after_s: vec![120, 300, 600],
            return_hosts: Vec::new(),
            return_schemes: vec!["iparking".into()],
            vnpay: VnpayConfig::default(),
        }
    }
}

impl Default for VnpayConfig {
    fn default() -> Self {
        VnpayConfig {
            tmn_code: String::new(),
            secret: SecretString::default(),
            pay_url: String::new(),
            api_url: String::new(),
            server_ip: "127.0.0.1".into(),
        }
    }
}

impl Default for WorkerConfig {
    fn default() -> Self {
        WorkerConfig { concurrency: 8, poll_ms: 200, lease_s: 60 }
    }
}
