//! The database: one pool, transactions by name, and what its errors mean.
//!
//! All access goes through [`in_tx!`](crate::in_tx) and [`on_conn!`](crate::on_conn). They guard
//! against two measured faults of the pool: a connection whose network died silently never gives
//! its permit back (transact-rs/sqlx issue 4349), and a handler dropped between two awaits would
//! return a connection in the middle of a transaction. In both cases the connection is closed
//! instead of going back, and Postgres rolls back.

use std::error::Error;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Executor, Postgres};

use super::config::DatabaseConfig;

/// How often a transaction that lost a serialisation or deadlock conflict is tried in all.
pub const TX_TRIES: u32 = 5;

/// The most time one transaction or read may take on our side: a second above what Postgres
/// itself allows a statement, so that its own refusal arrives first.
pub const WORK_MS_MAX: u64 = 8_000;

/// The database as the product sees it.
#[derive(Clone)]
pub struct Db {
    pool: PgPool,
}

/// What went wrong at the database.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// Not reachable, no connection free in time, or no answer in time: nothing was decided.
    #[error("the database is not available")]
    Unavailable(#[source] Option<sqlx::Error>),
    /// The answer to COMMIT never came: it may or may not have happened.
    #[error("the outcome of a commit is unknown")]
    CommitUnknown(#[source] sqlx::Error),
    /// A row somebody else holds was not released in time.
    #[error("a lock was not released in time")]
    Busy(#[source] sqlx::Error),
    /// A conflict with another transaction; trying again helps.
    #[error("a conflict with another transaction")]
    Conflict(#[source] sqlx::Error),
    /// Anything else: a defect of ours.
    #[error("a statement failed")]
    Statement(#[source] sqlx::Error),
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> DbError {
        let code = match &error {
            sqlx::Error::Database(inner) => inner.code().unwrap_or_default().into_owned(),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_) => return DbError::Unavailable(Some(error)),
            _ => return DbError::Statement(error),
        };
        match code.as_str() {
            // serialization_failure, deadlock_detected
            "40001" | "40P01" => DbError::Conflict(error),
            // lock_not_available, query_canceled (statement_timeout)
            "55P03" | "57014" => DbError::Busy(error),
            // Shutting down, starting up, crash of another backend, too many connections, disk full.
            "57P01" | "57P02" | "57P03" | "53300" | "53100" | "25P03" => {
                DbError::Unavailable(Some(error))
            }
            _ => DbError::Statement(error),
        }
    }
}

impl DbError {
    /// The name of the violated constraint, if that is what went wrong.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            DbError::Statement(sqlx::Error::Database(inner)) => inner.constraint(),
            DbError::Statement(_)
            | DbError::Unavailable(_)
            | DbError::CommitUnknown(_)
            | DbError::Busy(_)
            | DbError::Conflict(_) => None,
        }
    }

    /// Whether the same call may succeed in a moment (answered 503 with `Retry-After`).
    pub fn is_passing(&self) -> bool {
        !matches!(self, DbError::Statement(_))
    }
}

/// The database error inside a domain's error, if there is one.
pub fn db_error_in<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e DbError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<DbError>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

impl Db {
    /// Prepares the pool; connects when first asked.
    pub fn new(config: &DatabaseConfig) -> Result<Db, sqlx::Error> {
        let options: PgConnectOptions = config.url_exposed().parse()?;
        let options = options.application_name("iparking").options([
            ("statement_timeout", "7s"),
            ("lock_timeout", "3s"),
            ("idle_in_transaction_session_timeout", "10s"),
            // A plan made for the first few arguments can be far off later; ours are all keyed.
            ("plan_cache_mode", "auto"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(config.connections_max)
            .min_connections(0)
            .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
            // The guards throw broken connections away; a ping on each use costs a round trip.
            .test_before_acquire(false)
            .max_lifetime(Duration::from_mins(30))
            .connect_lazy_with(options);
        Ok(Db { pool })
    }

    /// The bare pool, for migrations and the start-up checks.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Takes a connection. Use [`on_conn!`](crate::on_conn).
    pub async fn lease(&self) -> Result<Lease, DbError> {
        // A connection that the server closed while it lay idle shows only when used: try a few.
        Ok(Lease { conn: Some(self.pool.acquire().await?), in_tx: false })
    }

    /// Begins a transaction. Use [`in_tx!`](crate::in_tx).
    pub async fn begin(&self) -> Result<Lease, DbError> {
        let mut stale = 0;
        loop {
            let mut lease = self.lease().await?;
            match (&mut *lease).execute("begin").await {
                Ok(_) => {
                    lease.in_tx = true;
                    return Ok(lease);
                }
                // After a restart of Postgres every pooled connection is dead: go through them.
                Err(error) if stale < 64 => {
                    stale += 1;
                    drop(lease);
                    let error = DbError::from(error);
                    if !matches!(error, DbError::Unavailable(_)) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A real question on a fresh connection, for `/readyz`.
    pub async fn ping(&self) -> Result<(), DbError> {
        let options = self.pool.connect_options();
        let mut conn = PgConnection::connect_with(&options).await?;
        (&mut conn).execute("select 1").await?;
        conn.close().await?;
        Ok(())
    }
}

/// A connection on loan. If it is dropped before [`Lease::finish`], it is closed.
pub struct Lease {
    conn: Option<PoolConnection<Postgres>>,
    in_tx: bool,
}

impl Lease {
    /// Gives a healthy connection back; ends the transaction if there is one.
    pub async fn finish(mut self, keep_changes: bool) -> Result<(), DbError> {
        if self.in_tx {
            let statement = if keep_changes { "commit" } else { "rollback" };
            let done = (&mut *self).execute(statement).await;
            if let Err(error) = done {
                return Err(match (keep_changes, DbError::from(error)) {
                    (true, DbError::Unavailable(Some(error))) => DbError::CommitUnknown(error),
                    (_, error) => error,
                });
            }
        }
        drop(self.conn.take());
        Ok(())
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    #[expect(
        clippy::expect_used,
        reason = "the connection is taken only by finish, which consumes"
    )]
    fn deref(&self) -> &PgConnection {
        self.conn.as_ref().expect("a lease holds its connection until it is finished")
    }
}

impl DerefMut for Lease {
    #[expect(
        clippy::expect_used,
        reason = "the connection is taken only by finish, which consumes"
    )]
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.conn.as_mut().expect("a lease holds its connection until it is finished")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take() {
            // Off the pool, then closed: its permit is free again whatever the network does.
            drop(conn.detach());
            metrics::counter!("db_connections_thrown_away_total").increment(1);
        }
    }
}

/// Waits a little, longer each time, before a transaction is tried again.
pub async fn pause_before_retry(name: &'static str, tries: u32) {
    metrics::counter!("db_transaction_retries_total", "name" => name).increment(1);
    let spread = rand::random_range(0..20_u64);
    tokio::time::sleep(Duration::from_millis(u64::from(tries) * 10 + spread)).await;
}

/// Runs a block in one transaction: `in_tx!(app.db(), "payments.settle", |tx| { … })`.
///
/// The block is an async body that sees `tx: &mut PgConnection` and gives `Result<T, E>` with
/// `E: From<DbError> + Error`. `Ok` commits, `Err` rolls back. A conflict with another
/// transaction runs the block again, [`TX_TRIES`] times in all.
/// Nothing slow and no call outside belongs in it.
#[macro_export]
macro_rules! in_tx {
    ($db:expr, $name:literal, |$tx:ident| $body:expr) => {{
        let mut tries = 0_u32;
        loop {
            tries += 1;
            let mut lease = match $db.begin().await {
                Ok(lease) => lease,
                Err(error) => break Err(error.into()),
            };
            let work = async {
                let $tx: &mut sqlx::postgres::PgConnection = &mut *lease;
                $body
            };
            let limit = std::time::Duration::from_millis($crate::platform::db::WORK_MS_MAX);
            let outcome = match tokio::time::timeout(limit, work).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => {
                    break Err($crate::platform::db::DbError::Unavailable(None).into());
                }
            };
            match outcome {
                Ok(value) => match lease.finish(true).await {
                    Ok(()) => break Ok(value),
                    Err($crate::platform::db::DbError::Conflict(_))
                        if tries < $crate::platform::db::TX_TRIES => {}
                    Err(error) => break Err(error.into()),
                },
                Err(error) => {
                    let conflict = matches!(
                        $crate::platform::db::db_error_in(&error),
                        Some($crate::platform::db::DbError::Conflict(_))
                    );
                    // A broken connection cannot roll back; closing it does the same.
                    drop(lease.finish(false).await);
                    if !conflict || tries >= $crate::platform::db::TX_TRIES {
                        break Err(error);
                    }
                }
            }
            $crate::platform::db::pause_before_retry($name, tries).await;
        }
    }};
}

/// Runs a block of reads, or one statement that is its own transaction, on a connection:
/// `on_conn!(app.db(), |conn| { … })`. Same rules as [`in_tx!`](crate::in_tx), no retries.
#[macro_export]
macro_rules! on_conn {
    ($db:expr, |$conn:ident| $body:expr) => {
        match $db.lease().await {
            Err(error) => Err(error.into()),
            Ok(mut lease) => {
                let work = async {
                    let $conn: &mut sqlx::postgres::PgConnection = &mut *lease;
                    $body
                };
                let limit = std::time::Duration::from_millis($crate::platform::db::WORK_MS_MAX);
                match tokio::time::timeout(limit, work).await {
                    Ok(outcome) => {
                        let broken = match &outcome {
                            Ok(_) => false,
                            Err(error) => matches!(
                                $crate::platform::db::db_error_in(error),
                                Some($crate::platform::db::DbError::Unavailable(_))
                            ),
                        };
                        if broken {
                            drop(lease);
                        } else {
                            drop(lease.finish(false).await);
                        }
                        outcome
                    }
                    Err(_elapsed) => Err($crate::platform::db::DbError::Unavailable(None).into()),
                }
            }
        }
    };
}
