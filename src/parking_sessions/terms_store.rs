//! What a session freezes of other domains' rows when it starts: lot, operator, permit, vehicle.
//! Read-only.

use sqlx::postgres::PgConnection;
use sqlx::types::Json;

use crate::kernel::ids::{DriverId, LotId, OperatorId, VehicleId};
use crate::kernel::money::Rate;
use crate::kernel::vehicle::VehicleClass;
use crate::lots::hours::OpeningHours;
use crate::lots::{LotStatus, SaleMode};
use crate::platform::db::DbError;

/// A lot's terms for a stay that starts now.
#[derive(Clone, Debug)]
pub struct LotTerms {
    /// Who runs it.
    pub operator_id: OperatorId,
    /// The operator's code in the names of accounts.
    pub operator_code: String,
    /// The lot's name.
    pub name: String,
    /// Whether it takes vehicles.
    pub status: LotStatus,
    /// When it is open.
    pub opening_hours: Json<OpeningHours>,
    /// How it sells time.
    pub sale_mode: SaleMode,
    /// Minutes after which a stay that nobody stopped is ended.
    pub forgotten_stop_minutes: i32,
    /// Minutes in which a stay can be corrected.
    pub correction_grace_minutes: i32,
    /// The city's share of the fare without tax; nothing where no permit to use public ground is
    /// needed.
    pub city: Rate,
    /// The platform's share of the fare without tax.
    pub platform: Rate,
}

/// The terms of a lot.
pub async fn of_lot(conn: &mut PgConnection, lot: LotId) -> Result<Option<LotTerms>, DbError> {
    let terms = sqlx::query_as!(
        LotTerms,
        r#"
        select
            l.operator_id as "operator_id: OperatorId",
            o.code as operator_code,
            l.name,
            l.status as "status: LotStatus",
            l.opening_hours as "opening_hours: Json<OpeningHours>",
            l.sale_mode as "sale_mode: SaleMode",
            l.forgotten_stop_minutes,
            l.correction_grace_minutes,
            coalesce(p.city_share_rate, 0) as "city!: Rate",
            o.platform_fee_rate as "platform: Rate"
        from lots l
        join operators o on o.id = l.operator_id
        left join permits p on p.id = l.permit_id
        where l.id = $1
        "#,
        lot.get(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(terms)
}

/// A driver's vehicle as a session needs it.
#[derive(Clone)]
pub struct OwnVehicle {
    /// The plate as the driver wrote it.
    pub plate: String,
    /// The plate's identity.
    pub plate_key: String,
    /// The class.
    pub class: VehicleClass,
}

/// A vehicle of the driver that was not removed.
pub async fn own_vehicle(
    conn: &mut PgConnection,
    driver: DriverId,
    vehicle: VehicleId,
) -> Result<Option<OwnVehicle>, DbError> {
    let vehicle = sqlx::query_as!(
        OwnVehicle,
        r#"
        select plate, plate_key, vehicle_class as "class: VehicleClass"
        from vehicles
        where id = $1 and driver_id = $2 and removed_at is null
        "#,
        vehicle.get(),
        driver.get(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(vehicle)
}

/// The vehicle of a hold, which may have been removed since.
pub async fn held_vehicle(
    conn: &mut PgConnection,
    vehicle: VehicleId,
) -> Result<Option<OwnVehicle>, DbError> {
    let vehicle = sqlx::query_as!(
        OwnVehicle,
        r#"
        select plate, plate_key, vehicle_class as "class: VehicleClass"
        from vehicles
        where id = $1
        "#,
        vehicle.get(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(vehicle)
}

/// The driver's vehicle with this plate and class, if there is one.
pub async fn vehicle_with_plate(
    conn: &mut PgConnection,
    driver: DriverId,
    plate_key: &str,
    class: VehicleClass,
) -> Result<Option<VehicleId>, DbError> {
    let id = sqlx::query_scalar!(
        r#"
        select id as "id: VehicleId"
        from vehicles
        where driver_id = $1 and plate_key = $2 and vehicle_class = $3 and removed_at is null
        "#,
        driver.get(),
        plate_key,
        class.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(id)
}
