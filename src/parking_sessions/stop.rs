//! Leaving, extending, and ending what was forgotten.

use jiff::{SignedDuration, Timestamp};
use sqlx::postgres::PgConnection;

use super::charges::ChargeKind;
use super::start::{answer, buy};
use super::{Caller, PAID_MINUTES_MAX, Session, SessionError, SessionStatus, store, tariff};
use crate::kernel::ids::ParkingSessionId;
use crate::lots::SaleMode;
use crate::lots::capacity::CapacityRow;
use crate::platform::App;
use crate::platform::idempotency::{self, Answer, Known};
use crate::reservations::end_store;
use crate::reservations::writer::whole_us;

/// Who ends a stay.
#[derive(Clone, Copy, Debug)]
pub enum StoppedBy {
    /// Somebody who may.
    Caller(Caller),
    /// Nobody did; its time is over.
    Sweep,
}

/// Ends a stay, fixes its fare and frees its space. A stay that has ended is answered as it is.
pub async fn stop(
    app: &App,
    tx: &mut PgConnection,
    by: StoppedBy,
    id: ParkingSessionId,
) -> Result<(Session, Option<CapacityRow>), SessionError> {
    let now = whole_us(app.now());
    let mut session = lock(tx, by, id).await?;
    if session.status != SessionStatus::Active {
        return Ok((session, None));
    }
    let left_at = now.min(session.forgotten_at).max(session.started_at);
    if matches!(by, StoppedBy::Sweep) && session.forgotten_at > now {
        return Ok((session, None));
    }
    // Time that was bought and not used is neither charged again nor given back.
    if session.paid_until.is_none_or(|until| left_at > until) {
        let frozen = tariff::of_session(tx, &session).await?;
        buy(app, tx, &mut session, &frozen, left_at, ChargeKind::Stopped, now).await?;
    }
    session.ended_at = Some(left_at);
    session.status = session.status_when_left();
    store::save(tx, &session).await?;
    let row = end_store::change_space(tx, session.lot_id, session.vehicle_class, 0, -1).await?;
    Ok((session, Some(row)))
}

/// Buys more time for a stay, or repeats the answer of the same request.
pub async fn extend(
    app: &App,
    tx: &mut PgConnection,
    caller: Caller,
    id: ParkingSessionId,
    minutes: i64,
    key: &idempotency::Request,
) -> Result<Answer, SessionError> {
    let now = whole_us(app.now());
    match idempotency::claim(tx, key, now).await? {
        Known::Answered(answer) => return Ok(answer),
        Known::Reused => return Err(SessionError::KeyReused),
        Known::Fresh => {}
    }
    let mut session = store::lock(tx, id)
        .await?
        .filter(|session| session.is_of(&caller))
        .ok_or(SessionError::NotFound)?;
    let (SaleMode::Prepaid, Some(paid_until)) = (session.sale_mode, session.paid_until) else {
        return Err(SessionError::ExtendNotOffered);
    };
    if session.status != SessionStatus::Active {
        return Err(SessionError::NotActive);
    }
    let until = extended(session.started_at, paid_until, minutes)
        .ok_or(SessionError::PaidMinutes("at most 43200 for the whole stay"))?;
    let frozen = tariff::of_session(tx, &session).await?;
    buy(app, tx, &mut session, &frozen, until, ChargeKind::Extended, now).await?;
    session.paid_until = Some(until);
    session.forgotten_at = session.forgotten_at.max(until);
    store::save(tx, &session).await?;
    let answer = answer(200, session)?;
    idempotency::remember(tx, key, &answer).await?;
    Ok(answer)
}

/// The end of the bought time after `minutes` more; `None` when that is more than can be bought.
fn extended(started_at: Timestamp, paid_until: Timestamp, minutes: i64) -> Option<Timestamp> {
    // First: a duration of too many minutes cannot even be written down.
    if !(1..=PAID_MINUTES_MAX).contains(&minutes) {
        return None;
    }
    let until = paid_until.checked_add(SignedDuration::from_mins(minutes)).ok()?;
    let longest = started_at.checked_add(SignedDuration::from_mins(PAID_MINUTES_MAX)).ok()?;
    (until <= longest).then_some(until)
}

/// Locks a session's capacity row and then the session, if the caller may see it. Fails with
/// [`SessionError::Moved`] when a correction came between.
pub async fn lock(
    tx: &mut PgConnection,
    by: StoppedBy,
    id: ParkingSessionId,
) -> Result<Session, SessionError> {
    let visible = |session: &Session| match by {
        StoppedBy::Caller(caller) => session.is_of(&caller),
        StoppedBy::Sweep => true,
    };
    let seen = store::find(tx, id).await?.filter(|s| visible(s)).ok_or(SessionError::NotFound)?;
    end_store::lock_space(tx, seen.lot_id, seen.vehicle_class).await?;
    let session =
        store::lock(tx, id).await?.filter(|s| visible(s)).ok_or(SessionError::NotFound)?;
    if (session.lot_id, session.vehicle_class) != (seen.lot_id, seen.vehicle_class) {
        return Err(SessionError::Moved);
    }
    Ok(session)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_bought_for_thirty_days_at_most() {
        let start = Timestamp::constant(1_795_766_400, 0);
        let after = |minutes| start + SignedDuration::from_mins(minutes);
        assert_eq!(extended(start, after(60), 30), Some(after(90)));
        assert_eq!(extended(start, after(60), 43_140), Some(after(43_200)));
        assert_eq!(extended(start, after(60), 43_141), None);
        assert_eq!(extended(start, after(60), i64::MAX), None);
        assert_eq!(extended(start, after(60), 0), None);
    }
}
