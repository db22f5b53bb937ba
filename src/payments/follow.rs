//! Following a payment until its end is known: the provider is asked when it does not call.
//!
//! IPNs only make it faster. Every payment is looked at after 2, 5 and 10 minutes, at its
//! deadline, and then at doubling intervals, because money may come late; after three days the
//! provider's settlement file is what remains.

use jiff::Timestamp;

use super::message_store::{self, MessageKind, MessageVerdict, NewMessage};
use super::providers::CallError;
use super::service::{FollowPayment, PaymentError, Payments, after};
use super::settle::Word;
use super::vnpay::answer::BadAnswer;
use super::{Payment, PaymentStatus, QueryAnswer, Question, store};
use crate::in_tx;
use crate::kernel::ids::{MessageId, PaymentId};
use crate::on_conn;
use crate::platform::db::DbError;
use crate::platform::idempotency;

/// How long a payment without an end is asked about.
const FOLLOW_S: i64 = 72 * 3_600;

/// A payment that failed is asked about once more this long after the pay page closed: until
/// then the customer may have tried again on it.
const AFTER_PAGE_S: i64 = 60;

/// How a run of a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// Nothing is left to do.
    Done,
    /// Look again then.
    Again(Timestamp),
}

/// One look at a payment. Safe to be run twice, at any time, by several workers.
pub async fn follow_payment(
    payments: &Payments,
    followed: &FollowPayment,
) -> Result<JobEnd, PaymentError> {
    let app = payments.app();
    let id = followed.payment_id;
    let steps = &app.config().payments.query_after_s;
    let Some(payment) = find(payments, id).await? else { return Ok(JobEnd::Done) };
    if payment.is_payable() && !payment.is_instructed {
        // Only the key is of use: the answer that its owner gets is kept under it.
        let (actor, key) = (followed.actor.clone(), followed.key.clone());
        let request = idempotency::Request::new(actor, key, "", &serde_json::Value::Null);
        payments.instruct(payment.clone(), &request).await?;
    }
    let now = app.now();
    let first = after(payment.created_at, steps.first().copied().unwrap_or(0));
    if payment.is_payable() && now < first.min(payment.expires_at) {
        return Ok(JobEnd::Again(first.min(payment.expires_at)));
    }
    if !payment.status.has_collected() {
        ask(payments, &payment).await?;
    }
    let expired: Result<Option<Payment>, PaymentError> =
        in_tx!(app.db(), "payments.expire", |tx| {
            let payment = store::lock(tx, id).await?;
            expire_if_over(tx, payment, app.now()).await
        });
    Ok(match expired? {
        None => JobEnd::Done,
        Some(payment) => next_look(&payment, steps, app.now()).map_or(JobEnd::Done, JobEnd::Again),
    })
}

async fn find(payments: &Payments, id: PaymentId) -> Result<Option<Payment>, PaymentError> {
    let found: Result<Option<Payment>, DbError> =
        on_conn!(payments.app().db(), |conn| store::find(conn, id).await);
    Ok(found?)
}

/// Gives up a payment whose deadline has passed. Money that the provider holds is not given up.
async fn expire_if_over(
    tx: &mut sqlx::postgres::PgConnection,
    payment: Option<Payment>,
    now: Timestamp,
) -> Result<Option<Payment>, PaymentError> {
    let Some(mut payment) = payment else { return Ok(None) };
    if payment.is_payable() && !payment.is_held && payment.expires_at <= now {
        payment.status = PaymentStatus::Expired;
        store::save(tx, &[&payment]).await?;
        let labels = [("provider", payment.provider.as_str()), ("outcome", "expired")];
        metrics::counter!("payments_total", &labels).increment(1);
    }
    Ok(Some(payment))
}

/// When to look next; `None` when there is nothing more to learn.
fn next_look(payment: &Payment, steps: &[i64], now: Timestamp) -> Option<Timestamp> {
    let over = after(payment.expires_at, AFTER_PAGE_S) <= now;
    match payment.status {
        PaymentStatus::Succeeded
        | PaymentStatus::RefundPending
        | PaymentStatus::PartiallyRefunded
        | PaymentStatus::Refunded => return None,
        PaymentStatus::Failed | PaymentStatus::Cancelled if over => return None,
        PaymentStatus::Pending
        | PaymentStatus::Failed
        | PaymentStatus::Cancelled
        | PaymentStatus::Expired => {}
    }
    let age = now.duration_since(payment.created_at).as_secs();
    if age >= FOLLOW_S && payment.status != PaymentStatus::Pending {
        return None;
    }
    let mut step = steps
        .iter()
        .copied()
        .find(|step| *step > age)
        .unwrap_or_else(|| steps.last().copied().unwrap_or(60).max(1));
    while step <= age {
        step = step.saturating_mul(2);
    }
    let next = after(payment.created_at, step);
    let deadline = match payment.status {
        PaymentStatus::Pending => payment.expires_at,
        PaymentStatus::Failed
        | PaymentStatus::Cancelled
        | PaymentStatus::Expired
        | PaymentStatus::Succeeded
        | PaymentStatus::RefundPending
        | PaymentStatus::PartiallyRefunded
        | PaymentStatus::Refunded => after(payment.expires_at, AFTER_PAGE_S),
    };
    Some(if deadline > now { next.min(deadline) } else { next })
}

