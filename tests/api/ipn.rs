//! VNPAY's calls: every answer of the sheet, and money booked exactly once whatever comes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rand::{RngExt, SeedableRng};
use tokio::io::AsyncWriteExt;
use tokio::sync::Barrier;

use crate::support::gateway::{ipn_query, signed_query};
use crate::support::paying::Paying;

const BOOKED: &str = "select count(*) from ledger_transfers where kind = 'payment_received'";

#[tokio::test(flavor = "multi_thread")]
async fn each_call_gets_the_sheets_answer_in_the_sheets_order() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let made = app.pay(&driver, 25_000).await;
    let good = ipn_query(&made.merchant_ref, 25_000, "00", "00");
    // As VNPAY's acceptance test goes through them.
    let forged = good.replacen("vnp_Amount=2500000", "vnp_Amount=2500100", 1);
    assert_eq!(app.ipn(&forged).await, "97");
    assert_eq!(app.ipn("").await, "97");
    assert_eq!(app.ipn(&format!("{good}&vnp_Amount=2500000")).await, "97");
    let unknown = ipn_query("SIT_NOTFOUND_0001", 25_000, "00", "00");
    assert_eq!(app.ipn(&unknown).await, "01");
    let foreign = signed_query(&[
        ("vnp_Amount", "2500000"),
        ("vnp_ResponseCode", "00"),
        ("vnp_TmnCode", "ANOTHER1"),
        ("vnp_TransactionStatus", "00"),
        ("vnp_TxnRef", &made.merchant_ref),
    ]);
    assert_eq!(app.ipn(&foreign).await, "01");
    assert_eq!(app.ipn(&ipn_query(&made.merchant_ref, 24_999, "00", "00")).await, "04");
    assert_eq!(app.count(BOOKED).await, 0);
    assert_eq!(app.status(&made).await, "pending");

    let failed = app.pay(&driver, 10_000).await;
    assert_eq!(app.ipn_of(&failed, "24", "02").await, "00");
    assert_eq!(app.ipn_of(&failed, "24", "02").await, "02");
    assert_eq!(app.status(&failed).await, "cancelled");

    // Spaces as %20, a bare colon, other parameters: as callers and proxies write them.
    let noisy = format!("utm=1&{}&fbclid=2", good.replace('+', "%20"));
    assert_eq!(app.ipn(&noisy).await, "00");
    assert_eq!(app.ipn(&good).await, "02");
    assert_eq!(app.ipn(&ipn_query(&made.merchant_ref, 24_999, "00", "00")).await, "04");
    assert_eq!(app.status(&made).await, "succeeded");
    assert_eq!(app.session(made.session).await, ("paid".to_owned(), 25_000, 25_000));
    assert_eq!(app.count(BOOKED).await, 1);
    assert_eq!(app.balance("provider_clearing:vnpay").await, 25_000);
    let verdicts: Vec<String> =
        sqlx::query_scalar("select verdict from provider_messages order by id")
            .fetch_all(app.pool())
            .await
            .unwrap();
    assert_eq!(verdicts.len(), 11);
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_is_not_both_zeros_is_not_booked() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    for (response, status, after) in [
        ("00", "07", "pending"),
        ("07", "07", "pending"),
        ("00", "01", "pending"),
        ("00", "02", "pending"),
        ("98", "02", "pending"),
        ("51", "02", "failed"),
        ("11", "02", "failed"),
    ] {
        let made = app.pay(&driver, 20_000).await;
        assert_eq!(app.ipn_of(&made, response, status).await, "00", "{response} {status}");
        assert_eq!(app.status(&made).await, after, "{response} {status}");
        // Late truth is still booked.
        assert_eq!(app.ipn_of(&made, "00", "00").await, "00");
        assert_eq!(app.status(&made).await, "succeeded");
    }
    assert_eq!(app.count(BOOKED).await, 7);
    app.audit().await;
}

