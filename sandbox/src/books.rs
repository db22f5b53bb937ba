//! The gateway's books: orders, what became of them, refunds. Kept in memory, rebuilt from the
//! journal at start, and never read from (or shared with) the product's database.
//!
//! Rules: an order's reference is unique per provider and Hanoi day; money taken is final (an
//! order that failed or was cancelled may be tried again, a held one may be released or given
//! back); refunds never exceed the capture; a refund's request id is used once a day.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::accounts::{Account, Accounts, Order, Refund};
use crate::clock;
use crate::journal::{Event, Journal};
use crate::provider::{OrderState, Outcome, Provider};

/// Why a change to the books was refused.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// The reference was used today for an order with other fields.
    #[error("this reference was used today for another order")]
    DuplicateRef,
    /// The order is paid or held.
    #[error("this order is {}", .0.as_str())]
    Settled(OrderState),
    /// There is no such order.
    #[error("there is no such order")]
    Unknown,
    /// The money for a refund is not there.
    #[error("the order was not paid")]
    NotPaid,
    /// Everything was refunded already.
    #[error("the order was refunded in full already")]
    NothingLeft,
    /// More than what is left.
    #[error("only {left_vnd} VND can still be refunded")]
    TooMuch {
        /// What is left.
        left_vnd: i64,
    },
    /// The journal is gone.
    #[error("the books cannot be written")]
    Journal(#[source] anyhow::Error),
}

/// A refund as the merchant asks for it.
#[derive(Debug)]
pub struct RefundRequest<'a> {
    /// The order's id.
    pub order_id: &'a str,
    /// The merchant's id of the request.
    pub request_id: &'a str,
    /// How much.
    pub amount_vnd: i64,
    /// Asked for as a full refund.
    pub full: bool,
    /// The merchant's text.
    pub note: &'a str,
    /// When the bank will have it.
    pub done_at: Timestamp,
    /// The bank will refuse it.
    pub refused: bool,
}

#[derive(Debug)]
struct Inner {
    accounts: Accounts,
    journal: Journal,
    /// Request ids seen on `requests_day`; refunds' come back from the journal at start.
    requests: HashSet<(Provider, String)>,
    requests_day: String,
}

impl Inner {
    fn record(&mut self, event: &Event) -> Result<(), BooksError> {
        self.journal.append(event).map_err(BooksError::Journal)?;
        self.accounts.apply(event);
        Ok(())
    }

    fn account(&self, order_id: &str) -> Result<Account, BooksError> {
        self.accounts.by_id.get(order_id).cloned().ok_or(BooksError::Unknown)
    }
}

/// The books of all providers.
#[derive(Debug)]
pub struct Books(Mutex<Inner>);

impl Books {
    /// Rebuilds the books from what the journal held.
    pub fn new(journal: Journal, events: &[Event], now: Timestamp) -> Self {
        let mut accounts = Accounts::default();
        for event in events {
            accounts.apply(event);
        }
        let requests_day = clock::day(now);
        let today = |event: &Event| match event {
            Event::Refunded { refund } if clock::day(refund.at) == requests_day => {
                let account = accounts.by_id.get(&refund.order_id)?;
                Some((account.order.provider, refund.request_id.clone()))
            }
            Event::Refunded { .. }
            | Event::Opened { .. }
            | Event::Decided { .. }
            | Event::Notified { .. } => None,
        };
        let requests = events.iter().filter_map(today).collect();
        Self(Mutex::new(Inner { accounts, journal, requests, requests_day }))
    }

    /// Opens an order, or finds it again when the same link is opened twice.
    pub fn open(&self, order: Order) -> Result<Account, BooksError> {
        let mut inner = self.lock();
        let key = (order.provider, order.merchant_ref.clone());
        let day = clock::day(order.created_at);
        let ids = inner.accounts.by_ref.get(&key).map(Vec::as_slice).unwrap_or_default();
        let mut same_day = ids
            .iter()
            .filter_map(|id| inner.accounts.by_id.get(id))
            .filter(|account| clock::day(account.order.created_at) == day);
        if let Some(known) = same_day.next() {
            if known.order.fields != order.fields {
                return Err(BooksError::DuplicateRef);
            }
            return Ok(known.clone());
        }
        let id = order.id.clone();
        inner.record(&Event::Opened { order })?;
        inner.account(&id)
    }

