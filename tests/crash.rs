//! `kill -9` of the server in the middle of business, fifty times: whatever a driver was told is
//! still true, nobody paid twice, and the audit finds nothing.
#![allow(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs
)]

#[path = "support/dev.rs"]
#[allow(dead_code, unreachable_pub)]
mod dev;

use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dev::{Dev, Var, ensure_sandbox, free_ports, kill, pids};
use serde_json::{Value, json};

const KILLS: usize = 50;
const DRIVERS: usize = 8;

/// How long one request is repeated under its key before the test gives up: a restart takes a
/// second or two, a loaded machine longer.
const PATIENCE: Duration = Duration::from_mins(3);

/// What was acknowledged to drivers, kept outside the product.
#[derive(Default)]
struct Journal {
    reservations: Mutex<Vec<(usize, String)>>,
    paid: Mutex<Vec<(usize, String)>>,
    refunds: Mutex<Vec<String>>,
}

struct Business {
    http: reqwest::Client,
    api: String,
    sandbox: String,
    finance: String,
    stop: AtomicBool,
    stays: AtomicUsize,
    journal: Journal,
}

/// A request as a phone on a bad network makes it: the same key again until an answer comes.
struct Call<'a> {
    method: reqwest::Method,
    url: String,
    token: &'a str,
    body: Option<Value>,
    key: Option<String>,
}

