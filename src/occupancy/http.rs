//! `POST /v1/operator/lots/{lot_id}/occupancy` and
//! `PUT /v1/operator/lots/{lot_id}/capacity/{vehicle_class}`.

use actix_web::{HttpResponse, web};
use serde::Deserialize;

use super::service::Occupancy;
use super::{BadReading, OccupancyError, READINGS_MAX, RawReading, report};
use crate::auth::guard::{Guard, OperatorDevice, OperatorManager};
use crate::kernel::ids::LotId;
use crate::kernel::vehicle::VehicleClass;
use crate::lots::capacity::ClassCapacity;
use crate::web::extract::{Json, Path};
use crate::web::problem::{Code, FieldError, Problem};

/// The most bytes of a report: 500 readings with the longest of everything.
const REPORT_BYTES_MAX: usize = 160 * 1024;

/// The most spaces of a class.
const CAPACITY_MAX: i32 = 100_000;

/// A device's report.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OccupancyReport {
    readings: Vec<RawReading>,
}

/// Takes a report in.
pub async fn post_occupancy(
    caller: Guard<OperatorDevice>,
    Path(lot): Path<LotId>,
    occupancy: web::Data<Occupancy>,
    body: Json<OccupancyReport, REPORT_BYTES_MAX>,
) -> Result<HttpResponse, Problem> {
    let readings = body.value.readings;
    if !(1..=READINGS_MAX).contains(&readings.len()) {
        return Err(Problem::field("readings", format!("1 to {READINGS_MAX} readings")));
    }
    let (shared, operator) = (occupancy.get_ref().clone(), caller.operator_id);
    // To its end even if the device hangs up: what was committed must also be shown.
    let work = async move { report::take(&shared, operator, lot, readings).await };
    let taken = occupancy.app().run_to_end(work).await;
    let taken = taken.ok_or_else(|| Problem::new(Code::InternalError))??;
    Ok(HttpResponse::Accepted().json(taken))
}

/// How many spaces a class has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacitySet {
    capacity: i32,
}

/// Sets the number of spaces of a class.
pub async fn set_capacity(
    caller: Guard<OperatorManager>,
    Path((lot, class)): Path<(LotId, VehicleClass)>,
    occupancy: web::Data<Occupancy>,
    body: Json<CapacitySet>,
) -> Result<HttpResponse, Problem> {
    let capacity = body.value.capacity;
    if !(0..=CAPACITY_MAX).contains(&capacity) {
        return Err(Problem::field("capacity", format!("0 to {CAPACITY_MAX}")));
    }
    let row = report::set_capacity(&occupancy, caller.operator_id, lot, class, capacity).await?;
    let now = occupancy.app().now();
    Ok(HttpResponse::Ok().json(ClassCapacity::at(now, row.class, &row.now)))
}

impl From<OccupancyError> for Problem {
    fn from(error: OccupancyError) -> Problem {
        match error {
            OccupancyError::NotFound => Problem::not_found(),
            OccupancyError::CapacityInUse => Problem::new(Code::CapacityInUse),
            OccupancyError::Readings(bad) => Problem::new(Code::ReadingInvalid)
                .detail("No reading was taken; correct or leave out the faulty ones.")
                .errors(bad.iter().map(field_error).collect()),
            OccupancyError::Db(error) => error.into(),
        }
    }
}

fn field_error(bad: &BadReading) -> FieldError {
    FieldError::new(format!("readings[{}].{}", bad.index, bad.field), bad.fault.to_string())
}
