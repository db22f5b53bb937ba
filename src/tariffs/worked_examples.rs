//! Every printed example, priced by the seed tariffs. The rows and their strength are explained
//! in `tests/fixtures/tariffs/README.md`.

use jiff::{Timestamp, civil::DateTime};

use super::{FareNote, TariffRules, amount, price};
use crate::kernel::clock::hanoi;
use crate::kernel::money::Vnd;

const ROWS: &str = include_str!("../../tests/fixtures/tariffs/worked-examples.csv");
const SEED: &str = include_str!("../../seed/tariffs.json");

/// A seed tariff's rules by code.
pub(super) fn seed_rules(code: &str) -> TariffRules {
    rules_with(code, None)
}

/// The instant of a civil time in Hanoi.
pub(super) fn at(local: &str) -> Timestamp {
    let local: DateTime = local.parse().unwrap();
    local.to_zoned(hanoi()).unwrap().timestamp()
}

fn rules_with(code: &str, option: Option<(&str, &str)>) -> TariffRules {
    let seed: serde_json::Value = serde_json::from_str(SEED).unwrap();
    let tariffs = seed["tariffs"].as_array().unwrap();
    let found = tariffs.iter().find(|tariff| tariff["code"] == code);
    let mut rules = found.unwrap_or_else(|| panic!("no seed tariff {code}"))["rules"].clone();
    if let Some((field, value)) = option {
        rules["pricing"]["bands"][field] = value.into();
    }
    TariffRules::parse(&rules).unwrap_or_else(|errors| panic!("{code}: {errors:?}"))
}

/// `code[field=value]` → code and option.
fn tariff_named(name: &str) -> TariffRules {
    match name.split_once('[') {
        None => seed_rules(name),
        Some((code, option)) => rules_with(code, option.trim_end_matches(']').split_once('=')),
    }
}

#[test]
fn every_worked_example_costs_what_is_printed() {
    let mut rows = 0;
    for row in csv::Reader::from_reader(ROWS.as_bytes()).records() {
        let row = row.unwrap();
        let rules = tariff_named(&row[0]);
        let (start, stop) = (at(&row[2]), at(&row[3]));
        let fare = price(&rules, start, stop).unwrap();
        let printed = Vnd::new(row[4].parse().unwrap());
        assert_eq!(fare.total, printed, "{row:?}: {:#?}", fare.lines);
        assert_eq!(fare.lines.iter().map(|line| line.amount_vnd).sum::<Vnd>(), printed);
        assert_eq!(amount(&rules, start, stop), Ok(printed));
        rows += 1;
    }
    assert_eq!(rows, 34);
}

#[test]
fn every_seed_tariff_keeps_the_rules_of_a_sheet() {
    let seed: serde_json::Value = serde_json::from_str(SEED).unwrap();
    for tariff in seed["tariffs"].as_array().unwrap() {
        let code = tariff["code"].as_str().unwrap();
        let rules = seed_rules(code);
        let written = serde_json::to_value(&rules).unwrap();
        assert_eq!(TariffRules::parse(&written).as_ref(), Ok(&rules), "{code} read back");
        for field in ["name", "source", "basis", "starts_on"] {
            assert!(!tariff[field].as_str().unwrap().is_empty(), "{code}.{field}");
        }
    }
}

/// The third ambiguity of the printed rules: a motorbike that crosses 18:00 for a few hours.
#[test]
fn a_turn_over_six_in_the_evening_has_both_readings() {
    let (start, stop) = (at("2018-03-05T17:00"), at("2018-03-05T20:00"));
    let at_once = seed_rules("hanoi-motorbike-urban");
    assert_eq!(amount(&at_once, start, stop), Ok(Vnd::new(12_000)));
    let mut sheet = at_once.sheet().clone();
    let super::Pricing::Turns(turns) = &mut sheet.pricing else { panic!("turns") };
    turns.crossing = super::Crossing::DominantBand { under_minutes: 720 };
    sheet.reentry_minutes = 30;
    let dominant = TariffRules::new(sheet).unwrap();
    assert_eq!(amount(&dominant, start, stop), Ok(Vnd::new(8_000)));
    let long = price(&dominant, at("2018-03-05T05:00"), at("2018-03-05T10:00")).unwrap();
    assert_eq!(long.total, Vnd::new(5_000));
    assert_eq!(long.notes, vec![FareNote::CheaperForLonger], "6:30 would have cost 8,000");
}

#[test]
fn tan_son_nhat_turns_to_blocks_of_twelve_hours_after_a_day() {
    let rules = seed_rules("tsn-2017-car");
    let total = |stop| amount(&rules, at("2017-06-05T08:00"), at(stop)).unwrap().get();
    assert_eq!(total("2017-06-06T08:00"), 30_000 + 23 * 10_000);
    assert_eq!(total("2017-06-06T08:01"), 30_000 + 23 * 10_000 + 75_000);
    assert_eq!(total("2017-06-06T20:00"), 30_000 + 23 * 10_000 + 75_000);
    assert_eq!(total("2017-06-06T20:01"), 30_000 + 23 * 10_000 + 150_000);
}
