//! Redis: one multiplexed connection, short time-outs, a watchdog and a breaker.
//!
//! Redis holds pictures and counters that can be made again; no caller may depend on an answer.
//! Two traps of the library are guarded here: a `ConnectionManager` does not reconnect when
//! answers time out (redis-rs pull request 1032), and a black hole would cost every caller the
//! whole time-out. After three failures in a row the manager is thrown away and calls fail at
//! once for a moment; then one call tries again with a new connection.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError};

use super::config::RedisConfig;

/// Failures in a row after which the connection is made anew.
const FAILURES_MAX: u32 = 3;

/// How long calls fail at once after that.
const REST_MS: i64 = 500;

/// Redis did not answer in time, or is resting after failures.
#[derive(Debug, thiserror::Error)]
pub enum RedisDown {
    /// It failed a moment ago; not asked again yet.
    #[error("redis is resting after failures")]
    Resting,
    /// No answer in time.
    #[error("redis did not answer in time")]
    TimedOut,
    /// It answered with an error, or the connection broke.
    #[error("redis refused")]
    Refused(#[source] RedisError),
}

/// Access to Redis. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    client: Option<Client>,
    prefix: String,
    timeout: Duration,
    manager: Mutex<Option<ConnectionManager>>,
    failures: AtomicU32,
    started: Instant,
    rest_until_ms: AtomicI64,
}

impl Redis {
    /// Prepares access; connects when first asked. A URL that cannot be read behaves as a Redis
    /// that is down (`Config::load` refuses it before).
    pub fn new(config: &RedisConfig) -> Redis {
        let client = Client::open(config.url_exposed()).ok();
        Redis {
            inner: Arc::new(Inner {
                client,
                prefix: config.prefix.clone(),
                timeout: Duration::from_millis(config.timeout_ms),
                manager: Mutex::new(None),
                failures: AtomicU32::new(0),
                started: Instant::now(),
                rest_until_ms: AtomicI64::new(0),
            }),
        }
    }

    /// The installation's prefix and `name` as one key.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.inner.prefix)
    }

    /// Sends one command.
    pub async fn ask<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, RedisDown> {
        let mut conn = self.conn()?;
        self.judge(tokio::time::timeout(self.inner.timeout, command.query_async(&mut conn)).await)
    }

    /// Sends a pipeline.
    pub async fn ask_all<T: FromRedisValue>(&self, pipe: &redis::Pipeline) -> Result<T, RedisDown> {
        let mut conn = self.conn()?;
        self.judge(tokio::time::timeout(self.inner.timeout, pipe.query_async(&mut conn)).await)
    }

    /// Runs a script by its hash, loading it when Redis does not know it.
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &redis::ScriptInvocation<'_>,
    ) -> Result<T, RedisDown> {
        let mut conn = self.conn()?;
        self.judge(tokio::time::timeout(self.inner.timeout, script.invoke_async(&mut conn)).await)
    }

    /// A connection of one's own with its own time-out, for reads that block on a stream.
    pub async fn own_connection(
        &self,
        timeout: Duration,
    ) -> Result<MultiplexedConnection, RedisDown> {
        let client = self.inner.client.as_ref().ok_or(RedisDown::Resting)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_response_timeout(Some(timeout));
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(RedisDown::Refused)
    }

    /// Whether the last calls went well.
    pub fn is_well(&self) -> bool {
        self.inner.failures.load(Ordering::Relaxed) == 0
    }

    fn conn(&self) -> Result<ConnectionManager, RedisDown> {
        let inner = &self.inner;
        if self.elapsed_ms() < inner.rest_until_ms.load(Ordering::Relaxed) {
            return Err(RedisDown::Resting);
        }
        let mut slot = inner.manager.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(manager) = slot.as_ref() {
            return Ok(manager.clone());
        }
        let client = inner.client.as_ref().ok_or(RedisDown::Resting)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(Duration::from_secs(1)))
            .set_response_timeout(Some(inner.timeout));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config)
            .map_err(RedisDown::Refused)?;
        *slot = Some(manager.clone());
        Ok(manager)
    }

    fn judge<T>(
        &self,
        outcome: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
    ) -> Result<T, RedisDown> {
        let down = match outcome {
            Ok(Ok(answer)) => {
                self.inner.failures.store(0, Ordering::Relaxed);
                return Ok(answer);
            }
            // An answer that is an error (wrong type, script fault) is not a broken connection.
            Ok(Err(error)) if is_answer(&error) => return Err(RedisDown::Refused(error)),
            Ok(Err(error)) => RedisDown::Refused(error),
            Err(_elapsed) => RedisDown::TimedOut,
        };
        metrics::counter!("redis_failures_total").increment(1);
        if self.inner.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX {
            *self.inner.manager.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let until = self.elapsed_ms().saturating_add(REST_MS);
            self.inner.rest_until_ms.store(until, Ordering::Relaxed);
        }
        Err(down)
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.inner.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

fn is_answer(error: &RedisError) -> bool {
    !(error.is_io_error()
        || error.is_connection_dropped()
        || error.is_timeout()
        || error.is_connection_refusal())
        && matches!(
            error.kind(),
            redis::ErrorKind::Server(_) | redis::ErrorKind::UnexpectedReturnType
        )
        && !matches!(
            error.kind(),
            redis::ErrorKind::Server(
                redis::ServerErrorKind::BusyLoading | redis::ServerErrorKind::ReadOnly
            )
        )
}
