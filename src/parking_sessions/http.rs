//! Endpoints of parking sessions.

use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::list_store::{OperatorFilter, PageOf};
use super::view::SessionView;
use super::{
    Caller, Correction, PAID_MINUTES_MAX, Session, SessionError, SessionStatus, StartFrom,
    StartRequest, TypedPlate, service,
};
use crate::auth::guard::{AttendantOrDriver, Guard, OperatorStaff, Parker};
use crate::kernel::ids::{LotId, ParkingSessionId, QuoteId, ReservationId, VehicleId};
use crate::kernel::vehicle::VehicleClass;
use crate::occupancy::service::Occupancy;
use crate::platform::App;
use crate::platform::idempotency::{Answer, Request};
use crate::reservations::ReservationStatus;
use crate::web::extract::{IdempotencyKey, Json, Page, Path, Query, page_limit, read_cursor};
use crate::web::problem::{Code, Problem};

/// `POST /v1/parking-sessions`: by a hold, an own vehicle or a plate.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParkingSessionStart {
    reservation_id: Option<ReservationId>,
    lot_id: Option<LotId>,
    vehicle_id: Option<VehicleId>,
    plate: Option<String>,
    vehicle_class: Option<VehicleClass>,
    quote_id: Option<QuoteId>,
    paid_minutes: Option<i64>,
}

fn caller(parker: Parker) -> Caller {
    match parker {
        Parker::Driver(driver) => Caller::Driver(driver.id),
        Parker::Staff(staff, operator) => Caller::Staff { id: staff.id, operator },
    }
}

fn plate(text: &str) -> Result<TypedPlate, Problem> {
    TypedPlate::parse(text).map_err(|error| Problem::field("plate", error.to_string()))
}

impl ParkingSessionStart {
    fn from(&self) -> Result<StartFrom, Problem> {
        match (self.reservation_id, self.lot_id, self.vehicle_id, &self.plate, self.vehicle_class) {
            (Some(id), None, None, None, None) => Ok(StartFrom::Reservation(id)),
            (None, Some(lot), Some(vehicle), None, None) => Ok(StartFrom::Vehicle { lot, vehicle }),
            (None, Some(lot), None, Some(text), Some(class)) => {
                Ok(StartFrom::Plate { lot, plate: plate(text)?, class })
            }
            _ => Err(Problem::field(
                "",
                "either reservation_id, or lot_id and vehicle_id, or lot_id, plate and vehicle_class",
            )),
        }
    }
}

/// Starts a stay.
pub async fn start(
    occupancy: web::Data<Occupancy>,
    parker: Guard<AttendantOrDriver>,
    key: IdempotencyKey,
    body: Json<ParkingSessionStart>,
) -> Result<HttpResponse, Problem> {
    let caller = caller(*parker);
    let request = StartRequest {
        caller,
        from: body.value.from()?,
        quote: body.value.quote_id,
        paid_minutes: minutes("paid_minutes", body.value.paid_minutes)?,
    };
    let key = Request::new(caller.actor(), key.0, "POST /v1/parking-sessions", &body.canonical);
    let answer = service::start(&occupancy, request, key).await?;
    let id = serde_json::from_str::<serde_json::Value>(&answer.body).ok();
    let id = id.as_ref().and_then(|body| body.get("id")?.as_str()).unwrap_or_default();
    let location = (LOCATION, format!("/v1/parking-sessions/{id}"));
    Ok(stored(&answer).insert_header(location).body(answer.body))
}

fn minutes(field: &str, minutes: Option<i64>) -> Result<Option<i64>, Problem> {
    match minutes {
        Some(number) if !(1..=PAID_MINUTES_MAX).contains(&number) => {
            Err(Problem::field(field, format!("from 1 to {PAID_MINUTES_MAX}")))
        }
        fine => Ok(fine),
    }
}

/// An answer that was kept as text, so that a repeat gets the same bytes.
fn stored(answer: &Answer) -> HttpResponseBuilder {
    let status = actix_web::http::StatusCode::from_u16(answer.status);
    let mut response =
        HttpResponse::build(status.unwrap_or(actix_web::http::StatusCode::INTERNAL_SERVER_ERROR));
    response.content_type("application/json");
    response
}

/// `GET /v1/parking-sessions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    status: Option<SessionStatus>,
    limit: Option<i64>,
    cursor: Option<String>,
}

fn page(sessions: Vec<Session>, limit: i64) -> HttpResponse {
    let views = sessions.into_iter().map(SessionView::from).collect();
    HttpResponse::Ok().json(Page::of(views, limit, |view: &SessionView| view.id.get()))
}

/// The caller's own stays, newest first.
pub async fn list(
    app: web::Data<App>,
    parker: Guard<AttendantOrDriver>,
    query: Query<ListQuery>,
) -> Result<HttpResponse, Problem> {
    let limit = page_limit(query.0.limit)?;
    let before = read_cursor(query.0.cursor.as_deref())?;
    let wanted = PageOf { status: query.0.status, before, limit: limit + 1 };
    Ok(page(service::list(&app, caller(*parker), wanted).await?, limit))
}

/// `GET /v1/parking-sessions/{parking_session_id}`.
pub async fn get(
    app: web::Data<App>,
    parker: Guard<AttendantOrDriver>,
    id: Path<Uuid>,
) -> Result<HttpResponse, Problem> {
    let id = ParkingSessionId::from_uuid(id.0);
    let session = service::find(&app, caller(*parker), id).await?;
    Ok(HttpResponse::Ok().json(SessionView::from(session)))
}

