//! Vietnamese number plates: one key for every way of writing a plate.
//!
//! Separators are printing only, so the key is upper-case letters and digits. The text alone does
//! not always say what stands on the vehicle (`29B11234` is the car 29B-112.34 or the old bike
//! 29-B1 1234), so a vehicle is identified by key *and* class: [`PlateKey`]. Colour is not in the
//! text and is no part of the key. Shapes follow Circular 24/2023/TT-BCA and its predecessors.
//!
//! `Debug` masks the plate; plates are personal data and stay out of logs.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

use crate::kernel::vehicle::VehicleClass;

/// Letters of domestic series.
const LETTERS: &str = "ABCDEFGHKLMNPSTUVXYZ";

/// Letters of the first place on motorbikes of the Party and the State.
const BLUE_LETTERS: &str = "ABCDEFGHKLM";

/// Two-letter and trailer series with a meaning of their own.
const SPECIAL: [&str; 8] = ["LD", "DA", "KT", "CD", "HC", "TĐ", "RM", "R"];

/// Series of tractors and electric motorbikes: always followed by a digit 1 to 9.
const NUMBERED: [&str; 2] = ["MK", "MĐ"];

/// Series of foreigners and missions.
const FOREIGN: [&str; 4] = ["NG", "QT", "CV", "NN"];

/// Longest key: `29MĐ112345` and a mission's motorbike `80829NG001` have ten characters.
const KEY_CHARS_MAX: usize = 10;

/// Longest text looked at; no way of printing a plate needs more.
const TEXT_CHARS_MAX: usize = 40;

/// What a plate may be, as far as its text tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum PlateKind {
    /// Car, truck or bus: `30F-254.38`, formerly four digits.
    Car,
    /// Motorbike with a letter and a digit: `29-M1 923.03`, formerly four digits.
    Motorbike,
    /// Motorbike with two letters, from 15 August 2023: `29-AA 123.45`.
    MotorbikeTwoLetters,
    /// Series of companies, projects, trials, trailers, tractors and electric motorbikes.
    Special,
    /// Diplomats, international organisations and other foreigners: `80-829-NG-01`.
    Foreign,
    /// Army: `TM-12-34`.
    Military,
    /// Temporary: `T12-345.67`.
    Temporary,
    /// Issued for one event: seven digits.
    Event,
}

impl PlateKind {
    /// Whether such a plate may be mounted on a vehicle of this class.
    pub fn fits(self, class: VehicleClass) -> bool {
        let two_wheels = matches!(class, VehicleClass::Motorbike | VehicleClass::Bicycle);
        match self {
            PlateKind::Car => !two_wheels,
            PlateKind::Motorbike | PlateKind::MotorbikeTwoLetters => two_wheels,
            PlateKind::Special
            | PlateKind::Foreign
            | PlateKind::Military
            | PlateKind::Temporary
            | PlateKind::Event => true,
        }
    }
}

/// Why a text is not a plate. Never holds the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlateError {
    /// Nothing but separators.
    #[error("plate is empty")]
    Empty,
    /// More characters than any plate has.
    #[error("plate is longer than any Vietnamese plate")]
    TooLong,
    /// A character that is neither letter, digit nor usual separator.
    #[error("plate holds a character that no Vietnamese plate has: {0:?}")]
    Character(char),
    /// I, J, O, Q, W (and R outside of trailers) are not used, because they look like others.
    #[error("plates have no letter {0}; check for 1 and 0")]
    UnusedLetter(char),
    /// The serial number is zero.
    #[error("plate number must not be all zeros")]
    Zero,
    /// Letters and digits in an order that no kind of plate has.
    #[error(
        "plate has none of the shapes of Vietnamese plates, such as 30F-254.38 or 29-M1 923.03"
    )]
    Shape,
}

/// Something odd about a plate that does not make it invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlateWarning {
    /// The first two digits are on no list of provinces. Lists disagree, so it is not refused.
    UnknownProvince,
}

/// A plate in its canonical form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Plate {
    key: String,
}

/// What identifies a vehicle: the canonical plate and the class.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlateKey {
    key: String,
    class: VehicleClass,
}

impl PlateKey {
    /// The canonical plate.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The class of the vehicle.
    pub fn class(&self) -> VehicleClass {
        self.class
    }
}

