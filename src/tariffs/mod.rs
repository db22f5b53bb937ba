//! What parking costs.
//!
//! A tariff is a series of immutable versions; each is a [`PriceSheet`], checked once and then
//! carried as [`TariffRules`]. [`price()`] turns rules and a stay into an itemised [`Fare`]; it is
//! pure and knows no lot, driver or database. Around it stand the store, the book that search
//! prices with ([`book`]), quotes ([`quotes`]) and operators' changes ([`service`]).
//!
//! Rules of the engine:
//! - Time counts as it is printed on a ticket, in whole minutes of Hanoi's civil time: seconds
//!   are dropped at both ends, which never charges a unit that has not begun. Every stay counts
//!   at least one minute. Hanoi has had one offset since 1975, so a stay has one offset.
//! - A started unit is a whole unit. A band that ends also ends the started unit.
//! - The lines of a fare sum to its total; a cap is a line of its own with a negative amount.
//! - A stay never costs less than a shorter one, except under [`Crossing::DominantBand`]; such a
//!   fare carries [`FareNote::CheaperForLonger`].
//! - Splitting a stay never pays. Rising ladders, free first minutes and the like would reward
//!   leaving and coming back; for those, [`PriceSheet::reentry_minutes`] is obligatory, and a
//!   vehicle that returns within them is charged by [`price_continued`]: the whole of its legs,
//!   less what was already charged. `validate` holds the list and the reasons.

mod bands;
pub mod book;
mod book_store;
mod fare;
pub mod http;
#[cfg(test)]
mod laws;
mod meter;
mod price;
pub mod quote_store;
pub mod quotes;
pub mod service;
mod sheet;
pub mod store;
mod turns;
mod validate;
mod vat;
#[cfg(test)]
mod worked_examples;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use price::{day_number, minute_number};
use serde::{Serialize, Serializer};

use crate::kernel::ids::{OperatorId, TariffId, TariffVersionId};

pub use fare::{Fare, FareLine, FareNote, LineKind};
pub use price::{
    Leg, PriceError, STAY_MINUTES_MAX, amount, continues_stay, fallback_fare, price,
    price_continued, price_legs,
};
pub use sheet::{
    AfterBreak, Band, BandPricing, Cap, CapScope, Charge, Crossing, FreePeriod, Ladder,
    MinuteOfDay, PriceSheet, Pricing, SpecialDay, SpecialRule, Step, TurnPrices, TurnPricing,
    VatStep,
};

/// A field of a price sheet that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Path of the field, as in `pricing.bands.bands[1].to`.
    pub field: String,
    /// The broken rule, as in `out_of_range`.
    pub rule: String,
}

/// What an operator, or the city, charges under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tariff {
    /// Which.
    pub id: TariffId,
    /// Whose; nobody's for the city's.
    pub operator_id: Option<OperatorId>,
    /// Its short name: `hanoi-iparking-car`.
    pub code: String,
    /// Its name.
    pub name: String,
    /// The decision or price list it comes from.
    pub source: String,
    /// Newest start first.
    pub versions: Vec<Arc<TariffVersion>>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// One immutable version of a tariff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TariffVersion {
    /// Which.
    pub id: TariffVersionId,
    /// Of which tariff.
    pub tariff_id: TariffId,
    /// Its number, from 1.
    pub version: i32,
    /// First day on which it holds, from 00:00 in Hanoi.
    pub starts_on: Date,
    /// What it says.
    pub rules: Arc<TariffRules>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A price sheet that keeps every rule of `validate`, with its dates ready for pricing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TariffRules {
    sheet: PriceSheet,
    /// Day number → index of the special day.
    special: BTreeMap<i64, usize>,
    /// Local minutes of the free periods.
    free: Vec<(i64, i64)>,
}

impl TariffRules {
    /// Checks a sheet; all broken rules at once.
    pub fn new(sheet: PriceSheet) -> Result<TariffRules, Vec<FieldError>> {
        let errors = validate::check(&sheet);
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut special = BTreeMap::new();
        for (index, day) in sheet.special_days.iter().enumerate() {
            special.extend(day.dates.iter().filter_map(|&date| Some((day_number(date)?, index))));
        }
        let span =
            |period: &FreePeriod| Some((minute_number(period.from)?, minute_number(period.to)?));
        let free = sheet.free_periods.iter().filter_map(span).collect();
        Ok(TariffRules { sheet, special, free })
    }

    /// Reads and checks a sheet written as JSON. A part that does not have the right shape is one
    /// error with its path; broken rules come all at once.
    pub fn parse(json: &serde_json::Value) -> Result<TariffRules, Vec<FieldError>> {
        let sheet = serde_path_to_error::deserialize(json).map_err(|error| {
            vec![FieldError {
                field: error.path().to_string(),
                rule: format!("malformed: {}", error.inner()),
            }]
        })?;
        TariffRules::new(sheet)
    }

    /// The sheet.
    pub fn sheet(&self) -> &PriceSheet {
        &self.sheet
    }

    fn special_day(&self, day: i64) -> Option<&SpecialDay> {
        self.sheet.special_days.get(*self.special.get(&day)?)
    }

    fn free_periods(&self) -> impl Iterator<Item = (i64, i64, &str)> {
        let labels = self.sheet.free_periods.iter().map(|period| period.label.as_str());
        self.free.iter().zip(labels).map(|(&(from, to), label)| (from, to, label))
    }
}

impl Serialize for TariffRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.sheet.serialize(serializer)
    }
}
