//! The page on which the browser comes back from the provider. It only reads: money is never
//! booked because a browser says so.

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use actix_web::{HttpRequest, HttpResponse, web};

use super::return_address;
use super::service::Payments;
use super::view::ReturnView;
use super::{Payment, PaymentStatus, ProviderKind, store};
use crate::on_conn;
use crate::platform::db::DbError;
use crate::web::problem::Problem;
use crate::web::rate_limit::{Limited, PublicRead};

/// `GET /v1/payments/return/vnpay`.
pub async fn vnpay_return(
    _limited: Limited<PublicRead>,
    request: HttpRequest,
    payments: web::Data<Payments>,
) -> Result<HttpResponse, Problem> {
    let as_json = wants_json(&request);
    let found = read(&payments, ProviderKind::Vnpay, request.query_string()).await?;
    Ok(match found {
        Some(payment) if as_json => HttpResponse::Ok().json(ReturnView::from(&payment)),
        Some(payment) => state_page(&payments, &payment),
        None if as_json => return Err(Problem::not_found()),
        None => page(
            StatusCode::NOT_FOUND,
            "Không tìm thấy giao dịch",
            "Đường dẫn không hợp lệ. Hãy mở ứng dụng để xem trạng thái thanh toán.",
            None,
        ),
    })
}

/// The payment that a signed query speaks of. What it says about money is not looked at: the
/// state shown is ours.
async fn read(
    payments: &Payments,
    provider: ProviderKind,
    query: &str,
) -> Result<Option<Payment>, Problem> {
    let Ok(said) = payments.providers().adapter(provider).read_callback(query) else {
        return Ok(None);
    };
    let name = said.merchant_ref.as_str();
    let found: Result<Option<Payment>, DbError> =
        on_conn!(payments.app().db(), |conn| store::find_by_ref(conn, provider, name).await);
    Ok(found?)
}

fn wants_json(request: &HttpRequest) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    accept
        .is_some_and(|accept| accept.contains("application/json") && !accept.contains("text/html"))
}

fn state_page(payments: &Payments, payment: &Payment) -> HttpResponse {
    let config = &payments.app().config().payments;
    let id = payment.id.to_string();
    let outcome = [("payment_id", id.as_str()), ("status", payment.status.as_str())];
    let target = return_address::target(
        &payment.return_url,
        &config.return_schemes,
        &config.return_hosts,
        &outcome,
    );
    let (title, text) = words(payment.status);
    let text = format!("{text} Số tiền: {}.", dong(payment.amount.get()));
    page(StatusCode::OK, title, &text, target.as_deref())
}

fn words(status: PaymentStatus) -> (&'static str, &'static str) {
    match status {
        PaymentStatus::Pending => (
            "Đang chờ xác nhận",
            "Cổng thanh toán chưa báo kết quả. Ứng dụng sẽ cập nhật khi có kết quả.",
        ),
        PaymentStatus::Succeeded => ("Thanh toán thành công", "Cảm ơn bạn."),
        PaymentStatus::Failed => {
            ("Thanh toán không thành công", "Tài khoản của bạn không bị trừ tiền.")
        }
        PaymentStatus::Cancelled => ("Đã hủy thanh toán", "Tài khoản của bạn không bị trừ tiền."),
        PaymentStatus::Expired => (
            "Đã hết thời gian thanh toán",
            "Nếu tài khoản đã bị trừ tiền, khoản tiền sẽ được ghi nhận hoặc hoàn lại.",
        ),
        PaymentStatus::RefundPending => ("Đang hoàn tiền", "Khoản tiền đang được hoàn lại."),
        PaymentStatus::PartiallyRefunded => ("Đã hoàn một phần", "Một phần đã được hoàn lại."),
        PaymentStatus::Refunded => ("Đã hoàn tiền", "Khoản tiền đã được hoàn lại."),
    }
}

/// Đồng with points between the thousands, as Vietnamese is written: `25.000 ₫`.
fn dong(amount: i64) -> String {
    let digits = amount.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        let left = digits.len() - place;
        if place > 0 && left.is_multiple_of(3) {
            text.push('.');
        }
        text.push(digit);
    }
    text.push_str(" ₫");
    text
}

fn page(status: StatusCode, title: &str, text: &str, target: Option<&str>) -> HttpResponse {
    let (title, text) = (escaped(title), escaped(text));
    let (refresh, link) = match target.map(escaped) {
        Some(target) => (
            format!("<meta http-equiv=\"refresh\" content=\"2;url={target}\">"),
            format!("<p><a href=\"{target}\">Quay lại ứng dụng</a></p>"),
        ),
        None => (String::new(), String::new()),
    };
    let body = format!(
        "<!doctype html><html lang=\"vi\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">{refresh}\
         <title>{title}</title><style>body{{font:1.1rem system-ui,sans-serif;max-width:30rem;\
         margin:15vh auto;padding:0 1rem;text-align:center}}</style></head>\
         <body><h1>{title}</h1><p>{text}</p>{link}</body></html>"
    );
    HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"))
        .body(body)
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_in_vietnam() {
        assert_eq!(dong(25_000), "25.000 ₫");
        assert_eq!(dong(999), "999 ₫");
        assert_eq!(dong(1_234_567), "1.234.567 ₫");
    }

    #[test]
    fn nothing_leaves_its_attribute() {
        assert_eq!(escaped("\"><script>'&"), "&quot;&gt;&lt;script&gt;&#39;&amp;");
    }
}
