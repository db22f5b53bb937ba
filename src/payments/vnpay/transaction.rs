//! VNPAY's question (`querydr`) and refund requests: JSON bodies signed over piped raw text,
//! posted to the same address. Their answers are read in [`super::answer`].

use serde::Serialize;

use super::{AmountOutOfRange, Terminal, VERSION, signature, wire_amount, wire_date};
use crate::payments::{Question, RefundOrder};

/// Type of a refund of the whole amount.
pub(super) const FULL_REFUND: &str = "02";
/// Type of a refund of a part.
pub(super) const PARTIAL_REFUND: &str = "03";

/// A question's body. Members stand in the order in which they are signed.
#[derive(Serialize)]
pub struct QuestionBody {
    #[serde(rename = "vnp_RequestId")]
    pub(super) request_id: String,
    #[serde(rename = "vnp_Version")]
    pub(super) version: String,
    #[serde(rename = "vnp_Command")]
    pub(super) command: String,
    #[serde(rename = "vnp_TmnCode")]
    pub(super) tmn_code: String,
    #[serde(rename = "vnp_TxnRef")]
    pub(super) txn_ref: String,
    #[serde(rename = "vnp_TransactionDate")]
    pub(super) transaction_date: String,
    #[serde(rename = "vnp_CreateDate")]
    pub(super) create_date: String,
    #[serde(rename = "vnp_IpAddr")]
    pub(super) ip_addr: String,
    #[serde(rename = "vnp_OrderInfo")]
    pub(super) order_info: String,
    #[serde(rename = "vnp_SecureHash")]
    pub(super) secure_hash: String,
}

impl QuestionBody {
    pub(super) fn signed_text(&self) -> String {
        signature::piped_text([
            &*self.request_id,
            &self.version,
            &self.command,
            &self.tmn_code,
            &self.txn_ref,
            &self.transaction_date,
            &self.create_date,
            &self.ip_addr,
            &self.order_info,
        ])
    }
}

/// A refund request's body. Members stand in the order in which they are signed.
#[derive(Serialize)]
pub struct RefundBody {
    #[serde(rename = "vnp_RequestId")]
    pub(super) request_id: String,
    #[serde(rename = "vnp_Version")]
    pub(super) version: String,
    #[serde(rename = "vnp_Command")]
    pub(super) command: String,
    #[serde(rename = "vnp_TmnCode")]
    pub(super) tmn_code: String,
    #[serde(rename = "vnp_TransactionType")]
    pub(super) transaction_type: String,
    #[serde(rename = "vnp_TxnRef")]
    pub(super) txn_ref: String,
    #[serde(rename = "vnp_Amount")]
    pub(super) amount: String,
    #[serde(rename = "vnp_TransactionNo")]
    pub(super) transaction_no: String,
    #[serde(rename = "vnp_TransactionDate")]
    pub(super) transaction_date: String,
    #[serde(rename = "vnp_CreateBy")]
    pub(super) create_by: String,
    #[serde(rename = "vnp_CreateDate")]
    pub(super) create_date: String,
    #[serde(rename = "vnp_IpAddr")]
    pub(super) ip_addr: String,
    #[serde(rename = "vnp_OrderInfo")]
    pub(super) order_info: String,
    #[serde(rename = "vnp_SecureHash")]
    pub(super) secure_hash: String,
}

impl RefundBody {
    pub(super) fn signed_text(&self) -> String {
        signature::piped_text([
            &*self.request_id,
            &self.version,
            &self.command,
            &self.tmn_code,
            &self.transaction_type,
            &self.txn_ref,
            &self.amount,
            &self.transaction_no,
            &self.transaction_date,
            &self.create_by,
            &self.create_date,
            &self.ip_addr,
            &self.order_info,
        ])
    }
}

/// Which request an answer belongs to; the signed members differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A question.
    Querydr,
    /// A refund request.
    Refund,
}

impl Command {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Command::Querydr => "querydr",
            Command::Refund => "refund",
        }
    }
}

impl Terminal {
    /// The body of a question.
    pub fn question(&self, question: &Question<'_>) -> QuestionBody {
        let mut body = QuestionBody {
            request_id: question.request_id.to_owned(),
            version: VERSION.to_owned(),
            command: Command::Querydr.as_str().to_owned(),
            tmn_code: self.tmn_code.clone(),
            txn_ref: question.merchant_ref.to_string(),
            transaction_date: wire_date(question.ordered_at),
            create_date: wire_date(question.now),
            ip_addr: self.server_ip.clone(),
            order_info: format!("Truy van {}", question.merchant_ref),
            secure_hash: String::new(),
        };
        body.secure_hash = self.secret.sign(&body.signed_text());
        body
    }

    /// The body of a refund request.
    pub fn refund(&self, order: &RefundOrder<'_>) -> Result<RefundBody, AmountOutOfRange> {
        let full = order.amount == order.paid;
        let mut body = RefundBody {
            request_id: order.request_id.to_owned(),
            version: VERSION.to_owned(),
            command: Command::Refund.as_str().to_owned(),
            tmn_code: self.tmn_code.clone(),
            transaction_type: if full { FULL_REFUND } else { PARTIAL_REFUND }.to_owned(),
            txn_ref: order.merchant_ref.to_string(),
            amount: wire_amount(order.amount)?,
            transaction_no: order.provider_txn.unwrap_or_default().to_owned(),
            transaction_date: wire_date(order.ordered_at),
            create_by: order.created_by.to_owned(),
            create_date: wire_date(order.now),
            ip_addr: self.server_ip.clone(),
            order_info: format!("Hoan tien {}", order.merchant_ref),
            secure_hash: String::new(),
        };
        body.secure_hash = self.secret.sign(&body.signed_text());
        Ok(body)
    }
}
