//! The tariff of a session: found at the start, frozen, read again at every charge.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sqlx::postgres::PgConnection;

use super::fare::QuotedPrice;
use super::{Session, SessionError};
use crate::kernel::ids::{LotId, QuoteId, TariffVersionId};
use crate::kernel::vehicle::VehicleClass;
use crate::platform::App;
use crate::tariffs::quotes::Quote;
use crate::tariffs::{TariffRules, TariffVersion, quote_store, service, store};

/// Minutes that a stay may begin before the quoted one.
const EARLY_MINUTES_MAX: i64 = 15;

/// A session's price source.
pub struct Frozen {
    /// The version.
    pub id: TariffVersionId,
    /// Its rules.
    pub rules: Arc<TariffRules>,
    /// The quote that binds, if there is one.
    pub quote: Option<QuotedPrice>,
}

/// The price source of a stay that starts now: the quote's version, if one is to bind, otherwise
/// the one in force at the lot.
pub async fn for_start(
    app: &App,
    tx: &mut PgConnection,
    space: (LotId, VehicleClass),
    quote: Option<QuoteId>,
    now: Timestamp,
) -> Result<Frozen, SessionError> {
    let Some(id) = quote else { return in_force(tx, space, now).await };
    let quote = quote_store::find(tx, id).await?.ok_or(SessionError::QuoteNotFound)?;
    if !quote.is_genuine(&app.config().quotes.secret) {
        tracing::error!(quote.id = %id, "a stored quote does not carry our signature");
        return Err(SessionError::QuoteNotFound);
    }
    if quote.expires_at <= now {
        return Err(SessionError::QuoteExpired);
    }
    let early = SignedDuration::from_mins(EARLY_MINUTES_MAX);
    if (quote.lot_id, quote.vehicle_class) != space || quote.start.duration_since(now) > early {
        return Err(SessionError::QuoteMismatch);
    }
    let version = version(tx, quote.tariff_version_id).await?;
    Ok(Frozen { id: version.id, rules: Arc::clone(&version.rules), quote: Some(quoted(quote)) })
}

/// The price source in force at a lot for a class and a stay that begins at `at`.
pub async fn in_force(
    conn: &mut PgConnection,
    (lot, class): (LotId, VehicleClass),
    at: Timestamp,
) -> Result<Frozen, SessionError> {
    let version = service::at_lot(conn, lot, class, at).await?.ok_or(SessionError::NoTariff)?;
    Ok(Frozen { id: version.id, rules: Arc::clone(&version.rules), quote: None })
}

/// The price source that was frozen in a session.
pub async fn of_session(
    conn: &mut PgConnection,
    session: &Session,
) -> Result<Frozen, SessionError> {
    let version = version(conn, session.tariff_version_id).await?;
    let quote = match session.quote_id {
        Some(id) => quote_store::find(conn, id).await?.map(quoted),
        None => None,
    };
    Ok(Frozen { id: version.id, rules: Arc::clone(&version.rules), quote })
}

async fn version(
    conn: &mut PgConnection,
    id: TariffVersionId,
) -> Result<Arc<TariffVersion>, SessionError> {
    let version = store::version(conn, id).await?;
    version.ok_or(SessionError::Stored("a frozen tariff version is gone"))
}

fn quoted(quote: Quote) -> QuotedPrice {
    QuotedPrice {
        amount: quote.amount,
        lines: quote.lines,
        starts_at: quote.start,
        ends_at: quote.end,
    }
}
