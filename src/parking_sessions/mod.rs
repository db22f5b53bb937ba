//! From entry to exit: what a vehicle's stay is, costs and owes.
//!
//! A stay starts from a hold, with an own vehicle, or with a plate that a driver or an attendant
//! types. The lot decides how time is sold: the fare is owed when the vehicle leaves, or some
//! time is bought at the start and extended. The tariff version, the tax and the shares of the
//! fare are frozen at the start. Every amount that a session comes to owe is a row of
//! `session_charges` with one posting in the ledger; `fare_vnd` is their sum.
//!
//! One plate and class has one open session. A session that nobody stops is priced as if stopped
//! at `forgotten_at` and ended then. Payments know parking, parking does not know payments: who
//! pays and how is none of this module's business.
//!
//! Locks are taken in the order: idempotency key, capacity rows by lot and class, reservation,
//! session.

pub mod charge_store;
pub mod charges;
pub mod correct;
pub mod fare;
pub mod http;
pub mod list_store;
pub mod service;
pub mod start;
pub mod stop;
pub mod store;
pub mod tariff;
pub mod terms_store;
pub mod view;

use jiff::Timestamp;

use crate::kernel::ids::{
    DriverId, LotId, OperatorId, ParkingSessionId, QuoteId, ReservationId, StaffId,
    TariffVersionId, VehicleId,
};
use crate::kernel::money::{OutOfRange, Vnd};
use crate::kernel::plate::Plate;
use crate::kernel::vehicle::VehicleClass;
use crate::ledger::chart::Shares;
use crate::lots::SaleMode;
use crate::reservations::{ReservationError, ReservationStatus};
use crate::tariffs::FareLine;

/// The most minutes that can be bought for one stay, extensions included: 30 days.
pub const PAID_MINUTES_MAX: i64 = 43_200;

/// Where a stay is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    sqlx::Type,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum SessionStatus {
    /// The vehicle is parked.
    Active,
    /// It has left and something is owed.
    Ended,
    /// It has left and nothing is owed.
    Paid,
    /// The operator let it go.
    Waived,
    /// It should not have begun.
    Cancelled,
}

impl SessionStatus {
    /// The word in the interface and the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A stay.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: ParkingSessionId,
    /// Where.
    pub lot_id: LotId,
    /// The lot's name.
    pub lot_name: String,
    /// Who runs the lot.
    pub operator_id: OperatorId,
    /// What kind of space it takes.
    pub vehicle_class: VehicleClass,
    /// The plate as it is shown.
    pub plate: String,
    /// The plate's identity.
    pub plate_key: String,
    /// Whose; nobody's when an attendant entered the vehicle.
    pub driver_id: Option<DriverId>,
    /// The driver's vehicle, if it is one of theirs.
    pub vehicle_id: Option<VehicleId>,
    /// The hold it came from.
    pub reservation_id: Option<ReservationId>,
    /// Who entered it, if staff did.
    pub started_by_staff: Option<StaffId>,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// How its time is sold.
    pub sale_mode: SaleMode,
    /// The tariff, frozen.
    pub tariff_version_id: TariffVersionId,
    /// The quote that binds the price.
    pub quote_id: Option<QuoteId>,
    /// Entry.
    pub started_at: Timestamp,
    /// Until when plate, class and lot can be corrected.
    pub correctable_until: Timestamp,
    /// When it is ended if nobody does.
    pub forgotten_at: Timestamp,
    /// Until when time has been bought.
    pub paid_until: Option<Timestamp>,
    /// Exit.
    pub ended_at: Option<Timestamp>,
    /// Sum of all charges.
    pub fare: Vnd,
    /// Money that came in and stayed.
    pub paid: Vnd,
    /// How the fare comes about.
    pub lines: Vec<FareLine>,
    /// How the fare is shared, frozen.
    pub shares: Shares,
}

impl Session {
    /// What is to be paid now: nothing while a stay that is paid at the exit goes on.
    pub fn amount_due(&self) -> Vnd {
        match self.status {
            SessionStatus::Waived | SessionStatus::Cancelled => Vnd::ZERO,
            SessionStatus::Active | SessionStatus::Ended | SessionStatus::Paid => {
                self.fare.minus(self.paid).unwrap_or(Vnd::ZERO).max(Vnd::ZERO)
            }
        }
    }

    /// The state after the vehicle has left: paid if nothing is owed.
    pub fn status_when_left(&self) -> SessionStatus {
        if self.paid >= self.fare { SessionStatus::Paid } else { SessionStatus::Ended }
    }

    /// Whether this caller may see and change the session.
    pub fn is_of(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Driver(driver) => self.driver_id == Some(*driver),
            Caller::Staff { operator, .. } => self.operator_id == *operator,
        }
    }
}

/// Who starts, stops, extends and corrects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A driver, for their own stays.
    Driver(DriverId),
    /// An operator's manager or attendant, for stays at the operator's lots.
    Staff {
        /// Who.
        id: StaffId,
        /// For whom.
        operator: OperatorId,
    },
}

impl Caller {
    /// The caller's name in idempotency keys and the audit log.
    pub fn actor(&self) -> String {
        match self {
            Caller::Driver(id) => format!("driver:{id}"),
            Caller::Staff { id, .. } => format!("staff:{id}"),
        }
    }
}

/// A plate as it was typed, tidied, and its identity.
#[derive(Clone, PartialEq, Eq)]
pub struct TypedPlate {
    /// As it is shown.
    pub shown: String,
    /// What it is.
    pub plate: Plate,
}

