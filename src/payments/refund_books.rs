//! What a refund changes in the books, when it is written down and when the provider speaks.
//!
//! | event | session | ledger |
//! |---|---|---|
//! | written down | paid falls, the fare to what stays paid | `fare_lowered` if the fare fell |
//! | taken by the provider | | `refund_accepted` |
//! | refused by the provider | both as before | `refund_returned` if it was taken, `fare_lowered` back |

use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::dues::Dues;
use super::service::PaymentError;
use super::{
    Payment, Refund, RefundNews, RefundOutcome, RefundStatus, refund_store, session_store, store,
};
use crate::kernel::ids::RefundId;
use crate::kernel::money::Vnd;
use crate::ledger::{self, Transfer, chart};
use crate::platform::App;

/// Where a refund stands after a word.
pub enum Applied {
    /// It must be followed further.
    Open(Box<Refund>),
    /// It is over.
    Over,
}

/// Takes the money of a new refund from its session, which the transaction has locked. A fare
/// that is then no longer covered falls with it.
pub async fn begin(
    app: &App,
    tx: &mut PgConnection,
    mut dues: Dues,
    refund: &Refund,
) -> Result<Dues, PaymentError> {
    let change = dues.give_back(refund.amount)?;
    session_store::save(tx, &[&dues]).await?;
    if let Some(change) = change {
        let transfer = correct_fare(app, tx, &dues, refund.id.get(), change).await?;
        ledger::store::post(app, tx, app.now(), &[transfer]).await?;
    }
    Ok(dues)
}

/// Notes a changed fare as a charge and gives its posting; `event` is the charge's id.
async fn correct_fare(
    app: &App,
    tx: &mut PgConnection,
    dues: &Dues,
    event: Uuid,
    (from, to): (Vnd, Vnd),
) -> Result<Transfer, PaymentError> {
    session_store::add_correction(tx, event, dues.session, to.minus(from)?, app.now()).await?;
    Ok(chart::fare_lowered(event, &dues.shares, from, to)?)
}

/// Applies a word to a refund. A repeated word changes nothing.
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
    match news.outcome {
        RefundOutcome::Unknown | RefundOutcome::AlreadyRequested => {}
        RefundOutcome::Accepted | RefundOutcome::Done => {
            if refund.status == RefundStatus::Pending {
                accept(app, tx, &payment, &mut refund).await?;
            }
            if news.outcome == RefundOutcome::Done {
                end(app, &mut payment, &mut refund, RefundStatus::Succeeded)?;
            }
        }
        RefundOutcome::Refused => {
            refuse(app, tx, &mut dues, &payment, &refund).await?;
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

async fn accept(
    app: &App,
    tx: &mut PgConnection,
    payment: &Payment,
    refund: &mut Refund,
) -> Result<(), PaymentError> {
    let now = app.now();
    let provider = payment.provider.as_str();
    let transfer = chart::refund_accepted(refund.id, provider, refund.amount)?;
    ledger::store::post(app, tx, now, &[transfer]).await?;
    refund.status = RefundStatus::Accepted;
    refund.accepted_at = Some(now);
    refund.unanswered = 0;
    Ok(())
}

/// The money stays with us, and the session is again what it was.
async fn refuse(
    app: &App,
    tx: &mut PgConnection,
    dues: &mut Dues,
    payment: &Payment,
    refund: &Refund,
) -> Result<(), PaymentError> {
    let was_accepted = refund.status == RefundStatus::Accepted;
    let mut transfers = Vec::new();
    if was_accepted {
        let accepted = ledger::store::transfer_of(tx, "refund_accepted", refund.id.get()).await?;
        let accepted = accepted.ok_or(PaymentError::NotFound)?;
        let provider = payment.provider.as_str();
        transfers.push(chart::refund_returned(refund.id, accepted, provider, refund.amount)?);
    }
    let lowered = session_store::lowered_by(tx, refund.id).await?;
    let change = dues.keep(refund.amount, lowered)?;
    session_store::save(tx, &[dues]).await?;
    if let Some(change) = change {
        transfers.push(correct_fare(app, tx, dues, app.new_id(), change).await?);
    }
    ledger::store::post(app, tx, app.now(), &transfers).await?;
    Ok(())
}

fn end(
    app: &App,
    payment: &mut Payment,
    refund: &mut Refund,
    status: RefundStatus,
) -> Result<(), PaymentError> {
    payment.end_refund(refund.amount, status == RefundStatus::Succeeded)?;
    refund.status = status;
    refund.done_at = Some(app.now());
    let labels = [("provider", payment.provider.as_str()), ("outcome", status.as_str())];
    metrics::counter!("refunds_total", &labels).increment(1);
    if status == RefundStatus::Failed {
        tracing::error!(refund.id = %refund.id, "a provider refused a refund");
    }
    Ok(())
}
