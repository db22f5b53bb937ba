//! Prices of a stay that begins now, for many lots at once.

use crate::kernel::ids::LotId;
use crate::kernel::money::Vnd;
use crate::kernel::vehicle::VehicleClass;

/// What a stay costs at a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// The fare.
    pub amount: Vnd,
    /// By which version of which tariff.
    pub version: crate::kernel::ids::TariffVersionId,
}

/// The prices of one search.
pub struct Prices;

impl Prices {
    /// The price at a lot; none where no tariff applies.
    pub fn of(&mut self, _lot: LotId, _class: VehicleClass) -> Option<Price> {
        None
    }
}
