//! Money beyond a fare that fell after it was paid: parking corrects fares and knows nothing of
//! payments, so we look for it.

use sqlx::postgres::PgConnection;

use super::refunds::send_job;
use super::service::{PaymentError, Payments, after};
use super::{Refund, refund_books, refund_store, session_store, store};
use crate::kernel::ids::ParkingSessionId;
use crate::kernel::money::Vnd;
use crate::platform::App;
use crate::platform::db::DbError;
use crate::platform::jobs;
use crate::{in_tx, on_conn};

/// Sessions handled by one run.
const SESSIONS_MAX: i64 = 200;

/// After a provider refused, a day passes before the same session is tried again; finance sees
/// the refusal and the audit the surplus.
const REST_S: i64 = 86_400;

/// Writes down a refund for every session that holds more than it costs.
pub async fn send_back(payments: &Payments) -> Result<(), PaymentError> {
    let app = payments.app();
    let since = after(app.now(), -REST_S);
    let found: Result<Vec<ParkingSessionId>, DbError> =
        on_conn!(app.db(), |conn| session_store::with_surplus(conn, since, SESSIONS_MAX).await);
    for session in found? {
        let sent: Result<(), PaymentError> =
            in_tx!(app.db(), "payments.refund_surplus", |tx| begin(app, tx, session).await);
        sent?;
    }
    Ok(())
}

/// The newest payments give back first. What no payment can cover was not paid through us.
async fn begin(
    app: &App,
    tx: &mut PgConnection,
    session: ParkingSessionId,
) -> Result<(), PaymentError> {
    let Some(dues) = session_store::lock(tx, &[session]).await?.pop() else { return Ok(()) };
    let mut dues = dues;
    for mut payment in store::lock_collected(tx, session).await? {
        let amount = dues.surplus().min(payment.refundable());
        if amount == Vnd::ZERO {
            continue;
        }
        let mut refund = Refund::new(app.new_id(), payment.id, amount, app.now());
        refund.reason = String::from("fare_corrected");
        payment.begin_refund(amount)?;
        store::save(tx, &[&payment]).await?;
        refund_store::insert(tx, &refund).await?;
        dues = refund_books::begin(app, tx, dues, &refund).await?;
        jobs::enqueue(app, tx, &[send_job(refund.id, app.now())]).await?;
    }
    Ok(())
}
