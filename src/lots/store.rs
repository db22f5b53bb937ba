//! Lots in Postgres; their numbers of spaces are in `capacity_store`.

use std::str::FromStr;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;

use super::hours::OpeningHours;
use super::{
    CapacitySource, Feature, Lot, LotChange, LotError, LotKind, LotStatus, NewLot, SaleMode,
};
use crate::kernel::geo::LatLng;
use crate::kernel::ids::{LotId, OperatorId};
use crate::platform::db::DbError;

pub use super::capacity_store::{CapacityRecord, capacities, capacities_between, set_capacity};

struct LotRecord {
    id: LotId,
    code: String,
    operator_id: OperatorId,
    operator_name: String,
    name: String,
    address: String,
    lat: f64,
    lng: f64,
    kind: LotKind,
    features: Vec<String>,
    status: LotStatus,
    sale_mode: SaleMode,
    hold_minutes: i32,
    forgotten_stop_minutes: i32,
    correction_grace_minutes: i32,
    opening_hours: Json<OpeningHours>,
    capacity_source: CapacitySource,
    created_at: jiff_sqlx::Timestamp,
    updated_at: jiff_sqlx::Timestamp,
}

impl LotRecord {
    fn lot(self) -> Result<Lot, DbError> {
        let at = LatLng::new(self.lat, self.lng)
            .map_err(|outside| sqlx::Error::Decode(Box::new(outside)))?;
        Ok(Lot {
            id: self.id,
            code: self.code,
            operator_id: self.operator_id,
            operator_name: self.operator_name,
            name: self.name,
            address: self.address,
            at,
            kind: self.kind,
            // A word that this version does not know is passed over, so that an older server can
            // run beside a newer one.
            features: self.features.iter().flat_map(|word| Feature::from_str(word)).collect(),
            status: self.status,
            sale_mode: self.sale_mode,
            hold_minutes: self.hold_minutes,
            forgotten_stop_minutes: self.forgotten_stop_minutes,
            correction_grace_minutes: self.correction_grace_minutes,
            opening_hours: self.opening_hours.0,
            capacity_source: self.capacity_source,
            created_at: self.created_at.to_jiff(),
            updated_at: self.updated_at.to_jiff(),
        })
    }
}

macro_rules! lots {
    ($tail:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            LotRecord,
            r#"
            select
                l.id as "id: LotId",
                l.code,
                l.operator_id as "operator_id: OperatorId",
                o.name as operator_name,
                l.name,
                l.address,
                l.lat,
                l.lng,
                l.kind as "kind: LotKind",
                l.features,
                l.status as "status: LotStatus",
                l.sale_mode as "sale_mode: SaleMode",
                l.hold_minutes,
                l.forgotten_stop_minutes,
                l.correction_grace_minutes,
                l.opening_hours as "opening_hours: Json<OpeningHours>",
                l.capacity_source as "capacity_source: CapacitySource",
                l.created_at,
                l.updated_at
            from lots l
            join operators o on o.id = l.operator_id
            "# + $tail
            $(, $argument)*
        )
    };
}

fn every(records: Vec<LotRecord>) -> Result<Vec<Lot>, DbError> {
    records.into_iter().map(LotRecord::lot).collect()
}

/// A lot by its id.
pub async fn find(conn: &mut PgConnection, id: LotId) -> Result<Option<Lot>, DbError> {
    let record = lots!("where l.id = $1", id.get()).fetch_optional(conn).await?;
    record.map(LotRecord::lot).transpose()
}

/// A lot by its id, if this operator runs it.
pub async fn find_of_operator(
    conn: &mut PgConnection,
    operator: OperatorId,
    id: LotId,
) -> Result<Option<Lot>, DbError> {
    let record = lots!("where l.id = $1 and l.operator_id = $2", id.get(), operator.get())
        .fetch_optional(conn)
        .await?;
    record.map(LotRecord::lot).transpose()
}

/// Whether this operator runs the lot.
pub async fn is_of_operator(
    conn: &mut PgConnection,
    operator: OperatorId,
    id: LotId,
) -> Result<bool, DbError> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from lots where id = $1 and operator_id = $2) as "found!""#,
        id.get(),
        operator.get(),
    )
    .fetch_one(conn)
    .await?;
    Ok(found)
}

/// An operator's lots by code, those after `after_code`.
pub async fn page_of_operator(
    conn: &mut PgConnection,
    operator: OperatorId,
    after_code: &str,
    limit: i64,
) -> Result<Vec<Lot>, DbError> {
    let records = lots!(
        "where l.operator_id = $1 and l.code > $2 order by l.code limit $3",
        operator.get(),
        after_code,
        limit
    )
    .fetch_all(conn)
    .await?;
    every(records)
}

