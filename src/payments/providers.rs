//! The interface of a provider's adapter, on one page.
//!
//! An adapter asks for money ([`Adapter::charge`]), reads what the gateway sends by itself
//! ([`Adapter::read_callback`]), asks about a payment and gives money back. Calls and the reading
//! of their answers are apart, because an answer is stored before it is believed. All of it is
//! enum dispatch without a wildcard: a new [`ProviderKind`] breaks the build here and wherever
//! else it must be learned.

use std::net::{IpAddr, Ipv4Addr};

use super::vnpay::answer::BadAnswer;
use super::vnpay::{self, BadTerminal, Terminal, TerminalSettings};
use super::{
    Charge, ChargeInstructions, MerchantRef, Notification, ProviderKind, QueryAnswer, Question,
    RefundNews, RefundOrder,
};
use crate::kernel::money::Vnd;
use crate::platform::config::Config;
use crate::platform::outbound::{Outbound, OutboundAnswer, OutboundError};

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

/// The gateway does not take this amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway does not take this amount")]
pub struct AmountRefused;

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

/// A call to a gateway brought nothing that can be read: what it did is unknown.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer.
    #[error("the gateway did not answer")]
    NoAnswer(#[source] OutboundError),
    /// An error page instead of an answer.
    #[error("the gateway answered with HTTP status {0}")]
    Status(u16),
    /// It was not asked: it does not take this amount.
    #[error("the call was not made")]
    Amount(#[source] AmountRefused),
}

impl Providers {
    /// Prepares every gateway; a fault in one's settings refuses all, at start.
    pub fn new(config: &Config) -> Result<Providers, BadTerminal> {
        let vnpay = &config.payments.vnpay;
        let public_url = config.server.public_url.trim_end_matches('/');
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let settings = TerminalSettings {
            tmn_code: vnpay.tmn_code.clone(),
            hash_secret: vnpay.secret.clone(),
            pay_url: vnpay.pay_url.clone(),
            api_url: vnpay.api_url.clone(),
            return_url: format!("{public_url}/v1/payments/return/vnpay"),
            server_ip: vnpay.server_ip.parse().unwrap_or(loopback),
        };
        Ok(Providers { vnpay: Terminal::new(&settings)? })
    }

    /// The adapter of a gateway.
    pub fn adapter(&self, kind: ProviderKind) -> Adapter<'_> {
        match kind {
            ProviderKind::Vnpay => Adapter::Vnpay(&self.vnpay),
        }
    }
}

impl Adapter<'_> {
    /// Refuses an amount that [`Adapter::charge`] would refuse, before anything is written.
    pub fn check(self, amount: Vnd) -> Result<(), AmountRefused> {
        match self {
            Adapter::Vnpay(_) => {
                vnpay::check_amount(amount).map_err(|vnpay::AmountOutOfRange| AmountRefused)
            }
        }
    }

    /// How the driver pays this charge. The same charge gives the same instructions.
    pub fn charge(self, charge: &Charge) -> Result<ChargeInstructions, AmountRefused> {
        match self {
            Adapter::Vnpay(terminal) => {
                terminal.charge(charge).map_err(|vnpay::AmountOutOfRange| AmountRefused)
            }
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

    /// Asks about a payment; the answer's bytes.
    pub async fn query(
        self,
        outbound: &Outbound,
        question: &Question<'_>,
    ) -> Result<Vec<u8>, CallError> {
        match self {
            Adapter::Vnpay(terminal) => {
                let body = terminal.question(question);
                let answer = outbound.post_json("vnpay.querydr", terminal.api_url(), &body).await;
                readable(answer)
            }
        }
    }

    /// Reads the answer to a question about `merchant_ref`.
    pub fn read_query_answer(
        self,
        merchant_ref: &MerchantRef,
        answer: &[u8],
    ) -> Result<QueryAnswer, BadAnswer> {
        match self {
            Adapter::Vnpay(terminal) => terminal.read_question_answer(merchant_ref, answer),
        }
    }

    /// Asks to give money back; the answer's bytes.
    pub async fn refund(
        self,
        outbound: &Outbound,
        order: &RefundOrder<'_>,
    ) -> Result<Vec<u8>, CallError> {
        match self {
            Adapter::Vnpay(terminal) => {
                let body = terminal
                    .refund(order)
                    .map_err(|vnpay::AmountOutOfRange| CallError::Amount(AmountRefused))?;
                let answer = outbound.post_json("vnpay.refund", terminal.api_url(), &body).await;
                readable(answer)
            }
        }
    }

    /// Reads the answer to a refund request for `merchant_ref`.
    pub fn read_refund_answer(
        self,
        merchant_ref: &MerchantRef,
        answer: &[u8],
    ) -> Result<RefundNews, BadAnswer> {
        match self {
            Adapter::Vnpay(terminal) => terminal.read_refund_answer(merchant_ref, answer),
        }
    }
}

fn readable(answer: Result<OutboundAnswer, OutboundError>) -> Result<Vec<u8>, CallError> {
    let answer = answer.map_err(CallError::NoAnswer)?;
    if answer.status == 200 { Ok(answer.body) } else { Err(CallError::Status(answer.status)) }
}
