//! From rules and a stay to a fare.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::fare::{Fare, FareLine, FareNote, LineKind, Tally};
use super::sheet::{MinuteOfDay, Pricing};
use super::{TariffRules, bands, turns};
use crate::kernel::clock::hanoi;
use crate::kernel::money::{OutOfRange, Vnd};

/// The longest stay that is priced, from its first entry to its last exit: 90 days.
pub const STAY_MINUTES_MAX: i64 = 90 * MinuteOfDay::DAY;

/// The most legs that one continued stay can have.
const LEGS_MAX: usize = 200;

/// An entry and the exit that followed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// Entry.
    pub start: Timestamp,
    /// Exit.
    pub stop: Timestamp,
}

/// Why a stay has no price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// An exit before its entry, legs out of order, or none at all.
    #[error("the stay ends before it starts")]
    EndsBeforeStart,
    /// Longer than [`STAY_MINUTES_MAX`], or in more legs than any vehicle drives.
    #[error("the stay is longer than 90 days")]
    TooLong,
    /// An amount or an instant outside the range that the product handles.
    #[error("the fare is outside the range of amounts")]
    Amount(#[from] OutOfRange),
    /// An instant outside the calendar.
    #[error("the stay is outside the calendar")]
    Calendar,
    /// No band holds at some minute. Checked rules cover the day, so this is a fault.
    #[error("the tariff has no band for part of the stay")]
    NoBand,
    /// The stay falls into more parts than checked rules allow. A fault.
    #[error("the stay falls into too many parts")]
    TooManySteps,
}

/// What a stay costs.
pub fn price(rules: &TariffRules, start: Timestamp, stop: Timestamp) -> Result<Fare, PriceError> {
    price_legs(rules, &[Leg { start, stop }])
}

/// The total of [`price`] without its lines, for ranking many lots.
pub fn amount(rules: &TariffRules, start: Timestamp, stop: Timestamp) -> Result<Vnd, PriceError> {
    let legs = [Leg { start, stop }];
    let (_, local) = localise(&legs)?;
    Ok(run(rules, &local, false)?.total())
}

/// What a stay in several legs costs as a whole: the meter stands still while the vehicle is
/// away and goes on where it stood; bands, nights and 24-hour windows are the clock's.
pub fn price_legs(rules: &TariffRules, legs: &[Leg]) -> Result<Fare, PriceError> {
    let (clock, local) = localise(legs)?;
    run(rules, &local, true)?.finish(&clock)
}

/// What the newest leg of a continued stay costs: the whole of its legs, less what the earlier
/// ones were charged. Together the legs cost at least what one stay without gaps would, so that
/// leaving for a moment never pays; and an extension costs the same as asking for the whole time
/// at once.
pub fn price_continued(
    rules: &TariffRules,
    earlier: &[Leg],
    charged: Vnd,
    start: Timestamp,
    stop: Timestamp,
) -> Result<Fare, PriceError> {
    let mut legs = earlier.to_vec();
    legs.push(Leg { start, stop });
    let mut fare = price_legs(rules, &legs)?;
    let credit = charged.max(Vnd::ZERO).min(fare.total);
    let (Some(first), Some(last)) = (earlier.first(), earlier.last()) else { return Ok(fare) };
    fare.notes.push(FareNote::Continued);
    if credit > Vnd::ZERO {
        fare.total = fare.total.minus(credit)?;
        fare.lines.push(FareLine {
            from: first.start,
            to: last.stop,
            units: 1,
            unit_price_vnd: credit.negated(),
            amount_vnd: credit.negated(),
            label: Cow::Borrowed("Đã tính ở lượt trước"),
            kind: LineKind::AlreadyCharged,
        });
    }
    Ok(fare)
}

/// Whether an entry at `start` continues the stay that ended at `last_stop`, by the tariff's
/// re-entry minutes. Both instants count in whole minutes.
pub fn continues_stay(rules: &TariffRules, last_stop: Timestamp, start: Timestamp) -> bool {
    let minute = |at: Timestamp| at.as_second().div_euclid(60);
    let away = minute(start) - minute(last_stop);
    rules.sheet().reentry_minutes > 0
        && (0..=i64::from(rules.sheet().reentry_minutes)).contains(&away)
}

