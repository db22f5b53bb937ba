//! Lots: places to park, who runs them, when they are open and how many spaces they have.
//!
//! A lot's capacity is counted by vehicle class; [`capacity`] says what "free" means. Operators
//! see and change their own lots only; anybody else's are as good as absent (404).

pub mod capacity;
pub mod capacity_store;
pub mod hours;
pub mod http;
pub mod seed;
pub mod store;
pub mod words;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::kernel::geo::LatLng;
use crate::kernel::ids::{LotId, OperatorId};
use hours::OpeningHours;

/// Where the spaces are.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    sqlx::Type,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum LotKind {
    /// Carriageway or pavement.
    OnStreet,
    /// A yard, a garage, the ground of an institution.
    OffStreet,
}

/// Whether the lot takes new holds and sessions.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    sqlx::Type,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum LotStatus {
    /// It does, within its opening hours.
    Open,
    /// It does not; what runs goes on.
    Closed,
}

/// How a lot sells time.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    sqlx::Type,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum SaleMode {
    /// The fare is owed when the vehicle leaves.
    PayOnExit,
    /// Some time is paid up front and can be extended.
    Prepaid,
}

/// Where the number of spaces comes from.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    sqlx::Type,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum CapacitySource {
    /// Published by the city or the operator.
    Stated,
    /// Our estimate.
    Estimate,
}

/// What a lot offers besides spaces.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Feature {
    /// A roof over the vehicles.
    Covered,
    /// Somebody watches.
    Guarded,
    /// Cameras watch.
    Cctv,
    /// Chargers for electric vehicles.
    EvCharging,
    /// Spaces for people with a disability.
    Accessible,
    /// Takes no cash.
    Cashless,
    /// Washes vehicles.
    Washing,
    /// Room for vehicles over 2.1 m.
    TallVehicles,
}

impl Feature {
    /// The feature's word in the interface and the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The feature's bit in a set of features.
    pub const fn bit(self) -> u16 {
        match self {
            Feature::Covered => 1,
            Feature::Guarded => 1 << 1,
            Feature::Cctv => 1 << 2,
            Feature::EvCharging => 1 << 3,
            Feature::Accessible => 1 << 4,
            Feature::Cashless => 1 << 5,
            Feature::Washing => 1 << 6,
            Feature::TallVehicles => 1 << 7,
        }
    }
}

macro_rules! words {
    ($($name:ident),+) => {$(
        impl $name {
            /// The word in the interface and the database.
            pub fn as_str(self) -> &'static str {
                self.into()
            }
        }
    )+};
}
words!(LotKind, LotStatus, SaleMode, CapacitySource);

/// A place to park.
#[derive(Clone, Debug)]
pub struct Lot {
    /// Its id.
    pub id: LotId,
    /// The short name on the sign; unique.
    pub code: String,
    /// Who runs it.
    pub operator_id: OperatorId,
    /// The name of who runs it.
    pub operator_name: String,
    /// Its name.
    pub name: String,
    /// Its address; may be empty.
    pub address: String,
    /// Where it is.
    pub at: LatLng,
    /// Street or yard.
    pub kind: LotKind,
    /// What it offers.
    pub features: Vec<Feature>,
    /// Whether it takes vehicles at all.
    pub status: LotStatus,
    /// How it sells time.
    pub sale_mode: SaleMode,
    /// Minutes that a reservation holds a space.
    pub hold_minutes: i32,
    /// Minutes after which a session that nobody stopped is priced as if stopped.
    pub forgotten_stop_minutes: i32,
    /// Minutes in which a wrong plate or lot can be corrected.
    pub correction_grace_minutes: i32,
    /// When it is open.
    pub opening_hours: OpeningHours,
    /// Where its numbers of spaces come from.
    pub capacity_source: CapacitySource,
    /// When it was entered.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Lot {
    /// Whether the lot takes a vehicle at this instant.
    pub fn takes_vehicles(&self, now: Timestamp) -> bool {
        self.status == LotStatus::Open && self.opening_hours.open_at(now)
    }

    /// The features as bits.
    pub fn feature_bits(&self) -> u16 {
        self.features.iter().fold(0, |bits, feature| bits | feature.bit())
    }
}

/// What an operator gives to open a lot.
#[derive(Clone, Debug)]
pub struct NewLot {
    /// The short name on the sign.
    pub code: LotCode,
    /// Its name.
    pub name: String,
    /// Its address; may be empty.
    pub address: String,
    /// Where it is.
    pub at: LatLng,
    /// Street or yard.
    pub kind: LotKind,
    /// What it offers.
    pub features: Vec<Feature>,
    /// How it sells time.
    pub sale_mode: SaleMode,
    /// Minutes that a reservation holds a space, 1 to 120.
    pub hold_minutes: i32,
    /// Minutes until a forgotten stop, 60 to 43,200.
    pub forgotten_stop_minutes: i32,
    /// Minutes for corrections, 0 to 120.
    pub correction_grace_minutes: i32,
    /// Where its numbers of spaces come from.
    pub capacity_source: CapacitySource,
}

/// What an operator changes; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct LotChange {
    /// Its name.
    pub name: Option<String>,
    /// Its address.
    pub address: Option<String>,
    /// Where it is.
    pub at: Option<LatLng>,
    /// Street or yard.
    pub kind: Option<LotKind>,
    /// What it offers.
    pub features: Option<Vec<Feature>>,
    /// Whether it takes vehicles.
    pub status: Option<LotStatus>,
    /// How it sells time.
    pub sale_mode: Option<SaleMode>,
    /// Minutes that a reservation holds a space.
    pub hold_minutes: Option<i32>,
    /// Minutes until a forgotten stop.
    pub forgotten_stop_minutes: Option<i32>,
    /// Minutes for corrections.
    pub correction_grace_minutes: Option<i32>,
    /// Where its numbers of spaces come from.
    pub capacity_source: Option<CapacitySource>,
}

/// The short name on a lot's sign: 2 to 32 upper-case letters, digits and dashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotCode(String);

impl LotCode {
    /// Checks the shape.
    pub fn parse(text: &str) -> Option<LotCode> {
        let good = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let shaped = (2..=32).contains(&bytes.len())
            && bytes.first().copied().is_some_and(good)
            && bytes.iter().all(|byte| good(*byte) || *byte == b'-');
        shaped.then(|| LotCode(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What can go wrong with lots.
#[derive(Debug, thiserror::Error)]
pub enum LotError {
    /// Absent, or another operator's.
    #[error("no such lot")]
    NotFound,
    /// The code is already used.
    #[error("the code is already used by a lot")]
    CodeTaken,
    /// The new capacity is below what is parked and held right now.
    #[error("more spaces than that are parked in or held right now")]
    CapacityInUse,
    /// The database failed.
    #[error("lots: {0}")]
    Db(#[from] crate::platform::db::DbError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use strum::IntoEnumIterator;

    #[test]
    fn every_feature_has_a_bit_of_its_own() {
        let bits: Vec<u16> = Feature::iter().map(Feature::bit).collect();
        let all = bits.iter().fold(0_u16, |sum, bit| sum | bit);
        assert_eq!(bits.len(), usize::try_from(all.count_ones()).unwrap());
    }

    #[rstest]
    #[case("HN-003", true)]
    #[case("A1", true)]
    #[case("A", false)]
    #[case("-A1", false)]
    #[case("hn-003", false)]
    #[case("HN_003", false)]
    fn codes_have_the_shape_of_the_sign(#[case] text: &str, #[case] good: bool) {
        assert_eq!(LotCode::parse(text).is_some(), good);
    }
}
