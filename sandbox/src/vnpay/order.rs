//! Reads and checks a pay link, and opens its order.

use jiff::Timestamp;
use reqwest::Url;

use super::signature::{self, Fields, HASH_FIELD};
use crate::accounts::{Account, Order};
use crate::app::Sandbox;
use crate::clock;
use crate::control::refused;
use crate::problem::Problem;
use crate::provider::Provider;

/// Checks a pay link's query and opens its order, as a browser's first visit does.
pub fn open(app: &Sandbox, query: &str) -> Result<Account, Problem> {
    let now = app.clock.now();
    let config = app.vnpay_config();
    let fields = read_query(query)?;
    check_signature(&fields, &config.tmn_code, &config.secret)?;
    let order = read_order(fields, now)?;
    let expires_at = order.expires_at;
    let known = app.books.find(Provider::Vnpay, &order.merchant_ref);
    // A paid order says that it is paid, even after its link expired.
    if now >= expires_at && !known.iter().any(|a| a.order.fields == order.fields && is_settled(a)) {
        return Err(Problem::conflict("order_expired", "the pay link has expired"));
    }
    app.books.open(order).map_err(|error| refused(&error))
}

/// True when money was taken for the order.
pub fn is_settled(account: &Account) -> bool {
    account.state().money_moved()
}

fn read_query(query: &str) -> Result<Fields, Problem> {
    let mut fields = Fields::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !name.starts_with("vnp_") || value.is_empty() {
            continue;
        }
        if fields.insert(name.clone().into_owned(), value.into_owned()).is_some() {
            return Err(bad_field(&name, "is there twice"));
        }
    }
    Ok(fields)
}

fn check_signature(fields: &Fields, tmn_code: &str, secret: &str) -> Result<(), Problem> {
    if field(fields, "vnp_TmnCode") != tmn_code {
        return Err(Problem::bad_request("unknown_terminal", "vnp_TmnCode is not known here"));
    }
    let signature = field(fields, HASH_FIELD);
    if !signature::verify(secret, &signature::encode(fields), signature) {
        return Err(Problem::bad_request("bad_signature", "vnp_SecureHash does not match"));
    }
    Ok(())
}

/// Checks every field by the documentation's table; the signature has been checked before.
fn read_order(mut fields: Fields, now: Timestamp) -> Result<Order, Problem> {
    fields.remove(HASH_FIELD);
    fields.remove("vnp_SecureHashType");
    let one_of = |name: &str, allowed: &[&str]| {
        let ok = allowed.contains(&field(&fields, name));
        ok.then_some(()).ok_or_else(|| bad_field(name, "has a value that is not allowed"))
    };
    one_of("vnp_Version", &["2.1.0"])?;
    one_of("vnp_Command", &["pay", "genqr"])?;
    one_of("vnp_CurrCode", &["VND"])?;
    one_of("vnp_Locale", &["vn", "en"])?;
    length(&fields, "vnp_IpAddr", 7, 45)?;
    if field(&fields, "vnp_IpAddr").parse::<std::net::IpAddr>().is_err() {
        return Err(bad_field("vnp_IpAddr", "must be an address"));
    }
    length(&fields, "vnp_OrderInfo", 1, 255)?;
    plain(&fields, "vnp_OrderInfo")?;
    length(&fields, "vnp_TxnRef", 1, 100)?;
    plain(&fields, "vnp_TxnRef")?;
    length(&fields, "vnp_OrderType", 1, 100)?;
    let kind = field(&fields, "vnp_OrderType");
    let is_number = kind.len() == 6 && kind.bytes().all(|b| b.is_ascii_digit());
    if kind != "other" && !is_number {
        return Err(bad_field("vnp_OrderType", "must be `other` or a category number"));
    }
    if let Some(bank) = fields.get("vnp_BankCode")
        && !(bank.len() <= 20 && bank.bytes().all(|b| b.is_ascii_alphanumeric()))
    {
        return Err(bad_field("vnp_BankCode", "must be a bank code"));
    }
    length(&fields, "vnp_ReturnUrl", 10, 255)?;
    match Url::parse(field(&fields, "vnp_ReturnUrl")) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => {}
        Ok(_) | Err(_) => return Err(bad_field("vnp_ReturnUrl", "must be a web address")),
    }
    let created_at = date(&fields, "vnp_CreateDate")?;
    let expires_at = date(&fields, "vnp_ExpireDate")?;
    if expires_at <= created_at {
        return Err(bad_field("vnp_ExpireDate", "must be after vnp_CreateDate"));
    }
    let amount_vnd = amount_vnd(field(&fields, "vnp_Amount"))
        .ok_or_else(|| bad_field("vnp_Amount", "must be whole VND x 100, 1 to 12 digits"))?;
    Ok(Order {
        id: format!("{:032x}", rand::random::<u128>()),
        provider: Provider::Vnpay,
        merchant_ref: field(&fields, "vnp_TxnRef").to_owned(),
        amount_vnd,
        created_at,
        expires_at,
        opened_at: now,
        fields,
    })
}

