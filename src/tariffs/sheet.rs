//! The price sheet: a tariff as it hangs on the board, written as JSON.
//!
//! A sheet is kept for ever in `tariff_versions.rules`, so fields are only ever added, with a
//! default that keeps old sheets' prices. Unknown fields are refused, because a misspelt cap
//! would silently not cap.

use jiff::civil::{Date, DateTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::kernel::money::Vnd;

/// A whole tariff: how time is charged, and what is free, capped or different on some days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceSheet {
    /// How parked time becomes money.
    pub pricing: Pricing,
    /// A stay of at most so many minutes costs nothing; a longer one is charged from its start.
    #[serde(default)]
    pub grace_minutes: u32,
    /// The first minutes of every stay that are not counted.
    #[serde(default)]
    pub free_minutes: u32,
    /// Coming back to the lot within so many minutes of leaving continues the same stay.
    #[serde(default)]
    pub reentry_minutes: u32,
    /// Highest amounts, at most one of each scope.
    #[serde(default)]
    pub caps: Vec<Cap>,
    /// Dates with rules of their own, such as public holidays.
    #[serde(default)]
    pub special_days: Vec<SpecialDay>,
    /// Spans of time in which parking is free.
    #[serde(default)]
    pub free_periods: Vec<FreePeriod>,
    /// What a stay costs while the system cannot work out its price (printed at Nội Bài).
    #[serde(default)]
    pub fallback_price_vnd: Option<Vnd>,
    /// VAT of this tariff by date, where it differs from the general table.
    #[serde(default)]
    pub vat: Vec<VatStep>,
}

/// The two ways in which the city's tariffs are printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Pricing {
    /// By time: bands of the day, each metered, flat or free.
    Bands(BandPricing),
    /// By turn: one price for a day turn, a night turn, or both (two-wheelers).
    Turns(TurnPricing),
}

/// Charging by bands of the day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandPricing {
    /// Cover the 24 hours without gap or overlap.
    pub bands: Vec<Band>,
    /// The ladders that metered bands name.
    #[serde(default)]
    pub ladders: Vec<Ladder>,
    /// What a ladder does after a flat band or another ladder came between.
    #[serde(default)]
    pub ladder_after_night: AfterBreak,
    /// What a ladder does after free time came between.
    #[serde(default)]
    pub ladder_after_free: AfterBreak,
    /// A started unit after the first counts only once more than so many minutes of it are used.
    #[serde(default)]
    pub unit_tolerance_minutes: u32,
}

/// What a ladder does when it runs again after a break.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterBreak {
    /// Begins again at its first step.
    #[default]
    Restart,
    /// Goes on with the next unit.
    Continue,
}

/// A part of the day that repeats daily; it may run over midnight (`18:00` to `06:00`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// Its word in caps and in special days: `day`, `night`.
    pub key: String,
    /// What the receipt calls it, in Vietnamese.
    pub label: String,
    /// First minute of the band.
    pub from: MinuteOfDay,
    /// First minute after the band.
    pub to: MinuteOfDay,
    /// What it costs.
    pub charge: Charge,
}

/// What a band costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Charge {
    /// By started units of a ladder.
    Metered {
        /// Key of the ladder.
        ladder: String,
    },
    /// Once for every time the stay touches the band: overnight = 6 turns of 25,000.
    Flat {
        /// Number of turns.
        units: u32,
        /// Price of one turn.
        unit_price_vnd: Vnd,
    },
    /// Nothing.
    Free,
}

/// Prices by started units, step after step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ladder {
    /// Its word in bands.
    pub key: String,
    /// In order; the last one has no end.
    pub steps: Vec<Step>,
}

/// One step of a ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Metered minute at which the step ends; absent in the last step. A unit that it cuts short
    /// costs its whole price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_minutes: Option<u32>,
    /// Length of a unit.
    pub unit_minutes: u32,
    /// Price of a started unit.
    pub price_vnd: Vnd,
}

