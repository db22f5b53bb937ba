//! The interface of a provider's adapter, on one page.
//!
//! An adapter is four things: it asks for money ([`Adapter::charge`]), reads what the gateway
//! sends by itself ([`Adapter::read_callback`]), asks about a payment and gives money back. All
//! of it is enum dispatch without a wildcard: a new [`ProviderKind`] breaks the build here and
//! wherever else it must be learned.

use super::vnpay::{self, BadTerminal, Terminal, TerminalSettings};
use super::{Charge, ChargeInstructions, Notification, ProviderKind};

/// The gateways that we have a contract with.
#[derive(Clone)]
pub struct Providers {
    vnpay: Terminal,
}

/// One gateway, ready to be used.
#[derive(Clone, Copy)]
pub enum Adapter<'a> {
    /// VNPAY.
    Vnpay(&'a Terminal),
}

/// The charge cannot be made with this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChargeError {
    /// The gateway does not take this amount.
    #[error("the gateway does not take this amount")]
    Amount(#[source] vnpay::AmountOutOfRange),
}

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCallback {
    /// Not signed by the gateway.
    #[error("the message is not signed by the gateway")]
    Unsigned,
    /// Signed, but for another merchant account.
    #[error("the message is for another merchant account")]
    ForeignAccount,
}

impl Providers {
    /// Prepares every gateway; a fault in one's settings refuses all, at start.
    pub fn new(vnpay: &TerminalSettings) -> Result<Providers, BadTerminal> {
        Ok(Providers { vnpay: Terminal::new(vnpay)? })
    }

    /// The adapter of a gateway.
    pub fn adapter(&self, kind: ProviderKind) -> Adapter<'_> {
        match kind {
            ProviderKind::Vnpay => Adapter::Vnpay(&self.vnpay),
        }
    }
}

impl Adapter<'_> {
    /// How the driver pays this charge. The same charge gives the same instructions.
    pub fn charge(self, charge: &Charge) -> Result<ChargeInstructions, ChargeError> {
        match self {
            Adapter::Vnpay(terminal) => terminal.charge(charge).map_err(ChargeError::Amount),
        }
    }

    /// What the gateway says in a message that it sent, if it is the gateway's.
    pub fn read_callback(self, query: &str) -> Result<Notification, BadCallback> {
        match self {
            Adapter::Vnpay(terminal) => terminal.read_callback(query).map_err(|bad| match bad {
                vnpay::BadCallback::Signature(_) => BadCallback::Unsigned,
                vnpay::BadCallback::ForeignTerminal => BadCallback::ForeignAccount,
            }),
        }
    }
}
