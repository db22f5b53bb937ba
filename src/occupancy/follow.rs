//! Keeps this server's memory true: loads the lots, follows the stream of changes, and reads
//! Postgres where the stream cannot be trusted.
//!
//! In step means: connected to the stream, no entry missing since the last full read. A broken
//! connection, a silent Redis, a missing number or an entry that is not ours ends that; then
//! numbers come from Postgres every few seconds until the stream is joined again.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;

use super::index::{Builder, Index};
use super::live;
use super::service::{Change, Occupancy};
use super::stream::{self, Position, StreamEntry, StreamError};
use crate::kernel::ids::LotId;
use crate::lots::capacity::CapacityRow;
use crate::lots::store;
use crate::on_conn;
use crate::platform::db::DbError;

/// A silent Redis is given up after this time; a read waits one second by itself.
const SILENCE: Duration = Duration::from_secs(3);

/// How often Postgres is asked whether lots changed.
const LOTS_EVERY: Duration = Duration::from_secs(1);

/// How often the lots are loaded anew even if they look unchanged: a transaction that took long
/// can commit an older time than one already seen.
const RELOAD_EVERY: Duration = Duration::from_mins(5);

/// How often all numbers are compared with Postgres, in step or not.
const COMPARE_EVERY: Duration = Duration::from_mins(1);

/// The shortest pause between reads of all numbers while out of step.
const POLL_PAUSE: Duration = Duration::from_secs(2);

/// Pause before Redis is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Lots in one statement.
const PAGE: i64 = 2_000;

/// The follower's notes.
struct Follower {
    occupancy: Occupancy,
    mark: Option<store::Mark>,
    looked: Instant,
    reloaded: Instant,
    compared: Instant,
    compare_pause: Duration,
    reload_wanted: bool,
}

/// Follows until the picture is stopped.
pub async fn run(occupancy: Occupancy) {
    let stopped = occupancy.stopped().clone();
    let now = Instant::now();
    let mut follower = Follower {
        occupancy,
        mark: None,
        looked: now,
        reloaded: now,
        compared: now,
        compare_pause: POLL_PAUSE,
        reload_wanted: true,
    };
    tokio::select! {
        () = stopped.cancelled() => {}
        () = follower.follow() => {}
    }
}

