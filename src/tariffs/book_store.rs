//! What the tariff book reads from Postgres.

use jiff::civil::Date;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::book::InZone;
use crate::kernel::ids::{LotId, TariffId};
use crate::kernel::vehicle::VehicleClass;
use crate::platform::db::DbError;

/// A state of the tariffs: another one means that something changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    newest_version: Option<Uuid>,
    newest_assignment: Option<Uuid>,
    versions: i64,
    assignments: i64,
}

/// The present mark.
pub(super) async fn mark(conn: &mut PgConnection) -> Result<Mark, DbError> {
    let mark = sqlx::query_as!(
        Mark,
        r#"
        select
            (select id from tariff_versions order by id desc limit 1) as newest_version,
            (select id from tariff_assignments order by id desc limit 1) as newest_assignment,
            (select count(*) from tariff_versions) as "versions!",
            (select count(*) from tariff_assignments) as "assignments!"
        "#,
    )
    .fetch_one(conn)
    .await?;
    Ok(mark)
}

/// The names of all tariffs.
pub(super) async fn names(conn: &mut PgConnection) -> Result<Vec<(TariffId, String)>, DbError> {
    let rows =
        sqlx::query!(r#"select id as "id: TariffId", name from tariffs"#).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.name)).collect())
}

/// Where a tariff holds.
pub(super) struct Assignment {
    pub(super) id: Uuid,
    pub(super) lot_id: Option<LotId>,
    pub(super) zone_id: Option<Uuid>,
    pub(super) class: VehicleClass,
    pub(super) tariff_id: TariffId,
    pub(super) valid_from: Date,
}

/// Every assignment.
pub(super) async fn assignments(conn: &mut PgConnection) -> Result<Vec<Assignment>, DbError> {
    let rows = sqlx::query!(
        r#"
        select
            id,
            lot_id as "lot_id: LotId",
            zone_id,
            vehicle_class as "vehicle_class: VehicleClass",
            tariff_id as "tariff_id: TariffId",
            valid_from
        from tariff_assignments
        "#,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Assignment {
            id: row.id,
            lot_id: row.lot_id,
            zone_id: row.zone_id,
            class: row.vehicle_class,
            tariff_id: row.tariff_id,
            valid_from: row.valid_from.to_jiff(),
        })
        .collect())
}

/// Every lot's time in zones, by lot; within it the zone itself is valid.
pub(super) async fn in_zones(conn: &mut PgConnection) -> Result<Vec<InZone>, DbError> {
    let rows = sqlx::query!(
        r#"
        select
            lz.lot_id as "lot_id: LotId",
            lz.zone_id,
            greatest(lz.valid_from, z.valid_from) as "valid_from!: jiff_sqlx::Date",
            least(lz.valid_to, z.valid_to) as "valid_to: jiff_sqlx::Date"
        from lot_zones lz
        join zones z on z.id = lz.zone_id
        order by lz.lot_id
        "#,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| InZone {
            lot: row.lot_id,
            zone: row.zone_id,
            from: row.valid_from.to_jiff(),
            to: row.valid_to.map_or(Date::MAX, jiff_sqlx::Date::to_jiff),
        })
        .collect())
}
