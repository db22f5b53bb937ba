//! Money going back: written down first, then sent, then followed until it is known.
//!
//! A refund never goes out twice: its request id is the same in every try, and after a try
//! without an answer the provider is asked before the request is repeated. The refunds of a
//! payment go out one after the other, because a provider that is asked shows only the newest.

use jiff::Timestamp;
use sqlx::postgres::PgConnection;

use super::follow::{self, JobEnd};
use super::message_store::MessageKind;
use super::refund_books::{self, Applied};
use super::service::{PaymentError, Payments, after};
use super::{
    Payment, QueryAnswer, Refund, RefundNews, RefundOrder, RefundOutcome, RefundStatus,
    refund_store, session_store, store, view,
};
use crate::in_tx;
use crate::kernel::ids::{PaymentId, RefundId, StaffId};
use crate::kernel::money::Vnd;
use crate::platform::App;
use crate::platform::idempotency::{self, Answer, Known};
use crate::platform::jobs::{self, NewJob};

/// The job that sends a refund and follows it.
pub const SEND_REFUND: &str = "send_refund";

/// Seconds until a refund that waits for another one looks again.
const TURN_S: i64 = 3;

/// Seconds between two looks at an accepted refund: at least, at most.
const LOOK_S: (i64, i64) = (2, 3_600);

/// Finance's wish to give money back.
#[derive(Clone, Debug)]
pub struct NewRefund {
    /// Of which payment.
    pub payment: PaymentId,
    /// How much; all that is left when `None`.
    pub amount: Option<Vnd>,
    /// Why, for the books.
    pub reason: String,
    /// Who asks.
    pub requested_by: StaffId,
}

impl Payments {
    /// Writes a refund down. The payment's row is locked, so that no two wishes together exceed
    /// it; the database checks the same once more.
    pub async fn request_refund(
        &self,
        request: &idempotency::Request,
        wish: &NewRefund,
    ) -> Result<Answer, PaymentError> {
        let app = self.app();
        in_tx!(app.db(), "payments.request_refund", |tx| {
            write_refund(app, tx, request, wish).await
        })
    }
}

async fn write_refund(
    app: &App,
    tx: &mut PgConnection,
    request: &idempotency::Request,
    wish: &NewRefund,
) -> Result<Answer, PaymentError> {
    match idempotency::claim(tx, request, app.now()).await? {
        Known::Fresh => {}
        Known::Reused => return Err(PaymentError::KeyReused),
        Known::Answered(answer) => return Ok(answer),
    }
    // Locks in the written order: session, payment, refund.
    let found = store::find(tx, wish.payment).await?.ok_or(PaymentError::NotFound)?;
    let dues = session_store::lock(tx, &[found.parking_session_id]).await?.pop();
    let mut payment = store::lock(tx, wish.payment).await?.ok_or(PaymentError::NotFound)?;
    let left = payment.refundable();
    if left == Vnd::ZERO {
        return Err(PaymentError::NotRefundable);
    }
    let amount = wish.amount.unwrap_or(left);
    if amount > left {
        return Err(PaymentError::RefundTooMuch { left });
    }
    let mut refund = Refund::new(app.new_id(), payment.id, amount, app.now());
    refund.reason.clone_from(&wish.reason);
    refund.requested_by = Some(wish.requested_by);
    payment.begin_refund(amount)?;
    store::save(tx, &[&payment]).await?;
    refund_store::insert(tx, &refund).await?;
    let dues = dues.ok_or(PaymentError::NotFound)?;
    refund_books::begin(app, tx, dues, &refund).await?;
    jobs::enqueue(app, tx, &[send_job(refund.id, app.now())]).await?;
    let answer = view::refund_created(&refund);
    idempotency::remember(tx, request, &answer).await?;
    Ok(answer)
}

/// The job of a refund.
pub fn send_job(refund: RefundId, now: Timestamp) -> NewJob {
    NewJob::at(now, SEND_REFUND, serde_json::json!({ "refund_id": refund }))
        .once(format!("{SEND_REFUND}:{refund}"))
}

