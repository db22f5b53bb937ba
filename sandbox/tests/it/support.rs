//! A sandbox process, a merchant, and VNPAY's signing written once more for the tests.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp, tz};
use serde_json::{Value, json};
use sha2::Sha512;

pub const TMN_CODE: &str = "HNPARK01";
pub const SECRET: &str = "-TESTVNPAYHASHSECRETHANOIPARKING1";

pub type Fields = BTreeMap<String, String>;

/// A running sandbox; killed hard when it goes.
pub struct Sandbox {
    child: Child,
    pub url: String,
    pub books: PathBuf,
    pub http: reqwest::Client,
    ipn_url: String,
    orders_url: String,
}

impl Sandbox {
    pub fn start(merchant: &Merchant) -> Self {
        let name = format!("books-{:016x}.jsonl", rand::random::<u64>());
        let books = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let ipn_url = format!("{}/ipn?shop=1", merchant.url);
        let orders_url = format!("{}/orders/{{merchant_ref}}", merchant.url);
        let (child, url) = spawn(&books, &ipn_url, &orders_url);
        Self { child, url, books, http: client(), ipn_url, orders_url }
    }

    /// Kills the process without warning and starts it on the same books.
    pub fn crash_and_restart(&mut self) {
        self.stop();
        (self.child, self.url) = spawn(&self.books, &self.ipn_url, &self.orders_url);
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        answer(self.http.post(format!("{}{path}", self.url)).json(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        answer(self.http.put(format!("{}{path}", self.url)).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> (u16, Value) {
        answer(self.http.delete(format!("{}{path}", self.url))).await
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.http.get(format!("{}{path}", self.url))).await
    }

    /// Opens the order's pay link and chooses there, as a browser does; returns where to.
    pub async fn pay_in_browser(&self, order: &Fields, outcome: &str) -> String {
        let page = self.http.get(self.pay_url(order)).send().await.unwrap();
        assert_eq!(page.status(), 200);
        let page = page.text().await.unwrap();
        let action = page.split("action=\"").nth(1).unwrap().split('"').next().unwrap();
        let form = [("outcome", outcome)];
        let chosen =
            self.http.post(format!("{}{action}", self.url)).form(&form).send().await.unwrap();
        assert_eq!(chosen.status(), 303);
        chosen.headers()["location"].to_str().unwrap().to_owned()
    }

    pub fn pay_url(&self, order: &Fields) -> String {
        format!("{}/paymentv2/vpcpay.html?{}", self.url, signed_query(order))
    }

    pub async fn choose(&self, order: &Fields, outcome: &str) -> (u16, Value) {
        let path = format!("/control/payments/vnpay/{}", order["vnp_TxnRef"]);
        self.post(&path, json!({ "outcome": outcome, "pay_url": self.pay_url(order) })).await
    }

    /// `(kind, amount, state)` of every movement in the books.
    pub async fn book_entries(&self) -> Vec<(String, i64, String)> {
        let (status, books) = self.get("/control/books/vnpay").await;
        assert_eq!(status, 200);
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        let entry =
            |i: &Value| (text(&i["kind"]), i["amount_vnd"].as_i64().unwrap(), text(&i["state"]));
        books["items"].as_array().unwrap().iter().map(entry).collect()
    }

    /// Waits until so many notifications have ended in that way.
    pub async fn wait_for_notified(&self, result: &str, count: usize) {
        let wanted = format!("\"result\":\"{result}\"");
        wait_until(|| {
            std::fs::read_to_string(&self.books).unwrap().matches(&wanted).count() >= count
        })
        .await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop();
        std::fs::remove_file(&self.books).unwrap();
    }
}

fn spawn(books: &PathBuf, ipn_url: &str, orders_url: &str) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_iparking-sandbox"))
        .args(["--listen", "127.0.0.1:0", "--ipn-retry-ms", "50", "--refund-ms", "0"])
        .args(["--vnpay-tmn-code", TMN_CODE, "--vnpay-secret", SECRET])
        .args(["--vnpay-ipn-url", ipn_url, "--orders-url", orders_url, "--books"])
        .arg(books)
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening=").unwrap().to_owned();
    (child, url)
}

#[expect(clippy::disallowed_methods, reason = "tests have no outbound guard")]
fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(20))
        .tls_certs_only([])
        .build()
        .unwrap()
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// A merchant: answers IPNs by the sheet, or as scripted, and knows some orders.
#[derive(Clone)]
pub struct Merchant {
    pub url: String,
    state: web::Data<MerchantState>,
}

#[derive(Default)]
struct MerchantState {
    ipns: Mutex<Vec<Fields>>,
    script: Mutex<VecDeque<&'static str>>,
    orders: Mutex<BTreeMap<String, String>>,
}

impl Merchant {
    pub fn start() -> Self {
        let state = web::Data::<MerchantState>::default();
        let shared = state.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(shared.clone())
                .route("/ipn", web::get().to(ipn))
                .route("/orders/{merchant_ref}", web::get().to(order))
        })
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Self { url, state }
    }

    /// Scripts the next answers; `00` or `97` by the signature after that.
    pub fn will_answer(&self, codes: &[&'static str]) {
        self.state.script.lock().unwrap().extend(codes);
    }

    pub fn knows(&self, merchant_ref: &str, pay_url: &str) {
        self.state.orders.lock().unwrap().insert(merchant_ref.to_owned(), pay_url.to_owned());
    }

    pub fn ipns(&self) -> Vec<Fields> {
        self.state.ipns.lock().unwrap().clone()
    }

    pub async fn wait_for_ipns(&self, count: usize) -> Vec<Fields> {
        wait_until(|| self.ipns().len() >= count).await;
        self.ipns()
    }
}