/// Charging by turn. Every 24 hours from entry cost one price, by the bands they touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnPricing {
    /// First minute of the day band.
    pub day_from: MinuteOfDay,
    /// First minute of the night band.
    pub day_to: MinuteOfDay,
    /// The three prices.
    pub prices: TurnPrices,
    /// What a stay that touches both bands costs.
    #[serde(default)]
    pub crossing: Crossing,
}

/// Prices of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnPrices {
    /// Day only.
    pub day_vnd: Vnd,
    /// Night only.
    pub night_vnd: Vnd,
    /// Day and night; not their sum (Decision 44/2017: 12,000, not 13,000).
    pub day_and_night_vnd: Vnd,
}

/// The two readings of a turn that touches day and night.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Crossing {
    /// The day-and-night price at once.
    #[default]
    DayAndNight,
    /// Below so many minutes the price of the band in which most of them lie (HCMC's repealed
    /// QD 35/2018: 12 hours). A longer stay may then cost less than a shorter one.
    DominantBand {
        /// From this length on the day-and-night price holds.
        under_minutes: u32,
    },
}

/// A highest amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// What it bounds.
    pub scope: CapScope,
    /// The most that is charged within the scope.
    pub amount_vnd: Vnd,
    /// What the receipt calls it, in Vietnamese.
    pub label: String,
}

/// What a cap bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CapScope {
    /// The whole stay.
    PerStay,
    /// Every 24 hours, counted from entry.
    #[serde(rename = "per_24h")]
    Per24h,
    /// Every time the stay is in the band with this key.
    Band(String),
}

/// Dates with rules of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecialDay {
    /// What the receipt calls them, in Vietnamese: `Tết Nguyên Đán`.
    pub name: String,
    /// Civil dates in Hanoi, midnight to midnight.
    pub dates: Vec<Date>,
    /// What holds on them.
    pub rule: SpecialRule,
}

/// What holds on a special day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SpecialRule {
    /// Nothing is charged.
    Free,
    /// Other bands. One that keeps its key and hours goes on over midnight as one turn, at the
    /// price of the day on which it began.
    Bands(Vec<Band>),
    /// Other turn prices, for the 24 hours whose first charged minute is on the day.
    Turns(TurnPrices),
}

/// A span of civil time in Hanoi in which nothing is charged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreePeriod {
    /// First free minute.
    pub from: DateTime,
    /// First minute that is charged again.
    pub to: DateTime,
    /// What the receipt calls it, in Vietnamese.
    pub label: String,
}

/// A VAT rate from a date on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VatStep {
    /// First date with this rate.
    pub from: Date,
    /// Whole percent.
    pub percent: u8,
}

/// A minute of the day, written `HH:MM`; `24:00` is the end of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MinuteOfDay(u16);

impl MinuteOfDay {
    /// Minutes in a day.
    pub const DAY: i64 = 24 * 60;

    /// The minute with this number, 0 to 1,440; `None` beyond.
    pub fn new(minute: u16) -> Option<MinuteOfDay> {
        (i64::from(minute) <= MinuteOfDay::DAY).then_some(MinuteOfDay(minute))
    }

    /// Reads `HH:MM`; `None` for anything else.
    pub fn parse(text: &str) -> Option<MinuteOfDay> {
        let (hour, minute) = text.split_once(':')?;
        let two_digits = |part: &str| -> Option<u16> {
            (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then_some(())?;
            part.parse().ok()
        };
        let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
        (minute < 60).then_some(())?;
        MinuteOfDay::new(hour.checked_mul(60)?.checked_add(minute)?)
    }

    /// Minutes since midnight.
    pub fn get(self) -> i64 {
        i64::from(self.0)
    }
}

impl Serialize for MinuteOfDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:02}:{:02}", self.0 / 60, self.0 % 60))
    }
}

impl<'de> Deserialize<'de> for MinuteOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        MinuteOfDay::parse(&text).ok_or_else(|| de::Error::custom("expected HH:MM up to 24:00"))
    }
}
