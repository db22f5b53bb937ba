//! Operators' own lots: `/v1/operator/lots` and below, except what changes numbers of spaces.

use std::collections::HashMap;

use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, web};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::capacity::ClassCapacity;
use super::hours::OpeningHours;
use super::{
    CapacitySource, Feature, Lot, LotChange, LotCode, LotError, LotKind, LotStatus, NewLot,
    SaleMode, store,
};
use crate::auth::guard::{Guard, OperatorManager};
use crate::kernel::geo::LatLng;
use crate::kernel::ids::{LotId, OperatorId};
use crate::platform::App;
use crate::platform::db::DbError;
use crate::tariffs::book::{LotTariff, TariffBook};
use crate::web::extract::{Json, Page, Path, Query, page_limit};
use crate::web::problem::{Code, FieldError, Problem};
use crate::{in_tx, on_conn};

/// A lot as its operator sees it.
#[derive(Serialize)]
struct OperatorLot {
    id: LotId,
    code: String,
    name: String,
    address: String,
    location: LatLng,
    kind: LotKind,
    features: Vec<Feature>,
    status: LotStatus,
    sale_mode: SaleMode,
    hold_minutes: i32,
    forgotten_stop_minutes: i32,
    correction_grace_minutes: i32,
    capacity_source: CapacitySource,
    capacities: Vec<ClassCapacity>,
    opening_hours: OpeningHours,
    tariffs: Vec<LotTariff>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

async fn with_numbers(
    app: &App,
    book: &TariffBook,
    lots: Vec<Lot>,
) -> Result<Vec<OperatorLot>, DbError> {
    let now = app.now();
    let ids: Vec<LotId> = lots.iter().map(|lot| lot.id).collect();
    let rows: Result<_, DbError> = on_conn!(app.db(), |conn| store::capacities(conn, &ids).await);
    let mut numbers: HashMap<LotId, Vec<ClassCapacity>> = HashMap::new();
    for row in rows? {
        let number = ClassCapacity::at(now, row.class, &row.now);
        numbers.entry(row.lot_id).or_default().push(number);
    }
    let shown = lots.into_iter().map(|lot| OperatorLot {
        tariffs: {
            let served = numbers.get(&lot.id).into_iter().flatten();
            book.of_lot(lot.id, served.map(|class| class.vehicle_class), now)
        },
        capacities: numbers.remove(&lot.id).unwrap_or_default(),
        id: lot.id,
        code: lot.code,
        name: lot.name,
        address: lot.address,
        location: lot.at,
        kind: lot.kind,
        features: lot.features,
        status: lot.status,
        sale_mode: lot.sale_mode,
        hold_minutes: lot.hold_minutes,
        forgotten_stop_minutes: lot.forgotten_stop_minutes,
        correction_grace_minutes: lot.correction_grace_minutes,
        capacity_source: lot.capacity_source,
        opening_hours: lot.opening_hours,
        created_at: lot.created_at,
        updated_at: lot.updated_at,
    });
    Ok(shown.collect())
}

async fn show(
    app: &App,
    book: &TariffBook,
    operator: OperatorId,
    id: LotId,
) -> Result<OperatorLot, Problem> {
    let lot: Result<Option<Lot>, DbError> =
        on_conn!(app.db(), |conn| store::find_of_operator(conn, operator, id).await);
    let lot = lot?.ok_or_else(Problem::not_found)?;
    with_numbers(app, book, vec![lot]).await?.pop().ok_or_else(Problem::not_found)
}

/// The query of [`list_operator_lots`].
#[derive(Deserialize)]
pub struct ListQuery {
    limit: Option<i64>,
    cursor: Option<String>,
}

/// The operator's lots by code.
pub async fn list_operator_lots(
    caller: Guard<OperatorManager>,
    Query(query): Query<ListQuery>,
    app: web::Data<App>,
    book: web::Data<TariffBook>,
) -> Result<HttpResponse, Problem> {
    let limit = page_limit(query.limit)?;
    let after = query
        .cursor
        .as_deref()
        .map_or(Some(String::new()), code_of)
        .ok_or_else(|| Problem::field("cursor", "the next_cursor of an earlier page"))?;
    let operator = caller.operator_id;
    let lots: Result<Vec<Lot>, DbError> = on_conn!(app.db(), |conn| {
        store::page_of_operator(conn, operator, &after, limit + 1).await
    });
    let mut lots = lots?;
    let wanted = usize::try_from(limit).unwrap_or(0);
    let more = lots.len() > wanted;
    lots.truncate(wanted);
    let next_cursor = lots.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(&last.code));
    let items = with_numbers(&app, &book, lots).await?;
    Ok(HttpResponse::Ok().json(Page { items, next_cursor }))
}

