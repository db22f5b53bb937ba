//! The switchboard for tests: act as the customer, cause faults, look into the books.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use jiff::Timestamp;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::accounts::Account;
use crate::app::Sandbox;
use crate::books::BooksError;
use crate::faults::Settings;
use crate::notify;
use crate::problem::{Problem, parse_json};
use crate::provider::{Outcome, Provider};
use crate::vnpay;

/// A server that is just starting is asked again for so long.
const ORDER_TRIES_MAX: u32 = 10;
const ORDER_RETRY: Duration = Duration::from_millis(300);
const ORDER_TIMEOUT: Duration = Duration::from_secs(5);

/// Routes below `/control`.
pub fn configure(config: &mut web::ServiceConfig) {
    let faults = web::resource("/control/faults/{provider}");
    config
        .service(web::resource("/control/payments/{provider}/{merchant_ref}").post(choose))
        .service(faults.get(get_faults).put(put_faults).delete(delete_faults))
        .service(web::resource("/control/books/{provider}").get(books))
        .service(web::resource("/control/config/{provider}").put(put_config))
        .service(web::resource("/control/clock").put(put_clock).delete(delete_clock));
}

fn provider(name: &str) -> Result<Provider, Problem> {
    Provider::parse(name).ok_or_else(|| Problem::not_found("unknown_provider", "unknown provider"))
}

/// A refusal of the books as a problem.
pub fn refused(error: &BooksError) -> Problem {
    let detail = error.to_string();
    match error {
        BooksError::DuplicateRef => Problem::conflict("duplicate_ref", detail),
        BooksError::Settled(_) => Problem::conflict("order_settled", detail),
        BooksError::Unknown => Problem::not_found("order_unknown", detail),
        BooksError::NotPaid | BooksError::NothingLeft | BooksError::TooMuch { .. } => {
            Problem::conflict("refund_refused", detail)
        }
        BooksError::Journal(cause) => {
            tracing::error!(error = %format!("{cause:#}"), "cannot write the books");
            std::process::exit(1)
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    outcome: Outcome,
    pay_url: Option<String>,
}

/// `POST /control/payments/{provider}/{merchant_ref}`: what the customer does at the bank.
async fn choose(
    app: web::Data<Sandbox>,
    path: web::Path<(String, String)>,
    body: web::Bytes,
) -> Result<HttpResponse, Problem> {
    let (name, merchant_ref) = path.into_inner();
    let provider = provider(&name)?;
    let Choice { outcome, pay_url } = parse_json(&body)?;
    let account = match app.books.find(provider, &merchant_ref).pop() {
        Some(account) => account,
        None => open(&app, provider, &merchant_ref, pay_url).await?,
    };
    let (account, gateway_no) = apply(&app, &account.order.id, outcome).await?;
    Ok(HttpResponse::Ok().json(json!({
        "merchant_ref": account.order.merchant_ref,
        "outcome": outcome,
        "state": account.state(),
        "amount_vnd": account.order.amount_vnd,
        "gateway_transaction_no": gateway_no.to_string(),
    })))
}

/// Applies a choice, from here or from a pay page, and starts telling the merchant.
pub async fn apply(
    app: &web::Data<Sandbox>,
    order_id: &str,
    outcome: Outcome,
) -> Result<(Account, u64), Problem> {
    let decided = app.books.decide(order_id, outcome, app.clock.now());
    let (account, fresh) = decided.map_err(|error| refused(&error))?;
    if fresh {
        tracing::info!(
            merchant_ref = %account.order.merchant_ref,
            outcome = outcome.as_str(),
            "order.decided"
        );
        notify::start(app.clone(), account.clone());
    }
    app.books.synced().await;
    let gateway_no = account.decision.as_ref().map_or(0, |d| d.gateway_no);
    Ok((account, gateway_no))
}

/// Opens an order that no browser has opened, with the same checks.
async fn open(
    app: &Sandbox,
    provider: Provider,
    merchant_ref: &str,
    pay_url: Option<String>,
) -> Result<Account, Problem> {
    let pay_url = match pay_url {
        Some(pay_url) => pay_url,
        None => ask_for_pay_url(app, provider, merchant_ref).await?,
    };
    let url = Url::parse(&pay_url)
        .map_err(|error| Problem::bad_request("bad_pay_url", error.to_string()))?;
    let query = url.query().unwrap_or_default();
    let account = match provider {
        Provider::Vnpay => vnpay::order::open(app, query)?,
    };
    if account.order.merchant_ref != merchant_ref {
        return Err(Problem::conflict("wrong_pay_url", "the pay link is another order's"));
    }
    Ok(account)
}

#[derive(Deserialize)]
struct OrderAnswer {
    redirect_url: String,
}

async fn ask_for_pay_url(
    app: &Sandbox,
    provider: Provider,
    merchant_ref: &str,
) -> Result<String, Problem> {
    let templates = match provider {
        Provider::Vnpay => app.vnpay_config().orders_urls,
    };
    let encoded: String = form_urlencoded::byte_serialize(merchant_ref.as_bytes()).collect();
    for attempt in 0..ORDER_TRIES_MAX {
        let mut unreachable = false;
        for template in &templates {
            let url = template.replace("{merchant_ref}", &encoded);
            match ask_one(app, &url).await {
                Ok(Some(pay_url)) => return Ok(pay_url),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, attempt, "a merchant's server does not answer");
                    unreachable = true;
                }
            }
        }
        if !unreachable {
            break;
        }
        tokio::time::sleep(ORDER_RETRY).await;
    }
    let detail = "no pay link of that order was opened, and no merchant's server knows it";
    Err(Problem::not_found("order_unknown", detail))
}

