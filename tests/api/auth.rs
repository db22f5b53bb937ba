//! Logging in, staying logged in, logging out.

use std::time::Duration;

use futures_util::future::join_all;
use iparking::auth::{Principal, RoleName};
use iparking::operators;
use serde_json::{Value, json};

use crate::support::actors::random_phone;
use crate::support::app::TestApp;
use crate::support::client::{Answer, Client};
use crate::support::sms::SmsInbox;

async fn start() -> (TestApp, SmsInbox) {
    let inbox = SmsInbox::open().await;
    let app = TestApp::start_with(|config| config.sms.endpoint = inbox.url()).await;
    (app, inbox)
}

async fn ask_for_code(client: &Client, phone: &str) -> Answer {
    client.post("/v1/auth/otp").json(json!({"phone": phone})).send().await
}

async fn answer_with(client: &Client, challenge: &str, code: &str) -> Answer {
    let body = json!({"grant_type": "otp", "challenge_id": challenge, "code": code});
    client.post("/v1/auth/token").json(body).send().await
}

async fn renew(client: &Client, refresh_token: &str) -> Answer {
    let body = json!({"grant_type": "refresh_token", "refresh_token": refresh_token});
    client.post("/v1/auth/token").json(body).send().await
}

async fn log_in(app: &TestApp, inbox: &SmsInbox, phone: &str) -> Answer {
    let challenge = ask_for_code(&app.client, phone).await.expect(202);
    app.run_jobs().await;
    let code = inbox.code_to(phone).await;
    answer_with(&app.client, challenge.str("challenge_id"), &code).await.expect(200)
}

