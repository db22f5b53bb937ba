//! The 119 real places of `seed/hanoi-lots.csv` as lots: pure reading of what the city announced.
//!
//! What the announcement leaves open is estimated and marked so (`capacity_source`); nothing is
//! made up silently. `seed/README.md` says where the file came from and how the estimates go.

use serde::Deserialize;

use super::SeedError;
use crate::kernel::geo::LatLng;
use crate::kernel::vehicle::VehicleClass;
use crate::lots::hours::OpeningHours;
use crate::lots::{CapacitySource, LotCode, LotKind, NewLot, SaleMode};

/// The announced places, in the order of the city's list.
const PLACES: &str = include_str!("../../../seed/hanoi-lots.csv");
/// Minutes that a hold lasts; a driver in Hanoi's traffic makes some 3 km in that time.
const HOLD_MINUTES: i32 = 15;
/// A day: what the longest printed tariff of a turn covers.
const FORGOTTEN_STOP_MINUTES: i32 = 1440;
const CORRECTION_GRACE_MINUTES: i32 = 10;

/// A place as the city announced it.
#[derive(Deserialize)]
struct Place {
    name: String,
    latitude: f64,
    longitude: f64,
    stated_capacity: Option<i32>,
    stated_vehicle_types: String,
    kind: LotKind,
}

/// A lot to be seeded; its code, `HN-001` … in the order of the file, makes seeding repeatable.
#[derive(Debug, Clone)]
pub(super) struct SeedLot {
    /// The code of the operator that runs it.
    pub(super) operator: &'static str,
    /// The lot; its capacity counts as `stated` only where the announcement gives the very number
    /// of a single class.
    pub(super) lot: NewLot,
    /// When it is open.
    pub(super) hours: OpeningHours,
    /// Spaces by class.
    pub(super) capacity: Vec<(VehicleClass, i32)>,
}

/// A company of the demonstration data.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeedOperator {
    /// Its code.
    pub(super) code: &'static str,
    /// Its name, marked as a demonstration.
    pub(super) name: &'static str,
    /// A number of the right form that no company has.
    pub(super) tax_code: &'static str,
    /// Its permit for the places it runs.
    pub(super) permit: &'static str,
}

/// The demonstration's operators; who really runs the places is not announced.
pub(super) const OPERATORS: [SeedOperator; 5] = [
    SeedOperator {
        code: "trung-tam",
        name: "Công ty Khai thác điểm đỗ xe Trung tâm (minh họa)",
        tax_code: "0000000001",
        permit: "MH-01/GP",
    },
    SeedOperator {
        code: "phia-tay",
        name: "Công ty Khai thác điểm đỗ xe phía Tây (minh họa)",
        tax_code: "0000000002",
        permit: "MH-02/GP",
    },
    SeedOperator {
        code: "phia-nam",
        name: "Công ty Khai thác điểm đỗ xe phía Nam (minh họa)",
        tax_code: "0000000003",
        permit: "MH-03/GP",
    },
    SeedOperator {
        code: "duong-sat-do-thi",
        name: "Công ty Khai thác điểm đỗ xe ga đường sắt đô thị (minh họa)",
        tax_code: "0000000004",
        permit: "MH-04/GP",
    },
    SeedOperator {
        code: "long-bien",
        name: "Công ty Khai thác điểm đỗ xe Long Biên (minh họa)",
        tax_code: "0000000005",
        permit: "MH-05/GP",
    },
];

/// Streets where time is sold up front, as the city's app has sold it on the carriageway since 2017.
const PREPAID_STREETS: [&str; 4] = ["Trần Thái Tông", "Duy Tân", "Quan Hoa", "Nguyễn Khuyến"];

/// Reads the announced places.
pub(super) fn lots() -> Result<Vec<SeedLot>, SeedError> {
    let mut reader = csv::Reader::from_reader(PLACES.as_bytes());
    reader
        .deserialize::<Place>()
        .enumerate()
        .map(|(index, place)| seed_lot(index, place?))
        .collect()
}

