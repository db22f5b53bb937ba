//! Reading and checking the settings.

use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use super::Config;

/// Everything that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
#[error("the settings have {} fault(s):\n  - {}", .0.len(), .0.join("\n  - "))]
pub struct ConfigFaults(pub Vec<String>);

impl Config {
    /// Reads and checks all settings. `DATABASE_URL` and `REDIS_URL` win over the sections' own.
    pub fn load(file: Option<&std::path::Path>) -> Result<Config, ConfigFaults> {
        let mut builder = config::Config::builder();
        if let Some(file) = file {
            builder = builder.add_source(config::File::from(file));
        }
        let environment = config::Environment::with_prefix("IPARKING")
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true)
            .list_separator(",")
            .with_list_parse_key("payments.query_after_s")
            .with_list_parse_key("payments.return_hosts")
            .with_list_parse_key("payments.return_schemes");
        let raw = builder
            .add_source(environment)
            .build()
            .map_err(|error| ConfigFaults(vec![error.to_string()]))?;
        let mut faults = Vec::new();
        let mut config = Config {
            server: section(&raw, "server", &mut faults),
            database: section(&raw, "database", &mut faults),
            redis: section(&raw, "redis", &mut faults),
            auth: section(&raw, "auth", &mut faults),
            sms: section(&raw, "sms", &mut faults),
            outbound: section(&raw, "outbound", &mut faults),
            rate_limits: section(&raw, "rate_limits", &mut faults),
            reservations: section(&raw, "reservations", &mut faults),
            quotes: section(&raw, "quotes", &mut faults),
            payments: section(&raw, "payments", &mut faults),
            worker: section(&raw, "worker", &mut faults),
        };
        if let Some(url) = environment_value("DATABASE_URL") {
            config.database.url = SecretString::from(url);
        }
        if let Some(url) = environment_value("REDIS_URL") {
            config.redis.url = SecretString::from(url);
        }
        config.check(&mut faults);
        if faults.is_empty() { Ok(config) } else { Err(ConfigFaults(faults)) }
    }

    fn check(&self, faults: &mut Vec<String>) {
        let mut must = |holds: bool, text: &str| {
            if !holds {
                faults.push(text.to_owned());
            }
        };
        let long = |secret: &SecretString| secret.expose_secret().len() >= 32;
        must(
            self.database.url_exposed().starts_with("postgres"),
            "database.url: a postgres:// URL is needed (or DATABASE_URL)",
        );
        must(
            self.redis.url_exposed().starts_with("redis"),
            "redis.url: a redis:// URL is needed (or REDIS_URL)",
        );
        must(
            self.server.bind.parse::<std::net::SocketAddr>().is_ok(),
            "server.bind: an address and port, like 0.0.0.0:8080",
        );
        must(
            self.server.metrics_bind.parse::<std::net::SocketAddr>().is_ok(),
            "server.metrics_bind: an address and port",
        );
        must(
            url::Url::parse(&self.server.public_url).is_ok(),
            "server.public_url: an absolute URL",
        );
        must(long(&self.auth.secret), "auth.secret: at least 32 characters");
        must(self.auth.keys_dir.is_dir(), "auth.keys_dir: a directory with the signing keys");
        must(long(&self.quotes.secret), "quotes.secret: at least 32 characters");
        must(url::Url::parse(&self.sms.endpoint).is_ok(), "sms.endpoint: an absolute URL");
        must((30..=86_400).contains(&self.auth.access_token_s), "auth.access_token_s: 30 to 86400");
        must((1..=3_600).contains(&self.quotes.valid_s), "quotes.valid_s: 1 to 3600");
        must((1..=64).contains(&self.worker.concurrency), "worker.concurrency: 1 to 64");
        must(
            (2..=200).contains(&self.database.connections_max),
            "database.connections_max: 2 to 200",
        );
        must(!self.payments.query_after_s.is_empty(), "payments.query_after_s: at least one step");
        let vnpay = &self.payments.vnpay;
        must(vnpay.tmn_code.len() == 8, "payments.vnpay.tmn_code: 8 characters");
        must(!vnpay.secret.expose_secret().is_empty(), "payments.vnpay.secret: missing");
        must(url::Url::parse(&vnpay.pay_url).is_ok(), "payments.vnpay.pay_url: an absolute URL");
        must(url::Url::parse(&vnpay.api_url).is_ok(), "payments.vnpay.api_url: an absolute URL");
    }
}

/// One section; absent means all defaults. A fault is noted and the defaults stand in, so that
/// the other sections are still checked.
fn section<T: DeserializeOwned + Default>(
    raw: &config::Config,
    name: &str,
    faults: &mut Vec<String>,
) -> T {
    match raw.get::<T>(name) {
        Ok(section) => section,
        Err(config::ConfigError::NotFound(_)) => T::default(),
        Err(error) => {
            faults.push(format!("{name}: {error}"));
            T::default()
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the settings are where the environment is read")]
fn environment_value(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
