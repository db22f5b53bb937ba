//! What the books are made of: orders, decisions, refunds, and how events change them.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::journal::Event;
use crate::provider::{OrderState, Outcome, Provider};

/// An order as the merchant sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Our own unguessable id; names the order on the pay page.
    pub id: String,
    /// Whose order it is.
    pub provider: Provider,
    /// The merchant's reference.
    pub merchant_ref: String,
    /// What the customer is to pay.
    pub amount_vnd: i64,
    /// When the merchant made it.
    pub created_at: Timestamp,
    /// Until when the pay page may be opened.
    pub expires_at: Timestamp,
    /// When the pay page was first opened.
    pub opened_at: Timestamp,
    /// All fields as they were signed.
    pub fields: BTreeMap<String, String>,
}

/// A refund that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// The order's id.
    pub order_id: String,
    /// The merchant's id of the request, unique per day.
    pub request_id: String,
    /// What goes back to the customer.
    pub amount_vnd: i64,
    /// Asked for as a full refund.
    pub full: bool,
    /// The gateway's number of the refund.
    pub gateway_no: u64,
    /// The merchant's text.
    pub note: String,
    /// When it was accepted.
    pub at: Timestamp,
    /// When the bank has it.
    pub done_at: Timestamp,
    /// The bank will refuse it.
    pub refused: bool,
}

impl Refund {
    /// Where the refund stands at `now`.
    pub fn state(&self, now: Timestamp) -> RefundState {
        match (now < self.done_at, self.refused) {
            (true, _) => RefundState::Processing,
            (false, true) => RefundState::Refused,
            (false, false) => RefundState::Done,
        }
    }
}

/// Where a refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundState {
    /// Accepted, not yet with the bank.
    Processing,
    /// Sent to the customer's bank.
    Done,
    /// Refused; the money stayed with the merchant.
    Refused,
}

impl RefundState {
    /// The name used in the books.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// The customer's last choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Counts the order's decisions from 1.
    pub number: u32,
    /// What was chosen.
    pub outcome: Outcome,
    /// The gateway's number of the transaction; 0 when there was none.
    pub gateway_no: u64,
    /// When.
    pub at: Timestamp,
    /// The merchant still has to be told.
    pub notify: bool,
}

/// An order with all that happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The order.
    pub order: Order,
    /// The customer's last choice, if any.
    pub decision: Option<Decision>,
    /// Accepted refunds, oldest first.
    pub refunds: Vec<Refund>,
}

impl Account {
    /// Where the order stands.
    pub fn state(&self) -> OrderState {
        self.decision.as_ref().map_or(OrderState::Open, |d| d.outcome.state())
    }

    /// What can still be refunded at `now`; a refused refund gives its amount back.
    pub fn refundable_vnd(&self, now: Timestamp) -> i64 {
        let refunded = |r: &Refund| match r.state(now) {
            RefundState::Processing | RefundState::Done => r.amount_vnd,
            RefundState::Refused => 0,
        };
        let spent = self.refunds.iter().map(refunded).fold(0_i64, i64::saturating_add);
        self.order.amount_vnd.saturating_sub(spent)
    }
}

/// All orders, as the journal's events made them.
#[derive(Debug, Default)]
pub struct Accounts {
    /// Everything, by our own id.
    pub by_id: HashMap<String, Account>,
    /// Ids by the merchant's reference, oldest first.
    pub by_ref: HashMap<(Provider, String), Vec<String>>,
    /// Ids in the order in which they came, for listing.
    pub sequence: Vec<String>,
    last_gateway_no: u64,
}

impl Accounts {
    /// Takes in one event; events of unknown orders change nothing.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Opened { order } => {
                let key = (order.provider, order.merchant_ref.clone());
                self.by_ref.entry(key).or_default().push(order.id.clone());
                self.sequence.push(order.id.clone());
                let account = Account { order: order.clone(), decision: None, refunds: Vec::new() };
                self.by_id.insert(order.id.clone(), account);
            }
            Event::Decided { order_id, outcome, gateway_no, at } => {
                self.last_gateway_no = self.last_gateway_no.max(*gateway_no);
                if let Some(account) = self.by_id.get_mut(order_id) {
                    let number = account.decision.as_ref().map_or(0, |d| d.number);
                    account.decision = Some(Decision {
                        number: number.saturating_add(1),
                        outcome: *outcome,
                        gateway_no: *gateway_no,
                        at: *at,
                        notify: true,
                    });
                }
            }
            Event::Notified { order_id, decision: number, .. } => {
                let decision = self.by_id.get_mut(order_id).and_then(|a| a.decision.as_mut());
                if let Some(decision) = decision.filter(|d| d.number == *number) {
                    decision.notify = false;
                }
            }
            Event::Refunded { refund } => {
                self.last_gateway_no = self.last_gateway_no.max(refund.gateway_no);
                if let Some(account) = self.by_id.get_mut(&refund.order_id) {
                    account.refunds.push(refund.clone());
                }
            }
        }
    }

    /// Numbers follow the clock, so that they stay unique when the books are thrown away.
    pub fn next_gateway_no(&self, now: Timestamp) -> u64 {
        let now_ms = u64::try_from(now.as_millisecond()).unwrap_or_default();
        self.last_gateway_no.saturating_add(1).max(now_ms)
    }
}
