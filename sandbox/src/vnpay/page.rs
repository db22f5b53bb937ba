//! The pay page in a browser: shows the order, takes the customer's choice, sends them back.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use reqwest::Url;
use serde::Deserialize;

use super::order;
use super::result::{signed_query, with_query};
use crate::accounts::Account;
use crate::app::Sandbox;
use crate::clock;
use crate::control;
use crate::problem::Problem;
use crate::provider::Outcome;

const STYLE: &str = include_str!("page.css");

/// `GET /paymentv2/vpcpay.html`: where the merchant sends the customer.
pub async fn open(app: web::Data<Sandbox>, request: HttpRequest) -> HttpResponse {
    let opened = order::open(&app, request.query_string());
    app.books.synced().await;
    match opened {
        Ok(account) if command(&account) == "genqr" => qr_answer(&request, &account),
        Ok(account) => pay_page(&request, &account),
        Err(problem) => error_page(&request, &problem),
    }
}

/// `GET /paymentv2/pay/{order_id}`: the same page again, for an order that was opened.
pub async fn show(
    app: web::Data<Sandbox>,
    path: web::Path<String>,
    request: HttpRequest,
) -> HttpResponse {
    match app.books.get(&path) {
        Some(account) => pay_page(&request, &account),
        None => error_page(&request, &Problem::not_found("order_unknown", "no such order")),
    }
}

#[derive(Deserialize)]
pub struct Choice {
    outcome: String,
}

/// `POST /paymentv2/pay/{order_id}`: the customer's choice. An order that was opened in time may
/// still be paid after its link expired; that is how late payments come about.
pub async fn choose(
    app: web::Data<Sandbox>,
    path: web::Path<String>,
    form: web::Form<Choice>,
    request: HttpRequest,
) -> HttpResponse {
    let Some(outcome) = Outcome::parse(&form.outcome) else {
        let problem = Problem::bad_request("bad_outcome", "there is no such choice");
        return error_page(&request, &problem);
    };
    match control::apply(&app, &path, outcome).await {
        Ok((account, _)) => send_back(&app, &request, &account),
        Err(problem) => error_page(&request, &problem),
    }
}

fn send_back(app: &Sandbox, request: &HttpRequest, account: &Account) -> HttpResponse {
    let target = account.order.fields.get("vnp_ReturnUrl").and_then(|url| Url::parse(url).ok());
    let (Some(target), Some(decision)) = (target, account.decision.as_ref()) else {
        let problem = Problem::conflict("no_return", "the order has nowhere to return to");
        return error_page(request, &problem);
    };
    let query = signed_query(account, decision, &app.vnpay_config().secret);
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, with_query(target, &query).as_str()))
        .finish()
}

fn command(account: &Account) -> &str {
    account.order.fields.get("vnp_Command").map_or("pay", String::as_str)
}

/// `genqr` asks for the content of a QR code instead of a page; ours leads to the page.
fn qr_answer(request: &HttpRequest, account: &Account) -> HttpResponse {
    let info = request.connection_info();
    let content = format!("http://{}/paymentv2/pay/{}", info.host(), account.order.id);
    HttpResponse::Ok().json(serde_json::json!({
        "code": "00", "message": "success", "qrcontent": content,
    }))
}

/// Texts of the page in the order's language.
struct Words {
    lang: &'static str,
    title: &'static str,
    amount: &'static str,
    info: &'static str,
    reference: &'static str,
    terminal: &'static str,
    expires: &'static str,
    choose: &'static str,
    buttons: [(Outcome, &'static str, &'static str); 4],
    note: &'static str,
}

const VIETNAMESE: Words = Words {
    lang: "vi",
    title: "Thanh toán đơn hàng",
    amount: "Số tiền",
    info: "Nội dung",
    reference: "Mã đơn hàng",
    terminal: "Đơn vị nhận tiền",
    expires: "Hạn thanh toán",
    choose: "Khách hàng làm gì ở ngân hàng?",
    buttons: [
        (Outcome::Paid, "ok", "Thanh toán thành công"),
        (Outcome::InsufficientFunds, "", "Tài khoản không đủ tiền"),
        (Outcome::SuspectedFraud, "", "Nghi ngờ gian lận (giữ tiền)"),
        (Outcome::Cancelled, "quiet", "Khách hàng hủy giao dịch"),
    ],
    note: "Cổng thanh toán giả lập để phát triển và kiểm thử. Không có tiền thật.",
};

