//! Turning away the losers of a rush before they queue for the hot row's lock.
//!
//! A request is refused here only if Postgres itself said within the last [`TRUST`] that the
//! lot's class is full *and* Redis, which hears of every space that becomes free, says so too. A
//! Redis that is wrong, frozen or empty can therefore refuse nobody for longer than that, and
//! can never give a space away. The request's key is looked up first: a repeat of a hold that was
//! granted gets its answer even though the lot is full now.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::decide::SpaceKey;
use crate::kernel::ids::LotId;
use crate::kernel::vehicle::VehicleClass;

/// For how long "full", said by Postgres, may be repeated.
pub const TRUST: Duration = Duration::from_secs(1);

/// Which spaces Postgres found full, and when. As large as there are lots and classes at most.
#[derive(Debug, Default)]
pub struct FullSpaces {
    lots: Mutex<HashMap<LotId, HashMap<VehicleClass, Instant>>>,
}

impl FullSpaces {
    /// Notes what a decision saw.
    pub fn note(&self, (lot, class): SpaceKey, has_room: bool) {
        let mut lots = self.lots.lock().unwrap_or_else(PoisonError::into_inner);
        if !has_room {
            lots.entry(lot).or_default().insert(class, Instant::now());
        } else if let Some(classes) = lots.get_mut(&lot) {
            classes.remove(&class);
            if classes.is_empty() {
                lots.remove(&lot);
            }
        }
    }

    /// Whether any class of the lot was full within [`TRUST`].
    pub fn any_of(&self, lot: LotId) -> bool {
        let lots = self.lots.lock().unwrap_or_else(PoisonError::into_inner);
        lots.get(&lot).is_some_and(|classes| classes.values().any(|at| at.elapsed() < TRUST))
    }

    /// Whether this class of the lot was full within [`TRUST`].
    pub fn has(&self, (lot, class): SpaceKey) -> bool {
        let lots = self.lots.lock().unwrap_or_else(PoisonError::into_inner);
        lots.get(&lot)
            .and_then(|classes| classes.get(&class))
            .is_some_and(|at| at.elapsed() < TRUST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_lot_is_full_until_a_decision_finds_room() {
        let full = FullSpaces::default();
        let lot = LotId::from_uuid(Uuid::from_u128(1));
        full.note((lot, VehicleClass::Car), false);
        full.note((lot, VehicleClass::Bus), true);
        assert!(full.any_of(lot) && full.has((lot, VehicleClass::Car)));
        assert!(!full.has((lot, VehicleClass::Bus)));
        full.note((lot, VehicleClass::Car), true);
        assert!(!full.any_of(lot));
    }
}
