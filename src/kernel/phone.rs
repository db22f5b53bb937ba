//! Vietnamese mobile numbers: written in many ways, kept in one.
//!
//! Inside, a number is E.164 (`+84912345678`). Prefixes say nothing about the carrier, since
//! numbers are portable. `Debug` and `Display` mask the number, so that a log line or an error
//! can never carry it whole; [`Phone::e164`] reveals it where it is truly needed.

use std::fmt;
use std::str::FromStr;

/// Eleven-digit prefixes of before 2018 and what the Ministry of Information and Communications
/// turned them into, without the leading zero.
const RENUMBERED: [(&str, &str); 21] = [
    ("120", "70"),
    ("121", "79"),
    ("122", "77"),
    ("123", "83"),
    ("124", "84"),
    ("125", "85"),
    ("126", "76"),
    ("127", "81"),
    ("128", "78"),
    ("129", "82"),
    ("162", "32"),
    ("163", "33"),
    ("164", "34"),
    ("165", "35"),
    ("166", "36"),
    ("167", "37"),
    ("168", "38"),
    ("169", "39"),
    ("186", "56"),
    ("188", "58"),
    ("199", "59"),
];

/// Why a text is not a Vietnamese mobile number. Never holds the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// Nothing but separators.
    #[error("phone number is empty")]
    Empty,
    /// A character that is neither a digit nor a usual separator.
    #[error("phone number holds a character that is not a digit, space, dot, dash or bracket")]
    Character,
    /// A country code other than 84.
    #[error("phone number must be Vietnamese (+84)")]
    Foreign,
    /// Neither `0…` nor `84…`.
    #[error("phone number must start with 0 or +84")]
    Prefix,
    /// Too few or too many digits.
    #[error("phone number must have 10 digits after the usual leading 0")]
    Length,
    /// A landline or service number: no text message reaches it.
    #[error("phone number must be a mobile number")]
    NotMobile,
}

/// A Vietnamese mobile number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Phone(String);

impl Phone {
    /// Reads any usual way of writing: `0912 345 678`, `+84 912.345.678`, `0084-912-345-678`,
    /// `84912345678`, `+84 (0) 912 345 678`, full-width digits, and eleven-digit numbers of
    /// before 2018, which become their ten-digit successors.
    pub fn parse(text: &str) -> Result<Phone, PhoneError> {
        let digits = compact(text)?;
        let national = national_part(&digits)?;
        let subscriber = match national.len() {
            // Area code and eight digits.
            10 if national.starts_with('2') => return Err(PhoneError::NotMobile),
            9 => national.to_owned(),
            10 => renumbered(national).ok_or(PhoneError::Length)?,
            _ => return Err(PhoneError::Length),
        };
        if subscriber.starts_with(['3', '5', '7', '8', '9']) {
            Ok(Phone(format!("+84{subscriber}")))
        } else {
            Err(PhoneError::NotMobile)
        }
    }

    /// The number in E.164, for storing and for the text message gateway. Not for logs.
    pub fn e164(&self) -> &str {
        &self.0
    }

    /// The number with all but its last three digits hidden: `+84*****678`.
    pub fn masked(&self) -> String {
        let tail = self.0.get(self.0.len().saturating_sub(3)..).unwrap_or_default();
        format!("+84*****{tail}")
    }
}

/// Digits with an optional leading `+`; separators and invisible marks dropped.
fn compact(text: &str) -> Result<String, PhoneError> {
    let mut digits = String::with_capacity(16);
    for character in text.chars() {
        match character {
            '0'..='9' => digits.push(character),
            '+' | '\u{ff0b}' if digits.is_empty() => digits.push('+'),
            '\u{ff10}'..='\u{ff19}' => {
                let digit = u32::from(character) - 0xff10;
                digits.extend(char::from_digit(digit, 10));
            }
            _ if is_mark(character) => {}
            _ => return Err(PhoneError::Character),
        }
        // No way of writing a number is longer; refuse before a long text costs memory.
        if digits.len() > 20 {
            return Err(PhoneError::Length);
        }
    }
    if digits.is_empty() { Err(PhoneError::Empty) } else { Ok(digits) }
}

/// Separators, and the marks that phones' contact lists put around copied numbers.
fn is_mark(character: char) -> bool {
    character.is_whitespace()
        || matches!(
            character,
            '.' | '-' | '(' | ')' | '/' | '\u{2010}'..='\u{2015}' | '\u{2212}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
            | '\u{feff}'
        )
}

