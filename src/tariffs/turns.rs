//! Charging by turn: two-wheelers pay for a day, a night, or both, once in 24 hours.

use std::borrow::Cow;

use super::TariffRules;
use super::bands::{Place, place};
use super::fare::{Charged, LineKind, Tally};
use super::price::{LocalLeg, PriceError};
use super::sheet::{Crossing, MinuteOfDay, SpecialRule, TurnPrices, TurnPricing};
use crate::kernel::money::Vnd;

/// What 24 hours from entry have touched so far.
struct Window {
    /// First minute after the 24 hours.
    end: i64,
    prices: TurnPrices,
    day: i64,
    night: i64,
    from: i64,
    to: i64,
    /// The most that it would have cost at any exit so far.
    peak: Vnd,
}

impl Window {
    fn turn(&self, crossing: Crossing) -> (Vnd, LineKind) {
        let day = (self.prices.day_vnd, LineKind::TurnDay);
        let night = (self.prices.night_vnd, LineKind::TurnNight);
        match (self.day, self.night, crossing) {
            (_, 0, _) => day,
            (0, _, _) => night,
            (d, n, Crossing::DominantBand { under_minutes })
                if d + n < i64::from(under_minutes) =>
            {
                // No source says what equal parts cost; the driver gets the cheaper turn.
                match d.cmp(&n) {
                    std::cmp::Ordering::Greater => day,
                    std::cmp::Ordering::Less => night,
                    std::cmp::Ordering::Equal => {
                        if day.0 <= night.0 {
                            day
                        } else {
                            night
                        }
                    }
                }
            }
            _ => (self.prices.day_and_night_vnd, LineKind::TurnDayAndNight),
        }
    }
}

/// Charges the legs, in order.
pub(super) fn walk<'s>(
    rules: &'s TariffRules,
    pricing: &'s TurnPricing,
    legs: &[LocalLeg],
    tally: &mut Tally<'s>,
) -> Result<(), PriceError> {
    let mut window: Option<Window> = None;
    for leg in legs {
        let mut at = leg.from;
        while at < leg.to {
            tally.step()?;
            let (place, until) = place(rules, at);
            let until = until.min(leg.to).min(tally.window_end(at));
            at = match place {
                Place::Free { label } => {
                    tally.free(at, until, Cow::Borrowed(label));
                    until
                }
                Place::Priced { special } => {
                    let prices = match special {
                        Some(SpecialRule::Turns(prices)) => *prices,
                        Some(SpecialRule::Free | SpecialRule::Bands(_)) | None => pricing.prices,
                    };
                    let (is_day, band_end) = band_at(pricing, at);
                    let until = until.min(band_end);
                    if window.as_ref().is_some_and(|w| w.end <= at) {
                        settle(window.take(), pricing.crossing, tally)?;
                    }
                    let open = window.get_or_insert(Window {
                        end: tally.window_end(at),
                        prices,
                        day: 0,
                        night: 0,
                        from: at,
                        to: at,
                        peak: Vnd::ZERO,
                    });
                    if is_day {
                        open.day += until - at;
                    } else {
                        open.night += until - at;
                    }
                    open.to = until;
                    open.peak = open.peak.max(open.turn(pricing.crossing).0);
                    until
                }
            };
        }
    }
    settle(window, pricing.crossing, tally)
}

/// Whether a minute lies in the day band, and the first minute after this part of its band.
fn band_at(pricing: &TurnPricing, at: i64) -> (bool, i64) {
    let midnight = at - at.rem_euclid(MinuteOfDay::DAY);
    let (day_from, day_to) = (midnight + pricing.day_from.get(), midnight + pricing.day_to.get());
    if at < day_from {
        (false, day_from)
    } else if at < day_to {
        (true, day_to)
    } else {
        (false, midnight + MinuteOfDay::DAY)
    }
}

fn settle(
    window: Option<Window>,
    crossing: Crossing,
    tally: &mut Tally<'_>,
) -> Result<(), PriceError> {
    let Some(window) = window else { return Ok(()) };
    let (unit_price, kind) = window.turn(crossing);
    tally.cheaper_for_longer |= unit_price < window.peak;
    let label = match kind {
        LineKind::TurnDay => "Lượt ban ngày",
        LineKind::TurnNight => "Lượt ban đêm",
        _ => "Lượt ngày và đêm",
    };
    let turn =
        Charged { from: window.from, to: window.to, units: 1, unit_price, label, kind, source: 0 };
    tally.charge(&turn, None)
}
