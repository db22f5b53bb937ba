//! Which tariff holds where, in memory: what search prices its hits with, without a question to
//! anyone.
//!
//! Every server asks Postgres once a second whether anything changed, which costs two index
//! look-ups and two small counts, and then reads everything again. Whatever that misses is found
//! by a full reading every five minutes. While Postgres is away the last picture stays.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{TariffVersion, book_store, store};
use crate::kernel::clock::business_day;
use crate::kernel::ids::{LotId, TariffId, TariffVersionId};
use crate::kernel::vehicle::VehicleClass;
use crate::on_conn;
use crate::platform::App;
use crate::platform::db::DbError;

/// How often a server asks whether tariffs changed.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// After so many questions everything is read again, changed or not.
const READ_ALL_AFTER: u32 = 300;

/// The book of one server process. Cheap to clone; all clones show the same pages.
#[derive(Clone)]
pub struct TariffBook {
    pages: Arc<ArcSwap<Pages>>,
}

/// What holds for a class at a lot, as lots show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LotTariff {
    /// For what.
    pub vehicle_class: VehicleClass,
    /// The tariff's name.
    pub tariff_name: String,
    /// Its version.
    pub tariff_version_id: TariffVersionId,
}

/// From a day on a tariff holds. Ordered so that the one that wins stands first.
pub(super) type Assignments = Vec<(Order, TariffId)>;

/// Newest first day first; of one day the newest row.
pub(super) type Order = Reverse<(Date, Uuid)>;

/// A lot's time in a zone.
#[derive(Debug, Clone, Copy)]
pub(super) struct InZone {
    pub(super) lot: LotId,
    pub(super) zone: Uuid,
    pub(super) from: Date,
    pub(super) to: Date,
}

/// All that is known at one time.
#[derive(Default)]
pub(super) struct Pages {
    /// Newest start first.
    pub(super) versions: HashMap<TariffId, Vec<Arc<TariffVersion>>>,
    pub(super) of_lots: HashMap<(LotId, VehicleClass), Assignments>,
    pub(super) of_zones: HashMap<(Uuid, VehicleClass), Assignments>,
    /// By lot.
    pub(super) in_zones: Vec<InZone>,
    pub(super) names: HashMap<TariffId, String>,
    pub(super) mark: book_store::Mark,
    /// Another number for every reading in this process.
    serial: u64,
}

static READINGS: AtomicU64 = AtomicU64::new(1);

impl Pages {
    pub(super) async fn read(conn: &mut PgConnection) -> Result<Pages, DbError> {
        // The mark first: what changes while we read shows as a new mark.
        let mark = book_store::mark(conn).await?;
        let serial = READINGS.fetch_add(1, Ordering::Relaxed);
        let mut pages = Pages { mark, serial, ..Pages::default() };
        for version in store::all_versions(conn).await? {
            pages.versions.entry(version.tariff_id).or_default().push(version);
        }
        for row in book_store::assignments(conn).await? {
            let entry = (Reverse((row.valid_from, row.id)), row.tariff_id);
            match (row.lot_id, row.zone_id) {
                (Some(lot), _) => pages.of_lots.entry((lot, row.class)).or_default().push(entry),
                (None, Some(zone)) => {
                    pages.of_zones.entry((zone, row.class)).or_default().push(entry);
                }
                (None, None) => {}
            }
        }
        pages.of_lots.values_mut().chain(pages.of_zones.values_mut()).for_each(|all| all.sort());
        pages.in_zones = book_store::in_zones(conn).await?;
        pages.names = book_store::names(conn).await?.into_iter().collect();
        Ok(pages)
    }

    fn started(&self, tariff: TariffId, day: Date) -> Option<&Arc<TariffVersion>> {
        self.versions.get(&tariff)?.iter().find(|version| version.starts_on <= day)
    }

