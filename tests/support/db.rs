//! Databases for tests: a template is migrated once, each test gets a clone of it.

use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};

/// A database of one test. Dropped at its end.
pub struct TestDb {
    admin_url: String,
    name: String,
}

fn env(name: &str) -> String {
    #[allow(clippy::disallowed_methods)]
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make test`"))
}

pub fn admin_url() -> String {
    env("DATABASE_URL")
}

pub fn redis_url() -> String {
    env("REDIS_URL")
}

fn with_database(url: &str, name: &str) -> String {
    let mut url = url::Url::parse(url).expect("DATABASE_URL is a URL");
    url.set_path(name);
    url.to_string()
}

async fn execute(conn: &mut PgConnection, statement: String) {
    conn.execute(AssertSqlSafe(statement)).await.expect("statement");
}

impl TestDb {
    pub async fn create() -> TestDb {
        let admin_url = admin_url();
        let template = ensure_template(&admin_url).await;
        let unique: u64 = rand::random();
        let name = format!("iparking_test_{unique:016x}");
        let mut conn = PgConnection::connect(&admin_url).await.expect("the tests' Postgres");
        execute(&mut conn, format!("create database {name} template {template}")).await;
        conn.close().await.expect("close");
        TestDb { admin_url, name }
    }

    pub fn url(&self) -> String {
        with_database(&self.admin_url, &self.name)
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let (url, name) = (self.admin_url.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let work = async {
                    let mut conn = PgConnection::connect(&url).await?;
                    let statement = format!("drop database if exists {name} with (force)");
                    conn.execute(AssertSqlSafe(statement)).await?;
                    conn.close().await
                };
                // A database that stays behind goes with the throw-away server.
                drop(tokio::time::timeout(Duration::from_secs(10), work).await);
            });
        });
        drop(dropping.join());
    }
}

/// Migrates the template once, however many tests start at the same time; its name holds the
/// hash of the migrations, so that a changed one makes a new template.
async fn ensure_template(admin_url: &str) -> String {
    let mut hasher = Sha256::new();
    for migration in iparking::cli::MIGRATIONS.iter() {
        hasher.update(&migration.checksum);
    }
    let hash = hex::encode(&hasher.finalize()[..6]);
    let name = format!("iparking_template_{hash}");
    let mut conn = PgConnection::connect(admin_url).await.expect("the tests' Postgres");
    let exists = "select exists (select 1 from pg_database where datname = $1 and datistemplate)";
    let ready: bool = sqlx::query_scalar(exists).bind(&name).fetch_one(&mut conn).await.unwrap();
    if !ready {
        execute(&mut conn, "select pg_advisory_lock(20261127)".into()).await;
        let ready: bool =
            sqlx::query_scalar(exists).bind(&name).fetch_one(&mut conn).await.unwrap();
        if !ready {
            execute(&mut conn, format!("drop database if exists {name} with (force)")).await;
            execute(&mut conn, format!("create database {name}")).await;
            let mut fresh =
                PgConnection::connect(&with_database(admin_url, &name)).await.expect("template");
            iparking::cli::MIGRATIONS.run(&mut fresh).await.expect("migrations");
            fresh.close().await.expect("close");
            execute(&mut conn, format!("alter database {name} is_template true")).await;
        }
    }
    conn.close().await.expect("close");
    name
}
