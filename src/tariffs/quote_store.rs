//! Quotes in Postgres.

use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;

use super::FareLine;
use super::quotes::Quote;
use crate::kernel::ids::{LotId, QuoteId, TariffVersionId};
use crate::kernel::money::Vnd;
use crate::kernel::vehicle::VehicleClass;
use crate::platform::db::DbError;

struct QuoteRecord {
    id: QuoteId,
    lot_id: LotId,
    vehicle_class: VehicleClass,
    starts_at: jiff_sqlx::Timestamp,
    ends_at: jiff_sqlx::Timestamp,
    amount_vnd: Vnd,
    tariff_version_id: TariffVersionId,
    lines: Json<Vec<FareLine>>,
    created_at: jiff_sqlx::Timestamp,
    expires_at: jiff_sqlx::Timestamp,
    signature: String,
}

/// Keeps a quote.
pub async fn insert(conn: &mut PgConnection, quote: &Quote) -> Result<(), DbError> {
    sqlx::query!(
        r#"
        insert into quotes (
            id, lot_id, vehicle_class, starts_at, ends_at, amount_vnd, tariff_version_id, lines,
            created_at, expires_at, signature
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        "#,
        quote.id.get(),
        quote.lot_id.get(),
        quote.vehicle_class.as_str(),
        quote.start.to_sqlx() as _,
        quote.end.to_sqlx() as _,
        quote.amount.get(),
        quote.tariff_version_id.get(),
        Json(&quote.lines) as _,
        quote.created_at.to_sqlx() as _,
        quote.expires_at.to_sqlx() as _,
        quote.signature,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A quote by its id. Whether its signature is ours is for the caller to check.
pub async fn find(conn: &mut PgConnection, id: QuoteId) -> Result<Option<Quote>, DbError> {
    let record = sqlx::query_as!(
        QuoteRecord,
        r#"
        select
            id as "id: QuoteId",
            lot_id as "lot_id: LotId",
            vehicle_class as "vehicle_class: VehicleClass",
            starts_at,
            ends_at,
            amount_vnd as "amount_vnd: Vnd",
            tariff_version_id as "tariff_version_id: TariffVersionId",
            lines as "lines: Json<Vec<FareLine>>",
            created_at,
            expires_at,
            signature
        from quotes
        where id = $1
        "#,
        id.get(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(record.map(|record| Quote {
        id: record.id,
        lot_id: record.lot_id,
        vehicle_class: record.vehicle_class,
        start: record.starts_at.to_jiff(),
        end: record.ends_at.to_jiff(),
        amount: record.amount_vnd,
        tariff_version_id: record.tariff_version_id,
        lines: record.lines.0,
        created_at: record.created_at.to_jiff(),
        expires_at: record.expires_at.to_jiff(),
        signature: record.signature,
    }))
}
