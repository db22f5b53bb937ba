//! `GET /v1/lots/search`, `GET /v1/lots`, `GET /v1/lots/{lot_id}`.

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::answer::{self, Moment};
use super::names::{self, Place, QUESTION_CHARS_MAX};
use super::prices::Prices;
use super::query::SearchQuery;
use crate::kernel::ids::LotId;
use crate::occupancy::service::Occupancy;
use crate::tariffs::book::TariffBook;
use crate::web::extract::{Path, Query, page_limit};
use crate::web::problem::{Code, Problem};
use crate::web::rate_limit::{Limited, PublicRead};

fn json(body: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "application/json")).body(body)
}

fn moment(occupancy: &Occupancy) -> Result<Moment, Problem> {
    if !occupancy.is_loaded() {
        return Err(Problem::new(Code::ServiceUnavailable).detail("The lots are being loaded."));
    }
    Ok(Moment::new(occupancy.app().now(), occupancy.is_in_step()))
}

/// Lots near a point.
pub async fn search_lots(
    _limited: Limited<PublicRead>,
    request: HttpRequest,
    occupancy: web::Data<Occupancy>,
    tariffs: web::Data<TariffBook>,
) -> Result<HttpResponse, Problem> {
    let query = SearchQuery::parse(request.query_string())?;
    let mut moment = moment(&occupancy)?;
    let index = occupancy.index();
    let mut prices = Prices::new(&index, &tariffs, query.class, moment.now, query.stay_minutes);
    Ok(json(answer::search(&index, &query, &mut prices, &mut moment)))
}

/// The query of [`list_lots`].
#[derive(Debug, Deserialize)]
pub struct ListQuery {
    q: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// Lots by name, code or street.
pub async fn list_lots(
    _limited: Limited<PublicRead>,
    Query(query): Query<ListQuery>,
    occupancy: web::Data<Occupancy>,
) -> Result<HttpResponse, Problem> {
    let limit = usize::try_from(page_limit(query.limit)?).unwrap_or(1);
    let question = query.q.as_deref();
    if question.is_some_and(|q| q.is_empty() || q.chars().count() > QUESTION_CHARS_MAX) {
        return Err(Problem::field("q", format!("1 to {QUESTION_CHARS_MAX} characters")));
    }
    let after = match query.cursor.as_deref() {
        None => None,
        Some(cursor) => Some(
            Place::parse(cursor)
                .ok_or_else(|| Problem::field("cursor", "the next_cursor of an earlier page"))?,
        ),
    };
    let moment = moment(&occupancy)?;
    let index = occupancy.index();
    let (lots, last) = names::find(&index, question, after.as_ref(), limit);
    let cursor = last.map(|place| place.cursor());
    Ok(json(answer::list(&index, &lots, cursor.as_deref(), &moment)))
}

/// One lot in full.
pub async fn get_lot(
    _limited: Limited<PublicRead>,
    Path(id): Path<LotId>,
    occupancy: web::Data<Occupancy>,
    tariffs: web::Data<TariffBook>,
) -> Result<HttpResponse, Problem> {
    let mut moment = moment(&occupancy)?;
    let index = occupancy.index();
    let lot = index.find(id).ok_or_else(Problem::not_found)?;
    let entry = index.entry(lot).ok_or_else(Problem::not_found)?;
    let classes = index.numbers(lot).map(|(class, _)| class);
    let tariffs = tariffs.of_lot(id, classes, moment.now);
    Ok(json(answer::detail(&index, lot, entry, &tariffs, &mut moment)))
}
