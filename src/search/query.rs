//! The query of a search, parsed at the edge.
//!
//! By hand instead of by a derived deserialiser: it runs for every search.

use super::Sort;
use crate::kernel::geo::{LatLng, Metres};
use crate::kernel::money::Vnd;
use crate::kernel::vehicle::VehicleClass;
use crate::lots::{Feature, LotKind};
use crate::web::problem::Problem;
use crate::web::query::Fields;

/// The longest stay that is priced: 30 days.
pub const STAY_MINUTES_MAX: u32 = 43_200;

/// The most lots in an answer.
pub const LIMIT_MAX: u32 = 50;

/// A search.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// Around here.
    pub centre: LatLng,
    /// So far.
    pub radius: Metres,
    /// What to park.
    pub class: VehicleClass,
    /// How long, in minutes.
    pub stay_minutes: u32,
    /// In which order.
    pub sort: Sort,
    /// How many.
    pub limit: usize,
    /// Without those known to be full or closed.
    pub only_free: bool,
    /// Without those that cost more.
    pub max_price: Option<Vnd>,
    /// Only this kind.
    pub kind: Option<LotKind>,
    /// With all of these, as bits.
    pub features: u16,
}

impl SearchQuery {
    /// Reads a query string; every fault at once.
    pub fn parse(query: &str) -> Result<SearchQuery, Problem> {
        let mut fields = Fields::read(query);
        fields.required(&["lat", "lng"]);
        let centre = fields.point();
        let parsed = SearchQuery {
            // Replaced or refused below.
            centre: centre.unwrap_or_else(LatLng::hanoi),
            radius: fields.radius(),
            class: fields
                .word("vehicle_class", "bicycle, motorbike, car, van, bus or truck")
                .unwrap_or(VehicleClass::Car),
            stay_minutes: fields.number("stay_minutes", 1, STAY_MINUTES_MAX).unwrap_or(60),
            sort: fields
                .value("sort", "nearest, cheapest or best", |text| match text {
                    "nearest" => Some(Sort::Nearest),
                    "cheapest" => Some(Sort::Cheapest),
                    "best" => Some(Sort::Best),
                    _ => None,
                })
                .unwrap_or_default(),
            limit: usize::try_from(fields.number("limit", 1, LIMIT_MAX).unwrap_or(20))
                .unwrap_or(20),
            only_free: fields.word("only_free", "true or false").unwrap_or_default(),
            max_price: fields
                .number("max_price_vnd", 0, 1_000_000_000)
                .map(|amount| Vnd::new(i64::from(amount))),
            kind: fields.word("kind", "on_street or off_street"),
            features: fields
                .value("features", "features separated by commas", features)
                .unwrap_or_default(),
        };
        fields.finish(centre.map(|_| parsed))
    }
}

fn features(text: &str) -> Option<u16> {
    let words = text.split(',').filter(|word| !word.is_empty());
    words.map(|word| word.parse().ok().map(Feature::bit)).try_fold(0, |bits, bit| Some(bits | bit?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::problem::Code;
    use proptest::prelude::*;
    use rstest::rstest;

    #[test]
    fn everything_but_the_point_has_a_default() {
        let query = SearchQuery::parse("lat=21.0287&lng=105.8524").unwrap();
        assert_eq!(query.centre, LatLng::new(21.0287, 105.8524).unwrap());
        assert_eq!(query.radius, Metres::new(800));
        assert_eq!(query.class, VehicleClass::Car);
        assert_eq!((query.stay_minutes, query.limit, query.only_free), (60, 20, false));
        assert_eq!((query.sort, query.kind, query.features), (Sort::Nearest, None, 0));
    }

    #[test]
    fn every_field_is_read() {
        let query = SearchQuery::parse(
            "lat=10.78&lng=106.7&radius_m=1500&vehicle_class=motorbike&stay_minutes=120&sort=best\
             &limit=5&only_free=true&max_price_vnd=50000&kind=on_street&features=covered%2Ccctv",
        )
        .unwrap();
        assert_eq!(query.radius, Metres::new(1_500));
        assert_eq!(query.class, VehicleClass::Motorbike);
        assert_eq!((query.stay_minutes, query.limit, query.only_free), (120, 5, true));
        assert_eq!(query.max_price, Some(Vnd::new(50_000)));
        assert_eq!((query.sort, query.kind), (Sort::Best, Some(LotKind::OnStreet)));
        assert_eq!(query.features, Feature::Covered.bit() | Feature::Cctv.bit());
    }

    #[rstest]
    #[case("")]
    #[case("lat=21")]
    #[case("lng=105")]
    #[case("lat=105.8524&lng=21.0287")]
    #[case("lat=NaN&lng=105")]
    #[case("lat=21&lng=inf")]
    #[case("lat=21&lat=21&lng=105")]
    #[case("lat=21&lng=105&radius_m=0")]
    #[case("lat=21&lng=105&radius_m=5001")]
    #[case("lat=21&lng=105&radius_m=1.5")]
    #[case("lat=21&lng=105&vehicle_class=tank")]
    #[case("lat=21&lng=105&stay_minutes=43201")]
    #[case("lat=21&lng=105&sort=random")]
    #[case("lat=21&lng=105&limit=51")]
    #[case("lat=21&lng=105&only_free=maybe")]
    #[case("lat=21&lng=105&max_price_vnd=-1")]
    #[case("lat=21&lng=105&kind=moon")]
    #[case("lat=21&lng=105&features=covered,pool")]
    fn anything_else_is_refused(#[case] query: &str) {
        assert_eq!(SearchQuery::parse(query).unwrap_err().code(), Code::ValidationFailed);
    }

    proptest! {
        #[test]
        fn any_query_is_answered_without_a_panic(query in "\\PC{0,100}") {
            let _search = SearchQuery::parse(&query);
        }
    }
}
