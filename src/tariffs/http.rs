//! Quotes for anyone; an operator's tariffs, their versions, where they hold, and dry runs.

use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, web};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::book::TariffBook;
use super::quotes::QUOTE_MINUTES_MAX;
use super::service::{self, Editor, NewTariff, QuoteWish, Quoted, TariffError, Until};
use super::{Fare, FareLine, FareNote, PriceError, Tariff, TariffRules, TariffVersion, store};
use crate::auth::Principal;
use crate::auth::guard::{Guard, OperatorManager};
use crate::kernel::ids::{LotId, QuoteId, TariffId, TariffVersionId};
use crate::kernel::money::Vnd;
use crate::kernel::vehicle::VehicleClass;
use crate::on_conn;
use crate::platform::App;
use crate::platform::db::DbError;
use crate::web::extract::{ClientAddr, Json, Page, Path, Query, page_limit, read_cursor};
use crate::web::problem::{Code, FieldError, Problem};
use crate::web::rate_limit::{CallKind, RateLimits, address_bucket};

/// Room for a price sheet with all its special days: 64 KiB.
const SHEET_BYTES_MAX: usize = 64 * 1024;

/// `POST /v1/quotes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuoteCreate {
    lot_id: LotId,
    vehicle_class: VehicleClass,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    stay_minutes: Option<i64>,
}

#[derive(Serialize)]
struct QuoteView {
    id: QuoteId,
    lot_id: LotId,
    vehicle_class: VehicleClass,
    start: Timestamp,
    end: Timestamp,
    amount_vnd: Vnd,
    vat_vnd: Vnd,
    lines: Vec<FareLine>,
    notes: Vec<FareNote>,
    tariff_version_id: TariffVersionId,
    expires_at: Timestamp,
    signature: String,
}

impl From<Quoted> for QuoteView {
    fn from(Quoted { quote, fare, vat }: Quoted) -> QuoteView {
        QuoteView {
            id: quote.id,
            lot_id: quote.lot_id,
            vehicle_class: quote.vehicle_class,
            start: quote.start,
            end: quote.end,
            amount_vnd: quote.amount,
            vat_vnd: vat,
            lines: fare.lines,
            notes: fare.notes,
            tariff_version_id: quote.tariff_version_id,
            expires_at: quote.expires_at,
            signature: quote.signature,
        }
    }
}

/// Promises the price of a stay.
pub async fn create_quote(
    app: web::Data<App>,
    limits: web::Data<RateLimits>,
    address: ClientAddr,
    body: Json<QuoteCreate>,
) -> Result<HttpResponse, Problem> {
    limits.charge(CallKind::PublicWrite, &address_bucket(address.0)).await?;
    let wish = body.value;
    let until = match (wish.end, wish.stay_minutes) {
        (Some(end), None) => Until::End(end),
        (None, Some(minutes)) if (1..=QUOTE_MINUTES_MAX).contains(&minutes) => {
            Until::Minutes(minutes)
        }
        (None, Some(_)) => return Err(Problem::field("stay_minutes", "from 1 to 43200")),
        _ => return Err(Problem::field("stay_minutes", "either this or end")),
    };
    let wish = QuoteWish {
        lot_id: wish.lot_id,
        vehicle_class: wish.vehicle_class,
        start: wish.start,
        until,
    };
    let quoted = service::quote(&app, wish).await?;
    Ok(HttpResponse::Created().json(QuoteView::from(quoted)))
}

#[derive(Serialize)]
struct VersionView<'v> {
    id: TariffVersionId,
    tariff_id: TariffId,
    version: i32,
    starts_on: Date,
    rules: &'v TariffRules,
    created_at: Timestamp,
}

impl<'v> From<&'v TariffVersion> for VersionView<'v> {
    fn from(version: &'v TariffVersion) -> VersionView<'v> {
        VersionView {
            id: version.id,
            tariff_id: version.tariff_id,
            version: version.version,
            starts_on: version.starts_on,
            rules: &version.rules,
            created_at: version.created_at,
        }
    }
}

