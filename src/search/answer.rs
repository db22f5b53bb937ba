//! Answers as bytes: ready-made text for what never changes, numbers written in between.

use jiff::Timestamp;
use jiff::civil::Weekday;

use super::json::{push_number, push_timestamp};
use super::prices::{Price, Prices};
use super::query::SearchQuery;
use super::{Priced, Sort, order, walk_minutes};
use crate::kernel::clock::hanoi;
use crate::kernel::vehicle::VehicleClass;
use crate::lots::LotStatus;
use crate::lots::capacity::{Confidence, Snapshot};
use crate::lots::hours::OpeningHours;
use crate::occupancy::index::{Entry, Index, LotNo, Wanted};
use crate::tariffs::book::LotTariff;

/// About what a lot takes in an answer.
const BYTES_PER_LOT: usize = 700;

/// The present moment as answers need it.
#[derive(Debug)]
pub struct Moment {
    /// The instant.
    pub now: Timestamp,
    /// Whether changes arrive at once; if not, no number is better than stale.
    pub in_step: bool,
    civil: Option<(Weekday, u16)>,
}

impl Moment {
    /// The moment `now`.
    pub fn new(now: Timestamp, in_step: bool) -> Moment {
        Moment { now, in_step, civil: None }
    }

    /// Whether a lot takes vehicles now. The civil time is worked out once, when first needed.
    pub fn is_open(&mut self, index: &Index, entry: &Entry) -> bool {
        entry.status == LotStatus::Open
            && match index.hours(entry) {
                OpeningHours::Always => true,
                hours @ OpeningHours::Weekly(_) => {
                    let (day, minute) = *self.civil.get_or_insert_with(|| {
                        let civil = self.now.to_zoned(hanoi());
                        let minute = i32::from(civil.hour()) * 60 + i32::from(civil.minute());
                        (civil.weekday(), u16::try_from(minute).unwrap_or_default())
                    });
                    hours.open_on(day, minute)
                }
            }
    }

    fn confidence(&self, snapshot: &Snapshot) -> Confidence {
        let confidence = snapshot.confidence(self.now);
        if self.in_step { confidence } else { confidence.max(Confidence::Stale) }
    }
}

/// The answer to a search.
pub fn search(
    index: &Index,
    query: &SearchQuery,
    prices: &mut Prices<'_>,
    moment: &mut Moment,
) -> Vec<u8> {
    let hits = find(index, query, prices, moment);
    let mut out = Vec::with_capacity(64 + hits.len() * BYTES_PER_LOT);
    out.extend_from_slice(b"{\"items\":[");
    let mut first = true;
    for hit in &hits {
        let Some(entry) = index.entry(hit.near.lot) else { continue };
        if !first {
            out.push(b',');
        }
        first = false;
        let price = prices.of(hit.near.lot);
        push_hit(&mut out, index, entry, hit, query, price, moment);
    }
    out.extend_from_slice(b"],\"next_cursor\":null,\"stale\":");
    out.extend_from_slice(if moment.in_step { b"false}" } else { b"true}" });
    out
}

/// The lots in their order.
fn find(
    index: &Index,
    query: &SearchQuery,
    prices: &mut Prices<'_>,
    moment: &mut Moment,
) -> Vec<Priced> {
    let wanted = Wanted { class: Some(query.class), kind: query.kind, features: query.features };
    let mut accept = |lot: LotNo| {
        let free = !query.only_free || has_room(index, lot, query.class, moment);
        free && query
            .max_price
            .is_none_or(|most| prices.of(lot).is_some_and(|price| price.amount <= most))
    };
    if query.sort == Sort::Nearest {
        let near = index.nearest(query.centre, query.radius, query.limit, wanted, accept);
        return near.into_iter().map(|near| Priced { near, amount: None }).collect();
    }
    let near = index.within(query.centre, query.radius, wanted, &mut accept);
    let mut hits: Vec<Priced> = near
        .into_iter()
        .map(|near| Priced { near, amount: prices.of(near.lot).map(|price| price.amount) })
        .collect();
    order(index, &mut hits, query.sort, query.limit);
    hits
}

fn has_room(index: &Index, lot: LotNo, class: VehicleClass, moment: &mut Moment) -> bool {
    let free = index.slot(lot, class).is_some_and(|slot| slot.read().free(moment.now) > 0);
    free && index.entry(lot).is_some_and(|entry| moment.is_open(index, entry))
}

