//! The picture as the rest of the product uses it: show a change, ask for room, read, follow.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use super::index::Index;
use super::live::{self, Stored, Write};
use super::stream::{Position, StreamId};
use super::{follow, repair};
use crate::kernel::ids::LotId;
use crate::kernel::vehicle::VehicleClass;
use crate::lots::capacity::CapacityRow;
use crate::platform::App;

/// Changes that a slow listener may be behind before it is given the present state instead.
const CHANGES_WAITING: usize = 1_024;

/// Changes kept for listeners that come back after a broken connection.
const CHANGES_KEPT: usize = 4_096;

/// Listeners of one server: each costs a connection and some memory.
const LISTENERS_MAX: usize = 2_000;

/// Whether a lot has room, as far as Redis knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Redis shows a free space: ask Postgres.
    Yes,
    /// Redis shows none. If Redis is wrong, that is put right within about a second.
    Full,
    /// Redis does not know or does not answer: ask Postgres.
    Unknown,
}

/// Something that listeners hear of.
#[derive(Debug)]
pub enum Change {
    /// Rows that changed, with the stream's id unless they came another way.
    Rows(Option<StreamId>, Vec<CapacityRow>),
    /// Changes may have been missed: read the present state.
    Anew,
}

/// The live picture of one server process. Cheap to clone; shared as `web::Data`.
#[derive(Clone)]
pub struct Occupancy {
    inner: Arc<Inner>,
}

struct Inner {
    app: App,
    index: ArcSwap<Index>,
    loaded: AtomicBool,
    in_step: AtomicBool,
    stopped: CancellationToken,
    changes: broadcast::Sender<Arc<Change>>,
    recent: Mutex<Recent>,
    suspects: Mutex<HashSet<(LotId, VehicleClass)>>,
    listeners: Arc<Semaphore>,
}

