//! The tariff zones and printed tariffs of `seed/*.json`, and which zone a place lies in.
//!
//! Zones are areas drawn by hand along streets and ring roads; the first one that contains a place
//! holds, and one without an area takes what is left.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Deserialize;

use super::SeedError;
use crate::kernel::geo::{LatLng, inside};
use crate::kernel::vehicle::VehicleClass;

const ZONES: &str = include_str!("../../../seed/zones.json");
const TARIFFS: &str = include_str!("../../../seed/tariffs.json");

/// Tariff codes by class.
pub(super) type TariffCodes = BTreeMap<VehicleClass, String>;

/// The whole of `zones.json`.
#[derive(Deserialize)]
pub(super) struct ZoneFile {
    /// In the order in which they are tried.
    pub(super) zones: Vec<Zone>,
    /// Schools and the like, which have prices of their own.
    pub(super) public_places: PublicPlaces,
}

/// A tariff zone.
#[derive(Deserialize)]
pub(super) struct Zone {
    /// Its short name.
    pub(super) code: String,
    /// Its name.
    pub(super) name: String,
    /// Its first day.
    pub(super) valid_from: Date,
    areas: Vec<Area>,
    /// What holds in it.
    pub(super) tariffs: TariffCodes,
}

/// Places known by how their names begin.
#[derive(Deserialize)]
pub(super) struct PublicPlaces {
    name_starts: Vec<String>,
    /// What holds there instead of the zone's.
    pub(super) tariffs: TariffCodes,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Area {
    /// Corners as latitude and longitude.
    Polygon(Vec<(f64, f64)>),
    Circle {
        lat: f64,
        lng: f64,
        radius_m: f64,
    },
}

/// A printed tariff.
#[derive(Deserialize)]
pub(super) struct SeedTariff {
    /// Its short name.
    pub(super) code: String,
    /// Its name.
    pub(super) name: String,
    /// Its first day.
    pub(super) starts_on: Date,
    /// Whether the numbers stand in the source or are derived from it.
    basis: String,
    source: String,
    /// As the price engine reads them.
    pub(super) rules: serde_json::Value,
}

impl SeedTariff {
    /// Where the numbers come from, and how directly.
    pub(super) fn source(&self) -> String {
        format!("{}: {}", self.basis, self.source)
    }
}

impl ZoneFile {
    /// Reads the zones.
    pub(super) fn read() -> Result<Self, SeedError> {
        serde_json::from_str(ZONES).map_err(SeedError::Json)
    }

    /// The zone of a place.
    pub(super) fn zone_of(&self, place: LatLng) -> Result<&Zone, SeedError> {
        for zone in &self.zones {
            if zone.contains(place)? {
                return Ok(zone);
            }
        }
        Err(SeedError::Data("a place in no zone"))
    }
}

impl Zone {
    fn contains(&self, place: LatLng) -> Result<bool, SeedError> {
        let at = |(lat, lng): (f64, f64)| {
            LatLng::new(lat, lng).map_err(|_outside| SeedError::Data("a zone outside Vietnam"))
        };
        for area in &self.areas {
            let hit = match area {
                Area::Polygon(corners) => {
                    let corners: Result<Vec<_>, _> = corners.iter().copied().map(at).collect();
                    inside(place, &corners?)
                }
                Area::Circle { lat, lng, radius_m } => {
                    place.distance_m(at((*lat, *lng))?) <= *radius_m
                }
            };
            if hit {
                return Ok(true);
            }
        }
        Ok(self.areas.is_empty())
    }
}

impl PublicPlaces {
    /// Whether a place of this name is one.
    pub(super) fn includes(&self, name: &str) -> bool {
        self.name_starts.iter().any(|start| name.starts_with(start.as_str()))
    }
}

/// Reads the printed tariffs.
pub(super) fn tariffs() -> Result<Vec<SeedTariff>, SeedError> {
    #[derive(Deserialize)]
    struct File {
        tariffs: Vec<SeedTariff>,
    }
    serde_json::from_str::<File>(TARIFFS).map(|file| file.tariffs).map_err(SeedError::Json)
}

#[cfg(test)]
mod tests {
    use super::super::places;
    use super::*;

    fn zone_of(code: &str) -> String {
        let lots = places::lots().unwrap();
        let lot = lots.iter().find(|lot| lot.lot.code.as_str() == code).unwrap();
        ZoneFile::read().unwrap().zone_of(lot.lot.at).unwrap().code.clone()
    }

    #[test]
    fn every_tariff_of_a_zone_is_in_the_file() {
        let zones = ZoneFile::read().unwrap();
        let known: Vec<String> = tariffs().unwrap().into_iter().map(|tariff| tariff.code).collect();
        let used = zones.zones.iter().map(|zone| &zone.tariffs);
        for codes in used.chain([&zones.public_places.tariffs]) {
            assert!(codes.values().all(|code| known.contains(code)), "{codes:?}");
        }
    }

    #[test]
    fn places_fall_into_the_zones_that_their_streets_lie_in() {
        // Nguyễn Khuyến street, west of the old Hoàn Kiếm; Mê Linh garden in it; Yên Nghĩa, Hà Đông.
        assert_eq!(zone_of("HN-003"), "inside-ring-3");
        assert!(["hk-12-streets", "hoan-kiem-rest"].contains(&zone_of("HN-091").as_str()));
        assert_eq!(zone_of("HN-001"), "outside-ring-3");
    }

    #[test]
    fn schools_have_prices_of_their_own() {
        let zones = ZoneFile::read().unwrap();
        assert!(zones.public_places.includes("Trường THPT Trần Phú"));
        assert!(!zones.public_places.includes("Lòng đường tuyến phố Duy Tân"));
    }
}
