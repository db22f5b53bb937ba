//! The whole product for one test: its own database, its own Redis prefix, a real server on a
//! free port, a clock that is moved by hand, jobs that run when told.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use iparking::platform::App;
use iparking::platform::config::{Config, DatabaseConfig, RedisConfig};
use iparking::platform::db::Db;
use iparking::{server, worker};
use rand::SeedableRng;
use rand::rngs::StdRng;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::db::{TestDb, redis_url};
use iparking::kernel::clock::ManualClock;

pub const TEST_SECRET: &str = "a secret for tests only, 32 characters long";

/// A running product.
pub struct TestApp {
    pub client: Client,
    /// The private port.
    pub private: Client,
    pub app: App,
    pub clock: ManualClock,
    stop: CancellationToken,
    _keys: KeysDir,
    // Dropped last: the servers have let go by then, or are cut off.
    _db: TestDb,
}

impl TestApp {
    pub async fn start() -> TestApp {
        TestApp::start_with(|_config| {}).await
    }

    /// Starts with other settings than the tests' usual ones.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> TestApp {
        let db = TestDb::create().await;
        let keys = KeysDir::create();
        let mut config = test_config(&db.url(), &keys);
        change(&mut config);
        let clock = ManualClock::default();
        let app = connect(config, &clock);
        let stop = CancellationToken::new();
        let (client, private) = serve(app.clone(), stop.clone()).await;
        TestApp { client, private, app, clock, stop, _keys: keys, _db: db }
    }

    /// A second server on the same data, with its own connections.
    pub async fn second_server(&self) -> Client {
        let app = connect(self.app.config().clone(), &self.clock);
        serve(app, self.stop.clone()).await.0
    }

    /// Runs all jobs that are due, and those that they cause.
    pub async fn run_jobs(&self) -> usize {
        worker::run_due(&self.app).await.expect("jobs run")
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.clock.advance_ms(i64::try_from(by.as_millis()).unwrap());
    }

    pub fn pool(&self) -> &sqlx::PgPool {
        self.app.db().pool()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn connect(config: Config, clock: &ManualClock) -> App {
    let db = Db::new(&config.database).expect("database URL");
    App::new(config, db, Arc::new(clock.clone()), StdRng::from_rng(&mut rand::rng()))
}

async fn serve(app: App, stop: CancellationToken) -> (Client, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let private_listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()));
    let private = Client::new(&format!("http://{}", private_listener.local_addr().unwrap()));
    let parts = server::Parts::start(app).await.expect("the server starts");
    tokio::spawn(server::run(parts, listener, private_listener, stop));
    (client, private)
}

fn test_config(database_url: &str, keys: &KeysDir) -> Config {
    let unique: u64 = rand::random();
    let mut config = Config {
        database: DatabaseConfig::at(database_url),
        redis: RedisConfig::at(&redis_url(), &format!("test{unique:016x}:")),
        ..Config::default()
    };
    let secret = || SecretString::from(TEST_SECRET.to_owned());
    // A loaded machine answers late; what is late is tested with settings of its own.
    config.redis.timeout_ms = 2_000;
    config.database.connections_max = 8;
    config.database.acquire_timeout_ms = 15_000;
    config.server.workers = 2;
    config.server.drain_s = 1;
    config.auth.secret = secret();
    config.auth.keys_dir.clone_from(&keys.0);
    config.quotes.secret = secret();
    config.rate_limits.enabled = false;
    config.sms.endpoint = "http://127.0.0.1:9/sms".into();
    config.payments.return_hosts = vec!["127.0.0.1".into(), "localhost".into()];
    config.payments.vnpay.tmn_code = "IPARKTST".into();
    config.payments.vnpay.secret = SecretString::from("VNPAYTESTSECRETKEY0123456789".to_owned());
    config.payments.vnpay.pay_url = "http://127.0.0.1:9/paymentv2/vpcpay.html".into();
    config.payments.vnpay.api_url = "http://127.0.0.1:9/merchant_webapi/api/transaction".into();
    config
}

/// A directory with one signing key, made for the test.
struct KeysDir(PathBuf);

impl KeysDir {
    fn create() -> KeysDir {
        let unique: u64 = rand::random();
        let dir = std::env::temp_dir().join(format!("iparking-test-keys-{unique:016x}"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("2026-01.pem"), SIGNING_KEY).unwrap();
        KeysDir(dir)
    }
}

impl Drop for KeysDir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// An Ed25519 key made for these tests and used nowhere else.
const SIGNING_KEY: &str = include_str!("../fixtures/signing-key.pem");