async fn me(client: &Client, token: &str) -> Answer {
    client.get("/v1/me").token(token).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_logs_in_with_the_code_that_was_sent() {
    let (app, inbox) = start().await;
    let challenge = ask_for_code(&app.client, "0912 345 678").await.expect(202);
    assert_eq!(challenge.int("resend_after_s"), 60);
    app.run_jobs().await;
    let messages = inbox.messages().await;
    let (to, text) = &messages[0];
    assert_eq!(to, "+84912345678");
    let code = inbox.code_to("+84912345678").await;
    assert_eq!(
        *text,
        format!("iParking: ma xac nhan cua ban la {code}. Hieu luc 3 phut. Khong chia se ma nay.")
    );
    let tokens = answer_with(&app.client, challenge.str("challenge_id"), &code).await.expect(200);
    assert_eq!((tokens.str("token_type"), tokens.int("expires_in")), ("Bearer", 600));
    assert_eq!(tokens.headers["cache-control"], "no-store");
    let profile = me(&app.client, tokens.str("access_token")).await.expect(200);
    assert_eq!(profile.str("phone"), "+84912345678");
    // The second login is the same driver.
    app.advance(Duration::from_mins(2));
    let again = log_in(&app, &inbox, "+84912345678").await;
    let again = me(&app.client, again.str("access_token")).await.expect(200);
    assert_eq!(again.str("id"), profile.str("id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_works_once_and_not_for_ever() {
    let (app, inbox) = start().await;
    let phone = random_phone();
    let first = ask_for_code(&app.client, &phone).await.expect(202);
    app.run_jobs().await;
    let code = inbox.code_to(&phone).await;
    let id = first.str("challenge_id");
    answer_with(&app.client, id, &code).await.expect(200);
    answer_with(&app.client, id, &code).await.expect_problem(401, "otp_invalid");

    let second = ask_for_code(&app.client, &phone).await.expect(202);
    app.run_jobs().await;
    let code = inbox.code_to(&phone).await;
    app.advance(Duration::from_secs(181));
    let late = answer_with(&app.client, second.str("challenge_id"), &code).await;
    late.expect_problem(401, "otp_expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_used_by_twenty_at_once_logs_one_in() {
    let (app, inbox) = start().await;
    let phone = random_phone();
    let challenge = ask_for_code(&app.client, &phone).await.expect(202);
    app.run_jobs().await;
    let code = inbox.code_to(&phone).await;
    // Four besides the right one may be lost to the guess counter; never two may win.
    let tries = (0..20).map(|_| answer_with(&app.client, challenge.str("challenge_id"), &code));
    let answers = join_all(tries).await;
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(won, 1);
    assert!(answers.iter().all(|answer| [200, 401].contains(&answer.status)));
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_parallel_renewals_make_one_successor() {
    let (app, inbox) = start().await;
    let tokens = log_in(&app, &inbox, &random_phone()).await;
    let first = tokens.str("refresh_token");
    let answers = join_all((0..20).map(|_| renew(&app.client, first))).await;
    let successors: std::collections::BTreeSet<String> = answers
        .into_iter()
        .map(|answer| answer.expect(200).str("refresh_token").to_owned())
        .collect();
    assert_eq!(successors.len(), 1);
    let successor = successors.first().unwrap();
    assert_ne!(successor, first);
    renew(&app.client, successor).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_repeated_and_a_late_repeat_ends_the_login() {
    let (app, inbox) = start().await;
    let tokens = log_in(&app, &inbox, &random_phone()).await;
    let first = tokens.str("refresh_token");
    let second = renew(&app.client, first).await.expect(200);
    app.advance(Duration::from_secs(15));
    let repeat = renew(&app.client, first).await.expect(200);
    assert_eq!(repeat.str("refresh_token"), second.str("refresh_token"));
    app.advance(Duration::from_secs(10));
    renew(&app.client, first).await.expect_problem(401, "refresh_token_reused");
    // The thief's and the owner's tokens are dead alike, access tokens too.
    let dead = renew(&app.client, second.str("refresh_token")).await;
    dead.expect_problem(401, "bad_credentials");
    me(&app.client, repeat.str("access_token")).await.expect_problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_immediate_predecessor_may_come_again() {
    let (app, inbox) = start().await;
    let tokens = log_in(&app, &inbox, &random_phone()).await;
    let second = renew(&app.client, tokens.str("refresh_token")).await.expect(200);
    let third = renew(&app.client, second.str("refresh_token")).await.expect(200);
    let old = renew(&app.client, tokens.str("refresh_token")).await;
    old.expect_problem(401, "refresh_token_reused");
    renew(&app.client, third.str("refresh_token")).await.expect_problem(401, "bad_credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_runs_out_when_it_is_not_used() {
    let (app, inbox) = start().await;
    let tokens = log_in(&app, &inbox, &random_phone()).await;
    app.advance(Duration::from_hours(59 * 24));
    let second = renew(&app.client, tokens.str("refresh_token")).await.expect(200);
    app.advance(Duration::from_hours(61 * 24));
    renew(&app.client, second.str("refresh_token")).await.expect_problem(401, "bad_credentials");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_lives_ten_minutes() {
    let (app, inbox) = start().await;
    let tokens = log_in(&app, &inbox, &random_phone()).await;
    app.advance(Duration::from_secs(590));
    me(&app.client, tokens.str("access_token")).await.expect(200);
    app.advance(Duration::from_secs(20));
    me(&app.client, tokens.str("access_token")).await.expect_problem(401, "token_expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_ends_the_login_on_every_server() {
    let (app, inbox) = start().await;
    let second_server = app.second_server().await;
    for by_refresh_token in [true, false] {
        let tokens = log_in(&app, &inbox, &random_phone()).await;
        let access = tokens.str("access_token");
        me(&second_server, access).await.expect(200);
        let logout = app.client.post("/v1/auth/logout");
        let logout = if by_refresh_token {
            logout.json(json!({"refresh_token": tokens.str("refresh_token")}))
        } else {
            logout.token(access)
        };
        logout.send().await.expect(204);
        me(&app.client, access).await.expect_problem(401, "unauthenticated");
        renew(&app.client, tokens.str("refresh_token"))
            .await
            .expect_problem(401, "bad_credentials");
        let mut answer = me(&second_server, access).await;
        for _ in 0..200 {
            if answer.status == 401 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            answer = me(&second_server, access).await;
        }
        answer.expect_problem(401, "unauthenticated");
    }
    // Wishes that are fulfilled already, and those of nobody.
    let logout = |body: Value| app.client.post("/v1/auth/logout").json(body).send();
    logout(json!({"refresh_token": "ipr_nonsense"})).await.expect(204);
    app.client.post("/v1/auth/logout").send().await.expect_problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn staff_log_in_with_a_password() {
    let (app, _inbox) = start().await;
    app.employ("ke-toan", "đúng mật khẩu", RoleName::Finance, None).await;
    let try_with = |username: &str, password: &str| {
        let body = json!({"grant_type": "password", "username": username, "password": password});
        app.client.post("/v1/auth/token").json(body).send()
    };
    let tokens = try_with("Ke-Toan", "đúng mật khẩu").await.expect(200);
    renew(&app.client, tokens.str("refresh_token")).await.expect(200);
    let wrong = try_with("ke-toan", "sai").await.expect_problem(401, "bad_credentials");
    let unknown = try_with("ai-do", "sai").await.expect_problem(401, "bad_credentials");
    let without_id = |answer: &Answer| {
        let mut json = answer.json.clone();
        json["instance"] = Value::Null;
        json
    };
    assert_eq!(without_id(&wrong), without_id(&unknown));
    for strange in ["", "a b", "' or 1=1 --", "ạ"] {
        assert_eq!(try_with(strange, "x").await.status / 100, 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dismissed_staff_are_out_at_once() {
    let (app, _inbox) = start().await;
    let finance = app.finance().await;
    let token = finance.token();
    let books = |token: &str| app.client.get("/v1/finance/trial-balance").token(token).send();
    books(&token).await.expect(200);
    let Principal::Staff(staff) = finance.principal else { panic!("finance is staff") };
    let mut conn = app.pool().acquire().await.unwrap();
    operators::store::disable_staff(&mut conn, staff.id, app.app.now()).await.unwrap();
    books(&token).await.expect_problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_keys_are_served() {
    let (app, _inbox) = start().await;
    let keys = app.client.get("/.well-known/jwks.json").send().await.expect(200);
    let key = &keys.json["keys"][0];
    assert_eq!((&key["kty"], &key["crv"]), (&json!("OKP"), &json!("Ed25519")));
    assert!(key.get("d").is_none(), "the private part stays at home");
}
