//! `querydr` and `refund`: one address, JSON in and out, both directions signed.
//!
//! Every request gets HTTP 200 and a signed answer; what went wrong is in `vnp_ResponseCode`.

use std::time::Duration;

use actix_web::body::BodyStream;
use actix_web::{HttpResponse, web};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::order::amount_vnd;
use super::result::{bank, codes};
use super::signature::{self, Fields, HASH_FIELD, QUERY_ANSWER, QUERY_REQUEST};
use super::signature::{REFUND_ANSWER, REFUND_REQUEST};
use crate::accounts::{Account, Refund, RefundState};
use crate::app::{Sandbox, VnpayConfig};
use crate::books::{BooksError, RefundRequest};
use crate::clock;
use crate::control::refused;
use crate::provider::Provider;

/// A `vnp_ResponseCode` other than 00, with its message.
type Refusal = (&'static str, &'static str);

const BAD_TERMINAL: Refusal = ("02", "Ma dinh danh ket noi khong hop le");
const BAD_FORMAT: Refusal = ("03", "Du lieu gui sang khong dung dinh dang");
const NOT_FOUND: Refusal = ("91", "Khong tim thay giao dich");
const DUPLICATE: Refusal = ("94", "Yeu cau da duoc gui truoc do");
const NOT_PAID: Refusal = ("95", "Giao dich khong thanh cong ben VNPAY, tu choi xu ly yeu cau");
const BAD_SIGNATURE: Refusal = ("97", "Chu ky khong hop le");
const TOO_MUCH: Refusal = ("99", "So tien hoan vuot qua so tien con lai cua giao dich");
const OTHER: Refusal = ("99", "Loi khac");

/// `POST /merchant_webapi/api/transaction`
pub async fn handle(app: web::Data<Sandbox>, body: web::Bytes) -> HttpResponse {
    let config = app.vnpay_config();
    let Some(request) = read_fields(&body) else {
        return signed(&config, &Fields::new(), Err(BAD_FORMAT));
    };
    let result = match field(&request, "vnp_Command") {
        "querydr" => query(&app, &config, &request),
        "refund" => refund(&app, &config, &request),
        _ => Err(BAD_FORMAT),
    };
    app.books.synced().await;
    let answer = signed(&config, &request, result);
    match app.faults.hang(Provider::Vnpay) {
        Some(hang) => swallowed(hang).await,
        None => answer,
    }
}

/// The effect stands, but the caller never hears of it: the answer breaks off after a while.
async fn swallowed(hang: Duration) -> HttpResponse {
    tokio::time::sleep(hang).await;
    let cut = futures_util::stream::once(async {
        Err::<web::Bytes, _>(std::io::Error::other("the gateway's answer was lost"))
    });
    HttpResponse::Ok().force_close().content_type("application/json").body(BodyStream::new(cut))
}

/// Reads a flat JSON object; clients send amounts and dates as numbers too.
fn read_fields(body: &[u8]) -> Option<Fields> {
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else { return None };
    let read = |(name, value): (String, Value)| match value {
        Value::String(text) => Some((name, text)),
        Value::Number(number) => Some((name, number.to_string())),
        Value::Null => Some((name, String::new())),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    members.into_iter().map(read).collect()
}

fn field<'a>(request: &'a Fields, name: &str) -> &'a str {
    request.get(name).map_or("", String::as_str)
}