fn seed_lot(index: usize, place: Place) -> Result<SeedLot, SeedError> {
    let code = format!("HN-{:03}", index + 1);
    let (capacity, capacity_source) = capacity(&place);
    let prepaid = place.kind == LotKind::OnStreet
        && PREPAID_STREETS.iter().any(|street| place.name.contains(street));
    Ok(SeedLot {
        operator: operator(&place),
        hours: opening_hours(&place.name)?,
        capacity,
        lot: NewLot {
            code: LotCode::parse(&code).ok_or(SeedError::Data("a lot's code"))?,
            address: address(&place.name),
            at: LatLng::new(place.latitude, place.longitude)
                .map_err(|_outside| SeedError::Data("a place outside Vietnam"))?,
            kind: place.kind,
            // None is announced.
            features: Vec::new(),
            sale_mode: if prepaid { SaleMode::Prepaid } else { SaleMode::PayOnExit },
            hold_minutes: HOLD_MINUTES,
            forgotten_stop_minutes: FORGOTTEN_STOP_MINUTES,
            correction_grace_minutes: CORRECTION_GRACE_MINUTES,
            capacity_source,
            name: place.name,
        },
    })
}

/// By kind of place, then roughly by area.
fn operator(place: &Place) -> &'static str {
    if place.name.starts_with("Ga ") || place.name.contains("ga Nhổn") {
        "duong-sat-do-thi"
    } else if place.longitude > 105.865 {
        "long-bien"
    } else if place.latitude < 21.0 {
        "phia-nam"
    } else if place.longitude < 105.82 {
        "phia-tay"
    } else {
        "trung-tam"
    }
}

/// The announced classes: "xe khách" is a coach, "xe con" a passenger car.
fn stated_classes(types: &str) -> Vec<VehicleClass> {
    let types = types.to_lowercase();
    [
        ("khách", VehicleClass::Bus),
        ("xe con", VehicleClass::Car),
        ("ô tô con", VehicleClass::Car),
        ("xe máy", VehicleClass::Motorbike),
        ("xe đạp", VehicleClass::Bicycle),
    ]
    .into_iter()
    .filter(|(word, _)| types.contains(word))
    .fold(Vec::new(), |mut classes, (_, class)| {
        if !classes.contains(&class) {
            classes.push(class);
        }
        classes
    })
}

/// Spaces by class, and whether they are announced or our estimate.
fn capacity(place: &Place) -> (Vec<(VehicleClass, i32)>, CapacitySource) {
    let stated = stated_classes(&place.stated_vehicle_types);
    match (place.stated_capacity, stated.as_slice()) {
        (Some(total), [class]) => (vec![(*class, total)], CapacitySource::Stated),
        // The total is announced, its parts are not.
        (Some(total), classes) => (split(total, classes), CapacitySource::Estimate),
        (None, []) => (estimate(&place.name).to_vec(), CapacitySource::Estimate),
        (None, classes) => {
            let kept =
                estimate(&place.name).into_iter().filter(|(class, _)| classes.contains(class));
            (kept.collect(), CapacitySource::Estimate)
        }
    }
}

/// Splits an announced total by weights: most vehicles in Hanoi are motorbikes, coaches are few.
fn split(total: i32, classes: &[VehicleClass]) -> Vec<(VehicleClass, i32)> {
    let weight = |class: VehicleClass| match class {
        VehicleClass::Bicycle | VehicleClass::Van | VehicleClass::Bus | VehicleClass::Truck => 1,
        VehicleClass::Car => 4,
        VehicleClass::Motorbike => 5,
    };
    let sum: i32 = classes.iter().copied().map(weight).sum();
    classes
        .iter()
        .map(|class| (*class, (total * weight(*class)).checked_div(sum).unwrap_or(0)))
        .collect()
}

/// What a place of such a name holds, by its kind. Rough, and marked as an estimate.
fn estimate(name: &str) -> [(VehicleClass, i32); 3] {
    // The first word that occurs decides, so the special stands before the general.
    const KINDS: [(&str, [i32; 3]); 11] = [
        ("Mầm non", [8, 40, 10]),
        ("Tiểu học", [15, 80, 20]),
        ("THCS", [15, 100, 40]),
        ("THPT", [20, 120, 50]),
        ("Ga ", [20, 150, 40]),
        ("Đại học", [80, 400, 80]),
        ("Học viện", [60, 300, 60]),
        ("Công viên", [60, 250, 40]),
        ("Vườn thú", [60, 250, 40]),
        ("Vườn hoa", [20, 80, 20]),
        ("Vườn Hoa", [20, 80, 20]),
    ];
    const ELSE: [i32; 3] = [40, 120, 20];
    let [car, motorbike, bicycle] =
        KINDS.iter().find(|(word, _)| name.contains(word)).map_or(ELSE, |(_, spaces)| *spaces);
    [
        (VehicleClass::Car, car),
        (VehicleClass::Motorbike, motorbike),
        (VehicleClass::Bicycle, bicycle),
    ]
}

