//! Search: where is a space near here, what will it cost, how sure are we.
//!
//! Read-only over lots, occupancy and tariffs, and from memory only: a search never waits for
//! Redis or Postgres. This file orders lots; [`answer`] writes them down.

pub mod answer;
pub mod http;
pub mod json;
pub mod names;
pub mod prices;
pub mod query;

use std::cmp::Ordering;

use crate::kernel::geo::Metres;
use crate::kernel::money::Vnd;
use crate::occupancy::index::{Index, Near};

/// What a minute of the way is worth when price and way are weighed: an assumption, 30,000 VND for
/// an hour of walking, and the way is walked twice, there and back.
pub const WALK_VND_PER_MINUTE: i64 = 1_000;

/// Streets are longer than the straight line.
const DETOUR_PERCENT: u32 = 130;

/// Walking speed: 4.8 km/h.
const WALK_M_PER_MINUTE: u32 = 80;

/// Minutes to walk a distance, begun minutes counted whole.
pub fn walk_minutes(distance: Metres) -> u32 {
    let way_m = distance.get().saturating_mul(DETOUR_PERCENT).div_ceil(100);
    way_m.div_ceil(WALK_M_PER_MINUTE)
}

/// How to order lots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Sort {
    /// By distance.
    #[default]
    Nearest,
    /// By price, then distance.
    Cheapest,
    /// By price and way together.
    Best,
}

/// A lot with its price, ready to be ordered.
#[derive(Clone, Copy, Debug)]
pub struct Priced {
    /// The lot and its distance.
    pub near: Near,
    /// Its price; none where no tariff applies.
    pub amount: Option<Vnd>,
}

impl Priced {
    /// Price and way in VND. The way counts by the metre, so that equal minutes still differ.
    fn burden(&self) -> Option<i64> {
        let metres = i64::from(self.near.distance().get());
        let walk = metres
            .saturating_mul(i64::from(DETOUR_PERCENT))
            .saturating_mul(WALK_VND_PER_MINUTE)
            .div_euclid(100 * i64::from(WALK_M_PER_MINUTE));
        self.amount.map(|amount| amount.get().saturating_add(walk))
    }
}

/// Orders lots and cuts them to `limit`. Lots without a price come last where price counts.
pub fn order(index: &Index, hits: &mut Vec<Priced>, sort: Sort, limit: usize) {
    let nearer = |a: &Priced, b: &Priced| index.by_distance(&a.near, &b.near);
    let by = |a: &Priced, b: &Priced| -> Ordering {
        match sort {
            Sort::Nearest => nearer(a, b),
            Sort::Cheapest => priced_first(a.amount, b.amount).then_with(|| nearer(a, b)),
            Sort::Best => priced_first(a.burden(), b.burden()).then_with(|| nearer(a, b)),
        }
    };
    if limit > 0 && hits.len() > limit {
        hits.select_nth_unstable_by(limit - 1, by);
    }
    hits.truncate(limit);
    hits.sort_unstable_by(by);
}

fn priced_first<T: Ord>(a: Option<T>, b: Option<T>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, 0)]
    #[case(1, 1)]
    #[case(61, 1)]
    #[case(62, 2)]
    #[case(640, 11)]
    #[case(5_000, 82)]
    fn a_begun_minute_of_walking_counts(#[case] metres: u32, #[case] minutes: u32) {
        assert_eq!(walk_minutes(Metres::new(metres)), minutes);
    }

    #[test]
    fn what_has_no_price_comes_after_what_has_one() {
        assert_eq!(priced_first(Some(9), None), Ordering::Less);
        assert_eq!(priced_first(None, Some(0)), Ordering::Greater);
        assert_eq!(priced_first::<i64>(None, None), Ordering::Equal);
        assert_eq!(priced_first(Some(1), Some(2)), Ordering::Less);
    }
}