impl Plate {
    /// Reads a plate as printed, typed or read by a camera: any case, any separators, full-width
    /// characters, and Đ in each of its encodings.
    pub fn parse(text: &str) -> Result<Plate, PlateError> {
        let key = electric_motorbike(compact(text)?);
        if key.is_empty() {
            return Err(PlateError::Empty);
        }
        if key.chars().count() > KEY_CHARS_MAX {
            return Err(PlateError::TooLong);
        }
        if readings(&key).is_empty() {
            return Err(why_no_shape(&key));
        }
        if serial_is_zero(&key) {
            return Err(PlateError::Zero);
        }
        Ok(Plate { key })
    }

    /// The canonical text, `29MĐ112345`: for storing and for answers to those who may see it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The key with Đ turned into D, for searching only: `29MĐ112345` and `29MD112345` are found
    /// by each other but are not the same plate.
    pub fn loose_key(&self) -> String {
        self.key.replace('Đ', "D")
    }

    /// Every kind of plate that has this text, the likeliest first. Never empty.
    pub fn kinds(&self) -> Vec<PlateKind> {
        readings(&self.key)
    }

    /// The kind on a vehicle of this class; `None` if the text stands on no such vehicle.
    pub fn kind_on(&self, class: VehicleClass) -> Option<PlateKind> {
        self.kinds().into_iter().find(|kind| kind.fits(class))
    }

    /// Whether the plate may be one of the Party's and State's blue ones on a motorbike: they have
    /// the older motorbike shape with a first letter of A to M. Only the colour decides.
    pub fn may_be_blue_motorbike(&self) -> bool {
        let chars: Vec<char> = self.key.chars().collect();
        chars.len() == 9
            && shape(&chars, "dd?9ddddd")
            && chars.get(2).is_some_and(|letter| BLUE_LETTERS.contains(*letter))
    }

    /// The identity of the vehicle that carries this plate.
    pub fn on(&self, class: VehicleClass) -> PlateKey {
        PlateKey { key: self.key.clone(), class }
    }

    /// What is odd about the plate, if anything.
    pub fn warning(&self) -> Option<PlateWarning> {
        let mut chars = self.key.chars();
        let (Some(tens), Some(ones)) = (chars.next(), chars.next()) else { return None };
        let code = tens.to_digit(10)? * 10 + ones.to_digit(10)?;
        if self.kinds() == [PlateKind::Event] {
            return None;
        }
        let known = (11..=99).contains(&code) && ![13, 42, 44, 45, 46, 87, 91, 96].contains(&code);
        (!known).then_some(PlateWarning::UnknownProvince)
    }
}

/// Upper-case letters and digits of the text, every writing of Đ as U+0110.
///
/// Dropping everything outside of A–Z and 0–9, as is often done, would turn 29MĐ1-123.45 into
/// 29M112345: another person's bike.
fn compact(text: &str) -> Result<String, PlateError> {
    let mut key = String::with_capacity(16);
    for (at, character) in text.nfkd().enumerate() {
        if at >= TEXT_CHARS_MAX {
            return Err(PlateError::TooLong);
        }
        match character {
            '0'..='9' | 'A'..='Z' => key.push(character),
            'a'..='z' => key.push(character.to_ascii_uppercase()),
            // Vietnamese Đ đ; Icelandic Ð ð and African Ɖ ɖ look the same and get typed instead.
            '\u{110}' | '\u{111}' | '\u{d0}' | '\u{f0}' | '\u{189}' | '\u{256}' => key.push('Đ'),
            // D with a stroke laid over it.
            '\u{335}' | '\u{336}' if key.ends_with('D') => {
                key.pop();
                key.push('Đ');
            }
            _ if is_mark(character) => {}
            _ => return Err(PlateError::Character(character)),
        }
    }
    Ok(key)
}

/// Separators and invisible characters that come along with copied text.
fn is_mark(character: char) -> bool {
    character.is_whitespace()
        || matches!(
            character,
            '.' | '-' | '/' | '_' | '·' | '\u{2010}'..='\u{2015}' | '\u{2022}' | '\u{2212}'
            | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
        )
}

/// `29MD112345` has the shape of no plate but the electric motorbike's, so a D typed for want of
/// Đ is put right. `29TD12345` stays: that is a motorbike of 2023.
fn electric_motorbike(key: String) -> String {
    let chars: Vec<char> = key.chars().collect();
    if shape(&chars, "ddMD9ddddd") { key.replacen('D', "Đ", 1) } else { key }
}

