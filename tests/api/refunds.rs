//! Refunds: never more than was paid, never twice, followed until they are known.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::paying::Paying;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_refund_goes_back_and_lowers_the_fare() {
    let app = Paying::start().await;
    let (driver, finance) = (app.driver().await, app.finance().await);
    let made = app.paid(&driver, 25_000).await;
    let refund = app.refund(&finance, &made, None).await.expect(201);
    assert_eq!((refund.str("status"), refund.int("amount_vnd")), ("pending", 25_000));
    assert_eq!(app.status(&made).await, "refund_pending");
    app.audit().await;
    app.go_on(10, 2).await;
    assert_eq!(app.status(&made).await, "refunded");
    let path = format!("/v1/refunds/{}", refund.str("id"));
    let read = driver.get(&path).send().await.expect(200);
    assert_eq!(read.str("status"), "succeeded");
    finance.get(&path).send().await.expect(200);
    app.driver().await.get(&path).send().await.expect_problem(404, "not_found");
    assert_eq!(app.session(made.session).await, ("paid".to_owned(), 0, 0));
    assert_eq!(app.gateway.refunds(&made.merchant_ref)[0].kind, "02");
    for account in ["provider_clearing:vnpay", "driver_receivable", "vat_payable", "city_payable"] {
        assert_eq!(app.balance(account).await, 0, "{account}");
    }
    app.refund(&finance, &made, None).await.expect_problem(409, "payment_not_refundable");
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_together_never_exceed_the_payment() {
    let app = Paying::start().await;
    let (driver, finance) = (app.driver().await, app.finance().await);
    let made = app.paid(&driver, 25_000).await;
    let refused = app.refund(&finance, &made, Some(25_001)).await;
    refused.expect_problem(422, "refund_exceeds_payment");
    let all = join_all((0..8).map(|_| app.refund(&finance, &made, Some(10_000)))).await;
    assert_eq!(all.iter().filter(|answer| answer.status == 201).count(), 2);
    assert!(all.iter().all(|answer| [201, 422].contains(&answer.status)));
    app.go_on(60, 3).await;
    assert_eq!(app.status(&made).await, "partially_refunded");
    let amounts: Vec<i64> =
        app.gateway.refunds(&made.merchant_ref).iter().map(|refund| refund.amount).collect();
    assert_eq!(amounts, [10_000, 10_000]);
    assert_eq!(app.session(made.session).await, ("paid".to_owned(), 5_000, 5_000));
    assert_eq!(app.balance("provider_clearing:vnpay").await, 5_000);
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_finances_to_ask_for_and_asked_once_per_key() {
    let app = Paying::start().await;
    let (driver, finance) = (app.driver().await, app.finance().await);
    let made = app.paid(&driver, 25_000).await;
    let path = format!("/v1/payments/{}/refunds", made.id);
    let body = json!({"amount_vnd": 5_000, "reason": "Khách phải chờ"});
    driver.post(&path).key("k").json(body.clone()).send().await.expect_problem(403, "forbidden");
    finance
        .post(&path)
        .json(body.clone())
        .send()
        .await
        .expect_problem(400, "idempotency_key_missing");
    for bad in [
        json!({"amount_vnd": 0, "reason": "x"}),
        json!({"amount_vnd": -5, "reason": "x"}),
        json!({"amount_vnd": 5_000, "reason": ""}),
        json!({"amount_vnd": 5_000}),
        json!({"amount_vnd": 5_000, "reason": "x", "to": "me"}),
    ] {
        finance
            .post(&path)
            .key("k")
            .json(bad)
            .send()
            .await
            .expect_problem(422, "validation_failed");
    }
    let first = finance.post(&path).key("k").json(body.clone()).send().await.expect(201);
    let again = finance.post(&path).key("k").json(body).send().await.expect(201);
    assert_eq!(again.text, first.text);
    let other = json!({"amount_vnd": 6_000, "reason": "Khách phải chờ"});
    let reused = finance.post(&path).key("k").json(other).send().await;
    reused.expect_problem(422, "idempotency_key_reused");
    let open = app.pay(&driver, 10_000).await;
    app.refund(&finance, &open, None).await.expect_problem(409, "payment_not_refundable");
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_whose_answer_was_lost_is_not_sent_twice() {
    let app = Paying::start().await;
    let (driver, finance) = (app.driver().await, app.finance().await);
    let made = app.paid(&driver, 25_000).await;
    app.gateway.edit(|books| books.lose_answers = 1);
    app.refund(&finance, &made, Some(10_000)).await.expect(201);
    app.run_jobs().await;
    assert_eq!(app.status(&made).await, "refund_pending");
    assert_eq!(app.balance("provider_clearing:vnpay").await, 25_000);
    app.go_on(60, 5).await;
    assert_eq!(app.status(&made).await, "partially_refunded");
    assert_eq!(
        (app.gateway.count("refund"), app.gateway.refunds(&made.merchant_ref).len()),
        (1, 1)
    );
    assert_eq!(app.balance("provider_clearing:vnpay").await, 15_000);
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_never_arrived_is_sent_again_under_the_same_name() {
    let app = Paying::start().await;
    let (driver, finance) = (app.driver().await, app.finance().await);
    let made = app.paid(&driver, 25_000).await;
    let refund = app.refund(&finance, &made, Some(10_000)).await.expect(201);
    // As if we had been stopped between noting the try and sending it.
    sqlx::query("update refunds set unanswered = 1").execute(app.pool()).await.unwrap();
    app.go_on(60, 5).await;
    assert_eq!(app.status(&made).await, "partially_refunded");
    let sent = app.gateway.edit(|books| books.requests.clone());
    let sent: Vec<_> = sent.iter().filter(|request| request["vnp_Command"] == "refund").collect();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["vnp_RequestId"], json!(refund.str("id").replace('-', "")));
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_already_requested_is_believed_only_when_the_refund_is_seen() {
    let app = Paying::start().await;
    let (driver, finance) = (app.driver().await, app.finance().await);
    let made = app.paid(&driver, 25_000).await;
    app.gateway.edit(|books| books.refuse_refunds = Some("94"));
    app.refund(&finance, &made, Some(10_000)).await.expect(201);
    app.go_on(30, 5).await;
    assert_eq!(app.status(&made).await, "refund_pending");
    assert_eq!(app.balance("provider_clearing:vnpay").await, 25_000);
    app.gateway.edit(|books| {
        let order = books.orders.get_mut(&made.merchant_ref).unwrap();
        let refund = crate::support::gateway::Refund {
            number: 91_234,
            amount: 10_000,
            kind: "03".into(),
            status: "05",
        };
        order.refunds.push(refund);
    });
    app.go_on(600, 30).await;
    assert_eq!(app.status(&made).await, "partially_refunded");
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_refund_leaves_everything_as_it_was() {
    let app = Paying::start().await;
    let (driver, finance) = (app.driver().await, app.finance().await);
    let made = app.paid(&driver, 25_000).await;
    app.gateway.edit(|books| books.refuse_refunds = Some("95"));
    let refund = app.refund(&finance, &made, Some(10_000)).await.expect(201);
    assert_eq!(app.session(made.session).await, ("paid".to_owned(), 15_000, 15_000));
    app.go_on(10, 5).await;
    assert_eq!(app.status(&made).await, "succeeded");
    let read = finance.get(&format!("/v1/refunds/{}", refund.str("id"))).send().await.expect(200);
    assert_eq!(read.str("status"), "failed");
    assert_eq!(app.session(made.session).await, ("paid".to_owned(), 25_000, 25_000));
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_refused_after_it_was_taken_is_booked_back() {
    let app = Paying::start().await;
    let (driver, finance) = (app.driver().await, app.finance().await);
    let made = app.paid(&driver, 25_000).await;
    app.gateway.edit(|books| books.refund_status = Some("05"));
    app.refund(&finance, &made, None).await.expect(201);
    app.go_on(30, 5).await;
    assert_eq!(app.status(&made).await, "refund_pending");
    assert_eq!(app.balance("provider_clearing:vnpay").await, 0);
    app.audit().await;
    app.gateway.edit(|books| books.refund_status = Some("09"));
    app.go_on(120, 10).await;
    assert_eq!(app.status(&made).await, "succeeded");
    assert_eq!(app.balance("provider_clearing:vnpay").await, 25_000);
    assert_eq!(app.session(made.session).await, ("paid".to_owned(), 25_000, 25_000));
    app.audit().await;
    // Finance may try again.
    app.gateway.edit(|books| {
        books.refund_status = None;
        books.orders.get_mut(&made.merchant_ref).unwrap().refunds.clear();
    });
    app.refund(&finance, &made, None).await.expect(201);
    app.go_on(30, 5).await;
    assert_eq!(app.status(&made).await, "refunded");
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fare_that_is_corrected_after_it_was_paid_sends_the_rest_back() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let made = app.paid(&driver, 25_000).await;
    app.lower_fare(made.session, 25_000, 18_000).await;
    iparking::worker::plant_schedules(&app.app.app).await.unwrap();
    app.go_on(60, 5).await;
    assert_eq!(app.status(&made).await, "partially_refunded");
    assert_eq!(app.session(made.session).await, ("paid".to_owned(), 18_000, 18_000));
    assert_eq!(app.gateway.refunds(&made.merchant_ref)[0].amount, 7_000);
    app.audit().await;
}
