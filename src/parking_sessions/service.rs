//! The transactions of parking sessions, each run to its end and shown after its commit.

use jiff::Timestamp;

use super::list_store::{self, OperatorFilter, PageOf};
use super::stop::{self, StoppedBy};
use super::{
    Caller, Correction, Session, SessionError, StartRequest, correct, start, store, terms_store,
};
use crate::kernel::ids::{OperatorId, ParkingSessionId};
use crate::lots::capacity::CapacityRow;
use crate::occupancy::service::Occupancy;
use crate::platform::idempotency::{self, Answer};
use crate::platform::{App, audit_trail};
use crate::reservations::service::{publish, show};
use crate::{in_tx, on_conn};

/// Tries of a transaction whose session was moved to another lot meanwhile.
const MOVED_TRIES: u32 = 4;

/// Forgotten sessions that one run of the sweep ends: each is a transaction of its own.
const FORGOTTEN_MAX: i64 = 200;

/// Runs a block as a task of its own, so that a caller who goes away does not cut it in two, and
/// again when the session was moved meanwhile.
macro_rules! to_its_end {
    ($occupancy:expr, |$inner:ident| $body:expr) => {{
        let process = $occupancy.app().clone();
        let $inner = $occupancy.clone();
        let work = async move {
            let mut tries = 0_u32;
            loop {
                tries += 1;
                match $body {
                    Err(SessionError::Moved) if tries < MOVED_TRIES => {}
                    outcome => break outcome,
                }
            }
        };
        process.run_to_end(work).await.unwrap_or(Err(SessionError::CutOff))
    }};
}

/// Starts a stay: 201, or the answer that the same request got before.
pub async fn start(
    occupancy: &Occupancy,
    request: StartRequest,
    key: idempotency::Request,
) -> Result<Answer, SessionError> {
    to_its_end!(occupancy, |occupancy| {
        let done: Result<(Answer, Option<CapacityRow>), SessionError> =
            in_tx!(occupancy.app().db(), "parking_sessions.start", |tx| {
                start::start(occupancy.app(), tx, &request, &key).await
            });
        done.map(|(answer, changed)| {
            show(&occupancy, changed.into_iter().collect());
            answer
        })
    })
}

/// Ends a stay. Repeating gives the same answer.
pub async fn stop(
    occupancy: &Occupancy,
    caller: Caller,
    id: ParkingSessionId,
) -> Result<Session, SessionError> {
    to_its_end!(occupancy, |occupancy| {
        let done = stop_once(occupancy.app(), StoppedBy::Caller(caller), id).await;
        done.map(|(session, changed)| {
            show(&occupancy, changed.into_iter().collect());
            session
        })
    })
}

async fn stop_once(
    app: &App,
    by: StoppedBy,
    id: ParkingSessionId,
) -> Result<(Session, Option<CapacityRow>), SessionError> {
    in_tx!(app.db(), "parking_sessions.stop", |tx| stop::stop(app, tx, by, id).await)
}

/// Buys more time: 200, or the answer that the same request got before.
pub async fn extend(
    occupancy: &Occupancy,
    caller: Caller,
    id: ParkingSessionId,
    minutes: i64,
    key: idempotency::Request,
) -> Result<Answer, SessionError> {
    to_its_end!(occupancy, |occupancy| {
        in_tx!(occupancy.app().db(), "parking_sessions.extend", |tx| {
            stop::extend(occupancy.app(), tx, caller, id, minutes, &key).await
        })
    })
}

/// Corrects plate, class or lot.
pub async fn correct(
    occupancy: &Occupancy,
    caller: Caller,
    id: ParkingSessionId,
    correction: Correction,
) -> Result<Session, SessionError> {
    to_its_end!(occupancy, |occupancy| {
        let done: Result<(Session, Vec<CapacityRow>), SessionError> =
            in_tx!(occupancy.app().db(), "parking_sessions.correct", |tx| {
                correct::correct(occupancy.app(), tx, caller, id, &correction).await
            });
        done.map(|(session, changed)| {
            show(&occupancy, changed);
            session
        })
    })
}

/// A stay that the caller may see.
pub async fn find(
    app: &App,
    caller: Caller,
    id: ParkingSessionId,
) -> Result<Session, SessionError> {
    let found: Result<Option<Session>, SessionError> =
        on_conn!(app.db(), |conn| store::find(conn, id).await.map_err(SessionError::from));
    found?.filter(|session| session.is_of(&caller)).ok_or(SessionError::NotFound)
}

/// The caller's own stays, newest first: a driver's, or those that a member of staff started.
pub async fn list(app: &App, caller: Caller, page: PageOf) -> Result<Vec<Session>, SessionError> {
    on_conn!(app.db(), |conn| {
        let listed = match caller {
            Caller::Driver(driver) => list_store::of_driver(conn, driver, page).await,
            Caller::Staff { id, operator } => list_store::of_staff(conn, id, operator, page).await,
        };
        listed.map_err(SessionError::from)
    })
}

/// The stays at an operator's lots, newest first. A look-up by plate is recorded with `actor`,
/// in the transaction that reads.
pub async fn list_of_operator(
    app: &App,
    operator: OperatorId,
    actor: &str,
    filter: OperatorFilter,
    page: PageOf,
) -> Result<Vec<Session>, SessionError> {
    use secrecy::ExposeSecret;
    let subject = filter
        .plate_key
        .as_ref()
        .map(|plate| audit_trail::plate_subject(app.config().auth.secret.expose_secret(), plate));
    in_tx!(app.db(), "parking_sessions.list_of_operator", |tx| {
        if let Some(lot) = filter.lot {
            let terms = terms_store::of_lot(tx, lot).await?;
            if terms.is_none_or(|terms| terms.operator_id != operator) {
                return Err(SessionError::NotFound);
            }
        }
        if let Some(subject) = &subject {
            let action = "parking_sessions.look_up_plate";
            audit_trail::record(tx, app.now(), actor, action, subject).await?;
        }
        Ok(list_store::of_operator(tx, operator, &filter, page).await?)
    })
}

/// Ends the stays that nobody stopped, each priced as if stopped when its time was over. Gives
/// their number. Run every minute by one worker; two at once do no harm.
pub async fn end_forgotten(app: &App) -> Result<usize, SessionError> {
    let now: Timestamp = app.now();
    let ids: Result<Vec<ParkingSessionId>, SessionError> = on_conn!(app.db(), |conn| {
        store::forgotten(conn, now, FORGOTTEN_MAX).await.map_err(SessionError::from)
    });
    let mut ended = 0_usize;
    for id in ids? {
        match stop_once(app, StoppedBy::Sweep, id).await {
            Ok((_, changed)) => {
                publish(app, changed.as_slice()).await;
                ended = ended.saturating_add(changed.iter().count());
            }
            Err(SessionError::Db(error)) => return Err(SessionError::Db(error)),
            // One stay that cannot be priced must not keep the others open.
            Err(error) => {
                tracing::error!(parking_session.id = %id, error = %error, "a forgotten stay was not ended");
            }
        }
    }
    Ok(ended)
}
