//! The work of the group writers: many callers, one transaction.
//!
//! Measured on prototypes: settlements that share commits reach three times the rate of one
//! function call per settlement.

use std::collections::BTreeSet;

use sqlx::postgres::PgConnection;

use super::message_store::{self, NewMessage};
use super::refunds;
use super::service::PaymentError;
use super::settle::{Locked, Verdict, Word};
use super::{refund_store, session_store, store};
use crate::in_tx;
use crate::ledger;
use crate::on_conn;
use crate::platform::App;
use crate::platform::db::{DbError, db_error_in};
use crate::platform::jobs;

/// A group's work was not done. The cause is in the log, once for the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSettled {
    /// The database could not; trying again helps.
    #[error("not available at the moment")]
    Unavailable,
    /// A defect of ours.
    #[error("a fault of ours")]
    Fault,
}

/// Stores messages in one statement. True for each that is kept.
pub async fn keep_messages(app: App, messages: Vec<NewMessage>) -> Vec<bool> {
    let kept: Result<(), DbError> =
        on_conn!(app.db(), |conn| message_store::add(conn, &messages).await);
    if let Err(error) = &kept {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::error!(%error, cause, messages = messages.len(), "messages were not kept");
    }
    vec![kept.is_ok(); messages.len()]
}

/// Applies words in one transaction; one by one if the group meets a fault, so that a word that
/// cannot be applied costs only itself.
pub async fn settle_words(app: App, words: Vec<Word>) -> Vec<Result<Verdict, NotSettled>> {
    match settle_together(&app, &words).await {
        Ok(verdicts) => verdicts.into_iter().map(Ok).collect(),
        Err(NotSettled::Unavailable) => vec![Err(NotSettled::Unavailable); words.len()],
        Err(NotSettled::Fault) if words.len() == 1 => vec![Err(NotSettled::Fault)],
        Err(NotSettled::Fault) => {
            let mut outcomes = Vec::with_capacity(words.len());
            for word in &words {
                let alone = settle_together(&app, std::slice::from_ref(word)).await;
                outcomes.push(
                    alone.and_then(|verdicts| verdicts.first().copied().ok_or(NotSettled::Fault)),
                );
            }
            outcomes
        }
    }
}

async fn settle_together(app: &App, words: &[Word]) -> Result<Vec<Verdict>, NotSettled> {
    let settled: Result<Vec<Verdict>, PaymentError> =
        in_tx!(app.db(), "payments.settle", |tx| settle_in(app, tx, words).await);
    match settled {
        Ok(verdicts) => {
            for (word, verdict) in words.iter().zip(&verdicts) {
                let labels = [("provider", word.provider.as_str()), ("outcome", verdict.as_str())];
                metrics::counter!("payments_total", &labels).increment(1);
            }
            Ok(verdicts)
        }
        Err(error) => {
            let passing = db_error_in(&error).is_some_and(DbError::is_passing);
            let causes = std::iter::successors(std::error::Error::source(&error), |e| e.source());
            let chain = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
            tracing::error!(error = %chain, words = words.len(), "settlement failed");
            Err(if passing { NotSettled::Unavailable } else { NotSettled::Fault })
        }
    }
}

/// Locks in the written order (sessions, then payments), decides in memory, writes each table
/// with one statement.
async fn settle_in(
    app: &App,
    tx: &mut PgConnection,
    words: &[Word],
) -> Result<Vec<Verdict>, PaymentError> {
    let names = words.iter().filter_map(|word| word.read.as_ref().ok());
    let refs: BTreeSet<String> = names.map(|said| said.merchant_ref.to_string()).collect();
    let refs: Vec<String> = refs.into_iter().collect();
    let mut locked = if refs.is_empty() {
        Locked::new(Vec::new(), Vec::new())
    } else {
        let ids = store::sessions_of_refs(tx, &refs).await?;
        let sessions = session_store::lock(tx, &ids).await?;
        let payments = store::lock_by_refs(tx, &refs).await?;
        Locked::new(payments, sessions)
    };
    let now = app.now();
    let effects = locked.apply(words, now, || app.new_id())?;
    store::save(tx, &locked.changed_payments(&effects)).await?;
    session_store::save(tx, &locked.changed_sessions(&effects)).await?;
    ledger::store::post(app, tx, now, &effects.transfers).await?;
    let mut follow_ups = Vec::with_capacity(effects.refunds.len());
    for refund in &effects.refunds {
        refund_store::insert(tx, refund).await?;
        follow_ups.push(refunds::send_job(refund.id, now));
    }
    jobs::enqueue(app, tx, &follow_ups).await?;
    message_store::judge(tx, &effects.messages, now).await?;
    Ok(effects.verdicts)
}
