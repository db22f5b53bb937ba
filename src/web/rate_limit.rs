//! How often callers may call.
//!
//! Changes are counted in Redis, so that the limit holds over all servers; while Redis is away
//! each server counts for itself (its breaker answers at once, so nobody waits for time-outs).
//! Reads, and with them the search, are counted in each server's memory only: nothing on their
//! path may wait for Redis, so with N servers a caller can read N times as much. So are messages
//! of payment providers, which must not be refused for any fault of ours.
//!
//! Limits guard against floods and guessing, not against heavy use: they are far above what one
//! person does. Callers are known by their login or key, strangers by their address.

use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::net::IpAddr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};

use super::extract::client_addr;
use super::gcra::{Limit, LocalLimits, Quota, admit_shared};
use super::problem::{Code, Problem};
use crate::platform::App;

/// A kind of call with its own quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumIter, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum CallKind {
    /// Reads by strangers: search, lots, live changes.
    PublicRead,
    /// Computing for strangers: quotes.
    PublicWrite,
    /// Reads by people who are logged in.
    Read,
    /// Changes by people who are logged in.
    Change,
    /// Anything by an operator's machine.
    Device,
    /// Logging in and out, per address.
    Login,
    /// Credentials that were not believed, per address.
    BadCredentials,
    /// Messages of payment providers, per address.
    ProviderMessage,
}

impl CallKind {
    /// How often.
    pub fn quota(self) -> Quota {
        let a_minute = match self {
            // A phone that follows the map asks once a second; many phones share one address.
            Self::PublicRead => 600,
            Self::PublicWrite | Self::Change => 120,
            Self::Read | Self::BadCredentials => 300,
            // One machine may report for a hundred lots a second.
            Self::Device => 6_000,
            Self::Login => 60,
            Self::ProviderMessage => 30_000,
        };
        Quota::per(a_minute, 60)
    }

    fn is_shared(self) -> bool {
        match self {
            Self::PublicWrite | Self::Change | Self::Device | Self::Login => true,
            Self::PublicRead | Self::Read | Self::BadCredentials | Self::ProviderMessage => false,
        }
    }

    fn limit(self, caller: &str) -> Limit {
        let name: &str = self.into();
        Limit { key: format!("{name}:{caller}"), quota: self.quota() }
    }
}

/// A call too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many calls, wait {retry_after_s} s")]
pub struct TooMany {
    /// Seconds until the next call passes.
    pub retry_after_s: u64,
}

impl From<TooMany> for Problem {
    fn from(too_many: TooMany) -> Problem {
        Problem::new(Code::RateLimited)
            .detail(format!("Wait {} seconds before trying again.", too_many.retry_after_s))
            .retry_after_s(too_many.retry_after_s)
    }
}

impl TooMany {
    fn after_ms(wait_ms: i64) -> Self {
        let wait_ms = u64::try_from(wait_ms).unwrap_or(0);
        Self { retry_after_s: wait_ms.div_ceil(1_000).max(1) }
    }
}

/// The limits of one server process. Shared by its threads as `web::Data`.
pub struct RateLimits {
    app: App,
    local: LocalLimits,
}

impl RateLimits {
    /// Limits as configured.
    pub fn new(app: &App) -> Self {
        Self { app: app.clone(), local: LocalLimits::default() }
    }

    /// Whether limits are counted at all; off only in development.
    pub fn are_on(&self) -> bool {
        self.app.config().rate_limits.enabled
    }

    /// Charges one call to `caller`.
    pub async fn charge(&self, kind: CallKind, caller: &str) -> Result<(), TooMany> {
        if kind.is_shared() {
            self.charge_all(&[kind.limit(caller)]).await
        } else {
            self.charge_here(kind, caller)
        }
    }

    /// Charges one call in this server's memory, without waiting for anyone.
    pub fn charge_here(&self, kind: CallKind, caller: &str) -> Result<(), TooMany> {
        if !self.are_on() {
            return Ok(());
        }
        let quota = kind.quota();
        self.local.admit_caller((kind, caller), quota, self.app.now()).map_err(TooMany::after_ms)
    }

    /// Charges one call to an address in this server's memory: for the hottest paths.
    pub fn charge_address_here(&self, kind: CallKind, address: IpAddr) -> Result<(), TooMany> {
        if !self.are_on() {
            return Ok(());
        }
        // As in `address_bucket`, without making a text of it.
        let caller = match address.to_canonical() {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => {
                u64::try_from(address.to_bits() >> 64).unwrap_or_default() | 1 << 63
            }
        };
        let quota = kind.quota();
        self.local.admit_caller((kind, caller), quota, self.app.now()).map_err(TooMany::after_ms)
    }

    /// Charges several limits together over all servers: all admit, or none is charged.
    pub async fn charge_all(&self, limits: &[Limit]) -> Result<(), TooMany> {
        if !self.are_on() {
            return Ok(());
        }
        let now = self.app.now();
        match admit_shared(self.app.redis(), limits, now).await {
            Ok(admitted) => admitted.map_err(TooMany::after_ms),
            Err(_down) => self.local.admit_all(limits, now).map_err(TooMany::after_ms),
        }
    }
}

/// A call kind as a handler's argument.
pub trait LimitedCall: 'static {
    /// Which.
    const KIND: CallKind;
}

/// See [`CallKind::PublicRead`].
pub struct PublicRead;
/// See [`CallKind::ProviderMessage`].
pub struct ProviderMessage;

impl LimitedCall for PublicRead {
    const KIND: CallKind = CallKind::PublicRead;
}

impl LimitedCall for ProviderMessage {
    const KIND: CallKind = CallKind::ProviderMessage;
}

/// Proof that the caller's address was charged for this call, in this server's memory.
pub struct Limited<C>(PhantomData<C>);

impl<C: LimitedCall> FromRequest for Limited<C> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let admitted = match request.app_data::<web::Data<RateLimits>>() {
            Some(limits) => limits.charge_address_here(C::KIND, client_addr(request).0),
            None => Ok(()),
        };
        ready(admitted.map(|()| Self(PhantomData)).map_err(Problem::from))
    }
}

/// An address as a limit's key. An IPv6 caller owns a /64, so that is one caller.
pub fn address_bucket(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => prefix(&address.segments(), 4),
    }
}

/// An address's neighbourhood as a limit's key: an IPv4 /24 or an IPv6 /48.
pub fn address_neighbourhood(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(address) => prefix(&address.segments(), 3),
    }
}

fn prefix(segments: &[u16; 8], kept: usize) -> String {
    let kept: Vec<String> = segments.iter().take(kept).map(|part| format!("{part:x}")).collect();
    format!("{}::", kept.join(":"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("203.0.113.9", "203.0.113.9", "203.0.113.0/24")]
    #[case("::ffff:203.0.113.9", "203.0.113.9", "203.0.113.0/24")]
    #[case("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", "2001:db8:1::")]
    fn addresses_fall_into_buckets(
        #[case] address: IpAddr,
        #[case] bucket: &str,
        #[case] neighbourhood: &str,
    ) {
        assert_eq!(address_bucket(address), bucket);
        assert_eq!(address_neighbourhood(address), neighbourhood);
    }
}