async fn ask_one(app: &Sandbox, url: &str) -> reqwest::Result<Option<String>> {
    let response = app.http.get(url).timeout(ORDER_TIMEOUT).send().await?;
    if response.status().is_redirection() {
        let location = response.headers().get("location").and_then(|v| v.to_str().ok());
        return Ok(location.map(ToOwned::to_owned));
    }
    if response.status() != StatusCode::OK.as_u16() {
        return Ok(None);
    }
    Ok(Some(response.json::<OrderAnswer>().await?.redirect_url))
}

async fn put_faults(
    app: web::Data<Sandbox>,
    path: web::Path<String>,
    body: web::Bytes,
) -> Result<HttpResponse, Problem> {
    let provider = provider(&path)?;
    let settings = app.faults.set(provider, parse_json::<Settings>(&body)?)?;
    Ok(HttpResponse::Ok().json(settings))
}

async fn get_faults(
    app: web::Data<Sandbox>,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(app.faults.get(provider(&path)?)))
}

async fn delete_faults(
    app: web::Data<Sandbox>,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    app.faults.reset(provider(&path)?);
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Deserialize)]
struct BooksQuery {
    #[serde(default)]
    all: bool,
}

/// One movement of money (or, with `?all=true`, one order without any).
#[derive(Serialize)]
struct BooksItem {
    merchant_ref: String,
    kind: &'static str,
    amount_vnd: i64,
    state: &'static str,
    at: Timestamp,
}

/// `GET /control/books/{provider}`
async fn books(
    app: web::Data<Sandbox>,
    path: web::Path<String>,
    query: web::Query<BooksQuery>,
) -> Result<HttpResponse, Problem> {
    let accounts = app.books.all(provider(&path)?);
    app.books.synced().await;
    let now = app.clock.now();
    let items: Vec<_> = accounts.iter().flat_map(|a| movements(a, query.all, now)).collect();
    Ok(HttpResponse::Ok().json(json!({ "items": items })))
}

