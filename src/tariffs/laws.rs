//! The laws of pricing, over random price sheets and stays.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::worked_examples::at;
use super::*;
use crate::kernel::money::Vnd;

fn vnd(thousands: i64) -> Vnd {
    Vnd::new(thousands * 1_000)
}

fn minute(number: u16) -> MinuteOfDay {
    MinuteOfDay::new(number).unwrap()
}

fn charge() -> impl Strategy<Value = Charge> {
    prop_oneof![
        3 => prop_oneof![Just("a"), Just("b")].prop_map(|l| Charge::Metered { ladder: l.into() }),
        2 => (1..8_u32, 0..40_i64)
            .prop_map(|(units, price)| Charge::Flat { units, unit_price_vnd: vnd(price) }),
        1 => Just(Charge::Free),
    ]
}

/// One to four bands that cover the day; the last one runs over midnight.
fn bands() -> impl Strategy<Value = Vec<Band>> {
    proptest::collection::btree_set(0..1_440_u16, 2..5)
        .prop_flat_map(|cuts| {
            let charges = proptest::collection::vec(charge(), cuts.len());
            (Just(cuts.into_iter().collect::<Vec<_>>()), charges)
        })
        .prop_map(|(cuts, charges)| {
            let edges = cuts.iter().zip(cuts.iter().cycle().skip(1));
            let band = |(number, ((from, to), charge)): (usize, ((&u16, &u16), Charge))| Band {
                key: format!("band_{number}"),
                label: format!("Khung {number}"),
                from: minute(*from),
                to: minute(*to),
                charge,
            };
            edges.zip(charges).enumerate().map(band).collect()
        })
}

fn ladder(key: &'static str, tame: bool) -> impl Strategy<Value = Ladder> {
    let step = (1..300_u32, 5..200_u32, 0..60_i64);
    let rising = proptest::collection::vec(step, 1..4).prop_map(|steps| {
        let mut until = 0;
        let last = steps.len() - 1;
        let place = |(i, (length, unit_minutes, price)): (usize, (u32, u32, i64))| {
            until += length;
            Step { until_minutes: (i < last).then_some(until), unit_minutes, price_vnd: vnd(price) }
        };
        steps.into_iter().enumerate().map(place).collect()
    });
    // Only ever cheaper and longer, in whole units: splitting must not pay without a re-entry rule.
    let falling = (5..90_u32, 1..6_u32, 0..60_i64, 0..60_i64, 0..60_u32).prop_map(
        |(unit, units, high, low, longer)| {
            let (high, low) = (high.max(low), high.min(low));
            vec![
                Step {
                    until_minutes: Some(unit * units),
                    unit_minutes: unit,
                    price_vnd: vnd(high),
                },
                Step { until_minutes: None, unit_minutes: unit + longer, price_vnd: vnd(low) },
            ]
        },
    );
    let weight = u32::from(!tame);
    prop_oneof![weight => rising, 1 => falling]
        .prop_map(move |steps| Ladder { key: key.into(), steps })
}

/// Mostly 0; always, for tame rules.
fn seldom(tame: bool, most: u32) -> impl Strategy<Value = u32> {
    prop_oneof![3 => Just(0), u32::from(!tame) => 1..most]
}

fn after() -> impl Strategy<Value = AfterBreak> {
    prop_oneof![Just(AfterBreak::Restart), Just(AfterBreak::Continue)]
}

fn band_pricing(tame: bool) -> impl Strategy<Value = Pricing> {
    let tolerance = seldom(tame, 5);
    (bands(), ladder("a", tame), ladder("b", tame), after(), after(), tolerance).prop_map(
        |(bands, a, b, night, free, tolerance)| {
            Pricing::Bands(BandPricing {
                bands,
                ladders: vec![a, b],
                ladder_after_night: night,
                ladder_after_free: free,
                unit_tolerance_minutes: tolerance,
            })
        },
    )
}

fn turn_prices() -> impl Strategy<Value = TurnPrices> {
    (0..20_i64, 0..20_i64, 0..20_i64).prop_map(|(day, night, more)| TurnPrices {
        day_vnd: vnd(day),
        night_vnd: vnd(night),
        day_and_night_vnd: vnd(day.max(night) + more),
    })
}

