//! Which gateways the sandbox plays, and what a customer can do at one.
//!
//! A further provider is one more variant here, one module beside `vnpay`, and the arms that the
//! compiler then asks for: no `match` over [`Provider`] has a catch-all.

use serde::{Deserialize, Serialize};

/// A payment gateway that the sandbox plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// VNPAY 2.1.0.
    Vnpay,
}

impl Provider {
    /// The provider of that name, if the sandbox plays it.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "vnpay" => Some(Self::Vnpay),
            _ => None,
        }
    }
}

/// What the customer does on the pay page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The money is taken and belongs to the merchant.
    Paid,
    /// The customer gave up.
    Cancelled,
    /// The bank said no: not enough money.
    InsufficientFunds,
    /// The money is taken from the customer, but the gateway holds it back.
    SuspectedFraud,
}

impl Outcome {
    /// The outcome of that name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "paid" => Some(Self::Paid),
            "cancelled" => Some(Self::Cancelled),
            "insufficient_funds" => Some(Self::InsufficientFunds),
            "suspected_fraud" => Some(Self::SuspectedFraud),
            _ => None,
        }
    }

    /// The name used in control calls and on the pay page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Cancelled => "cancelled",
            Self::InsufficientFunds => "insufficient_funds",
            Self::SuspectedFraud => "suspected_fraud",
        }
    }

    /// The state that the order is in afterwards.
    pub const fn state(self) -> OrderState {
        match self {
            Self::Paid => OrderState::Paid,
            Self::Cancelled => OrderState::Cancelled,
            Self::InsufficientFunds => OrderState::Failed,
            Self::SuspectedFraud => OrderState::Held,
        }
    }
}

/// Where an order stands at the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Opened, the customer has not chosen yet.
    Open,
    /// The last try failed; no money moved.
    Failed,
    /// The customer gave up; no money moved.
    Cancelled,
    /// Money taken from the customer and held back as suspected fraud.
    Held,
    /// Money taken, owed to the merchant.
    Paid,
}

impl OrderState {
    /// The name used in the books.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Held => "held",
            Self::Paid => "paid",
        }
    }

    /// True when money left the customer's account.
    pub const fn money_moved(self) -> bool {
        match self {
            Self::Open | Self::Failed | Self::Cancelled => false,
            Self::Held | Self::Paid => true,
        }
    }
}