/// All lots by id, a page at a time: what search keeps in memory.
pub async fn page(
    conn: &mut PgConnection,
    after: Option<LotId>,
    limit: i64,
) -> Result<Vec<Lot>, DbError> {
    let records = lots!(
        "where ($1::uuid is null or l.id > $1) order by l.id limit $2",
        after.map(LotId::get),
        limit
    )
    .fetch_all(conn)
    .await?;
    every(records)
}

/// What the lots looked like at one moment; equal marks mean that hardly anything changed.
pub type Mark = (Option<Timestamp>, Option<LotId>);

/// The newest change and the newest lot: two index look-ups, cheap enough for every second.
pub async fn mark(conn: &mut PgConnection) -> Result<Mark, DbError> {
    let row = sqlx::query!(
        r#"
        select
            (select max(updated_at) from lots) as changed,
            (select id from lots order by id desc limit 1) as "newest: LotId"
        "#
    )
    .fetch_one(conn)
    .await?;
    Ok((row.changed.map(jiff_sqlx::Timestamp::to_jiff), row.newest))
}

/// Enters a lot.
pub async fn insert(
    conn: &mut PgConnection,
    operator: OperatorId,
    id: LotId,
    new: &NewLot,
    now: Timestamp,
) -> Result<(), LotError> {
    let features: Vec<String> =
        new.features.iter().map(|feature| feature.as_str().to_owned()).collect();
    let inserted = sqlx::query!(
        r#"
        insert into lots (
            id, code, operator_id, name, address, lat, lng, kind, features, sale_mode,
            hold_minutes, forgotten_stop_minutes, correction_grace_minutes, capacity_source,
            created_at, updated_at
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)
        "#,
        id.get(),
        new.code.as_str(),
        operator.get(),
        new.name,
        new.address,
        new.at.lat(),
        new.at.lng(),
        new.kind.as_str(),
        &features,
        new.sale_mode.as_str(),
        new.hold_minutes,
        new.forgotten_stop_minutes,
        new.correction_grace_minutes,
        new.capacity_source.as_str(),
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await
    .map_err(DbError::from);
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if error.constraint() == Some("lots_code_key") => Err(LotError::CodeTaken),
        Err(error) => Err(error.into()),
    }
}

/// Changes an operator's lot; false when there is no such lot.
pub async fn change(
    conn: &mut PgConnection,
    operator: OperatorId,
    id: LotId,
    change: &LotChange,
    now: Timestamp,
) -> Result<bool, DbError> {
    let features: Option<Vec<String>> = change
        .features
        .as_ref()
        .map(|features| features.iter().map(|feature| feature.as_str().to_owned()).collect());
    let changed = sqlx::query!(
        r#"
        update lots set
            name = coalesce($3, name),
            address = coalesce($4, address),
            lat = coalesce($5, lat),
            lng = coalesce($6, lng),
            kind = coalesce($7, kind),
            features = coalesce($8, features),
            status = coalesce($9, status),
            sale_mode = coalesce($10, sale_mode),
            hold_minutes = coalesce($11, hold_minutes),
            forgotten_stop_minutes = coalesce($12, forgotten_stop_minutes),
            correction_grace_minutes = coalesce($13, correction_grace_minutes),
            capacity_source = coalesce($14, capacity_source),
            updated_at = greatest($15, updated_at + interval '1 microsecond')
        where id = $1 and operator_id = $2
        "#,
        id.get(),
        operator.get(),
        change.name,
        change.address,
        change.at.map(LatLng::lat),
        change.at.map(LatLng::lng),
        change.kind.map(LotKind::as_str),
        features.as_deref(),
        change.status.map(LotStatus::as_str),
        change.sale_mode.map(SaleMode::as_str),
        change.hold_minutes,
        change.forgotten_stop_minutes,
        change.correction_grace_minutes,
        change.capacity_source.map(CapacitySource::as_str),
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Replaces the opening hours of an operator's lot; false when there is no such lot.
pub async fn set_hours(
    conn: &mut PgConnection,
    operator: OperatorId,
    id: LotId,
    hours: &OpeningHours,
    now: Timestamp,
) -> Result<bool, DbError> {
    let changed = sqlx::query!(
        r#"
        update lots set
            opening_hours = $3,
            updated_at = greatest($4, updated_at + interval '1 microsecond')
        where id = $1 and operator_id = $2
        "#,
        id.get(),
        operator.get(),
        Json(hours) as _,
        now.to_sqlx() as _,
    )
    .execute(conn)
    .await?;
    Ok(changed.rows_affected() == 1)
}