fn push_hit(
    out: &mut Vec<u8>,
    index: &Index,
    entry: &Entry,
    hit: &Priced,
    query: &SearchQuery,
    price: Option<Price>,
    moment: &mut Moment,
) {
    let Some(slot) = index.slot(hit.near.lot, query.class) else { return };
    let snapshot = slot.read();
    let distance = hit.near.distance();
    out.push(b'{');
    out.extend_from_slice(index.summary(entry).as_bytes());
    out.push(b',');
    push_numbers(out, query.class, &snapshot, moment);
    out.extend_from_slice(b",\"capacity_source\":\"");
    out.extend_from_slice(entry.capacity_source.as_str().as_bytes());
    out.extend_from_slice(b"\",\"distance_m\":");
    push_number(out, distance.get().into());
    out.extend_from_slice(b",\"walk_minutes\":");
    push_number(out, walk_minutes(distance).into());
    out.extend_from_slice(b",\"open_now\":");
    push_bool(out, moment.is_open(index, entry));
    out.extend_from_slice(b",\"quote\":");
    match price {
        None => out.extend_from_slice(b"null}"),
        Some(price) => {
            out.extend_from_slice(b"{\"amount_vnd\":");
            push_number(out, u64::try_from(price.amount.get()).unwrap_or(0));
            out.extend_from_slice(b",\"stay_minutes\":");
            push_number(out, query.stay_minutes.into());
            out.extend_from_slice(b",\"tariff_version_id\":\"");
            let mut text = uuid::Uuid::encode_buffer();
            let id = price.version.get();
            out.extend_from_slice(id.as_hyphenated().encode_lower(&mut text).as_bytes());
            out.extend_from_slice(b"\"}}");
        }
    }
}

fn push_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// The members `vehicle_class` to `confidence`.
fn push_numbers(out: &mut Vec<u8>, class: VehicleClass, snapshot: &Snapshot, moment: &Moment) {
    out.extend_from_slice(b"\"vehicle_class\":\"");
    out.extend_from_slice(class.as_str().as_bytes());
    out.extend_from_slice(b"\",\"capacity\":");
    push_number(out, snapshot.capacity.into());
    out.extend_from_slice(b",\"free_spaces\":");
    push_number(out, snapshot.free(moment.now).into());
    out.extend_from_slice(b",\"as_of\":");
    match snapshot.as_of(moment.now) {
        Some(at) => push_timestamp(out, at),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"confidence\":\"");
    out.extend_from_slice(moment.confidence(snapshot).as_str().as_bytes());
    out.push(b'"');
}

/// The member `capacities`, a list by class.
fn push_capacities(out: &mut Vec<u8>, index: &Index, lot: LotNo, moment: &Moment) {
    out.extend_from_slice(b",\"capacities\":[");
    for (at, (class, snapshot)) in index.numbers(lot).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.push(b'{');
        push_numbers(out, class, &snapshot, moment);
        out.push(b'}');
    }
    out.push(b']');
}

/// A page of lots.
pub fn list(
    index: &Index,
    lots: &[(LotNo, &Entry)],
    next_cursor: Option<&str>,
    moment: &Moment,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + lots.len() * BYTES_PER_LOT);
    out.extend_from_slice(b"{\"items\":[");
    for (at, (lot, entry)) in lots.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.push(b'{');
        out.extend_from_slice(index.summary(entry).as_bytes());
        push_capacities(&mut out, index, *lot, moment);
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"next_cursor\":");
    // A cursor is letters, digits, dashes and underscores: nothing to escape.
    match next_cursor {
        None => out.extend_from_slice(b"null"),
        Some(cursor) => {
            out.push(b'"');
            out.extend_from_slice(cursor.as_bytes());
            out.push(b'"');
        }
    }
    out.push(b'}');
    out
}

/// One lot in full.
pub fn detail(
    index: &Index,
    lot: LotNo,
    entry: &Entry,
    tariffs: &[LotTariff],
    moment: &mut Moment,
) -> Vec<u8> {
    let json = |value: Result<String, serde_json::Error>| value.unwrap_or_else(|_| "null".into());
    let mut out = Vec::with_capacity(2 * BYTES_PER_LOT);
    out.push(b'{');
    out.extend_from_slice(index.summary(entry).as_bytes());
    push_capacities(&mut out, index, lot, moment);
    let rest = format!(
        r#","status":"{}","capacity_source":"{}","opening_hours":{},"open_now":{},"operator":{{"name":{}}},"sale_mode":"{}","hold_minutes":{},"tariffs":{}}}"#,
        entry.status.as_str(),
        entry.capacity_source.as_str(),
        json(serde_json::to_string(index.hours(entry))),
        moment.is_open(index, entry),
        json(serde_json::to_string(index.operator(entry))),
        entry.sale_mode.as_str(),
        entry.hold_minutes,
        json(serde_json::to_string(tariffs)),
    );
    out.extend_from_slice(rest.as_bytes());
    out
}
