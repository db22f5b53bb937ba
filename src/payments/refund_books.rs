//! What a provider's word about a refund changes in the books.

use sqlx::postgres::PgConnection;

use super::dues::Dues;
use super::service::PaymentError;
use super::{
    Payment, Refund, RefundNews, RefundOutcome, RefundStatus, refund_store, session_store, store,
};
use crate::kernel::ids::RefundId;
use crate::ledger::{self, chart};
use crate::platform::App;

/// Where a refund stands after a word.
pub enum Applied {
    /// It must be followed further.
    Open(Box<Refund>),
    /// It is over.
    Over,
}

/// Applies a word to a refund. Books it when the provider takes it, takes that back when the
/// provider refuses after all. A repeated word changes nothing.
pub async fn apply(
    app: &App,
    tx: &mut PgConnection,
    id: RefundId,
    news: &RefundNews,
) -> Result<Applied, PaymentError> {
    let Some(refund) = refund_store::find(tx, id).await? else { return Ok(Applied::Over) };
    let Some(payment) = store::find(tx, refund.payment_id).await? else {
        return Ok(Applied::Over);
    };
    // Locks in the written order: session, payment, refund (under its payment's lock).
    let dues = session_store::lock(tx, &[payment.parking_session_id]).await?.pop();
    let mut dues = dues.ok_or(PaymentError::NotFound)?;
    let mut payment = store::lock(tx, payment.id).await?.ok_or(PaymentError::NotFound)?;
    let mut refund = refund_store::find(tx, id).await?.ok_or(PaymentError::NotFound)?;
    match refund.status {
        RefundStatus::Succeeded | RefundStatus::Failed => return Ok(Applied::Over),
        RefundStatus::Pending | RefundStatus::Accepted => {}
    }
    if news.provider_txn.is_some() {
        refund.provider_ref.clone_from(&news.provider_txn);
    }
    let was_booked = refund.status == RefundStatus::Accepted;
    match news.outcome {
        RefundOutcome::Unknown | RefundOutcome::AlreadyRequested => {}
        RefundOutcome::Accepted | RefundOutcome::Done => {
            if !was_booked {
                book(app, tx, &mut dues, &payment, &mut refund).await?;
            }
            if news.outcome == RefundOutcome::Done {
                end(app, &mut payment, &mut refund, RefundStatus::Succeeded)?;
            }
        }
        RefundOutcome::Refused => {
            if was_booked {
                take_back(app, tx, &mut dues, &payment, &refund).await?;
            }
            refund.failure = Some("refused_by_provider".to_owned());
            end(app, &mut payment, &mut refund, RefundStatus::Failed)?;
        }
    }
    store::save(tx, &[&payment]).await?;
    refund_store::save(tx, &refund).await?;
    Ok(match refund.status {
        RefundStatus::Pending | RefundStatus::Accepted => Applied::Open(Box::new(refund)),
        RefundStatus::Succeeded | RefundStatus::Failed => Applied::Over,
    })
}

/// The provider took it: the money leaves the clearing account, and a fare that is no longer
/// covered falls with it.
async fn book(
    app: &App,
    tx: &mut PgConnection,
    dues: &mut Dues,
    payment: &Payment,
    refund: &mut Refund,
) -> Result<(), PaymentError> {
    let now = app.now();
    let mut transfers =
        vec![chart::refund_accepted(refund.id, payment.provider.as_str(), refund.amount)?];
    if let Some((from, to)) = dues.give_back(refund.amount)? {
        transfers.push(chart::fare_lowered(refund.id.get(), &dues.shares, from, to)?);
        let lowered = to.minus(from)?;
        session_store::add_lowering(tx, refund.id, dues.session, lowered, now).await?;
    }
    ledger::store::post(app, tx, now, &transfers).await?;
    session_store::save(tx, &[dues]).await?;
    refund.status = RefundStatus::Accepted;
    refund.accepted_at = Some(now);
    refund.unanswered = 0;
    Ok(())
}

/// The provider refused what it had taken: the money is with us. A fare that was lowered stays
/// so; the session shows a surplus until it is sent again.
async fn take_back(
    app: &App,
    tx: &mut PgConnection,
    dues: &mut Dues,
    payment: &Payment,
    refund: &Refund,
) -> Result<(), PaymentError> {
    let accepted = ledger::store::transfer_of(tx, "refund_accepted", refund.id.get()).await?;
    let accepted = accepted.ok_or(PaymentError::NotFound)?;
    let provider = payment.provider.as_str();
    let transfer = chart::refund_returned(refund.id, accepted, provider, refund.amount)?;
    ledger::store::post(app, tx, app.now(), &[transfer]).await?;
    dues.keep_after_all(refund.amount)?;
    session_store::save(tx, &[dues]).await?;
    Ok(())
}

fn end(
    app: &App,
    payment: &mut Payment,
    refund: &mut Refund,
    status: RefundStatus,
) -> Result<(), PaymentError> {
    refund.status = status;
    refund.done_at = Some(app.now());
    payment.end_refund(refund.amount, status == RefundStatus::Succeeded)?;
    let labels = [("provider", payment.provider.as_str()), ("outcome", status.as_str())];
    metrics::counter!("refunds_total", &labels).increment(1);
    if status == RefundStatus::Failed {
        tracing::error!(refund.id = %refund.id, "a provider refused a refund");
    }
    Ok(())
}
