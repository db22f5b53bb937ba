//! What a receipt shows besides the payment, in Postgres.

use jiff::Timestamp;
use sqlx::postgres::PgConnection;

use super::Payment;
use crate::kernel::ids::LotId;
use crate::kernel::money::Rate;
use crate::platform::db::DbError;

/// The stay and the place that a payment was for. No `Debug`: it holds a plate.
pub struct Receipt {
    /// The lot.
    pub lot_id: LotId,
    /// Its code.
    pub lot_code: String,
    /// Its name.
    pub lot_name: String,
    /// Its address.
    pub lot_address: String,
    /// Who runs it.
    pub operator_name: String,
    /// The operator's tax code.
    pub operator_tax_code: String,
    /// The vehicle.
    pub plate: String,
    /// When it came.
    pub entered_at: Timestamp,
    /// When it left.
    pub left_at: Option<Timestamp>,
    /// How the fare comes about.
    pub lines: serde_json::Value,
    /// The tax contained in it.
    pub vat_rate: Rate,
}

/// The receipt of a payment that succeeded.
pub async fn find(conn: &mut PgConnection, payment: &Payment) -> Result<Option<Receipt>, DbError> {
    let row = sqlx::query!(
        r#"
        select
            l.id as "lot_id: LotId",
            l.code as lot_code,
            l.name as lot_name,
            l.address as lot_address,
            o.name as operator_name,
            o.tax_code,
            s.plate,
            s.started_at,
            s.ended_at,
            s.lines,
            s.vat_rate as "vat_rate: Rate"
        from parking_sessions s
        join lots l on l.id = s.lot_id
        join operators o on o.id = s.operator_id
        where s.id = $1
        "#,
        payment.parking_session_id.get(),
    )
    .fetch_optional(conn)
    .await?;
    let row = row.filter(|_| payment.settled_at.is_some());
    Ok(row.map(|row| Receipt {
        lot_id: row.lot_id,
        lot_code: row.lot_code,
        lot_name: row.lot_name,
        lot_address: row.lot_address,
        operator_name: row.operator_name,
        operator_tax_code: row.tax_code,
        plate: row.plate,
        entered_at: row.started_at.to_jiff(),
        left_at: row.ended_at.map(jiff_sqlx::Timestamp::to_jiff),
        lines: row.lines,
        vat_rate: row.vat_rate,
    }))
}
