use serde_json::json;

use crate::support::{Merchant, Sandbox, hanoi, is_signed, order_for, signed_query, url_fields};

#[actix_web::test]
async fn paying_in_a_browser_sends_a_signed_ipn_and_returns_the_customer() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    let order = order_for("PAY-1", 25_000);

    let back = sandbox.pay_in_browser(&order, "paid").await;

    assert!(back.starts_with("http://127.0.0.1/return?lang=vi&vnp_Amount=2500000&"));
    let returned = url_fields(&back);
    assert!(is_signed(&returned));
    let ipns = merchant.wait_for_ipns(1).await;
    assert!(is_signed(&ipns[0]));
    assert_eq!(ipns[0]["shop"], "1");
    assert_eq!(ipns[0]["vnp_ResponseCode"], "00");
    assert_eq!(ipns[0]["vnp_TransactionStatus"], "00");
    assert_eq!(ipns[0]["vnp_TxnRef"], "PAY-1");
    assert_eq!(ipns[0]["vnp_Amount"], "2500000");
    assert_eq!(ipns[0]["vnp_TransactionNo"], returned["vnp_TransactionNo"]);
    assert!(ipns[0]["vnp_TransactionNo"].len() <= 15);
    let entries = sandbox.book_entries().await;
    assert_eq!(entries, [("payment".into(), 25_000, "paid".into())]);
    sandbox.wait_for_notified("accepted", 1).await;
    assert_eq!(merchant.ipns().len(), 1);
}

#[actix_web::test]
async fn each_outcome_has_its_codes_and_only_taken_money_is_in_the_books() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    let cases = [
        ("cancelled", "24", "02", "cancelled"),
        ("insufficient_funds", "51", "02", "failed"),
        ("suspected_fraud", "07", "07", "held"),
    ];
    for (outcome, response_code, status, state) in cases {
        let order = order_for(&format!("CASE-{response_code}"), 10_000);
        let (http_status, answer) = sandbox.choose(&order, outcome).await;
        assert_eq!((http_status, answer["state"].as_str()), (200, Some(state)));
        let wanted = |ipn: &&crate::support::Fields| ipn["vnp_TxnRef"] == order["vnp_TxnRef"];
        crate::support::wait_until(|| merchant.ipns().iter().find(wanted).is_some()).await;
        let ipns = merchant.ipns();
        let ipn = ipns.iter().find(wanted).unwrap();
        assert!(is_signed(ipn), "{outcome}");
        assert_eq!(ipn["vnp_ResponseCode"], response_code);
        assert_eq!(ipn["vnp_TransactionStatus"], status);
    }
    let entries = sandbox.book_entries().await;
    assert_eq!(entries, [("payment".into(), 10_000, "held".into())]);
    let (_, all) = sandbox.get("/control/books/vnpay?all=true").await;
    assert_eq!(all["items"].as_array().unwrap().len(), 3);
}

#[actix_web::test]
async fn an_ipn_is_repeated_until_the_merchant_has_recorded_it_and_ten_times_at_most() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);

    merchant.will_answer(&["99", "97", "02"]);
    sandbox.choose(&order_for("RETRY-1", 1_000), "paid").await;
    sandbox.wait_for_notified("accepted", 1).await;
    assert_eq!(merchant.ipns().len(), 3);

    merchant.will_answer(&["01"; 12]);
    sandbox.choose(&order_for("RETRY-2", 1_000), "paid").await;
    sandbox.wait_for_notified("gave_up", 1).await;
    assert_eq!(merchant.ipns().len(), 13);
}

#[actix_web::test]
async fn a_paid_order_takes_no_other_outcome_and_no_second_payment() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    let order = order_for("ONCE-1", 20_000);
    assert_eq!(sandbox.choose(&order, "insufficient_funds").await.0, 200);
    assert_eq!(sandbox.choose(&order, "paid").await.0, 200, "the customer may try again");
    assert_eq!(sandbox.choose(&order, "paid").await.0, 200, "the same again changes nothing");

    let (status, problem) = sandbox.choose(&order, "cancelled").await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("order_settled")));
    let page = sandbox.http.get(sandbox.pay_url(&order)).send().await.unwrap();
    assert_eq!(page.status(), 409);
    assert!(page.text().await.unwrap().contains("order_already_paid"));

    let other = order_for("ONCE-1", 30_000);
    let page = sandbox.http.get(sandbox.pay_url(&other)).send().await.unwrap();
    assert_eq!(page.status(), 409);
    assert!(page.text().await.unwrap().contains("duplicate_ref"));
    sandbox.wait_for_notified("accepted", 2).await;
    assert_eq!(merchant.ipns().len(), 2);
    assert_eq!(sandbox.book_entries().await, [("payment".into(), 20_000, "paid".into())]);
}

