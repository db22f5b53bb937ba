//! Starting a stay, in one transaction.

use jiff::{SignedDuration, Timestamp};
use sqlx::postgres::PgConnection;

use super::charges::{ChargeKind, charge};
use super::fare::PriceTerms;
use super::tariff::{self, Frozen};
use super::terms_store::{self, LotTerms};
use super::view::SessionView;
use super::{
    Caller, PAID_MINUTES_MAX, Session, SessionError, SessionStatus, StartFrom, StartRequest,
    charge_store, fare, store,
};
use crate::kernel::ids::{DriverId, LotId, ReservationId, VehicleId};
use crate::kernel::money::Vnd;
use crate::kernel::plate::Plate;
use crate::kernel::vehicle::VehicleClass;
use crate::ledger::chart::Shares;
use crate::lots::capacity::CapacityRow;
use crate::lots::{LotStatus, SaleMode};
use crate::platform::App;
use crate::platform::idempotency::{self, Answer, Known};
use crate::reservations::{end_store, service as holds};

/// What wants to park, where, and by what right.
struct Entry {
    lot: LotId,
    class: VehicleClass,
    plate: String,
    plate_key: String,
    driver: Option<DriverId>,
    vehicle: Option<VehicleId>,
    hold: Option<(DriverId, ReservationId)>,
}

/// Starts a session, or repeats the answer of the same request. Returns the changed capacity row
/// to be shown after the commit.
pub async fn start(
    app: &App,
    tx: &mut PgConnection,
    request: &StartRequest,
    key: &idempotency::Request,
) -> Result<(Answer, Option<CapacityRow>), SessionError> {
    let now = crate::reservations::writer::whole_us(app.now());
    match idempotency::claim(tx, key, now).await? {
        Known::Answered(answer) => return Ok((answer, None)),
        Known::Reused => return Err(SessionError::KeyReused),
        Known::Fresh => {}
    }
    let entry = entry(tx, request).await?;
    let terms = terms_store::of_lot(tx, entry.lot).await?.ok_or(SessionError::NotFound)?;
    if let Caller::Staff { operator, .. } = request.caller
        && terms.operator_id != operator
    {
        return Err(SessionError::NotFound);
    }
    check_paid_minutes(terms.sale_mode, request.paid_minutes)?;
    let frozen = tariff::for_start(app, tx, (entry.lot, entry.class), request.quote, now).await?;
    take_space(tx, &entry, &terms, request.caller, now).await?;
    let mut session = new_session(app, request, entry, terms, &frozen, now)?;
    if !store::insert(tx, &session).await? {
        return Err(SessionError::PlateAlreadyParked);
    }
    let held = if session.reservation_id.is_some() { -1 } else { 0 };
    let row = end_store::change_space(tx, session.lot_id, session.vehicle_class, held, 1).await?;
    if let Some(until) = session.paid_until {
        buy(app, tx, &mut session, &frozen, until, ChargeKind::Bought, now).await?;
        store::save(tx, &session).await?;
    }
    let answer = answer(201, session)?;
    idempotency::remember(tx, key, &answer).await?;
    Ok((answer, Some(row)))
}

/// An answer with the session as its body.
pub fn answer(status: u16, session: Session) -> Result<Answer, SessionError> {
    let body = serde_json::to_string(&SessionView::from(session))
        .map_err(|_error| SessionError::Stored("a session cannot be written as JSON"))?;
    Ok(Answer { status, body })
}

/// Who may start what: a hold and an own vehicle are a driver's; a plate is anybody's.
async fn entry(tx: &mut PgConnection, request: &StartRequest) -> Result<Entry, SessionError> {
    let driver = match request.caller {
        Caller::Driver(driver) => Some(driver),
        Caller::Staff { .. } => None,
    };
    match &request.from {
        StartFrom::Reservation(id) => {
            let driver = driver.ok_or(SessionError::NotFound)?;
            let hold = end_store::find(tx, driver, *id).await?.ok_or(SessionError::NotFound)?;
            let vehicle = terms_store::held_vehicle(tx, hold.vehicle_id)
                .await?
                .ok_or(SessionError::Stored("a hold's vehicle is gone"))?;
            Ok(Entry {
                lot: hold.lot_id,
                class: hold.vehicle_class,
                plate: vehicle.plate,
                plate_key: vehicle.plate_key,
                driver: Some(driver),
                vehicle: Some(hold.vehicle_id),
                hold: Some((driver, *id)),
            })
        }
        StartFrom::Vehicle { lot, vehicle: id } => {
            let driver = driver.ok_or(SessionError::VehicleNotFound)?;
            let vehicle = terms_store::own_vehicle(tx, driver, *id)
                .await?
                .ok_or(SessionError::VehicleNotFound)?;
            Ok(Entry {
                lot: *lot,
                class: vehicle.class,
                plate: vehicle.plate,
                plate_key: vehicle.plate_key,
                driver: Some(driver),
                vehicle: Some(*id),
                hold: None,
            })
        }
        StartFrom::Plate { lot, plate, class } => {
            check_plate(&plate.plate, *class)?;
            let key = plate.plate.key();
            let vehicle = match driver {
                Some(driver) => terms_store::vehicle_with_plate(tx, driver, key, *class).await?,
                None => None,
            };
            Ok(Entry {
                lot: *lot,
                class: *class,
                plate: plate.shown.clone(),
                plate_key: key.to_owned(),
                driver,
                vehicle,
                hold: None,
            })
        }
    }
}

