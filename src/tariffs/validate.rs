//! The rules that a price sheet must keep, and when splitting a stay could pay.

use std::collections::HashSet;
use std::fmt::Display;

use jiff::civil::Date;

use super::FieldError;
use super::price::minute_number;
use super::sheet::{
    Band, BandPricing, Cap, CapScope, Charge, Crossing, Ladder, MinuteOfDay, PriceSheet, Pricing,
    SpecialDay, SpecialRule, TurnPrices, TurnPricing,
};
use crate::kernel::money::Vnd;

/// Highest price of a unit, a turn or a flat band: 10 million VND, 60 times the dearest night.
const PRICE_MAX: i64 = 10_000_000;
/// Longest unit: 30 days.
const UNIT_MINUTES_MAX: u32 = 30 * 24 * 60;
/// Shortest unit; below it 90 days could cost more than [`crate::kernel::money::VND_MAX`].
const UNIT_MINUTES_MIN: u32 = 5;
/// Shortest re-entry time that makes splitting a stay not worth the drive.
const REENTRY_MINUTES_MIN: u32 = 15;

#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, field: impl Display, rule: &str) {
        self.0.push(FieldError { field: field.to_string(), rule: rule.to_owned() });
    }

    fn unless(&mut self, kept: bool, field: impl Display, rule: &str) {
        if !kept {
            self.add(field, rule);
        }
    }

    fn label(&mut self, label: &str, field: impl Display) {
        let kept = !label.trim().is_empty() && label.chars().count() <= 80;
        self.unless(kept, field, "length_1_to_80");
    }

    fn key(&mut self, key: &str, field: impl Display) {
        let kept = (1..=32).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        self.unless(kept, field, "key_of_a_to_z_0_to_9_underscore");
    }

    fn price(&mut self, price: Vnd, field: impl Display) {
        self.unless((0..=PRICE_MAX).contains(&price.get()), field, "price_0_to_10000000");
    }

    fn year(&mut self, date: Date, field: impl Display) {
        self.unless((2000..=2100).contains(&date.year()), field, "year_2000_to_2100");
    }

    fn count(&mut self, count: usize, most: usize, field: impl Display) {
        self.unless(count <= most, field, &format!("at_most_{most}_items"));
    }
}

/// Every rule that `sheet` breaks.
pub(super) fn check(sheet: &PriceSheet) -> Vec<FieldError> {
    let mut errors = Errors::default();
    errors.unless(sheet.grace_minutes <= 1_440, "grace_minutes", "at_most_1440");
    errors.unless(sheet.free_minutes <= 1_440, "free_minutes", "at_most_1440");
    errors.unless(sheet.reentry_minutes <= 720, "reentry_minutes", "at_most_720");
    match &sheet.pricing {
        Pricing::Bands(pricing) => check_bands(pricing, &mut errors),
        Pricing::Turns(pricing) => check_turns(pricing, &mut errors),
    }
    check_caps(sheet, &mut errors);
    check_special_days(sheet, &mut errors);
    check_free_periods(sheet, &mut errors);
    if let Some(fallback) = sheet.fallback_price_vnd {
        errors.price(fallback, "fallback_price_vnd");
    }
    errors.count(sheet.vat.len(), 20, "vat");
    let mut dates = HashSet::new();
    for (i, step) in sheet.vat.iter().enumerate() {
        errors.unless(step.percent <= 100, format_args!("vat[{i}].percent"), "at_most_100");
        errors.unless(dates.insert(step.from), format_args!("vat[{i}].from"), "repeated");
        errors.year(step.from, format_args!("vat[{i}].from"));
    }
    if errors.0.is_empty() && splitting_could_pay(sheet) {
        let kept = sheet.reentry_minutes >= REENTRY_MINUTES_MIN;
        errors.unless(kept, "reentry_minutes", "at_least_15_because_splitting_a_stay_could_pay");
    }
    errors.0
}

