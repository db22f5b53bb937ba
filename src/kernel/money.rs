//! Money: whole Vietnamese đồng. VND has no minor unit in use, so an integer is exact.

use std::fmt;
use std::iter::Sum;

use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive};
use serde::{Deserialize, Serialize};

/// The largest amount the product handles: 1,000 billion VND. Far above any parking fee or a
/// day's remittance, far below `i64::MAX`, so that sums of a million of them still fit.
pub const VND_MAX: i64 = 1_000_000_000_000;

/// An amount in whole VND. May be negative in ledger entries; prices and payments check the sign
/// where they are made.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    sqlx::Type,
)]
#[sqlx(transparent)]
#[serde(transparent)]
pub struct Vnd(i64);

/// An amount left the range that the product handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("amount outside ±{VND_MAX} VND")]
pub struct OutOfRange;

impl Vnd {
    /// Nothing.
    pub const ZERO: Vnd = Vnd(0);

    /// Wraps a number of đồng that is known to be in range (constants, database columns).
    pub const fn new(vnd: i64) -> Vnd {
        Vnd(vnd)
    }

    /// The number of đồng.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Sum, or [`OutOfRange`].
    pub fn plus(self, other: Vnd) -> Result<Vnd, OutOfRange> {
        self.0.checked_add(other.0).ok_or(OutOfRange).and_then(Vnd::in_range)
    }

    /// Difference, or [`OutOfRange`].
    pub fn minus(self, other: Vnd) -> Result<Vnd, OutOfRange> {
        self.0.checked_sub(other.0).ok_or(OutOfRange).and_then(Vnd::in_range)
    }

    /// Product with a count of units, or [`OutOfRange`].
    pub fn times(self, units: i64) -> Result<Vnd, OutOfRange> {
        self.0.checked_mul(units).ok_or(OutOfRange).and_then(Vnd::in_range)
    }

    /// The same amount with the other sign.
    #[must_use]
    pub const fn negated(self) -> Vnd {
        Vnd(-self.0)
    }

    /// This amount times `rate`, rounded to whole đồng as named.
    pub fn part(self, rate: Rate, rounding: Rounding) -> Result<Vnd, OutOfRange> {
        let exact = Decimal::from(self.0).checked_mul(rate.0).ok_or(OutOfRange)?;
        rounding.apply(exact)
    }

    /// The tax contained in this tax-inclusive amount at `rate`, rounded as named.
    ///
    /// A price of 25,000 VND at 8 % contains 25,000 × 8 / 108 = 1,851.85 → 1,852 VND.
    pub fn tax_inside(self, rate: Rate, rounding: Rounding) -> Result<Vnd, OutOfRange> {
        let divisor = Decimal::ONE.checked_add(rate.0).ok_or(OutOfRange)?;
        let exact = Decimal::from(self.0)
            .checked_mul(rate.0)
            .and_then(|product| product.checked_div(divisor))
            .ok_or(OutOfRange)?;
        rounding.apply(exact)
    }

    fn in_range(vnd: i64) -> Result<Vnd, OutOfRange> {
        if (-VND_MAX..=VND_MAX).contains(&vnd) { Ok(Vnd(vnd)) } else { Err(OutOfRange) }
    }
}

impl fmt::Display for Vnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} VND", self.0)
    }
}

/// Sums saturate at the limits of `i64`, which [`VND_MAX`] keeps out of reach of any real list.
impl Sum for Vnd {
    fn sum<I: Iterator<Item = Vnd>>(amounts: I) -> Vnd {
        Vnd(amounts.fold(0_i64, |sum, amount| sum.saturating_add(amount.0)))
    }
}

/// A share or percentage as an exact decimal: `0.08` is 8 %.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type,
)]
#[sqlx(transparent)]
#[serde(transparent)]
pub struct Rate(Decimal);

impl Rate {
    /// No share at all.
    pub const ZERO: Rate = Rate(Decimal::ZERO);

    /// A rate between 0 and 1 inclusive; `None` outside of it.
    pub fn new(rate: Decimal) -> Option<Rate> {
        (Decimal::ZERO <= rate && rate <= Decimal::ONE).then_some(Rate(rate))
    }

    /// A rate of so many hundredths: `percent(8)` is 8 %. Above 100 it is 100 %.
    pub fn percent(percent: u8) -> Rate {
        Rate(Decimal::new(i64::from(percent.min(100)), 2))
    }

    /// The exact decimal.
    pub const fn get(self) -> Decimal {
        self.0
    }
}

/// How a fraction of a đồng becomes whole. Named at every use, because law and contracts differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Half a đồng or more goes up: what invoices use.
    HalfUp,
    /// The fraction is dropped: shares paid to others never exceed the whole.
    Down,
    /// Any fraction goes up.
    Up,
}

impl Rounding {
    fn apply(self, exact: Decimal) -> Result<Vnd, OutOfRange> {
        let strategy = match self {
            Rounding::HalfUp => RoundingStrategy::MidpointAwayFromZero,
            Rounding::Down => RoundingStrategy::ToZero,
            Rounding::Up => RoundingStrategy::AwayFromZero,
        };
        let whole = exact.round_dp_with_strategy(0, strategy).to_i64().ok_or(OutOfRange)?;
        Vnd::in_range(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tax_inside_a_price_is_rounded_half_up() {
        let tax = Vnd::new(25_000).tax_inside(Rate::percent(8), Rounding::HalfUp);
        assert_eq!(tax, Ok(Vnd::new(1_852)));
    }

    #[test]
    fn each_rounding_does_what_its_name_says() {
        let third = Rate::new(Decimal::new(3333, 4)).unwrap();
        assert_eq!(Vnd::new(1_000).part(third, Rounding::Down), Ok(Vnd::new(333)));
        assert_eq!(Vnd::new(1_000).part(third, Rounding::Up), Ok(Vnd::new(334)));
        assert_eq!(Vnd::new(5).part(Rate::percent(10), Rounding::HalfUp), Ok(Vnd::new(1)));
    }

    #[test]
    fn amounts_out_of_range_are_refused_not_wrapped() {
        assert_eq!(Vnd::new(VND_MAX).plus(Vnd::new(1)), Err(OutOfRange));
        assert_eq!(Vnd::new(i64::MAX).times(2), Err(OutOfRange));
        assert_eq!(Vnd::new(-VND_MAX).minus(Vnd::new(1)), Err(OutOfRange));
    }
}
