//! Payments through HTTP: creating, following, giving up, late money, the return page, receipts.

use std::time::Duration;

use futures_util::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::gateway::ipn_query;
use crate::support::paying::{Paying, pay_body};

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_created_once_per_key() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let session = app.stay(driver.id, 85_000).await;
    let first = app.try_pay(&driver, session, "k1").await.expect(201);
    assert_eq!((first.str("status"), first.int("amount_vnd")), ("pending", 85_000));
    let url = first.str("redirect_url");
    assert!(url.contains("vnp_Amount=8500000&") && url.contains(first.str("merchant_ref")));
    let location = first.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(location, format!("/v1/payments/{}", first.str("id")));
    let again = app.try_pay(&driver, session, "k1").await.expect(201);
    assert_eq!(again.text, first.text);
    let mut other = pay_body(session);
    other["return_url"] = json!("https://other.example.vn/");
    let reused = driver.post("/v1/payments").key("k1").json(other).send().await;
    reused.expect_problem(422, "idempotency_key_reused");
    let keyless = driver.post("/v1/payments").json(pay_body(session)).send().await;
    keyless.expect_problem(400, "idempotency_key_missing");
    let second = app.try_pay(&driver, session, "k2").await;
    second.expect_problem(409, "payment_in_progress");
    let read = driver.get(&location).send().await.expect(200);
    assert_eq!(read.json, first.json);
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_owed_by_oneself_can_be_paid() {
    let app = Paying::start().await;
    let (driver, other) = (app.driver().await, app.driver().await);
    let session = app.stay(driver.id, 25_000).await;
    app.try_pay(&other, session, "k").await.expect_problem(404, "not_found");
    app.try_pay(&driver, Uuid::now_v7(), "k").await.expect_problem(404, "not_found");
    let with = |member: &str, value: Value| {
        let mut body = pay_body(session);
        body[member] = value;
        driver.post("/v1/payments").key("k").json(body).send()
    };
    with("provider", json!("momo2")).await.expect_problem(422, "unknown_provider");
    for bad in ["javascript:alert(1)", "x", "https://", "/relative/path", "ftp://a.example.vn/"] {
        with("return_url", json!(bad)).await.expect_problem(422, "validation_failed");
    }
    with("amount_vnd", json!(1)).await.expect_problem(422, "validation_failed");
    let finance = app.finance().await;
    let refused = finance.post("/v1/payments").key("k").json(pay_body(session)).send().await;
    refused.expect_problem(403, "forbidden");
    let nothing = app.stay(driver.id, 25_000).await;
    sqlx::query("update parking_sessions set status = 'active', ended_at = null, fare_vnd = 0 where id = $1")
        .bind(nothing)
        .execute(app.pool())
        .await
        .unwrap();
    app.try_pay(&driver, nothing, "k").await.expect_problem(409, "nothing_to_pay");
    let made = app.paid(&driver, 10_000).await;
    app.try_pay(&driver, made.session, "k").await.expect_problem(409, "nothing_to_pay");
    let dear = app.stay(driver.id, 10_000_000_000).await;
    app.try_pay(&driver, dear, "k").await.expect_problem(422, "amount_out_of_range");
    // Nothing that was refused used up the key.
    app.try_pay(&driver, session, "k").await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_double_tap_makes_one_payment() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let session = app.stay(driver.id, 25_000).await;
    let same = join_all((0..8).map(|_| app.try_pay(&driver, session, "tap"))).await;
    let ids: Vec<String> =
        same.into_iter().map(|answer| answer.expect(201).str("id").to_owned()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let session = app.stay(driver.id, 25_000).await;
    let keys: Vec<String> = (0..8).map(|number| format!("phone-{number}")).collect();
    let different = join_all(keys.iter().map(|key| app.try_pay(&driver, session, key))).await;
    let made = different.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 1);
    for answer in different.into_iter().filter(|answer| answer.status != 201) {
        answer.expect_problem(409, "payment_in_progress");
    }
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_was_cut_off_is_finished() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let session = app.stay(driver.id, 25_000).await;
    let cut = "with p as (
            update payments set recovery_point = 'created', redirect_url = null returning id
        )
        update idempotency_keys set status = 0, response = (select id::text from p)
        where route = 'POST /v1/payments'";
    // The client tries again.
    let first = app.try_pay(&driver, session, "k").await.expect(201);
    sqlx::query(cut).execute(app.pool()).await.unwrap();
    let again = app.try_pay(&driver, session, "k").await.expect(201);
    assert_eq!(again.text, first.text);
    // The client never does.
    sqlx::query(cut).execute(app.pool()).await.unwrap();
    app.go_on(60, 60).await;
    let read = driver.get(&format!("/v1/payments/{}", first.str("id"))).send().await.expect(200);
    assert_eq!(read.json, first.json);
    let again = app.try_pay(&driver, session, "k").await.expect(201);
    assert_eq!(again.text, first.text);
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ipn_is_made_good_by_asking() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let made = app.pay(&driver, 25_000).await;
    app.gateway.order(&made.merchant_ref, 25_000, "00");
    app.advance(Duration::from_secs(100));
    app.run_jobs().await;
    assert_eq!((app.status(&made).await.as_str(), app.gateway.count("querydr")), ("pending", 0));
    app.go_on(30, 30).await;
    assert_eq!((app.status(&made).await.as_str(), app.gateway.count("querydr")), ("succeeded", 1));
    // The IPN that was late after all.
    assert_eq!(app.ipn_of(&made, "00", "00").await, "02");
    app.go_on(3_600, 600).await;
    assert_eq!(app.gateway.count("querydr"), 1);
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_news_a_payment_expires_and_late_money_pays_the_session() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let made = app.pay(&driver, 25_000).await;
    app.go_on(870, 30).await;
    assert_eq!(app.status(&made).await, "pending");
    app.go_on(60, 30).await;
    assert_eq!(app.status(&made).await, "expired");
    let read = driver.get(&format!("/v1/payments/{}", made.id)).send().await.expect(200);
    assert_eq!(read.json["redirect_url"], Value::Null);
    // Nobody calls; the question brings it to light.
    app.gateway.order(&made.merchant_ref, 25_000, "00");
    app.go_on(1_800, 300).await;
    assert_eq!(app.status(&made).await, "succeeded");
    assert_eq!(app.session(made.session).await, ("paid".to_owned(), 25_000, 25_000));
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_money_for_a_session_that_was_paid_meanwhile_goes_back_by_itself() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let first = app.pay(&driver, 25_000).await;
    app.go_on(960, 60).await;
    assert_eq!(app.status(&first).await, "expired");
    let second = app.pay_again(&driver, first.session).await;
    app.gateway.order(&second.merchant_ref, 25_000, "00");
    assert_eq!(app.ipn_of(&second, "00", "00").await, "00");
    app.gateway.order(&first.merchant_ref, 25_000, "00");
    assert_eq!(app.ipn_of(&first, "00", "00").await, "00");
    assert_eq!(app.status(&first).await, "refund_pending");
    app.audit().await;
    app.go_on(30, 5).await;
    assert_eq!(app.status(&first).await, "refunded");
    assert_eq!(app.status(&second).await, "succeeded");
    assert_eq!(app.session(first.session).await, ("paid".to_owned(), 25_000, 25_000));
    assert_eq!(app.gateway.refunds(&first.merchant_ref).len(), 1);
    assert_eq!(app.balance("provider_clearing:vnpay").await, 25_000);
    assert_eq!(app.balance("driver_receivable").await, 0);
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn held_money_neither_pays_nor_expires() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let made = app.pay(&driver, 25_000).await;
    app.gateway.order(&made.merchant_ref, 25_000, "07");
    assert_eq!(app.ipn_of(&made, "07", "07").await, "00");
    app.go_on(3_600, 60).await;
    assert_eq!(app.status(&made).await, "pending");
    app.try_pay(&driver, made.session, "k").await.expect_problem(409, "payment_in_progress");
    app.gateway.order(&made.merchant_ref, 25_000, "00");
    app.go_on(7_200, 600).await;
    assert_eq!(app.status(&made).await, "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_does_not_answer_leaves_the_payment_open_and_asked_about() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let made = app.pay(&driver, 25_000).await;
    app.gateway.order(&made.merchant_ref, 25_000, "00");
    app.gateway.edit(|books| books.lose_answers = 1);
    app.go_on(120, 60).await;
    assert_eq!((app.status(&made).await.as_str(), app.gateway.count("querydr")), ("pending", 1));
    app.go_on(180, 60).await;
    assert_eq!((app.status(&made).await.as_str(), app.gateway.count("querydr")), ("succeeded", 2));
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_return_page_tells_the_state_and_changes_nothing() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let made = app.pay(&driver, 1_250_000).await;
    let query = ipn_query(&made.merchant_ref, 1_250_000, "00", "00");
    let path = format!("/v1/payments/return/vnpay?{query}");
    let page = app.client.get(&path).send().await.expect(200);
    assert!(page.text.contains("Đang chờ xác nhận") && page.text.contains("1.250.000 ₫"));
    let target =
        format!("https://app.example.vn/thanh-toan/xong?payment_id={}&amp;status=pending", made.id);
    assert!(page.text.contains(&target), "{}", page.text);
    let state = app.client.get(&path).header("accept", "application/json").send().await.expect(200);
    assert_eq!((state.str("payment_id"), state.str("status")), (made.id.as_str(), "pending"));
    assert_eq!(
        app.count("select count(*) from ledger_transfers where kind = 'payment_received'").await,
        0
    );
    app.ipn(&query).await;
    let page = app.client.get(&path).send().await.expect(200);
    assert!(page.text.contains("Thanh toán thành công"));
    let forged = path.replacen("vnp_ResponseCode=00", "vnp_ResponseCode=24", 1);
    let refused = app.client.get(&forged).header("accept", "application/json").send().await;
    refused.expect_problem(404, "not_found");
    let page = app.client.get(&forged).send().await.expect(404);
    assert!(page.text.contains("Không tìm thấy giao dịch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_are_their_drivers_and_finances_to_read() {
    let app = Paying::start().await;
    let (driver, other) = (app.driver().await, app.driver().await);
    let finance = app.finance().await;
    let made = app.paid(&driver, 25_000).await;
    let open = app.pay(&driver, 10_000).await;
    let path = format!("/v1/payments/{}", made.id);
    driver.get(&path).send().await.expect(200);
    finance.get(&path).send().await.expect(200);
    other.get(&path).send().await.expect_problem(404, "not_found");
    other.get(&format!("{path}/receipt")).send().await.expect_problem(404, "not_found");
    let absent = format!("/v1/payments/{}", Uuid::now_v7());
    driver.get(&absent).send().await.expect_problem(404, "not_found");
    app.client.get(&path).send().await.expect_problem(401, "unauthenticated");

    let mine = driver.get("/v1/payments?limit=1").send().await.expect(200);
    assert_eq!(mine.json["items"][0]["id"], json!(open.id));
    let next = format!("/v1/payments?limit=1&cursor={}", mine.str("next_cursor"));
    let rest = driver.get(&next).send().await.expect(200);
    assert_eq!(
        (&rest.json["items"][0]["id"], &rest.json["next_cursor"]),
        (&json!(made.id), &Value::Null)
    );
    let succeeded = driver.get("/v1/payments?status=succeeded").send().await.expect(200);
    assert_eq!(succeeded.json["items"].as_array().unwrap().len(), 1);
    let of_session = format!("/v1/payments?parking_session_id={}", open.session);
    let of_session = driver.get(&of_session).send().await.expect(200);
    assert_eq!(of_session.json["items"][0]["id"], json!(open.id));
    assert_eq!(other.get("/v1/payments").send().await.expect(200).json["items"], json!([]));
    driver.get("/v1/payments?status=lost").send().await.expect_problem(422, "validation_failed");

    let all = finance.get("/v1/finance/payments?status=pending").send().await.expect(200);
    assert_eq!(all.json["items"][0]["id"], json!(open.id));
    let past = "/v1/finance/payments?to=2026-01-01T00:00:00Z";
    assert_eq!(finance.get(past).send().await.expect(200).json["items"], json!([]));
    driver.get("/v1/finance/payments").send().await.expect_problem(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_shows_the_stay_and_the_tax_in_it() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let open = app.pay(&driver, 25_000).await;
    let path = format!("/v1/payments/{}/receipt", open.id);
    driver.get(&path).send().await.expect_problem(404, "not_found");
    app.gateway.order(&open.merchant_ref, 25_000, "00");
    app.ipn_of(&open, "00", "00").await;
    let receipt = driver.get(&path).send().await.expect(200);
    assert_eq!((receipt.int("amount_vnd"), receipt.int("vat_vnd")), (25_000, 1_852));
    assert_eq!((receipt.str("vat_rate"), receipt.str("provider")), ("0.08", "vnpay"));
    assert!(receipt.str("number").starts_with("BL-20"));
    // A refund does not change it.
    let finance = app.finance().await;
    app.refund(&finance, &open, Some(5_000)).await.expect(201);
    app.go_on(30, 5).await;
    assert_eq!(driver.get(&path).send().await.expect(200).json, receipt.json);
}

/// Whatever comes in whatever order about a payment and its successor, the books agree.
#[rstest]
#[case(&["a paid", "b paid", "a asked", "b asked"])]
#[case(&["b failed", "a paid", "b paid", "a paid"])]
#[case(&["a cancelled", "b cancelled", "b paid", "a asked"])]
#[case(&["b paid", "a paid", "a asked", "b asked"])]
#[case(&["a asked", "b paid", "b paid", "a paid"])]
#[tokio::test(flavor = "multi_thread")]
async fn news_in_any_order_books_what_was_paid_and_returns_the_surplus(#[case] news: &[&str]) {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let first = app.pay(&driver, 25_000).await;
    app.go_on(960, 60).await;
    let second = app.pay_again(&driver, first.session).await;
    for made in [&first, &second] {
        app.gateway.order(&made.merchant_ref, 25_000, "00");
    }
    for word in news {
        let made = if word.starts_with('a') { &first } else { &second };
        match word.split(' ').nth(1).unwrap() {
            "paid" => drop(app.ipn_of(made, "00", "00").await),
            "failed" => drop(app.ipn_of(made, "51", "02").await),
            "cancelled" => drop(app.ipn_of(made, "24", "02").await),
            _ => app.go_on(600, 60).await,
        }
        app.audit().await;
    }
    app.go_on(3_600, 60).await;
    let mut statuses = [app.status(&first).await, app.status(&second).await];
    statuses.sort();
    assert_eq!(statuses, ["refunded", "succeeded"]);
    assert_eq!(app.session(first.session).await, ("paid".to_owned(), 25_000, 25_000));
    assert_eq!(app.balance("provider_clearing:vnpay").await, 25_000);
    app.audit().await;
}