fn movements(account: &Account, all: bool, now: Timestamp) -> Vec<BooksItem> {
    let merchant_ref = &account.order.merchant_ref;
    let state = account.state();
    let payment = BooksItem {
        merchant_ref: merchant_ref.clone(),
        kind: "payment",
        amount_vnd: account.order.amount_vnd,
        state: state.as_str(),
        at: account.decision.as_ref().map_or(account.order.opened_at, |d| d.at),
    };
    let refunds = account.refunds.iter().map(|refund| BooksItem {
        merchant_ref: merchant_ref.clone(),
        kind: "refund",
        amount_vnd: refund.amount_vnd,
        state: refund.state(now).as_str(),
        at: refund.at,
    });
    let payment = (all || state.money_moved()).then_some(payment);
    payment.into_iter().chain(refunds).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigBody {
    ipn_url: Option<String>,
    orders_url: Option<String>,
    ipn_retry_ms: Option<u64>,
    ipn_max_calls: Option<u32>,
    refund_ms: Option<u64>,
}

/// `PUT /control/config/{provider}`: what is left out stays as it is.
async fn put_config(
    app: web::Data<Sandbox>,
    path: web::Path<String>,
    body: web::Bytes,
) -> Result<HttpResponse, Problem> {
    let Provider::Vnpay = provider(&path)?;
    let body: ConfigBody = parse_json(&body)?;
    let invalid = |error: String| Problem::bad_request("bad_config", error);
    let ipn_urls = body.ipn_url.as_deref().map(parse_urls).transpose().map_err(invalid)?;
    let orders_urls = body.orders_url.as_deref().map(parse_templates).transpose();
    let orders_urls = orders_urls.map_err(invalid)?;
    let mut answer = json!({});
    app.vnpay.send_modify(|config| {
        if let Some(urls) = ipn_urls {
            config.ipn_urls = urls;
        }
        if let Some(templates) = orders_urls {
            config.orders_urls = templates;
        }
        if let Some(ms) = body.ipn_retry_ms {
            config.ipn_retry = Duration::from_millis(ms);
        }
        if let Some(calls) = body.ipn_max_calls {
            config.ipn_max_calls = calls;
        }
        if let Some(ms) = body.refund_ms {
            config.refund_delay = Duration::from_millis(ms);
        }
        answer = json!({
            "ipn_url": config.ipn_urls.iter().map(Url::as_str).collect::<Vec<_>>().join(","),
            "orders_url": config.orders_urls.join(","),
            "ipn_retry_ms": millis(config.ipn_retry),
            "ipn_max_calls": config.ipn_max_calls,
            "refund_ms": millis(config.refund_delay),
        });
    });
    Ok(HttpResponse::Ok().json(answer))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads a comma-separated list of http addresses; an empty text is an empty list.
pub fn parse_urls(text: &str) -> Result<Vec<Url>, String> {
    let parse = |part: &str| {
        let url = Url::parse(part).map_err(|error| format!("`{part}`: {error}"))?;
        if url.scheme() != "http" || url.host().is_none() {
            return Err(format!("`{part}`: must be an http address"));
        }
        Ok(url)
    };
    parts(text).map(parse).collect()
}

/// Reads a comma-separated list of address templates that hold `{merchant_ref}`.
pub fn parse_templates(text: &str) -> Result<Vec<String>, String> {
    let parse = |part: &str| {
        if !part.contains("{merchant_ref}") {
            return Err(format!("`{part}`: must contain {{merchant_ref}}"));
        }
        parse_urls(&part.replace("{merchant_ref}", "x"))?;
        Ok(part.to_owned())
    };
    parts(text).map(parse).collect()
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockBody {
    now: Timestamp,
}

/// `PUT /control/clock`: time goes on from there.
async fn put_clock(app: web::Data<Sandbox>, body: web::Bytes) -> Result<HttpResponse, Problem> {
    let body: ClockBody = parse_json(&body)?;
    app.clock.set(body.now);
    Ok(HttpResponse::Ok().json(json!({ "now": app.clock.now() })))
}

async fn delete_clock(app: web::Data<Sandbox>) -> HttpResponse {
    app.clock.reset();
    HttpResponse::NoContent().finish()
}