fn code_of(cursor: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok().filter(|code| !code.contains('\0'))
}

/// One of the operator's lots.
pub async fn get_operator_lot(
    caller: Guard<OperatorManager>,
    Path(id): Path<LotId>,
    app: web::Data<App>,
    book: web::Data<TariffBook>,
) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(show(&app, &book, caller.operator_id, id).await?))
}

/// `POST /v1/operator/lots`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LotCreate {
    code: String,
    name: String,
    #[serde(default)]
    address: String,
    location: RawLocation,
    kind: LotKind,
    #[serde(default)]
    features: Vec<Feature>,
    #[serde(default = "pay_on_exit")]
    sale_mode: SaleMode,
    #[serde(default = "hold_minutes")]
    hold_minutes: i32,
    #[serde(default = "forgotten_stop_minutes")]
    forgotten_stop_minutes: i32,
    #[serde(default = "correction_grace_minutes")]
    correction_grace_minutes: i32,
    #[serde(default = "stated")]
    capacity_source: CapacitySource,
}

fn pay_on_exit() -> SaleMode {
    SaleMode::PayOnExit
}

fn hold_minutes() -> i32 {
    15
}

fn forgotten_stop_minutes() -> i32 {
    1_440
}

fn correction_grace_minutes() -> i32 {
    10
}

fn stated() -> CapacitySource {
    CapacitySource::Stated
}

/// Degrees as sent, before they are checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLocation {
    lat: f64,
    lng: f64,
}

/// Collects the faults of a body.
#[derive(Default)]
struct Faults(Vec<FieldError>);

impl Faults {
    fn need(&mut self, holds: bool, field: &str, rule: &str) {
        if !holds {
            self.0.push(FieldError::new(field, rule));
        }
    }

    fn text(&mut self, field: &str, text: &str, least: usize, most: usize) {
        let count = text.chars().count();
        self.need((least..=most).contains(&count), field, &format!("{least} to {most} characters"));
    }

    fn minutes(&mut self, field: &str, minutes: i32, least: i32, most: i32) {
        self.need((least..=most).contains(&minutes), field, &format!("{least} to {most}"));
    }

    fn features(&mut self, features: &[Feature]) {
        let mut known = features.to_vec();
        known.sort_unstable();
        known.dedup();
        self.need(known.len() == features.len(), "features", "each at most once");
    }

    fn location(&mut self, raw: &RawLocation) -> LatLng {
        LatLng::new(raw.lat, raw.lng).unwrap_or_else(|outside| {
            self.0.push(FieldError::new("location", outside.to_string()));
            LatLng::hanoi()
        })
    }

    fn none<T>(self, value: T) -> Result<T, Problem> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(Problem::new(Code::ValidationFailed).errors(self.0))
        }
    }
}

impl LotCreate {
    fn checked(self) -> Result<NewLot, Problem> {
        let mut faults = Faults::default();
        faults.text("name", &self.name, 1, 200);
        faults.text("address", &self.address, 0, 300);
        faults.minutes("hold_minutes", self.hold_minutes, 1, 120);
        faults.minutes("forgotten_stop_minutes", self.forgotten_stop_minutes, 60, 43_200);
        faults.minutes("correction_grace_minutes", self.correction_grace_minutes, 0, 120);
        faults.features(&self.features);
        let at = faults.location(&self.location);
        let Some(code) = LotCode::parse(&self.code) else {
            faults.need(false, "code", "2 to 32 upper-case letters, digits and dashes");
            return Err(Problem::new(Code::ValidationFailed).errors(faults.0));
        };
        faults.none(NewLot {
            code,
            name: self.name,
            address: self.address,
            at,
            kind: self.kind,
            features: self.features,
            sale_mode: self.sale_mode,
            hold_minutes: self.hold_minutes,
            forgotten_stop_minutes: self.forgotten_stop_minutes,
            correction_grace_minutes: self.correction_grace_minutes,
            capacity_source: self.capacity_source,
        })
    }
}

