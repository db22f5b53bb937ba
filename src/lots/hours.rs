//! Opening hours: always, or spans of civil time in Hanoi by weekday.
//!
//! A span that ends before it begins (`22:00`–`02:00`) ends on the next day; `24:00` is midnight.
//! A weekday without spans is closed.

use jiff::Timestamp;
use jiff::civil::Weekday;
use serde::{Deserialize, Serialize};

use crate::kernel::clock::hanoi;

/// The most spans in one day.
pub const SPANS_MAX: usize = 4;

const MINUTES_OF_DAY: u16 = 24 * 60;

/// When a lot is open.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawHours", into = "RawHours")]
pub enum OpeningHours {
    /// Day and night.
    Always,
    /// By weekday, Monday first.
    Weekly([Vec<Span>; 7]),
}

/// From one minute of the day to another; `until` after `from` lies on the same day, otherwise on
/// the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    from: u16,
    until: u16,
}

/// Why opening hours make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    /// Neither `always` nor any weekday, or both.
    #[error("give either always: true or spans by weekday")]
    Shape,
    /// Not `HH:MM`.
    #[error("times are HH:MM from 00:00 to 24:00")]
    Time,
    /// A span of no length.
    #[error("a span must not begin where it ends")]
    EmptySpan,
    /// More than [`SPANS_MAX`] in a day.
    #[error("at most {SPANS_MAX} spans in a day")]
    TooMany,
    /// Two spans of one day overlap.
    #[error("spans of a day must follow one another without overlapping")]
    Overlap,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHours {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    always: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mon: Option<RawSpans>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tue: Option<RawSpans>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wed: Option<RawSpans>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thu: Option<RawSpans>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fri: Option<RawSpans>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sat: Option<RawSpans>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sun: Option<RawSpans>,
}

type RawSpans = Vec<(String, String)>;

impl TryFrom<RawHours> for OpeningHours {
    type Error = HoursError;

    fn try_from(raw: RawHours) -> Result<Self, HoursError> {
        let days = [raw.mon, raw.tue, raw.wed, raw.thu, raw.fri, raw.sat, raw.sun];
        let named = days.iter().any(Option::is_some);
        match (raw.always, named) {
            (Some(true), false) => return Ok(OpeningHours::Always),
            (None, true) => {}
            _ => return Err(HoursError::Shape),
        }
        let mut week: [Vec<Span>; 7] = Default::default();
        for (spans, day) in week.iter_mut().zip(days) {
            *spans = day_of(day.unwrap_or_default())?;
        }
        Ok(OpeningHours::Weekly(week))
    }
}

fn day_of(raw: RawSpans) -> Result<Vec<Span>, HoursError> {
    if raw.len() > SPANS_MAX {
        return Err(HoursError::TooMany);
    }
    let mut spans: Vec<Span> = Vec::with_capacity(raw.len());
    for (from, until) in raw {
        let span = Span { from: minute_of(&from)?, until: minute_of(&until)? };
        if span.from == span.until || span.from == MINUTES_OF_DAY {
            return Err(HoursError::EmptySpan);
        }
        let follows = spans
            .last()
            .is_none_or(|before| before.from < before.until && before.until <= span.from);
        if !follows {
            return Err(HoursError::Overlap);
        }
        spans.push(span);
    }
    Ok(spans)
}

fn minute_of(text: &str) -> Result<u16, HoursError> {
    let two = |part: &str| -> Result<u16, HoursError> {
        if part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()) {
            part.parse().map_err(|_not_a_number| HoursError::Time)
        } else {
            Err(HoursError::Time)
        }
    };
    let (hours, minutes) = text.split_once(':').ok_or(HoursError::Time)?;
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let minute = hours * 60 + minutes;
    if minutes < 60 && minute <= MINUTES_OF_DAY { Ok(minute) } else { Err(HoursError::Time) }
}

