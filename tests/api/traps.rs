//! Faults of the libraries we stand on, measured before this product was built; each has a guard
//! in `platform/` or `web/`, and each guard has a test here.

use std::time::{Duration, Instant};

use iparking::platform::App;
use iparking::platform::config::{Config, DatabaseConfig, RedisConfig};
use iparking::platform::db::{Db, DbError};
use iparking::platform::idempotency::{self, Answer, Known};
use iparking::{in_tx, on_conn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app::TestApp;
use crate::support::db::{TestDb, redis_url};
use crate::support::proxy::Proxy;

/// The address of a server and the same URL by way of a proxy before it.
async fn by_proxy(url: &str, default_port: u16) -> (Proxy, String) {
    let mut url = url::Url::parse(url).unwrap();
    let host = url.host_str().unwrap().to_owned();
    let port = url.port().unwrap_or(default_port);
    let target = tokio::net::lookup_host((host, port)).await.unwrap().next().unwrap();
    let proxy = Proxy::before(target).await;
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(proxy.address.port())).unwrap();
    (proxy, url.to_string())
}

async fn app_by_proxy(db: &TestDb) -> (Proxy, App) {
    let (proxy, url) = by_proxy(&db.url(), 5432).await;
    let mut config = Config { database: DatabaseConfig::at(&url), ..Config::default() };
    config.database.connections_max = 4;
    config.database.acquire_timeout_ms = 1_000;
    let database = Db::new(&config.database).unwrap();
    let clock = std::sync::Arc::new(iparking::kernel::clock::SystemClock);
    let rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    (proxy, App::new(config, database, clock, rng))
}

async fn ask(app: &App) -> Result<i64, DbError> {
    on_conn!(app.db(), |conn| {
        sqlx::query_scalar::<_, i64>("select 1::bigint")
            .fetch_one(conn)
            .await
            .map_err(DbError::from)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_whose_network_died_silently_works_again_once_it_heals() {
    let db = TestDb::create().await;
    let (proxy, app) = app_by_proxy(&db).await;
    for _ in 0..4 {
        ask(&app).await.unwrap();
    }
    proxy.go_silent();
    let questions = (0..12).map(|_| {
        let app = app.clone();
        tokio::spawn(async move { ask(&app).await.is_err() })
    });
    for question in questions.collect::<Vec<_>>() {
        assert!(question.await.unwrap(), "no answer can come through a dead network");
    }
    proxy.heal();
    // With the bare pool no permit ever came back: 0 answers in 70 s (transact-rs/sqlx#4349).
    let deadline = Instant::now() + Duration::from_secs(30);
    while ask(&app).await.is_err() {
        assert!(Instant::now() < deadline, "the pool is wedged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_fell_silent_is_reached_again_once_it_heals() {
    let db = TestDb::create().await;
    let (proxy, url) = by_proxy(&redis_url(), 6379).await;
    let mut config = Config { database: DatabaseConfig::at(&db.url()), ..Config::default() };
    config.redis = RedisConfig::at(&url, "trap:");
    let database = Db::new(&config.database).unwrap();
    let clock = std::sync::Arc::new(iparking::kernel::clock::SystemClock);
    let rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    let app = App::new(config, database, clock, rng);
    let ping = || async { app.redis().ask::<String>(&redis::cmd("PING")).await };
    let deadline = Instant::now() + Duration::from_secs(30);
    while ping().await.is_err() {
        assert!(Instant::now() < deadline, "redis is there at first");
    }
    proxy.go_silent();
    for _ in 0..5 {
        ping().await.unwrap_err();
    }
    assert!(!app.redis().is_well());
    proxy.heal();
    // A bare ConnectionManager failed for ever: it does not reconnect when answers time out.
    let deadline = Instant::now() + Duration::from_secs(30);
    while ping().await.is_err() {
        assert!(Instant::now() < deadline, "redis is never reached again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_arrive_is_given_up() {
    let app = TestApp::start_with(|config| config.server.body_timeout_ms = 300).await;
    let address = app.client.base.trim_start_matches("http://").to_owned();
    for framing in ["content-length: 100", "transfer-encoding: chunked"] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let head = format!(
            "POST /v1/auth/otp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{framing}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        let ended = tokio::time::timeout(Duration::from_secs(20), reading).await;
        assert!(ended.is_ok(), "the connection stays open for a body that never comes");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 408"), "{framing}: {answer}");
        assert!(answer.contains("request_timeout"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_never_came_is_unknown_and_done_once_under_the_same_key() {
    let db = TestDb::create().await;
    let (proxy, app) = app_by_proxy(&db).await;
    let body = serde_json::json!({"amount_vnd": 5});
    let request = idempotency::Request::new("driver:x".into(), "key-1".into(), "POST /x", &body);
    let answer = Answer { status: 201, body: r#"{"id":1}"#.into() };
    let attempt = || async {
        in_tx!(app.db(), "test.commit_unknown", |tx| {
            match idempotency::claim(tx, &request, app.now()).await? {
                Known::Fresh => {
                    sqlx::query("insert into ledger_accounts (code, name, kind, created_at) values ('effect', 'x', 'asset', now())")
                        .execute(&mut *tx).await.map_err(DbError::from)?;
                    idempotency::remember(tx, &request, &answer).await?;
                    Ok::<_, DbError>(answer.clone())
                }
                Known::Answered(earlier) => Ok(earlier),
                Known::Reused => panic!("the same request"),
            }
        })
    };
    proxy.cut_after_next_commit();
    let first = attempt().await;
    assert!(proxy.has_cut());
    assert!(matches!(first, Err(DbError::CommitUnknown(_))), "{first:?}");
    let second = attempt().await.unwrap();
    assert_eq!(second, answer);
    let effects: i64 =
        sqlx::query_scalar("select count(*) from ledger_accounts where code = 'effect'")
            .fetch_one(app.db().pool())
            .await
            .unwrap();
    assert_eq!(effects, 1);
}
