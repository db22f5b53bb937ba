//! Numbers of a report. The only place of this program that calculates with floats.
#![expect(
    clippy::float_arithmetic,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "rates and ratios for people to read; counts are far below 2^53"
)]

use std::time::Duration;

/// Some measurements of one thing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The one in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// Median, smallest and largest; all 0 of nothing.
pub fn spread(values: &[f64]) -> Spread {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        at(middle)
    } else {
        f64::midpoint(at(middle.saturating_sub(1)), at(middle))
    };
    Spread { median, min: at(0), max: at(sorted.len().saturating_sub(1)) }
}

/// How many a second.
pub fn rate(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64().max(1e-9)
}

/// One number through another.
pub fn ratio(above: f64, below: f64) -> f64 {
    above / below.max(1e-9)
}

/// Microseconds for each of `count`.
pub fn micros_each(spent: Duration, count: u64) -> f64 {
    spent.as_secs_f64() * 1e6 / (count.max(1) as f64)
}

/// What is left of the processors' busy time for others, as a share of all their time.
pub fn foreign_share(busy: Duration, ours: Duration, elapsed: Duration, processors: usize) -> f64 {
    let all = elapsed.as_secs_f64() * (processors.max(1) as f64);
    ((busy.as_secs_f64() - ours.as_secs_f64()) / all.max(1e-9)).clamp(0.0, 1.0)
}

/// The value below which a share of the sorted values lies, in milliseconds.
pub fn quantile_ms(sorted_us: &[u32], per_mille: usize) -> f64 {
    let index = sorted_us.len().saturating_sub(1) * per_mille / 1000;
    f64::from(sorted_us.get(index).copied().unwrap_or(0)) / 1000.0
}

/// Megabytes (10^6 bytes) for each 100,000 of `count` things that take `bytes` together.
pub fn megabytes_per_100k(bytes: u64, count: u64) -> f64 {
    bytes as f64 / (count.max(1) as f64) * 100_000.0 / 1e6
}

/// A share of something.
pub fn times(value: f64, factor: f64) -> f64 {
    value * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two() {
        let odd = spread(&[5.0, 1.0, 9.0]);
        assert_eq!(odd, Spread { median: 5.0, min: 1.0, max: 9.0 });
        let even = spread(&[4.0, 1.0, 2.0, 9.0]);
        assert_eq!(even, Spread { median: 3.0, min: 1.0, max: 9.0 });
        assert_eq!(spread(&[]), Spread { median: 0.0, min: 0.0, max: 0.0 });
    }

    #[test]
    fn memory_is_given_for_a_hundred_thousand() {
        let value = megabytes_per_100k(50_000_000, 50_000);
        assert!((value - 100.0).abs() < 1e-9);
    }
}
