//! Quotes and operators' tariffs: transactions over the store.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use sqlx::postgres::PgConnection;

use super::quotes::{QUOTE_MINUTES_MAX, Quote, START_MINUTES_AGO_MAX};
use super::store::{self, whole_us};
use super::{
    Fare, FieldError, PriceError, Tariff, TariffRules, TariffVersion, fallback_fare, price,
    quote_store,
};
use crate::kernel::clock::business_day;
use crate::kernel::ids::{LotId, OperatorId, QuoteId, TariffId, TariffVersionId};
use crate::kernel::money::{Rounding, Vnd};
use crate::kernel::vehicle::VehicleClass;
use crate::platform::db::DbError;
use crate::platform::{App, audit_trail};
use crate::{in_tx, on_conn};

/// Why a quote or a change of tariffs was refused.
#[derive(Debug, thiserror::Error)]
pub enum TariffError {
    /// No such lot or tariff, or not the caller's.
    #[error("no such lot or tariff")]
    NotFound,
    /// The lot takes no vehicles of the class.
    #[error("the lot does not take this class of vehicle")]
    ClassNotServed,
    /// Nothing says what the class costs at the lot on that day.
    #[error("no tariff is in force for that")]
    NoTariff,
    /// The stay cannot be priced.
    #[error("the stay cannot be priced")]
    Price(#[source] PriceError),
    /// Fields that break rules.
    #[error("some fields are not acceptable")]
    Invalid(Vec<FieldError>),
    /// A first day before today.
    #[error("a tariff cannot start in the past")]
    StartInPast,
    /// The operator has a tariff with this code.
    #[error("the code is taken")]
    CodeTaken,
    /// The tariff has a version for this day.
    #[error("the tariff has a version that starts on this day")]
    StartTaken,
    /// The database failed.
    #[error("the store of tariffs failed")]
    Store(#[from] DbError),
}

fn invalid(field: &str, rule: &str) -> TariffError {
    TariffError::Invalid(vec![FieldError { field: field.to_owned(), rule: rule.to_owned() }])
}

/// A stay that somebody asks the price of.
#[derive(Debug, Clone, Copy)]
pub struct QuoteWish {
    /// Where.
    pub lot_id: LotId,
    /// For what.
    pub vehicle_class: VehicleClass,
    /// Begin; now if absent.
    pub start: Option<Timestamp>,
    /// End, or how long.
    pub until: Until,
}

/// How a stay's end is given.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// An instant.
    End(Timestamp),
    /// Minutes after the begin.
    Minutes(i64),
}

/// A quote and what a client is told besides.
#[derive(Debug)]
pub struct Quoted {
    /// The promise.
    pub quote: Quote,
    /// The fare with its notes.
    pub fare: Fare,
    /// The VAT contained in the amount.
    pub vat: Vnd,
}

/// Promises a price and keeps the promise.
pub async fn quote(app: &App, wish: QuoteWish) -> Result<Quoted, TariffError> {
    let now = whole_s(app.now());
    let (start, end) = stay(&wish, now)?;
    let id = app.new_id::<QuoteId>();
    let expires_at = now
        .checked_add(SignedDuration::from_secs(app.config().quotes.valid_s))
        .map_err(|_error| TariffError::Price(PriceError::Calendar))?;
    on_conn!(app.db(), |conn| {
        let facts = store::lot_facts(conn, wish.lot_id, wish.vehicle_class).await?;
        let facts = facts.ok_or(TariffError::NotFound)?;
        if !facts.serves_class {
            return Err(TariffError::ClassNotServed);
        }
        let version = at_lot(conn, wish.lot_id, wish.vehicle_class, start).await?;
        let version = version.ok_or(TariffError::NoTariff)?;
        let fare = fare_of(&version.rules, start, end)?;
        let vat = vat_of(&version.rules, &fare, end)?;
        let mut quote = Quote {
            id,
            lot_id: wish.lot_id,
            vehicle_class: wish.vehicle_class,
            start,
            end,
            amount: fare.total,
            tariff_version_id: version.id,
            lines: fare.lines.clone(),
            created_at: now,
            expires_at,
            signature: String::new(),
        };
        quote.signature = quote.sign(&app.config().quotes.secret);
        quote_store::insert(conn, &quote).await?;
        Ok(Quoted { quote, fare, vat })
    })
}

/// Begin and end of a wished stay, in whole seconds, within what may be quoted.
fn stay(wish: &QuoteWish, now: Timestamp) -> Result<(Timestamp, Timestamp), TariffError> {
    let minutes = SignedDuration::from_mins;
    let start = whole_s(wish.start.unwrap_or(now));
    let ahead = start.duration_since(now);
    if !(minutes(-START_MINUTES_AGO_MAX)..=minutes(QUOTE_MINUTES_MAX)).contains(&ahead) {
        return Err(invalid("start", "from 5 minutes ago to 30 days ahead"));
    }
    let (field, end) = match wish.until {
        Until::End(end) => ("end", Some(whole_s(end))),
        Until::Minutes(long) => ("stay_minutes", start.checked_add(minutes(long)).ok()),
    };
    let in_range =
        |end: &Timestamp| *end > start && end.duration_since(start) <= minutes(QUOTE_MINUTES_MAX);
    let end = end.filter(in_range);
    Ok((start, end.ok_or_else(|| invalid(field, "after the start, at most 30 days"))?))
}

fn whole_s(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_millisecond().div_euclid(1_000)).unwrap_or(at)
}

