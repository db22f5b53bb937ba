//! The numbers in an [`Index`]: reading them, taking newer ones, comparing.

use std::collections::HashMap;

use super::index::{CLASSES, Entry, Index, LotNo, bit, wide};
use super::slots::Slot;
use crate::kernel::ids::LotId;
use crate::kernel::vehicle::VehicleClass;
use crate::lots::capacity::{CapacityRow, Snapshot};

impl Index {
    /// The numbers of a class; `None` if the lot does not serve it.
    pub fn slot(&self, lot: LotNo, class: VehicleClass) -> Option<&Slot> {
        let classes = self.places.get(lot)?.classes;
        let bit = bit(class);
        if classes & bit == 0 {
            return None;
        }
        let rank = (classes & (bit - 1)).count_ones();
        self.slots.get(wide(self.entries.get(lot)?.slots_at.saturating_add(rank)))
    }

    /// The classes that a lot serves with their numbers.
    pub fn numbers(&self, lot: LotNo) -> impl Iterator<Item = (VehicleClass, Snapshot)> {
        CLASSES
            .into_iter()
            .filter_map(move |class| self.slot(lot, class).map(|slot| (class, slot.read())))
    }

    /// Takes a row if it is newer. `None` when the index knows no such lot and class.
    pub fn offer(&self, row: &CapacityRow) -> Option<bool> {
        let slot = self.slot(self.find(row.lot_id)?, row.class)?;
        Some(slot.offer(&row.now))
    }

    /// Takes a row whatever its version.
    pub fn force(&self, row: &CapacityRow) -> Option<()> {
        self.slot(self.find(row.lot_id)?, row.class)?.force(&row.now);
        Some(())
    }

    /// Takes a row in place of numbers known to be wrong, if those are still there.
    pub fn correct(&self, row: &CapacityRow, wrong_version: i64) {
        if let Some(slot) = self.find(row.lot_id).and_then(|lot| self.slot(lot, row.class)) {
            slot.correct(&row.now, wrong_version);
        }
    }

    /// The ids of all lots, ascending.
    pub fn ids(&self) -> Vec<LotId> {
        let mut ids: Vec<LotId> = self.entries.iter().map(|entry| entry.id).collect();
        ids.sort_unstable();
        ids
    }

    /// All lots and classes.
    pub fn keys(&self) -> Vec<(LotId, VehicleClass)> {
        let keys_of = |(no, entry): (LotNo, &Entry)| {
            let id = entry.id;
            self.numbers(no).map(move |(class, _)| (id, class)).collect::<Vec<_>>()
        };
        self.entries.iter().enumerate().flat_map(keys_of).collect()
    }

    /// The versions of some lots' numbers.
    pub fn versions(&self, lots: &[LotId]) -> HashMap<(LotId, VehicleClass), i64> {
        let mut versions = HashMap::new();
        for id in lots {
            for (class, snapshot) in self.find(*id).into_iter().flat_map(|no| self.numbers(no)) {
                versions.insert((*id, class), snapshot.version);
            }
        }
        versions
    }

    /// Takes over from `older` every number that is newer.
    pub fn take_over(&self, older: &Index) {
        for (old_no, old) in older.entries.iter().enumerate() {
            let Some(lot) = self.find(old.id) else { continue };
            for (class, snapshot) in older.numbers(old_no) {
                if let Some(slot) = self.slot(lot, class) {
                    slot.offer(&snapshot);
                }
            }
        }
    }
}
