//! One constructor per business event: which accounts it moves.
//!
//! | event | debit | credit |
//! |---|---|---|
//! | a session came to owe F | `driver_receivable` F | `vat_payable` V, `city_payable` C, `fee_income` E, `operator_payable` the rest |
//! | a fare is lowered by R | the same shares of R | `driver_receivable` R |
//! | a provider collected P | `provider_clearing` P | `driver_receivable` P |
//! | a refund R was accepted | `driver_receivable` R | `provider_clearing` R |
//! | a refund R was refused after all | `provider_clearing` R | `driver_receivable` R |

use uuid::Uuid;

use super::{Account, Transfer, Unbalanced};
use crate::kernel::ids::{PaymentId, RefundId, TransferId};
use crate::kernel::money::{OutOfRange, Rate, Rounding, Vnd};

/// How a fare is shared, frozen when the session starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// Code of the operator who gets the rest.
    pub operator_code: String,
    /// Value-added tax, contained in the fare.
    pub vat: Rate,
    /// The city's share of the fare without tax.
    pub city: Rate,
    /// The platform's share of the fare without tax.
    pub platform: Rate,
}

/// A fare in its parts; they sum to it exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Tax, rounded half up as on invoices.
    pub vat: Vnd,
    /// The city's part, rounded down.
    pub city: Vnd,
    /// The platform's part, rounded down.
    pub platform: Vnd,
    /// The operator's part: what is left, roundings included.
    pub operator: Vnd,
}

/// A posting could not be made. Both causes are defects of ours.
#[derive(Debug, thiserror::Error)]
pub enum PostingError {
    /// An amount left its range.
    #[error("an amount left its range")]
    Range(#[from] OutOfRange),
    /// The entries do not balance.
    #[error("the entries do not balance")]
    Unbalanced(#[from] Unbalanced),
}

impl Shares {
    /// Splits `fare`. Shares of more than the whole are a fault of configuration: the operator's
    /// part would turn negative, which is refused.
    pub fn split(&self, fare: Vnd) -> Result<Split, OutOfRange> {
        let vat = fare.tax_inside(self.vat, Rounding::HalfUp)?;
        let net = fare.minus(vat)?;
        let city = net.part(self.city, Rounding::Down)?;
        let platform = net.part(self.platform, Rounding::Down)?;
        let operator = net.minus(city)?.minus(platform)?;
        if operator < Vnd::ZERO {
            return Err(OutOfRange);
        }
        Ok(Split { vat, city, platform, operator })
    }
}

/// A session came to owe `fare`; `charge` names the event (a row of `session_charges`).
pub fn session_charged(charge: Uuid, shares: &Shares, fare: Vnd) -> Result<Transfer, PostingError> {
    let split = shares.split(fare)?;
    let entries = [
        (Account::driver_receivable(), fare),
        (Account::vat_payable(), split.vat.negated()),
        (Account::city_payable(), split.city.negated()),
        (Account::fee_income(), split.platform.negated()),
        (Account::operator_payable(&shares.operator_code), split.operator.negated()),
    ];
    Ok(Transfer::new("session_charged", charge, "Phí gửi xe", entries)?)
}

/// What a session owes is lowered from `from` to `to`: a complaint or a correction. The parts are
/// the difference of two splits, so that lowering in steps leaves the same parts as at once.
/// `event` is the refund or charge that caused it.
pub fn fare_lowered(
    event: Uuid,
    shares: &Shares,
    from: Vnd,
    to: Vnd,
) -> Result<Transfer, PostingError> {
    let (before, after) = (shares.split(from)?, shares.split(to)?);
    let entries = [
        (Account::vat_payable(), before.vat.minus(after.vat)?),
        (Account::city_payable(), before.city.minus(after.city)?),
        (Account::fee_income(), before.platform.minus(after.platform)?),
        (Account::operator_payable(&shares.operator_code), before.operator.minus(after.operator)?),
        (Account::driver_receivable(), to.minus(from)?),
    ];
    Ok(Transfer::new("fare_lowered", event, "Giảm phí gửi xe", entries)?)
}

/// A provider says that it has collected `amount` for us.
pub fn payment_received(
    payment: PaymentId,
    provider: &str,
    amount: Vnd,
) -> Result<Transfer, PostingError> {
    let entries = [
        (Account::provider_clearing(provider), amount),
        (Account::driver_receivable(), amount.negated()),
    ];
    Ok(Transfer::new("payment_received", payment.get(), "Thanh toán phí gửi xe", entries)?)
}

/// A provider has accepted to give `amount` back.
pub fn refund_accepted(
    refund: RefundId,
    provider: &str,
    amount: Vnd,
) -> Result<Transfer, PostingError> {
    let entries = [
        (Account::driver_receivable(), amount),
        (Account::provider_clearing(provider), amount.negated()),
    ];
    Ok(Transfer::new("refund_accepted", refund.get(), "Hoàn tiền", entries)?)
}

/// A provider refused a refund that it had accepted: the first posting is taken back.
pub fn refund_returned(
    refund: RefundId,
    accepted: TransferId,
    provider: &str,
    amount: Vnd,
) -> Result<Transfer, PostingError> {
    let entries = [
        (Account::provider_clearing(provider), amount),
        (Account::driver_receivable(), amount.negated()),
    ];
    let transfer =
        Transfer::new("refund_returned", refund.get(), "Hoàn tiền không thành", entries)?;
    Ok(transfer.correcting(accepted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(vat: u8, city: u8, platform: u8) -> Shares {
        Shares {
            operator_code: "demo".into(),
            vat: Rate::percent(vat),
            city: Rate::percent(city),
            platform: Rate::percent(platform),
        }
    }

    #[test]
    fn a_fare_of_25000_is_split_as_in_the_documentation() {
        let split = shares(8, 30, 5).split(Vnd::new(25_000)).unwrap();
        let parts = (split.vat.get(), split.city.get(), split.platform.get(), split.operator.get());
        assert_eq!(parts, (1_852, 6_944, 1_157, 15_047));
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_fare_and_none_is_negative(
            fare in 0_i64..1_000_000_000, vat in 0_u8..=10, city in 0_u8..=50, platform in 0_u8..=50,
        ) {
            let split = shares(vat, city, platform).split(Vnd::new(fare)).unwrap();
            let parts = [split.vat, split.city, split.platform, split.operator];
            prop_assert!(parts.iter().all(|part| *part >= Vnd::ZERO));
            prop_assert_eq!(parts.iter().copied().sum::<Vnd>(), Vnd::new(fare));
        }

        #[test]
        fn lowering_in_steps_leaves_the_same_books_as_at_once(
            fare in 3_i64..1_000_000, first in 1_i64..1_000_000, second in 1_i64..1_000_000,
        ) {
            let shares = shares(8, 30, 5);
            let middle = Vnd::new(fare - first.min(fare - 2));
            let last = Vnd::new(middle.get() - second.min(middle.get() - 1).max(1));
            prop_assume!(middle > last && Vnd::new(fare) > middle);
            let at_once = fare_lowered(Uuid::nil(), &shares, Vnd::new(fare), last).unwrap();
            let one = fare_lowered(Uuid::nil(), &shares, Vnd::new(fare), middle).unwrap();
            let two = fare_lowered(Uuid::nil(), &shares, middle, last).unwrap();
            let total = |account: &Account| -> i64 {
                one.entries().iter().chain(two.entries())
                    .filter(|entry| entry.account == *account)
                    .map(|entry| entry.amount.get())
                    .sum()
            };
            for entry in at_once.entries() {
                prop_assert_eq!(total(&entry.account), entry.amount.get());
            }
        }
    }
}