/// The tariff's price for when the system cannot work one out, if it has one.
pub fn fallback_fare(rules: &TariffRules, start: Timestamp, stop: Timestamp) -> Option<Fare> {
    let amount = rules.sheet().fallback_price_vnd?;
    let line = FareLine {
        from: start,
        to: stop,
        units: 1,
        unit_price_vnd: amount,
        amount_vnd: amount,
        label: Cow::Borrowed("Giá thu khi hệ thống gián đoạn"),
        kind: LineKind::Fallback,
    };
    Some(Fare { total: amount, lines: vec![line], notes: vec![FareNote::Fallback] })
}

/// A leg in minutes of Hanoi's civil time since 1970; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LocalLeg {
    pub(super) from: i64,
    pub(super) to: i64,
}

/// Hanoi's offset during a stay.
pub(super) struct LocalClock {
    offset_s: i64,
}

impl LocalClock {
    fn at(start: Timestamp) -> LocalClock {
        use std::sync::LazyLock;
        // Looking the zone up by name takes a lock; pricing runs for every hit of a search.
        static ZONE: LazyLock<TimeZone> = LazyLock::new(hanoi);
        LocalClock { offset_s: i64::from(ZONE.to_offset(start).seconds()) }
    }

    fn minute(&self, at: Timestamp) -> i64 {
        (at.as_second() + self.offset_s).div_euclid(60)
    }

    /// The instant at which a local minute begins.
    pub(super) fn instant(&self, minute: i64) -> Result<Timestamp, PriceError> {
        let second = minute.checked_mul(60).ok_or(PriceError::Calendar)? - self.offset_s;
        Timestamp::from_second(second).ok().ok_or(PriceError::Calendar)
    }
}

/// Legs in local minutes; touching ones become one, as an extension is no new entry.
fn localise(legs: &[Leg]) -> Result<(LocalClock, Vec<LocalLeg>), PriceError> {
    let first = legs.first().ok_or(PriceError::EndsBeforeStart)?;
    if legs.len() > LEGS_MAX {
        return Err(PriceError::TooLong);
    }
    let clock = LocalClock::at(first.start);
    let mut local: Vec<LocalLeg> = Vec::with_capacity(legs.len());
    let mut previous = first.start;
    for leg in legs {
        if leg.stop < leg.start || leg.start < previous {
            return Err(PriceError::EndsBeforeStart);
        }
        previous = leg.stop;
        let from = clock.minute(leg.start);
        let to = clock.minute(leg.stop).max(from + 1);
        match local.last_mut() {
            Some(last) if last.to >= from => last.to = last.to.max(to),
            _ => local.push(LocalLeg { from, to }),
        }
    }
    let span = local.first().zip(local.last()).map_or(0, |(first, last)| last.to - first.from);
    if span > STAY_MINUTES_MAX { Err(PriceError::TooLong) } else { Ok((clock, local)) }
}

fn run<'s>(
    rules: &'s TariffRules,
    legs: &[LocalLeg],
    wants_lines: bool,
) -> Result<Tally<'s>, PriceError> {
    let sheet = rules.sheet();
    let origin = legs.first().map_or(0, |leg| leg.from);
    let mut tally = Tally::new(sheet, origin, wants_lines);
    let parked: i64 = legs.iter().map(|leg| leg.to - leg.from).sum();
    if parked <= i64::from(sheet.grace_minutes) {
        for leg in legs {
            let label = format!("Miễn phí khi gửi không quá {} phút", sheet.grace_minutes);
            tally.free(leg.from, leg.to, Cow::Owned(label));
        }
        return Ok(tally);
    }
    let counted = after_free_minutes(legs, sheet.free_minutes, &mut tally);
    match &sheet.pricing {
        Pricing::Bands(pricing) => bands::walk(rules, pricing, &counted, &mut tally)?,
        Pricing::Turns(pricing) => turns::walk(rules, pricing, &counted, &mut tally)?,
    }
    Ok(tally)
}

/// The legs without the first `free` parked minutes.
fn after_free_minutes(legs: &[LocalLeg], free: u32, tally: &mut Tally<'_>) -> Vec<LocalLeg> {
    let mut left = i64::from(free);
    let mut counted = Vec::with_capacity(legs.len());
    for leg in legs {
        let skipped = left.min(leg.to - leg.from);
        left -= skipped;
        let from = leg.from + skipped;
        if skipped > 0 {
            tally.free(leg.from, from, Cow::Owned(format!("Miễn phí {free} phút đầu")));
        }
        if from < leg.to {
            counted.push(LocalLeg { from, to: leg.to });
        }
    }
    counted
}