/// Asks the provider and applies what it says. No answer changes nothing: it is asked again.
async fn ask(payments: &Payments, payment: &Payment) -> Result<(), PaymentError> {
    let (message, answer) = match question(payments, payment).await {
        Ok(asked) => asked,
        Err(PaymentError::Gateway(error)) => {
            let cause = error.map(|error| error.to_string());
            tracing::warn!(payment.id = %payment.id, cause, "the provider did not answer");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let verdict = match answer {
        Ok(QueryAnswer::Payment(said)) => {
            let word = Word { message, provider: payment.provider, read: Ok(said) };
            payments.settle(word).await?;
            return Ok(());
        }
        Ok(QueryAnswer::Refund { .. }) => "refund_shown",
        Ok(QueryAnswer::NotFound) => "not_found",
        Ok(QueryAnswer::NoAnswer(_)) => "no_answer",
        Err(bad) => bad_answer(&bad),
    };
    judge(payments, message, verdict, Some(payment.id)).await
}

/// Asks the provider about a payment, keeps the answer, reads it.
pub(super) async fn question(
    payments: &Payments,
    payment: &Payment,
) -> Result<(MessageId, Result<QueryAnswer, BadAnswer>), PaymentError> {
    let app = payments.app();
    let adapter = payments.providers().adapter(payment.provider);
    let request_id = app.new_id::<uuid::Uuid>().simple().to_string();
    let question = Question {
        request_id: &request_id,
        merchant_ref: &payment.merchant_ref,
        ordered_at: payment.created_at,
        now: app.now(),
    };
    let bytes = adapter
        .query(app.outbound(), &question)
        .await
        .map_err(|error| PaymentError::Gateway(Some(error)))?;
    let message = keep_answer(payments, payment, MessageKind::Query, &bytes).await?;
    Ok((message, adapter.read_query_answer(&payment.merchant_ref, &bytes)))
}

/// Keeps an answer as it came.
pub(super) async fn keep_answer(
    payments: &Payments,
    payment: &Payment,
    kind: MessageKind,
    bytes: &[u8],
) -> Result<MessageId, PaymentError> {
    let app = payments.app();
    let id = app.new_id();
    let message = NewMessage {
        id,
        provider: payment.provider,
        kind,
        received_at: app.now(),
        remote_addr: None,
        // Postgres takes no U+0000; such an answer is unreadable anyway.
        body: String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}"),
        payment_id: Some(payment.id),
    };
    payments.keep(message).await?;
    Ok(id)
}

/// Notes what an answer turned out to be.
pub(super) async fn judge(
    payments: &Payments,
    id: MessageId,
    verdict: &'static str,
    payment: Option<PaymentId>,
) -> Result<(), PaymentError> {
    let app = payments.app();
    let verdicts = [MessageVerdict { id, verdict, payment_id: payment }];
    let judged: Result<(), DbError> =
        on_conn!(app.db(), |conn| message_store::judge(conn, &verdicts, app.now()).await);
    Ok(judged?)
}

/// An unusable answer in a word.
pub(super) fn bad_answer(bad: &BadAnswer) -> &'static str {
    match bad {
        BadAnswer::Unreadable(_) => "unreadable",
        BadAnswer::BadSignature => "unsigned_answer",
        BadAnswer::OtherRequest => "other_request",
    }
}

/// Whether a call certainly did not reach the provider.
pub(super) fn was_not_sent(error: &CallError) -> bool {
    use crate::platform::outbound::OutboundError;
    match error {
        CallError::NoAnswer(OutboundError::BreakerOpen | OutboundError::NotSent(_))
        | CallError::Amount(_) => true,
        CallError::NoAnswer(OutboundError::Unknown(_)) | CallError::Status(_) => false,
    }
}
