//! Making a payment and applying what providers say about it.
//!
//! Creation has three phases, so that no call to a provider happens in a transaction: A writes
//! the payment, B makes the instructions, C keeps them. A crash in between is continued by the
//! client's retry with the same key or by the job `follow_payment`.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;

use super::dues::Dues;
use super::message_store::NewMessage;
use super::providers::{AmountRefused, CallError, Providers};
use super::settle::{Verdict, Word};
use super::vnpay::BadTerminal;
use super::{
    ChargeInstructions, MerchantRef, Payment, PaymentStatus, ProviderKind, groups, session_store,
    store, view,
};
use crate::in_tx;
use crate::kernel::ids::{DriverId, ParkingSessionId, PaymentId};
use crate::kernel::money::{OutOfRange, Vnd};
use crate::ledger::chart::PostingError;
use crate::platform::App;
use crate::platform::db::DbError;
use crate::platform::groups::{GroupError, GroupLimits, GroupWriter};
use crate::platform::idempotency::{self, Answer, Known};
use crate::platform::jobs::{self, NewJob};

/// The job that follows a payment until its end is known.
pub const FOLLOW_PAYMENT: &str = "follow_payment";

/// What [`FOLLOW_PAYMENT`] is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FollowPayment {
    /// The payment.
    pub payment_id: PaymentId,
    /// Who created it, and with which key: a creation that was cut off is finished for them.
    pub actor: String,
    /// The `Idempotency-Key`.
    pub key: String,
}

/// Seconds after which a creation that was cut off is continued.
const RESUME_S: i64 = 60;

/// Settlements that share a transaction. Two writers keep Postgres busy while one commits; more
/// only take turns on the processors. The queue holds some seconds of work.
const SETTLE: GroupLimits = GroupLimits { writers: 2, group_max: 64, queue_max: 4_096 };

/// Messages that share a statement.
const KEEP: GroupLimits = GroupLimits { writers: 2, group_max: 64, queue_max: 4_096 };

/// Everything that payments need. Cheap to clone.
#[derive(Clone)]
pub struct Payments {
    app: App,
    providers: Arc<Providers>,
    keep: GroupWriter<NewMessage, bool>,
    settle: GroupWriter<Word, Result<Verdict, groups::NotSettled>>,
}