impl Business {
    async fn call(&self, call: Call<'_>) -> (u16, Value) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut request = self.http.request(call.method.clone(), &call.url);
            if !call.token.is_empty() {
                request = request.bearer_auth(call.token);
            }
            if let Some(body) = &call.body {
                request = request.json(body);
            }
            if let Some(key) = &call.key {
                request = request.header("idempotency-key", key);
            }
            if let Ok(response) = request.send().await {
                let status = response.status().as_u16();
                let text = response.text().await;
                // 409 request_in_progress and 503 say: again, with the same key.
                if let (Ok(text), true) = (text, status != 503) {
                    assert!(status < 500, "{} {}: {status} {text}", call.method, call.url);
                    return (status, serde_json::from_str(&text).unwrap_or(Value::Null));
                }
            }
            assert!(Instant::now() < deadline, "no answer from {}", call.url);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> (u16, Value) {
        let key = format!("{:032x}", rand::random::<u128>());
        let url = format!("{}{path}", self.api);
        let method = reqwest::Method::POST;
        self.call(Call { method, url, token, body: Some(body), key: Some(key) }).await
    }

    async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.api);
        self.call(Call { method: reqwest::Method::GET, url, token, body: None, key: None }).await
    }

    async fn sandbox(&self, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = if body.is_some() { reqwest::Method::POST } else { reqwest::Method::GET };
        let url = format!("{}{path}", self.sandbox);
        self.call(Call { method, url, token: "", body, key: None }).await
    }

    /// Logs a driver in and gives the token and a car.
    async fn log_in(&self, number: usize) -> (String, String) {
        let phone = format!("+8491000{number:04}");
        let (status, challenge) = self.post("/v1/auth/otp", "", json!({"phone": phone})).await;
        assert_eq!(status, 202, "{challenge}");
        let deadline = Instant::now() + PATIENCE;
        let code = loop {
            let path = format!("/sms?phone={}", phone.replace('+', "%2B"));
            let (_, messages) = self.sandbox(&path, None).await;
            let text = messages["items"][0]["text"].as_str().unwrap_or_default().to_owned();
            let digits: String = text.chars().filter(char::is_ascii_digit).take(6).collect();
            if digits.len() == 6 {
                break digits;
            }
            assert!(Instant::now() < deadline, "no code arrives");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let grant = json!({
            "grant_type": "otp", "challenge_id": challenge["challenge_id"], "code": code,
        });
        let (status, tokens) = self.post("/v1/auth/token", "", grant).await;
        assert_eq!(status, 200, "{tokens}");
        let token = tokens["access_token"].as_str().unwrap().to_owned();
        let car = json!({"plate": format!("30A-{:05}", 10_000 + number), "vehicle_class": "car"});
        let (status, vehicle) = self.post("/v1/me/vehicles", &token, car).await;
        assert_eq!(status, 201, "{vehicle}");
        (token, vehicle["id"].as_str().unwrap().to_owned())
    }

    /// One driver's day: hold, park, stop, pay, sometimes cancel, sometimes get money back.
    async fn drive(self: Arc<Self>, number: usize, token: String, vehicle: String, lot: String) {
        while !self.stop.load(Ordering::SeqCst) {
            let wish = json!({"lot_id": lot, "vehicle_id": vehicle});
            let (status, hold) = self.post("/v1/reservations", &token, wish).await;
            assert_eq!(status, 201, "{hold}");
            let reservation = hold["id"].as_str().unwrap().to_owned();
            self.journal.reservations.lock().unwrap().push((number, reservation.clone()));
            if rand::random_bool(0.2) {
                let path = format!("/v1/reservations/{reservation}/cancel");
                let (status, gone) = self.post(&path, &token, json!({})).await;
                assert_eq!(status, 200, "{gone}");
                continue;
            }
            let arrive = json!({"reservation_id": reservation});
            let (status, session) = self.post("/v1/parking-sessions", &token, arrive).await;
            assert_eq!(status, 201, "{session}");
            let session = session["id"].as_str().unwrap().to_owned();
            let path = format!("/v1/parking-sessions/{session}/stop");
            let (status, stopped) = self.post(&path, &token, json!({})).await;
            assert_eq!(status, 200, "{stopped}");
            assert!(stopped["amount_due_vnd"].as_i64().unwrap() > 0, "{stopped}");
            self.pay(number, &token, &session).await;
            self.stays.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn pay(&self, number: usize, token: &str, session: &str) {
        let wish = json!({
            "parking_session_id": session, "provider": "vnpay",
            "return_url": "http://127.0.0.1/done",
        });
        let (status, payment) = self.post("/v1/payments", token, wish).await;
        assert_eq!(status, 201, "{payment}");
        let id = payment["id"].as_str().unwrap().to_owned();
        let name = payment["merchant_ref"].as_str().unwrap();
        let path = format!("/control/payments/vnpay/{name}");
        let deadline = Instant::now() + PATIENCE;
        // The sandbox asks the server where the pay page is, which may be away just now.
        while self.sandbox(&path, Some(json!({"outcome": "paid"}))).await.0 != 200 {
            assert!(Instant::now() < deadline, "the bank page cannot be reached");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        loop {
            let (status, payment) = self.get(&format!("/v1/payments/{id}"), token).await;
            assert_eq!(status, 200, "{payment}");
            if payment["status"] == "succeeded" {
                break;
            }
            assert_eq!(payment["status"], "pending", "{payment}");
            assert!(Instant::now() < deadline, "the payment stays pending: {payment}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.journal.paid.lock().unwrap().push((number, id.clone()));
        if rand::random_bool(0.3) {
            let wish = json!({"amount_vnd": 5_000, "reason": "complaint"});
            let path = format!("/v1/payments/{id}/refunds");
            let (status, refund) = self.post(&path, &self.finance, wish).await;
            assert!(status == 201 || status == 202, "{status} {refund}");
            self.journal.refunds.lock().unwrap().push(refund["id"].as_str().unwrap().to_owned());
        }
    }
}

async fn finance_token(http: &reqwest::Client, endpoints: &HashMap<String, String>) -> String {
    let grant = json!({
        "grant_type": "password",
        "username": endpoints["finance_username"],
        "password": endpoints["finance_password"],
    });
    let url = format!("{}/v1/auth/token", endpoints["api"]);
    let answer: Value = http.post(url).json(&grant).send().await.unwrap().json().await.unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// Kills the server without warning; the supervisor starts it again.
async fn kill_server(var: &Var) {
    let pid = |var: &Var| pids(var).into_iter().find(|(name, _)| name == "server-1");
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some((_, pid)) = pid(var) {
            kill("KILL", pid);
            return;
        }
        assert!(Instant::now() < deadline, "the server never came back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn run_audit(var: &Var) -> (bool, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_iparking"))
        .arg("audit")
        .env_remove("DATABASE_URL")
        .env_remove("REDIS_URL")
        .env("IPARKING_VAR_DIR", &var.0)
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    (done.status.success(), text)
}

/// Lots near Hoàn Kiếm lake where one pays when leaving and all drivers find room at once.
async fn usable_lots(business: &Business) -> Vec<String> {
    let path = "/v1/lots/search?lat=21.0287&lng=105.8524&radius_m=3000&vehicle_class=car&limit=50";
    let (status, found) = business.get(path, "").await;
    assert_eq!(status, 200, "{found}");
    let mut usable = Vec::new();
    for lot in found["items"].as_array().unwrap() {
        let roomy = lot["free_spaces"].as_i64() >= Some(i64::try_from(DRIVERS).unwrap());
        let id = lot["id"].as_str().unwrap().to_owned();
        let (_, detail) = business.get(&format!("/v1/lots/{id}"), "").await;
        if roomy && detail["sale_mode"] == "pay_on_exit" && lot["open_now"] == true {
            usable.push(id);
        }
    }
    assert!(!usable.is_empty(), "no lot to park at");
    usable
}

/// Whatever was acknowledged is there, and what was paid stays paid.
async fn check_journal(business: &Business, tokens: &[String]) {
    let reservations = std::mem::take(&mut *business.journal.reservations.lock().unwrap());
    for (driver, id) in reservations {
        let (status, _) = business.get(&format!("/v1/reservations/{id}"), &tokens[driver]).await;
        assert_eq!(status, 200, "a hold that was acknowledged is gone");
    }
    let deadline = Instant::now() + PATIENCE;
    let refunds = std::mem::take(&mut *business.journal.refunds.lock().unwrap());
    for id in refunds {
        loop {
            let (status, refund) =
                business.get(&format!("/v1/refunds/{id}"), &business.finance).await;
            assert_eq!(status, 200, "a refund that was acknowledged is gone");
            if refund["status"] == "succeeded" {
                break;
            }
            assert!(Instant::now() < deadline, "the refund does not end: {refund}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let paid = std::mem::take(&mut *business.journal.paid.lock().unwrap());
    for (driver, id) in paid {
        let (_, payment) = business.get(&format!("/v1/payments/{id}"), &tokens[driver]).await;
        let status = payment["status"].as_str().unwrap_or_default();
        assert!(matches!(status, "succeeded" | "partially_refunded"), "{payment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_in_the_middle_of_business_lose_nothing_and_double_nothing() {
    ensure_sandbox();
    let var = Var::new();
    let settings = [("IPARKING_RATE_LIMITS", "off")];
    let mut dev = Dev::start_with(&var, free_ports(), 1, &settings);
    let endpoints = dev.wait_until_ready(&var);
    let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let finance = finance_token(&http, &endpoints).await;
    let business = Arc::new(Business {
        http,
        api: endpoints["api"].clone(),
        sandbox: endpoints["sandbox"].clone(),
        finance,
        stop: AtomicBool::new(false),
        stays: AtomicUsize::new(0),
        journal: Journal::default(),
    });
    let lots = usable_lots(&business).await;
    let mut drivers = Vec::new();
    for number in 0..DRIVERS {
        let (token, vehicle) = business.log_in(number).await;
        let lot = lots[number % lots.len().min(3)].clone();
        let day = Arc::clone(&business).drive(number, token.clone(), vehicle, lot);
        drivers.push((token, tokio::spawn(day)));
    }
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(rand::random_range(50..700))).await;
        kill_server(&var).await;
    }
    business.stop.store(true, Ordering::SeqCst);
    let mut tokens = Vec::new();
    for (token, driver) in drivers {
        driver.await.expect("a driver's day goes on");
        tokens.push(token);
    }
    assert!(business.stays.load(Ordering::SeqCst) >= DRIVERS, "hardly anything happened");
    check_journal(&business, &tokens).await;
    // The last jobs may still be at work.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (clean, text) = run_audit(&var);
        if clean {
            break;
        }
        assert!(Instant::now() < deadline, "the audit finds breaks:\n{text}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