fn turn_pricing(tame: bool) -> impl Strategy<Value = Pricing> {
    let crossing = prop_oneof![
        3 => Just(Crossing::DayAndNight),
        u32::from(!tame) => (1..=1_440_u32).prop_map(|under_minutes| Crossing::DominantBand { under_minutes }),
    ];
    (1..700_u16, 700..1_440_u16, turn_prices(), crossing).prop_map(
        move |(day_from, day_to, mut prices, crossing)| {
            if tame {
                let sum = prices.day_vnd.plus(prices.night_vnd).unwrap();
                prices.day_and_night_vnd = prices.day_and_night_vnd.min(sum);
            }
            Pricing::Turns(TurnPricing {
                day_from: minute(day_from),
                day_to: minute(day_to),
                prices,
                crossing,
            })
        },
    )
}

fn caps() -> impl Strategy<Value = Vec<Cap>> {
    let cap = |scope: CapScope| {
        proptest::option::weighted(0.25, (0..400_i64).prop_map(vnd)).prop_map(move |amount| {
            let label = "Mức trần".to_owned();
            amount.map(|amount_vnd| Cap { scope: scope.clone(), amount_vnd, label })
        })
    };
    (cap(CapScope::PerStay), cap(CapScope::Per24h), cap(CapScope::Band("band_0".into())))
        .prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().collect())
}

fn any_rules() -> impl Strategy<Value = TariffRules> {
    rules(false)
}

/// Sheets that keep the rules; the stays of the tests begin in the days around 2 September. Tame
/// ones have nothing that a re-entry rule is asked for.
fn rules(tame: bool) -> impl Strategy<Value = TariffRules> {
    let pricing = prop_oneof![3 => band_pricing(tame), 1 => turn_pricing(tame)];
    let special = (0..5_u8, bands(), turn_prices());
    let minutes = (seldom(tame, 60), seldom(tame, 120));
    (pricing, caps(), special, minutes, any::<bool>(), any::<bool>()).prop_map(
        move |(pricing, caps, (kind, bands, prices), minutes, period, reentry)| {
            let is_turns = matches!(pricing, Pricing::Turns(_));
            let dates_differ = !(tame && is_turns);
            let rule = match (kind, is_turns) {
                (0, _) => Some(SpecialRule::Free),
                (1, true) => Some(SpecialRule::Turns(prices)),
                (1, false) => Some(SpecialRule::Bands(renamed(bands))),
                _ => None,
            };
            let mut sheet = PriceSheet {
                pricing,
                grace_minutes: minutes.0,
                free_minutes: minutes.1,
                reentry_minutes: 0,
                caps: caps
                    .into_iter()
                    .filter(|cap| match cap.scope {
                        CapScope::PerStay => true,
                        CapScope::Per24h => !tame,
                        CapScope::Band(_) => !tame && !is_turns,
                    })
                    .collect(),
                special_days: rule.filter(|_| dates_differ).map(holiday).into_iter().collect(),
                free_periods: (period && dates_differ).then(festival).into_iter().collect(),
                fallback_price_vnd: None,
                vat: Vec::new(),
            };
            if !tame && (reentry || TariffRules::new(sheet.clone()).is_err()) {
                sheet.reentry_minutes = 15;
            }
            TariffRules::new(sheet).unwrap()
        },
    )
}

/// Bands with keys of their own, as their hours differ from the ordinary days'.
fn renamed(bands: Vec<Band>) -> Vec<Band> {
    bands.into_iter().map(|band| Band { key: format!("tet_{}", band.key), ..band }).collect()
}

fn holiday(rule: SpecialRule) -> SpecialDay {
    let dates = vec!["2026-09-02".parse().unwrap()];
    SpecialDay { name: "Quốc khánh".into(), dates, rule }
}

fn festival() -> FreePeriod {
    FreePeriod {
        from: "2026-09-01T09:30".parse().unwrap(),
        to: "2026-09-01T20:15".parse().unwrap(),
        label: "Miễn phí lễ hội".into(),
    }
}

fn start() -> impl Strategy<Value = Timestamp> {
    (0..3 * 1_440_i64).prop_map(|m| after_minutes(at("2026-08-31T00:00"), m))
}

fn after_minutes(start: Timestamp, minutes: i64) -> Timestamp {
    start + SignedDuration::from_mins(minutes)
}

/// A stay up to four days, with short ones as likely as long ones.
fn minutes() -> impl Strategy<Value = i64> {
    prop_oneof![1..180_i64, 1..1_500_i64, 1..6_000_i64]
}

