//! Builds an [`Index`] from lots and their numbers.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::index::{CLASSES, Entry, Index, Place, bit, small, wide};
use super::slots::Slot;
use crate::kernel::geo::LatLng;
use crate::kernel::ids::LotId;
use crate::kernel::vehicle::VehicleClass;
use crate::lots::capacity::{CapacityRow, Snapshot};
use crate::lots::hours::OpeningHours;
use crate::lots::words::fold;
use crate::lots::{Feature, Lot, LotKind};

static BUILT: AtomicU64 = AtomicU64::new(1);

/// Collects lots and their numbers, then sorts them into an [`Index`].
#[derive(Debug, Default)]
pub struct Builder {
    lots: Vec<Gathered>,
    numbers: HashMap<LotId, [Option<Snapshot>; CLASSES.len()]>,
    hours: Interned<OpeningHours>,
    operators: Interned<String>,
    summaries: String,
    folded: String,
}

#[derive(Debug)]
struct Gathered {
    at: LatLng,
    kind: LotKind,
    features: u16,
    entry: Entry,
}

/// Equal values once.
#[derive(Debug)]
struct Interned<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Interned { values: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Interned<T> {
    fn number(&mut self, value: T) -> u32 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let number = small(self.values.len());
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        number
    }
}

/// The members of a lot that answers show and that never change while the index lives.
#[derive(Serialize)]
struct Summary<'a> {
    id: LotId,
    code: &'a str,
    name: &'a str,
    address: &'a str,
    location: LatLng,
    kind: LotKind,
    features: &'a [Feature],
}

impl Builder {
    /// Adds a lot.
    pub fn lot(&mut self, lot: Lot) {
        let (summary_at, folded_at) = (small(self.summaries.len()), small(self.folded.len()));
        let summary = summary_of(&lot);
        let folded = format!("{}\n{}\n{}", fold(&lot.code), fold(&lot.name), fold(&lot.address));
        self.summaries.push_str(&summary);
        self.folded.push_str(&folded);
        let features = lot.feature_bits();
        self.lots.push(Gathered {
            at: lot.at,
            kind: lot.kind,
            features,
            entry: Entry {
                id: lot.id,
                status: lot.status,
                sale_mode: lot.sale_mode,
                capacity_source: lot.capacity_source,
                hold_minutes: lot.hold_minutes,
                hours: self.hours.number(lot.opening_hours),
                operator: self.operators.number(lot.operator_name),
                summary_at,
                folded_at,
                summary_len: u16::try_from(summary.len()).unwrap_or(u16::MAX),
                folded_len: u16::try_from(folded.len()).unwrap_or(u16::MAX),
                slots_at: 0,
            },
        });
    }

    /// Adds the numbers of a lot's class.
    pub fn row(&mut self, row: &CapacityRow) {
        let numbers = self.numbers.entry(row.lot_id).or_default();
        if let Some(number) = numbers.get_mut(rank(row.class)) {
            *number = Some(row.now);
        }
    }

    /// Sorts everything into place.
    pub fn build(mut self) -> Index {
        self.lots.sort_unstable_by(|a, b| {
            let by_place = a.at.band().cmp(&b.at.band()).then(a.at.lng().total_cmp(&b.at.lng()));
            by_place.then(a.entry.id.cmp(&b.entry.id))
        });
        let count = self.lots.len();
        let band_first = self.lots.first().map_or(0, |lot| lot.at.band());
        let mut index = Index {
            places: Vec::with_capacity(count),
            lngs: Vec::with_capacity(count),
            entries: Vec::with_capacity(count),
            band_starts: vec![0],
            band_first,
            by_id: HashMap::with_capacity(count),
            slots: Vec::with_capacity(self.numbers.len()),
            hours: self.hours.values,
            operators: self.operators.values,
            summaries: String::with_capacity(self.summaries.len()),
            folded: String::with_capacity(self.folded.len()),
            by_code: Vec::new(),
            serial: BUILT.fetch_add(1, Ordering::Relaxed),
        };
        for lot in self.lots {
            let no = small(index.entries.len());
            let bands = usize::from(lot.at.band() - band_first) + 1;
            index.band_starts.resize(index.band_starts.len().max(bands), no);
            let numbers = self.numbers.remove(&lot.entry.id).unwrap_or_default();
            let slots_at = small(index.slots.len());
            let mut classes = 0;
            for (class, numbers) in CLASSES.into_iter().zip(numbers) {
                if let Some(numbers) = numbers {
                    classes |= bit(class);
                    index.slots.push(Slot::new(&numbers));
                }
            }
            index.places.push(Place {
                unit: lot.at.unit(),
                classes,
                kind: lot.kind,
                features: lot.features,
            });
            index.lngs.push(lot.at.lng());
            index.by_id.insert(lot.entry.id, no);
            let summary_at = append(&mut index.summaries, &self.summaries, &lot.entry, |entry| {
                (entry.summary_at, entry.summary_len)
            });
            let folded_at = append(&mut index.folded, &self.folded, &lot.entry, |entry| {
                (entry.folded_at, entry.folded_len)
            });
            index.entries.push(Entry { summary_at, folded_at, slots_at, ..lot.entry });
        }
        index.band_starts.push(small(count));
        let mut by_code: Vec<u32> = (0..small(count)).collect();
        by_code.sort_by(|a, b| index.code_of(wide(*a)).cmp(index.code_of(wide(*b))));
        index.by_code = by_code;
        index.slots.shrink_to_fit();
        index
    }
}

/// Copies a lot's piece of `from` to the end of `to`; gives its place there.
fn append(to: &mut String, from: &str, entry: &Entry, piece: impl Fn(&Entry) -> (u32, u16)) -> u32 {
    let (at, len) = piece(entry);
    let (at, place) = (wide(at), small(to.len()));
    to.push_str(from.get(at..at + usize::from(len)).unwrap_or_default());
    place
}

fn rank(class: VehicleClass) -> usize {
    usize::try_from(bit(class).trailing_zeros()).unwrap_or_default()
}

fn summary_of(lot: &Lot) -> String {
    let summary = Summary {
        id: lot.id,
        code: &lot.code,
        name: &lot.name,
        address: &lot.address,
        location: lot.at,
        kind: lot.kind,
        features: &lot.features,
    };
    // Strings, numbers and lists only: serialising them cannot fail.
    let json = serde_json::to_string(&summary).unwrap_or_default();
    json.trim_start_matches('{').trim_end_matches('}').to_owned()
}
