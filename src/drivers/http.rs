//! Endpoints of a driver's profile and vehicles.

use actix_web::{HttpResponse, web};
use serde::Deserialize;

use super::{Change, DisplayName, DriverError, Locale, NewVehicle, Vehicle, service};
use crate::auth::Auth;
use crate::auth::guard::{DriverOnly, Guard};
use crate::kernel::ids::VehicleId;
use crate::kernel::plate::Plate;
use crate::kernel::vehicle::VehicleClass;
use crate::platform::App;
use crate::web::extract::{Json, Page, Path, Query, page_limit, read_cursor};
use crate::web::problem::{Code, Problem};

/// `GET /v1/me`.
pub async fn get_me(
    driver: Guard<DriverOnly>,
    app: web::Data<App>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(service::profile(&app, driver.id).await?))
}

/// `PATCH /v1/me`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeUpdate {
    #[serde(default)]
    display_name: Change<String>,
    locale: Option<Locale>,
}

/// Changes what is given.
pub async fn update_me(
    driver: Guard<DriverOnly>,
    app: web::Data<App>,
    body: Json<MeUpdate>,
) -> Result<HttpResponse, Problem> {
    let fields = body.canonical.as_object().map_or(0, serde_json::Map::len);
    if fields == 0 {
        return Err(Problem::field("", "at least one field"));
    }
    if body.canonical.get("locale").is_some_and(serde_json::Value::is_null) {
        return Err(Problem::field("locale", "vi or en"));
    }
    let name = match body.value.display_name {
        Change::Keep => Change::Keep,
        Change::Clear => Change::Clear,
        Change::To(text) => Change::To(
            DisplayName::parse(&text).map_err(|rule| Problem::field("display_name", rule))?,
        ),
    };
    let profile = service::change_profile(&app, driver.id, name, body.value.locale).await?;
    Ok(HttpResponse::Ok().json(profile))
}

/// `DELETE /v1/me`.
pub async fn delete_me(
    driver: Guard<DriverOnly>,
    app: web::Data<App>,
    auth: web::Data<Auth>,
) -> Result<HttpResponse, Problem> {
    service::forget(&app, &auth, driver.id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// A page of a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    limit: Option<i64>,
    cursor: Option<String>,
}

/// `GET /v1/me/vehicles`.
pub async fn list_vehicles(
    driver: Guard<DriverOnly>,
    app: web::Data<App>,
    query: Query<PageQuery>,
) -> Result<HttpResponse, Problem> {
    let limit = page_limit(query.0.limit)?;
    let before = read_cursor(query.0.cursor.as_deref())?.map(VehicleId::from_uuid);
    let rows = service::vehicles(&app, driver.id, before, limit).await?;
    Ok(HttpResponse::Ok().json(Page::of(rows, limit, |vehicle: &Vehicle| vehicle.id.get())))
}

/// `POST /v1/me/vehicles`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VehicleCreate {
    plate: String,
    vehicle_class: VehicleClass,
}

/// Adds a vehicle.
pub async fn add_vehicle(
    driver: Guard<DriverOnly>,
    app: web::Data<App>,
    body: Json<VehicleCreate>,
) -> Result<HttpResponse, Problem> {
    let VehicleCreate { plate: written, vehicle_class } = body.value;
    let plate =
        Plate::parse(&written).map_err(|error| Problem::field("plate", error.to_string()))?;
    let new = NewVehicle::new(&written, &plate, vehicle_class);
    Ok(HttpResponse::Created().json(service::add_vehicle(&app, driver.id, new).await?))
}

/// `DELETE /v1/me/vehicles/{vehicle_id}`.
pub async fn remove_vehicle(
    driver: Guard<DriverOnly>,
    app: web::Data<App>,
    id: Path<VehicleId>,
) -> Result<HttpResponse, Problem> {
    service::remove_vehicle(&app, driver.id, id.0).await?;
    Ok(HttpResponse::NoContent().finish())
}

impl From<DriverError> for Problem {
    fn from(error: DriverError) -> Problem {
        match error {
            DriverError::Gone => Problem::new(Code::Unauthenticated),
            DriverError::Involved(why) => Problem::new(Code::Conflict).detail(why),
            DriverError::VehicleAlreadyThere => {
                Problem::new(Code::Conflict).detail("You have this vehicle already.")
            }
            DriverError::TooManyVehicles => {
                Problem::new(Code::Conflict).detail("You have 20 vehicles; remove one first.")
            }
            DriverError::NoSuchVehicle => Problem::not_found(),
            DriverError::VehicleInUse => {
                Problem::new(Code::Conflict).detail("The vehicle is held for or parked.")
            }
            DriverError::Store(error) => error.into(),
        }
    }
}
