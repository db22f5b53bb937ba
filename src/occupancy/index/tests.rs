//! The index answers like a scan over all lots, and keeps the newest numbers.

#![expect(clippy::float_arithmetic, reason = "towns are made of random degrees")]

use super::*;
use crate::kernel::ids::OperatorId;
use crate::lots::capacity::{CapacityRow, Snapshot};
use crate::lots::{Feature, Lot};
use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

fn lot(number: u128, at: LatLng) -> Lot {
    Lot {
        id: LotId::from_uuid(Uuid::from_u128(number)),
        code: format!("L-{number}"),
        operator_id: OperatorId::from_uuid(Uuid::nil()),
        operator_name: "Công ty".into(),
        name: format!("Bãi xe \"{number}\""),
        address: "Phố Huế".into(),
        at,
        kind: if number.is_multiple_of(3) { LotKind::OnStreet } else { LotKind::OffStreet },
        features: if number.is_multiple_of(2) { vec![Feature::Covered] } else { Vec::new() },
        status: LotStatus::Open,
        sale_mode: SaleMode::PayOnExit,
        hold_minutes: 15,
        forgotten_stop_minutes: 1_440,
        correction_grace_minutes: 10,
        opening_hours: OpeningHours::Always,
        capacity_source: CapacitySource::Stated,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}

fn row(number: u128, class: VehicleClass, free: u32, version: i64) -> CapacityRow {
    let now = Snapshot { capacity: free, held: 0, in_use: 0, observed: None, version };
    CapacityRow { lot_id: LotId::from_uuid(Uuid::from_u128(number)), class, now }
}

fn index_of(points: &[LatLng]) -> Index {
    let mut builder = Builder::default();
    for (number, at) in (0_u128..).zip(points) {
        // Every fifth lot takes motorbikes only, every seventh is full.
        if !number.is_multiple_of(5) {
            builder.row(&row(number, VehicleClass::Car, u32::from(!number.is_multiple_of(7)), 1));
        }
        builder.row(&row(number, VehicleClass::Motorbike, 5, 1));
        builder.lot(lot(number, *at));
    }
    builder.build()
}

fn point(lat: std::ops::Range<f64>, lng: std::ops::Range<f64>) -> impl Strategy<Value = LatLng> {
    (lat, lng).prop_map(|(lat, lng)| LatLng::new(lat, lng).unwrap())
}

/// A town of 6 × 6 km with some places taken twice, somewhere between Cà Mau and Hà Giang.
fn town() -> impl Strategy<Value = (Vec<LatLng>, LatLng)> {
    (8.5..23.3_f64, 102.5..109.0_f64).prop_flat_map(|(lat, lng)| {
        let spot = || point(lat..lat + 0.06, lng..lng + 0.06);
        (prop::collection::vec(spot(), 0..400), spot()).prop_map(|(mut points, centre)| {
            let twice: Vec<LatLng> = points.iter().step_by(9).copied().collect();
            points.extend(twice);
            (points, centre)
        })
    })
}

fn scan(
    points: &[LatLng],
    centre: LatLng,
    radius: Metres,
    limit: usize,
    wanted: impl Fn(u128) -> bool,
) -> Vec<u128> {
    let mut all: Vec<(f64, u128)> = points
        .iter()
        .zip(0_u128..)
        .map(|(at, number)| (centre.distance_m(*at), number))
        .filter(|(distance, number)| *distance <= f64::from(radius.get()) && wanted(*number))
        .collect();
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    all.into_iter().take(limit).map(|(_, number)| number).collect()
}

fn numbers(index: &Index, hits: &[Near]) -> Vec<u128> {
    hits.iter().map(|hit| index.entry(hit.lot).unwrap().id.get().as_u128()).collect()
}

proptest! {
    #[test]
    fn the_nearest_are_those_of_a_scan_over_all_lots(
        (points, centre) in town(), radius in 1_u32..5_000, limit in 1_usize..60, free in any::<bool>(),
    ) {
        let index = index_of(&points);
        let radius = Metres::new(radius);
        let wanted = Wanted { class: Some(VehicleClass::Car), kind: None, features: 0 };
        let hits = index.nearest(centre, radius, limit, wanted, |no| {
            !free || index.slot(no, VehicleClass::Car).unwrap().read().capacity > 0
        });
        let expected = scan(&points, centre, radius, limit, |number| {
            !(number.is_multiple_of(5) || free && number.is_multiple_of(7))
        });
        prop_assert_eq!(numbers(&index, &hits), expected);
        for hit in &hits {
            let number = index.entry(hit.lot).unwrap().id.get().as_u128();
            let at = points[usize::try_from(number).unwrap()];
            prop_assert_eq!(hit.distance(), Metres::rounded(centre.distance_m(at)));
        }
    }

    #[test]
    fn everything_within_is_what_a_scan_finds(
        (points, centre) in town(), radius in 1_u32..5_000,
    ) {
        let index = index_of(&points);
        let radius = Metres::new(radius);
        let wanted = Wanted {
            class: Some(VehicleClass::Motorbike),
            kind: Some(LotKind::OffStreet),
            features: Feature::Covered.bit(),
        };
        let mut hits = index.within(centre, radius, wanted, |_| true);
        index.sort(&mut hits, usize::MAX);
        let expected = scan(&points, centre, radius, usize::MAX, |number| {
            number.is_multiple_of(2) && !number.is_multiple_of(3)
        });
        prop_assert_eq!(numbers(&index, &hits), expected);
    }
}

#[test]
fn lots_all_over_the_country_are_found_where_they_are() {
    let cities = [(21.03, 105.85), (16.05, 108.2), (10.78, 106.7), (9.18, 105.15), (22.82, 104.98)];
    let points: Vec<LatLng> =
        cities.iter().map(|(lat, lng)| LatLng::new(*lat, *lng).unwrap()).collect();
    let index = index_of(&points);
    let wanted = Wanted { class: Some(VehicleClass::Motorbike), kind: None, features: 0 };
    for (number, at) in (0_u128..).zip(&points) {
        let hits = index.nearest(*at, Metres::new(5_000), 5, wanted, |_| true);
        assert_eq!(numbers(&index, &hits), [number]);
    }
}

#[test]
fn an_empty_index_finds_nothing() {
    let index = Index::empty();
    let centre = LatLng::new(21.03, 105.85).unwrap();
    let wanted = Wanted { class: Some(VehicleClass::Car), kind: None, features: 0 };
    assert!(index.nearest(centre, Metres::new(5_000), 20, wanted, |_| true).is_empty());
}

#[test]
fn each_class_has_numbers_of_its_own_and_the_newer_wins() {
    let at = LatLng::new(21.03, 105.85).unwrap();
    let index = index_of(&[at, at]);
    let no = index.find(LotId::from_uuid(Uuid::from_u128(1))).unwrap();
    assert_eq!(index.offer(&row(1, VehicleClass::Motorbike, 9, 2)), Some(true));
    assert_eq!(index.offer(&row(1, VehicleClass::Motorbike, 4, 2)), Some(false));
    assert_eq!(index.offer(&row(1, VehicleClass::Bus, 4, 2)), None);
    assert_eq!(index.offer(&row(99, VehicleClass::Car, 4, 2)), None);
    let free: Vec<_> = index.numbers(no).map(|(class, now)| (class, now.capacity)).collect();
    assert_eq!(free, [(VehicleClass::Motorbike, 9), (VehicleClass::Car, 1)]);
}

#[test]
fn a_new_index_takes_over_what_is_newer_in_the_old_one() {
    let at = LatLng::new(21.03, 105.85).unwrap();
    let (old, new) = (index_of(&[at, at]), index_of(&[at, at, at]));
    old.offer(&row(1, VehicleClass::Car, 8, 7));
    new.offer(&row(1, VehicleClass::Motorbike, 3, 9));
    new.take_over(&old);
    let no = new.find(LotId::from_uuid(Uuid::from_u128(1))).unwrap();
    let free: Vec<_> = new.numbers(no).map(|(class, now)| (class, now.capacity)).collect();
    assert_eq!(free, [(VehicleClass::Motorbike, 3), (VehicleClass::Car, 8)]);
}

#[test]
fn the_ready_made_text_is_the_lots_json() {
    let index = index_of(&[LatLng::new(21.03, 105.85).unwrap()]);
    let entry = index.entry(0).unwrap();
    let json: serde_json::Value =
        serde_json::from_str(&format!("{{{}}}", index.summary(entry))).unwrap();
    assert_eq!(json["name"], "Bãi xe \"0\"");
    assert_eq!(json["location"]["lng"], 105.85);
    assert_eq!(json["features"], serde_json::json!(["covered"]));
    assert_eq!(index.folded(entry), "l 0\nbai xe 0\npho hue");
}
