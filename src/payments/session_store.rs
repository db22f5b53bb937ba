//! What payments read and write of parking sessions: the fare and the money, nothing else.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::dues::Dues;
use crate::kernel::ids::{DriverId, ParkingSessionId, RefundId};
use crate::kernel::money::{Rate, Vnd};
use crate::ledger::chart::Shares;
use crate::platform::db::DbError;

/// Locks sessions in the order of their ids; they are locked before their payments.
pub async fn lock(
    tx: &mut PgConnection,
    sessions: &[ParkingSessionId],
) -> Result<Vec<Dues>, DbError> {
    let ids: Vec<Uuid> = sessions.iter().map(|session| session.get()).collect();
    let rows = sqlx::query!(
        r#"
        select
            s.id as "id: ParkingSessionId",
            s.driver_id as "driver_id: DriverId",
            s.status,
            s.fare_vnd as "fare: Vnd",
            s.paid_vnd as "paid: Vnd",
            o.code as operator_code,
            s.vat_rate as "vat: Rate",
            s.city_share_rate as "city: Rate",
            s.platform_fee_rate as "platform: Rate"
        from parking_sessions s
        join operators o on o.id = s.operator_id
        where s.id = any($1)
        order by s.id
        for update of s
        "#,
        &ids,
    )
    .fetch_all(tx)
    .await?;
    let dues = rows.into_iter().map(|row| Dues {
        session: row.id,
        driver: row.driver_id,
        is_ended: row.status == "ended" || row.status == "paid",
        is_off: row.status == "waived" || row.status == "cancelled",
        is_settled: row.status == "paid",
        fare: row.fare,
        paid: row.paid,
        shares: Shares {
            operator_code: row.operator_code,
            vat: row.vat,
            city: row.city,
            platform: row.platform,
        },
    });
    Ok(dues.collect())
}

/// Writes fares and money of sessions that the transaction has locked. An ended session whose
/// fare is covered becomes paid; no other state changes.
pub async fn save(tx: &mut PgConnection, sessions: &[&Dues]) -> Result<(), DbError> {
    if sessions.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = sessions.iter().map(|dues| dues.session.get()).collect();
    let fares: Vec<i64> = sessions.iter().map(|dues| dues.fare.get()).collect();
    let paid: Vec<i64> = sessions.iter().map(|dues| dues.paid.get()).collect();
    let settled: Vec<bool> = sessions.iter().map(|dues| dues.is_settled).collect();
    sqlx::query!(
        r#"
        update parking_sessions s
        set fare_vnd = c.fare_vnd,
            paid_vnd = c.paid_vnd,
            status = case when s.status = 'ended' and c.settled then 'paid' else s.status end
        from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::boolean[])
            as c (id, fare_vnd, paid_vnd, settled)
        where s.id = c.id
        "#,
        &ids,
        &fares,
        &paid,
        &settled,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes that a refund changed a fare, so that a session's charges still sum to it.
pub async fn add_correction(
    tx: &mut PgConnection,
    charge: Uuid,
    session: ParkingSessionId,
    amount: Vnd,
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query!(
        r#"
        insert into session_charges (id, parking_session_id, kind, amount_vnd, charged_at)
        values ($1, $2, 'corrected', $3, $4)
        "#,
        charge,
        session.get(),
        amount.get(),
        now.to_sqlx() as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// By how much a refund lowered the fare when it was written down; its charge has its id.
pub async fn lowered_by(tx: &mut PgConnection, refund: RefundId) -> Result<Vnd, DbError> {
    let lowered = sqlx::query_scalar!(
        r#"select -amount_vnd as "lowered!: Vnd" from session_charges where id = $1"#,
        refund.get(),
    )
    .fetch_optional(tx)
    .await?;
    Ok(lowered.unwrap_or(Vnd::ZERO))
}

/// Sessions that hold more money than they cost and for which no refund failed since
/// `not_failed_since`.
pub async fn with_surplus(
    conn: &mut PgConnection,
    not_failed_since: Timestamp,
    limit: i64,
) -> Result<Vec<ParkingSessionId>, DbError> {
    let sessions = sqlx::query_scalar!(
        r#"
        select s.id as "id: ParkingSessionId"
        from parking_sessions s
        where s.paid_vnd > s.fare_vnd
            and not exists (
                select 1
                from payments p
                join refunds r on r.payment_id = p.id
                where p.parking_session_id = s.id
                    and r.status = 'failed'
                    and r.done_at >= $1
            )
        limit $2
        "#,
        not_failed_since.to_sqlx() as _,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(sessions)
}
