use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::support::{Fields, Merchant, Sandbox, TMN_CODE, fields, hanoi, hmac, order_for};

const PATH: &str = "/merchant_webapi/api/transaction";
static NEXT: AtomicU64 = AtomicU64::new(1);

fn request_id() -> String {
    format!("r{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn refund(order: &Fields, kind: &str, amount_vnd: i64) -> Fields {
    fields(&[
        ("vnp_RequestId", &request_id()),
        ("vnp_Version", "2.1.0"),
        ("vnp_Command", "refund"),
        ("vnp_TmnCode", TMN_CODE),
        ("vnp_TransactionType", kind),
        ("vnp_TxnRef", &order["vnp_TxnRef"]),
        ("vnp_Amount", &format!("{amount_vnd}00")),
        ("vnp_TransactionNo", ""),
        ("vnp_TransactionDate", &order["vnp_CreateDate"]),
        ("vnp_CreateBy", "ketoan01"),
        ("vnp_CreateDate", &hanoi(0)),
        ("vnp_IpAddr", "127.0.0.1"),
        ("vnp_OrderInfo", "Hoan tien"),
    ])
}

fn query(order: &Fields) -> Fields {
    fields(&[
        ("vnp_RequestId", &request_id()),
        ("vnp_Version", "2.1.0"),
        ("vnp_Command", "querydr"),
        ("vnp_TmnCode", TMN_CODE),
        ("vnp_TxnRef", &order["vnp_TxnRef"]),
        ("vnp_TransactionDate", &order["vnp_CreateDate"]),
        ("vnp_CreateDate", &hanoi(0)),
        ("vnp_IpAddr", "127.0.0.1"),
        ("vnp_OrderInfo", "Truy van"),
    ])
}

fn signed(request: &Fields) -> Value {
    let refund = "RequestId Version Command TmnCode TransactionType TxnRef Amount TransactionNo \
        TransactionDate CreateBy CreateDate IpAddr OrderInfo";
    let query = "RequestId Version Command TmnCode TxnRef TransactionDate CreateDate IpAddr \
        OrderInfo";
    let order = if request["vnp_Command"] == "refund" { refund } else { query };
    let mut body = json!(request);
    body["vnp_SecureHash"] = hmac(&joined(&body, order)).into();
    body
}

fn joined(body: &Value, order: &str) -> String {
    let value = |name: &str| body[format!("vnp_{name}")].as_str().unwrap_or("").to_owned();
    order.split_whitespace().map(value).collect::<Vec<_>>().join("|")
}

/// Sends a request, checks the answer's signature, and gives its code and body.
async fn send(sandbox: &Sandbox, body: Value) -> (String, Value) {
    let (status, answer) = sandbox.post(PATH, body).await;
    assert_eq!(status, 200);
    let mut order =
        "ResponseId Command ResponseCode Message TmnCode TxnRef Amount BankCode PayDate \
        TransactionNo TransactionType TransactionStatus OrderInfo"
            .to_owned();
    if answer["vnp_Command"] != "refund" {
        order.push_str(" PromotionCode PromotionAmount");
    }
    assert_eq!(answer["vnp_SecureHash"], hmac(&joined(&answer, &order)), "{answer}");
    (answer["vnp_ResponseCode"].as_str().unwrap().to_owned(), answer)
}

async fn paid_order(sandbox: &Sandbox, merchant_ref: &str, amount_vnd: i64) -> Fields {
    let order = order_for(merchant_ref, amount_vnd);
    assert_eq!(sandbox.choose(&order, "paid").await.0, 200);
    order
}

#[actix_web::test]
async fn querydr_tells_where_a_payment_stands() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    let order = order_for("Q-1", 25_000);
    assert_eq!(send(&sandbox, signed(&query(&order))).await.0, "91");
    sandbox.http.get(sandbox.pay_url(&order)).send().await.unwrap();
    let (code, open) = send(&sandbox, signed(&query(&order))).await;
    assert_eq!((code.as_str(), open["vnp_TransactionStatus"].as_str()), ("00", Some("01")));
    for (outcome, status) in [
        ("cancelled", "02"),
        ("insufficient_funds", "02"),
        ("suspected_fraud", "07"),
        ("paid", "00"),
    ] {
        sandbox.choose(&order, outcome).await;
        let (code, answer) = send(&sandbox, signed(&query(&order))).await;
        assert_eq!(code, "00");
        assert_eq!(answer["vnp_TransactionStatus"], status, "{outcome}");
        assert_eq!(answer["vnp_TransactionType"], "01");
        assert_eq!(answer["vnp_Amount"], "2500000");
        assert_eq!(answer["vnp_OrderInfo"], order["vnp_OrderInfo"]);
    }
    let mut other_day = order.clone();
    other_day.insert("vnp_CreateDate".to_owned(), "20200101000000".to_owned());
    assert_eq!(send(&sandbox, signed(&query(&other_day))).await.0, "91");
}