/// The fare of a stay; where the rules cannot be applied, their fallback price.
pub fn fare_of(
    rules: &TariffRules,
    start: Timestamp,
    stop: Timestamp,
) -> Result<Fare, TariffError> {
    match price(rules, start, stop) {
        Ok(fare) => Ok(fare),
        Err(error) => fallback_fare(rules, start, stop).ok_or(TariffError::Price(error)),
    }
}

/// The VAT contained in a fare that becomes due at `at`, rounded half up.
pub fn vat_of(rules: &TariffRules, fare: &Fare, at: Timestamp) -> Result<Vnd, TariffError> {
    let vat = fare.total.tax_inside(rules.vat_rate(at), Rounding::HalfUp);
    vat.map_err(|error| TariffError::Price(PriceError::Amount(error)))
}

/// The version that holds for a class at a lot for a stay that begins at `at`.
pub async fn at_lot(
    conn: &mut PgConnection,
    lot: LotId,
    class: VehicleClass,
    at: Timestamp,
) -> Result<Option<Arc<TariffVersion>>, DbError> {
    store::resolve(conn, lot, class, business_day(at)).await
}

/// A new tariff as its operator wrote it.
#[derive(Debug)]
pub struct NewTariff {
    /// Its short name.
    pub code: String,
    /// Its name.
    pub name: String,
    /// The decision or price list it comes from.
    pub source: String,
    /// First day of its first version.
    pub starts_on: Date,
    /// The first version's rules.
    pub rules: TariffRules,
}

/// Who changes an operator's tariffs.
#[derive(Debug)]
pub struct Editor {
    /// For whom.
    pub operator: OperatorId,
    /// Their name in the audit trail.
    pub actor: String,
    /// Their id.
    pub id: uuid::Uuid,
}

/// Enters a tariff with its first version.
pub async fn create(app: &App, by: &Editor, new: NewTariff) -> Result<Tariff, TariffError> {
    let now = whole_us(app.now());
    check_new(&new, now)?;
    let id = app.new_id::<TariffId>();
    let version = Arc::new(TariffVersion {
        id: app.new_id::<TariffVersionId>(),
        tariff_id: id,
        version: 1,
        starts_on: new.starts_on,
        rules: Arc::new(new.rules),
        created_at: now,
    });
    let tariff = Tariff {
        id,
        operator_id: Some(by.operator),
        code: new.code,
        name: new.name,
        source: new.source,
        versions: vec![version],
        created_at: now,
    };
    in_tx!(app.db(), "tariffs.create", |tx| {
        store::insert_tariff(tx, by.operator, &tariff).await.map_err(taken)?;
        for version in &tariff.versions {
            store::insert_version(tx, version, by.id).await?;
        }
        let subject = format!("tariff:{}", tariff.id);
        audit_trail::record(tx, now, &by.actor, "tariffs.create", &subject).await?;
        Ok::<_, TariffError>(())
    })?;
    Ok(tariff)
}

