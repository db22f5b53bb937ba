//! What a stay costs: the frozen tariff, the quote that binds it, and the stay it continues.

use jiff::Timestamp;

use crate::kernel::money::Vnd;
use crate::tariffs::{
    Fare, FareLine, Leg, PriceError, TariffRules, fallback_fare, price, price_continued,
};

/// A quote that binds the price of a session.
#[derive(Clone, Debug)]
pub struct QuotedPrice {
    /// What was promised.
    pub amount: Vnd,
    /// How it came about.
    pub lines: Vec<FareLine>,
    /// Begin of the quoted stay.
    pub starts_at: Timestamp,
    /// Its end.
    pub ends_at: Timestamp,
}

impl QuotedPrice {
    /// Whether a stay is no longer than the one that was quoted, in whole minutes of the ticket.
    fn covers(&self, start: Timestamp, stop: Timestamp) -> bool {
        minutes(start, stop) <= minutes(self.starts_at, self.ends_at)
    }
}

/// Whole minutes between two instants as tickets show them.
fn minutes(from: Timestamp, to: Timestamp) -> i64 {
    let minute = |at: Timestamp| at.as_second().div_euclid(60);
    minute(to).saturating_sub(minute(from))
}

/// The stays of the same vehicle at the same lot that this one continues, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Earlier {
    /// When it was there.
    pub legs: Vec<Leg>,
    /// What it was charged for that.
    pub charged: Vnd,
}

/// What the price of a stay depends on, besides its times.
pub struct PriceTerms<'a> {
    /// The frozen rules.
    pub rules: &'a TariffRules,
    /// The quote, if one binds.
    pub quote: Option<&'a QuotedPrice>,
    /// What this stay continues.
    pub earlier: &'a Earlier,
}

/// The fare of a stay from `start` to `stop`. A quote caps it while the stay is no longer than the
/// quoted one; a fault of the tariff costs its fallback price, where it has one.
pub fn fare(terms: &PriceTerms<'_>, start: Timestamp, stop: Timestamp) -> Result<Fare, PriceError> {
    let priced = if terms.earlier.legs.is_empty() {
        price(terms.rules, start, stop)
    } else {
        let Earlier { legs, charged } = terms.earlier;
        price_continued(terms.rules, legs, *charged, start, stop)
    };
    let fare = match priced {
        Ok(fare) => fare,
        Err(error) => match fallback_fare(terms.rules, start, stop) {
            Some(fare) => {
                tracing::error!(error = %error, "a stay is charged the fallback price");
                fare
            }
            None => return Err(error),
        },
    };
    Ok(match terms.quote {
        Some(quote) if quote.covers(start, stop) && quote.amount < fare.total => {
            Fare { total: quote.amount, lines: quote.lines.clone(), notes: fare.notes }
        }
        Some(_) | None => fare,
    })
}

/// Which of a vehicle's earlier stays at the lot this one continues. `past` is newest first;
/// `continues` says whether an entry continues the stay that ended before it.
pub fn chain(
    past: &[(Leg, Vnd)],
    started_at: Timestamp,
    continues: impl Fn(Timestamp, Timestamp) -> bool,
) -> Earlier {
    let mut next_start = started_at;
    let mut earlier = Earlier::default();
    for (leg, charged) in past {
        if !continues(leg.stop, next_start) {
            break;
        }
        next_start = leg.start;
        earlier.legs.push(*leg);
        earlier.charged = Vnd::new(earlier.charged.get().saturating_add(charged.get()));
    }
    earlier.legs.reverse();
    earlier
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_795_766_400 + minute * 60).unwrap()
    }

    fn stay(from: i64, to: i64, charged: i64) -> (Leg, Vnd) {
        (Leg { start: at(from), stop: at(to) }, Vnd::new(charged))
    }

    #[test]
    fn a_stay_continues_those_that_follow_one_another_closely() {
        let within_15 = |stop: Timestamp, start: Timestamp| minutes(stop, start) <= 15;
        let past = [stay(100, 130, 5), stay(30, 90, 7), stay(-60, 0, 11)];
        let earlier = chain(&past, at(140), within_15);
        let legs: Vec<_> = earlier.legs.iter().map(|leg| leg.start).collect();
        assert_eq!(legs, [at(30), at(100)]);
        assert_eq!(earlier.charged, Vnd::new(12));
        assert!(chain(&past, at(146), within_15).legs.is_empty());
    }

    #[test]
    fn a_quote_covers_stays_of_its_length_by_the_minutes_on_the_ticket() {
        let quote = QuotedPrice {
            amount: Vnd::new(1),
            lines: Vec::new(),
            starts_at: at(0),
            ends_at: at(120),
        };
        let seconds = |n: i64| jiff::SignedDuration::from_secs(n);
        assert!(quote.covers(at(3), at(123)));
        assert!(quote.covers(at(3) + seconds(10), at(123) + seconds(50)));
        assert!(!quote.covers(at(3), at(124)));
    }
}