#[actix_web::test]
async fn partial_refunds_never_exceed_the_capture() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    let order = paid_order(&sandbox, "R-1", 25_000).await;

    let (code, answer) = send(&sandbox, signed(&refund(&order, "03", 10_000))).await;
    assert_eq!((code.as_str(), answer["vnp_TransactionStatus"].as_str()), ("00", Some("05")));
    assert_eq!(send(&sandbox, signed(&refund(&order, "03", 15_001))).await.0, "99");
    assert_eq!(send(&sandbox, signed(&refund(&order, "02", 15_000))).await.0, "03");
    assert_eq!(send(&sandbox, signed(&refund(&order, "03", 15_000))).await.0, "00");
    assert_eq!(send(&sandbox, signed(&refund(&order, "03", 1))).await.0, "94");

    let (_, last) = send(&sandbox, signed(&query(&order))).await;
    assert_eq!(last["vnp_TransactionType"], "03");
    assert_eq!(last["vnp_TransactionStatus"], "06");
    assert_eq!(last["vnp_Amount"], "1500000");
    let mut first = query(&order);
    first.insert("vnp_TransactionNo".into(), answer["vnp_TransactionNo"].as_str().unwrap().into());
    assert_eq!(send(&sandbox, signed(&first)).await.1["vnp_Amount"], "1000000");
    let refund = |amount| ("refund".to_owned(), amount, "done".to_owned());
    let payment = ("payment".to_owned(), 25_000, "paid".to_owned());
    assert_eq!(sandbox.book_entries().await, [payment, refund(10_000), refund(15_000)]);
}

#[actix_web::test]
async fn a_full_refund_is_in_process_then_done_and_comes_once() {
    let merchant = Merchant::start();
    let mut sandbox = Sandbox::start(&merchant);
    sandbox.put("/control/config/vnpay", json!({ "refund_ms": 3_600_000 })).await;
    let order = paid_order(&sandbox, "R-2", 25_000).await;
    let request = refund(&order, "02", 25_000);

    let (code, answer) = send(&sandbox, signed(&request)).await;
    assert_eq!((code.as_str(), answer["vnp_TransactionType"].as_str()), ("00", Some("02")));
    assert_eq!(send(&sandbox, signed(&request)).await.0, "94");
    sandbox.crash_and_restart();
    assert_eq!(send(&sandbox, signed(&request)).await.0, "94", "also after a restart");
    assert_eq!(send(&sandbox, signed(&refund(&order, "02", 25_000))).await.0, "94");
    let (_, answer) = send(&sandbox, signed(&query(&order))).await;
    assert_eq!(answer["vnp_TransactionStatus"], "05");
    assert_eq!(sandbox.book_entries().await[1], ("refund".into(), 25_000, "processing".into()));

    #[expect(clippy::disallowed_methods, reason = "the sandbox runs on real time")]
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2);
    sandbox.put("/control/clock", json!({ "now": later })).await;
    let (_, answer) = send(&sandbox, signed(&query(&order))).await;
    assert_eq!(answer["vnp_TransactionStatus"], "06");
    assert_eq!(sandbox.book_entries().await[1], ("refund".into(), 25_000, "done".into()));
}