/// What both commands check, in this order: form, terminal, signature, request id.
fn check(
    app: &Sandbox,
    config: &VnpayConfig,
    request: &Fields,
    order: &[&str],
) -> Result<(), Refusal> {
    let length = |name: &str, min: usize, max: usize| {
        (min..=max).contains(&field(request, name).chars().count())
    };
    let is_date = |name: &str| clock::parse_compact(field(request, name)).is_some();
    let well_formed = length("vnp_RequestId", 1, 32)
        && field(request, "vnp_Version") == "2.1.0"
        && length("vnp_TmnCode", 1, 8)
        && length("vnp_TxnRef", 1, 100)
        && length("vnp_OrderInfo", 1, 255)
        && length("vnp_IpAddr", 7, 45)
        && length(HASH_FIELD, 1, 256)
        && is_date("vnp_TransactionDate")
        && is_date("vnp_CreateDate");
    if !well_formed {
        return Err(BAD_FORMAT);
    }
    if field(request, "vnp_TmnCode") != config.tmn_code {
        return Err(BAD_TERMINAL);
    }
    let text = signature::join(request, order);
    if !signature::verify(&config.secret, &text, field(request, HASH_FIELD)) {
        return Err(BAD_SIGNATURE);
    }
    let id = field(request, "vnp_RequestId");
    if !app.books.use_request_id(Provider::Vnpay, id, app.clock.now()) {
        return Err(DUPLICATE);
    }
    Ok(())
}

/// Finds the order by reference and by the day and second it was made.
fn find(app: &Sandbox, request: &Fields) -> Result<Account, Refusal> {
    let created = field(request, "vnp_TransactionDate");
    let mut found = app.books.find(Provider::Vnpay, field(request, "vnp_TxnRef"));
    found.retain(|a| a.order.fields.get("vnp_CreateDate").is_some_and(|d| d == created));
    found.pop().ok_or(NOT_FOUND)
}

/// The transaction number that a request names; `0` stands for "not known" with some clients.
fn named_no(request: &Fields) -> &str {
    match field(request, "vnp_TransactionNo") {
        "0" => "",
        no => no,
    }
}

/// Tells of the newest transaction of an order: its last refund, else its payment. A request
/// that names a `vnp_TransactionNo` is told of that one.
fn query(app: &Sandbox, config: &VnpayConfig, request: &Fields) -> Result<Fields, Refusal> {
    check(app, config, request, QUERY_REQUEST)?;
    let account = find(app, request)?;
    let now = app.clock.now();
    let payment_no = account.decision.as_ref().map_or(0, |d| d.gateway_no).to_string();
    let named = named_no(request);
    let mut answer = if named == payment_no {
        payment_answer(&account, &payment_no)
    } else {
        let wanted = |r: &&Refund| named.is_empty() || r.gateway_no.to_string() == named;
        match account.refunds.iter().rev().find(wanted) {
            Some(refund) => refund_answer(&account, refund, now),
            None if named.is_empty() => payment_answer(&account, &payment_no),
            None => return Err(NOT_FOUND),
        }
    };
    put(&mut answer, "vnp_Message", "QueryDR Success");
    put(&mut answer, "vnp_PromotionCode", "");
    put(&mut answer, "vnp_PromotionAmount", "");
    Ok(answer)
}

fn payment_answer(account: &Account, payment_no: &str) -> Fields {
    let sent = |name: &str| account.order.fields.get(name).cloned().unwrap_or_default();
    let decision = account.decision.as_ref();
    let mut answer = Fields::new();
    put(&mut answer, "vnp_Amount", &sent("vnp_Amount"));
    put(&mut answer, "vnp_BankCode", if decision.is_some() { bank(account) } else { "" });
    put(
        &mut answer,
        "vnp_PayDate",
        &decision.map_or_else(String::new, |d| clock::format_compact(d.at)),
    );
    put(&mut answer, "vnp_TransactionNo", payment_no);
    put(&mut answer, "vnp_TransactionType", "01");
    put(&mut answer, "vnp_TransactionStatus", decision.map_or("01", |d| codes(d.outcome).1));
    put(&mut answer, "vnp_OrderInfo", &sent("vnp_OrderInfo"));
    answer
}

fn refund_answer(account: &Account, refund: &Refund, now: Timestamp) -> Fields {
    let status = match refund.state(now) {
        RefundState::Processing => "05",
        RefundState::Done => "06",
        RefundState::Refused => "09",
    };
    let mut answer = Fields::new();
    put(&mut answer, "vnp_Amount", &format!("{}00", refund.amount_vnd));
    put(&mut answer, "vnp_BankCode", bank(account));
    put(&mut answer, "vnp_PayDate", &clock::format_compact(refund.at));
    put(&mut answer, "vnp_TransactionNo", &refund.gateway_no.to_string());
    put(&mut answer, "vnp_TransactionType", if refund.full { "02" } else { "03" });
    put(&mut answer, "vnp_TransactionStatus", status);
    put(&mut answer, "vnp_OrderInfo", &refund.note);
    answer
}

