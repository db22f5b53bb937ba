//! All lots in memory, by place: what search reads instead of a database.
//!
//! Lots lie sorted in latitude bands of about 250 m and by longitude within a band. A query walks
//! the bands that its circle touches, finds the piece of each by binary search, and measures true
//! distances with unit vectors, so the answer is that of a scan over all lots. The text of an
//! answer that never changes is kept ready made.
//!
//! The index itself is immutable; only the numbers in its [`Slot`]s change. When lots change, a
//! new index is built beside the old one and takes over its newer numbers.

use std::collections::HashMap;

use crate::kernel::geo::{
    Bounds, LatLng, Metres, UnitVector, chord_squared_of, doubled, halved, metres_of_chord_squared,
};
use crate::kernel::ids::LotId;
use crate::kernel::vehicle::VehicleClass;
use crate::lots::hours::OpeningHours;
use crate::lots::{CapacitySource, LotKind, LotStatus, SaleMode};

use super::slots::Slot;

pub use super::build::Builder;

/// Circles smaller than this are not worth a round of their own.
const RADIUS_M_MIN: f64 = 100.0;

/// A lot's number in one index.
pub type LotNo = usize;

/// The part of a lot that a walk over many lots touches: half a cache line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) unit: UnitVector,
    pub(super) classes: u8,
    pub(super) kind: LotKind,
    pub(super) features: u16,
}

/// The rest of a lot.
#[derive(Debug)]
pub struct Entry {
    /// Its id.
    pub id: LotId,
    /// Whether it takes vehicles at all.
    pub status: LotStatus,
    /// How it sells time.
    pub sale_mode: SaleMode,
    /// Where its numbers of spaces come from.
    pub capacity_source: CapacitySource,
    /// Minutes that a reservation holds a space.
    pub hold_minutes: i32,
    pub(super) hours: u32,
    pub(super) operator: u32,
    pub(super) summary_at: u32,
    pub(super) folded_at: u32,
    pub(super) summary_len: u16,
    pub(super) folded_len: u16,
    pub(super) slots_at: u32,
}

/// A lot near a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Near {
    /// The lot.
    pub lot: LotNo,
    /// The squared chord to the point; [`Near::distance`] in metres.
    chord: f64,
}

impl Near {
    /// The distance over the ground.
    pub fn distance(&self) -> Metres {
        Metres::rounded(metres_of_chord_squared(self.chord))
    }
}

/// Which lots a query is about, by what never changes.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// What to park; any class if none.
    pub class: Option<VehicleClass>,
    /// Only this kind.
    pub kind: Option<LotKind>,
    /// All of these features, as bits.
    pub features: u16,
}

/// All lots.
#[derive(Debug)]
pub struct Index {
    pub(super) places: Vec<Place>,
    pub(super) lngs: Vec<f64>,
    pub(super) entries: Vec<Entry>,
    /// Where each band begins, from `band_first` on, and one more for the end of the last.
    pub(super) band_starts: Vec<u32>,
    pub(super) band_first: u16,
    pub(super) by_id: HashMap<LotId, u32>,
    pub(super) slots: Vec<Slot>,
    pub(super) hours: Vec<OpeningHours>,
    pub(super) operators: Vec<String>,
    /// The lots' summaries as JSON, in the order of the lots: neighbours share memory pages.
    pub(super) summaries: String,
    /// The lots' folded words, in the order of the lots.
    pub(super) folded: String,
    /// All lots by code.
    pub(super) by_code: Vec<u32>,
    /// Another number for every index of this process.
    pub(super) serial: u64,
}

/// The bit of a class in a lot's set of classes; its rank among the set bits is its slot.
pub(super) fn bit(class: VehicleClass) -> u8 {
    match class {
        VehicleClass::Bicycle => 1,
        VehicleClass::Motorbike => 1 << 1,
        VehicleClass::Car => 1 << 2,
        VehicleClass::Van => 1 << 3,
        VehicleClass::Bus => 1 << 4,
        VehicleClass::Truck => 1 << 5,
    }
}

pub(super) const CLASSES: [VehicleClass; 6] = [
    VehicleClass::Bicycle,
    VehicleClass::Motorbike,
    VehicleClass::Car,
    VehicleClass::Van,
    VehicleClass::Bus,
    VehicleClass::Truck,
];

