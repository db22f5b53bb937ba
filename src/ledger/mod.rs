//! Double-entry bookkeeping; rows are only added.
//!
//! One business event is one [`Transfer`] with a unique `(kind, source)`, so that posting it twice
//! is refused by the database. The entries of a transfer sum to nothing: checked here before the
//! write and by Postgres at commit. A correction is a new transfer that names the old one.
//! `docs/MONEY.md` has the chart of accounts and the postings of each event.

pub mod chart;
pub mod http;
pub mod store;

use uuid::Uuid;

use crate::kernel::ids::TransferId;
use crate::kernel::money::Vnd;

/// An account of the chart, by its code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Account(String);

impl Account {
    /// What drivers owe for stays and have not paid.
    pub fn driver_receivable() -> Account {
        Account("driver_receivable".into())
    }

    /// What a provider has collected for us and not yet paid into the bank.
    pub fn provider_clearing(provider: &str) -> Account {
        Account(format!("provider_clearing:{provider}"))
    }

    /// Our account at the bank.
    pub fn bank() -> Account {
        Account("bank".into())
    }

    /// What is owed to an operator, by its code.
    pub fn operator_payable(operator_code: &str) -> Account {
        Account(format!("operator_payable:{operator_code}"))
    }

    /// What is owed to the city for the use of road and pavement.
    pub fn city_payable() -> Account {
        Account("city_payable".into())
    }

    /// Value-added tax to be handed over.
    pub fn vat_payable() -> Account {
        Account("vat_payable".into())
    }

    /// The platform's own income.
    pub fn fee_income() -> Account {
        Account("fee_income".into())
    }

    /// What providers keep for their service.
    pub fn provider_fee_expense() -> Account {
        Account("provider_fee_expense".into())
    }

    /// The code.
    pub fn code(&self) -> &str {
        &self.0
    }
}

/// One line of a transfer: a debit is positive, a credit negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The account it is booked on.
    pub account: Account,
    /// Positive: debit. Negative: credit.
    pub amount: Vnd,
}

/// One business event in the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    kind: &'static str,
    source_id: Uuid,
    description: String,
    corrects: Option<TransferId>,
    entries: Vec<Entry>,
}

/// Entries that are not double entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a transfer needs two entries or more that sum to nothing")]
pub struct Unbalanced;

impl Transfer {
    /// Puts a transfer together. Entries of nothing are left out.
    pub fn new(
        kind: &'static str,
        source_id: Uuid,
        description: impl Into<String>,
        entries: impl IntoIterator<Item = (Account, Vnd)>,
    ) -> Result<Transfer, Unbalanced> {
        let entries: Vec<Entry> = entries
            .into_iter()
            .filter(|(_, amount)| *amount != Vnd::ZERO)
            .map(|(account, amount)| Entry { account, amount })
            .collect();
        let total: Vnd = entries.iter().map(|entry| entry.amount).sum();
        if entries.len() < 2 || total != Vnd::ZERO {
            return Err(Unbalanced);
        }
        Ok(Transfer { kind, source_id, description: description.into(), corrects: None, entries })
    }

    /// Names the transfer that this one corrects.
    #[must_use]
    pub fn correcting(mut self, transfer: TransferId) -> Transfer {
        self.corrects = Some(transfer);
        self
    }

    /// The lines.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_that_does_not_balance_cannot_be_made() {
        let one_sided = [(Account::bank(), Vnd::new(5)), (Account::fee_income(), Vnd::new(-4))];
        assert_eq!(Transfer::new("test", Uuid::nil(), "", one_sided), Err(Unbalanced));
        let empty = [(Account::bank(), Vnd::ZERO), (Account::fee_income(), Vnd::ZERO)];
        assert_eq!(Transfer::new("test", Uuid::nil(), "", empty), Err(Unbalanced));
    }
}
