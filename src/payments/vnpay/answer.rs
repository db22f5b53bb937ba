//! VNPAY's answers to questions and refund requests: signed over piped raw text. One that is
//! unsigned, unreadable or about something else says nothing.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::transaction::{Command, FULL_REFUND, PARTIAL_REFUND};
use super::{Terminal, codes, read_amount, read_date, signature, transaction_number};
use crate::payments::{MerchantRef, Notification, QueryAnswer, RefundNews};

/// Type of a payment in answers.
const PAYMENT: &str = "01";

/// An answer to a question or a refund request. Absent members are empty, as for the signature;
/// a member that stands twice is refused by serde.
#[derive(Deserialize)]
pub struct Answer {
    #[serde(rename = "vnp_ResponseId", default)]
    response_id: Text,
    #[serde(rename = "vnp_Command", default)]
    command: Text,
    #[serde(rename = "vnp_ResponseCode", default)]
    response_code: Text,
    #[serde(rename = "vnp_Message", default)]
    message: Text,
    #[serde(rename = "vnp_TmnCode", default)]
    tmn_code: Text,
    #[serde(rename = "vnp_TxnRef", default)]
    txn_ref: Text,
    #[serde(rename = "vnp_Amount", default)]
    amount: Text,
    #[serde(rename = "vnp_BankCode", default)]
    bank_code: Text,
    #[serde(rename = "vnp_PayDate", default)]
    pay_date: Text,
    #[serde(rename = "vnp_TransactionNo", default)]
    transaction_no: Text,
    #[serde(rename = "vnp_TransactionType", default)]
    transaction_type: Text,
    #[serde(rename = "vnp_TransactionStatus", default)]
    transaction_status: Text,
    #[serde(rename = "vnp_OrderInfo", default)]
    order_info: Text,
    #[serde(rename = "vnp_PromotionCode", default)]
    promotion_code: Text,
    #[serde(rename = "vnp_PromotionAmount", default)]
    promotion_amount: Text,
    #[serde(rename = "vnp_SecureHash", default)]
    secure_hash: Text,
}

/// Why an answer says nothing.
#[derive(Debug, thiserror::Error)]
pub enum BadAnswer {
    /// It is not the JSON that VNPAY sends.
    #[error("the answer is not readable")]
    Unreadable(#[source] serde_json::Error),
    /// Its signature is missing or wrong.
    #[error("the answer is not signed by VNPAY")]
    BadSignature,
    /// It answers another request: other command, terminal or order.
    #[error("the answer is to another request")]
    OtherRequest,
}

impl Answer {
    pub(super) fn signed_text(&self, command: Command) -> String {
        let common = [
            &self.response_id,
            &self.command,
            &self.response_code,
            &self.message,
            &self.tmn_code,
            &self.txn_ref,
            &self.amount,
            &self.bank_code,
            &self.pay_date,
            &self.transaction_no,
            &self.transaction_type,
            &self.transaction_status,
            &self.order_info,
        ];
        let promotion = [&self.promotion_code, &self.promotion_amount];
        let more: &[&Text] = match command {
            Command::Querydr => &promotion,
            Command::Refund => &[],
        };
        signature::piped_text(common.iter().chain(more).map(|text| &*text.0))
    }
}

impl Terminal {
    /// Reads an answer and believes it only if VNPAY signed it for this order.
    fn verified(
        &self,
        command: Command,
        merchant_ref: &MerchantRef,
        json: &[u8],
    ) -> Result<Answer, BadAnswer> {
        let answer: Answer = serde_json::from_slice(json).map_err(BadAnswer::Unreadable)?;
        if !self.secret.verify(&answer.signed_text(command), &answer.secure_hash.0) {
            return Err(BadAnswer::BadSignature);
        }
        let ours = answer.command.0 == command.as_str()
            && answer.tmn_code.0 == self.tmn_code
            && answer.txn_ref.0 == merchant_ref.as_str();
        if ours { Ok(answer) } else { Err(BadAnswer::OtherRequest) }
    }

    /// What the answer to a question about `merchant_ref` says.
    pub fn read_question_answer(
        &self,
        merchant_ref: &MerchantRef,
        json: &[u8],
    ) -> Result<QueryAnswer, BadAnswer> {
        let answer = self.verified(Command::Querydr, merchant_ref, json)?;
        match &*answer.response_code.0 {
            "00" => Ok(answer.state(merchant_ref)),
            "91" => Ok(QueryAnswer::NotFound),
            other => Ok(QueryAnswer::NoAnswer(other.to_owned())),
        }
    }

    /// What the answer to a refund request for `merchant_ref` says.
    pub fn read_refund_answer(
        &self,
        merchant_ref: &MerchantRef,
        json: &[u8],
    ) -> Result<RefundNews, BadAnswer> {
        let answer = self.verified(Command::Refund, merchant_ref, json)?;
        let status = &answer.transaction_status.0;
        Ok(RefundNews {
            outcome: codes::refund_outcome(&answer.response_code.0, status),
            provider_txn: transaction_number(&answer.transaction_no.0),
        })
    }
}

impl Answer {
    fn state(&self, merchant_ref: &MerchantRef) -> QueryAnswer {
        let amount = read_amount(&self.amount.0);
        let provider_txn = transaction_number(&self.transaction_no.0);
        let status = &*self.transaction_status.0;
        match &*self.transaction_type.0 {
            // An order that was never paid may have no type yet.
            PAYMENT | "" => QueryAnswer::Payment(Notification {
                merchant_ref: merchant_ref.clone(),
                provider_txn,
                amount,
                outcome: codes::queried_outcome(status),
                paid_at: read_date(&self.pay_date.0),
            }),
            FULL_REFUND | PARTIAL_REFUND => QueryAnswer::Refund {
                news: RefundNews { outcome: codes::refund_state(status), provider_txn },
                amount,
            },
            other => QueryAnswer::NoAnswer(format!("type {other}")),
        }
    }
}

/// A member's text. VNPAY documents text; whole numbers are read as their digits, `null` as
/// nothing; everything else makes the answer unreadable.
#[derive(Default)]
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a whole number")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }

            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text::default())
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}
