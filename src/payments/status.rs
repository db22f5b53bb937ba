//! Where payments and refunds stand, and what a gateway's word changes.
#![warn(clippy::wildcard_enum_match_arm)]

use serde::{Deserialize, Serialize};

use super::{FailureReason, Outcome};
use crate::kernel::money::Vnd;

/// Where a payment stands.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    sqlx::Type,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum PaymentStatus {
    /// Nobody knows yet whether money moved.
    Pending,
    /// The money is ours.
    Succeeded,
    /// The gateway says that no money moved.
    Failed,
    /// The customer turned back on the pay page.
    Cancelled,
    /// No news until the deadline. Money that comes later is still booked.
    Expired,
    /// A refund is on its way.
    RefundPending,
    /// A part went back.
    PartiallyRefunded,
    /// All of it went back.
    Refunded,
}

/// What a notification changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Book the money. `late` when we had already given the payment up.
    Settle {
        /// The payment had been expired, cancelled or failed.
        late: bool,
    },
    /// Close the payment without money.
    Close(PaymentStatus, FailureReason),
    /// Keep waiting, because the gateway holds the money.
    Hold,
    /// Nothing is known yet; ask again.
    Wait,
    /// This was recorded before: change nothing.
    AlreadyRecorded,
}

impl PaymentStatus {
    /// The status's word in the interface and the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether the money was booked at some time.
    pub fn has_collected(self) -> bool {
        match self {
            PaymentStatus::Succeeded
            | PaymentStatus::RefundPending
            | PaymentStatus::PartiallyRefunded
            | PaymentStatus::Refunded => true,
            PaymentStatus::Pending
            | PaymentStatus::Failed
            | PaymentStatus::Cancelled
            | PaymentStatus::Expired => false,
        }
    }

    /// What a gateway's word changes in a payment of this status.
    ///
    /// Late truth wins over our guess: `expired`, `cancelled` and `failed` may still succeed.
    /// `succeeded` never fails: money that we have goes back by a refund only.
    pub fn after(self, outcome: Outcome) -> Step {
        match self {
            PaymentStatus::Pending => match outcome {
                Outcome::Paid => Step::Settle { late: false },
                Outcome::Failed(reason) => Step::Close(closed_by(reason), reason),
                Outcome::HeldForFraud => Step::Hold,
                Outcome::Pending => Step::Wait,
            },
            PaymentStatus::Failed | PaymentStatus::Cancelled | PaymentStatus::Expired => {
                match outcome {
                    Outcome::Paid => Step::Settle { late: true },
                    Outcome::HeldForFraud => Step::Hold,
                    Outcome::Failed(_) | Outcome::Pending => Step::AlreadyRecorded,
                }
            }
            PaymentStatus::Succeeded
            | PaymentStatus::RefundPending
            | PaymentStatus::PartiallyRefunded
            | PaymentStatus::Refunded => Step::AlreadyRecorded,
        }
    }
}

/// A customer who turned back is not a failure; everything else is.
fn closed_by(reason: FailureReason) -> PaymentStatus {
    match reason {
        FailureReason::CustomerCancelled => PaymentStatus::Cancelled,
        FailureReason::InsufficientFunds
        | FailureReason::ExpiredAtGateway
        | FailureReason::CardRefused
        | FailureReason::AuthenticationFailed
        | FailureReason::LimitExceeded
        | FailureReason::BankMaintenance
        | FailureReason::Reversed
        | FailureReason::Declined => PaymentStatus::Failed,
    }
}

/// Where a refund stands.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    sqlx::Type,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum RefundStatus {
    /// Written down; the gateway may or may not know it.
    Pending,
    /// The gateway took it and works on it. Booked.
    Accepted,
    /// The money is on its way to the bank.
    Succeeded,
    /// The gateway refused it.
    Failed,
}

impl RefundStatus {
    /// The status's word in the interface and the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The status of a payment of `amount` that was collected, when `returned` went back and
/// `in_flight` is on its way.
pub fn status_with_refunds(amount: Vnd, returned: Vnd, in_flight: bool) -> PaymentStatus {
    if in_flight {
        PaymentStatus::RefundPending
    } else if returned >= amount {
        PaymentStatus::Refunded
    } else if returned > Vnd::ZERO {
        PaymentStatus::PartiallyRefunded
    } else {
        PaymentStatus::Succeeded
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator;

    use super::*;

    #[test]
    fn late_success_is_booked_whatever_we_believed() {
        for status in [PaymentStatus::Expired, PaymentStatus::Cancelled, PaymentStatus::Failed] {
            assert_eq!(status.after(Outcome::Paid), Step::Settle { late: true });
        }
    }

    #[test]
    fn collected_money_never_fails_and_is_never_booked_twice() {
        let said = [
            Outcome::Paid,
            Outcome::Pending,
            Outcome::HeldForFraud,
            Outcome::Failed(FailureReason::Declined),
        ];
        for status in PaymentStatus::iter().filter(|status| status.has_collected()) {
            for outcome in said {
                assert_eq!(status.after(outcome), Step::AlreadyRecorded, "{status} {outcome:?}");
            }
        }
    }

    #[test]
    fn only_the_word_paid_books_money() {
        for status in PaymentStatus::iter() {
            for outcome in [Outcome::Pending, Outcome::HeldForFraud] {
                assert!(!matches!(status.after(outcome), Step::Settle { .. }));
            }
            for reason in FailureReason::iter() {
                let step = status.after(Outcome::Failed(reason));
                assert!(!matches!(step, Step::Settle { .. }));
            }
        }
    }

    #[test]
    fn a_customer_who_turns_back_cancels_and_a_poor_one_fails() {
        let after = |reason| PaymentStatus::Pending.after(Outcome::Failed(reason));
        let cancelled = FailureReason::CustomerCancelled;
        assert_eq!(after(cancelled), Step::Close(PaymentStatus::Cancelled, cancelled));
        let poor = FailureReason::InsufficientFunds;
        assert_eq!(after(poor), Step::Close(PaymentStatus::Failed, poor));
    }

    #[test]
    fn refunds_decide_the_status_of_collected_money() {
        let status = |returned, in_flight| {
            status_with_refunds(Vnd::new(25_000), Vnd::new(returned), in_flight)
        };
        assert_eq!(status(0, false), PaymentStatus::Succeeded);
        assert_eq!(status(0, true), PaymentStatus::RefundPending);
        assert_eq!(status(10_000, false), PaymentStatus::PartiallyRefunded);
        assert_eq!(status(25_000, false), PaymentStatus::Refunded);
    }
}
