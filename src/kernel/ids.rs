//! Typed ids over `UUIDv7` (RFC 9562 section 5.7): ordered by time, so indexes stay compact.
//!
//! A v7 id tells when it was made; it is never used as a secret.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use rand::Rng;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Makes a `UUIDv7` of an instant and eighty random bits.
pub fn uuid_v7(now: Timestamp, rng: &mut impl Rng) -> Uuid {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let mut random = [0_u8; 10];
    rng.fill_bytes(&mut random);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type,
        )]
        #[sqlx(transparent)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps an id that was read from the database or a request.
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The bare UUID, for SQL arguments.
            pub const fn get(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }
    )+};
}

typed_ids! {
    /// A driver: a person with a phone number.
    DriverId,
    /// A member of an operator's or the platform's staff.
    StaffId,
    /// A company that runs lots.
    OperatorId,
    /// An operator's API key.
    ApiKeyId,
    /// A family of refresh tokens: one login.
    LoginId,
    /// A one-time-code challenge.
    ChallengeId,
    /// A driver's vehicle.
    VehicleId,
    /// A place to park.
    LotId,
    /// A tariff of an operator.
    TariffId,
    /// One immutable version of a tariff.
    TariffVersionId,
    /// A price promised for a while.
    QuoteId,
    /// A hold on a space.
    ReservationId,
    /// A stay from entry to exit.
    ParkingSessionId,
    /// One attempt to collect money.
    PaymentId,
    /// Money on its way back.
    RefundId,
    /// A double-entry transfer.
    TransferId,
    /// A background job.
    JobId,
    /// A message from a provider, as received.
    MessageId,
}
