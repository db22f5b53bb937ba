//! SQL of drivers and vehicles. Forgetting also looks at what other domains have on the driver,
//! read-only, because only one transaction can decide it.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::postgres::PgConnection;

use super::{Change, DisplayName, Locale, NewVehicle, Profile, Vehicle};
use crate::kernel::ids::{DriverId, LoginId, VehicleId};
use crate::kernel::vehicle::VehicleClass;
use crate::platform::db::DbError;

/// The profile of a driver who was not forgotten.
pub async fn profile(conn: &mut PgConnection, id: DriverId) -> Result<Option<Profile>, DbError> {
    let row = sqlx::query!(
        r#"
        select phone as "phone!", display_name, locale, created_at
        from drivers where id = $1 and deleted_at is null
        "#,
        id.get(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Profile {
        id,
        phone: row.phone,
        display_name: row.display_name,
        locale: row.locale.parse().unwrap_or(Locale::Vi),
        created_at: row.created_at.to_jiff(),
    }))
}

/// Changes what is given.
pub async fn change_profile(
    conn: &mut PgConnection,
    id: DriverId,
    name: &Change<DisplayName>,
    locale: Option<Locale>,
) -> Result<(), DbError> {
    let (touched, name) = match name {
        Change::Keep => (false, None),
        Change::Clear => (true, None),
        Change::To(name) => (true, Some(name.as_str())),
    };
    sqlx::query!(
        r#"
        update drivers
        set display_name = case when $2 then $3 else display_name end,
            locale = coalesce($4, locale)
        where id = $1 and deleted_at is null
        "#,
        id.get(),
        touched,
        name,
        locale.map(Locale::as_str),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Locks a driver who was not forgotten against parallel changes; false when there is none.
pub async fn lock_driver(tx: &mut PgConnection, id: DriverId) -> Result<bool, DbError> {
    let row = sqlx::query!(
        "select id from drivers where id = $1 and deleted_at is null for update",
        id.get(),
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.is_some())
}

/// What keeps a driver from being forgotten.
pub struct Involvement {
    /// A hold is live.
    pub holds: bool,
    /// A session is active.
    pub parks: bool,
    /// A fare is not paid, or a payment is under way.
    pub owes: bool,
}

/// What a driver is involved in at the moment.
pub async fn involvement(tx: &mut PgConnection, id: DriverId) -> Result<Involvement, DbError> {
    let row = sqlx::query_as!(
        Involvement,
        r#"
        select
            exists (
                select 1 from reservations where driver_id = $1 and status = 'held'
            ) as "holds!",
            exists (
                select 1 from parking_sessions where driver_id = $1 and status = 'active'
            ) as "parks!",
            exists (
                select 1 from parking_sessions
                where driver_id = $1 and status = 'ended' and fare_vnd > paid_vnd
            ) or exists (
                select 1 from payments
                where driver_id = $1 and status in ('pending', 'refund_pending')
            ) as "owes!"
        "#,
        id.get(),
    )
    .fetch_one(tx)
    .await?;
    Ok(row)
}

/// Empties a driver's rows of the person and ends their logins, which are given back.
pub async fn forget(
    tx: &mut PgConnection,
    id: DriverId,
    now: Timestamp,
) -> Result<Vec<LoginId>, DbError> {
    sqlx::query!(
        "update drivers set phone = null, display_name = null, deleted_at = $2 where id = $1",
        id.get(),
        now.to_sqlx() as _,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        r#"
        update vehicles
        set plate = 'forgotten', plate_key = 'forgotten', removed_at = coalesce(removed_at, $2)
        where driver_id = $1
        "#,
        id.get(),
        now.to_sqlx() as _,
    )
    .execute(&mut *tx)
    .await?;
    let logins = sqlx::query_scalar!(
        r#"
        update logins set ended_at = $2, ended_why = 'deleted'
        where driver_id = $1 and ended_at is null
        returning id as "id: LoginId"
        "#,
        id.get(),
        now.to_sqlx() as _,
    )
    .fetch_all(tx)
    .await?;
    Ok(logins)
}

/// A driver's vehicles, newest first, older than `before`.
pub async fn vehicles(
    conn: &mut PgConnection,
    driver: DriverId,
    before: Option<VehicleId>,
    limit: i64,
) -> Result<Vec<Vehicle>, DbError> {
    let rows = sqlx::query!(
        r#"
        select id as "id: VehicleId", plate, vehicle_class as "vehicle_class: VehicleClass",
            created_at
        from vehicles
        where driver_id = $1
            and removed_at is null
            and ($2::uuid is null or id < $2)
        order by id desc
        limit $3
        "#,
        driver.get(),
        before.map(VehicleId::get),
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Vehicle {
            id: row.id,
            plate: row.plate,
            vehicle_class: row.vehicle_class,
            created_at: row.created_at.to_jiff(),
        })
        .collect())
}

/// How many vehicles a driver has.
pub async fn vehicle_count(tx: &mut PgConnection, driver: DriverId) -> Result<i64, DbError> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from vehicles where driver_id = $1 and removed_at is null"#,
        driver.get(),
    )
    .fetch_one(tx)
    .await?;
    Ok(count)
}

/// Adds a vehicle; false when the driver has it already.
pub async fn insert_vehicle(
    tx: &mut PgConnection,
    id: VehicleId,
    driver: DriverId,
    new: &NewVehicle,
    now: Timestamp,
) -> Result<bool, DbError> {
    let done = sqlx::query!(
        r#"
        insert into vehicles (id, driver_id, plate, plate_key, vehicle_class, created_at)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (driver_id, plate_key, vehicle_class) where removed_at is null do nothing
        "#,
        id.get(),
        driver.get(),
        new.plate,
        new.key.key(),
        new.key.class().as_str(),
        now.to_sqlx() as _,
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Locks a driver's vehicle and says whether it is held for or parked; `None` when there is none.
pub async fn vehicle_in_use(
    tx: &mut PgConnection,
    driver: DriverId,
    id: VehicleId,
) -> Result<Option<bool>, DbError> {
    let row = sqlx::query!(
        r#"
        select
            exists (
                select 1 from reservations r
                where r.driver_id = $1 and r.vehicle_id = v.id and r.status = 'held'
            ) or exists (
                select 1 from parking_sessions s
                where s.driver_id = $1 and s.vehicle_id = v.id and s.status = 'active'
            ) as "in_use!"
        from vehicles v
        where v.id = $2 and v.driver_id = $1 and v.removed_at is null
        for update of v
        "#,
        driver.get(),
        id.get(),
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| row.in_use))
}

/// Unlinks a vehicle.
pub async fn remove_vehicle(
    tx: &mut PgConnection,
    id: VehicleId,
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query!("update vehicles set removed_at = $2 where id = $1", id.get(), now.to_sqlx() as _)
        .execute(tx)
        .await?;
    Ok(())
}
