//! The background work of payments: which function does which kind of job.

use serde::Deserialize;

use super::follow::{self, JobEnd};
use super::message_store::{self, MessageKind, UnjudgedMessage};
use super::refunds::{self, SEND_REFUND};
use super::service::{FOLLOW_PAYMENT, FollowPayment, PaymentError, Payments, after};
use super::settle::Word;
use super::surplus;
use crate::kernel::ids::RefundId;
use crate::on_conn;
use crate::platform::db::DbError;

/// Judges messages that were kept but, because we were stopped, not judged.
pub const JUDGE_MESSAGES: &str = "judge_messages";

/// Removes old messages that were not a provider's.
pub const PURGE_MESSAGES: &str = "purge_messages";

/// Sends back what was paid beyond a fare that fell afterwards, by a correction.
pub const REFUND_SURPLUS: &str = "refund_surplus";

/// Seconds between two runs of [`REFUND_SURPLUS`].
const SURPLUS_EVERY_S: i64 = 30;

/// Seconds between two runs of [`JUDGE_MESSAGES`].
const JUDGE_EVERY_S: i64 = 20;

/// Seconds between two runs of [`PURGE_MESSAGES`].
const PURGE_EVERY_S: i64 = 3_600;

/// Work that comes back by itself: kind and seconds between runs.
pub const SCHEDULES: &[(&str, i64)] = &[
    (JUDGE_MESSAGES, JUDGE_EVERY_S),
    (PURGE_MESSAGES, PURGE_EVERY_S),
    (REFUND_SURPLUS, SURPLUS_EVERY_S),
];

/// A message older than this that nobody judged was left behind; younger ones are being worked
/// on. No group waits so long.
const LEFT_BEHIND_S: i64 = 20;

/// Forged messages are kept for a week, to see where they came from.
const FORGED_KEPT_S: i64 = 7 * 86_400;

/// Messages judged by one run.
const JUDGED_MAX: i64 = 500;

/// Messages removed by one run: more than the rate limit lets in within an hour would take
/// several runs, which is soon enough.
const PURGED_MAX: i64 = 20_000;

#[derive(Deserialize)]
struct SendRefund {
    refund_id: RefundId,
}

/// Why a job of payments failed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The work failed; it is tried again.
    #[error("the work failed")]
    Work(#[from] PaymentError),
    /// The job's row does not hold what it should.
    #[error("the job's payload is not readable")]
    Payload(#[from] serde_json::Error),
}

/// Does a job if its kind is one of payments'; `None` if it is not.
pub async fn run(
    payments: &Payments,
    kind: &str,
    payload: &serde_json::Value,
) -> Option<Result<JobEnd, JobError>> {
    match kind {
        FOLLOW_PAYMENT => Some(follow_payment(payments, payload).await),
        SEND_REFUND => Some(send_refund(payments, payload).await),
        JUDGE_MESSAGES => Some(judge_messages(payments).await.map_err(JobError::Work)),
        REFUND_SURPLUS => Some(refund_surplus(payments).await.map_err(JobError::Work)),
        PURGE_MESSAGES => Some(purge_messages(payments).await.map_err(JobError::Work)),
        _ => None,
    }
}

async fn follow_payment(
    payments: &Payments,
    payload: &serde_json::Value,
) -> Result<JobEnd, JobError> {
    let followed = FollowPayment::deserialize(payload)?;
    Ok(follow::follow_payment(payments, &followed).await?)
}

async fn send_refund(payments: &Payments, payload: &serde_json::Value) -> Result<JobEnd, JobError> {
    let SendRefund { refund_id } = SendRefund::deserialize(payload)?;
    Ok(refunds::send_refund(payments, refund_id).await?)
}

async fn judge_messages(payments: &Payments) -> Result<JobEnd, PaymentError> {
    let app = payments.app();
    let before = after(app.now(), -LEFT_BEHIND_S);
    let left: Result<Vec<UnjudgedMessage>, DbError> =
        on_conn!(app.db(), |conn| message_store::unjudged(conn, before, JUDGED_MAX).await);
    for message in left? {
        metrics::counter!("provider_messages_left_behind_total").increment(1);
        match message.kind {
            MessageKind::Ipn => {
                let read =
                    payments.providers().adapter(message.provider).read_callback(&message.body);
                let word = Word { message: message.id, provider: message.provider, read };
                payments.settle(word).await?;
            }
            // Whoever asked was stopped and asks again.
            MessageKind::Query | MessageKind::Refund => {
                follow::judge(payments, message.id, "superseded", None).await?;
            }
        }
    }
    Ok(JobEnd::Again(after(app.now(), JUDGE_EVERY_S)))
}

async fn refund_surplus(payments: &Payments) -> Result<JobEnd, PaymentError> {
    surplus::send_back(payments).await?;
    Ok(JobEnd::Again(after(payments.app().now(), SURPLUS_EVERY_S)))
}

async fn purge_messages(payments: &Payments) -> Result<JobEnd, PaymentError> {
    let app = payments.app();
    let before = after(app.now(), -FORGED_KEPT_S);
    let purged: Result<u64, DbError> =
        on_conn!(app.db(), |conn| message_store::purge_unsigned(conn, before, PURGED_MAX).await);
    purged?;
    Ok(JobEnd::Again(after(app.now(), PURGE_EVERY_S)))
}
