//! VNPAY 2.1.0: the pay page's address and the two callbacks (IPN and return page).
//!
//! Amounts are đồng × 100 on the wire and nowhere else. Dates are `yyyyMMddHHmmss` at a fixed
//! +07:00 (VNPAY's Java sample says `Etc/GMT+7`, which is UTC-7). Questions and refunds are in
//! [`transaction`]. Source: VNPAY's sandbox documentation, "Cổng thanh toán 2.1.0".

use std::net::IpAddr;

use jiff::tz::{TimeZone, offset};
use jiff::{Timestamp, civil::DateTime};
use secrecy::SecretString;

use crate::kernel::money::Vnd;
use crate::payments::{Charge, ChargeInstructions, MerchantRef, Notification};

pub mod answer;
pub mod codes;
pub mod signature;
pub mod transaction;

use signature::{BadPage, EmptySecret, HashSecret, VerifiedPage};

/// The interface's version, sent with every request.
const VERSION: &str = "2.1.0";
/// Twelve digits of đồng × 100 fit into `vnp_Amount`.
const AMOUNT_MAX: Vnd = Vnd::new(9_999_999_999);
/// The shortest text that `vnp_IpAddr` takes.
const IP_LEN_MIN: usize = 7;

/// What VNPAY hands out with the contract, and where it listens. Checked by [`Terminal::new`].
#[derive(Clone)]
pub struct TerminalSettings {
    /// `vnp_TmnCode`: eight characters.
    pub tmn_code: String,
    /// The hash secret.
    pub hash_secret: SecretString,
    /// The pay page.
    pub pay_url: String,
    /// Where questions and refunds are posted; VNPAY names it at go-live.
    pub api_url: String,
    /// Our return page as the driver's browser reaches it.
    pub return_url: String,
    /// Our address as VNPAY sees it, for questions and refunds.
    pub server_ip: IpAddr,
}

/// A terminal (merchant account) at VNPAY, ready to sign.
#[derive(Clone)]
pub struct Terminal {
    tmn_code: String,
    secret: HashSecret,
    pay_url: String,
    api_url: String,
    return_url: String,
    server_ip: String,
}

/// The settings of a terminal cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTerminal {
    /// The terminal code is not eight letters or digits.
    #[error("vnp_TmnCode must be 8 letters or digits")]
    TmnCode,
    /// The return page's address is shorter than 10 or longer than 255 characters.
    #[error("vnp_ReturnUrl must be 10 to 255 characters")]
    ReturnUrl,
    /// The secret is empty.
    #[error("the hash secret cannot be used")]
    Secret(#[source] EmptySecret),
}

/// The charge cannot be written in VNPAY's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the amount is not between 1 and {} đồng", AMOUNT_MAX.get())]
pub struct AmountOutOfRange;

/// Why a callback is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCallback {
    /// Its signature is missing, wrong or ambiguous.
    #[error("the callback is not signed by VNPAY")]
    Signature(#[source] BadPage),
    /// Signed with our secret but for another terminal: none of our orders.
    #[error("the callback is for another terminal")]
    ForeignTerminal,
}

/// What we answer to an IPN.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, strum::EnumIter, strum::IntoStaticStr, strum::Display,
)]
pub enum IpnAnswer {
    /// Recorded, also for a payment that failed. VNPAY stops calling.
    #[strum(serialize = "00")]
    Recorded,
    /// Recorded by an earlier call. VNPAY stops calling.
    #[strum(serialize = "02")]
    AlreadyRecorded,
    /// No such order.
    #[strum(serialize = "01")]
    OrderNotFound,
    /// Another amount than the order's.
    #[strum(serialize = "04")]
    InvalidAmount,
    /// Not signed by VNPAY.
    #[strum(serialize = "97")]
    InvalidSignature,
    /// Our error: call again.
    #[strum(serialize = "99")]
    OurError,
}

impl IpnAnswer {
    /// `RspCode`.
    pub fn code(self) -> &'static str {
        self.into()
    }

    /// The body VNPAY reads, with the messages of its samples.
    pub fn body(self) -> &'static str {
        match self {
            IpnAnswer::Recorded => r#"{"RspCode":"00","Message":"Confirm Success"}"#,
            IpnAnswer::AlreadyRecorded => r#"{"RspCode":"02","Message":"Order already confirmed"}"#,
            IpnAnswer::OrderNotFound => r#"{"RspCode":"01","Message":"Order not Found"}"#,
            IpnAnswer::InvalidAmount => r#"{"RspCode":"04","Message":"Invalid Amount"}"#,
            IpnAnswer::InvalidSignature => r#"{"RspCode":"97","Message":"Invalid Signature"}"#,
            IpnAnswer::OurError => r#"{"RspCode":"99","Message":"Unknown error"}"#,
        }
    }
}

