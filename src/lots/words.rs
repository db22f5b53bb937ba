//! Words as people search for them: "tran hung dao" finds "Trần Hưng Đạo".

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Lower case, without diacritics, Đ as d; anything but letters and digits becomes a space.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for character in text.nfkd() {
        match character {
            'Đ' | 'đ' | 'Ð' | 'ð' => folded.push('d'),
            _ if is_combining_mark(character) => {}
            _ if character.is_alphanumeric() => folded.extend(character.to_lowercase()),
            _ if folded.ends_with(' ') => {}
            _ => folded.push(' '),
        }
    }
    folded.truncate(folded.trim_end().len());
    folded
}

#[cfg(test)]
mod tests {
    use super::fold;
    use rstest::rstest;

    #[rstest]
    #[case("Trần Hưng Đạo", "tran hung dao")]
    #[case("TRẦN  HƯNG ĐẠO ", "tran hung dao")]
    #[case("tra\u{302}\u{300}n hu\u{31b}ng d\u{323}ao", "tran hung dao")]
    #[case("Nguyễn Khuyến, 19/5", "nguyen khuyen 19 5")]
    #[case("HN-003", "hn 003")]
    #[case("Ｐｈố Huế", "pho hue")]
    #[case("...", "")]
    fn diacritics_case_and_marks_do_not_matter(#[case] text: &str, #[case] folded: &str) {
        assert_eq!(fold(text).trim_start(), folded);
    }
}
