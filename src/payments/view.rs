//! Payments as clients read them, by `openapi.yaml`.

use jiff::Timestamp;
use serde::Serialize;

use super::{MerchantRef, Payment, PaymentStatus, ProviderKind, Refund, RefundStatus};
use crate::kernel::ids::{ParkingSessionId, PaymentId, RefundId};
use crate::kernel::money::Vnd;
use crate::platform::idempotency::Answer;

/// `Payment`.
#[derive(Serialize)]
pub struct PaymentView<'a> {
    id: PaymentId,
    parking_session_id: ParkingSessionId,
    provider: ProviderKind,
    status: PaymentStatus,
    amount_vnd: Vnd,
    refunded_vnd: Vnd,
    merchant_ref: &'a MerchantRef,
    redirect_url: Option<&'a str>,
    created_at: Timestamp,
    expires_at: Timestamp,
    paid_at: Option<Timestamp>,
}

impl<'a> From<&'a Payment> for PaymentView<'a> {
    fn from(payment: &'a Payment) -> PaymentView<'a> {
        let payable = payment.is_payable().then_some(payment.redirect_url.as_deref());
        PaymentView {
            id: payment.id,
            parking_session_id: payment.parking_session_id,
            provider: payment.provider,
            status: payment.status,
            amount_vnd: payment.amount,
            refunded_vnd: payment.refunded,
            merchant_ref: &payment.merchant_ref,
            redirect_url: payable.flatten(),
            created_at: payment.created_at,
            expires_at: payment.expires_at,
            paid_at: payment.settled_at,
        }
    }
}

/// `PaymentReturn`: what somebody who comes back from the provider may know.
#[derive(Serialize)]
pub struct ReturnView<'a> {
    payment_id: PaymentId,
    status: PaymentStatus,
    amount_vnd: Vnd,
    merchant_ref: &'a MerchantRef,
}

impl<'a> From<&'a Payment> for ReturnView<'a> {
    fn from(payment: &'a Payment) -> ReturnView<'a> {
        ReturnView {
            payment_id: payment.id,
            status: payment.status,
            amount_vnd: payment.amount,
            merchant_ref: &payment.merchant_ref,
        }
    }
}

/// `Refund`.
#[derive(Serialize)]
pub struct RefundView<'a> {
    id: RefundId,
    payment_id: PaymentId,
    status: &'static str,
    amount_vnd: Vnd,
    reason: &'a str,
    created_at: Timestamp,
    done_at: Option<Timestamp>,
}

impl<'a> From<&'a Refund> for RefundView<'a> {
    fn from(refund: &'a Refund) -> RefundView<'a> {
        let status = match refund.status {
            // That the provider took it is a step on the way, of use to the books only.
            RefundStatus::Pending | RefundStatus::Accepted => RefundStatus::Pending.as_str(),
            RefundStatus::Succeeded => RefundStatus::Succeeded.as_str(),
            RefundStatus::Failed => RefundStatus::Failed.as_str(),
        };
        RefundView {
            id: refund.id,
            payment_id: refund.payment_id,
            status,
            amount_vnd: refund.amount,
            reason: &refund.reason,
            created_at: refund.created_at,
            done_at: refund.done_at,
        }
    }
}

/// The answer to a creation, which a repeat gets again to the letter.
pub fn created(payment: &Payment) -> Answer {
    answer(&PaymentView::from(payment))
}

/// The answer to a refund's creation.
pub fn refund_created(refund: &Refund) -> Answer {
    answer(&RefundView::from(refund))
}

fn answer(view: &impl Serialize) -> Answer {
    // Maps with text keys and plain members: cannot fail.
    Answer { status: 201, body: serde_json::to_string(view).unwrap_or_default() }
}
