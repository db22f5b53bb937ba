//! What a parking session owes and holds, as payments see it.
//!
//! Paid is what came in and stays. Money leaves it when a refund is written down, not when it is
//! sent, so that nothing is promised twice while it is on its way.

use crate::kernel::ids::{DriverId, ParkingSessionId};
use crate::kernel::money::{OutOfRange, Vnd};
use crate::ledger::chart::Shares;

/// A session's side of the money, locked while it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dues {
    /// The session.
    pub session: ParkingSessionId,
    /// Who parked; `None` for a vehicle that an attendant entered.
    pub driver: Option<DriverId>,
    /// Whether the stay is over and something may be open.
    pub is_ended: bool,
    /// Whether it was waived or cancelled, so that nobody need pay.
    pub is_off: bool,
    /// Sum of all charges.
    pub fare: Vnd,
    /// Money that came in and stays.
    pub paid: Vnd,
    /// Whether the session counts as paid.
    pub is_settled: bool,
    /// How the fare is shared, frozen when the session started.
    pub shares: Shares,
}

impl Dues {
    /// What is still owed.
    pub fn due(&self) -> Vnd {
        self.fare.minus(self.paid).unwrap_or(Vnd::ZERO).max(Vnd::ZERO)
    }

    /// What came in beyond the fare.
    pub fn surplus(&self) -> Vnd {
        self.paid.minus(self.fare).unwrap_or(Vnd::ZERO).max(Vnd::ZERO)
    }

    /// Money came in.
    pub fn receive(&mut self, amount: Vnd) -> Result<(), OutOfRange> {
        self.paid = self.paid.plus(amount)?;
        if self.is_ended && self.due() == Vnd::ZERO {
            self.is_settled = true;
        }
        Ok(())
    }

    /// Money is going back. What is then no longer covered is forgiven with it: the fare falls to
    /// what stays paid. `Some((from, to))` when it does.
    ///
    /// Money beyond the fare goes first, so the order of several refunds does not matter.
    pub fn give_back(&mut self, amount: Vnd) -> Result<Option<(Vnd, Vnd)>, OutOfRange> {
        self.paid = self.paid.minus(amount)?;
        if self.paid >= self.fare {
            return Ok(None);
        }
        let lowered = (self.fare, self.paid);
        self.fare = self.paid;
        Ok(Some(lowered))
    }

    /// A refund failed: its money stays, and the fare is again what it was before the refund
    /// lowered it by `lowered`. The fare's `(from, to)` when that changes it.
    pub fn keep(&mut self, amount: Vnd, lowered: Vnd) -> Result<Option<(Vnd, Vnd)>, OutOfRange> {
        self.paid = self.paid.plus(amount)?;
        let from = self.fare;
        self.fare = self.fare.plus(lowered)?;
        Ok((lowered > Vnd::ZERO).then_some((from, self.fare)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::kernel::money::Rate;

    /// A stay that is over and owes `fare`.
    pub(crate) fn ended(session: u128, fare: i64) -> Dues {
        Dues {
            session: ParkingSessionId::from_uuid(Uuid::from_u128(session)),
            driver: None,
            is_ended: true,
            is_off: false,
            fare: Vnd::new(fare),
            paid: Vnd::ZERO,
            is_settled: false,
            shares: Shares {
                operator_code: "demo".into(),
                vat: Rate::percent(8),
                city: Rate::percent(30),
                platform: Rate::percent(5),
            },
        }
    }

    #[test]
    fn a_full_payment_settles_an_ended_session() {
        let mut dues = ended(1, 25_000);
        dues.receive(Vnd::new(25_000)).unwrap();
        assert!(dues.is_settled);
        assert_eq!((dues.due(), dues.surplus()), (Vnd::ZERO, Vnd::ZERO));
    }

    #[test]
    fn a_second_payment_is_surplus_and_goes_back_without_lowering_the_fare() {
        let mut dues = ended(1, 25_000);
        dues.receive(Vnd::new(25_000)).unwrap();
        dues.receive(Vnd::new(25_000)).unwrap();
        assert_eq!(dues.surplus(), Vnd::new(25_000));
        assert_eq!(dues.give_back(Vnd::new(25_000)), Ok(None));
        assert_eq!(dues.give_back(Vnd::new(5_000)), Ok(Some((Vnd::new(25_000), Vnd::new(20_000)))));
    }

    proptest! {
        #[test]
        fn refunds_in_any_order_lower_the_fare_by_the_same(
            fare in 1_i64..100_000, surplus in 0_i64..100_000, complaint in 1_i64..100_000,
        ) {
            let complaint = complaint.min(fare);
            let mut first = ended(1, fare);
            first.receive(Vnd::new(fare + surplus)).unwrap();
            let mut second = first.clone();
            first.give_back(Vnd::new(surplus)).unwrap();
            first.give_back(Vnd::new(complaint)).unwrap();
            second.give_back(Vnd::new(complaint)).unwrap();
            second.give_back(Vnd::new(surplus)).unwrap();
            prop_assert_eq!(&first, &second);
            prop_assert_eq!(first.fare, Vnd::new(fare - complaint));
            prop_assert_eq!(first.fare, first.paid);
        }

        #[test]
        fn a_refund_that_fails_leaves_no_trace(fare in 1_i64..100_000, back in 1_i64..100_000) {
            let mut dues = ended(1, fare);
            dues.receive(Vnd::new(fare)).unwrap();
            let before = dues.clone();
            let back = Vnd::new(back.min(fare));
            let (from, to) = dues.give_back(back).unwrap().unwrap();
            dues.keep(back, from.minus(to).unwrap()).unwrap();
            prop_assert_eq!(dues, before);
        }
    }
}
