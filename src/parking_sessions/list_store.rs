//! Lists of sessions, newest first.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::store::{SessionRecord, sessions};
use super::{Session, SessionStatus};
use crate::kernel::ids::{
    DriverId, LotId, OperatorId, ParkingSessionId, QuoteId, ReservationId, StaffId,
    TariffVersionId, VehicleId,
};
use crate::kernel::money::{Rate, Vnd};
use crate::kernel::vehicle::VehicleClass;
use crate::lots::SaleMode;
use crate::platform::db::DbError;
use crate::tariffs::FareLine;

/// Which part of a list.
#[derive(Clone, Copy, Debug)]
pub struct PageOf {
    /// Only sessions in this state.
    pub status: Option<SessionStatus>,
    /// Only sessions older than this one.
    pub before: Option<Uuid>,
    /// At most so many.
    pub limit: i64,
}

/// An operator's choice of sessions.
#[derive(Clone, Debug, Default)]
pub struct OperatorFilter {
    /// Only at this lot.
    pub lot: Option<LotId>,
    /// Only this plate.
    pub plate_key: Option<String>,
    /// Only started at or after.
    pub from: Option<Timestamp>,
    /// Only started before.
    pub to: Option<Timestamp>,
}

fn all(records: Vec<SessionRecord>) -> Vec<Session> {
    records.into_iter().map(SessionRecord::session).collect()
}

/// A driver's sessions.
pub async fn of_driver(
    conn: &mut PgConnection,
    driver: DriverId,
    page: PageOf,
) -> Result<Vec<Session>, DbError> {
    let records = sessions!(
        r#"
            where s.driver_id = $1
                and ($2::text is null or s.status = $2)
                and ($3::uuid is null or s.id < $3)
            order by s.id desc
            limit $4
        "#,
        driver.get(),
        page.status.map(SessionStatus::as_str),
        page.before,
        page.limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(all(records))
}

/// The sessions that a member of staff started at the lots of their operator.
pub async fn of_staff(
    conn: &mut PgConnection,
    staff: StaffId,
    operator: OperatorId,
    page: PageOf,
) -> Result<Vec<Session>, DbError> {
    let records = sessions!(
        r#"
            where s.started_by_staff = $1
                and s.operator_id = $2
                and ($3::text is null or s.status = $3)
                and ($4::uuid is null or s.id < $4)
            order by s.id desc
            limit $5
        "#,
        staff.get(),
        operator.get(),
        page.status.map(SessionStatus::as_str),
        page.before,
        page.limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(all(records))
}

/// The sessions at an operator's lots.
pub async fn of_operator(
    conn: &mut PgConnection,
    operator: OperatorId,
    filter: &OperatorFilter,
    page: PageOf,
) -> Result<Vec<Session>, DbError> {
    let records = sessions!(
        r#"
            where s.operator_id = $1
                and ($2::uuid is null or s.lot_id = $2)
                and ($3::text is null or s.plate_key = $3)
                and ($4::timestamptz is null or s.started_at >= $4)
                and ($5::timestamptz is null or s.started_at < $5)
                and ($6::text is null or s.status = $6)
                and ($7::uuid is null or s.id < $7)
            order by s.id desc
            limit $8
        "#,
        operator.get(),
        filter.lot.map(LotId::get),
        filter.plate_key.as_deref(),
        filter.from.map(ToSqlx::to_sqlx) as _,
        filter.to.map(ToSqlx::to_sqlx) as _,
        page.status.map(SessionStatus::as_str),
        page.before,
        page.limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(all(records))
}