#[derive(Serialize)]
struct TariffView<'t> {
    id: TariffId,
    code: &'t str,
    name: &'t str,
    source: &'t str,
    versions: Vec<VersionView<'t>>,
    created_at: Timestamp,
}

impl<'t> From<&'t Tariff> for TariffView<'t> {
    fn from(tariff: &'t Tariff) -> TariffView<'t> {
        TariffView {
            id: tariff.id,
            code: &tariff.code,
            name: &tariff.name,
            source: &tariff.source,
            versions: tariff.versions.iter().map(|version| (&**version).into()).collect(),
            created_at: tariff.created_at,
        }
    }
}

fn editor(manager: &Guard<OperatorManager>) -> Editor {
    let id = match manager.principal() {
        Principal::Driver(driver) => driver.id.get(),
        Principal::Staff(staff) => staff.id.get(),
        Principal::Device(device) => device.api_key_id.get(),
    };
    Editor { operator: manager.operator_id, actor: manager.actor(), id }
}

/// Rules from a body, or what is wrong with them.
fn rules(json: &serde_json::Value) -> Result<TariffRules, TariffError> {
    TariffRules::parse(json).map_err(|mut errors| {
        for error in &mut errors {
            error.field = format!("rules.{}", error.field);
        }
        TariffError::Invalid(errors)
    })
}

/// Shows this server's searches the change at once; the others follow within a second.
async fn show(book: &TariffBook, app: &App) {
    if let Err(error) = book.read_again(app).await {
        tracing::warn!(error = %error, "a changed tariff shows a little later");
    }
}

/// `GET /v1/operator/tariffs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    limit: Option<i64>,
    cursor: Option<String>,
}

/// The operator's tariffs.
pub async fn list(
    app: web::Data<App>,
    manager: Guard<OperatorManager>,
    query: Query<ListQuery>,
) -> Result<HttpResponse, Problem> {
    let limit = page_limit(query.0.limit)?;
    let after = read_cursor(query.0.cursor.as_deref())?.map(TariffId::from_uuid);
    let tariffs: Result<Vec<Tariff>, DbError> = on_conn!(app.db(), |conn| {
        store::page(conn, manager.operator_id, after, limit + 1).await
    });
    let page = Page::of(tariffs?, limit, |tariff: &Tariff| tariff.id.get());
    let items: Vec<TariffView<'_>> = page.items.iter().map(TariffView::from).collect();
    Ok(HttpResponse::Ok().json(Page { items, next_cursor: page.next_cursor }))
}

/// `POST /v1/operator/tariffs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TariffCreate {
    code: String,
    name: String,
    #[serde(default)]
    source: String,
    starts_on: Date,
    rules: serde_json::Value,
}

/// Writes a tariff with its first version.
pub async fn create(
    app: web::Data<App>,
    book: web::Data<TariffBook>,
    manager: Guard<OperatorManager>,
    body: Json<TariffCreate, SHEET_BYTES_MAX>,
) -> Result<HttpResponse, Problem> {
    let TariffCreate { code, name, source, starts_on, rules: json } = body.value;
    let new = NewTariff { code, name, source, starts_on, rules: rules(&json)? };
    let tariff = service::create(&app, &editor(&manager), new).await?;
    show(&book, &app).await;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/v1/operator/tariffs/{}", tariff.id)))
        .json(TariffView::from(&tariff)))
}

/// `GET /v1/operator/tariffs/{tariff_id}`.
pub async fn get(
    app: web::Data<App>,
    manager: Guard<OperatorManager>,
    id: Path<Uuid>,
) -> Result<HttpResponse, Problem> {
    let tariff = service::find(&app, manager.operator_id, TariffId::from_uuid(id.0)).await?;
    Ok(HttpResponse::Ok().json(TariffView::from(&tariff)))
}

/// `POST /v1/operator/tariffs/{tariff_id}/versions`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionCreate {
    starts_on: Date,
    rules: serde_json::Value,
}