/// The name without the words that say what kind of ground it is.
fn address(name: &str) -> String {
    const OPENINGS: [(&str, &str); 9] = [
        ("Lòng đường tuyến phố ", "Phố "),
        ("Lòng đường đôi ", "Đường "),
        ("Lòng đường ", "Đường "),
        ("Khuôn viên ", ""),
        ("Bãi xe trong khuôn viên ", ""),
        ("Một phần trong ", ""),
        ("Khu đất trông tại ", ""),
        ("Phía sau tòa nhà ", ""),
        ("Ô đất ", ""),
    ];
    let place = OPENINGS
        .iter()
        .find_map(|(opening, instead)| Some(format!("{instead}{}", name.strip_prefix(opening)?)))
        .unwrap_or_else(|| name.to_owned())
        .replace("Phố Phố ", "Phố ");
    format!("{place}, Hà Nội")
}

/// Parks close at night; nothing is announced for the rest, which counts as always open.
fn opening_hours(name: &str) -> Result<OpeningHours, SeedError> {
    if !name.contains("Vườn thú") && !name.contains("Công viên") {
        return Ok(OpeningHours::Always);
    }
    let day = serde_json::json!([["06:00", "22:00"]]);
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let week: serde_json::Value =
        days.into_iter().map(|name| (name.to_owned(), day.clone())).collect();
    serde_json::from_value(week).map_err(SeedError::Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lot(code: &str) -> SeedLot {
        lots().unwrap().into_iter().find(|lot| lot.lot.code.as_str() == code).unwrap()
    }

    #[test]
    fn every_announced_place_becomes_a_lot_with_spaces_and_a_known_operator() {
        let lots = lots().unwrap();
        assert_eq!(lots.len(), 119);
        for lot in &lots {
            assert!(!lot.capacity.is_empty(), "{}", lot.lot.code.as_str());
            assert!(
                lot.capacity.iter().all(|(_, spaces)| *spaces > 0),
                "{}",
                lot.lot.code.as_str()
            );
            assert!(OPERATORS.iter().any(|operator| operator.code == lot.operator));
        }
        for operator in OPERATORS {
            assert!(lots.iter().any(|lot| lot.operator == operator.code), "{}", operator.code);
        }
    }

    #[test]
    fn a_stated_number_of_one_class_is_kept_as_stated() {
        let coaches = lot("HN-001");
        assert_eq!(coaches.capacity, vec![(VehicleClass::Bus, 150)]);
        assert_eq!(coaches.lot.capacity_source, CapacitySource::Stated);
        let street = lot("HN-003");
        assert_eq!(street.capacity, vec![(VehicleClass::Car, 35)]);
        assert_eq!(street.lot.address, "Phố Nguyễn Khuyến, 19/5, Hà Nội");
    }

    #[test]
    fn a_stated_total_of_several_classes_is_split_and_called_an_estimate() {
        let mixed = lot("HN-015");
        assert_eq!(mixed.capacity, vec![(VehicleClass::Bus, 60), (VehicleClass::Car, 240)]);
        assert_eq!(mixed.lot.capacity_source, CapacitySource::Estimate);
    }

    #[test]
    fn stated_classes_without_a_number_limit_the_estimate() {
        let two_wheelers = lot("HN-013");
        let classes: Vec<_> = two_wheelers.capacity.iter().map(|(class, _)| *class).collect();
        assert_eq!(classes, [VehicleClass::Motorbike, VehicleClass::Bicycle]);
        assert_eq!(two_wheelers.lot.capacity_source, CapacitySource::Estimate);
    }

    #[test]
    fn a_street_named_street_is_not_called_so_twice() {
        assert_eq!(address("Lòng đường tuyến phố Phố Vọng"), "Phố Vọng, Hà Nội");
    }
}
