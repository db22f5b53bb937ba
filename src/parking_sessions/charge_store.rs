//! What a session was charged, and the earlier stays that a price depends on.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::Session;
use super::charges::ChargeKind;
use crate::kernel::ids::ParkingSessionId;
use crate::kernel::money::Vnd;
use crate::platform::db::DbError;
use crate::tariffs::Leg;

/// Days in which earlier stays are looked for: with the longest stay that is less than the 90
/// days that a tariff prices.
const LOOK_BACK_DAYS: i64 = 30;

/// Earlier stays that a stay can continue. Nobody comes and goes more often within minutes.
const EARLIER_MAX: i64 = 50;

/// Notes an amount that a session came to owe; negative when it owes less.
pub async fn insert(
    tx: &mut PgConnection,
    id: Uuid,
    session: ParkingSessionId,
    kind: ChargeKind,
    amount: Vnd,
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query!(
        r#"
        insert into session_charges (id, parking_session_id, kind, amount_vnd, charged_at)
        values ($1, $2, $3, $4, $5)
        "#,
        id,
        session.get(),
        kind.as_str(),
        amount.get(),
        now.to_sqlx() as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Ended stays of the same plate and class at the same lot before this one, newest first, with
/// what each was charged.
pub async fn earlier_stays(
    conn: &mut PgConnection,
    session: &Session,
) -> Result<Vec<(Leg, Vnd)>, DbError> {
    let since = jiff::SignedDuration::from_hours(24 * LOOK_BACK_DAYS);
    let since = session.started_at.checked_sub(since).unwrap_or(session.started_at);
    let rows = sqlx::query!(
        r#"
        select started_at, ended_at as "ended_at!", fare_vnd as "fare: Vnd"
        from parking_sessions
        where plate_key = $1 and vehicle_class = $2 and lot_id = $3
            and status in ('ended', 'paid')
            and started_at >= $4 and ended_at <= $5 and id <> $6
        order by started_at desc
        limit $7
        "#,
        session.plate_key,
        session.vehicle_class.as_str(),
        session.lot_id.get(),
        since.to_sqlx() as _,
        session.started_at.to_sqlx() as _,
        session.id.get(),
        EARLIER_MAX,
    )
    .fetch_all(conn)
    .await?;
    let stays = rows.into_iter().map(|row| {
        (Leg { start: row.started_at.to_jiff(), stop: row.ended_at.to_jiff() }, row.fare)
    });
    Ok(stays.collect())
}
