//! What we keep about a payment and a refund, and the changes that a record allows.

use std::net::IpAddr;

use jiff::Timestamp;

use super::{
    Charge, FailureReason, MerchantRef, Notification, PaymentStatus, ProviderKind, RefundStatus,
    Step, status_with_refunds,
};
use crate::kernel::ids::{DriverId, ParkingSessionId, PaymentId, RefundId, StaffId};
use crate::kernel::money::{OutOfRange, Vnd};

/// One attempt to collect what a parking session owes. No `Debug`: the address of the pay page
/// is signed, and whoever has it can pay.
#[derive(Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// What is paid for.
    pub parking_session_id: ParkingSessionId,
    /// Who pays; `None` once the driver's account is deleted.
    pub driver_id: Option<DriverId>,
    /// Who collects.
    pub provider: ProviderKind,
    /// Our name for it at the provider.
    pub merchant_ref: MerchantRef,
    /// How much.
    pub amount: Vnd,
    /// Where it stands.
    pub status: PaymentStatus,
    /// Whether the driver was told how to pay; until then creation is continued after a crash.
    pub is_instructed: bool,
    /// Where the browser goes from our return page.
    pub return_url: String,
    /// The payer's address when it was created.
    pub payer_ip: IpAddr,
    /// The provider's pay page.
    pub redirect_url: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When the pay page closes and we give up.
    pub expires_at: Timestamp,
    /// When we booked the money.
    pub settled_at: Option<Timestamp>,
    /// Why no money moved.
    pub failure: Option<FailureReason>,
    /// The provider's number of the transaction.
    pub provider_txn: Option<String>,
    /// When the customer paid, by the provider's clock.
    pub provider_paid_at: Option<Timestamp>,
    /// The money came after we had given up.
    pub is_late: bool,
    /// The provider holds the money as suspicious.
    pub is_held: bool,
    /// On its way back.
    pub refunding: Vnd,
    /// Gone back.
    pub refunded: Vnd,
}

impl Payment {
    /// What the adapter needs to ask for the money.
    pub fn charge(&self) -> Charge {
        Charge {
            merchant_ref: self.merchant_ref.clone(),
            amount: self.amount,
            payer_ip: self.payer_ip,
            created_at: self.created_at,
            expires_at: self.expires_at,
        }
    }

    /// Whether the driver can still pay on the provider's page.
    pub fn is_payable(&self) -> bool {
        self.status == PaymentStatus::Pending
    }

    /// What may still go back.
    pub fn refundable(&self) -> Vnd {
        if !self.status.has_collected() {
            return Vnd::ZERO;
        }
        let gone = self.refunding.plus(self.refunded);
        gone.and_then(|gone| self.amount.minus(gone)).unwrap_or(Vnd::ZERO)
    }

    /// Records what a provider's word changed.
    pub fn record(&mut self, step: Step, word: &Notification, now: Timestamp) {
        match step {
            Step::Settle { late } => {
                self.status = PaymentStatus::Succeeded;
                self.settled_at = Some(now);
                self.failure = None;
                self.is_late = late;
                self.is_held = false;
            }
            Step::Close(status, reason) => {
                self.status = status;
                self.failure = Some(reason);
                self.is_held = false;
            }
            Step::Hold => self.is_held = true,
            Step::Wait | Step::AlreadyRecorded => return,
        }
        if word.provider_txn.is_some() {
            self.provider_txn.clone_from(&word.provider_txn);
            self.provider_paid_at = word.paid_at;
        }
    }

    /// A refund of `amount` is written down.
    pub fn begin_refund(&mut self, amount: Vnd) -> Result<(), OutOfRange> {
        self.refunding = self.refunding.plus(amount)?;
        self.status = PaymentStatus::RefundPending;
        Ok(())
    }

    /// A refund of `amount` is over: the money went back, or it stays because the refund failed.
    pub fn end_refund(&mut self, amount: Vnd, went_back: bool) -> Result<(), OutOfRange> {
        self.refunding = self.refunding.minus(amount)?;
        if went_back {
            self.refunded = self.refunded.plus(amount)?;
        }
        let in_flight = self.refunding > Vnd::ZERO;
        self.status = status_with_refunds(self.amount, self.refunded, in_flight);
        Ok(())
    }
}

/// Money on its way back to the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Its id.
    pub id: RefundId,
    /// The payment that it gives back.
    pub payment_id: PaymentId,
    /// Our name for the request at the provider.
    pub request_ref: String,
    /// How much.
    pub amount: Vnd,
    /// Where it stands.
    pub status: RefundStatus,
    /// Why, for the books.
    pub reason: String,
    /// Who asked for it; `None` for our own policy.
    pub requested_by: Option<StaffId>,
    /// When it was written down.
    pub created_at: Timestamp,
    /// How often it was sent without an answer that we understood.
    pub unanswered: i32,
    /// The provider's number of the refund.
    pub provider_ref: Option<String>,
    /// When the provider took it.
    pub accepted_at: Option<Timestamp>,
    /// When it ended.
    pub done_at: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<String>,
}

impl Refund {
    /// A refund that is not sent yet. Its id is its name at the provider, 32 characters.
    pub fn new(id: RefundId, payment: PaymentId, amount: Vnd, now: Timestamp) -> Refund {
        Refund {
            id,
            payment_id: payment,
            request_ref: id.get().simple().to_string(),
            amount,
            status: RefundStatus::Pending,
            reason: String::new(),
            requested_by: None,
            created_at: now,
            unanswered: 0,
            provider_ref: None,
            accepted_at: None,
            done_at: None,
            failure: None,
        }
    }
}