impl Terminal {
    /// Checks the settings and prepares the key.
    pub fn new(settings: &TerminalSettings) -> Result<Terminal, BadTerminal> {
        let code = &settings.tmn_code;
        if code.len() != 8 || !code.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(BadTerminal::TmnCode);
        }
        if !(10..=255).contains(&settings.return_url.len()) {
            return Err(BadTerminal::ReturnUrl);
        }
        Ok(Terminal {
            tmn_code: code.clone(),
            secret: HashSecret::new(&settings.hash_secret).map_err(BadTerminal::Secret)?,
            pay_url: settings.pay_url.clone(),
            api_url: settings.api_url.clone(),
            return_url: settings.return_url.clone(),
            server_ip: wire_ip(settings.server_ip),
        })
    }

    /// Where questions and refunds are posted.
    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// The pay page of a charge: signed here, no call needed. The same charge gives the same
    /// address.
    pub fn charge(&self, charge: &Charge) -> Result<ChargeInstructions, AmountOutOfRange> {
        let amount = wire_amount(charge.amount)?;
        let (created, expires) = (wire_date(charge.created_at), wire_date(charge.expires_at));
        let ip = wire_ip(charge.payer_ip);
        let order_info = format!("Thanh toan phi do xe {}", charge.merchant_ref);
        let parameters = [
            ("vnp_Version", VERSION),
            ("vnp_Command", "pay"),
            ("vnp_TmnCode", &self.tmn_code),
            ("vnp_Amount", &amount),
            ("vnp_CreateDate", &created),
            ("vnp_ExpireDate", &expires),
            ("vnp_CurrCode", "VND"),
            ("vnp_IpAddr", &ip),
            ("vnp_Locale", "vn"),
            ("vnp_OrderInfo", &order_info),
            ("vnp_OrderType", "other"),
            ("vnp_ReturnUrl", &self.return_url),
            ("vnp_TxnRef", charge.merchant_ref.as_str()),
        ];
        let url = signature::page_url(&self.pay_url, parameters, &self.secret);
        Ok(ChargeInstructions::Redirect { url })
    }

    /// Reads an IPN or the query of the return page; believes it only if VNPAY signed it for
    /// this terminal.
    pub fn read_callback(&self, query: &str) -> Result<Notification, BadCallback> {
        let page = VerifiedPage::verify(query, &self.secret).map_err(BadCallback::Signature)?;
        if page.get("vnp_TmnCode") != self.tmn_code {
            return Err(BadCallback::ForeignTerminal);
        }
        let codes = (page.get("vnp_ResponseCode"), page.get("vnp_TransactionStatus"));
        Ok(Notification {
            merchant_ref: MerchantRef::named(page.get("vnp_TxnRef")),
            provider_txn: transaction_number(page.get("vnp_TransactionNo")),
            amount: read_amount(page.get("vnp_Amount")),
            outcome: codes::callback_outcome(codes.0, codes.1),
            paid_at: read_date(page.get("vnp_PayDate")),
        })
    }
}

/// VNPAY sends `0` when it made no transaction.
fn transaction_number(text: &str) -> Option<String> {
    (!text.is_empty() && text != "0").then(|| text.to_owned())
}

/// đồng → đồng × 100 in 64 bits: the Java sample's `int` overflows above 21,474,836 VND.
fn wire_amount(amount: Vnd) -> Result<String, AmountOutOfRange> {
    if !(Vnd::ZERO < amount && amount <= AMOUNT_MAX) {
        return Err(AmountOutOfRange);
    }
    let hundredths = amount.get().checked_mul(100).ok_or(AmountOutOfRange)?;
    Ok(hundredths.to_string())
}

/// Whether VNPAY takes this amount.
pub fn check_amount(amount: Vnd) -> Result<(), AmountOutOfRange> {
    wire_amount(amount).map(drop)
}

/// đồng × 100 → đồng; `None` for anything but a positive whole number of đồng.
fn read_amount(text: &str) -> Option<Vnd> {
    if text.is_empty() || text.len() > 15 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let hundredths: i64 = text.parse().ok()?;
    (hundredths > 0 && hundredths % 100 == 0).then(|| Vnd::new(hundredths / 100))
}

fn gateway_zone() -> TimeZone {
    TimeZone::fixed(offset(7))
}

/// `yyyyMMddHHmmss` at +07:00.
fn wire_date(at: Timestamp) -> String {
    at.to_zoned(gateway_zone()).strftime("%Y%m%d%H%M%S").to_string()
}

fn read_date(text: &str) -> Option<Timestamp> {
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let civil = DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    Some(gateway_zone().to_zoned(civil).ok()?.timestamp())
}

/// An address in at least seven characters: `::1` is written out.
fn wire_ip(ip: IpAddr) -> String {
    let ip = ip.to_canonical();
    let short = ip.to_string();
    match ip {
        IpAddr::V6(v6) if short.len() < IP_LEN_MIN => {
            let groups = v6.segments().map(|segment| format!("{segment:04x}"));
            groups.join(":")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => short,
    }
}

#[cfg(test)]
mod tests;