/// The number of a civil date, counted from 1 January 1970; `None` outside the calendar.
pub(super) fn day_number(date: Date) -> Option<i64> {
    minute_number(date.to_datetime(Time::midnight())).map(|m| m.div_euclid(MinuteOfDay::DAY))
}

/// The number of a civil minute, counted from 1 January 1970; `None` outside the calendar.
pub(super) fn minute_number(at: DateTime) -> Option<i64> {
    TimeZone::UTC.to_timestamp(at).ok().map(|instant| instant.as_second().div_euclid(60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tariffs::worked_examples::{at, seed_rules};

    /// The speed promise (30 days in under a millisecond) as a count that no busy machine bends;
    /// `benches/price.rs` has the time.
    #[test]
    fn thirty_days_fall_into_few_steps_and_few_lines() {
        for code in ["hanoi-iparking-car", "hanoi-motorbike-urban", "tsn-2017-car"] {
            let rules = seed_rules(code);
            let legs = [Leg { start: at("2026-11-02T07:10"), stop: at("2026-12-02T07:10") }];
            let (clock, local) = localise(&legs).unwrap();
            let tally = run(&rules, &local, true).unwrap();
            assert!(tally.steps <= 30 * 5, "{code}: {} steps", tally.steps);
            let lines = tally.finish(&clock).unwrap().lines.len();
            assert!(lines <= 30 * 5, "{code}: {lines} lines");
        }
    }

    #[test]
    fn a_stay_of_more_than_ninety_days_or_backwards_has_no_price() {
        let rules = seed_rules("hanoi-iparking-car");
        let start = at("2026-01-01T08:00");
        assert_eq!(price(&rules, start, at("2026-04-01T08:01")), Err(PriceError::TooLong));
        assert!(price(&rules, start, at("2026-04-01T08:00")).is_ok());
        let backwards = price(&rules, start, at("2026-01-01T07:59"));
        assert_eq!(backwards, Err(PriceError::EndsBeforeStart));
    }

    #[test]
    fn seconds_never_start_a_unit_that_the_printed_minutes_do_not() {
        let rules = seed_rules("hanoi-iparking-car");
        let total = |from: &str, to: &str| {
            amount(&rules, from.parse().unwrap(), to.parse().unwrap()).unwrap().get()
        };
        assert_eq!(total("2026-03-02T08:00:00+07:00", "2026-03-02T09:00:59+07:00"), 25_000);
        assert_eq!(total("2026-03-02T08:00:59+07:00", "2026-03-02T09:00:59+07:00"), 25_000);
        assert_eq!(total("2026-03-02T08:00:00+07:00", "2026-03-02T09:01:00+07:00"), 50_000);
        assert_eq!(total("2026-03-02T08:00:00+07:00", "2026-03-02T08:00:00+07:00"), 25_000);
    }

    #[test]
    fn coming_back_soon_continues_the_ladder_and_later_begins_anew() {
        let rules = seed_rules("hcmc-zone1-car");
        let (a, b) = (at("2026-03-02T08:00"), at("2026-03-02T10:00"));
        assert!(continues_stay(&rules, b, at("2026-03-02T10:20")));
        assert!(!continues_stay(&rules, b, at("2026-03-02T11:00")));
        let first = price(&rules, a, b).unwrap().total;
        assert_eq!(first.get(), 50_000);
        let earlier = [Leg { start: a, stop: b }];
        let (c, d) = (at("2026-03-02T10:20"), at("2026-03-02T13:20"));
        let second = price_continued(&rules, &earlier, first, c, d).unwrap();
        assert_eq!(second.total.get(), 95_000, "hours 3 to 5 at 30, 30, 35");
        assert_eq!(second.lines.last().map(|l| l.kind), Some(LineKind::AlreadyCharged));
        assert_eq!(price(&rules, c, d).unwrap().total.get(), 80_000, "what splitting would save");
    }

    #[test]
    fn the_fallback_price_is_the_printed_first_hour() {
        let rules = seed_rules("noibai-car");
        let fare = fallback_fare(&rules, at("2026-03-02T08:00"), at("2026-03-02T18:00")).unwrap();
        assert_eq!(fare.total.get(), 15_000);
        assert_eq!(fare.notes, vec![FareNote::Fallback]);
    }
}