fn text_of(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

impl From<OpeningHours> for RawHours {
    fn from(hours: OpeningHours) -> RawHours {
        let OpeningHours::Weekly(week) = hours else {
            return RawHours { always: Some(true), ..RawHours::default() };
        };
        let mut days = week.into_iter().map(|spans| {
            let raw = spans.into_iter().map(|span| (text_of(span.from), text_of(span.until)));
            Some(raw.collect::<RawSpans>())
        });
        let mut next = || days.next().flatten();
        RawHours {
            always: None,
            mon: next(),
            tue: next(),
            wed: next(),
            thu: next(),
            fri: next(),
            sat: next(),
            sun: next(),
        }
    }
}

impl OpeningHours {
    /// Whether the lot is open at the instant.
    pub fn open_at(&self, at: Timestamp) -> bool {
        match self {
            OpeningHours::Always => true,
            OpeningHours::Weekly(_) => {
                let civil = at.to_zoned(hanoi());
                let minute =
                    u16::try_from(i32::from(civil.hour()) * 60 + i32::from(civil.minute()));
                self.open_on(civil.weekday(), minute.unwrap_or_default())
            }
        }
    }

    /// Whether the lot is open at a minute of a weekday in Hanoi; for callers that ask about many
    /// lots at one instant.
    pub fn open_on(&self, day: Weekday, minute: u16) -> bool {
        let OpeningHours::Weekly(week) = self else { return true };
        let spans = |day: Weekday| {
            let index = usize::try_from(day.to_monday_zero_offset()).unwrap_or_default();
            week.get(index).map_or(&[][..], Vec::as_slice)
        };
        let today = spans(day)
            .iter()
            .any(|span| span.from <= minute && (minute < span.until || span.until < span.from));
        let since_yesterday =
            spans(day.previous()).iter().any(|span| span.until < span.from && minute < span.until);
        today || since_yesterday
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn parse(json: &str) -> Result<OpeningHours, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[rstest]
    // Friday 27 November 2026 in Hanoi; UTC is seven hours behind.
    #[case("2026-11-26T23:00:00Z", true)]
    #[case("2026-11-26T22:59:59Z", false)]
    #[case("2026-11-27T14:59:59Z", true)]
    #[case("2026-11-27T15:00:00Z", false)]
    #[case("2026-11-28T15:00:00Z", true)]
    #[case("2026-11-28T18:59:00Z", true)]
    #[case("2026-11-28T19:00:00Z", false)]
    #[case("2026-11-29T05:00:00Z", false)]
    fn spans_are_civil_time_and_may_cross_midnight(#[case] at: Timestamp, #[case] open: bool) {
        let hours = parse(r#"{"fri": [["06:00", "22:00"]], "sat": [["22:00", "02:00"]]}"#).unwrap();
        assert_eq!(hours.open_at(at), open);
    }

    #[rstest]
    #[case(r#"{"always": true}"#)]
    #[case(r#"{"mon":[["00:00","24:00"]],"tue":[],"wed":[],"thu":[],"fri":[],"sat":[],"sun":[]}"#)]
    fn hours_come_back_as_they_were_given(#[case] json: &str) {
        let back = serde_json::to_value(parse(json).unwrap()).unwrap();
        assert_eq!(back, serde_json::from_str::<serde_json::Value>(json).unwrap());
    }

    #[rstest]
    #[case("{}")]
    #[case(r#"{"always": false}"#)]
    #[case(r#"{"always": true, "mon": []}"#)]
    #[case(r#"{"mon": [["6:00", "22:00"]]}"#)]
    #[case(r#"{"mon": [["06:00", "24:01"]]}"#)]
    #[case(r#"{"mon": [["06:00", "06:60"]]}"#)]
    #[case(r#"{"mon": [["06:00", "06:00"]]}"#)]
    #[case(r#"{"mon": [["24:00", "06:00"]]}"#)]
    #[case(r#"{"mon": [["06:00", "12:00"], ["11:00", "13:00"]]}"#)]
    #[case(r#"{"mon": [["22:00", "02:00"], ["23:00", "23:30"]]}"#)]
    #[case(r#"{"mon": [["01:00","02:00"],["03:00","04:00"],["05:00","06:00"],["07:00","08:00"],["09:00","10:00"]]}"#)]
    #[case(r#"{"mond": []}"#)]
    fn senseless_hours_are_refused(#[case] json: &str) {
        assert!(parse(json).is_err());
    }
}