fn check_bands(pricing: &BandPricing, errors: &mut Errors) {
    let at = "pricing.bands";
    errors.count(pricing.ladders.len(), 8, format_args!("{at}.ladders"));
    let mut keys = HashSet::new();
    for (i, ladder) in pricing.ladders.iter().take(8).enumerate() {
        let at = format!("{at}.ladders[{i}]");
        errors.key(&ladder.key, format_args!("{at}.key"));
        errors.unless(keys.insert(ladder.key.as_str()), format_args!("{at}.key"), "repeated");
        check_steps(ladder, pricing.unit_tolerance_minutes, &at, errors);
    }
    check_day(&pricing.bands, &pricing.ladders, &format!("{at}.bands"), errors);
}

fn check_steps(ladder: &Ladder, tolerance: u32, at: &str, errors: &mut Errors) {
    errors.unless(!ladder.steps.is_empty(), format_args!("{at}.steps"), "at_least_1_item");
    errors.count(ladder.steps.len(), 24, format_args!("{at}.steps"));
    let mut begin = 0;
    for (i, step) in ladder.steps.iter().take(24).enumerate() {
        let at = format!("{at}.steps[{i}]");
        let unit_kept = (UNIT_MINUTES_MIN..=UNIT_MINUTES_MAX).contains(&step.unit_minutes);
        errors.unless(unit_kept, format_args!("{at}.unit_minutes"), "minutes_5_to_43200");
        let tolerance_kept = tolerance == 0 || tolerance < step.unit_minutes;
        errors.unless(
            tolerance_kept,
            "pricing.bands.unit_tolerance_minutes",
            "shorter_than_every_unit",
        );
        errors.price(step.price_vnd, format_args!("{at}.price_vnd"));
        let is_last = i + 1 == ladder.steps.len();
        let field = format!("{at}.until_minutes");
        match step.until_minutes {
            Some(_) if is_last => errors.add(field, "absent_in_the_last_step"),
            None if !is_last => errors.add(field, "required_before_the_last_step"),
            Some(until) => {
                errors.unless(until > begin && until <= 129_600, field, "after_the_step_before");
                begin = until;
            }
            None => {}
        }
    }
}

/// One day's bands: well formed, and covering every minute once.
fn check_day(bands: &[Band], ladders: &[Ladder], at: &str, errors: &mut Errors) {
    errors.count(bands.len(), 12, at);
    let mut keys = HashSet::new();
    let mut parts = Vec::new();
    for (i, band) in bands.iter().take(12).enumerate() {
        let at = format!("{at}[{i}]");
        errors.key(&band.key, format_args!("{at}.key"));
        errors.unless(keys.insert(band.key.as_str()), format_args!("{at}.key"), "repeated");
        errors.label(&band.label, format_args!("{at}.label"));
        match &band.charge {
            Charge::Metered { ladder } => {
                let known = ladders.iter().any(|known| &known.key == ladder);
                errors.unless(known, format_args!("{at}.charge.metered.ladder"), "unknown_ladder");
            }
            Charge::Flat { units, unit_price_vnd } => {
                let units_kept = (1..=1_000).contains(units);
                errors.unless(units_kept, format_args!("{at}.charge.flat.units"), "1_to_1000");
                let field = format!("{at}.charge.flat.unit_price_vnd");
                errors.price(*unit_price_vnd, &field);
                let whole = unit_price_vnd.times(i64::from(*units)).unwrap_or(Vnd::new(i64::MAX));
                errors.price(whole, field);
            }
            Charge::Free => {}
        }
        let (from, to) = (band.from.get(), band.to.get());
        errors.unless(from != to && from < MinuteOfDay::DAY, format_args!("{at}.to"), "not_empty");
        if from < to {
            parts.push((from, to));
        } else {
            parts.push((from, MinuteOfDay::DAY));
            parts.push((0, to));
        }
    }
    parts.retain(|(from, to)| from < to);
    parts.sort_unstable();
    let covered = parts.iter().try_fold(0, |end, &(from, to)| (from == end).then_some(to));
    errors.unless(covered == Some(MinuteOfDay::DAY), at, "cover_24_hours_once");
}