fn check_new(new: &NewTariff, now: Timestamp) -> Result<(), TariffError> {
    let code = new.code.as_bytes();
    let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let code_kept = (2..=64).contains(&code.len())
        && code.first().is_some_and(word)
        && code.iter().all(|b| word(b) || *b == b'-');
    let length = |text: &str| text.chars().count();
    let mut errors = Vec::new();
    for (kept, field, rule) in [
        (code_kept, "code", "2 to 64 of a-z, 0-9 and dashes"),
        ((1..=200).contains(&length(new.name.trim())), "name", "1 to 200 characters"),
        (length(&new.source) <= 500, "source", "at most 500 characters"),
    ] {
        if !kept {
            errors.push(FieldError { field: field.to_owned(), rule: rule.to_owned() });
        }
    }
    if !errors.is_empty() {
        return Err(TariffError::Invalid(errors));
    }
    check_start(new.starts_on, now, "starts_on")
}

fn check_start(day: Date, now: Timestamp, field: &str) -> Result<(), TariffError> {
    if day < business_day(now) {
        return Err(TariffError::StartInPast);
    }
    if day.year() > 2100 { Err(invalid(field, "no later than 2100")) } else { Ok(()) }
}

fn taken(error: DbError) -> TariffError {
    match error.constraint() {
        Some("tariffs_operator_id_code_key") => TariffError::CodeTaken,
        Some("tariff_versions_tariff_id_starts_on_key") => TariffError::StartTaken,
        _ => TariffError::Store(error),
    }
}

/// Adds a version to an operator's own tariff. Nothing that holds today or held before changes.
pub async fn add_version(
    app: &App,
    by: &Editor,
    tariff: TariffId,
    starts_on: Date,
    rules: TariffRules,
) -> Result<TariffVersion, TariffError> {
    let now = whole_us(app.now());
    let mut version = TariffVersion {
        id: app.new_id::<TariffVersionId>(),
        tariff_id: tariff,
        version: 1,
        starts_on,
        rules: Arc::new(rules),
        created_at: now,
    };
    in_tx!(app.db(), "tariffs.add_version", |tx| {
        let next = store::lock_for_next_version(tx, by.operator, tariff).await?;
        version.version = next.ok_or(TariffError::NotFound)?;
        check_start(starts_on, now, "starts_on")?;
        store::insert_version(tx, &version, by.id).await.map_err(taken)?;
        let subject = format!("tariff_version:{}", version.id);
        audit_trail::record(tx, now, &by.actor, "tariffs.add_version", &subject).await?;
        Ok::<_, TariffError>(())
    })?;
    Ok(version)
}

/// An operator's tariff; the city's are readable for everyone, as their prices are public.
pub async fn find(app: &App, operator: OperatorId, id: TariffId) -> Result<Tariff, TariffError> {
    on_conn!(app.db(), |conn| {
        store::find(conn, operator, id).await?.ok_or(TariffError::NotFound)
    })
}

/// Lets a tariff (the operator's own or the city's) hold at an operator's own lot.
pub async fn assign(
    app: &App,
    by: &Editor,
    (lot, class): (LotId, VehicleClass),
    tariff: TariffId,
    valid_from: Option<Date>,
) -> Result<(Tariff, Date), TariffError> {
    let now = whole_us(app.now());
    let valid_from = valid_from.unwrap_or_else(|| business_day(now));
    let id = app.new_id::<uuid::Uuid>();
    in_tx!(app.db(), "tariffs.assign", |tx| {
        let facts = store::lot_facts(tx, lot, class).await?;
        if facts.is_none_or(|facts| facts.operator_id != by.operator) {
            return Err(TariffError::NotFound);
        }
        check_start(valid_from, now, "valid_from")?;
        let found = store::find(tx, by.operator, tariff).await?;
        let found = found.ok_or_else(|| invalid("tariff_id", "one of your own or the city's"))?;
        store::assign_to_lot(tx, id, (lot, class), tariff, valid_from).await?;
        let subject = format!("lot:{lot}:{}:{tariff}", class.as_str());
        audit_trail::record(tx, now, &by.actor, "tariffs.assign", &subject).await?;
        Ok((found, valid_from))
    })
}
