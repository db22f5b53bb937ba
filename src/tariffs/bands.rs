//! The walk over a stay that is charged by bands of the day.

use std::borrow::Cow;

use super::TariffRules;
use super::fare::{Charged, LineKind, Tally};
use super::meter::Position;
use super::price::{LocalLeg, PriceError};
use super::sheet::{AfterBreak, Band, BandPricing, Charge, MinuteOfDay, SpecialRule};

/// What holds from some minute on, and for how long at most.
pub(super) enum Place<'s> {
    /// Nothing is charged.
    Free {
        /// Why, in Vietnamese.
        label: &'s str,
    },
    /// The ordinary or the special day's pricing.
    Priced {
        /// The special day, if it is one.
        special: Option<&'s SpecialRule>,
    },
}

/// What holds at `at`, and the first minute at which it may change: midnight or the edge of a
/// free period.
pub(super) fn place(rules: &TariffRules, at: i64) -> (Place<'_>, i64) {
    let day = at.div_euclid(MinuteOfDay::DAY);
    let mut until = (day + 1) * MinuteOfDay::DAY;
    for (from, to, label) in rules.free_periods() {
        if from <= at && at < to {
            return (Place::Free { label }, to);
        }
        if from > at {
            until = until.min(from);
        }
    }
    match rules.special_day(day) {
        Some(special) if special.rule == SpecialRule::Free => {
            (Place::Free { label: &special.name }, until)
        }
        special => (Place::Priced { special: special.map(|special| &special.rule) }, until),
    }
}

/// Where in which band a minute lies.
struct InBand<'s> {
    band: &'s Band,
    /// Its number, for telling lines apart.
    index: u32,
    /// Minute at which this time of the band began.
    began: i64,
    /// First minute after it, or midnight.
    until: i64,
}

fn band_at(bands: &[Band], at: i64) -> Result<InBand<'_>, PriceError> {
    let midnight = at - at.rem_euclid(MinuteOfDay::DAY);
    let minute = at - midnight;
    for (band, index) in bands.iter().zip(0_u32..) {
        let (from, to) = (band.from.get(), band.to.get());
        let over_midnight = from > to;
        if !over_midnight && from <= minute && minute < to {
            return Ok(InBand { band, index, began: midnight + from, until: midnight + to });
        }
        if over_midnight && minute >= from {
            let until = midnight + MinuteOfDay::DAY;
            return Ok(InBand { band, index, began: midnight + from, until });
        }
        if over_midnight && minute < to {
            let began = midnight - MinuteOfDay::DAY + from;
            return Ok(InBand { band, index, began, until: midnight + to });
        }
    }
    Err(PriceError::NoBand)
}

/// The state of the walk.
struct Walk<'s> {
    pricing: &'s BandPricing,
    tolerance: i64,
    positions: Vec<Position>,
    /// The band that the stay is in or was in last: its key and when this time of it began.
    occurrence: Option<(&'s str, i64)>,
}

/// Charges the legs, in order.
pub(super) fn walk<'s>(
    rules: &'s TariffRules,
    pricing: &'s BandPricing,
    legs: &[LocalLeg],
    tally: &mut Tally<'s>,
) -> Result<(), PriceError> {
    let mut walk = Walk {
        pricing,
        tolerance: i64::from(pricing.unit_tolerance_minutes),
        positions: vec![Position::default(); pricing.ladders.len()],
        occurrence: None,
    };
    for leg in legs {
        let mut at = leg.from;
        while at < leg.to {
            tally.step()?;
            let (place, until) = place(rules, at);
            let until = until.min(leg.to).min(tally.window_end(at));
            at = match place {
                Place::Free { label } => walk.free(at, until, label, tally),
                Place::Priced { special } => {
                    let bands = match special {
                        Some(SpecialRule::Bands(bands)) => bands,
                        Some(SpecialRule::Free | SpecialRule::Turns(_)) | None => &pricing.bands,
                    };
                    walk.band(bands, at, until, tally)?
                }
            };
        }
    }
    Ok(())
}

impl<'s> Walk<'s> {
    fn free(&mut self, at: i64, until: i64, label: &'s str, tally: &mut Tally<'s>) -> i64 {
        tally.free(at, until, Cow::Borrowed(label));
        self.stop_ladders(self.pricing.ladder_after_free, None);
        until
    }

    fn band(
        &mut self,
        bands: &'s [Band],
        at: i64,
        until: i64,
        tally: &mut Tally<'s>,
    ) -> Result<i64, PriceError> {
        let here = band_at(bands, at)?;
        let until = until.min(here.until);
        let occurrence = (here.band.key.as_str(), here.began);
        let entered = self.occurrence != Some(occurrence);
        match &here.band.charge {
            Charge::Free => {
                self.free(at, until, &here.band.label, tally);
            }
            Charge::Flat { units, unit_price_vnd } => {
                self.stop_ladders(self.pricing.ladder_after_night, None);
                let charged = Charged {
                    from: at,
                    to: until,
                    units: i64::from(*units),
                    unit_price: *unit_price_vnd,
                    label: &here.band.label,
                    kind: LineKind::Flat,
                    source: here.index,
                };
                if entered {
                    tally.charge(&charged, Some(occurrence))?;
                } else {
                    tally.reach(until);
                }
            }
            Charge::Metered { ladder } => {
                self.meter(&here, ladder, (at, until), tally)?;
            }
        }
        self.occurrence = Some(occurrence);
        Ok(until)
    }

    fn meter(
        &mut self,
        here: &InBand<'s>,
        key: &str,
        (from, until): (i64, i64),
        tally: &mut Tally<'s>,
    ) -> Result<(), PriceError> {
        let found = self.pricing.ladders.iter().position(|ladder| ladder.key == key);
        let index = found.ok_or(PriceError::NoBand)?;
        self.stop_ladders(self.pricing.ladder_after_night, Some(index));
        let (Some(ladder), Some(position)) =
            (self.pricing.ladders.get(index), self.positions.get_mut(index))
        else {
            return Err(PriceError::NoBand);
        };
        let occurrence = Some((here.band.key.as_str(), here.began));
        let mut result = Ok(());
        position.run(ladder, self.tolerance, until - from, |started| {
            if result.is_err() {
                return;
            }
            if started.units == 0 {
                tally.reach(from + started.to);
                return;
            }
            let Some(step) = ladder.steps.get(started.step) else { return };
            let charged = Charged {
                from: from + started.from,
                to: from + started.to,
                units: started.units,
                unit_price: step.price_vnd,
                label: &here.band.label,
                kind: LineKind::Metered,
                source: here.index,
            };
            result = tally.charge(&charged, occurrence);
        });
        result
    }

    /// Breaks every ladder but `except`, which is about to run. Repeating it changes nothing, so
    /// a break of several kinds restarts if any of them does.
    fn stop_ladders(&mut self, after: AfterBreak, except: Option<usize>) {
        let ladders = self.pricing.ladders.iter().enumerate();
        for ((index, ladder), position) in ladders.zip(&mut self.positions) {
            if except != Some(index) {
                position.interrupt(ladder, self.tolerance, after);
            }
        }
    }
}