fn check_turns(pricing: &TurnPricing, errors: &mut Errors) {
    let at = "pricing.turns";
    errors.unless(pricing.day_from < pricing.day_to, format_args!("{at}.day_to"), "after_day_from");
    check_turn_prices(&pricing.prices, &format!("{at}.prices"), errors);
    if let Crossing::DominantBand { under_minutes } = pricing.crossing {
        let field = format!("{at}.crossing.dominant_band.under_minutes");
        errors.unless((1..=1_440).contains(&under_minutes), field, "minutes_1_to_1440");
    }
}

fn check_turn_prices(prices: &TurnPrices, at: &str, errors: &mut Errors) {
    errors.price(prices.day_vnd, format_args!("{at}.day_vnd"));
    errors.price(prices.night_vnd, format_args!("{at}.night_vnd"));
    let both = prices.day_and_night_vnd;
    errors.price(both, format_args!("{at}.day_and_night_vnd"));
    let kept = both >= prices.day_vnd && both >= prices.night_vnd;
    errors.unless(kept, format_args!("{at}.day_and_night_vnd"), "not_below_its_parts");
}

fn check_caps(sheet: &PriceSheet, errors: &mut Errors) {
    errors.count(sheet.caps.len(), 14, "caps");
    let mut scopes = HashSet::new();
    for (i, Cap { scope, amount_vnd, label }) in sheet.caps.iter().take(14).enumerate() {
        errors.price(*amount_vnd, format_args!("caps[{i}].amount_vnd"));
        errors.label(label, format_args!("caps[{i}].label"));
        let word = match scope {
            CapScope::PerStay => "stay".to_owned(),
            CapScope::Per24h => "24h".to_owned(),
            CapScope::Band(key) => format!("band {key}"),
        };
        errors.unless(scopes.insert(word), format_args!("caps[{i}].scope"), "repeated");
        if let CapScope::Band(key) = scope {
            let known = match &sheet.pricing {
                Pricing::Bands(pricing) => pricing.bands.iter().any(|band| &band.key == key),
                Pricing::Turns(_) => false,
            };
            errors.unless(known, format_args!("caps[{i}].scope.band"), "unknown_band");
        }
    }
}

fn check_special_days(sheet: &PriceSheet, errors: &mut Errors) {
    errors.count(sheet.special_days.len(), 40, "special_days");
    let mut dates = HashSet::new();
    for (i, SpecialDay { name, dates: listed, rule }) in
        sheet.special_days.iter().take(40).enumerate()
    {
        let at = format!("special_days[{i}]");
        errors.label(name, format_args!("{at}.name"));
        errors.unless(!listed.is_empty(), format_args!("{at}.dates"), "at_least_1_item");
        errors.count(listed.len(), 60, format_args!("{at}.dates"));
        for (j, date) in listed.iter().take(60).enumerate() {
            let field = format!("{at}.dates[{j}]");
            errors.unless(dates.insert(*date), &field, "repeated");
            errors.year(*date, field);
        }
        match (rule, &sheet.pricing) {
            (SpecialRule::Free, _) => {}
            (SpecialRule::Bands(bands), Pricing::Bands(pricing)) => {
                let field = format!("{at}.rule.bands");
                check_day(bands, &pricing.ladders, &field, errors);
                check_same_hours(bands, &pricing.bands, &field, errors);
            }
            (SpecialRule::Turns(prices), Pricing::Turns(_)) => {
                check_turn_prices(prices, &format!("{at}.rule.turns"), errors);
            }
            (SpecialRule::Bands(_), Pricing::Turns(_))
            | (SpecialRule::Turns(_), Pricing::Bands(_)) => {
                errors.add(format_args!("{at}.rule"), "same_kind_as_pricing");
            }
        }
    }
}

