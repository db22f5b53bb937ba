//! Drivers: a profile behind a phone number, and vehicles.
//!
//! A driver comes into being with the first code that they answer. A vehicle is a plate and a
//! class together: one text can stand on a car and on an old motorbike. A plate may move to
//! another owner, and families share cars, so a plate is unique only within one driver.
//! Forgetting a driver keeps the rows that accounting law wants and empties them of the person.

pub mod http;
pub mod service;
pub mod store;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::kernel::ids::{DriverId, VehicleId};
use crate::kernel::plate::{Plate, PlateKey};
use crate::kernel::vehicle::VehicleClass;
use crate::platform::db::DbError;

/// Vehicles that one driver may have; a family or a small firm has fewer.
pub const VEHICLES_MAX: i64 = 20;
const NAME_CHARS_MAX: usize = 100;

/// The language of messages to a driver.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Locale {
    /// Vietnamese.
    Vi,
    /// English.
    En,
}

impl Locale {
    /// The language's word in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What a driver sees of themselves. No `Debug`: it holds a phone number.
#[derive(Serialize)]
pub struct Profile {
    /// Who.
    pub id: DriverId,
    /// E.164.
    pub phone: String,
    /// As they wish to be called.
    pub display_name: Option<String>,
    /// Language.
    pub locale: Locale,
    /// Since when.
    pub created_at: Timestamp,
}

/// A name to be called by: 1 to 100 characters on one line.
#[derive(Clone, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// Reads a name; the text says which rule it breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() || text.chars().count() > NAME_CHARS_MAX {
            return Err("1 to 100 characters");
        }
        if text.chars().any(char::is_control) {
            return Err("one line of text");
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a change does to a field that may be empty.
#[derive(Clone, Default)]
pub enum Change<T> {
    /// Nothing: the field was left out.
    #[default]
    Keep,
    /// Empties it: `null`.
    Clear,
    /// Sets it.
    To(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(value)?.map_or(Self::Clear, Self::To))
    }
}

/// A driver's vehicle. No `Debug`: it holds a plate.
#[derive(Serialize)]
pub struct Vehicle {
    /// Which.
    pub id: VehicleId,
    /// As the driver wrote it, tidied.
    pub plate: String,
    /// What it is.
    pub vehicle_class: VehicleClass,
    /// Since when.
    pub created_at: Timestamp,
}

/// A vehicle to be added.
pub struct NewVehicle {
    /// As the driver wrote it, tidied.
    pub plate: String,
    /// The identity.
    pub key: PlateKey,
}

impl NewVehicle {
    /// A plate as written, on a vehicle of a class.
    pub fn new(written: &str, plate: &Plate, class: VehicleClass) -> Self {
        Self { plate: tidy(written, plate), key: plate.on(class) }
    }
}

/// The writing without what a keyboard or a clipboard added. Where too little or too much is left,
/// the canonical key stands in.
fn tidy(written: &str, plate: &Plate) -> String {
    let kept: String = written
        .to_uppercase()
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '/' | ' '))
        .collect();
    let tidied = kept.split(' ').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    let fits = (3..=20).contains(&tidied.chars().count())
        && Plate::parse(&tidied).is_ok_and(|again| again.key() == plate.key());
    if fits { tidied } else { plate.key().to_owned() }
}

/// Why a driver's wish is not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The driver was forgotten while their token still lived.
    #[error("the driver is gone")]
    Gone,
    /// Something stands in the way of being forgotten; says what.
    #[error("the driver cannot be forgotten: {0}")]
    Involved(&'static str),
    /// The same plate and class is there already.
    #[error("the driver has this vehicle already")]
    VehicleAlreadyThere,
    /// [`VEHICLES_MAX`].
    #[error("the driver has as many vehicles as allowed")]
    TooManyVehicles,
    /// Absent, removed, or another driver's.
    #[error("the driver has no such vehicle")]
    NoSuchVehicle,
    /// Held for, or parked.
    #[error("the vehicle is in use")]
    VehicleInUse,
    /// The database failed.
    #[error("the store of drivers failed")]
    Store(#[from] DbError),
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("30F-254.38", "30F-254.38")]
    #[case("  30f 254.38 ", "30F 254.38")]
    #[case("\u{202a}30F-254.38\u{202c}", "30F-254.38")]
    #[case("29mđ1-123.45", "29MĐ1-123.45")]
    #[case("30F________254..............38", "30F25438")]
    #[case("３０Ｆ-254.38", "３０Ｆ-254.38")]
    fn plates_are_kept_as_written_but_tidy(#[case] written: &str, #[case] kept: &str) {
        let Ok(plate) = Plate::parse(written) else { return };
        assert_eq!(NewVehicle::new(written, &plate, VehicleClass::Car).plate, kept);
    }

    #[test]
    fn names_are_one_short_line() {
        assert_eq!(DisplayName::parse(" Nguyễn Thu Hà ").unwrap().as_str(), "Nguyễn Thu Hà");
        for wrong in ["", "   ", "a\nb", "a\u{0}b", &"x".repeat(101)] {
            assert!(DisplayName::parse(wrong).is_err());
        }
    }
}