/// What follows the country code or the trunk zero.
fn national_part(digits: &str) -> Result<&str, PhoneError> {
    let international = digits.strip_prefix('+').or_else(|| digits.strip_prefix("00"));
    if let Some(rest) = international {
        let rest = rest.strip_prefix("84").ok_or(PhoneError::Foreign)?;
        // "+84 (0) 912…": the trunk zero is often left in place.
        return Ok(rest.strip_prefix('0').unwrap_or(rest));
    }
    if let Some(rest) = digits.strip_prefix('0') {
        return Ok(rest);
    }
    let rest = digits.strip_prefix("84").ok_or(PhoneError::Prefix)?;
    Ok(rest.strip_prefix('0').unwrap_or(rest))
}

fn renumbered(national: &str) -> Option<String> {
    let (old, rest) = national.split_at_checked(3)?;
    let (_, new) = RENUMBERED.iter().find(|(from, _)| *from == old)?;
    Some(format!("{new}{rest}"))
}

impl FromStr for Phone {
    type Err = PhoneError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Phone::parse(text)
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Phone({})", self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("0912345678")]
    #[case("+84912345678")]
    #[case("84912345678")]
    #[case("0084912345678")]
    #[case(" 0912 345 678 ")]
    #[case("0912.345.678")]
    #[case("0912-345-678")]
    #[case("(0912) 345 678")]
    #[case("+84 (0) 912 345 678")]
    #[case("+84\u{a0}912\u{2011}345\u{2011}678")]
    #[case("\u{202a}+84 912 345 678\u{202c}")]
    #[case("０９１２３４５６７８")]
    #[case("840912345678")]
    fn every_usual_way_of_writing_is_the_same_number(#[case] text: &str) {
        assert_eq!(Phone::parse(text).unwrap().e164(), "+84912345678");
    }

    #[rstest]
    #[case("01201234567", "+84701234567")]
    #[case("01211234567", "+84791234567")]
    #[case("01221234567", "+84771234567")]
    #[case("01231234567", "+84831234567")]
    #[case("01241234567", "+84841234567")]
    #[case("01251234567", "+84851234567")]
    #[case("01261234567", "+84761234567")]
    #[case("01271234567", "+84811234567")]
    #[case("01281234567", "+84781234567")]
    #[case("01291234567", "+84821234567")]
    #[case("+84 162 123 4567", "+84321234567")]
    #[case("01631234567", "+84331234567")]
    #[case("01641234567", "+84341234567")]
    #[case("01651234567", "+84351234567")]
    #[case("01661234567", "+84361234567")]
    #[case("01671234567", "+84371234567")]
    #[case("01681234567", "+84381234567")]
    #[case("01691234567", "+84391234567")]
    #[case("01861234567", "+84561234567")]
    #[case("01881234567", "+84581234567")]
    #[case("01991234567", "+84591234567")]
    fn eleven_digit_numbers_become_their_successors(#[case] text: &str, #[case] e164: &str) {
        assert_eq!(Phone::parse(text).unwrap().e164(), e164);
    }

    #[rstest]
    #[case("0861234567")]
    #[case("0881234567")]
    #[case("0891234567")]
    #[case("0521234567")]
    #[case("0841234567")]
    fn no_mobile_prefix_is_forgotten(#[case] text: &str) {
        assert!(Phone::parse(text).is_ok());
    }

    #[rstest]
    #[case("", PhoneError::Empty)]
    #[case(" - ", PhoneError::Empty)]
    #[case("091234567a", PhoneError::Character)]
    #[case("0912345678+", PhoneError::Character)]
    #[case("٠٩١٢٣٤٥٦٧٨", PhoneError::Character)]
    #[case("+1 202 555 0123", PhoneError::Foreign)]
    #[case("0012025550123", PhoneError::Foreign)]
    #[case("912345678", PhoneError::Prefix)]
    #[case("091234567", PhoneError::Length)]
    #[case("09123456789", PhoneError::Length)]
    #[case("01701234567", PhoneError::Length)]
    #[case("000000000000000000000000000000", PhoneError::Length)]
    #[case("024 3825 3825", PhoneError::NotMobile)]
    #[case("0412345678", PhoneError::NotMobile)]
    fn anything_else_is_refused_with_a_reason(#[case] text: &str, #[case] why: PhoneError) {
        assert_eq!(Phone::parse(text), Err(why));
    }

    #[test]
    fn printing_hides_the_number() {
        let phone = Phone::parse("0912345678").unwrap();
        assert_eq!(phone.to_string(), "+84*****678");
        assert_eq!(format!("{phone:?}"), "Phone(+84*****678)");
    }

    proptest! {
        #[test]
        fn any_text_is_answered_without_a_panic(text in "\\PC{0,40}") {
            let _answer = Phone::parse(&text);
        }

        #[test]
        fn what_was_parsed_parses_to_itself(number in "0[35789][0-9]{8}") {
            let phone = Phone::parse(&number).unwrap();
            prop_assert_eq!(Phone::parse(phone.e164()), Ok(phone));
        }
    }
}