/// Whether the plate can stand on a vehicle of the class.
pub fn check_plate(plate: &Plate, class: VehicleClass) -> Result<(), SessionError> {
    match plate.kind_on(class) {
        Some(_) => Ok(()),
        None => Err(SessionError::PlateDoesNotFitClass),
    }
}

/// Time is bought where it is sold in advance, and only there.
fn check_paid_minutes(sale_mode: SaleMode, minutes: Option<i64>) -> Result<(), SessionError> {
    match (sale_mode, minutes) {
        (SaleMode::Prepaid, None) => Err(SessionError::PaidMinutes("needed at this lot")),
        (SaleMode::PayOnExit, Some(_)) => Err(SessionError::PaidMinutes("not sold at this lot")),
        (SaleMode::Prepaid, Some(minutes)) if !(1..=PAID_MINUTES_MAX).contains(&minutes) => {
            Err(SessionError::PaidMinutes("from 1 to 43200"))
        }
        (SaleMode::Prepaid, Some(_)) | (SaleMode::PayOnExit, None) => Ok(()),
    }
}

/// Locks the capacity row and finds the vehicle a space: its hold's, or a free one. A hold is a
/// promise and good at a lot that has closed meanwhile.
async fn take_space(
    tx: &mut PgConnection,
    entry: &Entry,
    terms: &LotTerms,
    caller: Caller,
    now: Timestamp,
) -> Result<(), SessionError> {
    let row = end_store::lock_space(tx, entry.lot, entry.class)
        .await?
        .ok_or(SessionError::ClassNotServed)?;
    if let Some((driver, id)) = entry.hold {
        holds::use_hold(tx, driver, id, now).await?;
        return Ok(());
    }
    check_walk_in(&row, terms, caller, now)
}

/// Whether a vehicle without a hold may come in. A driver gets what search shows as free. Staff
/// see the lot with their own eyes: for them only what is promised to others counts.
pub fn check_walk_in(
    row: &CapacityRow,
    terms: &LotTerms,
    caller: Caller,
    now: Timestamp,
) -> Result<(), SessionError> {
    if terms.status != LotStatus::Open || !terms.opening_hours.0.open_at(now) {
        return Err(SessionError::LotClosed);
    }
    let free = match caller {
        Caller::Driver(_) => row.now.free(now),
        Caller::Staff { .. } => {
            row.now.capacity.saturating_sub(row.now.held.saturating_add(row.now.in_use))
        }
    };
    if free > 0 { Ok(()) } else { Err(SessionError::LotFull) }
}

fn new_session(
    app: &App,
    request: &StartRequest,
    entry: Entry,
    terms: LotTerms,
    frozen: &Frozen,
    now: Timestamp,
) -> Result<Session, SessionError> {
    let after = |minutes: i64| {
        let later = now.checked_add(SignedDuration::from_mins(minutes));
        later.map_err(|_error| SessionError::PaidMinutes("outside the calendar"))
    };
    let paid_until = request.paid_minutes.map(after).transpose()?;
    let forgotten_at = after(i64::from(terms.forgotten_stop_minutes))?;
    Ok(Session {
        id: app.new_id(),
        lot_id: entry.lot,
        lot_name: terms.name,
        operator_id: terms.operator_id,
        vehicle_class: entry.class,
        plate: entry.plate,
        plate_key: entry.plate_key,
        driver_id: entry.driver,
        vehicle_id: entry.vehicle,
        reservation_id: entry.hold.map(|(_, id)| id),
        started_by_staff: match request.caller {
            Caller::Driver(_) => None,
            Caller::Staff { id, .. } => Some(id),
        },
        status: SessionStatus::Active,
        sale_mode: terms.sale_mode,
        tariff_version_id: frozen.id,
        quote_id: request.quote,
        started_at: now,
        correctable_until: after(i64::from(terms.correction_grace_minutes))?,
        forgotten_at: paid_until.map_or(forgotten_at, |until| until.max(forgotten_at)),
        paid_until,
        ended_at: None,
        fare: Vnd::ZERO,
        paid: Vnd::ZERO,
        lines: Vec::new(),
        shares: Shares {
            operator_code: terms.operator_code,
            vat: frozen.rules.vat_rate(now),
            city: terms.city,
            platform: terms.platform,
        },
    })
}

/// Charges a locked or new session for its stay until an instant. The fare never falls: time that
/// was bought is not given back. The caller writes the row.
pub async fn buy(
    app: &App,
    tx: &mut PgConnection,
    session: &mut Session,
    frozen: &Frozen,
    until: Timestamp,
    kind: ChargeKind,
    now: Timestamp,
) -> Result<(), SessionError> {
    let past = charge_store::earlier_stays(tx, session).await?;
    let earlier = fare::chain(&past, session.started_at, |stop, start| {
        crate::tariffs::continues_stay(&frozen.rules, stop, start)
    });
    let terms =
        PriceTerms { rules: &frozen.rules, quote: frozen.quote.as_ref(), earlier: &earlier };
    let priced = fare::fare(&terms, session.started_at, until)?;
    if priced.total >= session.fare {
        session.lines = priced.lines;
        charge(app, tx, session, kind, priced.total, now).await?;
    }
    Ok(())
}
