use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::lots::capacity::Observed;
use crate::reservations::ReservationStatus;

const NOW: Timestamp = Timestamp::constant(1_795_766_400, 0);
const LIMITS: Limits = Limits { live_per_driver_max: 3, expired_per_hour_max: 5 };

fn lot(n: u128) -> LotId {
    LotId::from_uuid(Uuid::from_u128(n))
}

fn request(driver: u128, vehicle: u128, at: u128, key: &str) -> HoldRequest {
    HoldRequest {
        driver_id: DriverId::from_uuid(Uuid::from_u128(driver)),
        vehicle_id: VehicleId::from_uuid(Uuid::from_u128(vehicle)),
        lot_id: lot(at),
        arrive_by: None,
        key: key.to_owned(),
        hash: vec![u8::try_from(vehicle % 250).unwrap(), u8::try_from(at % 250).unwrap()],
    }
}

fn car() -> Facts {
    Facts { class: Some(VehicleClass::Car), ..Facts::default() }
}

fn space(capacity: u32, held: u32, in_use: u32, observed: Option<u32>) -> Space {
    let observed = observed.map(|occupied| Observed { occupied, at: NOW });
    Space {
        snapshot: Snapshot { capacity, held, in_use, observed, version: 1 },
        status: LotStatus::Open,
        opening_hours: None,
        hold_minutes: 15,
    }
}

fn run(spaces: &[(u128, Space)], requests: &[(HoldRequest, Facts)]) -> Vec<Decision> {
    let spaces: HashMap<SpaceKey, Space> =
        spaces.iter().map(|(n, space)| ((lot(*n), VehicleClass::Car), space.clone())).collect();
    let lots = HashMap::from([
        (lot(2), HashSet::from([VehicleClass::Bus])),
        (lot(5), HashSet::from([VehicleClass::Car])),
    ]);
    decide(&Table { now: NOW, limits: LIMITS, spaces: &spaces, lots: &lots }, requests)
}

fn refused(decision: &Decision) -> Option<Refusal> {
    match decision {
        Decision::Refuse(refusal) => Some(*refusal),
        Decision::Grant { .. } | Decision::Known(_) | Decision::SameAs(_) | Decision::Busy => None,
    }
}

#[test]
fn the_first_that_fit_get_the_last_spaces() {
    let asks: Vec<_> = (0..5).map(|n| (request(n, n, 1, "k"), car())).collect();
    let decisions = run(&[(1, space(10, 4, 2, Some(3)))], &asks);
    let granted: Vec<bool> =
        decisions.iter().map(|d| matches!(d, Decision::Grant { .. })).collect();
    assert_eq!(granted, [true, true, true, false, false]);
    assert_eq!(refused(&decisions[4]), Some(Refusal::LotFull));
}

#[test]
fn a_repeat_in_the_same_group_is_the_same_hold() {
    let asks = [(request(1, 1, 1, "k"), car()), (request(1, 1, 1, "k"), car())];
    assert_eq!(run(&[(1, space(9, 0, 0, None))], &asks)[1], Decision::SameAs(0));
}

#[test]
fn a_key_means_one_wish() {
    let asks = [(request(1, 1, 1, "k"), car()), (request(1, 2, 1, "k"), car())];
    let decisions = run(&[(1, space(9, 0, 0, None))], &asks);
    assert_eq!(refused(&decisions[1]), Some(Refusal::KeyReused));
}

#[test]
fn a_known_key_gets_the_answer_of_then_though_the_lot_is_full_now() {
    let ask = request(1, 1, 1, "k");
    let hold = Reservation {
        id: Uuid::from_u128(77).into(),
        lot_id: ask.lot_id,
        vehicle_id: ask.vehicle_id,
        vehicle_class: VehicleClass::Car,
        status: ReservationStatus::Expired,
        created_at: NOW,
        arrive_by: None,
        expires_at: NOW,
        ended_at: Some(NOW),
    };
    let facts = Facts { known: Some((hold.clone(), ask.hash.clone())), ..car() };
    let decisions = run(&[(1, space(1, 0, 1, None))], &[(ask, facts)]);
    assert_eq!(decisions, [Decision::Known(Box::new(hold.as_created()))]);
}

#[test]
fn one_vehicle_has_one_hold() {
    let asks = [(request(1, 1, 1, "a"), car()), (request(1, 1, 2, "b"), car())];
    let decisions = run(&[(1, space(9, 0, 0, None)), (2, space(9, 0, 0, None))], &asks);
    assert_eq!(refused(&decisions[1]), Some(Refusal::VehicleAlreadyHeld));
}

