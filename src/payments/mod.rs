//! Money in, money back: one payment is one attempt to collect what a parking session owes.
//!
//! The words here are ours and know no provider. An adapter turns a gateway's message into a
//! [`Notification`]; [`PaymentStatus::after`] says what it changes. Rules: money that a gateway
//! took is booked, however late; an answer that we cannot read leaves the payment pending until
//! somebody knows; a payment that succeeded never fails afterwards, it is refunded. Payments
//! know parking; parking does not know payments.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::kernel::ids::PaymentId;
use crate::kernel::money::Vnd;

pub mod dues;
pub mod follow;
pub mod groups;
pub mod http;
pub mod http_return;
pub mod ipn;
pub mod jobs;
pub mod message_store;
pub mod providers;
pub mod receipt_store;
pub mod record;
pub mod refund_books;
pub mod refund_store;
pub mod refunds;
pub mod return_address;
pub mod service;
pub mod session_store;
pub mod settle;
pub mod status;
pub mod store;
pub mod surplus;
pub mod view;
pub mod vnpay;

pub use record::{Payment, Refund};
pub use status::{PaymentStatus, RefundStatus, Step, status_with_refunds};

/// Who collects the money. A new variant breaks the build wherever it must be learned.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    sqlx::Type,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum ProviderKind {
    /// VNPAY's bank gateway, interface version 2.1.0.
    Vnpay,
}

impl ProviderKind {
    /// The provider's word in the interface, the database and the ledger's account names.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Our name for a payment at the gateway, the same in every retry. Capitals and digits only,
/// because the encoders of the gateways' samples differ on everything else.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct MerchantRef(String);

impl MerchantRef {
    /// Longest reference that is looked up: VNPAY's limit for `vnp_TxnRef`.
    pub const LEN_MAX: usize = 100;

    /// The reference of a payment: unique because the id is.
    pub fn of(payment: PaymentId) -> MerchantRef {
        MerchantRef(format!("IP{:X}", payment.get().simple()))
    }

    /// A reference that a gateway named or that was stored. Any text; it is only compared.
    pub fn named(text: impl Into<String>) -> MerchantRef {
        MerchantRef(text.into())
    }

    /// The text as the gateway knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MerchantRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why no money moved.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    sqlx::Type,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum FailureReason {
    /// The customer cancelled.
    CustomerCancelled,
    /// Not enough money in the account.
    InsufficientFunds,
    /// The customer waited too long on the gateway's page.
    ExpiredAtGateway,
    /// The card is locked or not enrolled.
    CardRefused,
    /// Wrong one-time code or password too often.
    AuthenticationFailed,
    /// A daily limit of the bank.
    LimitExceeded,
    /// The bank is under maintenance.
    BankMaintenance,
    /// The customer was debited, the gateway failed and gives the money back by itself.
    Reversed,
    /// Refused without a reason that we know.
    Declined,
}

impl FailureReason {
    /// The reason's word in the interface and the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What a gateway says about a charge, in our words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The money was taken for us.
    Paid,
    /// No money moved, or the gateway gives it back by itself.
    Failed(FailureReason),
    /// Not finished, contradictory or not understood: ask again.
    Pending,
    /// Money was taken but the gateway holds it as suspicious: not ours yet, not lost either.
    HeldForFraud,
}

/// A gateway's word about one payment, verified, from a callback or an answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Which payment it speaks of.
    pub merchant_ref: MerchantRef,
    /// The gateway's own number of the transaction.
    pub provider_txn: Option<String>,
    /// The amount it names; `None` if that is not a whole number of đồng, which equals nothing.
    pub amount: Option<Vnd>,
    /// What it says.
    pub outcome: Outcome,
    /// When the customer paid, by the gateway's clock.
    pub paid_at: Option<Timestamp>,
}

/// How the driver pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChargeInstructions {
    /// Open this page of the gateway.
    Redirect {
        /// The signed address.
        url: String,
    },
}

/// What an adapter needs to know to ask for money.
#[derive(Clone, Debug)]
pub struct Charge {
    /// Our name for the payment.
    pub merchant_ref: MerchantRef,
    /// How much.
    pub amount: Vnd,
    /// The payer's address as the gateway wants it, v4 or v6.
    pub payer_ip: std::net::IpAddr,
    /// When the payment was created: signed, and asked for again by every later question.
    pub created_at: Timestamp,
    /// When the pay page shall close.
    pub expires_at: Timestamp,
}

/// What a gateway says about a refund, in our words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RefundOutcome {
    /// Taken, in process.
    Accepted,
    /// Sent to the customer's bank.
    Done,
    /// Refused for good.
    Refused,
    /// The gateway says that it has seen this request before.
    AlreadyRequested,
    /// Not understood: ask again.
    Unknown,
}

/// A gateway's word about one refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundNews {
    /// What it says.
    pub outcome: RefundOutcome,
    /// The gateway's own number of the refund.
    pub provider_txn: Option<String>,
}

/// What a gateway knows about a payment that we asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryAnswer {
    /// The state of the payment.
    Payment(Notification),
    /// The state of its newest refund: a gateway may show one transaction per payment.
    Refund {
        /// The refund's state.
        news: RefundNews,
        /// The amount that goes back.
        amount: Option<Vnd>,
    },
    /// The gateway has never seen the payment: the customer did not open the pay page.
    NotFound,
    /// The gateway did not answer the question; its own code.
    NoAnswer(String),
}

/// A question about a payment.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// Names this question: up to 32 characters, new each time.
    pub request_id: &'a str,
    /// Our name for the payment.
    pub merchant_ref: &'a MerchantRef,
    /// When the payment was created, as it was signed on the pay page.
    pub ordered_at: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// A request to give money back.
#[derive(Clone, Debug)]
pub struct RefundOrder<'a> {
    /// Names this refund: up to 32 characters, the same in every retry.
    pub request_id: &'a str,
    /// Our name for the payment.
    pub merchant_ref: &'a MerchantRef,
    /// How much goes back.
    pub amount: Vnd,
    /// How much was paid.
    pub paid: Vnd,
    /// The gateway's number of the payment, if it told us.
    pub provider_txn: Option<&'a str>,
    /// When the payment was created, as it was signed on the pay page.
    pub ordered_at: Timestamp,
    /// Who asks for it: an account's name without personal data.
    pub created_by: &'a str,
    /// Now.
    pub now: Timestamp,
}