#[actix_web::test]
async fn a_refused_refund_leaves_the_money_refundable() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    let order = paid_order(&sandbox, "R-3", 25_000).await;
    sandbox.put("/control/faults/vnpay", json!({ "refuse_refund": 1.0 })).await;
    assert_eq!(send(&sandbox, signed(&refund(&order, "02", 25_000))).await.0, "00");
    let (_, answer) = send(&sandbox, signed(&query(&order))).await;
    assert_eq!(answer["vnp_TransactionStatus"], "09");
    sandbox.delete("/control/faults/vnpay").await;
    assert_eq!(send(&sandbox, signed(&refund(&order, "02", 25_000))).await.0, "00");
    let states: Vec<_> = sandbox.book_entries().await.into_iter().map(|e| e.2).collect();
    assert_eq!(states, ["paid", "refused", "done"]);
}

#[actix_web::test]
async fn bad_requests_get_their_codes_in_a_signed_answer() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    let order = paid_order(&sandbox, "R-4", 25_000).await;
    let unpaid = order_for("R-5", 25_000);
    sandbox.choose(&unpaid, "suspected_fraud").await;
    let with = |name: &str, value: &str| {
        let mut request = refund(&order, "02", 25_000);
        request.insert(name.to_owned(), value.to_owned());
        signed(&request)
    };
    let mut tampered = signed(&refund(&order, "03", 1_000));
    tampered["vnp_Amount"] = "2500000".into();
    let mut unsigned = signed(&query(&order));
    unsigned["vnp_SecureHash"] = Value::Null;
    let repeated = signed(&query(&order));
    assert_eq!(send(&sandbox, repeated.clone()).await.0, "00");
    let cases = [
        (json!([1]), "03"),
        (json!({ "vnp_Command": "refund", "vnp_TxnRef": { "a": 1 } }), "03"),
        (with("vnp_Command", "pay"), "03"),
        (with("vnp_Version", "2.0.0"), "03"),
        (with("vnp_Amount", "25000.5"), "03"),
        (with("vnp_TransactionType", "01"), "03"),
        (with("vnp_TransactionDate", "yesterday"), "03"),
        (with("vnp_RequestId", &"x".repeat(33)), "03"),
        (with("vnp_TmnCode", "OTHER001"), "02"),
        (tampered, "97"),
        (unsigned, "03"),
        (with("vnp_TxnRef", "R-404"), "91"),
        (with("vnp_TransactionNo", "123"), "91"),
        (signed(&refund(&unpaid, "02", 25_000)), "95"),
        (repeated, "94"),
    ];
    for (body, code) in cases {
        assert_eq!(send(&sandbox, body.clone()).await.0, code, "{body}");
    }
    assert_eq!(sandbox.book_entries().await.len(), 2, "no refund was made");
}

#[actix_web::test]
async fn a_swallowed_refund_has_happened_all_the_same() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    let order = paid_order(&sandbox, "R-6", 25_000).await;
    let faults = json!({ "timeout_after_charge": 1.0, "hang_ms": 1 });
    sandbox.put("/control/faults/vnpay", faults).await;
    let url = format!("{}{PATH}", sandbox.url);
    let body = signed(&refund(&order, "02", 25_000));
    let lost = match sandbox.http.post(url).json(&body).send().await {
        Ok(response) => response.bytes().await.is_err(),
        Err(_) => true,
    };
    assert!(lost, "no answer may arrive");
    sandbox.delete("/control/faults/vnpay").await;
    let (_, answer) = send(&sandbox, signed(&query(&order))).await;
    assert_eq!(answer["vnp_TransactionType"], "02");
    assert_eq!(sandbox.book_entries().await.len(), 2);
}