#[actix_web::test]
async fn pay_links_that_are_forged_expired_or_malformed_get_an_error_page() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    let good = order_for("BAD-1", 20_000);
    let changed = |name: &str, value: &str| {
        let mut order = good.clone();
        order.insert(name.to_owned(), value.to_owned());
        signed_query(&order)
    };
    let forged = signed_query(&good).replace("vnp_Amount=2000000", "vnp_Amount=100");
    let mut expired = good.clone();
    expired.insert("vnp_CreateDate".to_owned(), hanoi(-30));
    expired.insert("vnp_ExpireDate".to_owned(), hanoi(-15));
    let cases = [
        (String::new(), "unknown_terminal"),
        (forged, "bad_signature"),
        (changed("vnp_TmnCode", "OTHER001"), "unknown_terminal"),
        (signed_query(&expired), "order_expired"),
        (changed("vnp_Locale", "fr"), "bad_field"),
        (changed("vnp_OrderInfo", "<script>"), "bad_field"),
        (format!("{}&vnp_Amount=1", signed_query(&good)), "bad_field"),
    ];
    for (query, code) in cases {
        let url = format!("{}/paymentv2/vpcpay.html?{query}", sandbox.url);
        let page = sandbox.http.get(&url).send().await.unwrap();
        assert!(page.status().is_client_error(), "{query}");
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        assert!(page.text().await.unwrap().contains(code), "{query}: {code}");
    }
    let (_, all) = sandbox.get("/control/books/vnpay?all=true").await;
    assert_eq!(all["items"], json!([]));
}

#[actix_web::test]
async fn an_order_that_nobody_opened_is_asked_for_at_the_merchant() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    let order = order_for("ASK-1", 5_000);
    merchant.knows("ASK-1", &sandbox.pay_url(&order));
    merchant.knows("ASK-2", &sandbox.pay_url(&order));
    let body = json!({ "outcome": "paid" });

    let (status, answer) = sandbox.post("/control/payments/vnpay/ASK-1", body.clone()).await;
    assert_eq!((status, answer["amount_vnd"].as_i64()), (200, Some(5_000)));
    merchant.wait_for_ipns(1).await;

    let (status, problem) = sandbox.post("/control/payments/vnpay/ASK-2", body.clone()).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("wrong_pay_url")));
    let (status, problem) = sandbox.post("/control/payments/vnpay/ASK-3", body).await;
    assert_eq!((status, problem["code"].as_str()), (404, Some("order_unknown")));
}

#[actix_web::test]
async fn an_order_opened_in_time_can_be_paid_late_and_a_held_one_released() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    let order = order_for("LATE-1", 5_000);
    assert_eq!(sandbox.http.get(sandbox.pay_url(&order)).send().await.unwrap().status(), 200);
    #[expect(clippy::disallowed_methods, reason = "the sandbox runs on real time")]
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    sandbox.put("/control/clock", json!({ "now": later })).await;
    assert_eq!(sandbox.http.get(sandbox.pay_url(&order)).send().await.unwrap().status(), 409);

    assert_eq!(sandbox.choose(&order, "suspected_fraud").await.0, 200);
    assert_eq!(sandbox.choose(&order, "paid").await.0, 200);

    sandbox.wait_for_notified("accepted", 2).await;
    let ipns = merchant.ipns();
    assert_eq!(ipns[0]["vnp_TransactionNo"], ipns[1]["vnp_TransactionNo"]);
    assert_eq!(sandbox.book_entries().await, [("payment".into(), 5_000, "paid".into())]);
}

#[actix_web::test]
async fn genqr_answers_with_the_content_of_a_qr_code_that_leads_to_the_page() {
    let merchant = Merchant::start();
    let sandbox = Sandbox::start(&merchant);
    let mut order = order_for("QR-1", 5_000);
    order.insert("vnp_Command".to_owned(), "genqr".to_owned());
    let query = signed_query(&order);
    let (status, answer) = sandbox.get(&format!("/paymentv2/vpcpay.html?{query}")).await;
    assert_eq!((status, answer["code"].as_str()), (200, Some("00")));
    let page = sandbox.http.get(answer["qrcontent"].as_str().unwrap()).send().await.unwrap();
    assert!(page.text().await.unwrap().contains("QR-1"));
}

#[actix_web::test]
async fn a_crash_loses_neither_orders_nor_books_nor_the_ipn_that_was_due() {
    let merchant = Merchant::start();
    let mut sandbox = Sandbox::start(&merchant);
    sandbox.choose(&order_for("CRASH-1", 7_000), "paid").await;
    sandbox.wait_for_notified("accepted", 1).await;
    let open = order_for("CRASH-2", 8_000);
    assert_eq!(sandbox.http.get(sandbox.pay_url(&open)).send().await.unwrap().status(), 200);
    // The retry is far off when the process dies.
    sandbox.put("/control/config/vnpay", json!({ "ipn_retry_ms": 3_600_000 })).await;
    merchant.will_answer(&["99"]);
    sandbox.choose(&order_for("CRASH-3", 9_000), "paid").await;
    merchant.wait_for_ipns(2).await;
    let before = sandbox.get("/control/books/vnpay?all=true").await;

    sandbox.crash_and_restart();

    assert_eq!(sandbox.get("/control/books/vnpay?all=true").await, before);
    let ipns = merchant.wait_for_ipns(3).await;
    assert_eq!(ipns[2]["vnp_TxnRef"], "CRASH-3");
    let body = json!({ "outcome": "paid" });
    assert_eq!(sandbox.post("/control/payments/vnpay/CRASH-2", body).await.0, 200);
    let ipns = merchant.wait_for_ipns(4).await;
    assert_eq!(ipns[3]["vnp_TxnRef"], "CRASH-2");
    assert_ne!(ipns[3]["vnp_TransactionNo"], ipns[2]["vnp_TransactionNo"]);
}