    fn best<'p>(
        &'p self,
        assignments: &'p Assignments,
        day: Date,
    ) -> Option<(Order, &'p Arc<TariffVersion>)> {
        let mut begun = assignments.iter().filter(|(Reverse((from, _)), _)| *from <= day);
        begun.find_map(|(order, tariff)| Some((*order, self.started(*tariff, day)?)))
    }

    fn at(&self, lot: LotId, class: VehicleClass, day: Date) -> Option<&Arc<TariffVersion>> {
        let own = self.of_lots.get(&(lot, class)).and_then(|all| self.best(all, day));
        if let Some((_, version)) = own {
            return Some(version);
        }
        let first = self.in_zones.partition_point(|in_zone| in_zone.lot < lot);
        let zones = self.in_zones.iter().skip(first).take_while(|in_zone| in_zone.lot == lot);
        zones
            .filter(|in_zone| in_zone.from <= day && day <= in_zone.to)
            .filter_map(|in_zone| self.best(self.of_zones.get(&(in_zone.zone, class))?, day))
            .min_by_key(|(order, _)| *order)
            .map(|(_, version)| version)
    }
}

impl TariffBook {
    /// Reads the book and keeps it true for as long as the process lives. Starts empty if
    /// Postgres is away, and fills itself when it is back.
    pub async fn start(app: &App) -> TariffBook {
        let book = TariffBook { pages: Arc::new(ArcSwap::from_pointee(Pages::default())) };
        if let Err(error) = book.read_again(app).await {
            tracing::warn!(error = %error, "tariffs could not be read; trying again");
        }
        let (follower, keeper) = (book.clone(), app.clone());
        app.spawn(async move {
            let mut ticks = tokio::time::interval(ASK_EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut asked = 0;
            loop {
                ticks.tick().await;
                asked = (asked + 1) % READ_ALL_AFTER;
                if let Err(error) = follower.follow(&keeper, asked == 0).await {
                    tracing::debug!(error = %error, "tariffs could not be followed");
                }
            }
        });
        book
    }

    /// The version that holds for a class at a lot for a stay that begins at `at`: the same answer
    /// as [`store::resolve`], from memory.
    pub fn at_lot(
        &self,
        lot: LotId,
        class: VehicleClass,
        at: Timestamp,
    ) -> Option<Arc<TariffVersion>> {
        self.on_day(lot, class, business_day(at))
    }

    /// As [`TariffBook::at_lot`], for a day in Hanoi: ask for the day once and for many lots.
    pub fn on_day(&self, lot: LotId, class: VehicleClass, day: Date) -> Option<Arc<TariffVersion>> {
        self.pages.load().at(lot, class, day).map(Arc::clone)
    }

    /// Another number whenever something may have changed: what was worked out under the same
    /// number still holds.
    pub fn serial(&self) -> u64 {
        self.pages.load().serial
    }

    /// What holds for some classes at a lot for stays that begin at `at`.
    pub fn of_lot(
        &self,
        lot: LotId,
        classes: impl IntoIterator<Item = VehicleClass>,
        at: Timestamp,
    ) -> Vec<LotTariff> {
        let (pages, day) = (self.pages.load(), business_day(at));
        let holds = classes.into_iter().filter_map(|vehicle_class| {
            let version = pages.at(lot, vehicle_class, day)?;
            let tariff_name = pages.names.get(&version.tariff_id).cloned().unwrap_or_default();
            Some(LotTariff { vehicle_class, tariff_name, tariff_version_id: version.id })
        });
        holds.collect()
    }

    /// Reads everything now, as after a change on this server.
    pub async fn read_again(&self, app: &App) -> Result<(), DbError> {
        let pages: Result<Pages, DbError> = on_conn!(app.db(), |conn| Pages::read(conn).await);
        self.pages.store(Arc::new(pages?));
        Ok(())
    }

    async fn follow(&self, app: &App, read_all: bool) -> Result<(), DbError> {
        let mark: Result<book_store::Mark, DbError> =
            on_conn!(app.db(), |conn| book_store::mark(conn).await);
        if read_all || mark? != self.pages.load().mark {
            self.read_again(app).await?;
        }
        Ok(())
    }
}
