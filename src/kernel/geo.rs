//! Places on the Earth: the only file that computes with floating point.
//!
//! Distances are great-circle distances on a sphere of the mean Earth radius (haversine). Against
//! the ellipsoid they are off by at most 0.5 %, less than the door of a car park is wide. A fixed
//! cos(latitude) would bend east-west distances by 5 % between Hanoi and Cà Mau, so everything
//! here uses the query's own latitude or unit vectors.

#![expect(
    clippy::float_arithmetic,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "geometry is computed here and nowhere else; every conversion is clamped first"
)]

use std::fmt;

use serde::{Deserialize, Serialize};

/// Mean radius of the Earth in metres (IUGG).
const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// Metres of one degree of latitude on that sphere.
const METRES_PER_DEGREE: f64 = EARTH_RADIUS_M * std::f64::consts::PI / 180.0;

/// South and north end of the box that holds all of Vietnam's land.
pub const LAT_RANGE: (f64, f64) = (8.0, 24.0);

/// West and east end of the box that holds all of Vietnam's land.
pub const LNG_RANGE: (f64, f64) = (102.0, 110.0);

/// Height of one latitude band in degrees: about 250 m, the cell size that measured best.
const BAND_DEGREES: f64 = 0.002_25;

/// A whole number of metres.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Metres(u32);

impl Metres {
    /// So many metres.
    pub const fn new(metres: u32) -> Metres {
        Metres(metres)
    }

    /// The number of metres.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The nearest whole number of metres; negative or not a number is 0.
    pub fn rounded(metres: f64) -> Metres {
        Metres(metres.round().clamp(0.0, f64::from(u32::MAX)) as u32)
    }
}

impl fmt::Display for Metres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} m", self.0)
    }
}

/// A point lies outside of the box around Vietnam, or is not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutsideVietnam {
    /// The latitude is wrong.
    #[error("latitude must be between 8 and 24 degrees")]
    Latitude,
    /// The longitude is wrong.
    #[error("longitude must be between 102 and 110 degrees")]
    Longitude,
}

/// A point in Vietnam: WGS 84 degrees, checked to lie in the country's box. A swapped pair of
/// latitude and longitude is therefore always refused.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "RawLatLng")]
pub struct LatLng {
    lat: f64,
    lng: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLatLng {
    lat: f64,
    lng: f64,
}

impl TryFrom<RawLatLng> for LatLng {
    type Error = OutsideVietnam;

    fn try_from(raw: RawLatLng) -> Result<Self, Self::Error> {
        LatLng::new(raw.lat, raw.lng)
    }
}

impl LatLng {
    /// A point, if it lies in the box.
    pub fn new(lat: f64, lng: f64) -> Result<LatLng, OutsideVietnam> {
        if !(LAT_RANGE.0..=LAT_RANGE.1).contains(&lat) {
            return Err(OutsideVietnam::Latitude);
        }
        if !(LNG_RANGE.0..=LNG_RANGE.1).contains(&lng) {
            return Err(OutsideVietnam::Longitude);
        }
        Ok(LatLng { lat, lng })
    }

    /// The middle of Hanoi: Hoàn Kiếm lake.
    pub const fn hanoi() -> LatLng {
        LatLng { lat: 21.0287, lng: 105.8524 }
    }

    /// Degrees north.
    pub const fn lat(self) -> f64 {
        self.lat
    }

    /// Degrees east.
    pub const fn lng(self) -> f64 {
        self.lng
    }

    /// Great-circle distance in metres (haversine).
    pub fn distance_m(self, other: LatLng) -> f64 {
        let (lat_a, lat_b) = (self.lat.to_radians(), other.lat.to_radians());
        let half_lat = (lat_b - lat_a) / 2.0;
        let half_lng = (other.lng - self.lng).to_radians() / 2.0;
        let h = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lng.sin().powi(2);
        2.0 * EARTH_RADIUS_M * h.sqrt().min(1.0).asin()
    }

    /// The point as a unit vector.
    pub fn unit(self) -> UnitVector {
        let (sin_lat, cos_lat) = self.lat.to_radians().sin_cos();
        let (sin_lng, cos_lng) = self.lng.to_radians().sin_cos();
        UnitVector([cos_lat * cos_lng, cos_lat * sin_lng, sin_lat])
    }