/// Changes a tariff from a day on.
pub async fn create_version(
    app: web::Data<App>,
    book: web::Data<TariffBook>,
    manager: Guard<OperatorManager>,
    id: Path<Uuid>,
    body: Json<VersionCreate, SHEET_BYTES_MAX>,
) -> Result<HttpResponse, Problem> {
    let tariff = TariffId::from_uuid(id.0);
    let VersionCreate { starts_on, rules: json } = body.value;
    let rules = rules(&json)?;
    let version = service::add_version(&app, &editor(&manager), tariff, starts_on, rules).await?;
    show(&book, &app).await;
    Ok(HttpResponse::Created().json(VersionView::from(&version)))
}

/// `POST /v1/operator/tariffs/preview`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    rules: serde_json::Value,
    start: Timestamp,
    end: Timestamp,
}

#[derive(Serialize)]
struct Preview {
    amount_vnd: Vnd,
    vat_vnd: Vnd,
    lines: Vec<FareLine>,
    notes: Vec<FareNote>,
}

/// Prices a stay by rules that are not in force.
pub async fn preview(
    _manager: Guard<OperatorManager>,
    body: Json<PreviewRequest, SHEET_BYTES_MAX>,
) -> Result<HttpResponse, Problem> {
    let PreviewRequest { rules: json, start, end } = body.value;
    let rules = rules(&json)?;
    let long = end.duration_since(start).as_mins();
    if end <= start || long > QUOTE_MINUTES_MAX {
        return Err(Problem::field("end", "after the start, at most 30 days"));
    }
    let fare = service::fare_of(&rules, start, end)?;
    let vat_vnd = service::vat_of(&rules, &fare, end)?;
    let Fare { total: amount_vnd, lines, notes } = fare;
    Ok(HttpResponse::Ok().json(Preview { amount_vnd, vat_vnd, lines, notes }))
}

/// `PUT /v1/operator/lots/{lot_id}/tariffs/{vehicle_class}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignmentSet {
    tariff_id: TariffId,
    valid_from: Option<Date>,
}

#[derive(Serialize)]
struct AssignmentView {
    lot_id: LotId,
    vehicle_class: VehicleClass,
    tariff_id: TariffId,
    tariff_name: String,
    valid_from: Date,
}

/// Lets a tariff hold at a lot.
pub async fn assign(
    app: web::Data<App>,
    book: web::Data<TariffBook>,
    manager: Guard<OperatorManager>,
    path: Path<(LotId, VehicleClass)>,
    body: Json<AssignmentSet>,
) -> Result<HttpResponse, Problem> {
    let (lot_id, vehicle_class) = path.0;
    let AssignmentSet { tariff_id, valid_from } = body.value;
    let place = (lot_id, vehicle_class);
    let (tariff, valid_from) =
        service::assign(&app, &editor(&manager), place, tariff_id, valid_from).await?;
    show(&book, &app).await;
    let tariff_name = tariff.name;
    Ok(HttpResponse::Ok().json(AssignmentView {
        lot_id,
        vehicle_class,
        tariff_id,
        tariff_name,
        valid_from,
    }))
}

impl From<TariffError> for Problem {
    fn from(error: TariffError) -> Problem {
        match error {
            TariffError::NotFound => Problem::not_found(),
            TariffError::ClassNotServed => Problem::new(Code::VehicleClassNotServed),
            TariffError::NoTariff => Problem::new(Code::NoTariff),
            TariffError::Price(PriceError::EndsBeforeStart | PriceError::TooLong) => {
                Problem::field("end", "after the start, at most 90 days")
            }
            TariffError::Price(PriceError::Amount(_) | PriceError::Calendar) => {
                Problem::new(Code::AmountOutOfRange)
            }
            TariffError::Price(fault @ (PriceError::NoBand | PriceError::TooManySteps)) => {
                Problem::internal(&fault)
            }
            TariffError::Invalid(errors) => Problem::new(Code::ValidationFailed).errors(
                errors.into_iter().map(|error| FieldError::new(error.field, error.rule)).collect(),
            ),
            TariffError::StartInPast => Problem::new(Code::TariffStartInPast),
            TariffError::CodeTaken => {
                Problem::new(Code::Conflict).detail("You have a tariff with this code.")
            }
            TariffError::StartTaken => Problem::new(Code::Conflict)
                .detail("The tariff has a version that starts on this day."),
            TariffError::Store(error) => error.into(),
        }
    }
}
