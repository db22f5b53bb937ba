//! What VNPAY tells the merchant of a payment: the IPN's and the Return URL's fields.

use anyhow::Context;
use reqwest::Url;
use serde::Deserialize;

use super::signature::{self, Fields, HASH_FIELD};
use crate::accounts::{Account, Decision};
use crate::clock;
use crate::faults::Forgery;
use crate::provider::Outcome;

/// The bank of the sandbox's test card.
const BANK: &str = "NCB";

/// `vnp_ResponseCode` and `vnp_TransactionStatus` of an outcome.
pub const fn codes(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Paid => ("00", "00"),
        Outcome::Cancelled => ("24", "02"),
        Outcome::InsufficientFunds => ("51", "02"),
        Outcome::SuspectedFraud => ("07", "07"),
    }
}

/// The bank that the customer paid at: the one asked for, or the test card's.
pub fn bank(account: &Account) -> &str {
    let asked = account.order.fields.get("vnp_BankCode").map_or("", String::as_str);
    match asked {
        "" | "VNPAYQR" | "VNBANK" | "INTCARD" => BANK,
        bank => bank,
    }
}

fn fields(account: &Account, decision: &Decision) -> Fields {
    let (response_code, status) = codes(decision.outcome);
    let sent = |name: &str| account.order.fields.get(name).cloned().unwrap_or_default();
    let by_qr = sent("vnp_BankCode") == "VNPAYQR" || sent("vnp_Command") == "genqr";
    let mut fields = Fields::new();
    let mut put = |name: &str, value: String| fields.insert(name.to_owned(), value);
    put("vnp_TmnCode", sent("vnp_TmnCode"));
    put("vnp_Amount", sent("vnp_Amount"));
    put("vnp_BankCode", bank(account).to_owned());
    put("vnp_CardType", if by_qr { "QRCODE" } else { "ATM" }.to_owned());
    put("vnp_PayDate", clock::format_compact(decision.at));
    put("vnp_OrderInfo", sent("vnp_OrderInfo"));
    put("vnp_TransactionNo", decision.gateway_no.to_string());
    put("vnp_ResponseCode", response_code.to_owned());
    put("vnp_TransactionStatus", status.to_owned());
    put("vnp_TxnRef", sent("vnp_TxnRef"));
    if decision.outcome.state().money_moved() {
        put("vnp_BankTranNo", format!("VNP{}", decision.gateway_no));
    }
    fields
}

/// The signed query of an IPN or a return.
pub fn signed_query(account: &Account, decision: &Decision, secret: &str) -> String {
    signature::signed_query(&fields(account, decision), secret)
}

/// The query of an IPN that somebody else sends; never one with a valid signature.
pub fn forged_query(
    account: &Account,
    decision: &Decision,
    secret: &str,
    forgery: Forgery,
) -> String {
    let mut fields = fields(account, decision);
    let mut hash = signature::sign(secret, &signature::encode(&fields));
    match forgery {
        Forgery::Amount => {
            let amount = account.order.amount_vnd.saturating_add(1).to_string();
            fields.insert("vnp_Amount".to_owned(), format!("{amount}00"));
        }
        Forgery::Result => {
            let opposite = match decision.outcome {
                Outcome::Paid => Outcome::Cancelled,
                Outcome::Cancelled | Outcome::InsufficientFunds | Outcome::SuspectedFraud => {
                    Outcome::Paid
                }
            };
            let (response_code, status) = codes(opposite);
            fields.insert("vnp_ResponseCode".to_owned(), response_code.to_owned());
            fields.insert("vnp_TransactionStatus".to_owned(), status.to_owned());
        }
        Forgery::Hash => {
            let last = hash.pop();
            hash.push(if last == Some('0') { '1' } else { '0' });
        }
        Forgery::Secret => hash = signature::sign("not-the-secret", &signature::encode(&fields)),
    }
    format!("{}&{HASH_FIELD}={hash}", signature::encode(&fields))
}

/// Appends a query to an address that may have its own.
pub fn with_query(mut url: Url, query: &str) -> Url {
    let whole = match url.query() {
        Some(own) if !own.is_empty() => format!("{own}&{query}"),
        Some(_) | None => query.to_owned(),
    };
    url.set_query(Some(&whole));
    url
}

#[derive(Deserialize)]
struct IpnAnswer {
    #[serde(rename = "RspCode")]
    rsp_code: String,
}

/// True when the merchant's answer ends the calls: recorded now (00) or before (02).
///
/// # Errors
/// When the answer is not the JSON that VNPAY asks for; that counts as no answer.
pub fn ends_calls(body: &[u8]) -> anyhow::Result<bool> {
    let answer: IpnAnswer = serde_json::from_slice(body).context("not an IPN answer")?;
    let ends = matches!(answer.rsp_code.as_str(), "00" | "02");
    if !ends {
        tracing::info!(rsp_code = %answer.rsp_code, "the merchant did not take the IPN");
    }
    Ok(ends)
}