    /// Applies the customer's choice. The flag is false when it was made before.
    pub fn decide(
        &self,
        order_id: &str,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<(Account, bool), BooksError> {
        let mut inner = self.lock();
        let account = inner.account(order_id)?;
        let before = account.decision.as_ref().map(|d| d.outcome);
        if before == Some(outcome) {
            return Ok((account, false));
        }
        let allowed = match account.state() {
            OrderState::Open | OrderState::Failed | OrderState::Cancelled => true,
            OrderState::Held => matches!(outcome, Outcome::Paid | Outcome::Cancelled),
            OrderState::Paid => false,
        };
        if !allowed {
            return Err(BooksError::Settled(account.state()));
        }
        let kept = account.decision.as_ref().map_or(0, |d| d.gateway_no);
        let gateway_no = match outcome {
            Outcome::Cancelled => 0,
            // A held payment that is released keeps its number.
            Outcome::Paid if kept != 0 && before == Some(Outcome::SuspectedFraud) => kept,
            Outcome::Paid | Outcome::InsufficientFunds | Outcome::SuspectedFraud => {
                inner.accounts.next_gateway_no(now)
            }
        };
        let order_id = order_id.to_owned();
        inner.record(&Event::Decided { order_id, outcome, gateway_no, at: now })?;
        Ok((inner.account(&account.order.id)?, true))
    }

    /// Notes that the merchant has been told of a decision, or never will be.
    pub fn notified(
        &self,
        order_id: &str,
        decision: u32,
        result: &str,
        at: Timestamp,
    ) -> Result<(), BooksError> {
        let (order_id, result) = (order_id.to_owned(), result.to_owned());
        self.lock().record(&Event::Notified { order_id, decision, result, at })
    }

    /// Uses up a request id; false when it was used today.
    pub fn use_request_id(&self, provider: Provider, request_id: &str, now: Timestamp) -> bool {
        let mut inner = self.lock();
        let day = clock::day(now);
        if inner.requests_day != day {
            inner.requests.clear();
            inner.requests_day = day;
        }
        inner.requests.insert((provider, request_id.to_owned()))
    }

    /// Accepts a refund.
    pub fn refund(
        &self,
        request: &RefundRequest<'_>,
        now: Timestamp,
    ) -> Result<Refund, BooksError> {
        let mut inner = self.lock();
        let account = inner.account(request.order_id)?;
        match account.state() {
            OrderState::Paid => {}
            OrderState::Open | OrderState::Failed | OrderState::Cancelled | OrderState::Held => {
                return Err(BooksError::NotPaid);
            }
        }
        let left_vnd = account.refundable_vnd(now);
        if left_vnd == 0 {
            return Err(BooksError::NothingLeft);
        }
        if request.amount_vnd > left_vnd {
            return Err(BooksError::TooMuch { left_vnd });
        }
        let refund = Refund {
            order_id: request.order_id.to_owned(),
            request_id: request.request_id.to_owned(),
            amount_vnd: request.amount_vnd,
            full: request.full,
            gateway_no: inner.accounts.next_gateway_no(now),
            note: request.note.to_owned(),
            at: now,
            done_at: request.done_at,
            refused: request.refused,
        };
        inner.record(&Event::Refunded { refund: refund.clone() })?;
        Ok(refund)
    }

    /// The order with that id.
    pub fn get(&self, order_id: &str) -> Option<Account> {
        self.lock().account(order_id).ok()
    }

    /// The orders with that reference, oldest first.
    pub fn find(&self, provider: Provider, merchant_ref: &str) -> Vec<Account> {
        let inner = self.lock();
        let key = (provider, merchant_ref.to_owned());
        let ids = inner.accounts.by_ref.get(&key).map(Vec::as_slice).unwrap_or_default();
        ids.iter().filter_map(|id| inner.accounts.by_id.get(id)).cloned().collect()
    }

    /// All orders in the order in which they came.
    pub fn all(&self, provider: Provider) -> Vec<Account> {
        let inner = self.lock();
        let accounts = inner.accounts.sequence.iter().filter_map(|id| inner.accounts.by_id.get(id));
        accounts.filter(|account| account.order.provider == provider).cloned().collect()
    }

    /// Decisions that the merchant has not been told of; asked once, at start.
    pub fn untold(&self) -> Vec<Account> {
        let inner = self.lock();
        let accounts = inner.accounts.sequence.iter().filter_map(|id| inner.accounts.by_id.get(id));
        accounts.filter(|a| a.decision.as_ref().is_some_and(|d| d.notify)).cloned().collect()
    }

    /// Waits until everything recorded so far is on disk. Call it before answering: nobody may
    /// hear of an event which a crash could still undo.
    pub async fn synced(&self) {
        let (queued, mut durable) = {
            let inner = self.lock();
            (inner.journal.queued(), inner.journal.durable())
        };
        if durable.wait_for(|n| *n >= queued).await.is_err() {
            // The writer ends the process itself; this only covers the moment in between.
            tracing::error!("the journal's thread has ended");
            std::process::exit(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
