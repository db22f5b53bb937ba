//! Vehicle classes: what tariffs and capacities are counted by.

use serde::{Deserialize, Serialize};

/// A class of vehicle. Bands by seats and weight follow the printed tariffs: Hanoi and HCMC price
/// cars up to 9 seats, 10 to 16 seats, and trucks by payload (HCMC Resolution 01/2018/NQ-HĐND).
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    sqlx::Type,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum VehicleClass {
    /// Bicycles and electric bicycles.
    Bicycle,
    /// Motorbikes and scooters, petrol or electric.
    Motorbike,
    /// Cars up to 9 seats.
    Car,
    /// 10 to 16 seats.
    Van,
    /// More than 16 seats.
    Bus,
    /// Trucks and pickups over 1.5 t payload; lighter ones are priced as cars.
    Truck,
}

impl VehicleClass {
    /// The class's word in the interface and the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