/// Opens a new lot.
pub async fn create_lot(
    caller: Guard<OperatorManager>,
    app: web::Data<App>,
    book: web::Data<TariffBook>,
    body: Json<LotCreate>,
) -> Result<HttpResponse, Problem> {
    let new = body.value.checked()?;
    let (id, now, operator) = (app.new_id::<LotId>(), app.now(), caller.operator_id);
    let done: Result<(), LotError> =
        in_tx!(app.db(), "lots.create", |tx| store::insert(tx, operator, id, &new, now).await);
    done?;
    let lot = show(&app, &book, operator, id).await?;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/v1/operator/lots/{id}")))
        .json(lot))
}

/// `PATCH /v1/operator/lots/{lot_id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LotUpdate {
    name: Option<String>,
    address: Option<String>,
    location: Option<RawLocation>,
    kind: Option<LotKind>,
    features: Option<Vec<Feature>>,
    status: Option<LotStatus>,
    sale_mode: Option<SaleMode>,
    hold_minutes: Option<i32>,
    forgotten_stop_minutes: Option<i32>,
    correction_grace_minutes: Option<i32>,
    capacity_source: Option<CapacitySource>,
}

impl LotUpdate {
    fn checked(self) -> Result<LotChange, Problem> {
        let mut faults = Faults::default();
        if let Some(name) = &self.name {
            faults.text("name", name, 1, 200);
        }
        if let Some(address) = &self.address {
            faults.text("address", address, 0, 300);
        }
        for (field, minutes, least, most) in [
            ("hold_minutes", self.hold_minutes, 1, 120),
            ("forgotten_stop_minutes", self.forgotten_stop_minutes, 60, 43_200),
            ("correction_grace_minutes", self.correction_grace_minutes, 0, 120),
        ] {
            if let Some(minutes) = minutes {
                faults.minutes(field, minutes, least, most);
            }
        }
        if let Some(features) = &self.features {
            faults.features(features);
        }
        let at = self.location.as_ref().map(|raw| faults.location(raw));
        faults.none(LotChange {
            name: self.name,
            address: self.address,
            at,
            kind: self.kind,
            features: self.features,
            status: self.status,
            sale_mode: self.sale_mode,
            hold_minutes: self.hold_minutes,
            forgotten_stop_minutes: self.forgotten_stop_minutes,
            correction_grace_minutes: self.correction_grace_minutes,
            capacity_source: self.capacity_source,
        })
    }
}

/// Changes what is given.
pub async fn update_lot(
    caller: Guard<OperatorManager>,
    Path(id): Path<LotId>,
    app: web::Data<App>,
    book: web::Data<TariffBook>,
    body: Json<LotUpdate>,
) -> Result<HttpResponse, Problem> {
    let members = body.canonical.as_object();
    if members.is_none_or(serde_json::Map::is_empty) {
        return Err(Problem::field("", "at least one field"));
    }
    if let Some((field, _)) = members.into_iter().flatten().find(|(_, value)| value.is_null()) {
        return Err(Problem::field(field, "not null; leave out what stays"));
    }
    let change = body.value.checked()?;
    let (operator, now) = (caller.operator_id, app.now());
    let found: Result<bool, DbError> = in_tx!(app.db(), "lots.change", |tx| {
        store::change(tx, operator, id, &change, now).await
    });
    if !found? {
        return Err(Problem::not_found());
    }
    Ok(HttpResponse::Ok().json(show(&app, &book, operator, id).await?))
}

/// Replaces the opening hours.
pub async fn set_opening_hours(
    caller: Guard<OperatorManager>,
    Path(id): Path<LotId>,
    app: web::Data<App>,
    body: Json<OpeningHours>,
) -> Result<HttpResponse, Problem> {
    let (operator, now, hours) = (caller.operator_id, app.now(), body.value);
    let found: Result<bool, DbError> = in_tx!(app.db(), "lots.set_hours", |tx| {
        store::set_hours(tx, operator, id, &hours, now).await
    });
    if found? { Ok(HttpResponse::Ok().json(hours)) } else { Err(Problem::not_found()) }
}

impl From<LotError> for Problem {
    fn from(error: LotError) -> Problem {
        match error {
            LotError::NotFound => Problem::not_found(),
            LotError::CodeTaken => {
                Problem::new(Code::Conflict).detail("Another lot has this code.")
            }
            LotError::CapacityInUse => Problem::new(Code::CapacityInUse),
            LotError::Db(error) => error.into(),
        }
    }
}
