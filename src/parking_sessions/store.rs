//! Sessions in Postgres, one at a time.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;

use super::{Session, SessionStatus};
use crate::kernel::ids::{
    DriverId, LotId, OperatorId, ParkingSessionId, QuoteId, ReservationId, StaffId,
    TariffVersionId, VehicleId,
};
use crate::kernel::money::{Rate, Vnd};
use crate::kernel::vehicle::VehicleClass;
use crate::ledger::chart::Shares;
use crate::lots::SaleMode;
use crate::platform::db::DbError;
use crate::tariffs::FareLine;

/// A session with its lot and operator as `query_as!` reads it.
pub(super) struct SessionRecord {
    pub(super) id: ParkingSessionId,
    pub(super) lot_id: LotId,
    pub(super) lot_name: String,
    pub(super) operator_id: OperatorId,
    pub(super) operator_code: String,
    pub(super) vehicle_class: VehicleClass,
    pub(super) plate: String,
    pub(super) plate_key: String,
    pub(super) driver_id: Option<DriverId>,
    pub(super) vehicle_id: Option<VehicleId>,
    pub(super) reservation_id: Option<ReservationId>,
    pub(super) started_by_staff: Option<StaffId>,
    pub(super) status: SessionStatus,
    pub(super) sale_mode: SaleMode,
    pub(super) tariff_version_id: TariffVersionId,
    pub(super) quote_id: Option<QuoteId>,
    pub(super) started_at: jiff_sqlx::Timestamp,
    pub(super) correctable_until: jiff_sqlx::Timestamp,
    pub(super) forgotten_at: jiff_sqlx::Timestamp,
    pub(super) paid_until: Option<jiff_sqlx::Timestamp>,
    pub(super) ended_at: Option<jiff_sqlx::Timestamp>,
    pub(super) fare: Vnd,
    pub(super) paid: Vnd,
    pub(super) lines: Json<Vec<FareLine>>,
    pub(super) vat: Rate,
    pub(super) city: Rate,
    pub(super) platform: Rate,
}

impl SessionRecord {
    pub(super) fn session(self) -> Session {
        Session {
            id: self.id,
            lot_id: self.lot_id,
            lot_name: self.lot_name,
            operator_id: self.operator_id,
            vehicle_class: self.vehicle_class,
            plate: self.plate,
            plate_key: self.plate_key,
            driver_id: self.driver_id,
            vehicle_id: self.vehicle_id,
            reservation_id: self.reservation_id,
            started_by_staff: self.started_by_staff,
            status: self.status,
            sale_mode: self.sale_mode,
            tariff_version_id: self.tariff_version_id,
            quote_id: self.quote_id,
            started_at: self.started_at.to_jiff(),
            correctable_until: self.correctable_until.to_jiff(),
            forgotten_at: self.forgotten_at.to_jiff(),
            paid_until: self.paid_until.map(jiff_sqlx::Timestamp::to_jiff),
            ended_at: self.ended_at.map(jiff_sqlx::Timestamp::to_jiff),
            fare: self.fare,
            paid: self.paid,
            lines: self.lines.0,
            shares: Shares {
                operator_code: self.operator_code,
                vat: self.vat,
                city: self.city,
                platform: self.platform,
            },
        }
    }
}

/// `query_as!` over sessions: the columns are written once, `$tail` is the rest of the statement.
macro_rules! sessions {
    ($tail:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            crate::parking_sessions::store::SessionRecord,
            r#"
            select
                s.id as "id: ParkingSessionId",
                s.lot_id as "lot_id: LotId",
                l.name as lot_name,
                s.operator_id as "operator_id: OperatorId",
                o.code as operator_code,
                s.vehicle_class as "vehicle_class: VehicleClass",
                s.plate,
                s.plate_key,
                s.driver_id as "driver_id: DriverId",
                s.vehicle_id as "vehicle_id: VehicleId",
                s.reservation_id as "reservation_id: ReservationId",
                s.started_by_staff as "started_by_staff: StaffId",
                s.status as "status: SessionStatus",
                s.sale_mode as "sale_mode: SaleMode",
                s.tariff_version_id as "tariff_version_id: TariffVersionId",
                s.quote_id as "quote_id: QuoteId",
                s.started_at,
                s.correctable_until,
                s.forgotten_at,
                s.paid_until,
                s.ended_at,
                s.fare_vnd as "fare: Vnd",
                s.paid_vnd as "paid: Vnd",
                s.lines as "lines: Json<Vec<FareLine>>",
                s.vat_rate as "vat: Rate",
                s.city_share_rate as "city: Rate",
                s.platform_fee_rate as "platform: Rate"
            from parking_sessions s
            join lots l on l.id = s.lot_id
            join operators o on o.id = s.operator_id
            "# + $tail
            $(, $argument)*
        )
    };
}
pub(super) use sessions;

