//! A price promised for a while, and the proof that we promised it.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::FareLine;
use crate::kernel::ids::{LotId, QuoteId, TariffVersionId};
use crate::kernel::money::Vnd;
use crate::kernel::vehicle::VehicleClass;

/// How far a quoted stay may begin in the past: the time it takes to find the button.
pub const START_MINUTES_AGO_MAX: i64 = 5;

/// How far a quoted stay may begin in the future, and how long it may be: 30 days.
pub const QUOTE_MINUTES_MAX: i64 = 30 * 24 * 60;

/// A promise: a stay of this class at this lot, up to this length, costs at most this much, if it
/// begins before the promise expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Which.
    pub id: QuoteId,
    /// Where.
    pub lot_id: LotId,
    /// For what.
    pub vehicle_class: VehicleClass,
    /// Begin of the stay, in whole seconds.
    pub start: Timestamp,
    /// End of the stay, in whole seconds.
    pub end: Timestamp,
    /// The fare.
    pub amount: Vnd,
    /// The version it was priced by.
    pub tariff_version_id: TariffVersionId,
    /// How the amount comes about.
    pub lines: Vec<FareLine>,
    /// When it was made.
    pub created_at: Timestamp,
    /// A stay must begin before.
    pub expires_at: Timestamp,
    /// [`Quote::sign`] of the fields above.
    pub signature: String,
}

impl Quote {
    /// The text that is signed: one field a line, ids as UUIDs, times as Unix seconds. Lines of
    /// the fare follow from it and are left out.
    fn signed_text(&self) -> String {
        format!(
            "iparking-quote-v1\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n",
            self.id,
            self.lot_id,
            self.vehicle_class.as_str(),
            self.start.as_second(),
            self.end.as_second(),
            self.amount.get(),
            self.tariff_version_id,
            self.expires_at.as_second(),
        )
    }

    fn mac(&self, secret: &SecretString) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
        mac.update(self.signed_text().as_bytes());
        Some(mac)
    }

    /// HMAC-SHA-256 over the signed text, in hex.
    pub fn sign(&self, secret: &SecretString) -> String {
        self.mac(secret).map_or_else(String::new, |mac| hex::encode(mac.finalize().into_bytes()))
    }

    /// Whether the signature is ours: nobody changed the kept promise, in our database or
    /// elsewhere. Compared in constant time.
    pub fn is_genuine(&self, secret: &SecretString) -> bool {
        let Ok(signature) = hex::decode(&self.signature) else { return false };
        self.mac(secret).is_some_and(|mac| mac.verify_slice(&signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_that_was_changed_is_not_genuine() {
        let secret = SecretString::from("a secret for tests only, 32 characters long".to_owned());
        let id = |n: u128| uuid::Uuid::from_u128(n);
        let mut quote = Quote {
            id: QuoteId::from_uuid(id(1)),
            lot_id: LotId::from_uuid(id(2)),
            vehicle_class: VehicleClass::Car,
            start: Timestamp::constant(1_700_000_000, 0),
            end: Timestamp::constant(1_700_007_200, 0),
            amount: Vnd::new(50_000),
            tariff_version_id: TariffVersionId::from_uuid(id(3)),
            lines: Vec::new(),
            created_at: Timestamp::constant(1_700_000_000, 0),
            expires_at: Timestamp::constant(1_700_000_900, 0),
            signature: String::new(),
        };
        quote.signature = quote.sign(&secret);
        assert!(quote.is_genuine(&secret));
        for change in [
            |q: &mut Quote| q.amount = Vnd::new(1),
            |q: &mut Quote| q.end = Timestamp::constant(1_800_000_000, 0),
            |q: &mut Quote| q.vehicle_class = VehicleClass::Bus,
            |q: &mut Quote| q.expires_at = Timestamp::constant(1_800_000_000, 0),
        ] {
            let mut changed = quote.clone();
            change(&mut changed);
            assert!(!changed.is_genuine(&secret));
        }
    }
}