#[test]
fn a_driver_has_so_many_holds_over_all_vehicles() {
    let two = Facts { live: 2, ..car() };
    let asks = [(request(1, 1, 1, "a"), two.clone()), (request(1, 2, 1, "b"), two)];
    let decisions = run(&[(1, space(9, 0, 0, None))], &asks);
    assert!(matches!(decisions[0], Decision::Grant { .. }));
    assert_eq!(refused(&decisions[1]), Some(Refusal::HoldLimitReached));
}

#[test]
fn letting_holds_expire_pauses_holding_until_the_first_is_an_hour_old() {
    let first = NOW - SignedDuration::from_mins(50);
    let facts = Facts { expired: 5, first_expired_at: Some(first), ..car() };
    let decisions = run(&[(1, space(9, 0, 0, None))], &[(request(1, 1, 1, "a"), facts)]);
    assert_eq!(refused(&decisions[0]), Some(Refusal::Cooldown { retry_after_s: 600 }));
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let closed = Space { status: LotStatus::Closed, ..space(9, 0, 0, None) };
    let asks = [
        (request(1, 1, 1, "a"), Facts::default()),
        (request(1, 1, 2, "b"), car()),
        (request(1, 1, 3, "c"), car()),
        (request(1, 1, 4, "d"), car()),
    ];
    let refusals: Vec<_> = run(&[(1, space(9, 0, 0, None)), (3, closed)], &asks)
        .iter()
        .map(|decision| refused(decision).unwrap())
        .collect();
    assert_eq!(
        refusals,
        [
            Refusal::VehicleNotFound,
            Refusal::ClassNotServed,
            Refusal::LotClosed,
            Refusal::LotNotFound
        ]
    );
}

#[test]
fn a_row_that_others_have_locked_is_decided_later() {
    let asks = [(request(1, 1, 5, "a"), car()), (request(2, 2, 1, "b"), car())];
    let decisions = run(&[(1, space(9, 0, 0, None))], &asks);
    assert_eq!(decisions[0], Decision::Busy);
    assert!(matches!(decisions[1], Decision::Grant { .. }));
}

proptest! {
    /// Whatever comes in a group: no row is promised beyond what is free, no driver or vehicle
    /// beyond its limit, and nobody is refused as "full" while a space is left.
    #[test]
    fn a_group_fills_rows_exactly(
        capacity in 0_u32..8,
        held in 0_u32..4,
        in_use in 0_u32..4,
        observed in prop::option::of(0_u32..9),
        asks in prop::collection::vec((0_u128..6, 0_u128..9, 1_u128..3, 0_u8..5, 0_i64..4), 0..40),
    ) {
        let spaces = [
            (1, space(capacity, held, in_use, observed)),
            (2, space(2, 0, 0, None)),
        ];
        let asks: Vec<_> = asks
            .into_iter()
            .map(|(driver, vehicle, at, key, live)| {
                let facts = Facts { live, ..car() };
                (request(driver, driver * 100 + vehicle, at, &key.to_string()), facts)
            })
            .collect();
        let decisions = run(&spaces, &asks);
        prop_assert_eq!(decisions.len(), asks.len());
        for (n, space) in &spaces {
            let free = usize::try_from(space.snapshot.free(NOW)).unwrap();
            let here = |d: &&Decision| {
                matches!(d, Decision::Grant { space, .. } if space.0 == lot(*n))
            };
            let granted = decisions.iter().filter(here).count();
            prop_assert!(granted <= free);
            let full = asks.iter().zip(&decisions).any(|((ask, _), decision)| {
                ask.lot_id == lot(*n) && refused(decision) == Some(Refusal::LotFull)
            });
            prop_assert!(!full || granted == free);
        }
        let mut vehicles = HashSet::new();
        let mut holds: HashMap<DriverId, i64> = HashMap::new();
        for ((ask, facts), decision) in asks.iter().zip(&decisions) {
            if matches!(decision, Decision::Grant { .. }) {
                prop_assert!(vehicles.insert(ask.vehicle_id));
                let count = holds.entry(ask.driver_id).or_default();
                *count += 1;
                prop_assert!(facts.live + *count <= LIMITS.live_per_driver_max);
            }
        }
    }
}
