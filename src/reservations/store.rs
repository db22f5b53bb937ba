//! Holds and their capacity rows in Postgres.
//!
//! The statements of a group also read `lots` and `vehicles`: one round trip for a whole group is
//! what makes holding fast, and a hold may rest on nothing older than the locks it takes.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::decide::{Facts, Space, SpaceKey};
use super::{HoldRequest, Reservation, ReservationStatus};
use crate::kernel::ids::{DriverId, LotId, ReservationId, VehicleId};
use crate::kernel::vehicle::VehicleClass;
use crate::lots::LotStatus;
use crate::lots::capacity::CapacityRow;
use crate::lots::hours::OpeningHours;
use crate::lots::store::CapacityRecord;
use crate::platform::db::DbError;

/// Drivers' advisory locks live in a space of their own, `IP` as a number.
const DRIVER_LOCKS: i32 = 0x4950;

/// A row of `reservations` as `query_as!` reads it.
#[derive(Debug)]
pub struct ReservationRecord {
    pub(super) id: ReservationId,
    pub(super) lot_id: LotId,
    pub(super) vehicle_id: VehicleId,
    pub(super) vehicle_class: VehicleClass,
    pub(super) status: ReservationStatus,
    pub(super) created_at: jiff_sqlx::Timestamp,
    pub(super) arrive_by: Option<jiff_sqlx::Timestamp>,
    pub(super) expires_at: jiff_sqlx::Timestamp,
    pub(super) ended_at: Option<jiff_sqlx::Timestamp>,
}

impl ReservationRecord {
    pub(super) fn reservation(self) -> Reservation {
        Reservation {
            id: self.id,
            lot_id: self.lot_id,
            vehicle_id: self.vehicle_id,
            vehicle_class: self.vehicle_class,
            status: self.status,
            created_at: self.created_at.to_jiff(),
            arrive_by: self.arrive_by.map(jiff_sqlx::Timestamp::to_jiff),
            expires_at: self.expires_at.to_jiff(),
            ended_at: self.ended_at.map(jiff_sqlx::Timestamp::to_jiff),
        }
    }
}

/// A capacity row with its lot as `query_as!` reads it.
struct SpaceRecord {
    lot_id: LotId,
    vehicle_class: VehicleClass,
    capacity: i32,
    held: i32,
    in_use: i32,
    observed: Option<i32>,
    observed_at: Option<jiff_sqlx::Timestamp>,
    version: i64,
    status: LotStatus,
    hold_minutes: i32,
    opening_hours: Option<Json<OpeningHours>>,
}

impl SpaceRecord {
    fn space(self) -> (SpaceKey, Space) {
        let capacity = CapacityRecord {
            lot_id: self.lot_id,
            vehicle_class: self.vehicle_class,
            capacity: self.capacity,
            held: self.held,
            in_use: self.in_use,
            observed: self.observed,
            observed_at: self.observed_at,
            version: self.version,
        };
        let space = Space {
            snapshot: capacity.row().now,
            status: self.status,
            opening_hours: self.opening_hours.map(|hours| hours.0),
            hold_minutes: self.hold_minutes,
        };
        ((self.lot_id, self.vehicle_class), space)
    }
}

/// The statement of [`lock_group`]; `$wait` says what happens to rows that others have locked.
macro_rules! lock_spaces {
    ($wait:literal, $drivers:expr, $lots:expr, $vehicles:expr) => {
        sqlx::query_as!(
            SpaceRecord,
            r#"
            with drivers as materialized (
                select count(pg_advisory_xact_lock($1, d.number)) as locked
                from unnest($2::int[]) as d (number)
            ),
            wanted as materialized (
                select distinct w.lot_id, v.vehicle_class
                from unnest($3::uuid[], $4::uuid[]) as w (lot_id, vehicle_id)
                join vehicles v on v.id = w.vehicle_id
            )
            select
                c.lot_id as "lot_id: LotId", c.vehicle_class as "vehicle_class: VehicleClass",
                c.capacity, c.held, c.in_use, c.observed, c.observed_at, c.version,
                l.status as "status: LotStatus",
                l.hold_minutes,
                case when not l.opening_hours ? 'always' then l.opening_hours end
                    as "opening_hours: Json<OpeningHours>"
            from wanted w
            join lot_capacity c on c.lot_id = w.lot_id and c.vehicle_class = w.vehicle_class
            join lots l on l.id = c.lot_id
            where (select locked from drivers) >= 0
            order by c.lot_id, c.vehicle_class
            for update of c
            "#
                + $wait,
            DRIVER_LOCKS,
            $drivers,
            $lots,
            $vehicles,
        )
    };
}

