//! Tariffs, their versions and where they hold, in Postgres.
//!
//! Whether a lot exists, whose it is and which classes it takes is read from the lots' tables;
//! nothing is written there.

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff_sqlx::ToSqlx;
use moka::sync::Cache;
use sqlx::postgres::PgConnection;

use super::{Tariff, TariffRules, TariffVersion};
use crate::kernel::ids::{LotId, OperatorId, TariffId, TariffVersionId};
use crate::kernel::vehicle::VehicleClass;
use crate::platform::db::DbError;

/// Versions never change and ids are never used twice, so one cache serves the whole process.
/// A thousand tariffs with ten versions each fit.
static VERSIONS: LazyLock<Cache<TariffVersionId, Arc<TariffVersion>>> =
    LazyLock::new(|| Cache::new(10_000));

struct VersionRecord {
    id: TariffVersionId,
    tariff_id: TariffId,
    version: i32,
    starts_on: jiff_sqlx::Date,
    rules: serde_json::Value,
    created_at: jiff_sqlx::Timestamp,
}

impl VersionRecord {
    fn version(self) -> Result<Arc<TariffVersion>, DbError> {
        if let Some(known) = VERSIONS.get(&self.id) {
            return Ok(known);
        }
        let rules = TariffRules::parse(&self.rules).map_err(|errors| {
            let text = format!("rules of tariff version {}: {errors:?}", self.id);
            sqlx::Error::Decode(text.into())
        })?;
        let version = Arc::new(TariffVersion {
            id: self.id,
            tariff_id: self.tariff_id,
            version: self.version,
            starts_on: self.starts_on.to_jiff(),
            rules: Arc::new(rules),
            created_at: self.created_at.to_jiff(),
        });
        VERSIONS.insert(self.id, Arc::clone(&version));
        Ok(version)
    }
}

macro_rules! versions {
    ($tail:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            VersionRecord,
            r#"
            select
                v.id as "id: TariffVersionId",
                v.tariff_id as "tariff_id: TariffId",
                v.version,
                v.starts_on,
                v.rules,
                v.created_at
            from tariff_versions v
            "# + $tail
            $(, $argument)*
        )
    };
}

/// A version by its id. Asked once per process.
pub async fn version(
    conn: &mut PgConnection,
    id: TariffVersionId,
) -> Result<Option<Arc<TariffVersion>>, DbError> {
    if let Some(known) = VERSIONS.get(&id) {
        return Ok(Some(known));
    }
    let record = versions!("where v.id = $1", id.get()).fetch_optional(conn).await?;
    record.map(VersionRecord::version).transpose()
}

/// The version that holds for a class at a lot on a day in Hanoi. A lot's own assignment beats its
/// zone's, the newest assignment beats older ones, and of its tariff the newest version holds
/// that has begun. An assigned tariff that has no version yet leaves the older rule in force.
pub async fn resolve(
    conn: &mut PgConnection,
    lot: LotId,
    class: VehicleClass,
    day: Date,
) -> Result<Option<Arc<TariffVersion>>, DbError> {
    let id = sqlx::query_scalar!(
        r#"
        select v.id as "id: TariffVersionId"
        from tariff_assignments a
        join tariff_versions v on v.tariff_id = a.tariff_id and v.starts_on <= $3
        where a.vehicle_class = $2
            and a.valid_from <= $3
            and (
                a.lot_id = $1
                or a.zone_id in (
                    select z.id
                    from lot_zones lz
                    join zones z on z.id = lz.zone_id
                    where lz.lot_id = $1
                        and $3 between lz.valid_from and coalesce(lz.valid_to, $3)
                        and $3 between z.valid_from and coalesce(z.valid_to, $3)
                )
            )
        order by a.lot_id is null, a.valid_from desc, a.id desc, v.starts_on desc
        limit 1
        "#,
        lot.get(),
        class.as_str(),
        day.to_sqlx() as _,
    )
    .fetch_optional(&mut *conn)
    .await?;
    match id {
        Some(id) => version(conn, id).await,
        None => Ok(None),
    }
}

/// What pricing needs to know about a lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LotFacts {
    /// Whose it is.
    pub operator_id: OperatorId,
    /// Whether it has spaces for the class.
    pub serves_class: bool,
}