    /// The point so many metres to the east and north, on the plane that touches the Earth here;
    /// `None` when that leaves Vietnam. Good to a metre within a few kilometres.
    pub fn moved(self, east_m: f64, north_m: f64) -> Option<LatLng> {
        let lat = self.lat + north_m / METRES_PER_DEGREE;
        let lng = self.lng + east_m / (METRES_PER_DEGREE * self.lat.to_radians().cos());
        LatLng::new(lat, lng).ok()
    }

    /// The latitude band, about 250 m high, that the point lies in; bands count northwards.
    pub fn band(self) -> u16 {
        band_of(self.lat)
    }
}

/// A point on the unit sphere. The straight line between two of them orders pairs exactly as the
/// great circle does, and costs three multiplications instead of six trigonometric functions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnitVector([f64; 3]);

impl UnitVector {
    /// The square of the straight line, in units of the Earth's radius.
    pub fn chord_squared(self, other: UnitVector) -> f64 {
        let [ax, ay, az] = self.0;
        let [bx, by, bz] = other.0;
        let (dx, dy, dz) = (ax - bx, ay - by, az - bz);
        dx * dx + dy * dy + dz * dz
    }
}

/// The squared chord that spans so many metres on the ground.
pub fn chord_squared_of(metres: f64) -> f64 {
    let chord = 2.0 * (metres / (2.0 * EARTH_RADIUS_M)).sin();
    chord * chord
}

/// The metres on the ground that a squared chord spans.
pub fn metres_of_chord_squared(chord_squared: f64) -> f64 {
    2.0 * EARTH_RADIUS_M * (chord_squared.sqrt() / 2.0).min(1.0).asin()
}

/// A box in degrees that surely holds a whole circle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// First latitude band.
    pub band_first: u16,
    /// Last latitude band, included.
    pub band_last: u16,
    /// Western end in degrees.
    pub west: f64,
    /// Eastern end in degrees.
    pub east: f64,
}

impl Bounds {
    /// The box around the circle of `radius_m` metres. The eastward reach is that of the circle's
    /// own latitude nearest to the pole, where a degree of longitude is shortest, so the box is
    /// never too narrow.
    pub fn around(centre: LatLng, radius_m: f64) -> Bounds {
        // One part in a million for rounding: 5 mm at 5 km.
        let reach = radius_m.max(0.0) * 1.000_001 / METRES_PER_DEGREE;
        let (south, north) = (centre.lat - reach, centre.lat + reach);
        let wide = reach / north.abs().max(south.abs()).min(89.0).to_radians().cos();
        Bounds {
            band_first: band_of(south),
            band_last: band_of(north),
            west: centre.lng - wide,
            east: centre.lng + wide,
        }
    }
}

fn band_of(lat: f64) -> u16 {
    let band = ((lat - LAT_RANGE.0) / BAND_DEGREES).floor();
    band.clamp(0.0, f64::from(u16::MAX)) as u16
}

/// Whether a point lies inside a polygon: a ray to the east crosses its sides an odd number of
/// times. Degrees are taken as flat, which a city's zone is small enough for.
pub fn inside(point: LatLng, corners: &[LatLng]) -> bool {
    let next = corners.iter().cycle().skip(1);
    corners.iter().zip(next).fold(false, |odd, (a, b)| {
        let spans = (a.lat > point.lat) != (b.lat > point.lat);
        let crosses =
            spans && point.lng < (b.lng - a.lng) * (point.lat - a.lat) / (b.lat - a.lat) + a.lng;
        odd != crosses
    })
}

/// Twice the radius: how a search widens its circle.
pub fn doubled(metres: f64) -> f64 {
    metres * 2.0
}