/// Locks what a group may change: its drivers, so that the limits of a driver and the keys hold
/// against groups of other servers, then the capacity rows in the order of lot and class. A group
/// that is not `patient` leaves rows out that others have locked, so that one busy lot does not
/// hold up all others.
///
/// Returns the rows as they are under the lock. What a later statement of the transaction reads
/// includes all that earlier holders of these locks committed.
pub async fn lock_group(
    tx: &mut PgConnection,
    requests: &[HoldRequest],
    patient: bool,
) -> Result<HashMap<SpaceKey, Space>, DbError> {
    let mut drivers: Vec<i32> = requests.iter().map(|r| lock_number(r.driver_id)).collect();
    drivers.sort_unstable();
    drivers.dedup();
    let mut wanted: Vec<(Uuid, Uuid)> =
        requests.iter().map(|r| (r.lot_id.get(), r.vehicle_id.get())).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let (lots, vehicles): (Vec<Uuid>, Vec<Uuid>) = wanted.into_iter().unzip();
    let records = if patient {
        lock_spaces!("", &drivers, &lots, &vehicles).fetch_all(tx).await?
    } else {
        lock_spaces!("skip locked", &drivers, &lots, &vehicles).fetch_all(tx).await?
    };
    Ok(records.into_iter().map(SpaceRecord::space).collect())
}

/// A driver's number among the advisory locks. Two drivers with one number only wait.
fn lock_number(driver: DriverId) -> i32 {
    // The last bytes of a UUIDv7 are random.
    let [.., a, b, c, d] = *driver.get().as_bytes();
    i32::from_be_bytes([a, b, c, d])
}

/// A row of [`facts`] as `query_as!` reads it.
struct FactsRecord {
    class: Option<VehicleClass>,
    live: i64,
    vehicle_held: bool,
    expired: i64,
    first_expired_at: Option<jiff_sqlx::Timestamp>,
    id: Option<ReservationId>,
    lot_id: Option<LotId>,
    vehicle_id: Option<VehicleId>,
    vehicle_class: Option<VehicleClass>,
    status: Option<ReservationStatus>,
    created_at: Option<jiff_sqlx::Timestamp>,
    arrive_by: Option<jiff_sqlx::Timestamp>,
    expires_at: Option<jiff_sqlx::Timestamp>,
    ended_at: Option<jiff_sqlx::Timestamp>,
    request_hash: Option<Vec<u8>>,
}

impl FactsRecord {
    fn facts(self) -> Facts {
        Facts {
            class: self.class,
            live: self.live,
            vehicle_held: self.vehicle_held,
            expired: self.expired,
            first_expired_at: self.first_expired_at.map(jiff_sqlx::Timestamp::to_jiff),
            known: self.known(),
        }
    }

    fn known(self) -> Option<(Reservation, Vec<u8>)> {
        let record = ReservationRecord {
            id: self.id?,
            lot_id: self.lot_id?,
            vehicle_id: self.vehicle_id?,
            vehicle_class: self.vehicle_class?,
            status: self.status?,
            created_at: self.created_at?,
            arrive_by: self.arrive_by,
            expires_at: self.expires_at?,
            ended_at: self.ended_at,
        };
        Some((record.reservation(), self.request_hash?))
    }
}

/// What the database knows of each request, in order. Called under the locks of [`lock_group`].
pub async fn facts(
    tx: &mut PgConnection,
    requests: &[HoldRequest],
    expired_since: Timestamp,
) -> Result<Vec<Facts>, DbError> {
    let drivers: Vec<Uuid> = requests.iter().map(|r| r.driver_id.get()).collect();
    let vehicles: Vec<Uuid> = requests.iter().map(|r| r.vehicle_id.get()).collect();
    let keys: Vec<String> = requests.iter().map(|r| r.key.clone()).collect();
    let records = sqlx::query_as!(
        FactsRecord,
        r#"
        select
            (
                select v.vehicle_class from vehicles v
                where v.id = w.vehicle_id and v.driver_id = w.driver_id and v.removed_at is null
            ) as "class: VehicleClass",
            live.holds as "live!",
            live.has_vehicle as "vehicle_held!",
            gone.holds as "expired!",
            gone.first_at as first_expired_at,
            k.id as "id?: ReservationId",
            k.lot_id as "lot_id?: LotId",
            k.vehicle_id as "vehicle_id?: VehicleId",
            k.vehicle_class as "vehicle_class?: VehicleClass",
            k.status as "status?: ReservationStatus",
            k.created_at as "created_at?",
            k.arrive_by as "arrive_by?",
            k.expires_at as "expires_at?",
            k.ended_at as "ended_at?",
            k.request_hash as "request_hash?"
        from unnest($1::uuid[], $2::uuid[], $3::text[]) with ordinality
            as w (driver_id, vehicle_id, key, n)
        cross join lateral (
            select count(*) as holds, coalesce(bool_or(h.vehicle_id = w.vehicle_id), false) as has_vehicle
            from reservations h
            where h.driver_id = w.driver_id and h.status = 'held'
        ) live
        cross join lateral (
            select count(*) as holds, min(e.ended_at) as first_at
            from reservations e
            where e.driver_id = w.driver_id and e.status = 'expired' and e.ended_at > $4
        ) gone
        left join lateral (
            select * from reservations r
            where r.driver_id = w.driver_id and r.idempotency_key = w.key
            limit 1
        ) k on true
        order by w.n
        "#,
        &drivers,
        &vehicles,
        &keys,
        expired_since.to_sqlx() as _,
    )
    .fetch_all(tx)
    .await?;
    Ok(records.into_iter().map(FactsRecord::facts).collect())
}