impl TypedPlate {
    /// Reads a plate; spaces at the ends and doubled ones are dropped, letters are made large.
    pub fn parse(text: &str) -> Result<TypedPlate, crate::kernel::plate::PlateError> {
        let plate = Plate::parse(text)?;
        let shown = text.split_whitespace().collect::<Vec<&str>>().join(" ").to_uppercase();
        // A writing longer than the column, or one with marks that only copying leaves behind.
        let printable = shown.chars().all(|c| c.is_alphanumeric() || " .-/".contains(c));
        let fits = printable && (3..=20).contains(&shown.chars().count());
        let shown = if fits { shown } else { plate.key().to_owned() };
        Ok(TypedPlate { shown, plate })
    }
}

/// What starts a session.
#[derive(Clone, PartialEq, Eq)]
pub enum StartFrom {
    /// The driver's hold.
    Reservation(ReservationId),
    /// A vehicle of the driver, without a hold.
    Vehicle {
        /// Where.
        lot: LotId,
        /// Which.
        vehicle: VehicleId,
    },
    /// Any vehicle, by its plate.
    Plate {
        /// Where.
        lot: LotId,
        /// Which.
        plate: TypedPlate,
        /// What it is.
        class: VehicleClass,
    },
}

/// A wish to start.
#[derive(Clone)]
pub struct StartRequest {
    /// Who asks.
    pub caller: Caller,
    /// With what.
    pub from: StartFrom,
    /// The quote that is to bind the price.
    pub quote: Option<QuoteId>,
    /// Minutes to buy, where time is sold in advance.
    pub paid_minutes: Option<i64>,
}

/// A correction; what is absent stays.
#[derive(Clone, Default)]
pub struct Correction {
    /// Another plate.
    pub plate: Option<TypedPlate>,
    /// Another class.
    pub class: Option<VehicleClass>,
    /// Another lot.
    pub lot: Option<LotId>,
}

/// What can go wrong with parking sessions.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The session, lot or reservation is absent, or not the caller's to see.
    #[error("no such thing here")]
    NotFound,
    /// Not a vehicle of the driver.
    #[error("no such vehicle")]
    VehicleNotFound,
    /// No space is free.
    #[error("the lot is full")]
    LotFull,
    /// The lot takes no vehicles now.
    #[error("the lot is closed")]
    LotClosed,
    /// The lot has no spaces for the class.
    #[error("the lot does not serve the class")]
    ClassNotServed,
    /// The plate stands on no vehicle of the class.
    #[error("the plate does not fit the class")]
    PlateDoesNotFitClass,
    /// The hold was used, cancelled or expired.
    #[error("the hold is {}", .0.as_str())]
    HoldEnded(ReservationStatus),
    /// A session is open for the plate and class.
    #[error("the plate is parked already")]
    PlateAlreadyParked,
    /// No tariff is in force.
    #[error("no tariff is in force")]
    NoTariff,
    /// There is no such quote.
    #[error("no such quote")]
    QuoteNotFound,
    /// The quote has expired.
    #[error("the quote has expired")]
    QuoteExpired,
    /// The quote is for another lot, class or time.
    #[error("the quote is for something else")]
    QuoteMismatch,
    /// Minutes must be bought here, or must not, or too many.
    #[error("paid_minutes: {0}")]
    PaidMinutes(&'static str),
    /// The session has ended.
    #[error("the session is not active")]
    NotActive,
    /// The lot does not sell time in advance.
    #[error("the lot sells no time in advance")]
    ExtendNotOffered,
    /// It is too late to correct.
    #[error("it is too late to correct")]
    CorrectionClosed,
    /// The other lot sells its time in another way.
    #[error("the other lot sells its time in another way")]
    OtherSaleMode,
    /// Another request changed the session's lot or class meanwhile: try again.
    #[error("the session moved meanwhile")]
    Moved,
    /// The key was used for another request.
    #[error("the idempotency key belongs to another request")]
    KeyReused,
    /// The fare could not be worked out. A defect.
    #[error("the fare could not be worked out")]
    Price(#[from] crate::tariffs::PriceError),
    /// An amount left its range. A defect.
    #[error("an amount left its range")]
    Amount(#[from] OutOfRange),
    /// A posting could not be made. A defect.
    #[error("the charge could not be posted")]
    Posting(#[from] crate::ledger::chart::PostingError),
    /// What is stored cannot be read. A defect.
    #[error("stored data cannot be read: {0}")]
    Stored(&'static str),
    /// The work was cut off; the same key may be tried again.
    #[error("the request was cut off")]
    CutOff,
    /// The database failed.
    #[error("parking sessions: {0}")]
    Db(#[from] crate::platform::db::DbError),
}

impl From<ReservationError> for SessionError {
    fn from(error: ReservationError) -> SessionError {
        match error {
            ReservationError::NotHeld(status) => SessionError::HoldEnded(status),
            ReservationError::Db(error) => SessionError::Db(error),
            ReservationError::NotFound
            | ReservationError::Refused(_)
            | ReservationError::ArriveBy
            | ReservationError::Undecided(_)
            | ReservationError::Group(_) => SessionError::NotFound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("30f-254.38", "30F-254.38", "30F25438")]
    #[case("  29-m1   923.03 ", "29-M1 923.03", "29M192303")]
    #[case("29mđ1-123.45", "29MĐ1-123.45", "29MĐ112345")]
    #[case("30F\u{2011}254.38", "30F25438", "30F25438")]
    fn a_plate_is_shown_as_typed_but_tidied(
        #[case] typed: &str,
        #[case] shown: &str,
        #[case] key: &str,
    ) {
        let plate = TypedPlate::parse(typed).unwrap();
        assert_eq!((plate.shown.as_str(), plate.plate.key()), (shown, key));
    }
}
