//! VAT by date. Prices contain it; receipts show it.

use jiff::Timestamp;

use super::TariffRules;
use crate::kernel::clock::business_day;
use crate::kernel::money::Rate;

/// VAT on parking: 8 % instead of 10 % until 31 December 2026 (National Assembly's reduction from
/// 1 July 2025 and its forerunners; parking is not on the list of exclusions). From a year,
/// month and day on, so many percent; the newest first.
const GENERAL: &[(i16, i8, i8, u8)] = &[(2027, 1, 1, 10)];

/// The rate before the first row of [`GENERAL`].
const REDUCED_PERCENT: u8 = 8;

impl TariffRules {
    /// The VAT rate contained in a price that becomes due at `at`.
    pub fn vat_rate(&self, at: Timestamp) -> Rate {
        let day = business_day(at);
        let own = self.sheet().vat.iter().filter(|step| step.from <= day).max_by_key(|s| s.from);
        if let Some(step) = own {
            return Rate::percent(step.percent);
        }
        let row = GENERAL
            .iter()
            .find(|(y, m, d, _)| (*y, *m, *d) <= (day.year(), day.month(), day.day()));
        Rate::percent(row.map_or(REDUCED_PERCENT, |row| row.3))
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::money::Rate;
    use crate::tariffs::worked_examples::seed_rules;

    #[test]
    fn the_reduced_rate_ends_with_the_last_hanoi_minute_of_2026() {
        let rules = seed_rules("hanoi-iparking-car");
        let rate = |at: &str| rules.vat_rate(at.parse().unwrap());
        assert_eq!(rate("2026-12-31T23:59:00+07:00"), Rate::percent(8));
        assert_eq!(rate("2027-01-01T00:00:00+07:00"), Rate::percent(10));
    }

    #[test]
    fn a_tariff_with_its_own_table_uses_it_from_its_dates_on() {
        let mut sheet = seed_rules("hanoi-iparking-car").sheet().clone();
        sheet.vat = serde_json::from_str(r#"[{"from":"2026-06-01","percent":0}]"#).unwrap();
        let rules = crate::tariffs::TariffRules::new(sheet).unwrap();
        let rate = |at: &str| rules.vat_rate(at.parse().unwrap());
        assert_eq!(rate("2026-05-31T12:00:00+07:00"), Rate::percent(8));
        assert_eq!(rate("2026-06-01T12:00:00+07:00"), Rate::percent(0));
    }
}
