//! Amounts that a session comes to owe, each posted once.

use jiff::Timestamp;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::{Session, SessionError, charge_store};
use crate::kernel::money::Vnd;
use crate::ledger::{self, chart};
use crate::platform::App;

/// Why a session came to owe an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ChargeKind {
    /// Time bought at the start.
    Bought,
    /// More time bought.
    Extended,
    /// The stay ended.
    Stopped,
    /// Class or lot was corrected.
    Corrected,
}

impl ChargeKind {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Brings a locked session's fare to `fare`: notes the charge and posts it. The session's own
/// `fare` is changed, the row is written by the caller. A fare that stays causes nothing.
pub async fn charge(
    app: &App,
    tx: &mut PgConnection,
    session: &mut Session,
    kind: ChargeKind,
    fare: Vnd,
    now: Timestamp,
) -> Result<(), SessionError> {
    let amount = fare.minus(session.fare)?;
    if amount == Vnd::ZERO {
        return Ok(());
    }
    let id: Uuid = app.new_id();
    charge_store::insert(tx, id, session.id, kind, amount, now).await?;
    let transfer = if amount > Vnd::ZERO {
        chart::session_charged(id, &session.shares, amount)?
    } else {
        chart::fare_lowered(id, &session.shares, session.fare, fare)?
    };
    ledger::store::post(app, tx, now, &[transfer]).await?;
    session.fare = fare;
    metrics::counter!("session_charges_total", "kind" => kind.as_str()).increment(1);
    Ok(())
}