fn refund(app: &Sandbox, config: &VnpayConfig, request: &Fields) -> Result<Fields, Refusal> {
    let full = match field(request, "vnp_TransactionType") {
        "02" => true,
        "03" => false,
        _ => return Err(BAD_FORMAT),
    };
    let amount_vnd = amount_vnd(field(request, "vnp_Amount")).ok_or(BAD_FORMAT)?;
    if !(1..=245).contains(&field(request, "vnp_CreateBy").chars().count()) {
        return Err(BAD_FORMAT);
    }
    check(app, config, request, REFUND_REQUEST)?;
    let account = find(app, request)?;
    let now = app.clock.now();
    let named = named_no(request);
    let payment_no = account.decision.as_ref().map_or(0, |d| d.gateway_no);
    if !named.is_empty() && named != payment_no.to_string() {
        return Err(NOT_FOUND);
    }
    if full && amount_vnd != account.order.amount_vnd {
        return Err(BAD_FORMAT);
    }
    let delay = SignedDuration::try_from(config.refund_delay).unwrap_or_default();
    let wanted = RefundRequest {
        order_id: &account.order.id,
        request_id: field(request, "vnp_RequestId"),
        amount_vnd,
        full,
        note: field(request, "vnp_OrderInfo"),
        done_at: now.checked_add(delay).unwrap_or(now),
        refused: app.faults.refuse_refund(Provider::Vnpay),
    };
    let refund = app.books.refund(&wanted, now).map_err(|error| match error {
        BooksError::Unknown => NOT_FOUND,
        BooksError::NotPaid => NOT_PAID,
        BooksError::NothingLeft => DUPLICATE,
        BooksError::TooMuch { .. } => TOO_MUCH,
        BooksError::DuplicateRef | BooksError::Settled(_) | BooksError::Journal(_) => {
            tracing::error!(problem = %refused(&error), "unexpected refusal of a refund");
            OTHER
        }
    })?;
    tracing::info!(merchant_ref = %account.order.merchant_ref, amount_vnd, "refund.accepted");
    let mut answer = refund_answer(&account, &refund, now);
    put(&mut answer, "vnp_Message", "Refund success");
    // Accepted is not done, however short the delay is.
    put(&mut answer, "vnp_TransactionStatus", "05");
    Ok(answer)
}

fn put(answer: &mut Fields, name: &str, value: &str) {
    answer.insert(name.to_owned(), value.to_owned());
}

/// Completes and signs an answer. Refusals name the request and leave the rest out, which the
/// signature counts as empty.
fn signed(config: &VnpayConfig, request: &Fields, result: Result<Fields, Refusal>) -> HttpResponse {
    let mut answer = match result {
        Ok(mut answer) => {
            put(&mut answer, "vnp_ResponseCode", "00");
            answer
        }
        Err((code, message)) => {
            let mut answer = Fields::new();
            put(&mut answer, "vnp_ResponseCode", code);
            put(&mut answer, "vnp_Message", message);
            answer
        }
    };
    put(&mut answer, "vnp_ResponseId", &format!("{:032x}", rand::random::<u128>()));
    for name in ["vnp_Command", "vnp_TmnCode", "vnp_TxnRef"] {
        put(&mut answer, name, field(request, name));
    }
    let order = match field(request, "vnp_Command") {
        "refund" => REFUND_ANSWER,
        _ => QUERY_ANSWER,
    };
    let hash = signature::sign(&config.secret, &signature::join(&answer, order));
    put(&mut answer, HASH_FIELD, &hash);
    HttpResponse::Ok().json(answer)
}