pub(super) fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn wide(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Index {
    /// An index without lots.
    pub fn empty() -> Index {
        Builder::default().build()
    }

    /// The number of lots.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no lots.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Another number for every index: numbers of lots mean the same only within one.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// A lot's number by its id.
    pub fn find(&self, id: LotId) -> Option<LotNo> {
        self.by_id.get(&id).map(|no| wide(*no))
    }

    /// A lot.
    pub fn entry(&self, lot: LotNo) -> Option<&Entry> {
        self.entries.get(lot)
    }

    /// The lot's unchanging members as JSON, from `"id"` to `"features"`, without braces.
    pub fn summary(&self, entry: &Entry) -> &str {
        let at = wide(entry.summary_at);
        self.summaries.get(at..at + usize::from(entry.summary_len)).unwrap_or_default()
    }

    /// The lot's code.
    pub fn code(&self, entry: &Entry) -> &str {
        // Codes are letters, digits and dashes, so no quote in them is escaped.
        let (_, rest) = self.summary(entry).split_once("\"code\":\"").unwrap_or_default();
        rest.split('"').next().unwrap_or_default()
    }

    pub(super) fn code_of(&self, lot: LotNo) -> &str {
        self.entries.get(lot).map_or("", |entry| self.code(entry))
    }

    /// All lots, in the order in which their words lie in memory.
    pub fn entries(&self) -> impl Iterator<Item = (LotNo, &Entry)> {
        self.entries.iter().enumerate()
    }

    /// All lots by code, those after `after`.
    pub fn by_code<'a>(&'a self, after: &str) -> impl Iterator<Item = (LotNo, &'a Entry)> {
        let from = self.by_code.partition_point(|no| self.code_of(wide(*no)) <= after);
        self.by_code.iter().skip(from).filter_map(|no| {
            let no = wide(*no);
            self.entries.get(no).map(|entry| (no, entry))
        })
    }

    /// The lot's code, name and address, lower case and without diacritics, each on a line.
    pub fn folded(&self, entry: &Entry) -> &str {
        let at = wide(entry.folded_at);
        self.folded.get(at..at + usize::from(entry.folded_len)).unwrap_or_default()
    }

    /// The lot's opening hours.
    pub fn hours(&self, entry: &Entry) -> &OpeningHours {
        self.hours.get(wide(entry.hours)).unwrap_or(&OpeningHours::Always)
    }

    /// The name of who runs the lot.
    pub fn operator(&self, entry: &Entry) -> &str {
        self.operators.get(wide(entry.operator)).map_or("", String::as_str)
    }

    /// The nearest `limit` wanted and accepted lots within the radius, by distance, then id.
    ///
    /// The circle starts small where lots are dense and doubles until it holds enough: every lot
    /// within it has been looked at, so none nearer can be missing.
    pub fn nearest(
        &self,
        centre: LatLng,
        radius: Metres,
        limit: usize,
        wanted: Wanted,
        mut accept: impl FnMut(LotNo) -> bool,
    ) -> Vec<Near> {
        let radius_m = f64::from(radius.get());
        let mut reach = radius_m;
        while reach > RADIUS_M_MIN && self.count_in_box(centre, reach) > limit * 6 {
            reach = halved(reach);
        }
        let mut hits = Vec::with_capacity(limit * 4);
        loop {
            hits.clear();
            self.collect(centre, reach, wanted, &mut accept, &mut hits);
            if hits.len() >= limit || reach >= radius_m {
                break;
            }
            reach = doubled(reach).min(radius_m);
        }
        self.sort(&mut hits, limit);
        hits
    }

    /// All wanted and accepted lots within the radius, in no order.
    pub fn within(
        &self,
        centre: LatLng,
        radius: Metres,
        wanted: Wanted,
        mut accept: impl FnMut(LotNo) -> bool,
    ) -> Vec<Near> {
        let mut hits = Vec::new();
        self.collect(centre, f64::from(radius.get()), wanted, &mut accept, &mut hits);
        hits
    }

    /// Whether a lot lies within the radius.
    pub fn is_within(&self, lot: LotNo, centre: LatLng, radius: Metres) -> bool {
        let chord = chord_squared_of(f64::from(radius.get()));
        self.places.get(lot).is_some_and(|place| place.unit.chord_squared(centre.unit()) <= chord)
    }

    /// Orders hits by distance, then id, and cuts them to `limit`.
    pub fn sort(&self, hits: &mut Vec<Near>, limit: usize) {
        let order = |a: &Near, b: &Near| self.by_distance(a, b);
        if hits.len() > limit && limit > 0 {
            hits.select_nth_unstable_by(limit - 1, order);
        }
        hits.truncate(limit);
        hits.sort_unstable_by(order);
    }

    /// The nearer first; of two at the same place the older id.
    pub fn by_distance(&self, a: &Near, b: &Near) -> std::cmp::Ordering {
        let id = |near: &Near| self.entries.get(near.lot).map(|entry| entry.id);
        a.chord.total_cmp(&b.chord).then_with(|| id(a).cmp(&id(b)))
    }

    fn collect(
        &self,
        centre: LatLng,
        radius_m: f64,
        wanted: Wanted,
        accept: &mut impl FnMut(LotNo) -> bool,
        hits: &mut Vec<Near>,
    ) {
        let unit = centre.unit();
        let chord_max = chord_squared_of(radius_m);
        let class = wanted.class.map_or(u8::MAX, bit);
        self.pieces(centre, radius_m, |from, places| {
            for (lot, place) in (from..).zip(places) {
                let chord = place.unit.chord_squared(unit);
                if chord <= chord_max
                    && place.classes & class != 0
                    && place.features & wanted.features == wanted.features
                    && wanted.kind.is_none_or(|kind| kind == place.kind)
                    && accept(lot)
                {
                    hits.push(Near { lot, chord });
                }
            }
        });
    }

    fn count_in_box(&self, centre: LatLng, radius_m: f64) -> usize {
        let mut count = 0;
        self.pieces(centre, radius_m, |_, places| count += places.len());
        count
    }

    /// Calls `work` with each band's piece of the box around the circle.
    fn pieces<'a>(
        &'a self,
        centre: LatLng,
        radius_m: f64,
        mut work: impl FnMut(LotNo, &'a [Place]),
    ) {
        let bounds = Bounds::around(centre, radius_m);
        let first = bounds.band_first.max(self.band_first);
        for band in first..=bounds.band_last {
            let at = usize::from(band - self.band_first);
            let (Some(start), Some(end)) = (self.band_starts.get(at), self.band_starts.get(at + 1))
            else {
                return;
            };
            let (start, end) = (wide(*start), wide(*end));
            let Some(lngs) = self.lngs.get(start..end) else { return };
            let from = start + lngs.partition_point(|lng| *lng < bounds.west);
            let until = start + lngs.partition_point(|lng| *lng <= bounds.east);
            if let Some(places) = self.places.get(from..until) {
                work(from, places);
            }
        }
    }
}

#[cfg(test)]
mod tests;