async fn ipn(state: web::Data<MerchantState>, query: web::Query<Fields>) -> HttpResponse {
    let fields = query.into_inner();
    let by_signature = if is_signed(&fields) { "00" } else { "97" };
    let code = state.script.lock().unwrap().pop_front().unwrap_or(by_signature);
    state.ipns.lock().unwrap().push(fields);
    HttpResponse::Ok().json(json!({ "RspCode": code, "Message": "" }))
}

async fn order(state: web::Data<MerchantState>, path: web::Path<String>) -> HttpResponse {
    match state.orders.lock().unwrap().get(path.as_str()) {
        Some(url) => HttpResponse::Ok().json(json!({ "redirect_url": url })),
        None => HttpResponse::NotFound().finish(),
    }
}

pub async fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// `yyyyMMddHHmmss` in Hanoi, so many minutes from now.
pub fn hanoi(minutes: i64) -> String {
    #[expect(clippy::disallowed_methods, reason = "the sandbox runs on real time")]
    let at = Timestamp::now() + SignedDuration::from_mins(minutes);
    at.to_zoned(tz::offset(7).to_time_zone()).strftime("%Y%m%d%H%M%S").to_string()
}

pub fn order_for(merchant_ref: &str, amount_vnd: i64) -> Fields {
    fields(&[
        ("vnp_Amount", &format!("{amount_vnd}00")),
        ("vnp_Command", "pay"),
        ("vnp_CreateDate", &hanoi(0)),
        ("vnp_CurrCode", "VND"),
        ("vnp_ExpireDate", &hanoi(15)),
        ("vnp_IpAddr", "127.0.0.1"),
        ("vnp_Locale", "vn"),
        ("vnp_OrderInfo", "Phi do xe 30A-123.45"),
        ("vnp_OrderType", "other"),
        ("vnp_ReturnUrl", "http://127.0.0.1/return?lang=vi"),
        ("vnp_TmnCode", TMN_CODE),
        ("vnp_TxnRef", merchant_ref),
        ("vnp_Version", "2.1.0"),
    ])
}

pub fn fields(pairs: &[(&str, &str)]) -> Fields {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

pub fn hmac(text: &str) -> String {
    let mut mac = Hmac::<Sha512>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

pub fn signed_query(fields: &Fields) -> String {
    let text = query_text(fields);
    format!("{text}&vnp_SecureHash={}", hmac(&text))
}

fn query_text(fields: &Fields) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Checks a notification or a return as a merchant should.
pub fn is_signed(received: &Fields) -> bool {
    let mut fields = received.clone();
    let hash = fields.remove("vnp_SecureHash").unwrap_or_default();
    fields.retain(|name, _| name.starts_with("vnp_"));
    hash == hmac(&query_text(&fields))
}

pub fn url_fields(url: &str) -> Fields {
    let query = url.split_once('?').unwrap().1;
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}
