//! Endpoints of payments, receipts and refunds.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::{HttpResponse, web};
use jiff::Timestamp;
use serde::Deserialize;

use super::receipt_store::{self, Receipt};
use super::refunds::NewRefund;
use super::return_address::{self, RETURN_URL_LEN};
use super::service::{NewPayment, PaymentError, Payments};
use super::store::{self, PaymentFilter};
use super::view::{PaymentView, ReceiptView, RefundView};
use super::{Payment, PaymentStatus, ProviderKind, Refund, groups, refund_store};
use crate::auth::guard::{DriverOnly, DriverOrFinance, Finance, Guard, PaymentReader};
use crate::kernel::ids::{DriverId, ParkingSessionId, PaymentId, RefundId};
use crate::kernel::money::Vnd;
use crate::on_conn;
use crate::platform::App;
use crate::platform::db::DbError;
use crate::platform::idempotency::{Answer, Request};
use crate::web::extract::{
    ClientAddr, IdempotencyKey, Json, Page, Path, Query, page_limit, read_cursor,
};
use crate::web::problem::{Code, Problem};

/// The largest amount of the interface.
const AMOUNT_MAX: i64 = 9_999_999_999;

/// `POST /v1/payments`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentCreate {
    parking_session_id: ParkingSessionId,
    provider: String,
    return_url: String,
}

/// Creates a payment. Goes on when the caller's connection breaks: the driver finds it with the
/// same key.
pub async fn create_payment(
    driver: Guard<DriverOnly>,
    payments: web::Data<Payments>,
    key: IdempotencyKey,
    ClientAddr(payer_ip): ClientAddr,
    body: Json<PaymentCreate>,
) -> Result<HttpResponse, Problem> {
    let wish = NewPayment {
        driver: driver.id,
        session: body.value.parking_session_id,
        provider: provider(&body.value.provider)?,
        return_url: return_url(&payments, body.value.return_url)?,
        payer_ip,
    };
    let request = Request::new(driver.actor(), key.0, "POST /v1/payments", &body.canonical);
    let work = {
        let payments = payments.clone();
        async move { payments.create(&request, &wish).await }
    };
    let answer = finished(payments.app().run_to_end(work).await)?;
    Ok(remembered(answer, "/v1/payments"))
}

fn provider(name: &str) -> Result<ProviderKind, Problem> {
    name.parse().map_err(|_unknown| Problem::new(Code::UnknownProvider))
}

fn return_url(payments: &Payments, url: String) -> Result<String, Problem> {
    let config = &payments.app().config().payments;
    if return_address::is_acceptable(&url, &config.return_schemes) {
        Ok(url)
    } else {
        let (min, max) = RETURN_URL_LEN;
        let rule = format!("an http(s) address or one of our apps', {min} to {max} characters");
        Err(Problem::field("return_url", rule))
    }
}

/// Work in a task of its own gives nothing only when it panicked.
fn finished(outcome: Option<Result<Answer, PaymentError>>) -> Result<Answer, Problem> {
    Ok(outcome.unwrap_or(Err(PaymentError::NotDone(groups::NotSettled::Fault)))?)
}

/// An answer as it is kept, to the letter.
fn remembered(answer: Answer, below: &str) -> HttpResponse {
    let id = serde_json::from_str::<serde_json::Value>(&answer.body)
        .ok()
        .and_then(|body| body.get("id").and_then(|id| id.as_str().map(str::to_owned)));
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::CREATED);
    let mut response = HttpResponse::build(status);
    if let Some(id) = id {
        response.insert_header((LOCATION, format!("{below}/{id}")));
    }
    response.insert_header((CONTENT_TYPE, "application/json")).body(answer.body)
}

/// `GET /v1/payments`: a driver's own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MyPayments {
    parking_session_id: Option<ParkingSessionId>,
    status: Option<PaymentStatus>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// A driver's payments, newest first.
pub async fn list_payments(
    driver: Guard<DriverOnly>,
    app: web::Data<App>,
    query: Query<MyPayments>,
) -> Result<HttpResponse, Problem> {
    let filter = PaymentFilter {
        driver: Some(driver.id),
        session: query.0.parking_session_id,
        status: query.0.status,
        before: read_cursor(query.0.cursor.as_deref())?.map(PaymentId::from_uuid),
        ..PaymentFilter::default()
    };
    page(&app, &filter, page_limit(query.0.limit)?).await
}

/// `GET /v1/finance/payments`: all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllPayments {
    status: Option<PaymentStatus>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Everybody's payments, newest first.
pub async fn list_finance_payments(
    _finance: Guard<Finance>,
    app: web::Data<App>,
    query: Query<AllPayments>,
) -> Result<HttpResponse, Problem> {
    let filter = PaymentFilter {
        status: query.0.status,
        from: query.0.from,
        to: query.0.to,
        before: read_cursor(query.0.cursor.as_deref())?.map(PaymentId::from_uuid),
        ..PaymentFilter::default()
    };
    page(&app, &filter, page_limit(query.0.limit)?).await
}

async fn page(app: &App, filter: &PaymentFilter, limit: i64) -> Result<HttpResponse, Problem> {
    let ask = limit.saturating_add(1);
    let rows: Result<Vec<Payment>, DbError> =
        on_conn!(app.db(), |conn| store::page(conn, filter, ask).await);
    let Page { items, next_cursor } = Page::of(rows?, limit, |payment| payment.id.get());
    let items: Vec<PaymentView<'_>> = items.iter().map(PaymentView::from).collect();
    Ok(HttpResponse::Ok().json(Page { items, next_cursor }))
}

