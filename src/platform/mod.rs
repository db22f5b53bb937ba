//! How we talk to machines: database, Redis, other servers, clock, settings, logs.
//!
//! Knows nothing of parking. Everything a handler or a job needs from outside hangs on [`App`].

pub mod audit_trail;
pub mod config;
pub mod db;
pub mod groups;
pub mod idempotency;
pub mod jobs;
pub mod outbound;
pub mod redis;
pub mod telemetry;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use crate::kernel::clock::Clock;
use crate::kernel::ids::uuid_v7;

/// The running product's access to the outside. Cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    config: config::Config,
    db: db::Db,
    redis: redis::Redis,
    outbound: outbound::Outbound,
    clock: Arc<dyn Clock>,
    rng: Mutex<StdRng>,
    /// The runtime that outlives every request: group writers and money steps run on it.
    runtime: tokio::runtime::Handle,
}

impl App {
    /// Puts the parts together. Must be called on the runtime that lives as long as the process.
    pub fn new(config: config::Config, db: db::Db, clock: Arc<dyn Clock>, rng: StdRng) -> App {
        let redis = redis::Redis::new(&config.redis);
        let outbound = outbound::Outbound::new(&config.outbound);
        let runtime = tokio::runtime::Handle::current();
        App {
            inner: Arc::new(Inner {
                config,
                db,
                redis,
                outbound,
                clock,
                rng: Mutex::new(rng),
                runtime,
            }),
        }
    }

    /// Connects as configured, with the system's clock and randomness. The database and Redis
    /// may still be down: connections are made when they are first needed.
    pub fn connect(config: config::Config) -> Result<App, sqlx::Error> {
        let db = db::Db::new(&config.database)?;
        let rng = StdRng::from_rng(&mut rand::rng());
        Ok(App::new(config, db, Arc::new(crate::kernel::clock::SystemClock), rng))
    }

    /// The settings.
    pub fn config(&self) -> &config::Config {
        &self.inner.config
    }

    /// The database.
    pub fn db(&self) -> &db::Db {
        &self.inner.db
    }

    /// The live picture in Redis; may be down at any time.
    pub fn redis(&self) -> &redis::Redis {
        &self.inner.redis
    }

    /// The one HTTP client for calls to others.
    pub fn outbound(&self) -> &outbound::Outbound {
        &self.inner.outbound
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// A new time-ordered id of the wanted type.
    pub fn new_id<T: From<Uuid>>(&self) -> T {
        let now = self.now();
        T::from(uuid_v7(now, &mut *self.lock_rng()))
    }

    /// Fresh random bytes from the injected generator (a CSPRNG seeded by the system).
    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.lock_rng().fill_bytes(&mut bytes);
        bytes
    }

    /// Runs `work` to its end even if the caller is dropped: a phone that loses its signal
    /// cancels the handler at an await, which must not happen between two money steps.
    /// `None` when the work panicked.
    pub async fn run_to_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        use tracing::Instrument;
        // A new task knows neither the span nor the request by itself.
        let request_id = telemetry::current_request_id();
        let work = async move {
            match request_id {
                Some(id) => telemetry::with_request_id(id, work).await,
                None => work.await,
            }
        };
        self.inner.runtime.spawn(work.in_current_span()).await.ok()
    }

    /// Starts a task that lives as long as the process.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.inner.runtime.spawn(work));
    }

    fn lock_rng(&self) -> std::sync::MutexGuard<'_, StdRng> {
        self.inner.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
