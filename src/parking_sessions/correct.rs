//! Correcting a wrong plate, class or lot, within the lot's grace.

use sqlx::postgres::PgConnection;

use super::charges::{ChargeKind, charge};
use super::fare::{self, PriceTerms};
use super::start::{check_plate, check_walk_in};
use super::{
    Caller, Correction, Session, SessionError, SessionStatus, charge_store, store, tariff,
    terms_store,
};
use crate::kernel::ids::{LotId, ParkingSessionId};
use crate::kernel::money::Vnd;
use crate::kernel::plate::Plate;
use crate::kernel::vehicle::VehicleClass;
use crate::lots::capacity::CapacityRow;
use crate::platform::{App, audit_trail};
use crate::reservations::end_store;
use crate::reservations::writer::whole_us;

/// Corrects a stay. The entry time stays; where lot or class change, the space moves along and
/// the tariff, the tax and the shares are those of the corrected place. Recorded.
pub async fn correct(
    app: &App,
    tx: &mut PgConnection,
    caller: Caller,
    id: ParkingSessionId,
    correction: &Correction,
) -> Result<(Session, Vec<CapacityRow>), SessionError> {
    let now = whole_us(app.now());
    let seen = store::find(tx, id)
        .await?
        .filter(|session| session.is_of(&caller))
        .ok_or(SessionError::NotFound)?;
    let from = (seen.lot_id, seen.vehicle_class);
    let to = (correction.lot.unwrap_or(from.0), correction.class.unwrap_or(from.1));
    let rows = lock_spaces(tx, from, to).await?;
    let mut session = store::lock(tx, id).await?.ok_or(SessionError::NotFound)?;
    if (session.lot_id, session.vehicle_class) != from {
        return Err(SessionError::Moved);
    }
    if session.status != SessionStatus::Active || now > session.correctable_until {
        return Err(SessionError::CorrectionClosed);
    }
    correct_plate(tx, &mut session, correction, to.1).await?;
    let mut changed = Vec::new();
    if from != to {
        // What was charged for the wrong place is taken back from those who share in it.
        charge(app, tx, &mut session, ChargeKind::Corrected, Vnd::ZERO, now).await?;
        move_terms(app, tx, caller, &mut session, to, rows).await?;
        changed.push(end_store::change_space(tx, from.0, from.1, 0, -1).await?);
        changed.push(end_store::change_space(tx, to.0, to.1, 0, 1).await?);
    }
    match store::save_correction(tx, &session).await {
        Ok(()) => {}
        Err(error) if error.constraint() == Some("parking_sessions_one_open") => {
            return Err(SessionError::PlateAlreadyParked);
        }
        Err(error) => return Err(error.into()),
    }
    if from != to {
        reprice(app, tx, &mut session).await?;
    }
    let action = action(correction);
    audit_trail::record(tx, now, &caller.actor(), &action, &format!("parking_session:{id}"))
        .await?;
    Ok((session, changed))
}

/// What is recorded: which fields, not their values; a plate is nobody's business in a trail.
fn action(correction: &Correction) -> String {
    let fields = [
        correction.plate.is_some().then_some("plate"),
        correction.class.is_some().then_some("vehicle_class"),
        correction.lot.is_some().then_some("lot"),
    ];
    let fields: Vec<&str> = fields.into_iter().flatten().collect();
    format!("parking_sessions.correct:{}", fields.join("+"))
}

/// Locks both capacity rows in order; gives the one that the stay moves to.
async fn lock_spaces(
    tx: &mut PgConnection,
    from: (LotId, VehicleClass),
    to: (LotId, VehicleClass),
) -> Result<Option<CapacityRow>, SessionError> {
    let mut keys = vec![from, to];
    keys.sort_by_key(|(lot, class)| (*lot, class.as_str()));
    keys.dedup();
    let mut target = None;
    for key in keys {
        let row = end_store::lock_space(tx, key.0, key.1).await?;
        if key == to {
            target = row;
        }
    }
    Ok(target)
}

async fn correct_plate(
    tx: &mut PgConnection,
    session: &mut Session,
    correction: &Correction,
    class: VehicleClass,
) -> Result<(), SessionError> {
    let plate = match &correction.plate {
        Some(typed) => {
            session.plate.clone_from(&typed.shown);
            typed.plate.clone()
        }
        None => Plate::parse(&session.plate_key)
            .map_err(|_error| SessionError::Stored("a session's plate cannot be read"))?,
    };
    if correction.plate.is_none() && correction.class.is_none() {
        return Ok(());
    }
    check_plate(&plate, class)?;
    plate.key().clone_into(&mut session.plate_key);
    session.vehicle_id = match session.driver_id {
        Some(driver) => {
            terms_store::vehicle_with_plate(tx, driver, &session.plate_key, class).await?
        }
        None => None,
    };
    Ok(())
}

/// Freezes the terms of the corrected lot and class as of the entry.
async fn move_terms(
    app: &App,
    tx: &mut PgConnection,
    caller: Caller,
    session: &mut Session,
    (lot, class): (LotId, VehicleClass),
    row: Option<CapacityRow>,
) -> Result<(), SessionError> {
    let terms = terms_store::of_lot(tx, lot).await?.ok_or(SessionError::NotFound)?;
    if let Caller::Staff { operator, .. } = caller
        && terms.operator_id != operator
    {
        return Err(SessionError::NotFound);
    }
    if terms.sale_mode != session.sale_mode {
        return Err(SessionError::OtherSaleMode);
    }
    let row = row.ok_or(SessionError::ClassNotServed)?;
    check_walk_in(&row, &terms, caller, app.now())?;
    let frozen = tariff::in_force(tx, (lot, class), session.started_at).await?;
    session.lot_id = lot;
    session.lot_name = terms.name;
    session.operator_id = terms.operator_id;
    session.vehicle_class = class;
    session.tariff_version_id = frozen.id;
    // A quote was for the other lot or class.
    session.quote_id = None;
    session.shares.city = terms.city;
    session.shares.platform = terms.platform;
    session.shares.vat = frozen.rules.vat_rate(session.started_at);
    session.shares.operator_code = terms.operator_code;
    Ok(())
}

/// Charges the time that was bought at the price of the corrected place.
async fn reprice(
    app: &App,
    tx: &mut PgConnection,
    session: &mut Session,
) -> Result<(), SessionError> {
    let Some(until) = session.paid_until else { return Ok(()) };
    let frozen = tariff::of_session(tx, session).await?;
    let past = charge_store::earlier_stays(tx, session).await?;
    let earlier = fare::chain(&past, session.started_at, |stop, start| {
        crate::tariffs::continues_stay(&frozen.rules, stop, start)
    });
    let terms = PriceTerms { rules: &frozen.rules, quote: None, earlier: &earlier };
    let priced = fare::fare(&terms, session.started_at, until)?;
    session.lines = priced.lines;
    charge(app, tx, session, ChargeKind::Corrected, priced.total, app.now()).await?;
    store::save(tx, session).await?;
    Ok(())
}