/// Whether the text has the shape: `d` digit, `9` digit 1 to 9, `?` any character, else itself.
fn shape(chars: &[char], pattern: &str) -> bool {
    chars.len() == pattern.len()
        && chars.iter().zip(pattern.chars()).all(|(character, wanted)| match wanted {
            'd' => character.is_ascii_digit(),
            '9' => matches!(character, '1'..='9'),
            '?' => true,
            exact => *character == exact,
        })
}

fn readings(key: &str) -> Vec<PlateKind> {
    let chars: Vec<char> = key.chars().collect();
    let any = |patterns: &[&str]| patterns.iter().any(|pattern| shape(&chars, pattern));
    let letter = |at: usize| chars.get(at).is_some_and(|letter| LETTERS.contains(*letter));
    let latin = |at: usize| chars.get(at).is_some_and(char::is_ascii_uppercase);
    let mut kinds = Vec::new();
    if is_foreign(&chars) {
        kinds.push(PlateKind::Foreign);
    }
    if is_special(key) {
        kinds.push(PlateKind::Special);
    }
    if any(&["dd?ddddd", "dd?dddd"]) && letter(2) {
        kinds.push(PlateKind::Car);
    }
    if any(&["dd?9ddddd", "dd?9dddd"]) && letter(2) {
        kinds.push(PlateKind::Motorbike);
    }
    if any(&["dd??ddddd"]) && letter(2) && letter(3) {
        kinds.push(PlateKind::MotorbikeTwoLetters);
    }
    if any(&["??dddd", "??ddd"]) && latin(0) && latin(1) {
        kinds.push(PlateKind::Military);
    }
    if any(&["Tddddddd"]) {
        kinds.push(PlateKind::Temporary);
    }
    if any(&["ddddddd"]) {
        kinds.push(PlateKind::Event);
    }
    kinds
}

/// `29LD12345`, `29R12345`, `29MK112345`, formerly with four digits.
fn is_special(key: &str) -> bool {
    let Some((province, rest)) = key.split_at_checked(2) else { return false };
    if !province.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let digits = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit());
    let plain = SPECIAL
        .iter()
        .filter_map(|series| rest.strip_prefix(series))
        .any(|number| matches!(number.len(), 4 | 5) && digits(number));
    let numbered = NUMBERED
        .iter()
        .filter_map(|series| rest.strip_prefix(series))
        .any(|number| matches!(number.len(), 5 | 6) && digits(number) && !number.starts_with('0'));
    plain || numbered
}

/// Province, country of three digits before or after the series, two serial digits on cars and
/// three on motorbikes.
fn is_foreign(chars: &[char]) -> bool {
    ["dd??ddddd", "dd??dddddd", "ddddd??dd", "ddddd??ddd"].iter().any(|pattern| {
        let at = pattern.find('?').unwrap_or_default();
        let series: String = chars.iter().skip(at).take(2).collect();
        shape(chars, pattern) && FOREIGN.contains(&series.as_str())
    })
}

/// Whether the number after the series is zero. Where the series ends with a digit (`29M1`,
/// `29MĐ1`), six digits stand after the last letter and only five are the number.
fn serial_is_zero(key: &str) -> bool {
    let digits = key.rsplit(|character: char| !character.is_ascii_digit()).next();
    let serial =
        digits.map(|digits| if digits.len() == 6 { digits.get(1..) } else { Some(digits) });
    serial.flatten().is_some_and(|serial| serial.bytes().all(|digit| digit == b'0'))
}

fn why_no_shape(key: &str) -> PlateError {
    match key.chars().find(|letter| matches!(letter, 'I' | 'J' | 'O' | 'Q' | 'R' | 'W')) {
        Some(letter) => PlateError::UnusedLetter(letter),
        None => PlateError::Shape,
    }
}

fn masked(key: &str) -> String {
    let count = key.chars().count();
    let head: String = key.chars().take(2).collect();
    let tail: String = key.chars().skip(count.saturating_sub(2)).collect();
    format!("{head}***{tail}")
}

impl fmt::Debug for Plate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plate({})", masked(&self.key))
    }
}

impl fmt::Debug for PlateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlateKey({}, {})", masked(&self.key), self.class)
    }
}

#[cfg(test)]
mod tests;