/// The last changes; every change after `floor` is in it.
#[derive(Debug, Default)]
struct Recent {
    floor: Option<StreamId>,
    last: Option<StreamId>,
    changes: VecDeque<Arc<Change>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Occupancy {
    /// An empty picture. [`Occupancy::start`] fills it and keeps it true.
    pub fn new(app: &App) -> Occupancy {
        Occupancy {
            inner: Arc::new(Inner {
                app: app.clone(),
                index: ArcSwap::from_pointee(Index::empty()),
                loaded: AtomicBool::new(false),
                in_step: AtomicBool::new(false),
                stopped: CancellationToken::new(),
                changes: broadcast::channel(CHANGES_WAITING).0,
                recent: Mutex::default(),
                suspects: Mutex::default(),
                listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
            }),
        }
    }

    /// Loads the lots, then follows the stream and repairs copies until [`Occupancy::stop`].
    pub fn start(&self) {
        self.inner.app.spawn(follow::run(self.clone()));
        self.inner.app.spawn(repair::run(self.clone()));
    }

    /// Ends the tasks and closes the listeners' streams.
    pub fn stop(&self) {
        self.inner.stopped.cancel();
    }

    /// Ends with [`Occupancy::stop`].
    pub fn stopped(&self) -> &CancellationToken {
        &self.inner.stopped
    }

    /// The product's access to the outside.
    pub fn app(&self) -> &App {
        &self.inner.app
    }

    /// All lots as they are now.
    pub fn index(&self) -> Guard<Arc<Index>> {
        self.inner.index.load()
    }

    /// Whether the lots have been loaded at least once.
    pub fn is_loaded(&self) -> bool {
        self.inner.loaded.load(Ordering::Acquire)
    }

    /// Whether every change arrives at once. If not, numbers come from Postgres every few
    /// seconds and answers say that they are stale.
    pub fn is_in_step(&self) -> bool {
        self.inner.in_step.load(Ordering::Acquire)
    }

    /// Shows rows that a committed transaction changed: here at once, elsewhere through Redis.
    /// Never fails: what Redis does not take is tried again within about a second.
    pub async fn show(&self, rows: &[CapacityRow]) {
        if rows.is_empty() {
            return;
        }
        let index = self.index();
        for row in rows {
            index.offer(row);
        }
        drop(index);
        let writes: Vec<Write> = rows.iter().copied().map(Write::from).collect();
        if let Err(down) = live::publish(self.inner.app.redis(), &writes).await {
            metrics::counter!("occupancy_publish_failures_total").increment(1);
            tracing::warn!(error = %down, rows = rows.len(), "changes could not be shown in redis");
            self.suspect(rows.iter().map(|row| (row.lot_id, row.class)));
            self.tell(Change::Rows(None, rows.to_vec()));
        }
    }

    /// Asks Redis whether the lot has room for the class. Only a filter: Postgres decides.
    pub async fn room(&self, lot: LotId, class: VehicleClass) -> Room {
        let now = self.inner.app.now();
        match live::read(self.inner.app.redis(), &[(lot, class)]).await.as_deref() {
            Ok([Stored::Row(snapshot, _)]) if snapshot.free(now) > 0 => Room::Yes,
            Ok([Stored::Row(..)]) => {
                self.suspect([(lot, class)]);
                Room::Full
            }
            Ok(_) => {
                self.suspect([(lot, class)]);
                Room::Unknown
            }
            Err(_) => Room::Unknown,
        }
    }

    /// Has Redis and Postgres compared for these within about a second.
    pub fn suspect(&self, keys: impl IntoIterator<Item = (LotId, VehicleClass)>) {
        lock(&self.inner.suspects).extend(keys);
    }

    pub(super) fn take_suspects(&self) -> Vec<(LotId, VehicleClass)> {
        lock(&self.inner.suspects).drain().collect()
    }

    pub(super) fn set_in_step(&self, in_step: bool) {
        let before = self.inner.in_step.swap(in_step, Ordering::AcqRel);
        if before != in_step {
            tracing::info!(in_step, "the live picture changed its footing");
            metrics::gauge!("occupancy_in_step").set(f64::from(u8::from(in_step)));
        }
    }

    /// Puts a new index in the old one's place. Numbers that arrive meanwhile go to either one,
    /// so the newer ones are taken over before and after.
    pub(super) fn replace(&self, index: Index) -> Arc<Index> {
        let index = Arc::new(index);
        let old = self.inner.index.load_full();
        index.take_over(&old);
        self.inner.index.store(Arc::clone(&index));
        index.take_over(&old);
        self.inner.loaded.store(true, Ordering::Release);
        old
    }

    /// Tells all listeners.
    pub(super) fn tell(&self, change: Change) {
        let change = Arc::new(change);
        if let Change::Rows(Some(id), _) = change.as_ref() {
            let mut recent = lock(&self.inner.recent);
            if recent.changes.len() >= CHANGES_KEPT
                && let Some(oldest) = recent.changes.pop_front()
                && let Change::Rows(Some(id), _) = oldest.as_ref()
            {
                recent.floor = Some(*id);
            }
            recent.last = Some(*id);
            recent.changes.push_back(Arc::clone(&change));
        }
        // An error means that nobody listens.
        drop(self.inner.changes.send(change));
    }

    /// Forgets the changes kept: after this position, and only after it, nothing is missing.
    pub(super) fn begin_at(&self, position: Position) {
        *lock(&self.inner.recent) =
            Recent { floor: Some(position.id), last: Some(position.id), changes: VecDeque::new() };
        self.tell(Change::Anew);
    }

    /// Changes from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Change>> {
        self.inner.changes.subscribe()
    }

    /// Places for listeners; one permit each.
    pub fn listeners(&self) -> &Arc<Semaphore> {
        &self.inner.listeners
    }

    /// The id of the last change.
    pub fn last_id(&self) -> Option<StreamId> {
        lock(&self.inner.recent).last
    }

    /// Every change after `id`, if all of them are still kept.
    pub fn since(&self, id: StreamId) -> Option<Vec<Arc<Change>>> {
        let recent = lock(&self.inner.recent);
        let (floor, last) = (recent.floor?, recent.last?);
        if !(floor..=last).contains(&id) {
            return None;
        }
        let after = |change: &&Arc<Change>| match change.as_ref() {
            Change::Rows(Some(at), _) => *at > id,
            Change::Rows(None, _) | Change::Anew => false,
        };
        Some(recent.changes.iter().filter(after).map(Arc::clone).collect())
    }
}