/// A session.
pub async fn find(
    conn: &mut PgConnection,
    id: ParkingSessionId,
) -> Result<Option<Session>, DbError> {
    let record = sessions!("where s.id = $1", id.get()).fetch_optional(conn).await?;
    Ok(record.map(SessionRecord::session))
}

/// A session, locked. Its capacity row was locked before.
pub async fn lock(tx: &mut PgConnection, id: ParkingSessionId) -> Result<Option<Session>, DbError> {
    let record = sessions!("where s.id = $1 for update of s", id.get()).fetch_optional(tx).await?;
    Ok(record.map(SessionRecord::session))
}

/// Writes a new session; false when one is open for the plate and class.
pub async fn insert(tx: &mut PgConnection, session: &Session) -> Result<bool, DbError> {
    let inserted = sqlx::query!(
        r#"
        insert into parking_sessions (
            id, lot_id, operator_id, vehicle_class, plate, plate_key, driver_id, vehicle_id,
            reservation_id, started_by_staff, status, sale_mode, tariff_version_id, quote_id,
            started_at, correctable_until, forgotten_at, paid_until, vat_rate, city_share_rate,
            platform_fee_rate
        )
        values (
            $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'active', $11, $12, $13, $14, $15, $16, $17,
            $18, $19, $20
        )
        on conflict (plate_key, vehicle_class) where status = 'active' do nothing
        "#,
        session.id.get(),
        session.lot_id.get(),
        session.operator_id.get(),
        session.vehicle_class.as_str(),
        session.plate,
        session.plate_key,
        session.driver_id.map(DriverId::get),
        session.vehicle_id.map(VehicleId::get),
        session.reservation_id.map(ReservationId::get),
        session.started_by_staff.map(StaffId::get),
        session.sale_mode.as_str(),
        session.tariff_version_id.get(),
        session.quote_id.map(QuoteId::get),
        session.started_at.to_sqlx() as _,
        session.correctable_until.to_sqlx() as _,
        session.forgotten_at.to_sqlx() as _,
        session.paid_until.map(ToSqlx::to_sqlx) as _,
        session.shares.vat.get(),
        session.shares.city.get(),
        session.shares.platform.get(),
    )
    .execute(tx)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Writes what changes during a stay: state, end, bought time, fare. The caller has locked it.
pub async fn save(tx: &mut PgConnection, session: &Session) -> Result<(), DbError> {
    sqlx::query!(
        r#"
        update parking_sessions
        set status = $2, ended_at = $3, paid_until = $4, fare_vnd = $5, lines = $6,
            forgotten_at = $7
        where id = $1
        "#,
        session.id.get(),
        session.status.as_str(),
        session.ended_at.map(ToSqlx::to_sqlx) as _,
        session.paid_until.map(ToSqlx::to_sqlx) as _,
        session.fare.get(),
        Json(&session.lines) as _,
        session.forgotten_at.to_sqlx() as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes what a correction changes besides. The caller has locked the session.
///
/// Fails with the constraint `parking_sessions_one_open` when the corrected plate is parked.
pub async fn save_correction(tx: &mut PgConnection, session: &Session) -> Result<(), DbError> {
    sqlx::query!(
        r#"
        update parking_sessions
        set lot_id = $2, operator_id = $3, vehicle_class = $4, plate = $5, plate_key = $6,
            vehicle_id = $7, tariff_version_id = $8, quote_id = $9, vat_rate = $10,
            city_share_rate = $11, platform_fee_rate = $12
        where id = $1
        "#,
        session.id.get(),
        session.lot_id.get(),
        session.operator_id.get(),
        session.vehicle_class.as_str(),
        session.plate,
        session.plate_key,
        session.vehicle_id.map(VehicleId::get),
        session.tariff_version_id.get(),
        session.quote_id.map(QuoteId::get),
        session.shares.vat.get(),
        session.shares.city.get(),
        session.shares.platform.get(),
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Active sessions that should have been stopped by `now`, the longest forgotten first.
pub async fn forgotten(
    conn: &mut PgConnection,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<ParkingSessionId>, DbError> {
    let ids = sqlx::query_scalar!(
        r#"
        select id as "id: ParkingSessionId"
        from parking_sessions
        where status = 'active' and forgotten_at <= $1
        order by forgotten_at
        limit $2
        "#,
        now.to_sqlx() as _,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(ids)
}
