//! How long pricing takes: a short stay, as search does for its hits, and thirty days, which must
//! stay under a millisecond. Run by hand with `cargo bench --bench price`; no test depends on
//! it, because a busy machine bends every time (the tests count steps instead).
//!
//! A measuring library would be one more thing to build in every clean checkout; medians of
//! batches tell microseconds from milliseconds just as well.

use std::hint::black_box;
use std::time::{Duration, Instant};

use iparking::tariffs::{TariffRules, amount, price};
use jiff::{SignedDuration, Timestamp};

const SEED: &str = include_str!("../seed/tariffs.json");

/// Batches of which the middle one counts, and calls in each.
const BATCHES: usize = 51;
const CALLS: u32 = 200;

#[expect(clippy::expect_used, clippy::indexing_slicing, reason = "a bench may stop at a bad seed")]
fn rules(code: &str) -> TariffRules {
    let seed: serde_json::Value = serde_json::from_str(SEED).expect("the seed is JSON");
    let found = seed["tariffs"].as_array().expect("a list").iter().find(|t| t["code"] == code);
    TariffRules::parse(&found.expect("a seed tariff")["rules"]).expect("valid rules")
}

/// The median time of one call.
fn median<T>(mut call: impl FnMut() -> T) -> Duration {
    let mut batches: Vec<Duration> = (0..BATCHES)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..CALLS {
                black_box(call());
            }
            begin.elapsed() / CALLS
        })
        .collect();
    batches.sort_unstable();
    batches.get(BATCHES / 2).copied().unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "a bench shows its table")]
fn main() {
    let start = Timestamp::constant(1_793_578_200, 0);
    println!("{:<24} {:>12} {:>14} {:>14}", "tariff", "stay", "fare", "amount only");
    for code in ["hanoi-iparking-car", "hanoi-motorbike-urban", "tsn-2017-car"] {
        let rules = rules(code);
        for hours in [2, 720] {
            let stop = start + SignedDuration::from_hours(hours);
            let fare = median(|| price(black_box(&rules), start, stop));
            let only = median(|| amount(black_box(&rules), start, stop));
            let stay = format!("{hours} h");
            println!(
                "{code:<24} {stay:>12} {:>14} {:>14}",
                format!("{fare:?}"),
                format!("{only:?}")
            );
        }
    }
}