/// `GET /v1/payments/{payment_id}`.
pub async fn get_payment(
    reader: Guard<DriverOrFinance>,
    app: web::Data<App>,
    id: Path<PaymentId>,
) -> Result<HttpResponse, Problem> {
    let payment = readable(&app, &reader, id.0).await?;
    Ok(HttpResponse::Ok().json(PaymentView::from(&payment)))
}

/// A payment that the reader may see; somebody else's is as absent as one that never was.
async fn readable(app: &App, reader: &PaymentReader, id: PaymentId) -> Result<Payment, Problem> {
    let found: Result<Option<Payment>, DbError> =
        on_conn!(app.db(), |conn| store::find(conn, id).await);
    let payment = found?.filter(|payment| may_read(reader, payment.driver_id));
    payment.ok_or_else(Problem::not_found)
}

fn may_read(reader: &PaymentReader, owner: Option<DriverId>) -> bool {
    match reader {
        PaymentReader::Driver(driver) => owner == Some(driver.id),
        PaymentReader::Finance(_) => true,
    }
}

/// `GET /v1/payments/{payment_id}/receipt`.
pub async fn get_receipt(
    reader: Guard<DriverOrFinance>,
    app: web::Data<App>,
    id: Path<PaymentId>,
) -> Result<HttpResponse, Problem> {
    let payment = readable(&app, &reader, id.0).await?;
    let receipt: Result<Option<Receipt>, DbError> =
        on_conn!(app.db(), |conn| receipt_store::find(conn, &payment).await);
    let receipt = receipt?.ok_or_else(Problem::not_found)?;
    let view = ReceiptView::new(&payment, &receipt).map_err(|error| Problem::internal(&error))?;
    Ok(HttpResponse::Ok().json(view))
}

/// `POST /v1/payments/{payment_id}/refunds`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundCreate {
    amount_vnd: Option<i64>,
    reason: String,
}

/// Writes a refund down; a job sends it.
pub async fn create_refund(
    finance: Guard<Finance>,
    payments: web::Data<Payments>,
    id: Path<PaymentId>,
    key: IdempotencyKey,
    body: Json<RefundCreate>,
) -> Result<HttpResponse, Problem> {
    if body.canonical.get("amount_vnd").is_some_and(serde_json::Value::is_null)
        || body.value.amount_vnd.is_some_and(|amount| !(1..=AMOUNT_MAX).contains(&amount))
    {
        return Err(Problem::field("amount_vnd", format!("from 1 to {AMOUNT_MAX}")));
    }
    if !(1..=255).contains(&body.value.reason.chars().count()) {
        return Err(Problem::field("reason", "1 to 255 characters"));
    }
    let wish = NewRefund {
        payment: id.0,
        amount: body.value.amount_vnd.map(Vnd::new),
        reason: body.value.reason,
        requested_by: finance.id,
    };
    let route = format!("POST /v1/payments/{}/refunds", id.0);
    let request = Request::new(finance.actor(), key.0, &route, &body.canonical);
    let work = {
        let payments = payments.clone();
        async move { payments.request_refund(&request, &wish).await }
    };
    let answer = finished(payments.app().run_to_end(work).await)?;
    Ok(remembered(answer, "/v1/refunds"))
}

/// `GET /v1/refunds/{refund_id}`.
pub async fn get_refund(
    reader: Guard<DriverOrFinance>,
    app: web::Data<App>,
    id: Path<RefundId>,
) -> Result<HttpResponse, Problem> {
    let found: Result<Option<Refund>, DbError> =
        on_conn!(app.db(), |conn| refund_store::find(conn, id.0).await);
    let refund = found?.ok_or_else(Problem::not_found)?;
    // A refund is its payment's reader's to see.
    readable(&app, &reader, refund.payment_id).await?;
    Ok(HttpResponse::Ok().json(RefundView::from(&refund)))
}

impl From<PaymentError> for Problem {
    fn from(error: PaymentError) -> Problem {
        match error {
            PaymentError::NotFound => Problem::not_found(),
            PaymentError::NothingToPay => Problem::new(Code::NothingToPay),
            PaymentError::InProgress => Problem::new(Code::PaymentInProgress)
                .detail("This session has a payment under way; it ends by itself at its time."),
            PaymentError::Amount(_) => Problem::new(Code::AmountOutOfRange)
                .detail("The provider does not take this amount."),
            PaymentError::NotRefundable => Problem::new(Code::PaymentNotRefundable),
            PaymentError::RefundTooMuch { left } => Problem::new(Code::RefundExceedsPayment)
                .detail(format!("At most {left} can still go back.")),
            PaymentError::KeyReused => Problem::new(Code::IdempotencyKeyReused),
            PaymentError::Gateway(_) | PaymentError::NotDone(groups::NotSettled::Unavailable) => {
                Problem::new(Code::ServiceUnavailable)
            }
            PaymentError::Db(error) => error.into(),
            PaymentError::Group(error) => error.into(),
            PaymentError::Posting(_)
            | PaymentError::Range(_)
            | PaymentError::NotDone(groups::NotSettled::Fault) => Problem::internal(&error),
        }
    }
}