proptest! {
    // A fixed seed, so that a build is green or red for everyone; other
    // seeds were run by the hundred thousand when the laws were written.
    #![proptest_config(ProptestConfig {
        cases: 1_500,
        rng_seed: RngSeed::Fixed(2018),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_fare_is_never_negative_and_its_lines_sum_to_it(
        rules in any_rules(), start in start(), length in minutes(),
    ) {
        let stop = after_minutes(start, length);
        let fare = price(&rules, start, stop).unwrap();
        prop_assert!(fare.total >= Vnd::ZERO);
        prop_assert_eq!(fare.lines.iter().map(|line| line.amount_vnd).sum::<Vnd>(), fare.total);
        prop_assert_eq!(amount(&rules, start, stop), Ok(fare.total));
        prop_assert!(!fare.lines.is_empty());
        for line in &fare.lines {
            prop_assert_eq!(line.unit_price_vnd.times(line.units), Ok(line.amount_vnd));
            prop_assert!(start <= line.from && line.from < line.to && line.to <= stop);
            let takes_off = line.kind == LineKind::Cap;
            prop_assert_eq!(takes_off, line.amount_vnd < Vnd::ZERO);
        }
    }

    #[test]
    fn a_longer_stay_never_costs_less_unless_the_fare_says_so(
        rules in any_rules(), start in start(), length in minutes(), more in minutes(),
    ) {
        let shorter = amount(&rules, start, after_minutes(start, length)).unwrap();
        let longer = price(&rules, start, after_minutes(start, length + more)).unwrap();
        let says_so = longer.notes.contains(&FareNote::CheaperForLonger);
        prop_assert!(longer.total >= shorter || says_so, "{} < {}", longer.total, shorter);
        if says_so {
            let turns = matches!(&rules.sheet().pricing, Pricing::Turns(turns)
                if turns.crossing != Crossing::DayAndNight);
            prop_assert!(turns, "only the dominant band makes longer cheaper");
        }
    }

    #[test]
    fn splitting_a_stay_at_once_never_pays_where_no_reentry_rule_is_asked_for(
        rules in rules(true), start in start(), length in minutes(), more in minutes(),
    ) {
        let (stop, end) = (after_minutes(start, length), after_minutes(start, length + more));
        prop_assert_eq!(rules.sheet().reentry_minutes, 0);
        let whole = amount(&rules, start, end).unwrap();
        let split = amount(&rules, start, stop).unwrap().get()
            + amount(&rules, stop, end).unwrap().get();
        prop_assert!(split >= whole.get(), "{split} < {whole}");
    }

    #[test]
    fn legs_charged_one_after_the_other_cost_at_least_the_whole(
        rules in any_rules(), start in start(),
        lengths in proptest::collection::vec((minutes(), 0..15_i64), 1..5),
    ) {
        let mut legs: Vec<Leg> = Vec::new();
        let mut charged = Vnd::ZERO;
        let mut entry = start;
        for (length, away) in lengths {
            let stop = after_minutes(entry, length);
            let fare = price_continued(&rules, &legs, charged, entry, stop).unwrap();
            prop_assert!(fare.total >= Vnd::ZERO);
            prop_assert_eq!(
                fare.lines.iter().map(|line| line.amount_vnd).sum::<Vnd>(), fare.total
            );
            charged = charged.plus(fare.total).unwrap();
            legs.push(Leg { start: entry, stop });
            prop_assert!(charged >= price_legs(&rules, &legs).unwrap().total);
            entry = after_minutes(stop, away);
        }
    }

    #[test]
    fn an_extension_costs_what_asking_at_once_would_have_cost(
        rules in any_rules(), start in start(), length in minutes(), more in minutes(),
    ) {
        let (stop, end) = (after_minutes(start, length), after_minutes(start, length + more));
        let first = amount(&rules, start, stop).unwrap();
        let earlier = [Leg { start, stop }];
        let rest = price_continued(&rules, &earlier, first, stop, end).unwrap().total;
        let whole = amount(&rules, start, end).unwrap();
        prop_assert_eq!(first.plus(rest).unwrap(), whole.max(first));
    }

    #[test]
    fn a_sheet_reads_back_as_it_was_written(rules in any_rules()) {
        let written = serde_json::to_value(&rules).unwrap();
        prop_assert_eq!(TariffRules::parse(&written), Ok(rules));
    }
}