/// Half the radius: how a search narrows its circle.
pub fn halved(metres: f64) -> f64 {
    metres / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn at(lat: f64, lng: f64) -> LatLng {
        LatLng::new(lat, lng).unwrap()
    }

    fn anywhere() -> impl Strategy<Value = LatLng> {
        (8.0..=24.0_f64, 102.0..=110.0_f64).prop_map(|(lat, lng)| at(lat, lng))
    }

    #[rstest]
    #[case(7.99, 105.0, OutsideVietnam::Latitude)]
    #[case(24.01, 105.0, OutsideVietnam::Latitude)]
    #[case(105.8524, 21.0287, OutsideVietnam::Latitude)]
    #[case(21.0, 101.9, OutsideVietnam::Longitude)]
    #[case(21.0, 110.1, OutsideVietnam::Longitude)]
    #[case(f64::NAN, 105.0, OutsideVietnam::Latitude)]
    #[case(21.0, f64::INFINITY, OutsideVietnam::Longitude)]
    fn points_outside_vietnam_are_refused(
        #[case] lat: f64,
        #[case] lng: f64,
        #[case] why: OutsideVietnam,
    ) {
        assert_eq!(LatLng::new(lat, lng), Err(why));
    }

    #[test]
    fn distances_agree_with_published_ones() {
        // Hoàn Kiếm lake to Nội Bài airport, and to the Notre-Dame cathedral of Saigon.
        let lake = at(21.0287, 105.8524);
        assert!((lake.distance_m(at(21.2187, 105.8047)) - 21_700.0).abs() < 200.0);
        assert!((lake.distance_m(at(10.7798, 106.6990)) - 1_143_300.0).abs() < 2_000.0);
        assert_eq!(Metres::rounded(lake.distance_m(lake)), Metres::new(0));
    }

    #[test]
    fn a_degree_of_longitude_shrinks_with_its_own_latitude() {
        let south = at(9.0, 105.0).distance_m(at(9.0, 106.0));
        let north = at(23.0, 105.0).distance_m(at(23.0, 106.0));
        assert!((south - 109_826.0).abs() < 5.0, "{south}");
        assert!((north - 102_355.0).abs() < 5.0, "{north}");
    }

    #[test]
    fn inside_a_polygon_means_between_its_sides_also_where_it_is_hollow() {
        // A U, open to the north.
        let corners = [(0, 0), (0, 3), (3, 3), (3, 2), (1, 2), (1, 1), (3, 1), (3, 0)];
        let corners = corners.map(|(n, e)| at(20.0 + f64::from(n), 105.0 + f64::from(e)));
        assert!(inside(at(20.5, 106.5), &corners));
        assert!(inside(at(22.5, 105.5), &corners));
        assert!(!inside(at(22.5, 106.5), &corners));
        assert!(!inside(at(20.5, 104.5), &corners));
        assert!(!inside(at(20.5, 108.5), &corners));
    }

    #[test]
    fn json_is_checked_like_everything_else() {
        assert!(serde_json::from_str::<LatLng>(r#"{"lat":21.03,"lng":105.85}"#).is_ok());
        assert!(serde_json::from_str::<LatLng>(r#"{"lat":105.85,"lng":21.03}"#).is_err());
    }

    proptest! {
        #[test]
        fn chords_span_what_haversine_says(a in anywhere(), b in anywhere()) {
            let chord = metres_of_chord_squared(a.unit().chord_squared(b.unit()));
            prop_assert!((chord - a.distance_m(b)).abs() < 0.001);
        }

        #[test]
        fn distance_is_symmetric_and_keeps_the_triangle_law(
            a in anywhere(), b in anywhere(), c in anywhere(),
        ) {
            prop_assert!((a.distance_m(b) - b.distance_m(a)).abs() < 1e-6);
            prop_assert!(a.distance_m(c) <= a.distance_m(b) + b.distance_m(c) + 1e-6);
        }

        #[test]
        fn the_box_holds_the_whole_circle(
            centre in anywhere(), other in anywhere(), radius_m in 0.0..50_000.0_f64,
        ) {
            let bounds = Bounds::around(centre, radius_m);
            if centre.distance_m(other) <= radius_m {
                prop_assert!((bounds.band_first..=bounds.band_last).contains(&other.band()));
                prop_assert!((bounds.west..=bounds.east).contains(&other.lng()));
            }
        }

        #[test]
        fn a_step_is_as_long_as_it_says(
            east in -3_000.0..3_000.0_f64, north in -3_000.0..3_000.0_f64,
        ) {
            let lake = at(21.0287, 105.8524);
            let there = lake.moved(east, north).unwrap();
            prop_assert!((lake.distance_m(there) - east.hypot(north)).abs() < 2.0);
        }
    }
}