/// Reads an amount in hundredths, as VNPAY writes it; `None` unless it is whole, positive VND.
pub fn amount_vnd(text: &str) -> Option<i64> {
    if !(1..=12).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let hundredths: i64 = text.parse().ok()?;
    (hundredths > 0 && hundredths % 100 == 0).then_some(hundredths / 100)
}

/// Letters on which all of VNPAY's own samples encode alike, no diacritics.
pub fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b" .:,_-".contains(&b))
}

fn field<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).map_or("", String::as_str)
}

fn length(fields: &Fields, name: &str, min: usize, max: usize) -> Result<(), Problem> {
    if (min..=max).contains(&field(fields, name).chars().count()) {
        return Ok(());
    }
    Err(bad_field(name, &format!("must have {min} to {max} characters")))
}

fn plain(fields: &Fields, name: &str) -> Result<(), Problem> {
    if is_plain(field(fields, name)) {
        return Ok(());
    }
    Err(bad_field(name, "must be plain text without diacritics or special characters"))
}

fn date(fields: &Fields, name: &str) -> Result<Timestamp, Problem> {
    clock::parse_compact(field(fields, name))
        .ok_or_else(|| bad_field(name, "must be yyyyMMddHHmmss (GMT+7)"))
}

fn bad_field(name: &str, why: &str) -> Problem {
    Problem::bad_request("bad_field", format!("{name} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> Fields {
        let pairs = [
            ("vnp_Amount", "2500000"),
            ("vnp_Command", "pay"),
            ("vnp_CreateDate", "20261123101500"),
            ("vnp_CurrCode", "VND"),
            ("vnp_ExpireDate", "20261123103000"),
            ("vnp_IpAddr", "113.190.1.10"),
            ("vnp_Locale", "vn"),
            ("vnp_OrderInfo", "Thanh toan ve do xe"),
            ("vnp_OrderType", "other"),
            ("vnp_ReturnUrl", "https://pay.example.vn/vnpay/return"),
            ("vnp_TmnCode", "HNPARK01"),
            ("vnp_TxnRef", "HNP0002"),
            ("vnp_Version", "2.1.0"),
        ];
        pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn a_valid_order_is_read() {
        let order = read_order(valid(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((order.amount_vnd, order.merchant_ref.as_str()), (25_000, "HNP0002"));
        assert_eq!(order.expires_at.to_string(), "2026-11-23T03:30:00Z");
    }

    #[test]
    fn a_field_against_the_table_is_refused_by_name() {
        let long = "x".repeat(256);
        let cases = [
            ("vnp_Version", "2.0.0"),
            ("vnp_Command", "token"),
            ("vnp_CurrCode", "USD"),
            ("vnp_Locale", "vi"),
            ("vnp_IpAddr", "::1"),
            ("vnp_IpAddr", "localhost"),
            ("vnp_OrderInfo", "Vé đỗ xe"),
            ("vnp_OrderInfo", "a&b"),
            ("vnp_OrderInfo", &long),
            ("vnp_TxnRef", ""),
            ("vnp_OrderType", "parking"),
            ("vnp_ReturnUrl", "javascript:alert(1)"),
            ("vnp_CreateDate", "2026-11-23"),
            ("vnp_ExpireDate", ""),
            ("vnp_ExpireDate", "20261123101500"),
            ("vnp_Amount", "0"),
            ("vnp_Amount", "2500050"),
            ("vnp_Amount", "-2500000"),
            ("vnp_Amount", "1000000000000"),
        ];
        for (name, value) in cases {
            let mut fields = valid();
            fields.insert(name.to_owned(), value.to_owned());
            let problem = read_order(fields, Timestamp::UNIX_EPOCH).unwrap_err();
            assert!(problem.detail().starts_with(name), "{name}={value}: {problem}");
        }
    }
}
