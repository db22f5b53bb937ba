//! What a group of providers' words changes: decided here, in memory, on locked rows.
//!
//! An IPN and the answer to a question go the same way. Order of the checks, as in VNPAY's sheet:
//! signature, order exists, amount equal, order still open, then apply.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::dues::Dues;
use super::message_store::MessageVerdict;
use super::providers::BadCallback;
use super::{MerchantRef, Notification, Outcome, Payment, ProviderKind, Refund, Step};
use crate::kernel::ids::{MessageId, ParkingSessionId, PaymentId, RefundId};
use crate::kernel::money::{OutOfRange, Vnd};
use crate::ledger::Transfer;
use crate::ledger::chart::{self, PostingError};

/// A provider's word, read and waiting to be applied.
#[derive(Clone, Debug)]
pub struct Word {
    /// The message that it came in, already stored.
    pub message: MessageId,
    /// Who is said to have sent it.
    pub provider: ProviderKind,
    /// What it says, if it is the provider's.
    pub read: Result<Notification, BadCallback>,
}

/// What became of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::EnumIter)]
#[strum(serialize_all = "snake_case")]
pub enum Verdict {
    /// The money is booked.
    Settled,
    /// The money is booked, after we had given the payment up.
    SettledLate,
    /// The payment is closed without money.
    Closed,
    /// The provider holds the money: we wait.
    Held,
    /// It said nothing that is known: we ask again.
    Unclear,
    /// It was recorded before.
    AlreadyRecorded,
    /// There is no such payment.
    UnknownPayment,
    /// It names another amount than the payment's. Nothing is booked.
    AmountDiffers,
    /// The provider did not sign it.
    BadSignature,
}

impl Verdict {
    /// The verdict's word in the database and in metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The locked rows that a group of words is about.
pub struct Locked {
    payments: BTreeMap<MerchantRef, Payment>,
    sessions: BTreeMap<ParkingSessionId, Dues>,
}

/// What is to be written.
#[derive(Default)]
pub struct Effects {
    /// One per word, in order.
    pub verdicts: Vec<Verdict>,
    /// One per word, for the stored messages.
    pub messages: Vec<MessageVerdict>,
    /// Money that goes back because nobody owed it.
    pub refunds: Vec<Refund>,
    /// Postings.
    pub transfers: Vec<Transfer>,
    changed_payments: BTreeSet<MerchantRef>,
    changed_sessions: BTreeSet<ParkingSessionId>,
}

impl Locked {
    /// Takes the rows that the transaction has locked.
    pub fn new(payments: Vec<Payment>, sessions: Vec<Dues>) -> Locked {
        Locked {
            payments: payments.into_iter().map(|p| (p.merchant_ref.clone(), p)).collect(),
            sessions: sessions.into_iter().map(|dues| (dues.session, dues)).collect(),
        }
    }

    /// The payments that changed.
    pub fn changed_payments<'a>(&'a self, effects: &Effects) -> Vec<&'a Payment> {
        effects.changed_payments.iter().filter_map(|name| self.payments.get(name)).collect()
    }

    /// The sessions that changed.
    pub fn changed_sessions<'a>(&'a self, effects: &Effects) -> Vec<&'a Dues> {
        effects.changed_sessions.iter().filter_map(|id| self.sessions.get(id)).collect()
    }

    /// Applies the words one after the other: a repeat within the group finds what the first one
    /// did, as if it had come later.
    pub fn apply(
        &mut self,
        words: &[Word],
        now: Timestamp,
        mut new_refund_id: impl FnMut() -> RefundId,
    ) -> Result<Effects, PostingError> {
        let mut effects = Effects::default();
        for word in words {
            let (verdict, payment_id) =
                self.apply_one(word, now, &mut new_refund_id, &mut effects)?;
            effects.verdicts.push(verdict);
            let verdict = verdict.as_str();
            effects.messages.push(MessageVerdict { id: word.message, verdict, payment_id });
        }
        Ok(effects)
    }

    fn apply_one(
        &mut self,
        word: &Word,
        now: Timestamp,
        new_refund_id: &mut impl FnMut() -> RefundId,
        effects: &mut Effects,
    ) -> Result<(Verdict, Option<PaymentId>), PostingError> {
        let said = match &word.read {
            Ok(said) => said,
            Err(BadCallback::Unsigned) => return Ok((Verdict::BadSignature, None)),
            Err(BadCallback::ForeignAccount) => return Ok((Verdict::UnknownPayment, None)),
        };
        let payment = self.payments.get_mut(&said.merchant_ref);
        let Some(payment) = payment.filter(|payment| payment.provider == word.provider) else {
            return Ok((Verdict::UnknownPayment, None));
        };
        if !amount_agrees(said, payment.amount) {
            return Ok((Verdict::AmountDiffers, Some(payment.id)));
        }
        let step = payment.status.after(said.outcome);
        let verdict = match step {
            Step::Settle { late: false } => Verdict::Settled,
            Step::Settle { late: true } => Verdict::SettledLate,
            Step::Close(..) => Verdict::Closed,
            Step::Hold => Verdict::Held,
            Step::Wait => Verdict::Unclear,
            Step::AlreadyRecorded => Verdict::AlreadyRecorded,
        };
        payment.record(step, said, now);
        if !matches!(step, Step::Wait | Step::AlreadyRecorded) {
            effects.changed_payments.insert(said.merchant_ref.clone());
        }
        if let Step::Settle { late } = step {
            let dues = self.sessions.get_mut(&payment.parking_session_id).ok_or(OutOfRange)?;
            book(payment, dues, late, now, new_refund_id, effects)?;
        }
        Ok((verdict, Some(payment.id)))
    }
}

/// An amount that a word names must be ours. A word that knows of no outcome may name none.
fn amount_agrees(said: &Notification, amount: Vnd) -> bool {
    match said.amount {
        Some(named) => named == amount,
        None => said.outcome == Outcome::Pending,
    }
}

/// Books collected money and sends back what nobody owes.
fn book(
    payment: &mut Payment,
    dues: &mut Dues,
    late: bool,
    now: Timestamp,
    new_refund_id: &mut impl FnMut() -> RefundId,
    effects: &mut Effects,
) -> Result<(), PostingError> {
    let provider = payment.provider.as_str();
    effects.transfers.push(chart::payment_received(payment.id, provider, payment.amount)?);
    dues.receive(payment.amount)?;
    effects.changed_sessions.insert(dues.session);
    let surplus = dues.surplus().min(payment.amount);
    if surplus > Vnd::ZERO {
        // The fare stays covered, so nothing is forgiven with it.
        dues.give_back(surplus)?;
        payment.begin_refund(surplus)?;
        let mut refund = Refund::new(new_refund_id(), payment.id, surplus, now);
        refund.reason = String::from(if late { "late_success" } else { "double_payment" });
        effects.refunds.push(refund);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