/// `PATCH /v1/parking-sessions/{parking_session_id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParkingSessionCorrection {
    plate: Option<String>,
    vehicle_class: Option<VehicleClass>,
    lot_id: Option<LotId>,
}

/// Corrects plate, class or lot.
pub async fn correct(
    occupancy: web::Data<Occupancy>,
    parker: Guard<AttendantOrDriver>,
    id: Path<Uuid>,
    body: Json<ParkingSessionCorrection>,
) -> Result<HttpResponse, Problem> {
    let wanted = body.value;
    let correction = Correction {
        plate: wanted.plate.as_deref().map(plate).transpose()?,
        class: wanted.vehicle_class,
        lot: wanted.lot_id,
    };
    if correction.plate.is_none() && correction.class.is_none() && correction.lot.is_none() {
        return Err(Problem::field("", "at least one of plate, vehicle_class and lot_id"));
    }
    let id = ParkingSessionId::from_uuid(id.0);
    let session = service::correct(&occupancy, caller(*parker), id, correction).await?;
    Ok(HttpResponse::Ok().json(SessionView::from(session)))
}

/// `POST /v1/parking-sessions/{parking_session_id}/extend`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParkingSessionExtend {
    minutes: i64,
}

/// Buys more time.
pub async fn extend(
    occupancy: web::Data<Occupancy>,
    parker: Guard<AttendantOrDriver>,
    id: Path<Uuid>,
    key: IdempotencyKey,
    body: Json<ParkingSessionExtend>,
) -> Result<HttpResponse, Problem> {
    let caller = caller(*parker);
    let more = minutes("minutes", Some(body.value.minutes))?.unwrap_or_default();
    let route = format!("POST /v1/parking-sessions/{}/extend", id.0);
    let key = Request::new(caller.actor(), key.0, &route, &body.canonical);
    let id = ParkingSessionId::from_uuid(id.0);
    let answer = service::extend(&occupancy, caller, id, more, key).await?;
    Ok(stored(&answer).body(answer.body))
}

/// `POST /v1/parking-sessions/{parking_session_id}/stop`.
pub async fn stop(
    occupancy: web::Data<Occupancy>,
    parker: Guard<AttendantOrDriver>,
    id: Path<Uuid>,
) -> Result<HttpResponse, Problem> {
    let id = ParkingSessionId::from_uuid(id.0);
    let session = service::stop(&occupancy, caller(*parker), id).await?;
    Ok(HttpResponse::Ok().json(SessionView::from(session)))
}

/// `GET /v1/operator/parking-sessions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorListQuery {
    lot_id: Option<Uuid>,
    status: Option<SessionStatus>,
    plate: Option<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// The stays at an operator's lots, newest first.
pub async fn list_of_operator(
    app: web::Data<App>,
    operator: Guard<OperatorStaff>,
    query: Query<OperatorListQuery>,
) -> Result<HttpResponse, Problem> {
    let query = query.0;
    let limit = page_limit(query.limit)?;
    let wanted = PageOf {
        status: query.status,
        before: read_cursor(query.cursor.as_deref())?,
        limit: limit + 1,
    };
    let plate = query.plate.as_deref().map(plate).transpose()?;
    let filter = OperatorFilter {
        lot: query.lot_id.map(LotId::from_uuid),
        plate_key: plate.map(|plate| plate.plate.key().to_owned()),
        from: query.from,
        to: query.to,
    };
    let id = operator.operator_id;
    let sessions = service::list_of_operator(&app, id, &operator.actor(), filter, wanted).await?;
    Ok(page(sessions, limit))
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Problem {
        match error {
            SessionError::NotFound => Problem::not_found(),
            SessionError::VehicleNotFound => Problem::new(Code::VehicleNotFound),
            SessionError::LotFull => Problem::new(Code::LotFull),
            SessionError::LotClosed => Problem::new(Code::LotClosed),
            SessionError::ClassNotServed => Problem::new(Code::VehicleClassNotServed),
            SessionError::PlateDoesNotFitClass => {
                Problem::field("plate", "a plate that vehicles of this class carry")
            }
            SessionError::HoldEnded(ReservationStatus::Expired) => {
                Problem::new(Code::ReservationExpired)
            }
            SessionError::HoldEnded(status) => Problem::new(Code::ReservationNotHeld)
                .detail(format!("The hold is {}.", status.as_str())),
            SessionError::PlateAlreadyParked => Problem::new(Code::PlateAlreadyParked),
            SessionError::NoTariff => Problem::new(Code::NoTariff),
            SessionError::QuoteNotFound => Problem::new(Code::QuoteNotFound),
            SessionError::QuoteExpired => Problem::new(Code::QuoteExpired),
            SessionError::QuoteMismatch => Problem::new(Code::QuoteMismatch),
            SessionError::PaidMinutes(rule) => Problem::field("paid_minutes", rule),
            SessionError::NotActive => Problem::new(Code::SessionNotActive),
            SessionError::ExtendNotOffered => Problem::new(Code::ExtendNotOffered),
            SessionError::CorrectionClosed => Problem::new(Code::CorrectionWindowClosed),
            SessionError::OtherSaleMode => {
                Problem::field("lot_id", "a lot that sells its time in the same way")
            }
            SessionError::Moved => Problem::new(Code::Conflict),
            SessionError::KeyReused => Problem::new(Code::IdempotencyKeyReused),
            SessionError::CutOff => Problem::new(Code::ServiceUnavailable),
            SessionError::Price(_)
            | SessionError::Amount(_)
            | SessionError::Posting(_)
            | SessionError::Stored(_) => Problem::internal(&error),
            SessionError::Db(error) => error.into(),
        }
    }
}
