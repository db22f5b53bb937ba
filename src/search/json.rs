//! Writing JSON by hand where it is written thousands of times a second.

use jiff::Timestamp;

/// Appends a number.
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    // 20 digits hold any u64; they come out last first.
    let mut digits = [0_u8; 20];
    let mut rest = number;
    let mut count = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        count += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - count..).unwrap_or_default());
}

/// Appends an instant in quotes: RFC 3339 in UTC, with microseconds where there are any.
pub fn push_timestamp(out: &mut Vec<u8>, at: Timestamp) {
    let micros = at.as_microsecond();
    let (seconds, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_of(days);
    out.push(b'"');
    push_padded(out, year, 4);
    out.push(b'-');
    push_padded(out, month, 2);
    out.push(b'-');
    push_padded(out, day, 2);
    out.push(b'T');
    push_padded(out, second_of_day / 3_600, 2);
    out.push(b':');
    push_padded(out, second_of_day / 60 % 60, 2);
    out.push(b':');
    push_padded(out, second_of_day % 60, 2);
    if micros != 0 {
        out.push(b'.');
        push_padded(out, micros, 6);
    }
    out.extend_from_slice(b"Z\"");
}

fn push_padded(out: &mut Vec<u8>, number: i64, width: u32) {
    for place in (0..width).rev() {
        let digit = number / 10_i64.pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
}

/// Year, month and day of a day number since 1970-01-01, by the years that begin on 1 March
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"). Years 0 to 9999.
fn civil_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_read_back(number in any::<u64>()) {
            let mut out = Vec::new();
            push_number(&mut out, number);
            prop_assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }

        #[test]
        fn instants_read_back(micros in 0_i64..253_402_000_000_000_000) {
            let at = Timestamp::from_microsecond(micros).unwrap();
            let mut out = Vec::new();
            push_timestamp(&mut out, at);
            let text: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(text.parse::<Timestamp>().unwrap(), at);
            prop_assert!(text.ends_with('Z'));
        }

        #[test]
        fn whole_seconds_are_written_as_the_library_does(second in 0_i64..253_402_000_000) {
            let at = Timestamp::from_second(second).unwrap();
            let mut out = Vec::new();
            push_timestamp(&mut out, at);
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("\"{at}\""));
        }
    }
}