impl Follower {
    async fn follow(&mut self) {
        loop {
            if self.reload_wanted {
                self.reload().await;
            }
            match self.join().await {
                Ok((conn, position)) => {
                    let error = self.read_on(conn, position).await;
                    self.occupancy.set_in_step(false);
                    tracing::warn!(error = %error, "lost step with the stream of changes");
                }
                Err(error) => {
                    self.occupancy.set_in_step(false);
                    tracing::debug!(error = %error, "the stream of changes cannot be joined");
                }
            }
            self.look_after_lots().await;
            if self.compared.elapsed() >= self.compare_pause {
                self.compare().await;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Connects, notes where the stream ends, then reads all numbers: changes after that place
    /// come through the stream, those before it are in Postgres.
    async fn join(&mut self) -> Result<(MultiplexedConnection, Position), Lost> {
        let redis = self.occupancy.app().redis().clone();
        let (stream, counter) = (live::stream_key(&redis), live::counter_key(&redis));
        let connecting = tokio::time::timeout(SILENCE, redis.own_connection(SILENCE));
        let mut conn = connecting.await.map_err(|_elapsed| Lost::Silent)??;
        let position = stream::end(&mut conn, &stream, &counter).await?;
        if !self.compare().await || !self.occupancy.is_loaded() {
            return Err(Lost::NoNumbers);
        }
        self.occupancy.begin_at(position);
        self.occupancy.set_in_step(true);
        Ok((conn, position))
    }

    async fn read_on(&mut self, mut conn: MultiplexedConnection, from: Position) -> StreamError {
        let stream = live::stream_key(self.occupancy.app().redis());
        let mut position = from;
        loop {
            let entries = match stream::read_after(&mut conn, &stream, position).await {
                Ok(entries) => entries,
                Err(error) => return error,
            };
            for entry in entries {
                position = Position { id: entry.id, n: entry.n };
                self.take(entry);
            }
            self.look_after_lots().await;
            if self.compared.elapsed() >= COMPARE_EVERY {
                self.compare().await;
            }
        }
    }

    fn take(&mut self, entry: StreamEntry) {
        let index = self.occupancy.index();
        for (forced, row) in &entry.rows {
            let placed = if *forced { index.force(row) } else { index.offer(row).map(|_newer| ()) };
            self.reload_wanted |= placed.is_none();
        }
        drop(index);
        let rows = entry.rows.into_iter().map(|(_, row)| row).collect();
        self.occupancy.tell(Change::Rows(Some(entry.id), rows));
    }

    /// Loads the lots again when they changed.
    async fn look_after_lots(&mut self) {
        if self.looked.elapsed() >= LOTS_EVERY {
            self.looked = Instant::now();
            let db = self.occupancy.app().db().clone();
            let mark: Result<_, DbError> = on_conn!(db, |conn| store::mark(conn).await);
            self.reload_wanted |= mark.is_ok_and(|mark| self.mark != Some(mark));
        }
        if self.reload_wanted || self.reloaded.elapsed() >= RELOAD_EVERY {
            self.reload().await;
        }
    }

    async fn reload(&mut self) {
        let db = self.occupancy.app().db().clone();
        // The mark first: a change during the load shows as another mark afterwards.
        let mark: Result<_, DbError> = on_conn!(db, |conn| store::mark(conn).await);
        match (mark, self.load().await) {
            (Ok(mark), Ok(index)) => {
                tracing::info!(lots = index.len(), "loaded the lots");
                let old = self.occupancy.replace(index);
                self.mark = Some(mark);
                self.reload_wanted = false;
                self.reloaded = Instant::now();
                // A request that still has the old index in hand may write to it a moment longer.
                tokio::time::sleep(Duration::from_millis(20)).await;
                self.occupancy.index().take_over(&old);
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(error = %error, "the lots could not be loaded");
            }
        }
    }

    async fn load(&self) -> Result<Index, DbError> {
        let db = self.occupancy.app().db().clone();
        let mut builder = Builder::default();
        let mut after: Option<LotId> = None;
        loop {
            let page: Result<_, DbError> = on_conn!(db, |conn| {
                let lots = store::page(conn, after, PAGE).await?;
                let rows = match lots.last() {
                    Some(last) => store::capacities_between(conn, after, last.id).await?,
                    None => Vec::new(),
                };
                Ok((lots, rows))
            });
            let (lots, rows) = page?;
            let Some(last) = lots.last() else { break };
            after = Some(last.id);
            for row in &rows {
                builder.row(row);
            }
            for lot in lots {
                builder.lot(lot);
            }
        }
        // Sorting a hundred thousand lots takes a while; requests go on meanwhile.
        Ok(tokio::task::spawn_blocking(|| builder.build()).await.unwrap_or_else(|_| Index::empty()))
    }

    /// Reads all numbers from Postgres and puts right what differs; false when that failed.
    ///
    /// Memory is read before Postgres: versions only grow, so a number in memory that is newer
    /// than what Postgres says afterwards was never true.
    async fn compare(&mut self) -> bool {
        let started = Instant::now();
        let index = arc_swap::Guard::into_inner(self.occupancy.index());
        let ids = index.ids();
        let db = self.occupancy.app().db().clone();
        let mut changed: Vec<CapacityRow> = Vec::new();
        for page in ids.chunks(usize::try_from(PAGE).unwrap_or(1)) {
            let before = index.versions(page);
            let rows: Result<_, DbError> = on_conn!(db, |conn| store::capacities(conn, page).await);
            let Ok(rows) = rows else { return false };
            for row in rows {
                match before.get(&(row.lot_id, row.class)) {
                    None => self.reload_wanted = true,
                    Some(version) if *version > row.now.version => {
                        metrics::counter!("occupancy_wrong_in_memory_total").increment(1);
                        index.correct(&row, *version);
                        changed.push(row);
                    }
                    Some(version) if *version < row.now.version => {
                        index.offer(&row);
                        changed.push(row);
                    }
                    Some(_) => {}
                }
            }
        }
        if !changed.is_empty() {
            self.occupancy.tell(Change::Rows(None, changed));
        }
        self.compared = Instant::now();
        // Never more than a tenth of the time is spent reading numbers.
        self.compare_pause = POLL_PAUSE.max(started.elapsed().saturating_mul(10));
        true
    }
}

/// Why the stream could not be joined.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("redis is silent")]
    Silent,
    #[error(transparent)]
    Down(#[from] crate::platform::redis::RedisDown),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the numbers could not be read from the database")]
    NoNumbers,
}