const ENGLISH: Words = Words {
    lang: "en",
    title: "Pay your order",
    amount: "Amount",
    info: "For",
    reference: "Order reference",
    terminal: "Paid to",
    expires: "Pay before",
    choose: "What does the customer do at the bank?",
    buttons: [
        (Outcome::Paid, "ok", "Pay successfully"),
        (Outcome::InsufficientFunds, "", "Not enough money"),
        (Outcome::SuspectedFraud, "", "Suspected fraud (money held)"),
        (Outcome::Cancelled, "quiet", "Cancel the payment"),
    ],
    note: "A simulated gateway for development and tests. No real money.",
};

fn pay_page(request: &HttpRequest, account: &Account) -> HttpResponse {
    if order::is_settled(account) {
        let detail = "the customer's money was taken for this order already";
        return error_page(request, &Problem::conflict("order_already_paid", detail));
    }
    let order = &account.order;
    let sent = |name: &str| escape(order.fields.get(name).map_or("", String::as_str));
    let words = if sent("vnp_Locale") == "en" { &ENGLISH } else { &VIETNAMESE };
    let rows = [
        (words.info, sent("vnp_OrderInfo")),
        (words.reference, sent("vnp_TxnRef")),
        (words.terminal, sent("vnp_TmnCode")),
        (words.expires, clock::format_readable(order.expires_at)),
    ]
    .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>"))
    .concat();
    let buttons = words
        .buttons
        .map(|(outcome, class, label)| {
            let value = outcome.as_str();
            format!("<button class=\"{class}\" name=\"outcome\" value=\"{value}\">{label}</button>")
        })
        .concat();
    let body = format!(
        "<h1>{title}</h1><p class=\"amount\"><span>{amount}</span>{vnd}&nbsp;₫</p><dl>{rows}</dl>\
         <form method=\"post\" action=\"/paymentv2/pay/{id}\"><h2>{choose}</h2>{buttons}</form>",
        title = words.title,
        amount = words.amount,
        vnd = group_thousands(order.amount_vnd),
        id = order.id,
        choose = words.choose,
    );
    html(HttpResponse::Ok(), words.lang, words.title, &body, words.note)
}

fn error_page(request: &HttpRequest, problem: &Problem) -> HttpResponse {
    let accept = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("json")) {
        return problem.error_response();
    }
    let title = match problem.code() {
        "bad_signature" => "Sai chữ ký <small>Bad signature</small>",
        "unknown_terminal" => "Website chưa đăng ký <small>Unknown terminal</small>",
        "order_expired" => "Đã hết hạn thanh toán <small>The order has expired</small>",
        "order_already_paid" | "order_settled" => {
            "Đơn hàng đã thanh toán <small>Already paid</small>"
        }
        "duplicate_ref" => "Mã đơn hàng bị trùng <small>Duplicate reference</small>",
        "order_unknown" => "Không tìm thấy đơn hàng <small>Unknown order</small>",
        _ => "Yêu cầu không hợp lệ <small>Invalid request</small>",
    };
    let body = format!(
        "<h1 class=\"error\">{title}</h1><p>{}</p><p class=\"code\">{}</p>",
        escape(problem.detail()),
        problem.code()
    );
    let response = HttpResponse::build(problem.status_code());
    html(response, "vi", "VNPAY sandbox", &body, VIETNAMESE.note)
}

fn html(
    mut response: actix_web::HttpResponseBuilder,
    lang: &str,
    title: &str,
    body: &str,
    note: &str,
) -> HttpResponse {
    let page = format!(
        "<!doctype html><html lang=\"{lang}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main>\
         <header><b>VN<i>PAY</i></b><span>SANDBOX</span></header>{body}\
         <footer>{note}</footer></main></body></html>"
    );
    response
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .body(page)
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// 1234567 as 1.234.567, the way Vietnam writes it.
fn group_thousands(amount: i64) -> String {
    let digits = amount.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && digits.len().saturating_sub(index) % 3 == 0 {
            grouped.push('.');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_grouped() {
        for (amount, text) in [(5, "5"), (999, "999"), (25_000, "25.000"), (1_234_567, "1.234.567")]
        {
            assert_eq!(group_thousands(amount), text);
        }
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escape("<a href='x'>&\""), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;");
    }
}