/// A band that runs over midnight into a special day is one turn only if it keeps its hours.
fn check_same_hours(bands: &[Band], usual: &[Band], at: &str, errors: &mut Errors) {
    for (i, band) in bands.iter().take(12).enumerate() {
        let kept = usual
            .iter()
            .filter(|usual| usual.key == band.key)
            .all(|usual| (usual.from, usual.to) == (band.from, band.to));
        errors.unless(kept, format_args!("{at}[{i}].from"), "same_key_same_hours");
    }
}

fn check_free_periods(sheet: &PriceSheet, errors: &mut Errors) {
    errors.count(sheet.free_periods.len(), 50, "free_periods");
    let mut spans = Vec::new();
    for (i, period) in sheet.free_periods.iter().take(50).enumerate() {
        errors.label(&period.label, format_args!("free_periods[{i}].label"));
        match (minute_number(period.from), minute_number(period.to)) {
            (Some(from), Some(to)) if from < to => {
                let whole = [period.from, period.to]
                    .iter()
                    .all(|at| at.second() == 0 && at.subsec_nanosecond() == 0);
                errors.unless(whole, format_args!("free_periods[{i}].from"), "whole_minutes");
                errors.year(period.from.date(), format_args!("free_periods[{i}].from"));
                errors.year(period.to.date(), format_args!("free_periods[{i}].to"));
                spans.push((from, to));
            }
            _ => errors.add(format_args!("free_periods[{i}].to"), "after_from"),
        }
    }
    spans.sort_unstable();
    let apart = spans.iter().zip(spans.iter().skip(1)).all(|(one, next)| one.1 <= next.0);
    errors.unless(apart, "free_periods", "not_overlapping");
}

/// Whether leaving and coming back at once could cost less than staying, under these rules.
///
/// `false` is a promise (checked by the property tests); `true` may be overcautious:
/// - minutes that are free at the start of every stay can be had again by coming back;
/// - a ladder whose units get dearer or shorter is cheaper when it begins anew. If they only get
///   cheaper and longer, beginning anew is never better;
/// - 24-hour caps are counted from entry, so a chosen second entry can put two dear stretches
///   into one window; likewise a unit can be made to start in a band whose cap is reached.
///   Turns are immune, because every 24 hours touch the same bands, unless some
///   dates are different or the day-and-night price is above the sum of its parts;
/// - under the dominant-band reading two short turns can undercut one of day and night.
fn splitting_could_pay(sheet: &PriceSheet) -> bool {
    if sheet.grace_minutes > 0 || sheet.free_minutes > 0 {
        return true;
    }
    let caps_parts = sheet.caps.iter().any(|cap| cap.scope != CapScope::PerStay);
    match &sheet.pricing {
        Pricing::Bands(pricing) => {
            caps_parts
                || pricing.unit_tolerance_minutes > 0
                || !pricing.ladders.iter().all(only_gets_cheaper)
        }
        Pricing::Turns(pricing) => {
            let dates_differ = !sheet.special_days.is_empty() || !sheet.free_periods.is_empty();
            let TurnPrices { day_vnd, night_vnd, day_and_night_vnd } = pricing.prices;
            dates_differ
                || pricing.crossing != Crossing::DayAndNight
                || day_and_night_vnd.get() > day_vnd.get() + night_vnd.get()
        }
    }
}

fn only_gets_cheaper(ladder: &Ladder) -> bool {
    let mut begin = 0;
    ladder.steps.iter().all(|step| {
        let whole_units =
            step.until_minutes.is_none_or(|until| (until - begin) % step.unit_minutes == 0);
        begin = step.until_minutes.unwrap_or(begin);
        whole_units
    }) && ladder
        .steps
        .iter()
        .zip(ladder.steps.iter().skip(1))
        .all(|(one, next)| one.price_vnd >= next.price_vnd && one.unit_minutes <= next.unit_minutes)
}