/// Which of these lots exist, and which of their classes.
pub async fn existing_lots(
    conn: &mut PgConnection,
    lots: &[Uuid],
) -> Result<HashMap<LotId, HashSet<VehicleClass>>, DbError> {
    let rows = sqlx::query!(
        r#"
        select l.id as "lot_id!: LotId", c.vehicle_class as "class?: VehicleClass"
        from lots l
        left join lot_capacity c on c.lot_id = l.id
        where l.id = any($1)
        "#,
        lots,
    )
    .fetch_all(conn)
    .await?;
    let mut classes: HashMap<LotId, HashSet<VehicleClass>> = HashMap::new();
    for row in rows {
        classes.entry(row.lot_id).or_default().extend(row.class);
    }
    Ok(classes)
}

/// A hold to be written.
#[derive(Debug)]
pub struct NewHold<'a> {
    /// The request that won.
    pub request: &'a HoldRequest,
    /// The new hold.
    pub hold: Reservation,
}

/// Writes the winners of a group and takes their spaces, in one statement. Returns the changed
/// capacity rows. The database refuses by `lot_capacity_not_promised_twice` to promise a space
/// twice, whatever was decided.
pub async fn insert_holds(
    tx: &mut PgConnection,
    holds: &[NewHold<'_>],
) -> Result<Vec<CapacityRow>, DbError> {
    let column = |of: fn(&NewHold<'_>) -> Uuid| holds.iter().map(of).collect::<Vec<Uuid>>();
    let classes: Vec<String> =
        holds.iter().map(|h| h.hold.vehicle_class.as_str().to_owned()).collect();
    let created: Vec<_> = holds.iter().map(|h| h.hold.created_at.to_sqlx()).collect();
    let arrive: Vec<_> = holds.iter().map(|h| h.hold.arrive_by.map(ToSqlx::to_sqlx)).collect();
    let expires: Vec<_> = holds.iter().map(|h| h.hold.expires_at.to_sqlx()).collect();
    let keys: Vec<String> = holds.iter().map(|h| h.request.key.clone()).collect();
    let hashes: Vec<Vec<u8>> = holds.iter().map(|h| h.request.hash.clone()).collect();
    let records = sqlx::query_as!(
        CapacityRecord,
        r#"
        with new as materialized (
            select * from unnest(
                $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::timestamptz[],
                $7::timestamptz[], $8::timestamptz[], $9::text[], $10::bytea[]
            ) as n (
                id, driver_id, vehicle_id, lot_id, vehicle_class, created_at, arrive_by,
                expires_at, idempotency_key, request_hash
            )
        ),
        made as (
            insert into reservations (
                id, driver_id, vehicle_id, lot_id, vehicle_class, status, created_at, arrive_by,
                expires_at, idempotency_key, request_hash
            )
            select
                id, driver_id, vehicle_id, lot_id, vehicle_class, 'held', created_at, arrive_by,
                expires_at, idempotency_key, request_hash
            from new
        ),
        taken as (
            select lot_id, vehicle_class, count(*)::int as spaces
            from new
            group by lot_id, vehicle_class
        )
        update lot_capacity c
        set held = c.held + t.spaces, version = c.version + 1
        from taken t
        where c.lot_id = t.lot_id and c.vehicle_class = t.vehicle_class
        returning
            c.lot_id as "lot_id: LotId", c.vehicle_class as "vehicle_class: VehicleClass",
            c.capacity, c.held, c.in_use, c.observed, c.observed_at, c.version
        "#,
        &column(|h| h.hold.id.get()),
        &column(|h| h.request.driver_id.get()),
        &column(|h| h.hold.vehicle_id.get()),
        &column(|h| h.hold.lot_id.get()),
        &classes,
        &created as _,
        &arrive as _,
        &expires as _,
        &keys,
        &hashes,
    )
    .fetch_all(tx)
    .await?;
    Ok(records.into_iter().map(CapacityRecord::row).collect())
}