/// Runs eight callers that start together; how often the money was booked.
async fn booked_by_eight_at_once<F, W>(call: F) -> usize
where
    F: Fn(usize) -> W,
    W: Future<Output = bool> + Send + 'static,
{
    let calls: Vec<_> = (0..8).map(|number| tokio::spawn(call(number))).collect();
    join_all(calls).await.into_iter().filter(|booked| *booked.as_ref().unwrap()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_ipn_eight_times_at_once_books_once() {
    let app = Arc::new(Paying::start().await);
    let driver = app.driver().await;
    let servers = [app.client.clone(), app.second_server().await];
    for _ in 0..10 {
        let made = app.pay(&driver, 25_000).await;
        let query = ipn_query(&made.merchant_ref, 25_000, "00", "00");
        let booked = booked_by_eight_at_once(|number| {
            let path = format!("/v1/payments/ipn/vnpay?{query}");
            let call = servers[number % 2].get(&path);
            async move {
                let answer = call.send().await.expect(200);
                assert!(["00", "02"].contains(&answer.str("RspCode")), "{}", answer.text);
                answer.str("RspCode") == "00"
            }
        })
        .await;
        assert_eq!(booked, 1);
        assert_eq!(app.session(made.session).await.2, 25_000);
    }
    assert_eq!(app.count(BOOKED).await, 10);
    app.audit().await;
}

/// The naive version: look, then book. The same race books it more than once, so the test above
/// can tell right from wrong.
#[tokio::test(flavor = "multi_thread")]
async fn looking_before_booking_without_a_lock_books_more_than_once() {
    let app = Paying::start().await;
    let pool = app.pool().clone();
    for statement in [
        "create table naive_payments (id int primary key, status text not null)",
        "create table naive_bookings (payment_id int not null)",
        "insert into naive_payments values (1, 'pending')",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    let looked = Arc::new(Barrier::new(8));
    let booked = booked_by_eight_at_once(|_| {
        let (pool, looked) = (pool.clone(), Arc::clone(&looked));
        async move {
            let status: String =
                sqlx::query_scalar("select status from naive_payments where id = 1")
                    .fetch_one(&pool)
                    .await
                    .unwrap();
            // What a busy machine does now and then, done each time.
            looked.wait().await;
            if status != "pending" {
                return false;
            }
            for statement in [
                "insert into naive_bookings values (1)",
                "update naive_payments set status = 'succeeded' where id = 1",
            ] {
                sqlx::query(statement).execute(&pool).await.unwrap();
            }
            true
        }
    })
    .await;
    assert_eq!(booked, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn ipns_of_many_payments_at_once_are_settled_in_groups() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let mut queries = Vec::new();
    for number in 0..40 {
        let made = app.pay(&driver, 10_000 + number).await;
        queries.push(ipn_query(&made.merchant_ref, made.amount, "00", "00"));
    }
    let codes = join_all(queries.iter().map(|query| app.ipn(query))).await;
    assert!(codes.iter().all(|code| code == "00"), "{codes:?}");
    let codes = join_all(queries.iter().map(|query| app.ipn(query))).await;
    assert!(codes.iter().all(|code| code == "02"), "{codes:?}");
    assert_eq!(app.count(BOOKED).await, 40);
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ipn_before_our_own_answer_is_booked() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let made = app.pay(&driver, 25_000).await;
    // As if we had been stopped after the payment was written and before its driver was told.
    sqlx::query("update payments set recovery_point = 'created', redirect_url = null")
        .execute(app.pool())
        .await
        .unwrap();
    assert_eq!(app.ipn_of(&made, "00", "00").await, "00");
    app.go_on(180, 60).await;
    assert_eq!(app.status(&made).await, "succeeded");
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_kept_but_not_judged_is_judged_later() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let made = app.pay(&driver, 25_000).await;
    let good = ipn_query(&made.merchant_ref, 25_000, "00", "00");
    for (kind, body) in [("ipn", &*good), ("ipn", "vnp_TxnRef=forged"), ("query", "{}")] {
        sqlx::query(
            "insert into provider_messages (id, provider, kind, received_at, body)
             values (gen_random_uuid(), 'vnpay', $1, now(), $2)",
        )
        .bind(kind)
        .bind(body)
        .execute(app.pool())
        .await
        .unwrap();
    }
    iparking::worker::plant_schedules(&app.app.app).await.unwrap();
    app.go_on(60, 30).await;
    assert_eq!(app.status(&made).await, "succeeded");
    let unjudged = "select count(*) from provider_messages where verdict is null";
    assert_eq!(app.count(unjudged).await, 0);
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_messages_book_nothing_and_break_nothing() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let made = app.pay(&driver, 25_000).await;
    let good = ipn_query(&made.merchant_ref, 25_000, "00", "00");
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let alphabet = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEF%&=+_-.~!*()[]{}";
    for _ in 0..400 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..3) {
                0 => bytes[at] = alphabet[rng.random_range(0..alphabet.len())],
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, alphabet[rng.random_range(0..alphabet.len())]),
            }
        }
        let query = String::from_utf8(bytes).unwrap();
        let same: bool = {
            let read = |text: &str| -> Vec<(String, String)> {
                let mut pairs: Vec<_> = form_urlencoded::parse(text.as_bytes())
                    .into_owned()
                    .filter(|(name, value)| name.starts_with("vnp_") && !value.is_empty())
                    .map(|(name, value)| {
                        let is_hash = name == "vnp_SecureHash";
                        (name, if is_hash { value.to_lowercase() } else { value })
                    })
                    .collect();
                pairs.sort();
                pairs
            };
            read(&query) == read(&good)
        };
        if !same {
            let code = app.ipn(&query).await;
            assert_eq!(code, "97", "{query}");
        }
    }
    assert_eq!(app.status(&made).await, "pending");
    assert_eq!(app.count(BOOKED).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_does_not_stop_the_booking() {
    let app = Paying::start().await;
    let driver = app.driver().await;
    let host = app.client.base.strip_prefix("http://").unwrap().to_owned();
    for round in 0..10_u64 {
        let made = app.pay(&driver, 25_000).await;
        let query = ipn_query(&made.merchant_ref, 25_000, "00", "00");
        let mut socket = tokio::net::TcpStream::connect(&host).await.unwrap();
        let head = format!("GET /v1/payments/ipn/vnpay?{query} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(round)).await;
        // A reset, not an orderly end: the handler is dropped at its next await.
        socket.set_zero_linger().unwrap();
        drop(socket);
        // What had not arrived when the line broke is called again.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let code = app.ipn(&query).await;
            if app.status(&made).await == "succeeded" {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "{code}");
        }
    }
    assert_eq!(app.count(BOOKED).await, 10);
    app.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_too_long_to_be_vnpays_is_not_kept() {
    let app = Paying::start().await;
    let long = format!("vnp_TxnRef={}", "x".repeat(9_000));
    assert_eq!(app.ipn(&long).await, "97");
    assert_eq!(app.count("select count(*) from provider_messages").await, 0);
}
