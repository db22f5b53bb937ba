//! Rows that the benchmark writes behind the product's back, in its own database.

use anyhow::Context as _;
use sqlx::PgConnection;
use uuid::Uuid;

/// What a seeded id names. The ids have version 7's form, count up as real ones do, and are known
/// without asking the database.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A driver.
    Driver,
    /// A vehicle.
    Vehicle,
}

/// The id of a seeded row; `bench_id` in the database makes the same.
pub fn id(kind: Kind, number: u64) -> anyhow::Result<Uuid> {
    let kind = match kind {
        Kind::Driver => 1,
        Kind::Vehicle => 2,
    };
    let text = format!("0199{kind:04x}-0000-7000-8000-{number:012x}");
    text.parse().context("a seeded id is none")
}

const FUNCTIONS: &str = "
    create or replace function bench_id(kind int, n bigint) returns uuid
    language sql immutable parallel safe as $$
        select ('0199' || lpad(to_hex(kind), 4, '0') || '-0000-7000-8000-'
            || lpad(to_hex(n), 12, '0'))::uuid
    $$;
    -- Evenly spread between 0 and 1, the same in every run.
    create or replace function bench_share(n bigint, salt bigint) returns double precision
    language sql immutable parallel safe as $$
        select (hashint8extended(n, salt) & 1048575)::double precision / 1048576
    $$;
    create table if not exists bench_rows (
        id bigint generated always as identity primary key,
        driver_id uuid not null,
        vehicle_id uuid not null,
        lot_id uuid not null,
        vehicle_class text not null,
        expires_at timestamptz not null
    );
    create table if not exists bench_hot (id int primary key, held int not null, capacity int not null);
    insert into bench_hot values (1, 0, 2000000000) on conflict do nothing;
";

/// Functions and tables of the benchmark.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn prepare(conn: &mut PgConnection) -> anyhow::Result<()> {
    sqlx::raw_sql(FUNCTIONS).execute(conn).await.context("cannot make the tables")?;
    Ok(())
}

/// Statements that must stand alone.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn tidy(conn: &mut PgConnection, statements: &[&'static str]) -> anyhow::Result<()> {
    for statement in statements {
        sqlx::raw_sql(*statement).execute(&mut *conn).await.context("cannot tidy up")?;
    }
    Ok(())
}

/// Copies the real lots, with capacities, zones and tariffs, over the city until there are
/// `count`.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn lots(conn: &mut PgConnection, count: i64) -> anyhow::Result<()> {
    let there: i64 = sqlx::query_scalar("select count(*) from lots").fetch_one(&mut *conn).await?;
    for statement in ["create temp table copies as
         with real as (
             select *, row_number() over (order by code) - 1 as k from lots
             where code not like 'BENCH-%'
         )
         select bench_id(3, n) as id, r.id as of, n from generate_series($1::bigint, $2::bigint) n
         join real r on r.k = n % (select count(*) from real)"]
    {
        sqlx::query(statement).bind(there).bind(count - 1).execute(&mut *conn).await?;
    }
    let statements = "
        insert into lots (
            id, code, operator_id, permit_id, name, address, lat, lng, kind, features, status,
            sale_mode, hold_minutes, forgotten_stop_minutes, correction_grace_minutes,
            opening_hours, capacity_source, created_at, updated_at
        )
        select c.id, 'BENCH-' || c.n, l.operator_id, l.permit_id, l.name, l.address,
            20.95 + 0.14 * bench_share(c.n, 1), 105.75 + 0.15 * bench_share(c.n, 2),
            l.kind, l.features, l.status, l.sale_mode, l.hold_minutes, l.forgotten_stop_minutes,
            l.correction_grace_minutes, l.opening_hours, l.capacity_source, now(), now()
        from copies c join lots l on l.id = c.of;
        insert into lot_capacity (lot_id, vehicle_class, capacity)
        select c.id, l.vehicle_class, l.capacity
        from copies c join lot_capacity l on l.lot_id = c.of;
        insert into lot_zones (lot_id, zone_id, valid_from, valid_to)
        select c.id, l.zone_id, l.valid_from, l.valid_to
        from copies c join lot_zones l on l.lot_id = c.of;
        insert into tariff_assignments (id, lot_id, vehicle_class, tariff_id, valid_from)
        select gen_random_uuid(), c.id, l.vehicle_class, l.tariff_id, l.valid_from
        from copies c join tariff_assignments l on l.lot_id = c.of;
        drop table copies;
        analyze lots;
        analyze lot_capacity;
        analyze lot_zones;
    ";
    sqlx::raw_sql(statements).execute(conn).await.context("cannot copy the lots")?;
    Ok(())
}

/// Lots that take cars, with room for every hold of a turn, always open, holding for two hours.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn roomy_lots(conn: &mut PgConnection) -> anyhow::Result<Vec<Uuid>> {
    let statements = r#"
        update lots set opening_hours = '{"always": true}', hold_minutes = 120, updated_at = now();
        update lot_capacity set capacity = 100000, version = version + 1
        where vehicle_class = 'car';
    "#;
    sqlx::raw_sql(statements).execute(&mut *conn).await.context("cannot make room")?;
    tidy(conn, &["vacuum analyze lots", "vacuum analyze lot_capacity"]).await?;
    let lots = sqlx::query_scalar(
        "select lot_id from lot_capacity where vehicle_class = 'car' order by lot_id",
    );
    Ok(lots.fetch_all(conn).await?)
}

/// Drivers, and `each` cars for every one of them.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn drivers(conn: &mut PgConnection, count: u64, each: u64) -> anyhow::Result<()> {
    let (count, each) = (i64::try_from(count)?, i64::try_from(each)?);
    sqlx::query(
        "insert into drivers (id, phone, created_at)
         select bench_id(1, n), '+849' || lpad(n::text, 8, '0'), now()
         from generate_series(0, $1 - 1) n on conflict do nothing",
    )
    .bind(count)
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "insert into vehicles (id, driver_id, plate, plate_key, vehicle_class, created_at)
         select bench_id(2, n), bench_id(1, n % $1), '30A-' || lpad(n::text, 6, '0'),
             '30A' || lpad(n::text, 6, '0'), 'car', now()
         from generate_series(0, $1 * $2 - 1) n on conflict do nothing",
    )
    .bind(count)
    .bind(each)
    .execute(&mut *conn)
    .await?;
    sqlx::raw_sql("analyze drivers; analyze vehicles").execute(conn).await?;
    Ok(())
}

/// Holds that the database has, and spaces that its counters say are held.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn holds(conn: &mut PgConnection) -> anyhow::Result<(i64, i64)> {
    let counts = sqlx::query_as(
        "select (select count(*) from reservations where status = 'held'),
             (select coalesce(sum(held), 0)::bigint from lot_capacity)",
    );
    Ok(counts.fetch_one(conn).await?)
}

/// Ends all holds, so that every turn begins with none; their rows stay, as in life.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn end_holds(conn: &mut PgConnection) -> anyhow::Result<()> {
    let statements = "
        update reservations set status = 'cancelled', ended_at = now() where status = 'held';
        update lot_capacity set held = 0, version = version + 1 where held > 0;
    ";
    sqlx::raw_sql(statements).execute(&mut *conn).await.context("cannot end the holds")?;
    let after = ["vacuum analyze reservations", "vacuum analyze lot_capacity", "vacuum bench_hot"];
    tidy(conn, &after).await
}

/// The database's clock, in seconds.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn now_s(conn: &mut PgConnection) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("select extract(epoch from now())::bigint").fetch_one(conn).await?)
}