/// What a run of the job has to do.
enum Turn {
    /// It is over.
    Over,
    /// An earlier refund of the payment is not over.
    Wait,
    /// Send it for the first time.
    Send,
    /// It was sent or accepted: ask what became of it.
    Ask,
}

/// Sends a refund or asks about it. Safe to be run twice and to be cut off anywhere.
pub async fn send_refund(payments: &Payments, id: RefundId) -> Result<JobEnd, PaymentError> {
    let app = payments.app();
    let found: Result<Option<(Payment, Refund, Turn)>, PaymentError> =
        in_tx!(app.db(), "payments.begin_send", |tx| begin_turn(tx, id).await);
    let Some((payment, refund, turn)) = found? else { return Ok(JobEnd::Done) };
    let news = match turn {
        Turn::Over => return Ok(JobEnd::Done),
        Turn::Wait => return Ok(JobEnd::Again(after(app.now(), TURN_S))),
        Turn::Send => send(payments, &payment, &refund).await?,
        Turn::Ask => match ask(payments, &payment, &refund).await? {
            Some(news) => news,
            // The provider knows nothing of it: the request never arrived.
            None if refund.status == RefundStatus::Pending => {
                send(payments, &payment, &refund).await?
            }
            None => RefundNews { outcome: RefundOutcome::Unknown, provider_txn: None },
        },
    };
    let news = match news.outcome {
        // The request arrived with an earlier try. What became of it must be seen, because a
        // request that was refused was also "seen before".
        RefundOutcome::AlreadyRequested => {
            ask(payments, &payment, &refund).await?.ok_or(PaymentError::Gateway(None))?
        }
        RefundOutcome::Accepted
        | RefundOutcome::Done
        | RefundOutcome::Refused
        | RefundOutcome::Unknown => news,
    };
    let applied: Result<Applied, PaymentError> =
        in_tx!(app.db(), "payments.refund", |tx| refund_books::apply(app, tx, id, &news).await);
    match applied? {
        Applied::Open(refund) => next_look(&refund, app.now()),
        Applied::Over => Ok(JobEnd::Done),
    }
}

/// Locks the payment and takes the refund's turn. A first try is counted as unanswered before it
/// goes out: after a crash we ask before we repeat.
async fn begin_turn(
    tx: &mut PgConnection,
    id: RefundId,
) -> Result<Option<(Payment, Refund, Turn)>, PaymentError> {
    let Some(refund) = refund_store::find(tx, id).await? else { return Ok(None) };
    let payment = store::lock(tx, refund.payment_id).await?.ok_or(PaymentError::NotFound)?;
    // Again, now that nobody else can change it.
    let Some(mut refund) = refund_store::find(tx, id).await? else { return Ok(None) };
    let turn = match refund.status {
        RefundStatus::Succeeded | RefundStatus::Failed => Turn::Over,
        RefundStatus::Accepted => Turn::Ask,
        RefundStatus::Pending if refund.unanswered > 0 => Turn::Ask,
        RefundStatus::Pending if refund_store::waits_for_another(tx, &refund).await? => Turn::Wait,
        RefundStatus::Pending => {
            refund.unanswered = 1;
            refund_store::save(tx, &refund).await?;
            Turn::Send
        }
    };
    Ok(Some((payment, refund, turn)))
}

