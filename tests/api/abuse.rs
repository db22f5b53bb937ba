//! Guessing, pumping, enumerating, flooding.

use std::time::Duration;

use futures_util::future::join_all;
use iparking::auth::{Principal, RoleName};
use iparking::operators;
use iparking::platform::config::RedisConfig;
use serde_json::{Value, json};

use crate::support::actors::random_phone;
use crate::support::app::TestApp;
use crate::support::client::{Answer, Client};
use crate::support::sms::SmsInbox;

/// With limits on and callers told apart by a proxy's word.
async fn start(otp_per_hour_max: i64) -> (TestApp, SmsInbox) {
    let inbox = SmsInbox::open().await;
    let app = TestApp::start_with(|config| {
        config.sms.endpoint = inbox.url();
        config.rate_limits.enabled = true;
        config.server.trust_forwarded_for = true;
        config.auth.otp_per_hour_max = otp_per_hour_max;
    })
    .await;
    (app, inbox)
}

async fn ask(client: &Client, phone: &str, address: &str) -> Answer {
    let request = client.post("/v1/auth/otp").header("x-forwarded-for", address);
    request.json(json!({"phone": phone})).send().await
}

async fn guess(client: &Client, challenge: &str, code: &str) -> Answer {
    let body = json!({"grant_type": "otp", "challenge_id": challenge, "code": code});
    client.post("/v1/auth/token").json(body).send().await
}

