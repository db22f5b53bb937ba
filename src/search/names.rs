//! Lots by name, code or street, with or without diacritics.
//!
//! A scan over ready-folded text that lies in one piece in memory.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::lots::words::fold;
use crate::occupancy::index::{Entry, Index, LotNo};

/// The most characters of a question.
pub const QUESTION_CHARS_MAX: usize = 100;

/// How well a lot fits; the smaller the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// Its code is the question.
    Code,
    /// Its name begins with the question.
    NameBegins,
    /// Its name holds all words.
    Name,
    /// Code, name and address together hold all words.
    Anywhere,
}

impl Fit {
    const ALL: [Fit; 4] = [Fit::Code, Fit::NameBegins, Fit::Name, Fit::Anywhere];

    fn letter(self) -> char {
        match self {
            Fit::Code => 'a',
            Fit::NameBegins => 'b',
            Fit::Name => 'c',
            Fit::Anywhere => 'd',
        }
    }
}

/// A place in the list: how well the lot fits, and its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    fit: Fit,
    code: String,
}

impl Place {
    /// Reads a cursor.
    pub fn parse(cursor: &str) -> Option<Place> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let mut chars = text.chars();
        let letter = chars.next()?;
        let fit = Fit::ALL.into_iter().find(|fit| fit.letter() == letter)?;
        Some(Place { fit, code: chars.as_str().to_owned() })
    }

    /// As a cursor.
    pub fn cursor(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}{}", self.fit.letter(), self.code))
    }
}

/// Lots that answer `question`, the best first, then by code; all lots when there is none. Gives
/// at most `limit` after `after`, and the place of the last one if more follow.
pub fn find<'a>(
    index: &'a Index,
    question: Option<&str>,
    after: Option<&Place>,
    limit: usize,
) -> (Vec<(LotNo, &'a Entry)>, Option<Place>) {
    let question = question.map(fold).unwrap_or_default();
    let question = question.trim();
    let words: Vec<&str> = question.split(' ').filter(|word| !word.is_empty()).collect();
    let mut found = Vec::new();
    if words.is_empty() {
        let from = after.map_or("", |place| &place.code);
        found.extend(index.by_code(from).take(limit + 1).map(|(no, entry)| (Fit::Name, no, entry)));
    } else {
        for (no, entry) in index.entries() {
            let Some(fit) = fit_of(index.folded(entry), question, &words) else { continue };
            let follows = after
                .is_none_or(|place| (fit, index.code(entry)) > (place.fit, place.code.as_str()));
            if follows {
                found.push((fit, no, entry));
            }
        }
        found.sort_unstable_by_key(|(fit, _, entry)| (*fit, index.code(entry)));
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found
        .last()
        .filter(|_| more)
        .map(|(fit, _, entry)| Place { fit: *fit, code: index.code(entry).to_owned() });
    (found.into_iter().map(|(_, no, entry)| (no, entry)).collect(), last)
}

fn fit_of(folded: &str, question: &str, words: &[&str]) -> Option<Fit> {
    if !words.iter().all(|word| folded.contains(word)) {
        return None;
    }
    let mut lines = folded.split('\n');
    let (code, name) = (lines.next()?, lines.next()?);
    Some(if code == question {
        Fit::Code
    } else if name.starts_with(question) {
        Fit::NameBegins
    } else if words.iter().all(|word| name.contains(word)) {
        Fit::Name
    } else {
        Fit::Anywhere
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const LOT: &str = "hn 003\nlong duong pho tran hung dao\npho tran hung dao ha noi";

    #[rstest]
    #[case("hn 003", Some(Fit::Code))]
    #[case("long duong", Some(Fit::NameBegins))]
    #[case("tran hung dao", Some(Fit::Name))]
    #[case("dao tran", Some(Fit::Name))]
    #[case("ha noi tran", Some(Fit::Anywhere))]
    #[case("tran phu", None)]
    fn all_words_must_occur(#[case] question: &str, #[case] fit: Option<Fit>) {
        let words: Vec<&str> = question.split(' ').collect();
        assert_eq!(fit_of(LOT, question, &words), fit);
    }

    #[test]
    fn a_place_survives_as_a_cursor() {
        let place = Place { fit: Fit::Anywhere, code: "HN-003".into() };
        assert_eq!(Place::parse(&place.cursor()), Some(place));
        assert_eq!(Place::parse("!"), None);
        assert_eq!(Place::parse(""), None);
    }
}
