use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Merchant, Sandbox, order_for};

#[actix_web::test]
async fn messages_are_read_back_newest_first_however_the_plus_is_written() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    for (to, text) in [("+84912345678", "one"), ("+84987654321", "other"), ("+84912345678", "two")]
    {
        assert_eq!(sandbox.post("/sms", json!({ "to": to, "text": text })).await.0, 202);
    }
    for phone in ["+84912345678", "%2B84912345678", "84912345678"] {
        let (status, list) = sandbox.get(&format!("/sms?phone={phone}")).await;
        assert_eq!(status, 200);
        let items = list["items"].as_array().unwrap();
        let texts: Vec<_> = items.iter().map(|i| i["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["two", "one"], "{phone}");
        assert_eq!(items[0]["to"], "+84912345678");
        assert!(items[0]["sent_at"].as_str().unwrap().ends_with('Z'));
    }
    for bad in [json!({}), json!({ "to": "0912", "text": "x" }), json!({ "to": "+84912345678" })] {
        assert_eq!(sandbox.post("/sms", bad).await.0, 400);
    }
}

#[actix_web::test]
async fn every_bad_request_gets_a_problem_and_never_5xx() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    let url = |path: &str| format!("{}{path}", sandbox.url);
    let pay = "/control/payments/vnpay/X";
    let huge = "x".repeat(70_000);
    let requests = [
        (sandbox.http.get(url("/nowhere")), 404),
        (sandbox.http.delete(url("/sms")), 405),
        (sandbox.http.get(url("/sms?limit=x")), 400),
        (sandbox.http.get(url(pay)), 405),
        (sandbox.http.post(url(pay)).body("{"), 400),
        (sandbox.http.post(url(pay)).body(r#"{"outcome":"maybe"}"#), 400),
        (sandbox.http.post(url(pay)).body(r#"{"outcome":"paid","pay_url":"::"}"#), 400),
        (sandbox.http.post(url(pay)).body(r#"{"outcome":"paid"}"#), 404),
        (sandbox.http.post(url("/control/payments/momo/X")).body("{}"), 404),
        (sandbox.http.post(url("/control/payments/vnpay/%ff%00")).body("\u{0}"), 400),
        (sandbox.http.post(url("/sms")).body(huge.clone()), 413),
        (sandbox.http.post(url("/merchant_webapi/api/transaction")).body(huge), 413),
        (sandbox.http.get(url("/control/books/nobody")), 404),
        (sandbox.http.get(url("/control/books/vnpay?all=maybe")), 400),
        (sandbox.http.put(url("/control/config/vnpay")).body(r#"{"ipn_url":"ftp://x"}"#), 400),
        (sandbox.http.put(url("/control/config/vnpay")).body(r#"{"orders_url":"x"}"#), 400),
        (sandbox.http.put(url("/control/clock")).body(r#"{"now":"soon"}"#), 400),
        (sandbox.http.post(url("/paymentv2/pay/x")).body("a=b"), 415),
        (sandbox.http.post(url("/paymentv2/pay/x")).form(&[("a", "b")]), 400),
    ];
    for (request, status) in requests {
        let response = request.send().await.unwrap();
        let path = response.url().path().to_owned();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        let problem: serde_json::Value = response.json().await.unwrap();
        assert_eq!(problem["status"], status, "{path}");
        assert!(problem["code"].is_string() && problem["detail"].is_string(), "{path}");
    }
    assert_eq!(sandbox.get("/healthz").await.0, 200);
}

#[actix_web::test]
async fn an_ipn_waits_until_its_address_is_known() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    let config = "/control/config/vnpay";
    assert_eq!(sandbox.put(config, json!({ "ipn_url": "" })).await.0, 200);
    sandbox.choose(&order_for("LATER-1", 1_000), "paid").await;
    let ipn_url = format!("{}/ipn", merchant.url);
    let (status, answer) = sandbox.put(config, json!({ "ipn_url": ipn_url })).await;
    assert_eq!((status, answer["ipn_url"].as_str()), (200, Some(ipn_url.as_str())));
    merchant.wait_for_ipns(1).await;
}

#[test]
fn it_ends_when_its_parent_lets_go_of_its_standard_input() {
    let name = format!("orphan-{:016x}.jsonl", rand::random::<u64>());
    let books = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut child = Command::new(env!("CARGO_BIN_EXE_iparking-sandbox"))
        .args(["--until-stdin-closes", "--vnpay-tmn-code", "X", "--vnpay-secret", "x", "--books"])
        .arg(&books)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    std::fs::remove_file(books).unwrap();
}

#[test]
fn other_addresses_than_loopback_are_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_iparking-sandbox"))
        .args(["--listen", "0.0.0.0:0", "--books", "/nonexistent/books", "--vnpay-tmn-code", "X"])
        .args(["--vnpay-secret", "-x"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("loopback only"));
}
