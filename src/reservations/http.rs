//! Endpoints of reservations.

use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, web};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::writer::whole_us;
use super::{
    ARRIVE_BY_MINUTES_MAX, HoldRequest, Refusal, Reservation, ReservationError, ReservationStatus,
    Reservations, held_until, service,
};
use crate::auth::guard::{DriverOnly, Guard};
use crate::kernel::ids::{LotId, ReservationId, VehicleId};
use crate::occupancy::service::Occupancy;
use crate::platform::App;
use crate::web::extract::{IdempotencyKey, Json, Page, Path, Query, page_limit, read_cursor};
use crate::web::problem::{Code, Problem};

/// `POST /v1/reservations`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReservationCreate {
    lot_id: LotId,
    vehicle_id: VehicleId,
    arrive_by: Option<Timestamp>,
}

/// Holds a space.
pub async fn create(
    app: web::Data<App>,
    reservations: web::Data<Reservations>,
    driver: Guard<DriverOnly>,
    key: IdempotencyKey,
    body: Json<ReservationCreate>,
) -> Result<HttpResponse, Problem> {
    let wish = body.value;
    let arrive_by = wish.arrive_by.map(whole_us);
    let request = HoldRequest {
        driver_id: driver.id,
        vehicle_id: wish.vehicle_id,
        lot_id: wish.lot_id,
        arrive_by,
        hash: hash(&wish, arrive_by),
        key: key.0,
    };
    // A repeat of an old request is answered even when its `arrive_by` has passed meanwhile.
    let in_time = held_until(app.now(), 1, arrive_by).is_some();
    let hold = if in_time {
        reservations.hold(request).await?
    } else {
        reservations.known(&request).await?.ok_or(ReservationError::ArriveBy)?
    };
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/v1/reservations/{}", hold.id)))
        .json(hold))
}

/// What makes two wishes the same.
fn hash(wish: &ReservationCreate, arrive_by: Option<Timestamp>) -> Vec<u8> {
    let mut hasher = Sha256::new();
    hasher.update(wish.lot_id.get().as_bytes());
    hasher.update(wish.vehicle_id.get().as_bytes());
    hasher.update(arrive_by.map_or(0, Timestamp::as_microsecond).to_be_bytes());
    hasher.finalize().to_vec()
}

/// `GET /v1/reservations`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    status: Option<ReservationStatus>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// The driver's holds, newest first.
pub async fn list(
    app: web::Data<App>,
    driver: Guard<DriverOnly>,
    query: Query<ListQuery>,
) -> Result<HttpResponse, Problem> {
    let limit = page_limit(query.0.limit)?;
    let before = read_cursor(query.0.cursor.as_deref())?;
    let holds = service::list(&app, driver.id, query.0.status, before, limit + 1).await?;
    Ok(HttpResponse::Ok().json(Page::of(holds, limit, |hold: &Reservation| hold.id.get())))
}

/// `GET /v1/reservations/{reservation_id}`.
pub async fn get(
    app: web::Data<App>,
    driver: Guard<DriverOnly>,
    id: Path<Uuid>,
) -> Result<HttpResponse, Problem> {
    let hold = service::find(&app, driver.id, ReservationId::from_uuid(id.0)).await?;
    Ok(HttpResponse::Ok().json(hold))
}

/// `POST /v1/reservations/{reservation_id}/cancel`.
pub async fn cancel(
    occupancy: web::Data<Occupancy>,
    driver: Guard<DriverOnly>,
    id: Path<Uuid>,
) -> Result<HttpResponse, Problem> {
    let hold = service::cancel(&occupancy, driver.id, ReservationId::from_uuid(id.0)).await?;
    Ok(HttpResponse::Ok().json(hold))
}

impl From<ReservationError> for Problem {
    fn from(error: ReservationError) -> Problem {
        match error {
            ReservationError::NotFound => Problem::not_found(),
            ReservationError::Refused(refusal) => refused(refusal),
            ReservationError::NotHeld(status) => Problem::new(Code::ReservationNotHeld)
                .detail(format!("The hold is {}.", status.as_str())),
            ReservationError::ArriveBy => Problem::field(
                "arrive_by",
                format!("from now to {ARRIVE_BY_MINUTES_MAX} minutes ahead"),
            ),
            ReservationError::Undecided(error) => error.into(),
            ReservationError::Group(error) => match &*error {
                ReservationError::Db(error) if error.is_passing() => {
                    tracing::warn!(error = %error, "a group of reservations was not decided");
                    Problem::new(Code::ServiceUnavailable)
                }
                other => Problem::internal(other),
            },
            ReservationError::Db(error) => error.into(),
        }
    }
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::LotFull => Problem::new(Code::LotFull),
        Refusal::LotClosed => Problem::new(Code::LotClosed),
        Refusal::LotNotFound => Problem::not_found(),
        Refusal::ClassNotServed => Problem::new(Code::VehicleClassNotServed),
        Refusal::VehicleNotFound => Problem::new(Code::VehicleNotFound),
        Refusal::VehicleAlreadyHeld => Problem::new(Code::VehicleAlreadyHeld),
        Refusal::HoldLimitReached => Problem::new(Code::HoldLimitReached),
        Refusal::Cooldown { retry_after_s } => Problem::new(Code::HoldCooldown)
            .retry_after_s(u64::try_from(retry_after_s).unwrap_or(1)),
        Refusal::KeyReused => Problem::new(Code::IdempotencyKeyReused),
    }
}