/// A lot's owner and whether it takes a class.
pub async fn lot_facts(
    conn: &mut PgConnection,
    lot: LotId,
    class: VehicleClass,
) -> Result<Option<LotFacts>, DbError> {
    let facts = sqlx::query_as!(
        LotFacts,
        r#"
        select
            l.operator_id as "operator_id: OperatorId",
            exists (
                select from lot_capacity c
                where c.lot_id = l.id and c.vehicle_class = $2 and c.capacity > 0
            ) as "serves_class!"
        from lots l
        where l.id = $1
        "#,
        lot.get(),
        class.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(facts)
}

/// A tariff without its versions.
pub(super) struct TariffRecord {
    id: TariffId,
    operator_id: Option<OperatorId>,
    code: String,
    name: String,
    source: String,
    created_at: jiff_sqlx::Timestamp,
}

impl TariffRecord {
    fn tariff(self) -> Tariff {
        Tariff {
            id: self.id,
            operator_id: self.operator_id,
            code: self.code,
            name: self.name,
            source: self.source,
            versions: Vec::new(),
            created_at: self.created_at.to_jiff(),
        }
    }
}

/// A tariff of this operator, or of the city, with its versions, newest first.
pub async fn find(
    conn: &mut PgConnection,
    operator: OperatorId,
    id: TariffId,
) -> Result<Option<Tariff>, DbError> {
    let record = sqlx::query_as!(
        TariffRecord,
        r#"
        select
            id as "id: TariffId",
            operator_id as "operator_id: OperatorId",
            code,
            name,
            source,
            created_at
        from tariffs
        where id = $1 and (operator_id = $2 or operator_id is null)
        "#,
        id.get(),
        operator.get(),
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(record) = record else { return Ok(None) };
    let mut tariffs = vec![record.tariff()];
    add_versions(conn, &mut tariffs).await?;
    Ok(tariffs.pop())
}

/// An operator's tariffs in the order in which they were made, those after `after`, each with its
/// versions, newest first.
pub async fn page(
    conn: &mut PgConnection,
    operator: OperatorId,
    after: Option<TariffId>,
    limit: i64,
) -> Result<Vec<Tariff>, DbError> {
    let records = sqlx::query_as!(
        TariffRecord,
        r#"
        select
            id as "id: TariffId",
            operator_id as "operator_id: OperatorId",
            code,
            name,
            source,
            created_at
        from tariffs
        where operator_id = $1 and ($2::uuid is null or id > $2)
        order by id
        limit $3
        "#,
        operator.get(),
        after.map(TariffId::get),
        limit,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut tariffs = records.into_iter().map(TariffRecord::tariff).collect::<Vec<_>>();
    add_versions(conn, &mut tariffs).await?;
    Ok(tariffs)
}

async fn add_versions(conn: &mut PgConnection, tariffs: &mut [Tariff]) -> Result<(), DbError> {
    let ids: Vec<_> = tariffs.iter().map(|tariff| tariff.id.get()).collect();
    let records = versions!("where v.tariff_id = any($1) order by v.starts_on desc", &ids)
        .fetch_all(conn)
        .await?;
    for record in records {
        let version = record.version()?;
        if let Some(tariff) = tariffs.iter_mut().find(|tariff| tariff.id == version.tariff_id) {
            tariff.versions.push(version);
        }
    }
    Ok(())
}

/// All versions, for the book.
pub(super) async fn all_versions(
    conn: &mut PgConnection,
) -> Result<Vec<Arc<TariffVersion>>, DbError> {
    let records = versions!("order by v.starts_on desc").fetch_all(conn).await?;
    records.into_iter().map(VersionRecord::version).collect()
}

/// Enters a tariff. Its code is the operator's own: a repeat is `tariffs_operator_id_code_key`.
pub async fn insert_tariff(
    conn: &mut PgConnection,
    operator: OperatorId,
    tariff: &Tariff,
) -> Result<(), DbError> {
    sqlx::query!(
        r#"
        insert into tariffs (id, operator_id, code, name, source, created_at)
        values ($1, $2, $3, $4, $5, $6)
        "#,
        tariff.id.get(),
        operator.get(),
        tariff.code,
        tariff.name,
        tariff.source,
        tariff.created_at.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps others from adding a version to an operator's tariff until the transaction ends; gives
/// the number of the next one, or nothing if the operator has no such tariff.
pub async fn lock_for_next_version(
    tx: &mut PgConnection,
    operator: OperatorId,
    tariff: TariffId,
) -> Result<Option<i32>, DbError> {
    let locked = sqlx::query_scalar!(
        "select id from tariffs where id = $1 and operator_id = $2 for update",
        tariff.get(),
        operator.get(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    if locked.is_none() {
        return Ok(None);
    }
    let next = sqlx::query_scalar!(
        r#"select coalesce(max(version), 0) + 1 as "next!" from tariff_versions where tariff_id = $1"#,
        tariff.get(),
    )
    .fetch_one(tx)
    .await?;
    Ok(Some(next))
}

/// Enters a version. A second one for a day is `tariff_versions_tariff_id_starts_on_key`.
pub async fn insert_version(
    conn: &mut PgConnection,
    version: &TariffVersion,
    created_by: uuid::Uuid,
) -> Result<(), DbError> {
    let rules = serde_json::to_value(&*version.rules)
        .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    sqlx::query!(
        r#"
        insert into tariff_versions
            (id, tariff_id, version, starts_on, rules, created_by, created_at)
        values ($1, $2, $3, $4, $5, $6, $7)
        "#,
        version.id.get(),
        version.tariff_id.get(),
        version.version,
        version.starts_on.to_sqlx() as _,
        rules,
        created_by,
        version.created_at.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Lets a tariff hold for a class at a lot from a day on; an earlier choice for the same day goes.
pub async fn assign_to_lot(
    conn: &mut PgConnection,
    id: uuid::Uuid,
    (lot, class): (LotId, VehicleClass),
    tariff: TariffId,
    valid_from: Date,
) -> Result<(), DbError> {
    sqlx::query!(
        r#"
        insert into tariff_assignments (id, lot_id, vehicle_class, tariff_id, valid_from)
        values ($1, $2, $3, $4, $5)
        on conflict (lot_id, vehicle_class, valid_from) where lot_id is not null
        do update set id = excluded.id, tariff_id = excluded.tariff_id
        "#,
        id,
        lot.get(),
        class.as_str(),
        tariff.get(),
        valid_from.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The present instant as Postgres keeps it: whole microseconds.
pub(super) fn whole_us(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}
