//! Payments as clients read them, by `openapi.yaml`.

use jiff::Timestamp;
use serde::Serialize;

use super::receipt_store::Receipt;
use super::{MerchantRef, Payment, PaymentStatus, ProviderKind, Refund, RefundStatus};
use crate::kernel::clock::business_day;
use crate::kernel::ids::{LotId, ParkingSessionId, PaymentId, RefundId};
use crate::kernel::money::{OutOfRange, Rounding, Vnd};
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

/// `Receipt`.
#[derive(Serialize)]
pub struct ReceiptView<'a> {
    number: String,
    payment_id: PaymentId,
    parking_session_id: ParkingSessionId,
    lot: ReceiptLot<'a>,
    operator: ReceiptOperator<'a>,
    plate: &'a str,
    entered_at: Timestamp,
    left_at: Option<Timestamp>,
    lines: &'a serde_json::Value,
    amount_vnd: Vnd,
    vat_vnd: Vnd,
    vat_rate: String,
    paid_at: Option<Timestamp>,
    provider: ProviderKind,
    merchant_ref: &'a MerchantRef,
}

#[derive(Serialize)]
struct ReceiptLot<'a> {
    id: LotId,
    code: &'a str,
    name: &'a str,
    address: &'a str,
}

#[derive(Serialize)]
struct ReceiptOperator<'a> {
    name: &'a str,
    tax_code: &'a str,
}

impl<'a> ReceiptView<'a> {
    /// The receipt of a payment. Refunds do not change it.
    pub fn new(payment: &'a Payment, receipt: &'a Receipt) -> Result<Self, OutOfRange> {
        Ok(ReceiptView {
            number: receipt_number(payment),
            payment_id: payment.id,
            parking_session_id: payment.parking_session_id,
            lot: ReceiptLot {
                id: receipt.lot_id,
                code: &receipt.lot_code,
                name: &receipt.lot_name,
                address: &receipt.lot_address,
            },
            operator: ReceiptOperator {
                name: &receipt.operator_name,
                tax_code: &receipt.operator_tax_code,
            },
            plate: &receipt.plate,
            entered_at: receipt.entered_at,
            left_at: receipt.left_at,
            lines: &receipt.lines,
            amount_vnd: payment.amount,
            vat_vnd: payment.amount.tax_inside(receipt.vat_rate, Rounding::HalfUp)?,
            vat_rate: receipt.vat_rate.get().normalize().to_string(),
            paid_at: payment.settled_at,
            provider: payment.provider,
            merchant_ref: &payment.merchant_ref,
        })
    }
}

/// The day in Hanoi on which the money was booked, and the random end of the payment's id: 48
/// bits, so that no two of a day are alike.
fn receipt_number(payment: &Payment) -> String {
    let day = business_day(payment.settled_at.unwrap_or(payment.created_at));
    let id = format!("{:X}", payment.id.get().simple());
    let end: String = id.chars().skip(20).collect();
    format!("BL-{}-{end}", day.strftime("%Y%m%d"))
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