/// Why something with payments did not happen.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// Absent, or not the caller's.
    #[error("there is no such payment, refund or session")]
    NotFound,
    /// The session owes nothing (yet).
    #[error("nothing is owed")]
    NothingToPay,
    /// The session has a live payment.
    #[error("another payment is under way")]
    InProgress,
    /// The provider does not take so much.
    #[error("the amount cannot be charged")]
    Amount(#[source] AmountRefused),
    /// The payment has nothing to give back.
    #[error("nothing can go back")]
    NotRefundable,
    /// More than is left.
    #[error("only {left} can go back")]
    RefundTooMuch {
        /// What is left.
        left: Vnd,
    },
    /// The key was used for another request.
    #[error("the idempotency key belongs to another request")]
    KeyReused,
    /// The provider gave no answer that we understand; what it did is unknown.
    #[error("the provider gave no usable answer")]
    Gateway(#[source] Option<CallError>),
    /// The database.
    #[error("the database failed")]
    Db(#[from] DbError),
    /// A posting cannot be made: a defect of ours.
    #[error("a posting cannot be made")]
    Posting(#[from] PostingError),
    /// An amount left its range: a defect of ours.
    #[error("an amount left its range")]
    Range(#[from] OutOfRange),
    /// The group writer did not take or answer it.
    #[error("the group writer failed")]
    Group(#[from] GroupError),
    /// The group's transaction failed, or the work panicked; the log has the cause.
    #[error("the work was not done")]
    NotDone(#[from] groups::NotSettled),
}

/// A driver's wish to pay.
#[derive(Clone, Debug)]
pub struct NewPayment {
    /// Who pays.
    pub driver: DriverId,
    /// For which stay.
    pub session: ParkingSessionId,
    /// Through whom.
    pub provider: ProviderKind,
    /// Where the browser goes afterwards.
    pub return_url: String,
    /// From which address.
    pub payer_ip: IpAddr,
}

/// How far a creation got.
enum Created {
    /// Written (now or by an earlier try); instructions are still to be made.
    Written(Box<Payment>),
    /// Finished by an earlier try.
    Answered(Answer),
}

impl Payments {
    /// Prepares the providers and starts the group writers. Call it once per process.
    pub fn start(app: &App) -> Result<Payments, BadTerminal> {
        let providers = Arc::new(Providers::new(app.config())?);
        let keeper = app.clone();
        let keep = GroupWriter::start(app, KEEP, move |messages| {
            groups::keep_messages(keeper.clone(), messages)
        });
        let settler = app.clone();
        let settle = GroupWriter::start(app, SETTLE, move |words| {
            groups::settle_words(settler.clone(), words)
        });
        Ok(Payments { app: app.clone(), providers, keep, settle })
    }

    /// The running product.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The gateways.
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// Stores a message as received, before anything in it is believed.
    pub async fn keep(&self, message: NewMessage) -> Result<(), PaymentError> {
        if self.keep.submit(message).await? {
            Ok(())
        } else {
            Err(groups::NotSettled::Unavailable.into())
        }
    }

    /// Applies a provider's word, together with all others that wait.
    pub async fn settle(&self, word: Word) -> Result<Verdict, PaymentError> {
        Ok(self.settle.submit(word).await??)
    }

    /// Creates a payment for what the session owes; the same request again gets the same answer.
    pub async fn create(
        &self,
        request: &idempotency::Request,
        wish: &NewPayment,
    ) -> Result<Answer, PaymentError> {
        let created: Result<Created, PaymentError> =
            in_tx!(self.app.db(), "payments.create", |tx| {
                write_payment(self, tx, request, wish).await
            });
        match created? {
            Created::Answered(answer) => Ok(answer),
            Created::Written(payment) => self.instruct(*payment, request).await,
        }
    }

    /// Phases B and C: how the driver pays, kept with the answer to the request.
    pub async fn instruct(
        &self,
        mut payment: Payment,
        request: &idempotency::Request,
    ) -> Result<Answer, PaymentError> {
        let adapter = self.providers.adapter(payment.provider);
        let instructions = adapter.charge(&payment.charge()).map_err(PaymentError::Amount)?;
        let ChargeInstructions::Redirect { url } = instructions;
        payment.redirect_url = Some(url.clone());
        payment.is_instructed = true;
        let answer = view::created(&payment);
        let kept: Result<(), PaymentError> = in_tx!(self.app.db(), "payments.instruct", |tx| {
            keep_instructions(tx, &payment, &url, request, &answer).await
        });
        kept?;
        Ok(answer)
    }
}

async fn keep_instructions(
    tx: &mut PgConnection,
    payment: &Payment,
    url: &str,
    request: &idempotency::Request,
    answer: &Answer,
) -> Result<(), PaymentError> {
    idempotency::remember(tx, request, answer).await?;
    store::set_instructions(tx, payment.id, url).await?;
    Ok(())
}

/// Phase A. Until phase C, the key's answer is the payment's id with status 0.
async fn write_payment(
    payments: &Payments,
    tx: &mut PgConnection,
    request: &idempotency::Request,
    wish: &NewPayment,
) -> Result<Created, PaymentError> {
    let app = &payments.app;
    match idempotency::claim(tx, request, app.now()).await? {
        Known::Fresh => {}
        Known::Reused => return Err(PaymentError::KeyReused),
        Known::Answered(Answer { status: 0, body }) => {
            let id: PaymentId = body.parse().map_err(|_no_id| PaymentError::NotFound)?;
            let payment = store::find(tx, id).await?.ok_or(PaymentError::NotFound)?;
            return Ok(Created::Written(Box::new(payment)));
        }
        Known::Answered(answer) => return Ok(Created::Answered(answer)),
    }
    let dues = session_store::lock(tx, &[wish.session]).await?.pop();
    let dues = dues.filter(|dues| dues.driver == Some(wish.driver));
    let payment = new_payment(app, &dues.ok_or(PaymentError::NotFound)?, wish)?;
    payments
        .providers
        .adapter(payment.provider)
        .check(payment.amount)
        .map_err(PaymentError::Amount)?;
    store::insert(tx, &payment).await.map_err(|error| match error.constraint() {
        Some("payments_one_pending") => PaymentError::InProgress,
        _ => PaymentError::Db(error),
    })?;
    let first_look = app.config().payments.query_after_s.first().map_or(RESUME_S, |first| *first);
    let run_at = after(payment.created_at, first_look.min(RESUME_S));
    let payload = FollowPayment {
        payment_id: payment.id,
        actor: request.actor.clone(),
        key: request.key.clone(),
    };
    let follow = NewJob::at(run_at, FOLLOW_PAYMENT, payload)
        .once(format!("{FOLLOW_PAYMENT}:{}", payment.id));
    jobs::enqueue(app, tx, &[follow]).await?;
    let unfinished = Answer { status: 0, body: payment.id.to_string() };
    idempotency::remember(tx, request, &unfinished).await?;
    Ok(Created::Written(Box::new(payment)))
}

fn new_payment(app: &App, dues: &Dues, wish: &NewPayment) -> Result<Payment, PaymentError> {
    let due = dues.due();
    if due == Vnd::ZERO || dues.is_off {
        return Err(PaymentError::NothingToPay);
    }
    let id: PaymentId = app.new_id();
    // The provider is asked with the second that it was told. Postgres keeps microseconds and
    // rounds, which could lift a time into the next second.
    let whole = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Trunc);
    let now = app.now().round(whole).unwrap_or_else(|_| app.now());
    Ok(Payment {
        id,
        parking_session_id: wish.session,
        driver_id: Some(wish.driver),
        provider: wish.provider,
        merchant_ref: MerchantRef::of(id),
        amount: due,
        status: PaymentStatus::Pending,
        is_instructed: false,
        return_url: wish.return_url.clone(),
        payer_ip: wish.payer_ip,
        redirect_url: None,
        created_at: now,
        expires_at: after(now, app.config().payments.expire_s),
        settled_at: None,
        failure: None,
        provider_txn: None,
        provider_paid_at: None,
        is_late: false,
        is_held: false,
        refunding: Vnd::ZERO,
        refunded: Vnd::ZERO,
    })
}

/// `seconds` after `at`.
pub(super) fn after(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(at)
}