async fn send(
    payments: &Payments,
    payment: &Payment,
    refund: &Refund,
) -> Result<RefundNews, PaymentError> {
    let app = payments.app();
    let adapter = payments.providers().adapter(payment.provider);
    let created_by =
        refund.requested_by.map_or_else(|| "system".to_owned(), |id| id.get().simple().to_string());
    let order = RefundOrder {
        request_id: &refund.request_ref,
        merchant_ref: &payment.merchant_ref,
        amount: refund.amount,
        paid: payment.amount,
        provider_txn: payment.provider_txn.as_deref(),
        ordered_at: payment.created_at,
        created_by: &created_by,
        now: app.now(),
    };
    let bytes = match adapter.refund(app.outbound(), &order).await {
        Ok(bytes) => bytes,
        Err(error) => {
            if follow::was_not_sent(&error) {
                forget_try(app, payment.id, refund.id).await?;
            }
            return Err(PaymentError::Gateway(Some(error)));
        }
    };
    let message = follow::keep_answer(payments, payment, MessageKind::Refund, &bytes).await?;
    let (news, verdict) = match adapter.read_refund_answer(&payment.merchant_ref, &bytes) {
        Ok(news) => {
            let verdict = news.outcome.into();
            (Some(news), verdict)
        }
        Err(bad) => (None, follow::bad_answer(&bad)),
    };
    follow::judge(payments, message, verdict, Some(payment.id)).await?;
    news.ok_or(PaymentError::Gateway(None))
}

/// The try did not leave the house: the next one may go out without asking first.
async fn forget_try(app: &App, payment: PaymentId, id: RefundId) -> Result<(), PaymentError> {
    in_tx!(app.db(), "payments.forget_try", |tx| {
        store::lock(tx, payment).await?;
        if let Some(mut refund) = refund_store::find(tx, id).await?
            && refund.status == RefundStatus::Pending
        {
            refund.unanswered = 0;
            refund_store::save(tx, &refund).await?;
        }
        Ok::<(), PaymentError>(())
    })
}

/// What the provider knows of the refund; `None` when it says that it has no such refund.
async fn ask(
    payments: &Payments,
    payment: &Payment,
    refund: &Refund,
) -> Result<Option<RefundNews>, PaymentError> {
    let (message, answer) = follow::question(payments, payment).await?;
    let (news, verdict) = match answer {
        Ok(QueryAnswer::Refund { news, amount }) => {
            if is_ours(payments, refund, &news, amount).await? {
                (Ok(Some(news)), "refund_shown")
            } else {
                (Ok(None), "other_refund_shown")
            }
        }
        // The payment itself is shown: nothing was given back yet.
        Ok(QueryAnswer::Payment(_)) => (Ok(None), "no_refund"),
        Ok(QueryAnswer::NotFound) => (Err(PaymentError::Gateway(None)), "not_found"),
        Ok(QueryAnswer::NoAnswer(_)) => (Err(PaymentError::Gateway(None)), "no_answer"),
        Err(bad) => (Err(PaymentError::Gateway(None)), follow::bad_answer(&bad)),
    };
    follow::judge(payments, message, verdict, Some(payment.id)).await?;
    news
}

/// Whether the refund that the provider shows is this one: by its number once we know it, by
/// amount while we do not, and never one that is known as another.
async fn is_ours(
    payments: &Payments,
    refund: &Refund,
    news: &RefundNews,
    amount: Option<Vnd>,
) -> Result<bool, PaymentError> {
    let Some(shown) = &news.provider_txn else { return Ok(amount == Some(refund.amount)) };
    if let Some(known) = &refund.provider_ref {
        return Ok(known == shown);
    }
    let another: Result<bool, PaymentError> = crate::on_conn!(payments.app().db(), |conn| {
        refund_store::is_another(conn, refund, shown).await.map_err(PaymentError::Db)
    });
    Ok(!another? && amount == Some(refund.amount))
}

/// An accepted refund is looked at soon and then ever less often; one that is still unknown is
/// left to the job's own backoff, which ends in an alert.
fn next_look(refund: &Refund, now: Timestamp) -> Result<JobEnd, PaymentError> {
    let Some(accepted_at) = refund.accepted_at else { return Err(PaymentError::Gateway(None)) };
    let age = now.duration_since(accepted_at).as_secs();
    Ok(JobEnd::Again(after(now, age.clamp(LOOK_S.0, LOOK_S.1))))
}
