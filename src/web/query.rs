//! Query strings read by hand: every fault at once, no field twice, little allocation.

use std::borrow::Cow;
use std::str::FromStr;

use super::problem::{Code, FieldError, Problem};
use crate::kernel::geo::{LAT_RANGE, LNG_RANGE, LatLng, Metres};

/// The widest circle.
pub const RADIUS_M_MAX: u32 = 5_000;

/// The circle when none is asked for.
pub const RADIUS_M_DEFAULT: u32 = 800;

/// The fields of a query string, each at most once.
pub struct Fields<'q> {
    pairs: Vec<(Cow<'q, str>, Cow<'q, str>)>,
    faults: Vec<FieldError>,
}

impl<'q> Fields<'q> {
    /// Splits a query string; a field that stands twice is a fault.
    pub fn read(query: &'q str) -> Fields<'q> {
        let mut fields = Fields { pairs: Vec::with_capacity(12), faults: Vec::new() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if fields.pairs.iter().any(|(known, _)| *known == name) {
                fields
                    .faults
                    .push(FieldError::new(name.chars().take(50).collect::<String>(), "once"));
            } else {
                fields.pairs.push((name, value));
            }
        }
        fields
    }

    /// A field's text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_ref())
    }

    /// Notes a fault.
    pub fn fault(&mut self, name: &str, rule: impl Into<String>) {
        self.faults.push(FieldError::new(name, rule));
    }

    /// A value as `parse` reads it, or the fault's rule noted.
    pub fn value<T>(
        &mut self,
        name: &str,
        rule: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let parsed = parse(self.text(name)?);
        if parsed.is_none() {
            self.fault(name, rule);
        }
        parsed
    }

    /// A value by its `FromStr`.
    pub fn word<T: FromStr>(&mut self, name: &str, rule: &str) -> Option<T> {
        self.value(name, rule, |text| text.parse().ok())
    }

    /// A whole number in a range.
    pub fn number(&mut self, name: &str, min: u32, max: u32) -> Option<u32> {
        self.value(name, &format!("a whole number from {min} to {max}"), |text| {
            text.parse().ok().filter(|number| (min..=max).contains(number))
        })
    }

    fn degrees(&mut self, name: &str, (min, max): (f64, f64)) -> Option<f64> {
        self.value(name, &format!("a number of degrees from {min} to {max}"), |text| {
            text.parse().ok().filter(|degrees| (min..=max).contains(degrees))
        })
    }

    /// `lat` and `lng`.
    pub fn point(&mut self) -> Option<LatLng> {
        let lat = self.degrees("lat", LAT_RANGE);
        let lng = self.degrees("lng", LNG_RANGE);
        LatLng::new(lat?, lng?).ok()
    }

    /// `radius_m`, or what stands for it.
    pub fn radius(&mut self) -> Metres {
        Metres::new(self.number("radius_m", 1, RADIUS_M_MAX).unwrap_or(RADIUS_M_DEFAULT))
    }

    /// Notes which of these are missing.
    pub fn required(&mut self, names: &[&str]) {
        for name in names {
            if self.text(name).is_none() {
                self.fault(name, "required");
            }
        }
    }

    /// The value, or every fault at once.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problem> {
        match value {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => Err(Problem::new(Code::ValidationFailed).errors(self.faults)),
        }
    }
}