fn wait_s(answer: Answer) -> u64 {
    let answer = answer.expect_problem(429, "rate_limited");
    answer.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

/// Repeats a call until it is refused; gives how often it passed. Quotas grow again with time, so
/// on a slow machine a few more pass than the burst.
async fn passed(tries_max: usize, mut call: impl AsyncFnMut(usize) -> Answer) -> usize {
    for n in 0..tries_max {
        let answer = call(n).await;
        if answer.status == 429 {
            wait_s(answer);
            return n;
        }
        assert!(answer.status < 500, "{}", answer.text);
    }
    panic!("{tries_max} calls passed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_gets_one_code_a_minute_five_an_hour_ten_a_day() {
    let (app, _inbox) = start(1_000).await;
    let phone = random_phone();
    let mut asked = 0;
    let mut ask_again = async || {
        asked += 1;
        ask(&app.client, &phone, &format!("203.0.{asked}.1")).await
    };
    ask_again().await.expect(202);
    assert!((1..=60).contains(&wait_s(ask_again().await)));
    for _ in 0..4 {
        app.advance(Duration::from_secs(61));
        ask_again().await.expect(202);
    }
    app.advance(Duration::from_secs(61));
    assert!((3_000..=3_600).contains(&wait_s(ask_again().await)));
    app.advance(Duration::from_hours(1));
    for _ in 0..5 {
        app.advance(Duration::from_secs(61));
        ask_again().await.expect(202);
    }
    app.advance(Duration::from_hours(2));
    assert!(wait_s(ask_again().await) > 3_600 * 10);
    app.advance(Duration::from_hours(22));
    ask_again().await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_uses_up_their_own_share_and_not_the_victims() {
    let (app, _inbox) = start(1_000).await;
    let victim = random_phone();
    for _ in 0..4 {
        ask(&app.client, &victim, "203.0.113.66").await.expect(202);
        app.advance(Duration::from_secs(61));
    }
    wait_s(ask(&app.client, &victim, "203.0.113.66").await);
    ask(&app.client, &victim, "198.51.100.7").await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_neighbourhoods_get_few_codes_over_all_servers() {
    let (app, _inbox) = start(1_000).await;
    let second = app.second_server().await;
    let servers = [&app.client, &second];
    let one_address =
        passed(30, async |n| ask(servers[n % 2], &random_phone(), "203.0.113.1").await);
    let one_address = one_address.await;
    assert!(one_address >= 20, "{one_address}");
    let neighbours = passed(200, async |n| {
        ask(servers[n % 2], &random_phone(), &format!("203.0.113.{}", 2 + n / 10)).await
    });
    let neighbours = neighbours.await;
    assert!((75..130).contains(&neighbours), "{neighbours}");
    ask(&app.client, &random_phone(), "203.0.114.1").await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn pumping_stops_at_the_cost_cap() {
    let (app, inbox) = start(25).await;
    let pump = (0..100).map(|n| {
        let client = app.client.clone();
        async move { ask(&client, &random_phone(), &format!("203.{n}.113.1")).await.status }
    });
    let statuses = join_all(pump).await;
    assert!(statuses.iter().all(|status| [202, 429].contains(status)));
    app.run_jobs().await;
    // Requests that are counted side by side may pass together, one per connection to the database.
    let sent = inbox.messages().await.len();
    assert!((25..=33).contains(&sent), "{sent}");
    wait_s(ask(&app.client, &random_phone(), "198.51.100.7").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_without_redis() {
    let inbox = SmsInbox::open().await;
    let app = TestApp::start_with(|config| {
        config.sms.endpoint = inbox.url();
        config.rate_limits.enabled = true;
        config.redis = RedisConfig::at("redis://127.0.0.1:9/", "nobody:");
    })
    .await;
    let phone = random_phone();
    ask(&app.client, &phone, "").await.expect(202);
    wait_s(ask(&app.client, &phone, "").await);
    // Another server has another memory, but the same database.
    let second = app.second_server().await;
    wait_s(ask(&second, &phone, "").await);
    let more = passed(30, async |_| ask(&app.client, &random_phone(), "").await).await;
    assert!(more >= 19, "{more}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_dead_after_five_guesses() {
    let (app, inbox) = start(1_000).await;
    let phone = random_phone();
    let challenge = ask(&app.client, &phone, "203.0.113.1").await.expect(202);
    app.run_jobs().await;
    let code = inbox.code_to(&phone).await;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let id = challenge.str("challenge_id");
    let answers = join_all((0..30).map(|_| guess(&app.client, id, wrong))).await;
    let counted = answers.iter().filter(|answer| answer.str("code") == "otp_invalid").count();
    assert_eq!(counted, 5);
    let right = guess(&app.client, id, &code).await;
    assert!(right.headers.contains_key("retry-after"));
    right.expect_problem(429, "otp_too_many_attempts");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_whether_a_number_has_an_account() {
    let (app, inbox) = start(1_000).await;
    let known = app.driver().await.phone;
    let unknown = random_phone();
    let shape = |answer: &Answer| {
        let fields = answer.json.as_object().unwrap();
        (answer.status, fields.keys().cloned().collect::<Vec<_>>(), answer.text.len())
    };
    let one = ask(&app.client, &known, "203.0.113.1").await;
    let other = ask(&app.client, &unknown, "203.0.113.2").await;
    assert_eq!(shape(&one), shape(&other));
    let one = guess(&app.client, one.str("challenge_id"), "000000").await;
    let other = guess(&app.client, other.str("challenge_id"), "000000").await;
    assert_eq!((one.status, one.str("code")), (other.status, other.str("code")));
    app.run_jobs().await;
    assert_eq!(inbox.messages().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_a_password_locks_the_guesser_and_not_the_owner() {
    let (app, _inbox) = start(1_000).await;
    app.employ("ke-toan", "mat khau that", RoleName::Finance, None).await;
    let try_with = |username: &str, password: &str, address: &str| {
        let body = json!({"grant_type": "password", "username": username, "password": password});
        let request = app.client.post("/v1/auth/token").header("x-forwarded-for", address);
        request.json(body).send()
    };
    let guesses = passed(20, async |_| try_with("ke-toan", "sai", "203.0.113.66").await).await;
    assert!(guesses >= 10, "{guesses}");
    wait_s(try_with("ke-toan", "mat khau that", "203.0.113.66").await);
    try_with("ke-toan", "mat khau that", "198.51.100.7").await.expect(200);
    // A name that does not exist is limited just the same.
    let guesses = passed(20, async |_| try_with("khong-co", "sai", "203.0.113.67").await).await;
    assert!(guesses >= 10, "{guesses}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_driver_cannot_flood_and_hinders_nobody() {
    let (app, _inbox) = start(1_000).await;
    let (flooder, other) = (app.driver().await, app.driver().await);
    let calls = (0..800).map(|_| flooder.get("/v1/me").send());
    let answers = join_all(calls).await;
    let refused = answers.iter().filter(|answer| answer.status == 429).count();
    assert!(refused > 0, "300 a minute");
    assert!(answers.iter().all(|answer| [200, 429].contains(&answer.status)));
    other.get("/v1/me").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_flood_the_search_and_hinders_nobody() {
    let (app, _inbox) = start(1_000).await;
    let search = |address: &'static str| {
        let path = "/v1/lots/search?lat=21.0287&lng=105.8524";
        app.client.get(path).header("x-forwarded-for", address).send()
    };
    let mut refused = 0;
    for _ in 0..40 {
        let answers = join_all((0..100).map(|_| search("203.0.113.1"))).await;
        refused += answers.iter().filter(|answer| answer.status == 429).count();
        if refused > 0 {
            break;
        }
    }
    assert!(refused > 0, "600 a minute");
    assert_ne!(search("203.0.113.2").await.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_others_are_not_believed() {
    let app = TestApp::start().await;
    let driver = app.driver().await;
    let good = driver.token();
    driver.get("/v1/me").send().await.expect(200);
    let (message, _) = good.rsplit_once('.').unwrap();
    for bad in [
        "x".to_owned(),
        "a.b.c".to_owned(),
        format!("{message}."),
        format!("{good}.x"),
        format!("{message}.{}", "A".repeat(86)),
        "A".repeat(7_000),
        format!("ipk_{}", "A".repeat(43)),
        "ipk_".to_owned(),
        "ipk_ố".to_owned(),
    ] {
        let answer = app.client.get("/v1/me").header("authorization", &format!("Bearer {bad}"));
        let answer = answer.send().await.expect_problem(401, "unauthenticated");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    for header in ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", &good, "Bearer\t"] {
        let answer = app.client.get("/v1/me").header("authorization", header).send().await;
        answer.expect_problem(401, "unauthenticated");
    }
    let two = app.client.get("/v1/me").token(&good).header("authorization", "Bearer x");
    two.send().await.expect_problem(401, "unauthenticated");
    // A megabyte of token is more header than any request may have.
    let huge = app.client.get("/v1/me").header("authorization", &"A".repeat(1 << 20)).unchecked();
    if let Ok(answer) = huge.try_send().await {
        assert!((400..500).contains(&answer.status), "{}", answer.status);
    }
    // Not in the query, where logs would keep it.
    let query = app.client.get(&format!("/v1/me?access_token={good}")).send().await;
    query.expect_problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_not_believed() {
    let app = TestApp::start().await;
    let device = app.device(app.operator().await).await;
    let Principal::Device(key) = device.principal else { panic!("a device has a key") };
    let mut conn = app.pool().acquire().await.unwrap();
    operators::store::revoke_api_key(&mut conn, key.api_key_id, app.app.now()).await.unwrap();
    // This server never saw the key before, so there is no half minute of memory to wait for.
    device.get("/v1/operator/lots").send().await.expect_problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bodies_are_refused_and_never_break_anything() {
    let app = TestApp::start().await;
    let driver = app.driver().await;
    let deep = "[".repeat(8_000);
    let long = format!(r#"{{"phone": "{}"}}"#, "9".repeat(15_000));
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"null".to_vec(),
        b"{".to_vec(),
        b"\xff\xfe{}".to_vec(),
        b"{\"phone\": \"\xc3\x28\"}".to_vec(),
        br#"{"phone": "0912345678\u0000"}"#.to_vec(),
        br#"{"phone": "\ud800"}"#.to_vec(),
        br#"{"phone": 84912345678}"#.to_vec(),
        br#"{"phone": "0912345678", "phone": "0912345679"}"#.to_vec(),
        br#"{"phone": "0912345678", "admin": true}"#.to_vec(),
        br#"{"grant_type": "otp", "challenge_id": "x", "code": "123456"}"#.to_vec(),
        br#"{"grant_type": "magic"}"#.to_vec(),
        br#"{"grant_type": ["otp"]}"#.to_vec(),
        br#"{"plate": "30F-254.38\u0000", "vehicle_class": "car"}"#.to_vec(),
        br#"{"plate": 1e999, "vehicle_class": "car"}"#.to_vec(),
        deep.into_bytes(),
        long.into_bytes(),
        vec![b' '; 17_000],
    ];
    for path in ["/v1/auth/otp", "/v1/auth/token", "/v1/auth/logout", "/v1/me/vehicles"] {
        for body in &bodies {
            let request = driver.post(path).raw("application/json", body.clone());
            let answer = request.send().await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            assert!((400..500).contains(&answer.status), "{path} {shown}: {}", answer.text);
            assert_ne!(answer.json["code"], Value::Null, "{path} {shown}");
        }
        let answer = driver.post(path).raw("text/plain", "{}").send().await;
        answer.expect_problem(415, "unsupported_media_type");
    }
}
